"""Shard what ``deal()`` deals with torch's DistributedSampler, an epoch after the other in an order of its own."""

from __future__ import annotations

import ast

from hora.convert.distributed.script import is_constant
from hora.convert.edits import Edit, insert_before, replace, without
from hora.convert.facts import Draw
from hora.convert.finding import Finding
from hora.convert.metrics import batch_loop
from hora.convert.names import LOADERS
from hora.convert.naming import expression
from hora.convert.products import TIGHT
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.streams import over_streams
from hora.convert.targets.words import Needs, Words
from hora.convert.values import Loader, Named, plain

_POSITIONS = ("dataset", "batch_size", "shuffle", "sampler", "batch_sampler")
_NOTE = (
    "DistributedSampler has an order of its own, and fills the last batches with samples from the start; N workers"
    " should divide the batch size"
)


def detect(program: Program, words: Words, needs: Needs) -> list[Finding]:
    """Find the loaders that are dealt, with the edits that give them a DistributedSampler instead."""
    findings: list[Finding] = []
    deals: dict[ast.Call, set[Loader]] = {}
    for call in program.calls_of(f"{NAME}.deal"):
        deals.setdefault(call.node, set()).update(one for one in call.result.things if isinstance(one, Loader))
    sites: set[ast.AST] = set()
    for node, loaders in deals.items():
        message = "its samples are dealt over the workers"
        if any(over_streams(program, plain(one)) for one in loaders):
            streamed = "a stream has no order that a DistributedSampler could deal: convert to hora"
            findings.append(program.finding("HR204", node, streamed, None))
            continue
        if any("collate" in {name for name, _ in call.keywords} for call in program.calls_by_node[node]):
            padded = "the samples of the whole batch are put together, and padded, on each worker: convert to hora"
            findings += [program.finding("HR304", one.site, padded, None) for one in loaders]
            continue
        if any(_unnamed(one.site) or _shared(program, one) for one in loaders):
            path = program.home(node).path
            needs.functions[path].add("share")
            needs.samplers.add(path)
            edits = [replace(program.home(node), node.func, program.fresh(words.said["share"]))]
            findings.append(program.finding("HR201", node, message, edits))
        else:
            edits = _undealt(program, node)
            for site in dict.fromkeys(one.site for one in loaders if one.site not in sites):
                sites.add(site)
                sampled = _sampled(program, site, words)
                if isinstance(sampled, str):
                    findings.append(program.finding("HR201", site, sampled, None))
                else:
                    needs.samplers.add(program.home(site).path)
                    edits += sampled
            findings.append(program.finding("HR201", node, message, edits))
        findings.append(program.finding("HR201", node, _NOTE, ()))
        findings += _reshuffled(program, frozenset(loaders))
    return findings + _asked(program)


def _asked(program: Program) -> list[Finding]:
    """Refuse what asks a dealt loader for its batch size or sampler, which become those of one worker."""
    findings: dict[Finding, None] = {}
    for node in program.nodes():
        if isinstance(node, ast.Attribute) and node.attr in ("batch_size", "sampler", "batch_sampler"):
            things = {thing for value in program.values(node.value) for thing in value.things}
            if any(isinstance(one, Loader) and plain(one) in program.dealt for one in things):
                message = f"the loader's {node.attr} becomes that of one worker: convert to hora"
                findings[program.finding("HR207", node, message, None)] = None
    return list(findings)


def _undealt(program: Program, call: ast.Call) -> list[Edit]:
    """Take a deal out."""
    statement, source = program.statement(call), program.home(call)
    given = source.segment(call.args[0])
    if isinstance(statement, ast.Assign) and statement.value is call:
        if [source.segment(target) for target in statement.targets] == [given]:
            return [without(source, statement)]
    return unwrapped(program, call)


def unwrapped(program: Program, call: ast.Call) -> list[Edit]:
    """Leave of a call its first argument."""
    source = program.home(call)
    (start, end), (inner, last) = source.span(call), source.span(call.args[0])
    return [Edit(start, inner, "", source.path), Edit(last, end, "", source.path)]


def _sampled(program: Program, site: ast.AST, words: Words) -> list[Edit] | str:
    """Give a loader a sampler and its share of the batch size, or say why it cannot have them."""
    made = {thing for call in program.calls_by_node.get(site, ()) for thing in call.function.things}
    if not isinstance(site, ast.Call) or not any(isinstance(one, Named) and one.name in LOADERS for one in made):
        return "the loader is of a class of its own, whose samples DistributedSampler may not deal"
    given = dict(zip(_POSITIONS, site.args, strict=False))
    given |= {one.arg: one.value for one in site.keywords if one.arg is not None}
    given = {name: node for name, node in given.items() if not is_constant(node, None)}
    if {"sampler", "batch_sampler"} & given.keys() or len(site.args) > 3:
        return "the loader has a sampler of its own, in whose place DistributedSampler would come: convert to hora"
    if "dataset" not in given or "batch_size" not in given:
        return "the loader has no batch size of which a worker could take its share"
    source, name = program.home(site), words.name_in(program)
    dataset, size, shuffle = given["dataset"], given["batch_size"], given.get("shuffle")
    statement = program.statement(site)
    if not isinstance(statement, ast.Assign | ast.Expr | ast.Return):
        return "the loader is made where its sampler cannot be made before it"
    before: list[str] = []
    told = source.segment(dataset)
    edits: list[Edit] = []
    if not isinstance(dataset, ast.Name | ast.Attribute) and not told.startswith("range("):
        told = program.fresh("dataset", "train_dataset", "samples")
        before.append(f"{told} = {source.segment(dataset)}")
        edits.append(replace(source, dataset, told))
    factor = source.segment(size)
    if not isinstance(size, TIGHT):
        factor = f"({factor})"
    edits.append(replace(source, size, f"{factor} // {words.said['size'].format(name=name)}"))
    options = words.options.format(name=name)
    if shuffle is None or is_constant(shuffle, False):
        options += ", shuffle=False"
    elif not is_constant(shuffle, True):
        options += f", shuffle={source.segment(shuffle)}"
    sampler = program.fresh("sampler", "train_sampler", "distributed_sampler")
    before.append(f"{sampler} = DistributedSampler({told}{options})")
    edits.append(insert_before(source, statement, before))
    keyword = next((one for one in site.keywords if one.arg == "shuffle"), None)
    if keyword is not None:
        start, end = source.span(keyword)
        edits.append(Edit(start, end, f"sampler={sampler}", source.path))
    elif "shuffle" in given:
        edits.append(replace(source, given["shuffle"], f"sampler={sampler}"))
    else:
        at = max(source.span(node)[1] for node in (*site.args, *(one.value for one in site.keywords)))
        edits.append(Edit(at, at, f", sampler={sampler}", source.path))
    return edits


def _shared(program: Program, loader: Loader) -> bool:
    """Whether the call that makes a loader makes others, too, whose samples are not dealt."""
    return any(other.site is loader.site and other not in program.dealt for other in program.facts.loaders)


def _unnamed(site: ast.AST) -> bool:
    """Whether a loader may be given its batch size or its shuffling in a dictionary."""
    named = {one.arg for one in site.keywords} if isinstance(site, ast.Call) else set()
    return None in named and not {"batch_size", "shuffle"} <= named


def _shuffles(program: Program, loader: Loader) -> bool:
    """Whether a loader may shuffle."""
    arguments = program.facts.given[loader]
    if _unnamed(loader.site):
        return True
    return arguments.get(2, "shuffle") is not None and arguments.literal(2, "shuffle") is not False


def _reshuffled(program: Program, loaders: frozenset[Loader]) -> list[Finding]:
    """Tell the samplers of loaders the epoch, where they are walked more than once."""
    findings: dict[Finding, None] = {}
    before = frozenset(map(plain, loaders))
    training = {loop for loop, _ in program.training_loops}
    draws = program.facts.draws.values()
    walked = {plain(one) for draw in draws if isinstance(batch_loop(draw), ast.For) for one in draw.loaders}
    for draw in draws:
        drawn = frozenset(map(plain, draw.loaders))
        if not drawn & before:
            continue
        if not isinstance(batch_loop(draw), ast.For):
            if not {loop for loop, _ in draw.place.loops} & training and before & walked:
                continue
            message = "batches are taken by hand: no epoch begins of which the sampler could be told: convert to hora"
            findings[program.finding("HR202", draw.node, message, None)] = None
        elif any(_shuffles(program, loader) for loader in drawn):
            found = _told_epoch(program, draw, drawn)
            if found is not None:
                findings[found] = None
    return list(findings)


def _told_epoch(program: Program, draw: Draw, loaders: frozenset[Loader]) -> Finding | None:
    """Tell a sampler the epoch in the loop around that over its batches; None where there is no such loop."""
    inner = batch_loop(draw)
    around = [(loop, context) for loop, context in draw.place.loops if loop is not inner]
    if not around:
        return None
    loop, context = around[-1]
    message = "the sampler is told the epoch: it would give the same order each time"
    if not isinstance(loop, ast.For) or not isinstance(loop.target, ast.Name):
        refusal = "the loop over the epochs has no counter that DistributedSampler could be told"
        return program.finding("HR202", loop, refusal, None)
    within = inner if isinstance(inner, ast.For) and context == draw.place.context else None
    anchor, near = (loop.body[0], []) if within is None else (within, [within.iter])
    place = next((one for one in program.places(anchor) if one.context == context), None)
    name = expression(program, loaders, place, near) if place is not None else None
    if name is None:
        refusal = "the loader has no name in the loop over the epochs, by which its sampler could be told the epoch"
        return program.finding("HR202", loop, refusal, None)
    line = f"{name}.sampler.set_epoch({loop.target.id})"
    return program.finding("HR202", loop, message, [insert_before(program.home(anchor), anchor, [line])])
