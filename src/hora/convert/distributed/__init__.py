"""Rules for scripts that are distributed already: by Horovod, DistributedDataParallel, torchrun or Accelerate."""
