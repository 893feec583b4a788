# 7:10 HR201 the loader has a sampler of its own, in whose place DistributedSampler would come: convert to hora
