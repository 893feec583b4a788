"""`hora doctor` on hosts that are there, and on some that are not."""

import io
import json

import pytest
from rich.console import Console

from hora.errors import HoraError
from hora.launch.doctor import examination
from hora.launch.doctor.report import show
from hora.launch.request import Request


class Near:
    """Starts agents here, but on host c, which it does not reach."""

    def command(self, host):
        from hora.launch.launcher import AGENT

        return ["false"] if host.name == "c" else list(AGENT)

    def explain(self, host, said):
        return HoraError(f"reach host {host.name}", "; ".join(said), "Do something.")


def shown(result):
    out = io.StringIO()
    show(result, Console(file=out, width=200))
    return out.getvalue()


def test_several_hosts_are_asked_and_their_workers_measure(monkeypatch):
    """One of them out of reach, and one that the other does not reach."""
    monkeypatch.setattr(examination, "launcher_of", lambda request: Near())
    dial = {"refused": "Connection timed out"}
    ask = examination.Cluster.ask

    def asked(self, host, message, timeout):
        blocked = message["ask"] == "dial" and host.name == "b"
        return dial if blocked else ask(self, host, message, timeout)

    monkeypatch.setattr(examination.Cluster, "ask", asked)
    result = examination.examine(Request(hosts="a:1,b:1,c:1"))
    assert set(result.hosts) == {"a", "b"}
    assert result.status == 1
    assert result.workers == 2
    assert result.links.pairs[0][:2] == (0, 1)
    assert result.links.allreduce[2**20] > 1e6
    assert 0 < result.links.latency_seconds < 1
    told = shown(result)
    assert "error: c: " in told
    assert "b does not reach a at 127.0.0.1, port" in told
    assert "a does not reach b" not in told
    assert "allreduce   64 MiB: " in told


def test_one_host(capsys, monkeypatch):
    """As the command prints it for machines; the workers fail."""
    from hora import cli

    monkeypatch.setattr("hora.launch.doctor.examination.sys.executable", "/bin/false")
    monkeypatch.setattr("sys.argv", ["hora", "doctor", "-n", "1", "--json"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    told = json.loads(capsys.readouterr().out)
    assert end.value.code == 1
    assert told["links"] is None
    assert "1 workers cannot work together: worker 0: exit status 1" in [f["found"] for f in told["findings"]]
    assert told["hosts"]["localhost"]["cores"] >= 1


def test_hosts_that_are_named_twice_are_refused():
    with pytest.raises(HoraError, match="more than one of"):
        examination.examine(Request(hosts="a:1", hostfile="b"))
