"""A worker finds torchrun's variables and Horovod's, and a port that is its run's alone."""

import json
import socket
import struct

import pytest

from hora.launch.environment import cores, reserved_port

IP_LOCAL_PORT_RANGE = 51  # from <linux/in.h>
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def environments(launch, workers, **options):
    _, told = launch(SHOW, workers, **options)
    return [json.loads(*told.of(rank)) for rank in range(workers)]


def test_both_kinds_of_variables_are_set(launch):
    for rank, env in enumerate(environments(launch, 2)):
        assert (env["RANK"], env["LOCAL_RANK"], env["HOROVOD_RANK"], env["HOROVOD_LOCAL_RANK"]) == (str(rank),) * 4
        assert {env[f"{name}SIZE"] for name in ("WORLD_", "LOCAL_WORLD_", "HOROVOD_", "HOROVOD_LOCAL_")} == {"2"}
        assert (env["GROUP_RANK"], env["GROUP_WORLD_SIZE"]) == ("0", "1")
        assert (env["HOROVOD_CROSS_RANK"], env["HOROVOD_CROSS_SIZE"]) == ("0", "1")
        assert env["HOROVOD_HOSTNAME"] == socket.gethostname()
        assert env["MASTER_ADDR"] == "127.0.0.1"
        assert 0 < int(env["MASTER_PORT"]) < 65536


def test_cores_are_shared_unless_the_user_says_otherwise(launch, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environments(launch, 1)[0]["OMP_NUM_THREADS"] == str(cores())
    assert environments(launch, 4 * cores())[0]["OMP_NUM_THREADS"] == "1"
    assert environments(launch, 1, env={"OMP_NUM_THREADS": "7"})[0]["OMP_NUM_THREADS"] == "7"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environments(launch, 1)[0]["OMP_NUM_THREADS"] == "5"


def test_the_callers_variables_are_laid_over(launch):
    ours, theirs = environments(launch, 2, env={"A": "all"}, worker_env=lambda rank: {"A": "mine"} if rank else {})
    assert (ours["A"], theirs["A"]) == ("all", "mine")


def test_variables_reach_the_workers_whatever_their_names(launch):
    odd = {"BASH_FUNC_module%%": "() { :; }", "a.b": "x=y", "été": "1", "EMPTY": "", "TWO": "lines\nof text"}
    env = environments(launch, 1, env=odd)[0]
    assert {name: env[name] for name in odd} == odd


def test_a_torchrun_around_the_run_does_not_reach_its_workers(launch, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert "TORCHELASTIC_USE_AGENT_STORE" not in environments(launch, 1)[0]


def test_a_reserved_port_can_be_listened_on_but_is_given_to_nobody_else():
    with reserved_port() as port, reserved_port() as other, socket.socket() as store:
        assert port != other
        store.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        store.bind(("", port))
        store.listen()
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            assert client.getpeername()[1] == port


def test_whoever_asks_for_any_free_port_is_not_given_the_reserved_one():
    with reserved_port() as port, socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taker.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("I", port << 16 | port))
        except OSError:
            pytest.skip("needs Linux 6.3, where a socket's range of free ports can be narrowed to one")
        with pytest.raises(OSError, match="Address already in use"):
            taker.bind(("", 0))
