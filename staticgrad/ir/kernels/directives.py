"""How a kernel runs, as data: rows interleaved, strips, prefetches, streaming stores.

A kernel says what is computed; its directives say how. No result depends on them, so any legal set
may be chosen, by a rule of lowering or by measurement (``compiling/tuning.py``). ``directives_of``
reads them from a kernel and ``with_directives`` puts others in, for the sets that ``verify_kernel``
accepts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import TypeVar

from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Ahead,
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
    statements,
)
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.records import dataclass, replace

S = TypeVar("S", bound=Statement)


@dataclass(frozen=True)
class Directives:
    """A schedule of one kernel. Stages are counted as ``nested`` yields them.

    Attributes:
        interleave: rows that run together (unroll and jam).
        strips: a vector of rows runs each stage before the next one.
        prefetch: stages with an axis and how many of its iterations ahead they prefetch.
        loops: stages that are loops with how many of their iterations run together.
        stream: operands that are written by streaming stores.
    """

    interleave: int = 1
    strips: bool = False
    prefetch: tuple[tuple[int, Ahead], ...] = ()
    loops: tuple[tuple[int, int], ...] = ()
    stream: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"interleave {self.interleave}"] if self.interleave > 1 else []
        parts += ["strips"] * self.strips
        parts += [f"prefetch {a.axis}+{a.distance} in stage {n}" for n, a in self.prefetch]
        parts += [f"interleave {times} in stage {n}" for n, times in self.loops]
        parts += [f"stream {name}" for name in self.stream]
        return ", ".join(parts) or "one row at a time"


def directives_of(kernel: Kernel) -> Directives:
    """Return the directives of a kernel."""
    prefetch, loops, stream = [], [], set()
    for number, (stage, _) in enumerate(nested(kernel.stages)):
        if isinstance(stage, Map) and stage.ahead is not None:
            prefetch.append((number, stage.ahead))
        if isinstance(stage, Loop) and stage.jammed > 1:
            loops.append((number, stage.jammed))
        stores = (s for s in statements(stage) if isinstance(s, Store) and s.streamed)
        stream |= {store.access.operand for store in stores}
    return Directives(
        kernel.jammed, kernel.in_strips, tuple(prefetch), tuple(loops), tuple(sorted(stream))
    )


def with_directives(kernel: Kernel, directives: Directives) -> Kernel:
    """Return the kernel with these directives in place of its own.

    Raises:
        VerifyError: they are not legal for this kernel.
    """
    prefetch, loops, numbers = dict(directives.prefetch), dict(directives.loops), count()

    def stored(statement: S) -> S:
        if not isinstance(statement, Store):
            return statement
        return replace(statement, streamed=statement.access.operand in directives.stream)

    def mapped(stage: Map) -> Map:
        return replace(stage, body=(*map(stored, stage.body),), ahead=prefetch.get(next(numbers)))

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
                    inner = (*changed(stage.stages),)
                    yield replace(stage, stages=inner, jammed=loops.get(number, 1))

    found = replace(
        kernel,
        stages=(*changed(kernel.stages),),
        jammed=directives.interleave,
        in_strips=directives.strips,
    )
    verify_kernel(found)
    return found


def plain(kernel: Kernel) -> Kernel:
    """Return the kernel without directives: what is computed alone, for keys of measurements."""
    return with_directives(kernel, Directives())
