# 9:15 HR301 Horovod's raises where a backward pass fills the gradients of another optimizer: convert to hora
