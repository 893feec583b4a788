# 16:54 HR305 entries of all workers' samples are gathered: convert to hora
