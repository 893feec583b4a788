"""HR603: worker 0 writes, and the others wait before they read."""

from __future__ import annotations

import ast

from hora.convert.edits import insert_after, insert_before, replace
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.guards import calls_beside, elsewhere, guarded, hoisted, runs, together
from hora.convert.imports import added, bound
from hora.convert.names import SAVERS
from hora.convert.opening import opening
from hora.convert.products import TIGHT
from hora.convert.program import Program
from hora.convert.rules.hr602 import speaks
from hora.convert.rules.missing import made_by, made_where_missing
from hora.convert.values import Foreign, Method, Named, WorkerZero

CODE = "HR603"
TITLE = "worker 0 writes, and the others wait before they read"
WHY = "Without it N workers write one file at once, and what is read back may be half of one and half of another."

_COPIED = frozenset({"torch.load", "zipfile.ZipFile", "tarfile.open", "pandas.read_csv", "h5py.File"})
_READERS = {
    "torch.save": frozenset({"torch.load"}),
    "pickle.dump": frozenset({"pickle.load"}),
    "joblib.dump": frozenset({"joblib.load"}),
    "json.dump": frozenset({"json.load"}),
    "numpy.save": frozenset({"numpy.load"}),
    "numpy.savez": frozenset({"numpy.load"}),
    "numpy.savetxt": frozenset({"numpy.loadtxt", "numpy.genfromtxt"}),
    "shutil.copy": _COPIED,
    "shutil.copyfile": _COPIED,
}
_PICTURES = frozenset({
    "imageio.imread", "imageio.v2.imread", "imageio.v3.imread", "matplotlib.pyplot.imread", "matplotlib.image.imread",
    "cv2.imread", "PIL.Image.open", "skimage.io.imread", "torchvision.io.read_image",
})  # fmt: skip
_LATER = frozenset({"torch.save", "pickle.dump", "joblib.dump", "json.dump", "shutil.copy", "shutil.copyfile"})
_DIRECTORIES = frozenset({"os.makedirs", "os.mkdir", "shutil.rmtree"})
_LOOKS = frozenset({"os.path.isdir", "os.path.exists", "os.listdir", "os.scandir"})
_LISTS = frozenset(map(Named, ("os.listdir", "os.scandir", "os.walk", "glob.glob", "glob.iglob")))
_OPENERS = frozenset({"logging.FileHandler", "logging.basicConfig", "logging.handlers.RotatingFileHandler"})
_METHODS = frozenset({
    "save", "savefig", "to_csv", "to_json", "to_pickle", "to_parquet", "mkdir", "unlink", "rmdir", "write_text",
    "write_bytes", "save_pretrained",
})  # fmt: skip


def detect(program: Program) -> list[Finding]:
    """Find what every worker writes, and files that are read before worker 0 has written them."""
    findings = list(
        made_where_missing(program, CODE, lambda one: writes(program, one) or speaks(program, one), _writer)
    ) or [
        program.finding(CODE, run[0], "every worker writes this", hoisted(program, run) or guarded(program, run))
        for run in runs(program, lambda statement: writes(program, statement))
    ]
    return findings or _opened(program) or _waits(program) or _looked_first(program) or _unguarded(program)


def writes(program: Program, statement: ast.stmt) -> bool:
    """Whether a statement writes files and does nothing else."""
    if isinstance(statement, ast.With):
        opens = [item.context_expr for item in statement.items]
        return all(_opens_to_write(program, node) for node in opens) and all(_inert(one) for one in statement.body)
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    here = any(_writer(call) for call in program.calls_by_node.get(statement.value, ()))
    return here or elsewhere(program, statement.value, _writer)


def _writer(call: Call) -> bool:
    """Whether a call writes a file, and is not as good done by all."""
    harmless = any(keyword.arg == "exist_ok" for keyword in call.node.keywords)
    for thing in call.function.things:
        if isinstance(thing, Named) and thing.name in SAVERS:
            return not harmless
        if isinstance(thing, Method) and isinstance(thing.receiver, Foreign) and thing.name in _METHODS:
            return not harmless
    # Such as `(directory / "name").write_text(...)`, of a path that is not followed.
    function = call.node.func
    unknown = not call.function.things and isinstance(function, ast.Attribute) and function.attr in _METHODS - {"save"}
    return unknown and not harmless


def _opens_to_write(program: Program, node: ast.expr) -> bool:
    """Whether an expression opens a file to write."""
    if not isinstance(node, ast.Call):
        return False
    return opening(node, [thing for value in program.values(node.func) for thing in value.things]) is not None


def _inert(statement: ast.stmt) -> bool:
    """Whether a statement binds no name that may be read elsewhere, and leaves nothing."""
    nodes = list(ast.walk(statement))
    binds = any(
        isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store) for node in nodes
    )
    leaves = any(isinstance(node, ast.Return | ast.Break | ast.Continue | ast.Yield | ast.YieldFrom) for node in nodes)
    return not leaves and not binds


def _unguarded(program: Program) -> list[Finding]:
    """Find writes in other files that every worker comes to and that nothing in the script can guard."""
    message = "a file that the script imports writes here, on every worker: not edited yet"
    return [
        program.finding(CODE, call.node, message, None)
        for call in program.all_calls
        if not program.own(call.node) and not call.place.alone and _writer(call)
    ]


def _opened(program: Program) -> list[Finding]:
    """Find files that every worker opens to write and that no guard can hold: all but worker 0 write to nowhere."""
    openers = {Named(name) for name in _OPENERS}
    for call in program.all_calls:
        opened = opening(call.node, call.function.things)
        logged = call.node if opened is None and call.function.things & openers else None
        path = opened.path if opened else None if logged is None else _path_of_log(logged)
        if path is None or call.place.alone:
            continue
        if isinstance(path, ast.IfExp) and any(WorkerZero() in value.things for value in program.values(path.test)):
            continue
        home = program.home(path)
        text = home.segment(path) if isinstance(path, TIGHT) else f"({home.segment(path)})"
        instead = f"{text} if {program.runtime}.rank() == 0 else os.devnull"
        if opened and opened.method:
            rest = [*map(home.segment, opened.rest), *map(home.segment, call.node.keywords)]
            edits = [replace(home, call.node, f"open({', '.join((instead, *rest))})")]
        else:
            edits = [replace(home, path, instead)]
        if bound(home.tree, "os") is None:
            edits.append(added(home, "import os"))
        return [program.finding(CODE, call.node, "every worker opens this file to write", edits)]
    return []


def _path_of_log(call: ast.Call) -> ast.expr | None:
    """Give the argument that says which file a call logs to."""
    named = [keyword.value for keyword in call.keywords if keyword.arg == "filename"]
    return next(iter((*named, *call.args[:1])), None)


def _waits(program: Program) -> list[Finding]:
    """Find guarded writes after which another worker may read the file, or write in the directory."""
    findings: list[Finding] = []
    for call in program.all_calls:
        names = {thing.name for thing in call.function.things if isinstance(thing, Named)}
        if not call.place.alone or not (names & SAVERS or _draws(call)):
            continue
        guard = _guard(program, call.node)
        if guard is None:
            continue
        readers = [one for name in names for one in program.all_calls if _reads(program, name, call, one)]
        readers += [one for name in names for one in program.all_calls if _looks(program, name, call, one)]
        if _draws(call):
            pictures = {Named(name) for name in _PICTURES}
            readers += [one for one in program.all_calls if one.function.things & pictures]
        if _prepares(program, call):
            readers += [one for one in program.all_calls if one.function.things & _LISTS]
        later = [one for one in readers if not one.place.alone and _may_follow(program, call, one)]
        whole = _whole(program, guard, later) if _prepares(program, call) else guard
        if _waits_beside(program, guard, 1) or _waits_beside(program, whole, 1):
            continue
        place = next(iter(program.places(whole)), call.place)
        message = "what worker 0 writes here may be read by the others before it is written"
        if later and place.control.alike:
            edits = [insert_after(program.home(whole), whole, [f"{program.runtime}.barrier()"])]
            return [program.finding(CODE, call.node, message, edits)]
        for reader in later:
            statement = program.statement(reader.node)
            if not reader.place.control.alike:
                findings.append(program.finding(CODE, reader.node, "workers may part before they read this file", None))
            elif not _waits_beside(program, statement, -1):
                edits = [insert_before(program.home(statement), statement, [f"{program.runtime}.barrier()"])]
                return [program.finding(CODE, reader.node, message, edits)]
    return findings


def _prepares(program: Program, write: Call) -> bool:
    """Whether a write comes before the training, as that of files which are made once and then listed."""
    first = program.backwards[0] if program.backwards else None
    return first is not None and program.order(write.node, write.place.context) < program.order(
        first.node, first.place.context
    )


def _whole(program: Program, guard: ast.If, readers: list[Call]) -> ast.stmt:
    """Give the outermost loop of a function that writes all the files, before any is read, or the guarded write."""
    whole: ast.stmt = guard
    for outer in program.ancestors(guard):
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
            break
        if isinstance(outer, ast.For | ast.While):
            if any(outer in {loop for loop, _ in reader.place.loops} for reader in readers):
                break
            whole = outer
    return whole


def _looked_first(program: Program) -> list[Finding]:
    """Find choices by what files there are, in which worker 0 makes some and all wait: all must have looked before."""
    message = "a worker that looks when worker 0 has begun to make these files takes another way"
    looks = {Named(name) for name in _LOOKS}
    findings: list[Finding] = []
    for choice, places in program.facts.places.items():
        if not isinstance(choice, ast.If) or not all(one.control.alike and not one.alone for one in places.values()):
            continue
        first = choice.body[0]
        if not together(program, choice) or _waits_beside(program, first, 0):
            continue
        asked = made_by(program, [choice.test])
        made = made_by(program, choice.body)
        if any(one.function.things & looks for one in asked) and any(one.place.alone and _writer(one) for one in made):
            edits = [insert_before(program.home(first), first, [f"{program.runtime}.barrier()"])]
            findings.append(program.finding(CODE, choice, message, edits))
    return findings


def _draws(call: Call) -> bool:
    """Whether a call writes a picture."""
    name = call.node.func.attr if isinstance(call.node.func, ast.Attribute) else ast.unparse(call.node.func)
    return name in ("savefig", "save_image", "imsave", "imwrite")


def _reads(program: Program, writer: str, write: Call, read: Call) -> bool:
    """Whether a call may read what a writer wrote, or write in a directory that it made or removed."""
    names = {thing.name for thing in read.function.things if isinstance(thing, Named)}
    if writer in _DIRECTORIES:
        return any(name in _OPENERS or name.endswith("SummaryWriter") for name in names)
    if not names & _READERS.get(writer, frozenset()):
        return False
    paths = [_path(write.node, 1 if writer in _LATER else 0), _path(read.node, 0)]
    literals = {path.value for path in paths if isinstance(path, ast.Constant)}
    return len(literals) < 2


def _looks(program: Program, writer: str, write: Call, read: Call) -> bool:
    """Whether a call asks for the directory that a writer makes, other than to make it."""
    if writer not in _DIRECTORIES or not any(Named(name) in read.function.things for name in _LOOKS):
        return False
    made, asked = _path(write.node, 0), _path(read.node, 0)
    if made is None or asked is None or ast.dump(made) != ast.dump(asked):
        return False
    block = program.statement(read.node)
    return not (isinstance(block, ast.If) and _guard(program, block.body[0]) is block)


def _path(node: ast.Call, position: int) -> ast.expr | None:
    """Give the argument that says which file."""
    return node.args[position] if len(node.args) > position else None


def _may_follow(program: Program, write: Call, read: Call) -> bool:
    """Whether a read may come after a write."""
    later = program.order(read.node, read.place.context) > program.order(write.node, write.place.context)
    return later or bool(set(read.place.loops) & set(write.place.loops))


def _guard(program: Program, node: ast.AST) -> ast.If | None:
    """Give the guard that lets worker 0 alone come to a node."""
    for one in program.ancestors(node):
        if isinstance(one, ast.If) and any(WorkerZero() in value.things for value in program.values(one.test)):
            return one
    return None


def _waits_beside(program: Program, statement: ast.stmt, step: int) -> bool:
    """Whether workers wait for each other directly after a statement, or directly before it."""
    return calls_beside(program, statement, step, "barrier")
