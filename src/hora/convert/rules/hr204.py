"""HR204: loaders over streams are dealt."""

from __future__ import annotations

import ast

from hora.convert.finding import Finding
from hora.convert.imports import full_names
from hora.convert.places import wrap
from hora.convert.program import Program
from hora.convert.rules.hr201 import scaling
from hora.convert.streams import over_streams
from hora.convert.values import Class

CODE = "HR204"
TITLE = "loaders over streams are dealt"
WHY = (
    "Each worker would train on the whole stream: every sample N times. Dealt, it is still read by each worker, so it "
    "must give all of them the same samples in the same order."
)

# What gives something else on each worker, whatever the seed.
_UNSEEDED = frozenset(
    {
        "os.getpid",
        "os.urandom",
        "random.SystemRandom",
        "secrets.choice",
        "secrets.randbelow",
        "secrets.token_bytes",
        "secrets.token_hex",
        "socket.gethostname",
        "time.monotonic",
        "time.perf_counter",
        "time.time",
        "time.time_ns",
        "uuid.uuid1",
        "uuid.uuid4",
    }
)


def detect(program: Program) -> list[Finding]:
    """Find training loaders over streams, and those that batch nothing."""
    findings: list[Finding] = []
    for loader in sorted(program.training_loaders, key=program.number):
        size = program.facts.given[loader].get(1, "batch_size")
        streams = over_streams(program, loader)
        calls = [name for cls in streams for name in _calls(program, cls)]
        unseeded = _unseeded(calls)
        if size is not None and any(getattr(thing, "value", 0) is None for thing in size.things):
            findings.append(program.finding(CODE, loader.site, "a loader without batches is not dealt yet", None))
        elif _is_split(calls):
            message = "its stream is split by the script itself: hora verify compares what that gives with one worker"
            findings.append(program.finding(CODE, loader.site, message, ()))
        elif unseeded is not None:
            message = f"{unseeded} in the stream gives each worker something else, so that no batch can be cut"
            findings.append(program.finding(CODE, loader.site, message, None))
        elif program.weak and any(not _has_length(cls) for cls in streams):
            message = "the warm-up of weak scaling lasts epochs, and how long one is the stream does not say (__len__)"
            findings.append(program.finding(CODE, loader.site, message, None))
        elif streams and loader not in program.dealt:
            found = wrap(program, loader, f"{program.runtime}.deal", scaling(program))
            message = "its stream is trained on by every worker in full; dealt, each still reads all of it"
            findings.append(program.finding(CODE, loader.site, message, None if found is None else found[1]))
    return findings


def _has_length(cls: Class) -> bool:
    """Whether the samples of a stream are counted beforehand."""
    return any(
        isinstance(node, ast.FunctionDef) and node.name == "__len__" for one in cls.lineage for node in one.node.body
    )


def _unseeded(calls: list[str]) -> str | None:
    """What a stream calls that no seed makes the same on each worker."""
    return next((f"{name}()" for name in calls if name in _UNSEEDED), None)


def _is_split(calls: list[str]) -> bool:
    """Whether a stream asks which worker it is on, to give that one its part."""
    return any(name.rpartition(".")[2] in ("rank", "get_rank") for name in calls)


def _calls(program: Program, cls: Class) -> list[str]:
    """What the code of a stream calls, by the names that its file imports."""
    found = []
    for one in cls.lineage:
        imported = full_names(ast.walk(program.home(one.node).tree))
        for call in (node for node in ast.walk(one.node) if isinstance(node, ast.Call)):
            first, dot, rest = ast.unparse(call.func).partition(".")
            if first in imported:
                found.append(f"{imported[first]}{dot}{rest}")
    return found
