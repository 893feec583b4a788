"""Reading and writing scripts: encodings and line endings stay, and what cannot be converted is said in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hora.convert import check, convert, write
from hora.errors import HoraError

SCRIPT = (Path(__file__).parent / "fixtures" / "HR101" / "module.in.py").read_text(encoding="utf-8")
SPEAKS = SCRIPT + 'print("größer")\n'


def converted(tmp_path: Path, data: bytes) -> bytes:
    script = tmp_path / "train.py"
    script.write_bytes(data)
    write(convert(script), tmp_path / "out.py")
    return (tmp_path / "out.py").read_bytes()


def test_the_encoding_of_the_file_is_kept(tmp_path: Path) -> None:
    result = converted(tmp_path, ("# -*- coding: latin-1 -*-\n" + SPEAKS).encode("latin-1"))
    assert 'print("größer")'.encode("latin-1") in result
    assert result.startswith(b"# -*- coding: latin-1 -*-\n")


def test_a_byte_order_mark_is_kept(tmp_path: Path) -> None:
    result = converted(tmp_path, b"\xef\xbb\xbf" + SPEAKS.encode())
    assert result.startswith(b"\xef\xbb\xbfimport hora.torch as hvd\n")


def test_line_endings_are_kept(tmp_path: Path) -> None:
    result = converted(tmp_path, SPEAKS.replace("\n", "\r\n").encode())
    assert result.count(b"\n") == result.count(b"\r\n")
    assert b"hvd.init()\r\n" in result


def test_tabs_and_form_feeds_are_kept(tmp_path: Path) -> None:
    text = SPEAKS.replace("    ", "\t").replace("for epoch", "\f\nfor epoch")
    result = converted(tmp_path, text.encode())
    assert b"\f\n" in result
    assert b"\t\t(loss * loader.weight).backward()\n" in result


def test_a_missing_last_newline_stays_missing(tmp_path: Path) -> None:
    assert converted(tmp_path, SPEAKS.rstrip("\n").encode()).endswith('    print("größer")'.encode())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HoraError, match=r"there is no file .*missing\.py\. Give the path"):
        convert(tmp_path / "missing.py")


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(HoraError, match=r"is a directory\. Give the script in it"):
        convert(tmp_path)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(bytes(range(128, 256)))
    with pytest.raises(HoraError, match="is not Python source: it is not text"):
        convert(tmp_path / "model.pt")


def test_a_file_that_does_not_parse(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import torch\nfor x in\n")
    with pytest.raises(HoraError, match=r"broken\.py:2 is not Python 3: invalid syntax") as error:
        check(tmp_path / "broken.py")
    assert error.value.status == 1


def test_python_2_is_named(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("import torch\nprint 'hello'\n")
    with pytest.raises(HoraError, match=r"old\.py:2 is not Python 3: it is Python 2"):
        convert(tmp_path / "old.py")


def test_a_script_that_trains_nothing(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text("import torch\nprint(torch.ones(3))\n")
    with pytest.raises(HoraError, match=r"no training loop: nothing in .* calls backward") as error:
        convert(tmp_path / "tool.py")
    assert error.value.status == 1


def test_the_original_is_only_written_over_when_asked(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    script.chmod(0o750)
    conversion = convert(script)
    with pytest.raises(HoraError, match="that is the original"):
        write(conversion, script)
    assert script.read_text() == SCRIPT
    write(conversion, script, in_place=True)
    assert script.read_text() == conversion.converted
    assert script.stat().st_mode & 0o777 == 0o750
    assert os.listdir(tmp_path) == ["train.py"]


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    with pytest.raises(HoraError, match="cannot be written"):
        write(convert(script), tmp_path / "missing" / "out.py")


def test_converting_does_not_import_torch() -> None:
    code = (
        "import sys, hora.convert\n"
        "print(sorted(n for n in sys.modules if n.split('.')[0] == 'torch' or n == 'hora.torch'))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


def test_an_argument_named_async_is_told_its_name_of_today(tmp_path: Path) -> None:
    script = tmp_path / "gpu.py"
    script.write_text("x = 1\ny = x.cuda(async = True)\n", encoding="utf-8")
    with pytest.raises(HoraError, match=r"gpu\.py:2 is not Python 3: 'async' is a keyword since") as error:
        convert(script)
    assert "non_blocking=True" in str(error.value)
