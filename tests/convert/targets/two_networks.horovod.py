# 9:15 HR301 a backward pass may fill the gradients of another optimizer, at which Horovod's raises: convert to hora
