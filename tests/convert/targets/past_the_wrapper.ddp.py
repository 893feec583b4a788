# 21:5 HR301 the training goes past DistributedDataParallel, which averages nothing then: convert to hora
