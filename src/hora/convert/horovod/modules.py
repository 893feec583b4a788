"""Horovod's modules by Hora's, and which of their names Hora has: the imports of a script said anew."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from hora.convert.edits import Edit
from hora.convert.finding import Finding
from hora.convert.imports import full_names, spelled
from hora.convert.program import names_in
from hora.convert.source import Source

CODE = "HR907"
TORCH = frozenset({
    "Adasum", "Average", "Compression", "DistributedOptimizer", "HorovodInternalError", "HostsUpdatedInterrupt", "Max",
    "Min", "ProcessSet", "Product", "Sum", "SyncBatchNorm", "add_process_set", "allgather", "allgather_async",
    "allgather_object", "allreduce", "allreduce_", "allreduce_async", "allreduce_async_", "alltoall", "alltoall_async",
    "barrier", "broadcast", "broadcast_", "broadcast_async", "broadcast_async_", "broadcast_object",
    "broadcast_optimizer_state", "broadcast_parameters", "ccl_built", "cross_rank", "cross_size", "cuda_built",
    "ddl_built", "elastic", "global_process_set", "gloo_built", "gloo_enabled", "grouped_allgather",
    "grouped_allgather_async", "grouped_allreduce", "grouped_allreduce_", "grouped_allreduce_async",
    "grouped_allreduce_async_", "grouped_reducescatter", "grouped_reducescatter_async", "init", "is_homogeneous",
    "is_initialized", "join", "local_rank", "local_size", "mpi_built", "mpi_enabled", "mpi_threads_supported",
    "nccl_built", "poll", "rank", "reducescatter", "reducescatter_async", "remove_process_set", "rocm_built",
    "shutdown", "size", "sparse_allreduce_async", "start_timeline", "stop_timeline", "synchronize",
})  # fmt: skip
"""The names of ``horovod.torch`` that ``hora.torch`` has."""
ELASTIC = frozenset({
    "ElasticSampler", "HorovodInternalError", "HostsUpdatedInterrupt", "ObjectState", "State", "TorchState",
    "get_handler_registry", "run", "set_handler_registry",
})  # fmt: skip
"""The names of ``horovod.torch.elastic`` that ``hora.torch.elastic`` has."""
_EXCEPTIONS = frozenset({"HorovodInternalError", "HostsUpdatedInterrupt"})
_LOADERS = frozenset({"AsyncDataLoaderMixin", "BaseDataLoader"})
_RUN = frozenset({"run"})
_MODULES = {
    "horovod": ("hora", _RUN),
    "horovod.runner": ("hora", _RUN),
    "horovod.torch": ("hora.torch", TORCH),
    "horovod.torch.compression": ("hora.torch", TORCH),
    "horovod.torch.functions": ("hora.torch", TORCH),
    "horovod.torch.mpi_ops": ("hora.torch", TORCH),
    "horovod.torch.optimizer": ("hora.torch", TORCH),
    "horovod.torch.sync_batch_norm": ("hora.torch", TORCH),
    "horovod.torch.elastic": ("hora.torch.elastic", ELASTIC),
    "horovod.torch.elastic.sampler": ("hora.torch.elastic", ELASTIC),
    "horovod.torch.elastic.state": ("hora.torch.elastic", ELASTIC),
    "horovod.common.exceptions": ("hora.torch", _EXCEPTIONS),
    "horovod.data": ("hora.data", _LOADERS),
    "horovod.data.data_loader_base": ("hora.data", _LOADERS),
}
_OTHERS = frozenset({"tensorflow", "keras", "mxnet", "spark", "ray"})
_IMPORTERS = frozenset({"import_module", "__import__", "find_spec"})


def uses(source: Source) -> bool:
    """Whether a file imports something of Horovod."""
    return any(name.split(".")[0] == "horovod" for name in full_names(source.nodes).values()) or any(
        isinstance(node, ast.Import | ast.ImportFrom) and any(name.split(".")[0] == "horovod" for name in _of(node))
        for node in source.nodes
    )


def renamed(source: Source) -> list[Finding]:
    """Find every import of Horovod's, with the edits that import Hora's instead, and what Hora has no name for."""
    imports = [node for node in source.nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    edits: list[Edit] = []
    found: list[Finding] = []
    for node in imports:
        try:
            edits += _import(source, node)
        except LookupError as unknown:
            found.append(_refused(source, node, str(unknown.args[0])))
    found += [_refused(source, node, message) for node, message in _unknown(source)]
    bare = [node for node in source.nodes if isinstance(node, ast.Name) and node.id == "horovod"]
    if bare and "horovod" in full_names(imports):
        if "hora" in names_in(source.tree):
            found.append(_refused(source, bare[0], "'hora' is the name of something else here"))
        edits += [_put(source, node, "hora") for node in bare]
    if found or not edits:
        return list(dict.fromkeys(found))
    message = "Hora's runtime stands where Horovod's stood"
    line = source.line_of(min(edits).start)
    return [Finding("HR101", str(source.path), line, 1, message, tuple(edits))]


def _import(source: Source, node: ast.Import | ast.ImportFrom) -> Iterator[Edit]:
    """Say an import anew; raises LookupError, with the reason, where Hora has no counterpart."""
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if node.level or module.split(".")[0] != "horovod":
            return
        for alias in node.names:
            if f"{module}.{alias.name}" not in _MODULES:
                _known(module, alias.name)
        start = source.span(node)[0]
        match = re.compile(r"from\s+(horovod[\w.]*)").match(source.text, start)
        if match is None:
            raise LookupError("the module's name is written over several lines")
        here = _MODULES[module][0]
        for alias in node.names:
            inner = f"{module}.{alias.name}"
            if inner in _MODULES and _MODULES[inner][0] != f"{here}.{alias.name}":
                raise LookupError(f"import {alias.name} as 'import {inner} as ...'")
        yield Edit(*match.span(1), here, source.path)
        return
    for alias in node.names:
        if alias.name.split(".")[0] != "horovod":
            continue
        _known(alias.name)
        hora = _MODULES[alias.name][0]
        if alias.asname is None and hora != _plainly(alias.name):
            raise LookupError(f"{alias.name} stands in {hora}: give it a name, 'import {alias.name} as ...'")
        start = source.offset(alias.lineno, alias.col_offset)
        if not source.text.startswith(alias.name, start):
            raise LookupError("the module's name is written with spaces")
        yield Edit(start, start + len(alias.name), hora, source.path)


def _unknown(source: Source) -> Iterator[tuple[ast.expr, str]]:
    """Give what is read of Horovod's modules that Hora has not, and modules that are imported by a text."""
    named = {name: full for name, full in full_names(source.nodes).items() if full.split(".")[0] == "horovod"}
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and not isinstance(source.parents[node], ast.Attribute):
            full = spelled(node, named)
            if full is None:
                continue
            module = max((one for one in _MODULES if full.startswith(f"{one}.") or full == one), key=len)
            rest = full.removeprefix(module).lstrip(".").split(".")[0]
            through = any(_MODULES[one][0] != _plainly(one) for one in _within(module, node, named))
            try:
                if through:
                    raise LookupError(f"{module} is reached through another module: import it by itself")
                if rest:
                    _known(module, rest)
            except LookupError as unknown:
                yield node, str(unknown.args[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in _IMPORTERS and node.args:
            text = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            if isinstance(text, str) and text.split(".")[0] == "horovod":
                yield node, f"'{text}' is imported by a text: import it by a statement"


def _within(module: str, node: ast.Attribute, named: dict[str, str]) -> list[str]:
    """Give the modules that an expression names beyond what was imported, up to one of them."""
    root: ast.expr = node
    while isinstance(root, ast.Attribute):
        root = root.value
    given = named[root.id] if isinstance(root, ast.Name) else module
    return [one for one in _MODULES if (module == one or module.startswith(f"{one}.")) and len(one) > len(given)]


def _known(module: str, name: str | None = None) -> None:
    """Raise LookupError, with the reason, where Hora has not a module, or a name of it."""
    other = next((part for part in (*module.split("."), name or "") if part in _OTHERS), None)
    if other is not None:
        raise LookupError(f"horovod.{other} is not for PyTorch by itself: of Horovod, Hora is horovod.torch alone")
    if module not in _MODULES:
        raise LookupError(f"{module} has no counterpart in Hora")
    hora, names = _MODULES[module]
    if name not in (None, "*") and name not in names:
        raise LookupError(f"{hora} has no '{name}', which {module} has")


def _of(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Give the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [] if node.level else [node.module or ""]


def _plainly(module: str) -> str:
    """Give the module of Hora's at the same place as one of Horovod's."""
    return "hora" + module.removeprefix("horovod")


def _put(source: Source, node: ast.expr, text: str) -> Edit:
    """Replace an expression."""
    return Edit(*source.span(node), text, source.path)


def _refused(source: Source, node: ast.expr | ast.stmt, message: str) -> Finding:
    """Refuse the script at a node."""
    column = source.offset(node.lineno, node.col_offset) - source.starts[node.lineno - 1]
    return Finding(CODE, str(source.path), node.lineno, column + 1, message, None)
