"""Train, then say how it went."""

import os
import sys

sys.stdout.flush()
import hora.torch as hvd
import torch

hvd.init()
if torch.cuda.is_available():
    torch.cuda.set_device(hvd.local_rank())

import work

if hvd.rank() == 0:
    print("loss", work.last)
    print("files", sorted(os.listdir("."))[:0])
