"""The door: exit statuses, JSON, and one line where the input is bad. Commands are run as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "examples" / "vision" / "digits.py"


def hora(*arguments, cwd, timeout=120):
    return subprocess.run(
        [sys.executable, "-m", "hora", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=timeout
    )


@pytest.fixture
def scripts(tmp_path):
    (tmp_path / "python2.py").write_text("print 'hello'\n")
    (tmp_path / "picture.py").write_bytes(b"\x89PNG\x00\xff\xfe")
    (tmp_path / "hello.py").write_text("print('hello')\n")
    (tmp_path / "exit3.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize("verb", ["convert", "verify", "run"])
@pytest.mark.parametrize(
    ("name", "found"),
    [("absent.py", "absent.py"), ("folder", "directory"), ("python2.py", "Python"), ("picture.py", "picture.py")],
)
def test_a_script_that_is_none(scripts, verb, name, found):
    before = sorted(scripts.iterdir())
    done = hora(verb, name, cwd=scripts)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert found in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(scripts.iterdir()) == before


@pytest.mark.parametrize("verb", ["convert", "verify"])
def test_a_script_that_does_not_train(scripts, verb):
    done = hora(verb, "hello.py", cwd=scripts)
    assert done.returncode == 1
    assert "no training loop" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("verb", ["verify", "run"])
@pytest.mark.parametrize(("workers", "found"), [("0", "0 workers"), ("-1", "-1 workers"), ("two", "integer")])
def test_a_number_of_workers_that_is_none(scripts, verb, workers, found):
    done = hora(verb, "-n", workers, "hello.py", cwd=scripts)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert found in done.stderr


def test_the_failing_worker_s_status_is_the_command_s(scripts):
    done = hora("run", "-n", "2", "exit3.py", cwd=scripts)
    assert done.returncode == 3
    assert "exit status 3" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_arguments_of_the_script_need_no_dashes_before_them(scripts):
    (scripts / "args.py").write_text("import sys\nprint(sys.argv[1:])\n")
    for given in (["--quick", "-n", "9"], ["--", "--quick", "-n", "9"]):
        done = hora("run", "-n", "1", "args.py", *given, cwd=scripts)
        assert "['--quick', '-n', '9']" in done.stdout, done.stderr


def test_workers_that_would_train_alone_are_pointed_out(scripts):
    (scripts / "alone.py").write_text("import torch\nprint(torch.ones(2).sum().item())\n")
    done = hora("run", "-n", "2", "alone.py", cwd=scripts)
    assert done.returncode == 0
    assert "alone.py names no other workers" in done.stderr
    assert "hora convert alone.py -o CONVERTED.py" in done.stderr
    assert "names no other workers" not in hora("run", "-n", "1", "alone.py", cwd=scripts).stderr


def test_convert_from_horovod(tmp_path):
    (tmp_path / "train.py").write_text("import horovod.torch as hvd\n\nhvd.init()\nhvd.join()\nloss.backward()\n")
    done = hora("convert", "--from", "horovod", "train.py", "-o", "x.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "wrote x.py; next: hora run -n 2 x.py" in done.stderr
    assert (tmp_path / "x.py").read_text().startswith("import hora.torch as hvd\n")
    refused = hora("convert", "--from", "horovod", "--to", "ddp", "train.py", "-o", "y.py", cwd=tmp_path)
    assert refused.returncode == 1
    assert "train.py:4:1: HR907 join lets workers run out of data" in refused.stderr
    assert not (tmp_path / "y.py").exists()
    assert "--from horovod says it in other words" in hora("convert", "train.py", cwd=tmp_path).stderr
    assert hora("convert", "--from", "horovod", "--to", "horovod", "train.py", cwd=tmp_path).returncode == 2


def test_convert_as_json(tmp_path):
    done = hora("convert", DIGITS, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = json.loads(done.stdout)
    (result,) = whole["files"]
    assert "hora.torch" in result["converted"]
    assert {edit["code"] for edit in result["edits"]} >= {
        "HR101",
        "HR201",
        "HR206",
        "HR301",
        "HR302",
        "HR601",
        "HR602",
        "HR603",
    }
    assert whole["refusals"] == []


def test_verify_as_json(tmp_path):
    done = hora("verify", "-n", "2", "--steps", "4", "--json", DIGITS, "--", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["verdict"] == "equivalent"
    assert result["workers"] == 2
    assert result["steps"] == 4
    assert 0 < result["max_relative_difference"] < 1e-12
    assert 0 < result["noise_floor"] < 1e-12
    assert result["neutralised"] == []
    assert result["first_difference"] is None
    assert result["cause"] is None
    assert len(result["by_step"]) == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["-n", "0"], "0 workers to compare with one"),
        (["-n", "two"], "verify -n two: that is no integer, nor several"),
        (["-n", "2", "--steps", "1"], "1 steps, and two epochs have to end"),
        (["-n", "2", "--html", "absent/page.html"], "there is no directory"),
    ],
)
def test_verify_says_what_is_wrong_with_its_options(tmp_path, given, found):
    done = hora("verify", *given, DIGITS, cwd=tmp_path)
    assert done.returncode == 2
    assert found in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_convert_writes_where_it_is_told(tmp_path):
    copy = tmp_path / "digits.py"
    copy.write_bytes(DIGITS.read_bytes())
    done = hora("convert", "digits.py", "-o", "x.py", cwd=tmp_path)
    assert done.returncode == 0
    assert "wrote x.py; next: hora verify -n 2 digits.py x.py" in done.stderr
    assert copy.read_bytes() == DIGITS.read_bytes()
    assert hora("convert", "digits.py", "--in-place", cwd=tmp_path).returncode == 0
    assert copy.read_bytes() == (tmp_path / "x.py").read_bytes()
    again = hora("convert", "x.py", "--diff", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, "")
