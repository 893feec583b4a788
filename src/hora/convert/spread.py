"""How a value spreads over the workers: alike on all, a worker's own, an entry for each sample, a mean, a sum.

This is the algebra that decides what a conversion must do. With each global batch cut in slices, the global value of a
sum is the workers' sum, that of a mean is the workers' average once each is weighed by its slice (``mean *
loader.weight``), and whatever is neither (a product of two means, the root of a mean) has no exact repair. Operations
that leave the algebra give ``MIXED``, with the reason and the rule that speaks of it.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from enum import Enum

from hora.convert.interning import Interned


class Kind(Enum):
    """How a value relates to the slice of the global batch that a worker holds."""

    ZERO = "zero, to be added to"
    ALIKE = "alike on all workers"
    WHOLE = "of all samples of the batch, on each worker"
    OWN = "each worker's own"
    ROWS = "one entry for each sample"
    RAGGED = "entries for some of the samples"
    EACH = "one sample's"
    LISTED = "a list of the samples' entries"
    INVERSE = "in inverse proportion to the number of samples"
    COUNT = "in proportion to the number of samples"
    SUM = "a sum over the batch"
    TOTAL = "a sum over several batches"
    MEAN = "a mean over the batch"
    MEANS = "means of several batches, added up unweighed"
    WEIGHT = "the weight of the batch"
    HELD = "whether the worker has samples of the batch"
    SHARE = "a mean times its weight"
    MIXED = "not followed"


@dataclass(frozen=True, eq=False)
class Reason(metaclass=Interned):
    """Why a value left the algebra: the rule that speaks of it, what happened, and where."""

    code: str
    message: str
    node: ast.AST


@dataclass(frozen=True)
class Full:
    """Stands in the place of a loader for what is made as large as the batch size that the loaders were given.

    All workers hold it alike. Beside a slice of the batch, a worker's entries of it have to be taken first.

    Attributes
    ----------
    why
        The rule that speaks of it, and where it is made.
    uniform
        Whether each of its entries is the same, so that it does not matter which are taken.
    """

    why: Reason
    uniform: bool = False


@dataclass(frozen=True, eq=False)
class Spread(metaclass=Interned):
    """A kind, with the loaders whose batches it depends on.

    Attributes
    ----------
    kind
        How it relates to the worker's slice.
    loaders
        Whose batches; empty where it depends on none.
    axis
        For entries of samples: the axis that counts the samples, or None when that is not known.
    why
        What made it mixed, or a worker's own.
    flat
        For entries of samples: whether there is one number for each, as far as that can be seen.
    held
        For counts and sums: whether samples that a worker has borrowed, having none of its own, are left out.
    exact
        For counts: whether it is the number of samples itself, and no multiple of it.
    """

    kind: Kind
    loaders: frozenset[Hashable] = frozenset()
    axis: int | None = None
    why: Reason | None = None
    flat: bool = False
    held: bool = False
    exact: bool = False

    @property
    def local(self) -> bool:
        """Whether it depends on the worker's slice."""
        return self.kind not in (Kind.ZERO, Kind.ALIKE, Kind.WHOLE, Kind.OWN)

    @property
    def alike(self) -> bool:
        """Whether all workers hold the same."""
        return self.kind in (Kind.ZERO, Kind.ALIKE, Kind.WHOLE)

    @property
    def reducible(self) -> bool:
        """Whether one collective gives its global value."""
        return self.kind in (Kind.COUNT, Kind.SUM, Kind.TOTAL, Kind.MEAN, Kind.SHARE)

    @property
    def additive(self) -> bool:
        """Whether the workers' sum is its global value."""
        return self.kind in (Kind.COUNT, Kind.SUM, Kind.TOTAL)

    @property
    def full(self) -> bool:
        """Whether it depends on no batch, but on what is made as large as one."""
        return bool(self.loaders) and all(isinstance(one, Full) for one in self.loaders)

    @property
    def unsliced(self) -> Full | None:
        """What it depends on that is made as large as a batch, if anything."""
        return next((one for one in self.loaders if isinstance(one, Full)), None)


NOWHERE = ast.Pass()
"""The place of what happens at no expression: one for all, so that equal reasons are equal."""
TEXT = "a text shows it"
TWO_LOADERS = "batches of two loaders meet in one value"
EARLIER = "values of an earlier batch's samples are kept for the next batch"
SUM_AND_MEAN = "a sum over the batch meets a mean over the batch"
ZERO = Spread(Kind.ZERO)
ALIKE = Spread(Kind.ALIKE)
WHOLE = Spread(Kind.WHOLE)

ENTRIES = (Kind.ROWS, Kind.RAGGED)
"""Kinds that have entries of samples, for all of them or for some."""


def mixed(code: str, message: str, node: ast.AST, *parts: Spread) -> Spread:
    """Give a mixed spread, with the reason of its first mixed part where there is one."""
    loaders = frozenset().union(*(part.loaders for part in parts))
    for part in parts:
        if part.kind is Kind.MIXED:
            return replace(part, loaders=loaders)
    return Spread(Kind.MIXED, loaders, why=Reason(code, message, node))


def spoiled(*parts: Spread) -> Spread:
    """Give the spread of what is made from a mixed or a worker's own part, with that part's reason."""
    bad = next(part for part in parts if part.kind in (Kind.MIXED, Kind.OWN))
    return Spread(Kind.MIXED, frozenset().union(*(part.loaders for part in parts)), why=bad.why)


def text(spread: Spread, node: ast.AST) -> Spread:
    """Give the spread of a text that shows a value."""
    if not spread.local:
        return ALIKE if spread.kind is Kind.ZERO else spread
    if spread.kind in (*ENTRIES, Kind.EACH):
        return replace(spread, axis=None, flat=False)
    return mixed("HR601", TEXT, node, spread)


def shown(parts: Iterable[Spread]) -> Spread:
    """Give the spread of what a text shows; a time of the worker's own, beside parts of the slice, changes nothing."""
    several = list(parts)
    local = [one for one in several if one.local]
    if not local:
        return next((one for one in several if one.kind is Kind.OWN), ALIKE)
    broken = [one for one in local if one.kind is Kind.MIXED]
    whole = [one for one in local if one.kind not in (*ENTRIES, Kind.EACH)]
    return replace((broken or whole or local)[0], loaders=frozenset().union(*(one.loaders for one in local)))


def own(code: str, message: str, node: ast.AST) -> Spread:
    """Give the spread of a value that each worker has for itself, not from its batch."""
    return Spread(Kind.OWN, why=Reason(code, message, node))


def field(batch: Spread) -> Spread:
    """Give the spread of a part of a batch."""
    return batch if batch.kind is Kind.ROWS else replace(batch, axis=None)


def join(left: Spread, right: Spread) -> Spread:
    """Give the spread of a value that is one or the other, depending on the path taken."""
    left, right = _constants(left, right)
    if left == right:
        return left
    if replace(left, flat=right.flat) == right:
        return replace(left, flat=True)
    for one, other in ((left, right), (right, left)):
        if one.kind is Kind.MIXED:
            return replace(one, loaders=one.loaders | other.loaders)
    for one, other in ((left, right), (right, left)):
        if one.kind is Kind.ZERO:
            return other
        if one.kind is Kind.ALIKE and (other.kind is Kind.OWN or not other.local):
            return other
        beside = (*ENTRIES, Kind.EACH, Kind.LISTED, Kind.MEAN, Kind.MEANS, Kind.SHARE)
        if one.kind is Kind.ALIKE and other.kind in beside:
            return varied(other)
    if left.kind is Kind.OWN and right.kind is Kind.OWN:
        return left
    loaders = left.loaders | right.loaders
    pair = {left.kind, right.kind}
    for kinds, result in (
        ({Kind.ROWS}, Kind.ROWS),
        ({Kind.ROWS, Kind.RAGGED}, Kind.RAGGED),
        ({Kind.EACH}, Kind.EACH),
        ({Kind.LISTED}, Kind.LISTED),
        ({Kind.COUNT}, Kind.COUNT),
        ({Kind.COUNT, Kind.SUM}, Kind.SUM),
        ({Kind.COUNT, Kind.SUM, Kind.TOTAL}, Kind.TOTAL),
        ({Kind.MEAN}, Kind.MEAN),
        ({Kind.MEAN, Kind.MEANS}, Kind.MEANS),
        ({Kind.SHARE}, Kind.SHARE),
        ({Kind.WEIGHT}, Kind.WEIGHT),
        ({Kind.HELD}, Kind.HELD),
    ):
        if pair <= kinds:
            axis = left.axis if left.axis == right.axis else None
            held, exact = left.held and right.held, left.exact and right.exact
            return Spread(result, loaders, axis if result in (*ENTRIES, Kind.LISTED) else None, held=held, exact=exact)
    message = f"it is {left.kind.value} on one path and {right.kind.value} on another"
    why = left.why or right.why or Reason("HR303", message, NOWHERE)
    return Spread(Kind.MIXED, loaders, why=why)


def add(left: Spread, right: Spread, node: ast.AST) -> Spread:
    """Give the spread of a sum or a difference."""
    left, right = _constants(left, right)
    if left.kind is Kind.ZERO:
        return right
    if right.kind is Kind.ZERO:
        return left
    early = _early(left, right, node) if left.kind is not Kind.SHARE or right.kind is not Kind.SHARE else None
    if early is not None:
        return early
    kinds = {left.kind, right.kind}
    if kinds == {Kind.SHARE, Kind.MEAN}:
        return mixed("HR206", TWO_LOADERS, node, left, right)
    if kinds in ({Kind.SUM, Kind.MEAN}, {Kind.SUM, Kind.SHARE}):
        return mixed("HR206", SUM_AND_MEAN, node, left, right)
    both = replace(left, loaders=left.loaders | right.loaders, held=left.held and right.held)
    if Kind.ALIKE in kinds:
        other = right if left.kind is Kind.ALIKE else left
        if other.kind in (*ENTRIES, Kind.EACH, Kind.MEAN, Kind.MEANS, Kind.SHARE):
            return other
        return mixed("HR305", f"a constant is added to {other.kind.value}", node, left, right)
    for allowed, result in (
        ({Kind.COUNT}, Kind.COUNT),
        ({Kind.COUNT, Kind.SUM}, Kind.SUM),
        ({Kind.COUNT, Kind.SUM, Kind.TOTAL}, Kind.TOTAL),
        ({Kind.MEAN}, Kind.MEAN),
        ({Kind.MEAN, Kind.MEANS}, Kind.MEANS),
        ({Kind.SHARE}, Kind.SHARE),
    ):
        if kinds <= allowed:
            return replace(both, kind=result)
    return _rows(left, right, node)


def multiply(left: Spread, right: Spread, node: ast.AST) -> Spread:
    """Give the spread of a product."""
    left, right = _constants(left, right)
    kinds = {left.kind, right.kind}
    loaders = left.loaders | right.loaders
    if kinds == {Kind.MEAN, Kind.WEIGHT} and loaders in (left.loaders, right.loaders):
        # Of several loaders whose batches have met, the weight of one is that of all.
        return Spread(Kind.SHARE, loaders)
    early = _early(left, right, node)
    if early is not None:
        return early
    if kinds & {Kind.ALIKE, Kind.ZERO}:
        return right if left.alike else left
    if kinds == {Kind.MEAN, Kind.COUNT}:
        return Spread(Kind.SUM, loaders, held=left.held or right.held)
    if kinds == {Kind.SUM, Kind.INVERSE}:
        return Spread(Kind.MEAN, loaders)
    if kinds == {Kind.COUNT, Kind.INVERSE}:
        return ALIKE
    if Kind.HELD in kinds and kinds & {Kind.COUNT, Kind.SUM}:
        return Spread(Kind.COUNT if Kind.COUNT in kinds else Kind.SUM, loaders, held=True)
    return _rows(left, right, node)


def divide(left: Spread, right: Spread, node: ast.AST) -> Spread:
    """Give the spread of a quotient."""
    left, right = _constants(left, right)
    loaders = left.loaders | right.loaders
    if left.kind is Kind.SUM and right.kind in (Kind.SUM, Kind.MIXED) and left.loaders >= right.loaders:
        message = "a sum over the batch is divided by what differs from worker to worker"
        return Spread(Kind.MIXED, loaders, why=Reason("HR304", message, node))
    early = _early(left, right, node)
    if early is not None:
        return early
    if right.alike:
        return left
    if right.kind is Kind.COUNT:
        if left.kind is Kind.COUNT:
            return ALIKE
        if left.kind is Kind.SUM:
            return Spread(Kind.MEAN, loaders)
        if left.alike:
            return Spread(Kind.INVERSE, loaders)
    if left.alike and right.kind not in (*ENTRIES, Kind.EACH):
        return mixed("HR305", f"a division by {right.kind.value}", node, left, right)
    return _rows(left, right, node)


def nonlinear(parts: tuple[Spread, ...], node: ast.AST, what: str) -> Spread:
    """Give the spread of a function that is taken entry by entry and is not linear."""
    result = ALIKE
    for part in parts:
        if part.local and part.kind not in (*ENTRIES, Kind.EACH, Kind.MIXED):
            return mixed("HR305", f"{what} of {part.kind.value} is not that of the global batch", node, *parts)
        early = _early(result, part, node)
        result = early if early is not None else _rows(result, part, node)
    return result


def varied(spread: Spread) -> Spread:
    """Give the spread of what no longer has to be the same in each entry."""
    if not spread.full:
        return spread
    return replace(
        spread, loaders=frozenset(replace(one, uniform=False) for one in spread.loaders if isinstance(one, Full))
    )


def older(spread: Spread, loaders: frozenset[Hashable]) -> Spread:
    """Give what a spread becomes when these loaders hand out their next batch."""
    if not spread.loaders & loaders:
        return spread
    if spread.kind in (Kind.COUNT, Kind.SUM):
        return replace(spread, kind=Kind.TOTAL)
    if spread.kind is Kind.MEAN:
        return replace(spread, kind=Kind.MEANS)
    if spread.kind in (*ENTRIES, Kind.EACH, Kind.LISTED, Kind.WEIGHT, Kind.HELD, Kind.INVERSE):
        return Spread(Kind.MIXED, spread.loaders, why=Reason("HR207", EARLIER, NOWHERE))
    return spread


def _early(left: Spread, right: Spread, node: ast.AST) -> Spread | None:
    """Give the cases that any operation shares: mixed parts, a worker's own, two loaders."""
    if Kind.MIXED in (left.kind, right.kind):
        return spoiled(left, right)
    if left.local and right.local and left.full is not right.full and (full := left.unsliced or right.unsliced):
        return Spread(Kind.MIXED, left.loaders | right.loaders, why=full.why)
    if Kind.OWN in (left.kind, right.kind):
        mine, other = (left, right) if left.kind is Kind.OWN else (right, left)
        if not other.local:
            return mine
        why = mine.why or Reason("HR503", "each worker has its own value", node)
        return Spread(Kind.MIXED, other.loaders, why=why)
    # Where entries meet one by one there are as many of each, or torch raises.
    apart = left.local and right.local and left.loaders != right.loaders and not left.full
    if apart and not {left.kind, right.kind} <= {*ENTRIES}:
        return mixed("HR206", TWO_LOADERS, node, left, right)
    if left.alike and right.alike:
        return WHOLE if Kind.WHOLE in (left.kind, right.kind) else ALIKE
    return None


def _constants(left: Spread, right: Spread) -> tuple[Spread, Spread]:
    """Give two spreads, where what is of all samples meets what is of the slice: there it is as good as a constant."""
    if left.local is right.local:
        return left, right
    return (ALIKE if left.kind is Kind.WHOLE else left), (ALIKE if right.kind is Kind.WHOLE else right)


def _rows(left: Spread, right: Spread, node: ast.AST) -> Spread:
    """Give the spread of an operation entry by entry, where at least one side has entries of samples."""
    for one, other in ((left, right), (right, left)):
        if other.alike and one.kind in (*ENTRIES, Kind.EACH):
            return varied(one)
    if left.kind is right.kind is Kind.EACH:
        return Spread(Kind.EACH, left.loaders | right.loaders)
    if left.kind in ENTRIES and right.kind in ENTRIES:
        if None not in (left.axis, right.axis) and left.axis != right.axis:
            return mixed("HR305", "each sample of the batch meets each other", node, left, right)
        kind = Kind.ROWS if left.kind is right.kind is Kind.ROWS else Kind.RAGGED
        axis = left.axis if left.axis is not None else right.axis
        return Spread(kind, left.loaders | right.loaders, axis, flat=left.flat and right.flat)
    message = f"{left.kind.value} meets {right.kind.value}"
    return mixed("HR305", message, node, left, right)
