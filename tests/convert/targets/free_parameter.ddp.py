# 8:9 HR301 this may be no network's parameter, and DistributedDataParallel has no others: convert to hora
