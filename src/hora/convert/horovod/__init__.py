"""Scripts that are written for Horovod: said on Hora's runtime, or in torch's own words."""
