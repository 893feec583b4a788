"""``hora check`` as a linter: which files, which findings, every format, bad input, and the time that it takes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from hora.convert.catalogue import EXAMPLES
from hora.convert.checking import Report, check_paths
from hora.convert.finding import Finding
from hora.convert.formats import as_github, as_json, as_sarif, as_text, summary
from hora.convert.settings import Settings, find_settings
from hora.errors import HoraError

WRONG = (EXAMPLES / "HR602.wrong.py").read_text()
LINE = 24


def report(path: Path, **settings: object) -> Report:
    return check_paths([path], Settings(path if path.is_dir() else path.parent, **settings))  # type: ignore[arg-type]


def codes(path: Path, **settings: object) -> list[str]:
    return [one.code for one in report(path, **settings).findings if not one.note]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(WRONG)
    return path


def command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hora", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def test_a_finding_is_a_line(script: Path) -> None:
    found = report(script)
    assert f"{script}:{LINE}:5 HR602 every worker prints this line\n" in as_text(found)
    assert found.status == 1
    assert summary(found).startswith("1 finding, 1 notes; 1 file checked")


@pytest.mark.parametrize(
    ("comment", "silent"),
    [
        ("# noqa", True),
        ("# noqa: HR602", True),
        ("#NOQA:E501,HR602 because", True),
        ("# noqa: HR601", False),
        ("# noqa: E501", False),
        ("", False),
    ],
)
def test_noqa_silences_its_line(tmp_path: Path, comment: str, silent: bool) -> None:
    lines = WRONG.splitlines()
    lines[LINE - 1] += f"  {comment}"
    path = tmp_path / "train.py"
    path.write_text("\n".join(lines) + "\n")
    assert codes(path) == ([] if silent else ["HR602"])


def test_noqa_in_a_text_silences_nothing(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(WRONG.replace("epoch {epoch}", "# noqa {epoch}"))
    assert codes(path) == ["HR602"]


def test_settings_choose_rules_and_files(script: Path) -> None:
    folder = script.parent
    assert codes(folder, select=("HR3",)) == []
    assert codes(folder, ignore=("HR6",)) == []
    assert codes(folder, per_file_ignores={"train.py": ("HR602",)}) == []
    assert codes(folder, per_file_ignores={"other/*": ("HR602",)}) == ["HR602"]
    (folder / "old").mkdir()
    script.rename(folder / "old" / "train.py")
    assert codes(folder) == ["HR602"]
    with_rest = [folder / "old" / "plain.py"]
    with_rest[0].write_text("x = 1\n")
    assert codes(folder, exclude=("old/train.py",)) == []


def test_settings_are_read_from_the_nearest_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.hora]\nselect = ["HR6"]\nexclude = ["old"]\n[tool.hora.per-file-ignores]\n"a.py" = ["HR602"]\n'
    )
    (tmp_path / "deep").mkdir()
    settings = find_settings(tmp_path / "deep")
    assert (settings.root, settings.select, settings.exclude) == (tmp_path, ("HR6",), ("old",))
    assert not settings.asks("HR602", tmp_path / "a.py")
    assert settings.asks("HR602", tmp_path / "b.py")
    assert not settings.given(["HR3"], []).asks("HR602", tmp_path / "b.py")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[tool.hora]\nselct = []\n", "no setting 'selct'"),
        ('[tool.hora]\nselect = "HR3"\n', "select is no list"),
        ('[tool.hora]\nignore = ["E501"]\n', "'E501' is no code"),
        ("[tool.hora\n", "cannot be read"),
        ("[tool.hora]\nper-file-ignores = 3\n", "is no table"),
    ],
)
def test_settings_that_are_wrong_are_said_so(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(HoraError, match=found):
        find_settings(tmp_path)


def test_a_file_without_torch_is_not_even_parsed(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "model.py").write_text("import torch\nx = torch.ones(3)\n")
    found = report(tmp_path)
    assert (found.checked, found.skipped, found.findings, found.unchecked) == (1, 1, (), ())


def test_bad_input_is_named_and_the_rest_is_checked(script: Path) -> None:
    folder = script.parent
    (folder / "syntax.py").write_text("import torch\ndef (:\n")
    (folder / "bytes.py").write_bytes(b"import torch\n\xff\xfe\n")
    (folder / "deep.py").write_text("import torch\nx = " + "(" * 5000 + ")" * 5000 + "\n")
    (folder / "gone.py").symlink_to(folder / "nowhere.py")
    done = command("check", ".", cwd=folder)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert f"train.py:{LINE}:5 HR602 " in done.stdout
    assert "syntax.py:2 not checked: is not Python 3" in done.stdout
    for name in ("bytes.py:1 not", "deep.py:2 not", "gone.py:1 not checked: it cannot be read"):
        assert name in done.stdout


def test_usage_that_is_wrong_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "absent.py", tmp_path / "empty"):
        with pytest.raises(HoraError) as raised:
            report(path)
        assert raised.value.status == 2
    with pytest.raises(HoraError, match="'E5' is no code"):
        Settings(tmp_path).given(["E5"], [])
    done = command("check", "--format", "xml", ".", cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    done = command("rule", "HR999", cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_annotations_are_escaped() -> None:
    odd = Finding("HR301", "a,b:c%.py", 3, 4, "one\nand 100 %", None)
    assert as_github(Report((odd,), (), 1, 0)) == (
        "::error file=a%2Cb%3Ac%25.py,line=3,col=4,title=HR301::HR301 one%0Aand 100 %25\n"
    )


def test_a_log_of_sarif_has_what_the_standard_asks_for(script: Path) -> None:
    (script.parent / "a b.py").write_text("import torch\ndef (:\n")
    log = json.loads(as_sarif(report(script.parent)))
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    run = log["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "hora"
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        assert result["level"] in ("none", "note", "warning", "error")
        place = result["locations"][0]["physicalLocation"]
        assert min(place["region"].values()) >= 1
    invocation = run["invocations"][0]
    assert invocation["executionSuccessful"] is False
    notice = invocation["toolExecutionNotifications"][0]
    assert notice["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith("/a%20b.py")


def test_json_has_the_fields_of_a_finding(script: Path) -> None:
    found = json.loads(as_json(report(script)))
    assert found["findings"][-1] == {
        "code": "HR602",
        "file": str(script),
        "line": LINE,
        "column": 5,
        "message": "every worker prints this line",
        "note": False,
        "mendable": False,
    }


def test_notes_alone_are_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text((EXAMPLES / "HR401.wrong.py").read_text())
    found = report(path)
    assert [one.code for one in found.findings] == ["HR401"]
    assert found.status == 0
    assert " HR401 note: " in as_text(found)


def test_a_long_script_takes_a_moment_and_no_torch(tmp_path: Path) -> None:
    body = "".join(f"\n\ndef helper_{i}(x):\n    y = x + {i}\n    return torch.relu(y)\n" for i in range(200))
    head, loop = WRONG.split("\nfor epoch", 1)
    path = tmp_path / "long.py"
    path.write_text(head + body + "\n\nfor epoch" + loop)
    assert len(path.read_text().splitlines()) > 1000
    code = (
        "import sys\nfrom hora.cli import main\nsys.argv = ['hora', 'check', 'long.py']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 1, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    # Seconds of the processor: those of the clock would count whoever else is on this machine.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5
