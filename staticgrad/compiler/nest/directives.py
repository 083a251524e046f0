"""The directives of a kernel: which are legal, which it has, and how it gets others.

``directives_of`` lists those that lowering or tuning chose, ``with_directives`` puts others in
their place, ``defaults`` adds those that a machine wants, and ``checked`` refuses illegal ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Final, TypeVar

from staticgrad.compiler.nest.block_functions import function_text
from staticgrad.language.ir.expr import BLOCKS, LEAVES, Access, Expr, postorder
from staticgrad.language.ir.kernels.directives import (
    FEW_ALIVE,
    Directive,
    Directives,
    Interleave,
    Prefetch,
    Stream,
    Strips,
    Vector,
    vectors_together,
    whole_vectors,
)
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import (
    HALF_LINE,
    LANES,
    Accumulate,
    Axis,
    Columns,
    Gemm,
    Loop,
    Map,
    Scalar,
    Sort,
    Stage,
    Statement,
    Store,
    nested,
    roots,
    statements,
)
from staticgrad.language.ir.kernels.verify import verify_kernel
from staticgrad.language.ir.kernels.width import may_take_strips
from staticgrad.language.types.dtype import DType
from staticgrad.native.machine import Machine
from staticgrad.support.records import replace

S = TypeVar("S", bound=Statement)

#: Loads and stores of a body beyond which memory is what it waits for.
_STREAMS: Final = 12
#: Stages that take one row at a time.
_ALONE: Final = (Columns, Gemm, Sort)
#: Operations of a body up to which a processor's window holds several vectors by itself.
SHORT: Final = 32
#: Operations beyond which a body is written once, under masks that have registers of their own.
MASKED: Final = 128
#: Operations beyond which loops of rows wait for memory; and vectors to prefetch ahead. Kernels
#: without rows always prefetch: operands in L2 take .9 of the time, in L1 1.006 (every_op).
WAITING: Final = 64
FAR: Final = 32
#: Vectors of columns that go down their rows together: as many as there are, then as fit; and
#: vectors of all their sums, at most, in registers of 512 bits.
ACROSS: Final = (8, 2)
HELD: Final = 24
#: Share of a body's operations that wait for each other, from which on it is a chain.
_CHAINED: Final = 0.7


class IllegalDirectiveError(ValueError):
    """A directive that a kernel does not allow; the message says why."""


def directives_of(kernel: Kernel) -> Directives:
    """Return the directives that are written in a kernel."""
    found: list[Directive] = [Interleave("o", kernel.jammed)] if kernel.jammed > 1 else []
    found += [Strips()] if kernel.in_strips else []
    streams = set[str]()
    for number, (stage, _) in enumerate(nested(kernel.stages)):
        if isinstance(stage, Map) and stage.ahead is not None:
            found.append(stage.ahead._replace(stage=number))
        if isinstance(stage, Loop) and stage.jammed > 1:
            found.append(Interleave(stage.axis.name, stage.jammed, number))
        stores = (s for s in statements(stage) if isinstance(s, Store) and s.streamed)
        streams |= {store.access.operand for store in stores}
    return (*found, *map(Stream, sorted(streams)))


def with_directives(kernel: Kernel, directives: Directives) -> Kernel:
    """Return the kernel with these directives in the place of its own.

    Raises:
        VerifyError: they are not legal for this kernel.
        IllegalDirectiveError: a kernel has no place for one of them.
    """
    streams = {d.operand for d in directives if isinstance(d, Stream)}
    ahead = {d.stage: d._replace(stage=-1) for d in directives if isinstance(d, Prefetch)}
    loops = {(d.axis, d.stage): d.factor for d in directives if isinstance(d, Interleave)}
    numbers = count()

    def stored(statement: S) -> S:
        if not isinstance(statement, Store):
            return statement
        return replace(statement, streamed=statement.access.operand in streams)

    def mapped(stage: Map) -> Map:
        return replace(stage, body=(*map(stored, stage.body),), ahead=ahead.get(next(numbers)))

    def changed(stages: Iterable[Stage]) -> Iterator[Stage]:
        for stage in stages:
            if isinstance(stage, Map):
                yield mapped(stage)
                continue
            number = next(numbers)
            match stage:
                case Scalar():
                    yield replace(stage, body=(*map(stored, stage.body),))
                case Columns() | Sort():
                    yield replace(stage, stores=(*map(stored, stage.stores),))
                case Gemm():
                    stores, fed = (*map(stored, stage.stores),), (*map(mapped, stage.fed),)
                    yield replace(stage, stores=stores, fed=fed)
                case Loop():
                    inner, jammed = (*changed(stage.stages),), loops.get((stage.axis.name, number))
                    yield replace(stage, stages=inner, jammed=jammed or 1)

    found = replace(
        kernel,
        stages=(*changed(kernel.stages),),
        jammed=loops.get(("o", -1), 1),
        in_strips=Strips() in directives,
    )
    verify_kernel(found)
    if {*directives_of(found)} != {*directives}:
        raise IllegalDirectiveError(f"{describe(directives)}: not all have a place in the kernel")
    return found


def describe(directives: Directives) -> str:
    """Return directives as text for people."""
    return ", ".join(map(str, directives)) or "one row at a time"


def checked(kernel: Kernel, directives: Iterable[Directive]) -> Directives:
    """Return the directives if all of them are legal for the kernel.

    Raises:
        IllegalDirectiveError: one of them would change results, or names what is not there.
    """
    found: list[Directive] = []
    known = set[tuple[object, ...]]()
    for each in directives:
        reason = _refusal(kernel, each)
        key = (type(each), *(f for f in each if not isinstance(f, int)), getattr(each, "stage", -1))
        if key in known:
            reason = "it is given twice"
        if reason:
            raise IllegalDirectiveError(f"{each}: {reason}")
        known.add(key)
        found.append(each)
    return tuple(found)


def _refusal(kernel: Kernel, each: Directive) -> str:
    stages = [stage for stage, _ in nested(kernel.stages)]
    if not isinstance(each, Stream | Strips):
        if not -1 <= each.stage < len(stages):
            return "there is no such stage"
        stages = stages if each.stage < 0 else [stages[each.stage]]
    maps = [s for s in stages if isinstance(s, Map)]
    match each:
        case Vector(tail):
            return "" if tail in ("peel", "mask") else "there is no such tail"
        case Interleave("o", count):
            if count < 1 or (kernel.own_rows and count > kernel.jammed):
                return f"there is scratch for {kernel.jammed} rows"
            return _one_by_one(kernel)
        case Interleave("j", count):
            if count < 1 or count & (count - 1):
                return "vectors are taken by powers of two"
            if kernel.serial:
                return "the elements of this kernel run in their order"
            if not any(may_be_mixed(each.body) for each in maps) and not _columns(stages):
                return "a vector may read what another one stores"
            return ""
        case Interleave(axis, count):
            loops = [s for s in stages if isinstance(s, Loop) and s.axis.name == axis]
            if any(not 1 <= count <= loop.jammed for loop in loops):
                return "there is no scratch for so many iterations"
            return "" if loops else "there is no such axis"
        case Prefetch(axis, distance):
            if distance < 1:
                return "the distance is one iteration at least"
            names = {"*", *(a.name for a in _axes(kernel))}
            return "" if axis in names else "there is no such axis"
        case Stream(operand):
            sizes = {o.name: o.dtype.itemsize for o in kernel.operands if not o.is_own}
            if sizes.get(operand, 0) * kernel.lanes < HALF_LINE:
                return "no operand of this name is stored to in vectors of 32 bytes or more"
            return ""
        case Strips():
            return "" if may_take_strips(kernel) else "these rows cannot be taken in strips"


def _one_by_one(kernel: Kernel) -> str:
    """Return why the rows of a kernel cannot be interleaved; empty if they can."""
    if kernel.outer not in ("axes", "groups") or kernel.serial:
        return "the rows of this kernel run in their order"
    if kernel.listed is not None:
        return "each row has operands and sizes of its own"
    stages = [stage for stage, _ in nested(kernel.stages)]
    if any(isinstance(stage, _ALONE) for stage in stages):
        return "a stage of this kernel takes one row at a time"
    if any(isinstance(stage, Loop) and (stage.going or stage.jammed > 1) for stage in stages):
        return "a loop of this kernel ends by itself, or is interleaved"
    if any(axis.limits for axis in _axes(kernel)):
        return "each row may end at a number of its own"
    return ""


def may_be_mixed(statements: Sequence[Statement]) -> bool:
    """Return whether several vectors of these statements may be interleaved."""
    if not all(isinstance(statement, Store | Accumulate) for statement in statements):
        return False
    stores = [s.access for s in statements if isinstance(s, Store)]
    evaluated = postorder(root for statement in statements for root in roots(statement))
    loads = [e.attribute for e in evaluated if isinstance(e.attribute, Access)]
    if any(access.bounded or access.gather for access in stores):
        return False
    if len({*loads, *stores}) > _STREAMS:
        return False
    stored = {access.operand: access for access in stores}
    return not any(a.bounded or stored.get(a.operand, a) != a for a in loads) and all(
        access == stored[access.operand] and access.stride(LANES) != 0 for access in stores
    )


def _columns(stages: Iterable[object]) -> list[Columns]:
    return [s for s in stages if isinstance(s, Columns)]


def _axes(kernel: Kernel) -> Iterator[Axis]:
    yield from kernel.axes
    for stage, around in nested(kernel.stages):
        yield from around
        if isinstance(stage, Map):
            yield from stage.loops
        elif isinstance(stage, Columns):
            yield from (stage.axis, *stage.rows)


@lru_cache(maxsize=1 << 9)
def _lines(op: str, dtype: DType) -> int:
    return function_text(op, dtype).count("\n")


def work(e: Expr) -> int:
    """Return the operations of an expression without those of its operands."""
    return _lines(e.op, e.dtype) if e.op in BLOCKS else int(e.op not in LEAVES)


def _is_chain(exprs: list[Expr], total: int) -> bool:
    """Return whether most operations wait for each other and few values are alive."""
    last = {arg: k for k, e in enumerate(exprs) for arg in e.args}
    changes, waited = [0] * (len(exprs) + 1), dict[Expr, int]()
    for k, e in enumerate(exprs):
        waited[e] = 1 + work(e) + max((waited[a] for a in e.args), default=0)
        changes[k] += 1
        changes[last.get(e, k)] -= 1
    alive = most = 0
    for change in changes:
        alive += change
        most = max(most, alive)
    return most <= FEW_ALIVE and max(waited.values(), default=0) >= _CHAINED * total


def defaults(kernel: Kernel, machine: Machine) -> Directives:
    """Return the directives that a kernel has if nobody chooses others."""
    written = [
        d for d in directives_of(kernel) if not (isinstance(d, Interleave) and d.axis == "o")
    ]
    found: list[Directive] = [*written]
    jammed = 1 if _one_by_one(kernel) else kernel.jammed
    if jammed > 1:
        found.append(Interleave("o", jammed))
    for number, (stage, around) in enumerate(nested(kernel.stages)):
        if isinstance(stage, Map) and not around:
            found += _of_map(kernel, stage, number, jammed, machine)
        elif isinstance(stage, Columns) and not around:
            found.append(Interleave("j", _columns_together(stage, machine), number))
    return tuple(found)


def _columns_together(stage: Columns, machine: Machine) -> int:
    """Return how many vectors of columns go down their rows together: as many as registers hold."""
    exprs = [*postorder([s.value for s in stage.body])]
    total = 2 * (len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS))
    for most in ACROSS:
        is_held = len(stage.body) == 1 or most * len(stage.body) * 512 <= HELD * machine.vector_bits
        if is_held and whole_vectors(total, most) == most:
            return most
    return 1


def _of_map(
    kernel: Kernel, stage: Map, number: int, jammed: int, machine: Machine
) -> Iterator[Directive]:
    exprs = [*postorder([root for s in stage.body for root in roots(s)])]
    total = len(stage.body) + len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS)
    maps = [s for s, _ in nested(kernel.stages) if isinstance(s, Map)]
    far = stage.ahead is None and kernel.outer in ("lanes", "axes") and maps == [stage]
    prefetch = Prefetch("*" if kernel.axes or stage.rows else LANES, FAR * kernel.lanes, number)
    is_prefetched = far and (kernel.outer == "lanes" or kernel.streams or total > WAITING)
    if is_prefetched:
        yield prefetch
    if total <= SHORT:
        return
    if jammed == 1 and not kernel.serial and may_be_mixed(stage.body):
        is_chain = total > 2 * SHORT and _is_chain(exprs, total)
        count = vectors_together(total, is_chain, machine.vector_bits)
        if count > 1:
            yield Interleave("j", count, number)
            return
        masked = not count
    else:
        masked = machine.has_mask_registers and total > MASKED
        masked = masked or not whole_vectors(total, 1)
    if masked:
        yield Vector("mask", number)
        if far and not is_prefetched:
            yield prefetch
