"""How a rule is explained: a page with an example of each kind, a line of a list, or its fields."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import indent
from typing import Any

from hora.convert.catalogue import Entry


def as_page(entry: Entry) -> str:
    """Write what must hold, why, who sees to it, and a wrong and a right example."""
    return "\n".join(
        [
            f"{entry.code}  {entry.title}",
            "",
            entry.why,
            f"hora convert {'mends it' if entry.mends else 'does not mend it'} in a script for one device; "
            f"hora check {'looks' if entry.distributed else 'does not look'} for it in a distributed one.",
            "It changes what is computed." if entry.computes else "It does not change what is computed.",
            "",
            "Wrong:",
            "",
            indent(entry.example("wrong").rstrip(), "    "),
            "",
            "Right:",
            "",
            indent(entry.example("right").rstrip(), "    "),
            "",
        ]
    )


def as_list(entries: Iterable[Entry]) -> str:
    """Write a line for each rule: its code, whether convert mends it, whether it changes what is computed."""
    lines = [
        f"{one.code}  {'mends' if one.mends else '':5}  {'computes' if one.computes else '':8}  {one.title}\n"
        for one in entries
    ]
    return "".join(lines)


def as_markdown(entry: Entry) -> str:
    """Write the same page for the documentation."""
    mends = "`hora convert` mends it" if entry.mends else "`hora convert` does not mend it"
    reads = "`hora check` looks for it" if entry.distributed else "`hora check` does not look for it"
    computes = "It changes what is computed." if entry.computes else "It does not change what is computed."
    return (
        f"# {entry.code}: {entry.title}\n\n{entry.why}\n\n"
        f"{mends} in a script for one device; {reads} in a script that is distributed already. {computes}\n\n"
        f"## Wrong\n\n```python\n{entry.example('wrong')}```\n\n## Right\n\n```python\n{entry.example('right')}```\n"
    )


def as_record(entry: Entry) -> dict[str, Any]:
    """Give a rule's fields."""
    return {
        "code": entry.code,
        "title": entry.title,
        "why": entry.why,
        "mends": entry.mends,
        "computes": entry.computes,
        "distributed": entry.distributed,
        "wrong": entry.example("wrong"),
        "right": entry.example("right"),
    }
