"""`import horovod.torch as hvd` is `import hora.torch as hvd`: the very same module."""

import sys

import hora.torch

sys.modules[__name__] = hora.torch
sys.modules[f"{__name__}.elastic"] = hora.torch.elastic
