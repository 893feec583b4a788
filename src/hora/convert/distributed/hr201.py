"""HR201, in a distributed script: every training loader is sharded."""

from __future__ import annotations

import ast

from hora.convert.distributed.accelerator import prepared
from hora.convert.distributed.guards import on_all
from hora.convert.distributed.library import loaders, samplers, wrapped
from hora.convert.distributed.script import Script, is_constant, keyword
from hora.convert.finding import Finding

CODE = "HR201"
_SHARDS = ("rank", "world_size", "size()", "shard", "split_dataset_by_node", "num_replicas", "Iterable", "deal")


def detect(script: Script) -> list[Finding]:
    """Find training loaders that hand every worker all the data, and samplers that do not know their worker."""
    findings = []
    if script.starts or wrapped(script):
        findings += [script.finding(CODE, one, message) for one, message in _whole(script)]
    for call in loaders(script):
        sampler = keyword(call, "sampler", 3)
        if sampler is not None and is_constant(keyword(call, "shuffle", 2), True) and _distributed(script, sampler):
            findings.append(script.finding(CODE, call, "shuffle=True beside a sampler: DataLoader raises a ValueError"))
    for call in samplers(script):
        findings += _unknown_worker(script, call)
    return findings


def _distributed(script: Script, sampler: ast.expr) -> bool:
    """Whether a sampler can be nothing but a DistributedSampler."""
    made = samplers(script)
    return all(one in made for one in script.origins(sampler))


def _whole(script: Script) -> list[tuple[ast.Call, str]]:
    """Give the loaders that training draws from, and that nothing cuts by worker."""
    found = []
    accelerated = script.uses("accelerate")
    given = prepared(script)
    if accelerated and given is None:
        return []
    message = "every worker trains on all the data: it has no DistributedSampler"
    if accelerated:
        message = "every worker trains on all the data: accelerator.prepare() is not given it"
    for call in loaders(script):
        if given is not None and call in given:
            continue
        names = {one.arg for one in call.keywords}
        if names & {"sampler", "batch_sampler", None} or len(call.args) > 3 or not call.args + call.keywords:
            continue
        if any(isinstance(one, ast.Starred) for one in call.args) or not on_all(script, call):
            continue
        if any(word in _text(script, call) for word in _SHARDS) or "hvd.deal" in dict(script.calls).values():
            continue
        if _sharded_later(script, call):
            continue
        if any(script.trains(loop) and on_all(script, loop) for loop in script.draws(call)):
            found.append((call, message))
    return found


def _sharded_later(script: Script, loader: ast.Call) -> bool:
    """Whether a loader is handed to a function of the script that makes a sharded one of it."""
    for call, _ in script.calls:
        function = script.local(call)
        if function is not None and any(loader in script.origins(given) for given in call.args):
            text = ast.unparse(function)
            if any(word in text for word in (*_SHARDS, "DistributedSampler")):
                return True
    return False


def _text(script: Script, call: ast.Call) -> str:
    """Give the text of what a loader is made from: its data set, and the classes and functions that make it."""
    texts = [ast.unparse(call)]
    data = keyword(call, "dataset", 0)
    for origin in script.origins(data) if data is not None else ():
        texts.append(ast.unparse(origin))
        name = script.name(origin.func).rpartition(".")[2] if isinstance(origin, ast.Call) else ""
        own = [one for one in script.nodes if isinstance(one, ast.ClassDef | ast.FunctionDef) and one.name == name]
        texts += [ast.unparse(one) for one in own]
    return "\n".join(texts)


def _unknown_worker(script: Script, call: ast.Call) -> list[Finding]:
    """Find samplers that are given no rank, or one that counts within a host only."""
    rank = keyword(call, "rank", 2)
    if rank is None:
        if script.horovod and not script.calls_of("dist.init_process_group") and not call.keywords[2:] and _bare(call):
            return [script.finding(CODE, call, "without num_replicas and rank it asks torch.distributed, not Horovod")]
        return []
    ranks = script.origins(rank)
    if all(isinstance(one, ast.Call) and script.name(one.func) == "hvd.local_rank" for one in ranks):
        message = "its rank is counted within a host: the workers of a second host get the same samples"
        return [script.finding(CODE, rank, message)]
    return []


def _bare(call: ast.Call) -> bool:
    """Whether a call says nothing about the number of workers."""
    return len(call.args) < 2 and not {one.arg for one in call.keywords} & {"num_replicas", None}
