"""Several hosts as one: here each is an agent on this machine, which only its launcher knows to be near."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pretending import PRETENDING
from told import Told
from waiting import PATIENCE, eventually, is_there

from hora.errors import HoraError
from hora.launch.call import COMMAND, Call
from hora.launch.cluster import Cluster
from hora.launch.connection import Connection
from hora.launch.discovery import Fixed
from hora.launch.elastic import Bounds
from hora.launch.frames import FrameReader, frame
from hora.launch.generation import Job, run_generation
from hora.launch.hosts import Host, places
from hora.launch.launcher import AGENT
from hora.launch.request import Stage
from hora.launch.stop import Stop
from hora.launch.watch import Patience, Watch

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"
SLEEP = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"


class Near:
    """Starts agents on this host, each with what `before` does first."""

    def __init__(self, before=""):
        self.before = before

    def command(self, host):
        if not self.before:
            return list(AGENT)
        return [sys.executable, "-c", f"{self.before}\nfrom hora.launch import agent\nagent.main()"]

    def explain(self, host, said):
        return HoraError(f"reach {host.name}", "; ".join(said), "Do something.")


@pytest.fixture
def cluster(tmp_path):
    """Run a few lines of Python on hosts a and b, two workers each; return the result and what they wrote."""

    def cluster(code, *, launcher=None, patience=PATIENCE, paths=(), started=lambda site: None, **job):
        hosts = (Host("a", 2), Host("b", 2))
        script = tmp_path / "script.py"
        script.write_text(code)
        told, notices = Told(), []
        with Cluster(launcher or Near(), paths=paths, on_notice=notices.append, patience=patience) as site:
            for error in site.reach(hosts).values():
                raise error
            started(site)
            whole = Job([sys.executable, str(script)], **{"on_line": told.append, "timeout": PATIENCE, **job})
            result = run_generation(site, places(hosts, 4), whole)
        return result, told, notices

    return cluster


def test_workers_of_two_hosts_know_their_places(cluster, monkeypatch):
    monkeypatch.setenv("CARRIED", "a b\n$HOME 'c'")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/of/this/login")
    result, told, _ = cluster(SHOW, env={"OWN": "x"})
    assert result.status == 0
    worlds = [json.loads(*told.of(rank)) for rank in range(4)]
    names = (
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "GROUP_RANK",
        "GROUP_WORLD_SIZE",
        "HOROVOD_CROSS_RANK",
    )
    assert [tuple(world[name] for name in names) for world in worlds] == [
        ("0", "4", "0", "2", "0", "2", "0"),
        ("1", "4", "1", "2", "0", "2", "0"),
        ("2", "4", "0", "2", "1", "2", "1"),
        ("3", "4", "1", "2", "1", "2", "1"),
    ]
    assert {world["CARRIED"] for world in worlds} == {"a b\n$HOME 'c'"}
    assert {world["OWN"] for world in worlds} == {"x"}
    assert len({(world["MASTER_ADDR"], world["MASTER_PORT"], world["HORA_SECRET"]) for world in worlds}) == 1


def test_both_streams_come_whole_and_a_long_one_stalls_nobody(cluster):
    code = "import sys\nfor i in range(300): print(i, 'x' * 1000), print(-i, file=sys.stderr)"
    result, told, _ = cluster(code)
    assert result.status == 0
    for rank in range(4):
        assert [line.split()[0] for line in told.of(rank)] == [str(i) for i in range(300)]
        assert told.of(rank, "stderr") == [str(-i) for i in range(300)]


def test_what_a_worker_writes_before_the_next_is_started_holds_up_nobody(cluster, monkeypatch):
    start = Connection.start

    def late(self, command, env, *rest):
        if env["RANK"] == "1":
            time.sleep(1.0)
        return start(self, command, env, *rest)

    monkeypatch.setattr(Connection, "start", late)
    result, told, _ = cluster("print('x' * 1_000_000)", patience=5.0)
    assert result.status == 0
    assert [len(*told.of(rank)) for rank in range(4)] == [1_000_000] * 4


def test_the_first_failure_is_the_cause_and_its_host_is_named(cluster):
    code = (
        "import os, time\nif os.environ['RANK'] == '2': raise ValueError('boom')\n"
        "if os.environ['RANK'] == '3': time.sleep(60)"
    )
    result, _, _ = cluster(code)
    assert (result.first_failure.rank, result.first_failure.error) == (2, "ValueError: boom")
    assert (result.first_failure.who, result.status) == ("worker 2 on b", 1)
    assert result.exits[3].stopped


def test_a_signal_that_kills_a_worker_is_known_by_its_name(cluster):
    code = "import os, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), 9)\ntime.sleep(60)"
    result, _, _ = cluster(code)
    assert (result.first_failure.rank, result.first_failure.signal, result.status) == (1, signal.SIGKILL, 137)


def test_a_request_to_stop_reaches_all_hosts(cluster):
    stop, pids = Stop(), []

    def line(line):
        pids.append(int(line.text))
        if len(pids) == 4:
            stop.request(signal.SIGINT)

    result, _, _ = cluster(SLEEP, stop=stop, on_line=line)
    assert result.status == 130
    assert not any(is_there(pid) for pid in pids)


def test_a_worker_of_another_host_that_keeps_the_others_waiting_is_named_with_its_place(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("hora.launch.watch.OWN_SECONDS", 0.0)
    notices, run_dir = [], tmp_path / "run"
    watch = Watch(Patience(1.0, 4.0), notices.append, lambda vitals: None, tmp_path)
    result, _, _ = cluster(PRETENDING, env={"HORA_RUN_DIR": str(run_dir)}, watch=watch)
    assert "worker 0 waits in allreduce 'loss'" in notices[0]
    assert all(
        f"worker {rank} on {host} is at script.py:" in notices[0] for rank, host in ((1, "a"), (2, "b"), (3, "b"))
    )
    assert result.first_failure.how.startswith("killed, as the others had waited for ")
    assert watch.steps == dict.fromkeys(range(4), 7)
    assert not run_dir.exists()


def agents():
    """The agents that this process has started."""
    stats = {path.parent: path for path in Path("/proc").glob("[0-9]*/cmdline")}
    mine = [
        int(folder.name)
        for folder, path in stats.items()
        if path.exists() and b"hora.launch.agent" in path.read_bytes()
    ]
    return [
        pid for pid in mine if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
    ]


@pytest.mark.parametrize(
    ("number", "found"),
    [(signal.SIGKILL, "host . lost: its connection was closed"), (signal.SIGSTOP, "no sign of life for 2 s")],
)
def test_a_host_that_is_lost_is_the_cause_and_leaves_nothing_behind(cluster, number, found):
    pids, gone = [], []

    def line(line):
        pids.append(int(line.text))
        if len(pids) == 4:
            gone.append(agents()[0])
            os.kill(gone[0], number)

    result, _, _ = cluster(SLEEP, patience=2.0, on_line=line)
    assert result.first_failure.lost
    assert found.replace(".", result.first_failure.host) in result.first_failure.how
    assert result.status == 137
    for pid in (*pids, *gone):
        eventually(lambda pid=pid: not is_there(pid), f"the end of {pid}")


def test_an_agent_whose_launcher_is_silent_ends_its_workers(tmp_path):
    agent = subprocess.Popen(list(AGENT), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    env = {"LOCAL_WORLD_SIZE": "1"}
    start = {"ask": "start", "worker": 0, "command": [sys.executable, "-c", SLEEP], "env": env, "cwd": str(tmp_path)}
    hello, begin = {"ask": "hello", "patience": 1.0, "paths": []}, {"ask": "begin", "worker": 0}
    for message in (hello, {**start, "local_size": 1}, begin):
        agent.stdin.write(frame(message))
    agent.stdin.flush()
    reader, worker, end = FrameReader(), None, time.monotonic() + PATIENCE
    while worker is None and time.monotonic() < end:
        for message, data in reader.feed(os.read(agent.stdout.fileno(), 1 << 16)):
            worker = int(data) if message.get("stream") == "stdout" and data.strip() else worker
    assert is_there(worker)
    assert agent.wait(PATIENCE) == 0
    assert not is_there(worker)
    assert b"no sign of life of the launcher for 1 s" in agent.communicate()[1]


def test_the_end_of_the_launcher_ends_the_workers_of_all_hosts(tmp_path):
    code = f"""
import sys, threading
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from test_cluster import Near, SLEEP
from hora.launch.call import COMMAND, Call
from hora.launch.cluster import Cluster
from hora.launch.generation import Job, run_generation
from hora.launch.hosts import Host, places
hosts = (Host("a", 1), Host("b", 1))
with Cluster(Near(), on_notice=print) as site:
    assert not site.reach(hosts)
    job = Job([sys.executable, "-c", SLEEP], on_line=lambda line: print(line.text, flush=True))
    run_generation(site, places(hosts, 2), job)
"""
    launcher = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    pids = [int(launcher.stdout.readline()) for _ in range(2)]
    launcher.kill()
    launcher.communicate()
    for pid in pids:
        eventually(lambda pid=pid: not is_there(pid), f"the end of worker {pid}")


@pytest.mark.parametrize(
    ("before", "paths", "found"),
    [
        ("from hora.launch import agent; agent.installed_torch = lambda: '1.0'", (), "it has torch 1.0, this host"),
        ("import hora; hora.__version__ = '0.0'", (), "it has hora 0.0, this host"),
        ("import sys; sys.version_info = (3, 1, 0)", (), "it has python 3.1, this host 3."),
        ("", (Path("/nowhere/train.py"),), "there is no /nowhere/train.py there"),
        ("import sys; print('who are you?', file=sys.stderr); sys.exit(1)", (), "who are you?"),
        ("print('Welcome to b!', flush=True)", (), "something else than messages"),
        ("import time; time.sleep(60)", (), "no answer within 0.5 s"),
    ],
)
def test_a_host_where_the_job_cannot_run_is_refused_before_a_worker_starts(before, paths, found):
    with Cluster(
        Near(before), paths=paths, on_notice=print, start_timeout=0.5 if "sleep" in before else PATIENCE
    ) as site:
        refused = site.reach([Host("b", 1)])
    assert found in str(refused["b"])
    assert not agents()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="without it nothing is committed to memory")
@pytest.mark.parametrize("status", [0, 3])
def test_what_was_committed_to_memory_is_removed_on_every_host(tmp_path, status):
    # The hosts are one here, so each agent notes what it is asked to remove.
    note = f"""
import os, shutil
remove = shutil.rmtree
def rmtree(path, **options):
    open({str(tmp_path)!r} + f"/{{os.getpid()}}", "w").write(f"{{path}} {{os.path.exists(path)}}")
    remove(path, **options)
shutil.rmtree = rmtree
"""
    commit = f"import os; os.makedirs(os.environ['HORA_COMMIT_DIR'] + '/0', exist_ok=True); raise SystemExit({status})"
    name = f"test-{os.getpid()}-{status}"
    notices, hosts = [], [Host("a", 1), Host("b", 1)]
    with Cluster(Near(note), on_notice=notices.append) as site:
        job = Job([sys.executable, "-c", commit], {"HORA_JOB": name}, on_notice=notices.append, timeout=PATIENCE)
        result = Stage(site, Fixed(hosts), 2, Bounds(2, 2, resets=0)).run(job, notices.append)
    assert result.status == status
    place = Path(f"/dev/shm/hora-{os.getuid()}-{name}")
    noted = [path.read_text().split() for path in tmp_path.iterdir()]
    assert [path for path, _ in noted] == [str(place)] * 2
    assert "True" in [there for _, there in noted]
    assert not place.exists()


def test_a_call_and_its_results_travel_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("hora.launch.files.PIECE", 100)
    monkeypatch.setattr("hora.launch.connection.PIECE", 100)
    call, hosts, run_dir = Call(sorted, ([2, *range(1000)],), {}), (Host("a", 1), Host("b", 1)), tmp_path / "run"
    with Cluster(Near("from hora.launch import files; files.PIECE = 100"), on_notice=print) as site:
        assert not site.reach(hosts)
        job = Job(COMMAND, {"HORA_RUN_DIR": str(run_dir)}, timeout=PATIENCE, errand=call)
        assert run_generation(site, places(hosts, 2), job).status == 0
        assert (run_dir / "errand-0").stat().st_mode & 0o777 == 0o700
    assert call.results() == [sorted([2, *range(1000)])] * 2
    assert not run_dir.exists()


def test_a_host_that_goes_before_the_workers_start_is_left_out_of_an_elastic_job(tmp_path):
    # Host b answers at first, and is gone when it is asked for its network interface.
    note = tmp_path / "there"
    before = f"""
import os
from hora.launch import agent
def prepare(self, message):
    if message["listens"]:
        return real(self, message)
    open({str(note)!r}, "w").close()
    os._exit(1)
real, agent.Agent._prepare = agent.Agent._prepare, prepare
if os.path.exists({str(note)!r}):
    raise SystemExit("it is gone")
"""
    notices, hosts = [], [Host("a", 1), Host("b", 1)]
    with Cluster(Near(before), on_notice=notices.append) as site:
        job = Job([sys.executable, "-c", "pass"], {"HORA_JOB": "test"}, on_notice=notices.append, timeout=PATIENCE)
        result = Stage(site, Fixed(hosts), 2, Bounds(1, 2)).run(job, notices.append)
    assert (result.status, len(result.exits)) == (0, 1)
    assert notices[0].startswith("prepare on host b: host b lost")


def test_a_command_that_a_host_does_not_have_is_named():
    hosts = (Host("a", 1),)
    with Cluster(Near(), on_notice=print) as site:
        site.reach(hosts)
        with pytest.raises(HoraError, match=r"worker 0 could not be started: host a: .*no such command"):
            run_generation(site, places(hosts, 1), Job(["/no/such/program"]))


def test_an_interface_that_a_host_does_not_have_is_named():
    hosts = (Host("a", 1),)
    with Cluster(Near(), interface="nosuch0", on_notice=print) as site:
        site.reach(hosts)
        with pytest.raises(HoraError, match=r"there is no interface nosuch0 with an address here; there are .*lo"):
            run_generation(site, places(hosts, 1), Job([sys.executable, "-c", "pass"]))
