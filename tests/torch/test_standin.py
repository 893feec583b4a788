"""A script that imports Horovod runs unedited where Horovod is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import hora.data
import horovod
import horovod.torch as hvd
import torch
from horovod.common.exceptions import HorovodInternalError
from horovod.data import AsyncDataLoaderMixin, BaseDataLoader

class Loader(AsyncDataLoaderMixin, BaseDataLoader):
    def __len__(self):
        return 3
    def _iterate(self):
        yield from range(3)

hvd.init()
assert hvd.HorovodInternalError is HorovodInternalError
assert horovod.run is hora.run
assert AsyncDataLoaderMixin is hora.data.AsyncDataLoaderMixin
assert list(Loader(2)) == list(Loader(async_loader_queue_size=0)) == [0, 1, 2]
print(hvd.__name__, hvd.allreduce(torch.ones(1), op=hvd.Sum).item())
"""


@pytest.mark.parametrize("command", [["run", "-n", "2"], []], ids=["hora run", "python -m hora"])
def test_horovod_is_found(tmp_path, command):
    (tmp_path / "train.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "hora", *command, "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert f"hora.torch {2.0 if command else 1.0}" in done.stdout
    assert (done.stdout + done.stderr).count("`import horovod` finds Hora in its place") == 1
