"""What the doctor says of hosts, on made-up facts."""

from dataclasses import replace

import pytest

from hora.launch.doctor.facts import Facts, Gpu, Interface, Place, gather
from hora.launch.doctor.findings import GIB, Patient, judge
from hora.launch.doctor.links import Links

ROOM = Place("/tmp", True, 50 * GIB, 100 * GIB)
H100 = Gpu("NVIDIA H100", 81559, "570.1")
WELL = Facts(
    name="node1",
    resolved=("10.0.0.1",),
    python="3.12.1",
    torch="2.13.0",
    hora="0.1",
    cores=16,
    processors=16,
    memory=128 * GIB,
    memory_limit=None,
    gpus=(),
    topology="",
    interfaces=(
        Interface("lo", ("127.0.0.1",), True, "loopback"),
        Interface("eth0", ("10.0.0.1",), True, "physical", 10_000),
        Interface("docker0", ("172.17.0.1",), True, "virtual"),
    ),
    shm=Place("/dev/shm", True, 64 * GIB, 64 * GIB),
    temporary=ROOM,
    home=ROOM,
    open_files=65536,
    variables={},
)
LINKS = Links(1.0, 0.1, "cpu:gloo", None, {"gloo": True}, 1e-4, {1 << 20: 1e9}, ((0, 1, 1.1e9),))


def found(**facts):
    """What is wrong with one host that has four workers."""
    return judge([Patient("a", replace(WELL, **facts), 4)], LINKS)


def test_a_host_that_is_well_has_no_findings():
    assert found() == []
    assert judge([Patient("a", WELL, 1, "eth0"), Patient("b", WELL, 1, "eth0")], LINKS) == []


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        ({"torch": None}, "error", "torch is not installed"),
        ({"shm": Place("/dev/shm", True, 2**26, 2**26)}, "warning", "/dev/shm has 64 MiB free of 64 MiB"),
        ({"cores": 2}, "warning", "4 workers share 2 processor cores"),
        ({"variables": {"OMP_NUM_THREADS": "8"}}, "warning", "OMP_NUM_THREADS=8 on each of 4 workers for 16 cores"),
        ({"memory_limit": 8 * GIB}, "warning", "allows 8 GiB of the host's 128 GiB"),
        ({"open_files": 256}, "warning", "a process may open 256 files"),
        ({"home": Place("/home/me", False, GIB, GIB)}, "warning", "/home/me cannot be written to"),
        ({"temporary": Place("/tmp", True, 2**20, GIB)}, "warning", "/tmp has 1 MiB free"),
        ({"variables": {"MASTER_ADDR": "x", "RANK": "0"}}, "warning", "RANK, MASTER_ADDR are set outside of a job"),
        ({"variables": {"NCCL_SOCKET_IFNAME": "ib0"}}, "error", "NCCL_SOCKET_IFNAME=ib0, and there is no such"),
    ],
)
def test_what_is_wrong_with_a_host_is_named(facts, level, words):
    [finding] = found(**facts)
    assert (finding.level, finding.host) == (level, "a")
    assert words in finding.found


@pytest.mark.parametrize("named", ["eth", "=eth0", "^docker0", ""])
def test_a_variable_that_names_an_interface_in_nccls_way_is_right(named):
    assert found(variables={"NCCL_SOCKET_IFNAME": named}) == []


def test_gpus_that_are_too_few_or_hidden_or_unknown_to_torch():
    seen = replace(LINKS, accelerator="2 cuda")
    assert [f.found for f in judge([Patient("a", replace(WELL, gpus=(H100,) * 2), 4)], seen)] == [
        "4 workers for 2 GPUs"
    ]
    hidden = replace(WELL, gpus=(H100,) * 4, variables={"CUDA_VISIBLE_DEVICES": ""})
    told = {finding.found for finding in judge([Patient("a", hidden, 4)], LINKS)}
    assert told == {"there are GPUs, and torch sees none", "CUDA_VISIBLE_DEVICES='' hides all 4 GPUs"}


def pair(links, **of_b):
    facts = replace(WELL, **{name: of_b.pop(name) for name in ("resolved",) if name in of_b})
    b = Patient("b", facts, 1, **{"interface": "eth0", **of_b})
    return judge([Patient("a", WELL, 1, "eth0"), b], links)


def test_several_hosts():
    assert [f.found for f in pair(LINKS, ahead=-7.0)] == ["its clock is 7.0 s behind"]
    assert "resolves to 127.0.1.1" in pair(LINKS, resolved=("127.0.1.1",))[0].found
    assert "does not resolve" in pair(LINKS, resolved=())[0].found
    assert pair(LINKS, interface="docker0") == []  # they have met there, however
    [finding] = pair(None, interface="docker0")
    assert (finding.level, finding.mend) == ("error", "hora run --network-interface eth0")
    [slow] = pair(replace(LINKS, pairs=((0, 1, 1e8),)))
    assert "worker 0 on a to worker 1 on b: 0.80 Gbit/s over links of 10 Gbit/s" in slow.found


def test_errors_come_first():
    levels = [finding.level for finding in found(torch=None, cores=2, open_files=10)]
    assert levels == ["error", "warning", "warning"]


def test_facts_travel_as_json(monkeypatch):
    import json

    monkeypatch.setenv("HORA_SECRET", "s3cret")
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    facts = gather()
    text = json.dumps(facts.as_record())
    assert "s3cret" not in text
    assert facts.variables["NCCL_DEBUG"] == "INFO"
    assert Facts.of_record(json.loads(text)) == facts
    other = replace(WELL, shm=None, gpus=(H100,))
    assert Facts.of_record(json.loads(json.dumps(other.as_record()))) == other
