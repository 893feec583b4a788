"""Files that are made where they are missing: ``if not exists(path): download(path)``, a thing for worker 0 alone."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator

from hora.convert.edits import insert_after
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.guards import added, keep, together
from hora.convert.program import Program, set_in
from hora.convert.values import Named

_ASKS = frozenset({"os.path.exists", "os.path.isfile", "os.path.isdir", "os.access"})
_ASKING = frozenset({"exists", "is_file", "is_dir"})
_FETCHING = frozenset(
    Named(name)
    for name in (
        *("urllib.request.urlretrieve", "urllib.request.urlopen", "requests.get", "torch.hub.download_url_to_file"),
        *("wget.download", "gdown.download", "tarfile.open", "zipfile.ZipFile", "shutil.unpack_archive"),
    )
)


def made_where_missing(
    program: Program, code: str, plain: Callable[[ast.stmt], bool], writer: Callable[[Call], bool]
) -> Iterator[Finding]:
    """Find choices in which every worker makes files that are not there yet, and goes on to read them.

    Parameters
    ----------
    program
        The script.
    code
        The rule that speaks of it.
    plain
        Whether a statement needs no more than a guard of its own.
    writer
        Whether a call writes a file.
    """
    message = "every worker makes this where it is missing, while others look for it or read it"
    for choice, places in program.facts.places.items():
        if not isinstance(choice, ast.If) or all(place.alone for place in program.places(choice.body[0])):
            continue
        if not _asks(program, choice.test) or all(map(plain, choice.body)):
            continue
        fetches = any(call.function.things & _FETCHING for call in _inside(program, choice))
        if _apart(program, choice) and all(place.control.alike for place in places.values()):
            if fetches or any(map(writer, _inside(program, choice))):
                wait = insert_after(program.home(choice), choice, [f"{program.runtime}.barrier()"])
                yield program.finding(code, choice, message, [added(program, choice), wait])
        elif fetches:
            yield program.finding(code, choice, message, None)


def _asks(program: Program, test: ast.expr) -> bool:
    """Whether a test asks for a file."""
    for node in ast.walk(test):
        if isinstance(node, ast.Call):
            names = {
                thing.name for value in program.values(node.func) for thing in value.things if isinstance(thing, Named)
            }
            if names & _ASKS or getattr(node.func, "attr", "") in _ASKING:
                return True
    return False


def _inside(program: Program, choice: ast.If) -> list[Call]:
    """Give the calls that a choice makes, itself or in what it calls."""
    return made_by(program, choice.body)


def made_by(program: Program, parts: Iterable[ast.AST]) -> list[Call]:
    """Give the calls that are made in parts of a file, or in what is called there."""
    nodes = {node for part in parts for node in ast.walk(part)}
    return [call for call in program.all_calls if call.node in nodes or nodes.intersection(call.place.context)]


def _apart(program: Program, choice: ast.If) -> bool:
    """Whether nothing of a choice is used after it, and nothing in it is done by all workers together."""
    nodes = {node for statement in choice.body for node in ast.walk(statement)}
    stored = frozenset().union(*map(set_in, choice.body))
    kept = any(isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store) for node in nodes)
    leaves = any(isinstance(node, ast.Return | ast.Break | ast.Continue | ast.Yield | ast.Global) for node in nodes)
    scope = program.scope(choice)
    read = {node.id for node in ast.walk(scope) if isinstance(node, ast.Name) and node not in nodes}
    called = [call for call in _inside(program, choice) if call.node not in nodes]
    return not (choice.orelse or kept or leaves or stored & read or keep(called) or together(program, choice))
