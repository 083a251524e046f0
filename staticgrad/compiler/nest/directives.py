"""The directives that a machine adds to those that lowering or tuning chose for a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from staticgrad.compiler.nest.block_functions import function_text
from staticgrad.language.ir.expr import BLOCKS, LEAVES, Expr, postorder
from staticgrad.language.ir.kernels.directives import (
    FEW_ALIVE,
    Directive,
    Directives,
    Interleave,
    Prefetch,
    Vector,
    streamed_operands,
    vectors_together,
    whole_vectors,
)
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.legality import may_be_mixed
from staticgrad.language.ir.kernels.stages import LANES, Columns, Map, nested_stages, roots
from staticgrad.language.types.dtype import DType
from staticgrad.native.machine import Machine

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


def describe(directives: Directives) -> str:
    """Return directives as text for people."""
    return ", ".join(map(str, directives)) or "one row at a time"


@lru_cache(maxsize=1 << 9)
def _lines(op: str, dtype: DType) -> int:
    return function_text(op, dtype).count("\n")


def work(e: Expr) -> int:
    """Return the operations of an expression without those of its operands."""
    return _lines(e.op, e.dtype) if e.op in BLOCKS else int(e.op not in LEAVES)


def _is_chain(exprs: list[Expr], total: int) -> bool:
    """Return True if a body is one dependence chain: latency-bound, with few live values."""
    last = {arg: k for k, e in enumerate(exprs) for arg in e.args}
    changes, waited = [0] * (len(exprs) + 1), dict[Expr, int]()
    for k, e in enumerate(exprs):
        # the longest chain of operations up to this expression
        waited[e] = 1 + work(e) + max((waited[a] for a in e.args), default=0)
        changes[k] += 1
        # It is alive up to its last reader.
        changes[last.get(e, k)] -= 1
    alive = most = 0
    for change in changes:
        alive += change
        most = max(most, alive)
    return most <= FEW_ALIVE and max(waited.values(), default=0) >= _CHAINED * total


def defaults(kernel: Kernel, machine: Machine) -> Directives:
    """Return the directives of a kernel, completed by a machine's defaults."""
    directives = [*kernel.directives]
    for number, (stage, around) in enumerate(nested_stages(kernel.stages)):
        if isinstance(stage, Map) and not around:
            directives += _of_map(kernel, stage, number, machine)
        elif isinstance(stage, Columns) and not around and not _has(kernel, Interleave, number):
            directives.append(Interleave("j", _columns_together(stage, machine), number))
    return tuple(directives)


def _has(kernel: Kernel, kind: type[Prefetch | Interleave | Vector], number: int) -> bool:
    """Return whether a stage has a directive of a kind already."""
    return any(
        isinstance(d, kind) and (d.stage == number or (d.stage < 0 and not _of_rows(d)))
        for d in kernel.directives
    )


def _of_rows(directive: Directive) -> bool:
    return isinstance(directive, Interleave) and directive.axis == "o"


def _columns_together(stage: Columns, machine: Machine) -> int:
    """Return how many vectors of columns to reduce together: as many as registers hold."""
    exprs = [*postorder([s.value for s in stage.body])]
    total = 2 * (len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS))
    for most in ACROSS:
        is_held = len(stage.body) == 1 or most * len(stage.body) * 512 <= HELD * machine.vector_bits
        if is_held and whole_vectors(total, most) == most:
            return most
    return 1


def _of_map(kernel: Kernel, stage: Map, number: int, machine: Machine) -> Iterator[Directive]:
    """Yield the default directives of a map on a machine: prefetch, interleave or mask."""
    exprs = [*postorder([root for s in stage.body for root in roots(s)])]
    total = len(stage.body) + len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS)
    maps = [s for s, _ in nested_stages(kernel.stages) if isinstance(s, Map)]
    far = not _has(kernel, Prefetch, number)
    far = far and kernel.outer in ("elements", "axes", "squares") and maps == [stage]
    prefetch = Prefetch("*" if kernel.axes or stage.rows else LANES, FAR * kernel.lanes, number)
    streams = bool(streamed_operands(kernel.directives))
    is_prefetched = far and (kernel.outer == "elements" or streams or total > WAITING)
    if is_prefetched:
        yield prefetch
    if total <= SHORT or _has(kernel, Interleave, number) or _has(kernel, Vector, number):
        return
    if kernel.interleaved_rows == 1 and not kernel.serial and may_be_mixed(stage.body):
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
