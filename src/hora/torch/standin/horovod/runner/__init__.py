"""What Horovod keeps in `horovod.runner`."""
