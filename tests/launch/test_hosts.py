"""Hosts as the command line, a file and horovodrun name them, and who goes where."""

import pytest

from hora.errors import HoraError
from hora.launch.horovodrun import translate
from hora.launch.hosts import Host, parse_hosts, places, read_hostfile


def test_hosts_of_the_command_line():
    assert parse_hosts("a:4,b") == (Host("a", 4), Host("b", 1))
    assert parse_hosts("me@10.0.0.7:2, [fe80::1]:3") == (Host("me@10.0.0.7", 2), Host("fe80::1", 3))


def test_hosts_of_a_file(tmp_path):
    file = tmp_path / "hosts"
    file.write_text("# ours\na slots=4\nb:2   # comment\n\nc slots = 8 max_slots=8\nd\n")
    assert read_hostfile(file) == (Host("a", 4), Host("b", 2), Host("c", 8), Host("d", 1))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "names no host"),
        ("a:x", "'x' is no number of workers"),
        ("a:0", "'0' is no number of workers"),
        ("-oProxyCommand=evil:2", "is no host"),
        ("a b c", "is no host"),
        ("a:1,a:2", "names a twice"),
    ],
)
def test_what_is_no_host_is_named(text, found):
    with pytest.raises(HoraError, match=found):
        parse_hosts(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(HoraError, match="cannot be read"):
        read_hostfile(tmp_path / "nowhere")


def test_the_first_host_is_filled_first():
    one, two, three = (Host("a", 3), Host("b", 1), Host("c", 5))
    found = [
        (p.host.name, p.rank, p.local_rank, p.local_size, p.host_rank, p.hosts, p.cross_rank, p.cross_size)
        for p in places([one, two, three], 5)
    ]
    assert found == [
        ("a", 0, 0, 3, 0, 3, 0, 3),
        ("a", 1, 1, 3, 0, 3, 0, 1),
        ("a", 2, 2, 3, 0, 3, 0, 1),
        ("b", 3, 0, 1, 1, 3, 1, 3),
        ("c", 4, 0, 1, 2, 3, 2, 3),
    ]
    assert {p.hosts for p in places([one, two, three], 4)} == {2}


def test_more_workers_than_slots_are_refused():
    with pytest.raises(HoraError, match="a:1, b:2 has 3 slots"):
        places([Host("a", 1), Host("b", 2)], 4)


def test_horovodruns_options_mean_the_same():
    line = "-np 4 --hosts=a:2,b:2 -hostfile h --min-num-proc 2 --blacklist-cooldown-range 5 50 train.py -np 9 --gloo"
    expected = "-n 4 -H a:2,b:2 --hostfile h --min-np 2 --blacklist-cooldown 5 train.py -np 9 --gloo"
    assert translate(line.split()).arguments == tuple(expected.split())


def test_what_has_no_meaning_is_left_out_and_named():
    line = "--gloo --cycle-time-ms 3 -np 2 --autotune --fusion-threshold-mb 8 train.py"
    translation = translate(line.split())
    assert translation.without_meaning == ("--gloo", "--cycle-time-ms", "--autotune")
    expected = "-n 2 --env HORA_BUCKET_MB=8 train.py"
    assert translation.arguments == tuple(expected.split())


def test_options_for_stalls_are_variables_of_the_workers():
    line = "--stall-check-warning-time-seconds 5 --stall-check-shutdown-time-seconds=9 --no-stall-check train.py"
    expected = (
        "--env HORA_STALL_SECONDS=5 --env HORA_STALL_SHUTDOWN_SECONDS=9 --env HOROVOD_STALL_CHECK_DISABLE=1 train.py"
    )
    assert translate(line.split()).arguments == tuple(expected.split())


@pytest.mark.parametrize("line", ["--check-build", "--config-file x train.py", "--cycle-time-ms"])
def test_what_cannot_be_honoured_is_refused(line):
    with pytest.raises(HoraError):
        translate(line.split())


def test_a_modules_own_options_stay_its_own():
    assert translate(["-np", "2", "-m", "package.train", "--gloo"]).arguments == (
        "-n", "2", "-m", "package.train", "--gloo",
    )  # fmt: skip
