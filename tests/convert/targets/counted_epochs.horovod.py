# 10:1 HR202 the loop over the epochs has no counter that DistributedSampler could be told
