"""Hora takes a training script written for one GPU to many: converted, proven to train the same, launched.

Importing this package imports neither torch nor any room of the house; each verb imports its own.
"""

__version__ = "0.1.0.dev0"
