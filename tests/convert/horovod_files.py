"""Scripts written for Horovod, ``from_horovod/case.in.py``: what each becomes in ``.ddp.py`` and ``.hora.py``.

``python tests/convert/horovod_files.py`` writes what every case becomes anew: read the difference before you keep it.
"""

from __future__ import annotations

from pathlib import Path

from hora.convert import convert

ROOT = Path(__file__).parent / "from_horovod"
TARGETS = ("ddp", "hora")


def cases() -> list[tuple[Path, str]]:
    """Give every case's input, with each target."""
    return [(case, target) for case in sorted(ROOT.glob("*.in.py")) for target in TARGETS]


def output(case: Path, target: str) -> Path:
    """Give where the converted script, or what is refused, is kept."""
    return case.with_name(case.name.replace(".in.py", f".{target}.py"))


def outcome(case: Path, target: str) -> str:
    """Give what a case becomes: a script, or the lines that refuse it."""
    conversion = convert(case, from_="horovod", to=target)
    refusals = [f"# {one.line}:{one.column} {one.code} {one.message}\n" for one in conversion.refusals]
    return "".join(refusals) or conversion.converted


def accept() -> None:
    """Write what every case becomes."""
    for case, target in cases():
        output(case, target).write_text(outcome(case, target), encoding="utf-8")


if __name__ == "__main__":
    accept()
