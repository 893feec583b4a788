# 13:13 HR307 Horovod's optimizer raises where it goes back more than once before a step: convert to hora
