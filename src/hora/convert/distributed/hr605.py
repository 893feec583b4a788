"""HR605: directories are named, made and removed once."""

from __future__ import annotations

import ast

from hora.convert.distributed.guards import on_all
from hora.convert.distributed.library import reducing
from hora.convert.distributed.script import Script
from hora.convert.finding import Finding

CODE = "HR605"
TITLE = "directories are named, made and removed once"
WHY = "A name made from the time or at random is another on each worker; what one has made, another removes."
_CHANCE = (
    "time.time", "time.strftime", "time.ctime", "datetime.datetime.now", "datetime.now", "uuid.uuid4", "uuid.uuid1",
    "tempfile.mkdtemp", "datetime.datetime.today", "time.localtime", "secrets.token_hex",
)  # fmt: skip
_MAKES = ("os.makedirs", "os.mkdir", ".SummaryWriter")


def detect(script: Script) -> list[Finding]:
    """Find run directories that differ from worker to worker, and directories that each of them removes."""
    if not script.starts:
        return []
    findings = []
    for call in script.calls_of(*_MAKES, "SummaryWriter"):
        given = [*call.args[:1], *(one.value for one in call.keywords if one.arg in ("log_dir", "logdir", "name"))]
        if any(_by_chance(script, one) for one in given) and on_all(script, call):
            findings.append(script.finding(CODE, call, "this directory has another name on each worker"))
    for call in script.calls_of("shutil.rmtree"):
        if on_all(script, call):
            findings.append(script.finding(CODE, call, "every worker removes it, and what the others have made in it"))
    return findings


def _by_chance(script: Script, path: ast.expr, depth: int = 0) -> bool:
    """Whether a path is made from the time or at random, and nobody has sent it to the others."""
    for part in ast.walk(path):
        if isinstance(part, ast.Call) and script.name(part.func) in _CHANCE:
            return True
        if isinstance(part, ast.Name) and depth < 3:
            sent = (one for call in reducing(script) for one in ast.walk(call))
            if any(isinstance(one, ast.Name) and one.id == part.id for one in sent):
                return False
            if any(_by_chance(script, one, depth + 1) for one in script.origins(part) if one is not part):
                return True
    return False
