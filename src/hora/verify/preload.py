"""What the processes that fork a verification's workers import beforehand."""

from __future__ import annotations

import ast

# What every observed run imports, and every optimizer.
_ALWAYS = ("hora.verify.worker", "hora.torch", "torch._dynamo", "torch.optim")

# Packages whose import takes long, starts no thread, and reads nothing that a script may set before it.
_PATIENT = frozenset({"numpy", "pandas", "scipy", "sklearn", "torchaudio", "torchvision"})


def preloaded(source: bytes) -> tuple[str, ...]:
    """The modules that the runs of a script share: Hora's own, and those that the script asks for in some packages."""
    asked: dict[str, None] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            asked.update(dict.fromkeys(alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            asked[node.module] = None
    return (*_ALWAYS, *(name for name in asked if name.partition(".")[0] in _PATIENT))
