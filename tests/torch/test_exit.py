"""A script ends when it is done: without hanging, without aborting, and at once where another worker failed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

SCRIPT = """
import os, sys, time, warnings
import torch
import hora.torch as hvd

how = sys.argv[1]
hvd.init()
model = torch.nn.Sequential(torch.nn.Linear(20, 300), torch.nn.ReLU(), torch.nn.Linear(300, 10))
optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))

def step():
    optimizer.zero_grad()
    model(torch.ones(8, 20)).sum().backward()
    optimizer.step()

step()
if hvd.rank() == 1:
    if how == "raise":
        raise ArithmeticError("worker 1 raised")
    if how == "raise while another collective runs":
        work = torch.distributed.all_reduce(torch.ones(3), async_op=True)
        raise ArithmeticError(f"worker 1 raised at {time.time()}")
    if how == "exit 3":
        sys.exit(3)
    if how == "killed":
        os.kill(os.getpid(), 9)
elif how == "raise while another collective runs":
    time.sleep(120)
elif how != "return":
    for _ in range(3):
        step()
"""


def launch(how, directory):
    """Run the script with two workers; return how each ended, its error output, and when."""
    path = directory / "script.py"
    path.write_text(SCRIPT)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(2):
        place = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        sizes = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1"}
        env = os.environ | {name: str(value) for name, value in (place | sizes).items()}
        command = [sys.executable, str(path), how]
        processes.append(subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True))
    try:
        ends, errors = [], []
        for process in reversed(processes):
            errors.insert(0, process.communicate(timeout=120)[1])
            ends.insert(0, time.time())
            if how == "raise while another collective runs":
                processes[0].kill()
        return [process.returncode for process in processes], errors, ends
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_workers_that_are_done_end(tmp_path):
    statuses, errors, _ = launch("return", tmp_path)
    assert statuses == [0, 0]
    assert errors == ["", ""]


@pytest.mark.parametrize(("how", "status"), [("raise", 1), ("exit 3", 3), ("killed", -signal.SIGKILL)])
def test_when_one_worker_ends_badly_the_other_ends_soon(tmp_path, how, status):
    statuses, errors, ends = launch(how, tmp_path)
    assert statuses == [1, status]
    assert ends[0] - ends[1] < 20
    assert "HorovodInternalError: worker 0: reducing the gradients of group 0 parameter 3" in errors[0]
    assert ("ArithmeticError: worker 1 raised" in errors[1]) == (how == "raise")


def test_an_error_is_not_held_back_by_a_collective_that_is_still_running(tmp_path):
    statuses, errors, ends = launch("raise while another collective runs", tmp_path)
    assert statuses[1] == 1
    raised = float(errors[1].rsplit("worker 1 raised at ", 1)[1])
    assert ends[1] - raised < 20


FORKS = """
import os, signal, socket, sys, time
import torch, torch._dynamo
import hora.torch as hvd

torch.set_num_threads(1)
rounds, killed = int(sys.argv[1]), sys.argv[2] == "killed"
endings = {}

def work(rank, number, port):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2", GROUP_RANK="0",
                      GROUP_WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    hvd.init()
    model = torch.nn.Sequential(torch.nn.Linear(20, 300), torch.nn.Linear(300, 10))
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), groups=2)
    for step in range(4 if killed else 1):
        hidden = model[0](torch.ones(8, 20))
        if killed and rank == 1 and step == number % 3:
            if number % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            hidden.register_hook(lambda gradient: os.kill(os.getpid(), signal.SIGKILL))
        model[1](hidden).sum().backward()
        optimizer.step()
        hvd.allreduce(1.0)
    sys.exit(0)

for number in range(rounds):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pids = []
    for rank in range(2):
        pids.append(os.fork())
        if pids[-1] == 0:
            work(rank, number, port)
    end = time.monotonic() + 90
    for rank, pid in enumerate(pids):
        status = None
        while status is None:
            done, code = os.waitpid(pid, os.WNOHANG)
            if done:
                status = os.waitstatus_to_exitcode(code)
            elif time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                status = "hung"
            else:
                time.sleep(0.005)
        endings[rank, status] = endings.get((rank, status), 0) + 1
print(endings, flush=True)
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "statuses"), [("done", (0, 0)), ("killed", (1, -signal.SIGKILL))])
def test_200_launches_end(tmp_path, how, statuses):
    path = tmp_path / "forks.py"
    path.write_text(FORKS)
    command = [sys.executable, str(path), "200", how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=True)
    assert done.stdout.strip() == str({(0, statuses[0]): 200, (1, int(statuses[1])): 200})
