# 17:5 HR309 the optimizer decides by the loss of a closure, which only hora.torch reduces: convert to hora
