"""Workers over a real sshd: on addresses of the loopback, and on hosts in network namespaces, whose cable is pulled.

Some hosts have a directory for temporary files of their own, or a limit on memory.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import PATIENCE, eventually, is_there

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
MEET = """
import hora.torch as hvd, torch
hvd.init()
total = hvd.allreduce(torch.tensor([float(hvd.rank())]), op=hvd.Sum).item()
print(hvd.rank(), hvd.size(), hvd.local_rank(), hvd.cross_rank(), hvd.cross_size(), total)
"""
TRAIN = """
import os, time
import hora.torch as hvd, torch
hvd.init()
print("pid", os.getpid(), flush=True)
for step in range(1000):
    hvd.allreduce(torch.ones(8), name=f"step {step}")
    time.sleep(0.05)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(SSHD).exists() and "CI" not in os.environ, reason="needs sshd, which CI installs"),
]


class Hosts:
    """Runs `hora run` where sshd answers at some addresses."""

    def __init__(self, folder, addresses, namespace=()):
        self.folder, self.addresses, self.namespace = folder, addresses, namespace
        self.env = {**os.environ, "HORA_SSH": f"ssh -F {folder}/config", "OMP_NUM_THREADS": "1"}

    def start(self, *arguments, verb="run", **env):
        command = [*self.namespace, sys.executable, "-m", "hora", verb, *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env={**self.env, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments, **env):
        done = self.start(*arguments, **env)
        out, err = done.communicate(timeout=6 * PATIENCE)
        return done.returncode, sorted(out.splitlines()), err

    def script(self, code):
        (self.folder / "train it.py").write_text(code)
        return "train it.py"


def configure(folder, port):
    """Write what sshd and ssh need to let this user in."""
    for key in ("host", "id", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    shutil.copy(folder / "id.pub", folder / "authorized")
    (folder / "sshd_config").write_text(
        f"Port {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    (folder / "config").write_text(
        f"Host *\n  Port {port}\n  IdentityFile {folder}/id\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known\n  StrictHostKeyChecking accept-new\n"
    )


def serve(folder, addresses, *before):
    """Start sshd at some addresses, and wait until it answers."""
    Path("/run/sshd").mkdir(exist_ok=True)
    listen = [word for address in addresses for word in ("-o", f"ListenAddress={address}")]
    log = folder / f"sshd-{addresses[0]}.log"
    command = [*before, SSHD, "-D", "-f", str(folder / "sshd_config"), *listen, "-E", str(log)]
    daemon = subprocess.Popen(command)
    eventually(lambda: log.exists() and "Server listening" in log.read_text(), "sshd")
    return daemon


def end(daemon):
    daemon.terminate()
    daemon.wait(PATIENCE)


def free_port():
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return asking.getsockname()[1]


@pytest.fixture(scope="module")
def loopback(tmp_path_factory):
    """Two hosts that are this one: 127.0.0.2 and 127.0.0.3."""
    folder = tmp_path_factory.mktemp("loopback")
    configure(folder, free_port())
    addresses = ["127.0.0.2", "127.0.0.3"]
    daemon = serve(folder, addresses)
    yield Hosts(folder, addresses)
    end(daemon)


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """Two hosts that are this one, each with a directory of temporary files that no other has."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount")
    configure(tmp_path, free_port())
    (tmp_path / "temporary").mkdir()
    own = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', f"{tmp_path}/temporary"]
    addresses = ["127.0.0.2", "127.0.0.3"]
    daemons = [serve(tmp_path, [address], *own) for address in addresses]
    yield Hosts(tmp_path, addresses)
    for daemon in daemons:
        end(daemon)


@pytest.fixture
def cramped(tmp_path):
    """A host whose processes may use 300 MiB together."""
    cgroup = next((top for top in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")) if top.is_dir()), Path("/"))
    group, second = cgroup / f"hora-test-{os.getpid()}", cgroup.name == "cgroup"
    try:
        group.mkdir()
        (group / ("memory.max" if second else "memory.limit_in_bytes")).write_text(str(300 << 20))
    except OSError as error:
        pytest.skip(f"needs a cgroup with a limit on memory: {error}")
    configure(tmp_path, free_port())
    join = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group)]
    daemon = serve(tmp_path, ["127.0.0.2"], *join)
    yield Hosts(tmp_path, ["127.0.0.2"])
    end(daemon)
    eventually(lambda: not (group / "cgroup.procs").read_text(), "the end of what ran there")
    group.rmdir()


@pytest.fixture
def namespaces(tmp_path):
    """Two hosts with an address and a cable each, and a third namespace that the job is started from."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces")
    tag = f"hora{os.getpid() % 10_000}"
    names = [f"{tag}{letter}" for letter in "abc"]

    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    daemons = []
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", names[2], "link", "add", "br0", "type", "bridge")
        ip("-n", names[2], "addr", "add", "192.0.2.3/24", "dev", "br0")
        ip("-n", names[2], "link", "set", "br0", "up")
        for number, name in enumerate(names[:2], 1):
            ip("link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", f"to{number}", "netns", names[2])
            ip("-n", name, "addr", "add", f"192.0.2.{number}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", names[2], "link", "set", f"to{number}", "master", "br0", "up")
        configure(tmp_path, 2222)
        addresses = ["192.0.2.1", "192.0.2.2"]
        daemons += [
            serve(tmp_path, [address], "ip", "netns", "exec", name)
            for name, address in zip(names, addresses, strict=False)
        ]
        hosts = Hosts(tmp_path, addresses, ["ip", "netns", "exec", names[2]])
        hosts.cut = lambda number: ip("-n", names[2], "link", "set", f"to{number}", "down")
        # What host 1 sends arrives at host 2, whose answers do not come back, as with many a firewall.
        hosts.deafen = lambda: ip("-n", names[1], "route", "add", "blackhole", "192.0.2.1/32")
        hosts.mend = lambda number: ip("-n", names[2], "link", "set", f"to{number}", "up")
        yield hosts
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait(PATIENCE)
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def test_workers_on_two_hosts_are_one_world(loopback):
    status, out, err = loopback.run("-H", "127.0.0.2:2,127.0.0.3:1", loopback.script(MEET))
    assert (status, out) == (0, ["[0] 0 3 0 0 2 3.0", "[1] 1 3 1 0 1 3.0", "[2] 2 3 0 1 2 3.0"]), err


def test_this_host_beside_another_by_a_file(loopback):
    (loopback.folder / "hosts").write_text("localhost slots=1\n127.0.0.3 slots=1\n")
    status, out, err = loopback.run("-hostfile", "hosts", "-np", "2", loopback.script(MEET))
    assert (status, out) == (0, ["[0] 0 2 0 0 2 1.0", "[1] 1 2 0 1 2 1.0"]), err


def test_no_shell_reads_a_word_twice(loopback):
    odd = ["a b", "$HOME", "'q'", '"', "*", "\\", "x\ny", "é;true"]
    script = loopback.script("import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['ODD']]))")
    status, out, err = loopback.run("-H", "127.0.0.2:1", script, *odd, ODD="$(true) `x`\n#")
    assert status == 0, err
    assert json.loads(out[0].removeprefix("[0] ")) == [odd, "$(true) `x`\n#"]


@pytest.mark.parametrize(
    ("host", "ssh", "found"),
    [
        ("no-such-host.invalid:1", "ssh -F {folder}/config", "its name does not resolve"),
        ("127.0.0.2:1", "ssh -p 1 -F {folder}/config", "nothing listens on its ssh port"),
        ("127.0.0.2:1", "ssh -F {folder}/stranger_config", "it does not let you in without a password"),
        (
            "127.0.0.2:1",
            "ssh -o StrictHostKeyChecking=yes -F {folder}/config -o UserKnownHostsFile=/dev/null",
            "host key",
        ),
        ("127.0.0.2:1", "no-such-ssh", "no-such-ssh cannot be executed"),
    ],
)
def test_a_host_that_cannot_be_reached_is_named_with_the_reason(loopback, host, ssh, found):
    folder = loopback.folder
    text = (folder / "config").read_text().replace(f"{folder}/id\n", f"{folder}/stranger\n")
    (folder / "stranger_config").write_text(text)
    status, out, err = loopback.run("-H", host, loopback.script(MEET), HORA_SSH=ssh.format(folder=folder))
    assert (status, out) == (2, [])
    assert found in err
    assert "Traceback" not in err


def test_a_killed_worker_on_another_host_is_named_and_nothing_stays(loopback):
    script = loopback.script(TRAIN)
    job = loopback.start("-H", "127.0.0.2:1,127.0.0.3:1", script)
    pids = {line[:3]: int(line.split()[-1]) for line in (job.stdout.readline() for _ in range(2))}
    os.kill(pids["[1]"], 9)
    _, err = job.communicate(timeout=6 * PATIENCE)
    assert job.returncode == 137, err
    assert "worker 1 on 127.0.0.3 failed first: killed by SIGKILL" in err
    for pid in pids.values():
        eventually(lambda pid=pid: not is_there(pid), f"the end of {pid}")


EAT = """
import os, time
if os.environ["RANK"] == "1":
    eaten = []
    while True:
        eaten.append(b"x" * (8 << 20))
time.sleep(60)
"""


def test_a_worker_on_another_host_that_the_kernel_kills_for_want_of_memory_is_named(cramped):
    status, _, err = cramped.run("-H", "127.0.0.2:2", cramped.script(EAT))
    assert status == 137
    assert (
        "worker 1 failed first: killed by SIGKILL (by the kernel: out of memory; the cgroup's limit is 300 MiB)" in err
    )


def test_a_worker_on_another_host_that_somebody_kills_is_no_want_of_memory(loopback):
    script = loopback.script("import os, time\nif os.environ['RANK'] == '0': os.kill(os.getpid(), 9)\ntime.sleep(60)")
    _, _, err = loopback.run("-H", "127.0.0.2:1,127.0.0.3:1", script)
    assert "worker 0 on 127.0.0.2 failed first: killed by SIGKILL (by somebody: the kernel counts no kill" in err


CALL = """
import os
from pathlib import Path
import hora, hora.torch as hvd, torch
from hora.errors import HoraError

def train(factor, temporary):
    hvd.init()
    state = hvd.elastic.TorchState(torch.nn.Linear(1, 1), steps=0)

    @hvd.elastic.run
    def steps(state):
        while state.steps < 4:
            if state.steps == 2 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and hvd.rank() == 1:
                os._exit(3)
            state.steps += 1
            state.commit()
        return factor * hvd.rank() + state.steps

    done = steps(state)
    (temporary / f"rank-{hvd.rank()}").touch()
    hvd.barrier()
    return done, [path.name for path in temporary.glob("rank-*")], bytes(3 << 20)

def fail(rank):
    if int(os.environ["RANK"]) == rank:
        raise ValueError("no such luck")

if __name__ == "__main__":
    hosts = "127.0.0.2:1,127.0.0.3:1"
    results = hora.run(train, (10, Path(os.environ["TMPDIR"])), hosts=hosts, min_num_proc=1, max_num_proc=2)
    print([(number, seen, len(data)) for number, seen, data in results])
    try:
        hora.run(fail, (1,), hosts=hosts)
    except HoraError as error:
        print(error)
"""


def test_a_function_on_hosts_that_share_no_directory_outlives_a_worker(apart):
    (apart.folder / "call.py").write_text(CALL)
    env = {**apart.env, "TMPDIR": f"{apart.folder}/temporary"}
    job = subprocess.run(
        [sys.executable, "call.py"], cwd=apart.folder, env=env, capture_output=True, text=True, timeout=15 * PATIENCE
    )
    assert job.returncode == 0, job.stderr
    out = job.stdout.splitlines()
    assert "[(4, ['rank-0'], 3145728), (14, ['rank-1'], 3145728)]" in out, job.stdout + job.stderr
    assert any("run fail: worker 1 on 127.0.0.3 failed" in line for line in out)
    assert any('raise ValueError("no such luck")' in line for line in out)


def test_a_worker_that_stands_still_for_a_while_goes_on(loopback):
    script = loopback.script(TRAIN.replace("range(1000)", "range(20)"))
    job = loopback.start("-H", "127.0.0.2:1,127.0.0.3:1", script, HORA_HOST_SECONDS="3")
    pid = int(job.stdout.readline().split()[-1])
    os.kill(pid, 19)
    time.sleep(6.0)
    os.kill(pid, 18)
    _, err = job.communicate(timeout=6 * PATIENCE)
    assert job.returncode == 0, err


def test_hosts_with_addresses_of_their_own_are_one_world(namespaces):
    status, out, err = namespaces.run("-H", "192.0.2.1:1,192.0.2.2:1", namespaces.script(MEET))
    assert (status, out) == (0, ["[0] 0 2 0 0 2 1.0", "[1] 1 2 0 1 2 1.0"]), err


def test_the_launchers_own_host_is_met_at_the_address_that_the_others_see(namespaces):
    status, out, err = namespaces.run("-H", "localhost:1,192.0.2.2:1", namespaces.script(MEET))
    assert (status, out) == (0, ["[0] 0 2 0 0 2 1.0", "[1] 1 2 0 1 2 1.0"]), err


def test_a_host_that_is_cut_off_is_named_and_ends_its_workers(namespaces):
    script = namespaces.script(TRAIN)
    job = namespaces.start("-H", "192.0.2.1:1,192.0.2.2:1", script, HORA_HOST_SECONDS="3")
    pids = [int(job.stdout.readline().split()[-1]) for _ in range(2)]
    namespaces.cut(2)
    cut_at = time.monotonic()
    _, err = job.communicate(timeout=6 * PATIENCE)
    assert time.monotonic() - cut_at < 2 * PATIENCE
    assert "worker 1 on 192.0.2.2 failed first: host 192.0.2.2 lost: no sign of life for 3 s" in err
    for pid in pids:  # also on the host that nobody can reach
        eventually(lambda pid=pid: not is_there(pid), f"the end of {pid}")


def test_an_elastic_job_goes_on_without_the_host_that_was_cut_off(namespaces):
    code = TRAIN.replace("range(1000)", "range(1000 if hvd.size() == 2 else 5)")
    script = namespaces.script(code + "\nprint('done with', hvd.size())\n")
    job = namespaces.start("-H", "192.0.2.1:1,192.0.2.2:1", "--min-np", "1", script, HORA_HOST_SECONDS="3")
    for _ in range(2):
        job.stdout.readline()
    namespaces.cut(2)
    out, err = job.communicate(timeout=6 * PATIENCE)
    assert job.returncode == 0, err
    assert "[0] done with 1" in out
    assert "generation 1: 1 workers on 192.0.2.1:1" in err


def test_the_doctor_measures_between_hosts_and_finds_which_does_not_reach_which(namespaces):
    def errors():
        job = namespaces.start("-H", "192.0.2.1:1,192.0.2.2:1", "--json", verb="doctor")
        out, err = job.communicate(timeout=6 * PATIENCE)
        assert out, err
        told = json.loads(out)
        return told, [finding["found"] for finding in told["findings"] if finding["level"] == "error"]

    told, found = errors()
    assert found == []
    assert told["links"]["pairs"][0][2] > 1e6
    namespaces.deafen()
    told, found = errors()
    assert told["links"] is None
    assert any("192.0.2.1 does not reach 192.0.2.2 at 192.0.2.2, port" in line for line in found)
    assert any("2 workers cannot work together" in line for line in found)
