"""What no iteration of a loop changes, computed before the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, postorder
from staticgrad.ir.kernels.stages import Keep
from staticgrad.types.dtype import DType

#: The loop over iterations.
ITERATIONS: Final = "i0"
#: What needs no register to be there again.
_AT_HAND: Final = ("literal", "index", "size")


class Steady:
    """Expressions of an iteration, of which those that no iteration changes are computed before the
    loop.

    ``kept`` are these, as far as an iteration needs them.
    """

    def __init__(self, roots: Sequence[Expr]) -> None:
        self.kept: list[Keep] = []
        self._names = 0
        self._inside: dict[int, Expr] = {}
        self._steady: dict[int, bool] = {}
        order = [*postorder(roots)]
        for node in order:
            self._steady[id(node)] = not _changes(node) and all(
                self._steady[id(arg)] for arg in node.args
            )
        for node in order:
            if not self._steady[id(node)]:
                args = tuple(self.inside(arg) for arg in node.args)
                same = all(a is b for a, b in zip(args, node.args, strict=True))
                made = node if same else Expr(node.op, node.dtype, args, node.attribute)
                self._inside[id(node)] = made

    def inside(self, expr: Expr) -> Expr:
        """An expression as an iteration has it."""
        if id(expr) not in self._inside:
            self._inside[id(expr)] = expr
            if expr.op not in _AT_HAND:
                self._inside[id(expr)] = name = self.name(expr.dtype)
                self.kept.append(Keep(str(name.attribute), expr))
        return self._inside[id(expr)]

    def name(self, dtype: DType) -> Expr:
        """A name for a number that is kept, as what reads it has it."""
        self._names += 1
        return ex.ref(f"r{self._names - 1}", dtype)


def _changes(expr: Expr) -> bool:
    """Whether an expression differs from iteration to iteration, whatever its arguments do."""
    if isinstance(expr.attribute, Access):
        return expr.attribute.stride(ITERATIONS) != 0
    return expr.op == "ref" or (expr.op == "index" and expr.attribute == ITERATIONS)
