# 16:54 HR305 partners are taken from all workers' samples, with their gradients: convert to hora
