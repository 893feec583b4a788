"""Horovod's variables are honoured, or named once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hora.torch import variables
from hora.torch.layout import fixed_bytes


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(variables, "_told", False)
    monkeypatch.setattr(os, "environ", {})


@pytest.mark.parametrize(("threshold", "size"), [("4194304", 2**22), ("0", 1), ("3000", 3000)])
def test_the_fusion_threshold_is_the_size_of_buckets(threshold, size):
    os.environ["HOROVOD_FUSION_THRESHOLD"] = threshold
    variables.honour()
    assert fixed_bytes() == size


def test_horas_own_variables_decide():
    os.environ.update(HOROVOD_GLOO_TIMEOUT_SECONDS="5", HORA_TIMEOUT_SECONDS="7", HOROVOD_GLOO_IFACE="eth1")
    variables.honour()
    assert (os.environ["HORA_TIMEOUT_SECONDS"], os.environ["GLOO_SOCKET_IFNAME"]) == ("7", "eth1")


def test_what_decides_nothing_is_named_once_by_worker_0(capsys):
    os.environ.update(HOROVOD_CYCLE_TIME="3", HOROVOD_AUTOTUNE="1", HOROVOD_RANK="0", HOROVOD_WITH_PYTORCH="1")
    variables.honour()
    variables.honour()
    assert capsys.readouterr().err == "hora: without meaning here: HOROVOD_AUTOTUNE, HOROVOD_CYCLE_TIME\n"
    variables._told = False
    os.environ["RANK"] = "1"
    variables.honour()
    assert capsys.readouterr().err == ""


def test_init_reads_them():
    code = "import hora.torch as hvd; hvd.init(); hvd.shutdown(); hvd.init()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "HOROVOD_CYCLE_TIME": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stderr == "hora: without meaning here: HOROVOD_CYCLE_TIME\n"
