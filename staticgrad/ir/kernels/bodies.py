"""The bodies of a kernel's stages, as verifiers walk them: statements and the loops around them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NoReturn

from staticgrad.errors import VerifyError
from staticgrad.ir.expr import Access, Expr, postorder
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Axis,
    Columns,
    Gemm,
    Loop,
    Map,
    Scalar,
    Search,
    Sort,
    Stage,
    Statement,
    Store,
    nested,
    roots,
)
from staticgrad.ir.kernels.text import signature, statement_text
from staticgrad.kept import cached_property
from staticgrad.records import dataclass


def broken(kernel: Kernel, headline: str, *place: str) -> NoReturn:
    """Refuse a kernel.

    Raises:
        VerifyError: always; its details are the ``place`` and the kernel's first line.
    """
    raise VerifyError(f"kernel: {headline}", details=[*place, signature(kernel)])


@dataclass(frozen=True)
class Body:
    """Statements under the same loops, outermost first; ``stage`` is the one they belong to.

    ``around`` are the outer loops and ``iterations`` the Loops around the stage.
    """

    stage: Stage
    statements: tuple[Statement, ...]
    loops: tuple[Axis, ...]
    around: tuple[Axis, ...]
    iterations: tuple[Loop, ...] = ()

    @cached_property
    def expressions(self) -> tuple[Expr, ...]:
        """Every distinct expression, operands first."""
        every = (root for statement in self.statements for root in roots(statement))
        return tuple(postorder(every))


@lru_cache(maxsize=1)  # one invariant after the other asks for those of one kernel
def bodies(kernel: Kernel) -> tuple[Body, ...]:
    """Every body of every stage, in the order in which they run."""
    return tuple(body for stage in kernel.stages for body in bodies_of(stage, kernel.axes))


def bodies_of(
    stage: Stage, around: tuple[Axis, ...], iterations: tuple[Loop, ...] = ()
) -> Iterator[Body]:
    """Those of one stage, and of the stages in it."""
    if isinstance(stage, Loop):
        yield Body(stage, stage.first, around, around, iterations)
        inside = (*around, stage.axis)
        for inner in stage.stages:
            yield from bodies_of(inner, inside, (*iterations, stage))
        yield Body(stage, stage.following, inside, inside, (*iterations, stage))
        return
    if isinstance(stage, Gemm):
        for fed in stage.fed:
            yield from bodies_of(fed, (*around, stage.k[0]), iterations)
    for statements, loops in _own(stage):
        yield Body(stage, statements, (*around, *loops), around, iterations)


def _own(stage: Stage) -> Iterator[tuple[tuple[Statement, ...], tuple[Axis, ...]]]:
    """The statements of a stage with its loops around them."""
    match stage:
        case Map(body=body, loops=loops):
            yield body, loops
        case Columns(axis=axis, rows=rows, body=accumulations, stores=stores):
            yield accumulations, (axis, *rows)
            yield stores, (axis,)
        case Scalar(body=body):
            yield body, ()
        case Gemm(i=i, j=j, stores=stores):
            yield stores, (*i, *j)
        case Sort(axis=axis, kept=kept, order=order, stores=stores):
            yield (order,), (axis,)
            yield stores, (kept,)


def accesses(kernel: Kernel) -> Iterator[tuple[Access, tuple[Axis, ...]]]:
    """Every access with the loops around it."""
    for stage, around in nested(kernel.stages):
        if isinstance(stage, Gemm):
            yield stage.a, (*kernel.axes, *around, *stage.i, *stage.k)
            yield stage.b, (*kernel.axes, *around, *stage.k, *stage.j)
    for body in bodies(kernel):
        for expr in body.expressions:
            if isinstance(expr.attribute, Access):
                yield expr.attribute, body.loops
        for statement in body.statements:
            if isinstance(statement, Store | Search):
                yield statement.access, body.loops


def shown(statement: Statement) -> str:
    """The text of a statement without its expressions."""
    return statement_text(statement, ["..." for _ in roots(statement)])


def refuse(kernel: Kernel, wrong: bool, headline: str, statement: Statement) -> None:
    """Refuse a kernel for a statement of it, if that is wrong."""
    if wrong:
        broken(kernel, headline, shown(statement))


def unseen(statement: Statement, seen: set[int]) -> Iterator[Expr]:
    """The expressions of a statement that no earlier one of its body evaluates."""
    stack: list[Expr] = list(roots(statement))
    while stack:
        expr = stack.pop()
        if id(expr) not in seen:
            seen.add(id(expr))
            yield expr
            stack += expr.args


def accesses_of(statement: Statement, seen: set[int]) -> Iterator[Access]:
    """What a statement reads, but for what an earlier one of its body evaluates."""
    for expr in unseen(statement, seen):
        if isinstance(expr.attribute, Access):
            yield expr.attribute
    if isinstance(statement, Search):
        yield statement.access
