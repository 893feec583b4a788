"""`hora run` says what is wrong with workers that live: real ones, of a training loop."""

import os
import signal
import sys
import time

import pytest
from waiting import eventually

TRAIN = """
import os, sys, time, torch
import hora.torch as hvd

hvd.init()
model = torch.nn.Linear(8, 2)
optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), model.named_parameters())

def augment(step):
    if hvd.rank() == 1 and step == 10:
        time.sleep(4.0)
    if hvd.rank() == 1 and step > 20:
        time.sleep(0.1)

for step in range(120):
    augment(step)
    time.sleep(0.05)
    optimizer.zero_grad()
    model(torch.ones(4, 8)).sum().backward()
    optimizer.step()
    if step == 70:
        print(os.getpid(), flush=True)
print("done")
"""


@pytest.mark.slow
def test_one_that_sleeps_one_that_is_slow_and_one_that_is_stopped_are_named(launcher):
    patience = f"import os; os.environ.update(HORA_STALL_SECONDS='2', PYTHONPATH={os.pathsep.join(sys.path)!r})"
    process = launcher(TRAIN, workers=3, before=patience)
    told = eventually(lambda: process.stdout.readline(), "the process of a worker")
    rank, pid = told.split()
    os.kill(int(pid), signal.SIGSTOP)
    time.sleep(20.0)
    process.send_signal(signal.SIGQUIT)
    os.kill(int(pid), signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.count("done") == 3
    assert "wait in reducing the gradients of bias, weight\n  worker 1 is not there" in err
    assert "worker 1 is at script.py:11 in augment" in err
    assert "worker 1 computes" in err
    assert f"worker {rank.strip('[]')} is stopped (SIGSTOP or a debugger): no heartbeat for 10 s" in err
    assert f"worker {rank.strip('[]')} is back" in err
    assert "what the workers do, by their main threads" in err
