"""The files that a script leaves: who writes each, and whether it holds what one worker's holds.

What they hold is compared in the replayed run, whose state is the reference's after each step; only what a worker
computes for its own slice, leaves out or wraps can then be another. What changes between correct runs of one worker
(times, paths, noise) is not compared, and a format that is not known is named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from hora.script.events import FilesWritten
from hora.verify import printed
from hora.verify.contents import Text, Values, read
from hora.verify.evidence import Evidence
from hora.verify.floor import MARGIN, NOISE, UNPERMUTED
from hora.verify.result import Difference, Finding
from hora.verify.runs import Run

# What a script may well say of its job, and not of its training.
_OF_JOB = re.compile(
    r"rank|world|nproc|num_?proc|workers?\b|batch_?size|device|gpu|cuda|backend|dist_|distributed|time|date|elapsed|"
    r"path|dir\b|host|port\b|\bpid|node|rng|random|seed|version|git|argv|command",
    re.IGNORECASE,
)
_JOB_IN_TEXT = re.compile(r"world.?size|num.?(?:workers|gpus|proc)|n.?gpus?\b|rank\b|batch.?size|nproc", re.IGNORECASE)
_RANDOM = re.compile(r"rng|random", re.IGNORECASE)
# Numbers this near to each other are equal, whatever they are measured by.
_NOTHING = 1e-12


def written(evidence: Evidence) -> Finding | None:
    """The files that one worker leaves, by the same names in each run, must be left by one worker of several."""
    left = [frozenset(map(_numberless, _left(evidence.free, rank))) for rank in range(evidence.free.workers)]
    for path in _steady(evidence):
        named = _numberless(path)
        writers = [rank for rank, paths in enumerate(left) if named in paths]
        if len(writers) > 1:
            detail = f"workers {', '.join(map(str, writers))} all write {_shown(path)}, one over the other"
        elif not writers:
            detail = f"no worker writes {_shown(path)}, which one worker alone does"
        else:
            continue
        return Difference("files", None, None, None, None, detail), "HR603"
    return None


def compared(evidence: Evidence) -> tuple[Finding | None, tuple[str, ...]]:
    """Hold what the files of several workers hold against one worker's.

    Returns the first difference, and the files whose format is not known.
    """
    unknown = []
    for path in _steady(evidence):
        found = evidence.replayed.left.get(path)
        if found is None or found.stat().st_size == 0:
            continue
        one, several = read(evidence.reference.left[path]), read(found)
        again = [read(run.left[path]) for run in evidence.repeated]
        writer = next(iter(_writers(evidence.replayed, path)), 0)
        named = f"{_shown(path)}, which worker {writer} writes,"
        if isinstance(one, Text) and isinstance(several, Text):
            texts = [other for other in again if isinstance(other, Text)]
            difference = _some_line(one, texts, several, named) if evidence.alike else None
        elif isinstance(one, Values) and isinstance(several, Values):
            values = [other for other in again if isinstance(other, Values)]
            difference = _some_value(evidence, one, values, several, named)
        else:
            unknown.append(_shown(path))
            continue
        if difference is not None:
            return difference, ()
    return None, tuple(unknown)


def _steady(evidence: Evidence) -> Iterator[str]:
    """The files that one worker leaves under the same name in each of its runs."""
    for path in _left(evidence.reference):
        if path in evidence.reference.left and all(path in run.left for run in evidence.repeated):
            yield path


def _left(run: Run, rank: int = 0) -> tuple[str, ...]:
    return next(run.of(FilesWritten, rank), FilesWritten(())).paths


def _numberless(path: str) -> str:
    """A path without the fractions in its name, such as a metric's, which a rounding may change."""
    return re.sub(r"\d+\.\d+", "#", path)


def _writers(run: Run, path: str) -> list[int]:
    return [rank for rank in range(run.workers) if path in _left(run, rank)]


def _some_line(one: Text, again: Sequence[Text], several: Text, named: str) -> Finding | None:
    kept = [[line for line in text.lines if not _JOB_IN_TEXT.search(line)] for text in (one, several, *again)]
    found = printed.first_difference(kept[0], kept[2:], kept[1])
    if found is None:
        return None
    expected, line = (repr(text.strip()) if text is not None else "nothing" for text in found)
    detail = f"{named} has {line} where one worker's has {expected}"
    return Difference("contents", None, None, None, None, detail), "HR601"


def _some_value(
    evidence: Evidence, one: Values, again: Sequence[Values], several: Values, named: str
) -> Finding | None:
    """Compare what stands under each key, missing keys first: the tensors under a key that is wrapped are elsewhere."""
    steady = [
        key
        for key, value in one.entries.items()
        if all(key in other.entries for other in again) and not (_RANDOM if value.dim() else _OF_JOB).search(key)
    ]
    for key in steady:
        if key not in several.entries:
            instead = _instead(key, several)
            where = f"{instead} in place of {key}" if instead else f"no {key}"
            return Difference("contents", None, key, None, None, f"{named} has {where}, which one worker's has"), None
    for key in steady:
        expected, found = one.entries[key], several.entries[key]
        if not evidence.alike and not expected.dim():
            continue
        noise = max((_apart(other.entries[key], expected) for other in again), default=0.0)
        allowed = max(MARGIN * noise, UNPERMUTED[evidence.precision])
        difference = _apart(found, expected)
        if noise > NOISE or difference <= allowed:
            continue
        if found.shape != expected.shape:
            what = f"{tuple(found.shape)} entries in {key} where one worker's has {tuple(expected.shape)}"
        elif expected.dim():
            what = f"another {key} than one worker's: it differs by {difference:.1e} of its norm"
        else:
            what = f"{key} {found.item():.9g} where one worker's has {expected.item():.9g}"
        code = None if expected.dim() else "HR601"
        return Difference("contents", None, key, difference, allowed, f"{named} has {what}"), code
    return None


def _instead(key: str, several: Values) -> str | None:
    """The key that a wrapper makes of a key, such as ``module.0.weight``."""
    bare = (other for other in several.entries if other.replace("module.", "") == key)
    deeper = (other for other in several.entries if "." in key and other.endswith(f".{key}"))
    return next(bare, None) or next(deeper, None)


def _apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """How far two tensors are apart, by the norm of the second; infinitely far where their shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    if expected.dtype == torch.uint8 and expected.numel() > 4096:
        # The state of random numbers.
        return 0.0
    kind = torch.complex128 if expected.is_complex() else torch.float64
    found, expected = found.to(kind), expected.to(kind)
    same = (found == expected) | (found.isnan() & expected.isnan())
    if bool(same.all()):
        return 0.0
    apart, norm = float(torch.linalg.vector_norm((found - expected)[~same])), float(torch.linalg.vector_norm(expected))
    return 0.0 if apart <= _NOTHING else apart / norm if norm > 0 else float("inf")


def _shown(path: str) -> str:
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
