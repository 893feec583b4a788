"""How a report is written: lines of text, JSON, annotations of GitHub's workflows, or SARIF 2.1.0."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hora import __version__
from hora.convert.catalogue import CATALOGUE, Entry
from hora.convert.checking import Report
from hora.convert.finding import Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_text(report: Report) -> str:
    """Write a line for each finding, as linters do."""
    lines = [f"{_where(one)} {one.code} {'note: ' if one.note else ''}{one.message}" for one in report.findings]
    return _joined([*lines, *map(str, report.unchecked)])


def as_json(report: Report) -> str:
    """Write the report's fields."""
    findings = [
        {
            "code": one.code,
            "file": one.file,
            "line": one.line,
            "column": one.column,
            "message": one.message,
            "note": one.note,
            "mendable": one.mendable,
        }
        for one in report.findings
    ]
    unchecked = [{"file": one.file, "line": one.line, "reason": one.reason} for one in report.unchecked]
    counts = {"checked": report.checked, "skipped": report.skipped}
    return json.dumps({"findings": findings, "unchecked": unchecked, **counts}, indent=2) + "\n"


def as_github(report: Report) -> str:
    """Write commands that a workflow of GitHub shows beside the lines."""
    lines = []
    for one in report.findings:
        place = f"file={_property(one.file)},line={one.line},col={one.column},title={one.code}"
        lines.append(f"::{'notice' if one.note else 'error'} {place}::{_data(f'{one.code} {one.message}')}")
    for missing in report.unchecked:
        place = f"file={_property(missing.file)},line={missing.line},title=not checked"
        lines.append(f"::error {place}::{_data(missing.reason)}")
    return _joined(lines)


def as_sarif(report: Report) -> str:
    """Write a log of SARIF 2.1.0, the standard of OASIS for the results of static analysis."""
    codes = sorted({one.code for one in report.findings})
    driver = {"name": "hora", "version": __version__, "rules": [_rule(CATALOGUE[code]) for code in codes]}
    results = [
        {
            "ruleId": one.code,
            "ruleIndex": codes.index(one.code),
            "level": "note" if one.note else "error",
            "message": {"text": one.message},
            "locations": [_location(one.file, one.line, one.column)],
        }
        for one in report.findings
    ]
    notes = [
        {"level": "error", "message": {"text": one.reason}, "locations": [_location(one.file, one.line, 1)]}
        for one in report.unchecked
    ]
    invocation = {"executionSuccessful": not report.unchecked, "toolExecutionNotifications": notes}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation],
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {
    "text": as_text,
    "json": as_json,
    "github": as_github,
    "sarif": as_sarif,
}
"""How each format is written, by its name."""


def summary(report: Report) -> str:
    """Say in a line what was found and looked at."""
    findings = [one for one in report.findings if not one.note]
    mendable = sum(one.mendable for one in findings)
    parts = [f"{len(findings)} finding{'s' * (len(findings) != 1)}"]
    parts += [f"{mendable} mended by hora convert"] if mendable else []
    parts += [f"{len(report.findings) - len(findings)} notes"] if len(report.findings) > len(findings) else []
    parts += [f"{len(report.unchecked)} files not checked"] if report.unchecked else []
    looked = f"{report.checked} file{'s' * (report.checked != 1)} checked"
    return f"{', '.join(parts)}; {looked}" + (f", {report.skipped} never mention torch" if report.skipped else "")


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _where(finding: Finding) -> str:
    return f"{finding.file}:{finding.line}:{finding.column}"


def _data(text: str) -> str:
    """Escape a message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape a property of a workflow command."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _rule(entry: Entry) -> dict[str, Any]:
    """Describe a rule as SARIF does."""
    return {
        "id": entry.code,
        "shortDescription": {"text": entry.title},
        "fullDescription": {"text": entry.why},
        "help": {"text": f"hora rule {entry.code}"},
    }


def _location(file: str, line: int, column: int) -> dict[str, Any]:
    """Describe a place as SARIF does; its URI is relative where the path is."""
    path = Path(file)
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": uri},
            "region": {"startLine": line, "startColumn": column},
        }
    }
