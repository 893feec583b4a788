"""Who is who: the world from the launcher's variables, from the script's own process group, and of one worker."""

from __future__ import annotations

import os
import socket
import time

import pytest
import torch
import torch.distributed as dist

import hora.torch as hvd
from hora.errors import HoraError
from hora.torch.rendezvous import across

NAMES = [f"{part}{kind}" for part in ("", "LOCAL_", "GROUP_") for kind in ("RANK", "WORLD_SIZE")]
NAMES += ["MASTER_ADDR", "MASTER_PORT"]


@pytest.fixture
def no_variables(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    hvd.shutdown()


def test_without_variables_the_world_is_one_worker(no_variables):
    hvd.init()
    assert (hvd.rank(), hvd.size(), hvd.local_rank(), hvd.local_size(), hvd.cross_rank(), hvd.cross_size()) == (
        (0, 1) * 3
    )
    assert hvd.is_homogeneous()
    assert not dist.is_initialized()
    hvd.shutdown()
    assert not hvd.is_initialized()


@pytest.mark.parametrize("name", ["rank", "size", "local_rank", "local_size", "cross_rank", "cross_size"])
def test_before_init_there_is_no_rank(name):
    with pytest.raises(ValueError, match="not been initialized"):
        getattr(hvd, name)()


@pytest.mark.parametrize("missing", NAMES)
def test_a_missing_variable_is_named(no_variables, missing):
    for name in NAMES:
        if name != missing:
            no_variables.setenv(name, "0" if name.endswith("RANK") else "127.0.0.1" if name == "MASTER_ADDR" else "2")
    with pytest.raises(HoraError, match=rf"^hvd.init\(\): {missing} not set while"):
        hvd.init()
    assert not hvd.is_initialized()


@pytest.mark.parametrize(
    ("name", "value"), [("RANK", "2"), ("LOCAL_RANK", "7"), ("MASTER_PORT", "http"), ("RANK", "-1")]
)
def test_a_wrong_variable_is_named(no_variables, name, value):
    for other in NAMES:
        no_variables.setenv(other, "0" if other.endswith("RANK") else "127.0.0.1" if other == "MASTER_ADDR" else "2")
    no_variables.setenv(name, value)
    with pytest.raises(HoraError, match=f"{name}='?{value}"):
        hvd.init()


def test_what_was_built_is_told_truly(no_variables):
    hvd.init()
    assert hvd.gloo_built() == dist.is_gloo_available()
    assert hvd.nccl_built() == dist.is_nccl_available()
    assert hvd.cuda_built() == (torch.version.cuda is not None)
    assert not hvd.mpi_enabled()


def test_hosts_with_different_numbers_of_workers():
    hosts = ["a", "a", "a", "b", "b", "c"]
    assert [across(hosts, rank, local) for rank, local in enumerate([0, 1, 2, 0, 1, 0])] == [
        (0, 3, False),
        (0, 2, False),
        (0, 1, False),
        (1, 3, False),
        (1, 2, False),
        (2, 3, False),
    ]
    assert across(["a", "b"], 1, 0) == (1, 2, True)


def places():
    hvd.init()
    return hvd.rank(), hvd.size(), hvd.local_rank(), hvd.local_size(), hvd.cross_rank(), hvd.cross_size()


@pytest.mark.parametrize("size", [2, 3])
def test_workers_know_their_places(pool, size):
    assert pool.run(places, size=size) == [(rank, size, rank, size, 0, 1) for rank in range(size)]


def many_rounds(rounds):
    sums = []
    for _ in range(rounds):
        hvd.init()
        sums.append(hvd.allreduce(1, op=hvd.Sum))
        hvd.shutdown()
    return sums


def test_init_and_shutdown_many_times(pool):
    assert pool.run(many_rounds, 30, size=2, init=False) == [[2] * 30] * 2


def on_a_group_of_the_script():
    store = dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=os.environ["RANK"] == "0",
        multi_tenant=True,
    )
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", store=dist.PrefixStore("own", store), rank=rank, world_size=2)
    hvd.init()
    seen = places(), hvd.allreduce(rank, op=hvd.Sum)
    hvd.shutdown()
    still_there = dist.is_initialized()
    dist.barrier()
    time.sleep(0.1)
    dist.destroy_process_group()
    return seen, still_there


def test_the_script_s_own_process_group_is_used_and_left_alone(pool):
    outcome = pool.run(on_a_group_of_the_script, size=2, init=False)
    assert outcome == [(((rank, 2, rank, 2, 0, 1), 1), True) for rank in range(2)]


def come_late(seconds):
    if os.environ["RANK"] == "1":
        time.sleep(seconds)
    hvd.init()


def test_a_worker_that_does_not_come_is_named(pool):
    outcomes = pool.outcomes(come_late, 2.0, size=2, init=False, env={"HORA_TIMEOUT_SECONDS": "0.5"})
    assert isinstance(outcomes[0].error, HoraError)
    assert "worker 0 of 2 waited 0.5 s for worker 1" in str(outcomes[0].error)
    assert pool.run(places, size=2) == [(rank, 2, rank, 2, 0, 1) for rank in range(2)], "the next attempt succeeds"


def test_a_port_that_another_program_holds_is_named(no_variables):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name, value in zip(NAMES, (0, 2, 0, 2, 0, 1, "127.0.0.1", port), strict=True):
            no_variables.setenv(name, str(value))
        with pytest.raises(HoraError, match=rf"worker 0 of 2 has no store at 127.0.0.1:{port}.* no other job holds"):
            hvd.init()
