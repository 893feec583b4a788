"""What Horovod keeps in `horovod.common`."""
