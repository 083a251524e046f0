"""Loops inside of named blocks: series and fractions whose terms are counted by their values.

A loop carries values from iteration to iteration. A lane keeps its values from the iteration on at
which it does not go on, so that no result depends on how many lanes a vector has; a kernel leaves
the loop when no lane goes on. Only the definitions of ``vecmath`` hold such expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from staticgrad.language.ir.expr import LEAVES, Expr, postorder, ref
from staticgrad.language.types.dtype import DType
from staticgrad.support.records import dataclass


@dataclass(frozen=True, eq=False)
class ScalarLoop:
    """A loop: ``following`` are the values of ``carried`` after an iteration of a lane that is
    ``going``.

    ``outside`` are the expressions that the iterations read and do not change. There are at most
    ``iterations`` of them; ``usual`` says how many are taken as a rule, for predictions of time.
    """

    iterations: int
    usual: int
    carried: tuple[Expr, ...]
    going: Expr
    following: tuple[Expr, ...]
    outside: tuple[Expr, ...]

    def inside(self) -> Iterator[Expr]:
        """The expressions of an iteration, operands before users; what is outside is not among
        them."""
        return postorder(self.roots, (id(expr) for expr in self.outside))

    @property
    def roots(self) -> tuple[Expr, ...]:
        return (self.going, *self.following)


class Iterated(Expr):
    """The final carry of a loop at ``place``. Operands: initial values, values from outside."""

    __slots__ = ("loop", "place")

    def __init__(self, loop: ScalarLoop, place: int, initial: Sequence[Expr]) -> None:
        dtype: DType = loop.carried[place].dtype
        super().__init__("iterated", dtype, (*initial, *loop.outside))
        self.loop, self.place = loop, place


def iterate(
    iterations: int,
    initial: Sequence[Expr],
    step: Callable[..., tuple[Expr, Sequence[Expr]]],
    usual: int = 10,
) -> tuple[Expr, ...]:
    """Build a scalar loop in a kernel's expressions: at most ``iterations`` steps of a series.

    ``step`` takes the carried values and gives whether a lane goes on, of the values as they are,
    and the values after the iteration. It may read any expression around it.
    """
    carried = tuple(ref("carried", value.dtype) for value in initial)
    going, following = step(*carried)
    if [value.dtype for value in following] != [value.dtype for value in carried]:
        raise TypeError("a loop's values change their dtypes")
    within = {id(value) for value in carried}
    outside: dict[int, Expr] = {}
    for expr in postorder([going, *following]):
        if any(id(a) in within for a in expr.args):
            within.add(id(expr))
            outer_values = (a for a in expr.args if id(a) not in within and a.op != "literal")
            outside |= {id(a): a for a in outer_values}
    outer_values = (
        value for value in following if id(value) not in within and value.op != "literal"
    )
    outside |= {id(value): value for value in outer_values}
    loop = ScalarLoop(iterations, usual, carried, going, tuple(following), tuple(outside.values()))
    return tuple(Iterated(loop, place, initial) for place in range(len(carried)))


def operations(root: Expr) -> int:
    """Return the usual number of operations of an expression, with its loops' iterations."""
    total = 0
    for expr in postorder([root]):
        total += expr.op not in LEAVES
    loops = {expr.loop for expr in postorder([root]) if isinstance(expr, Iterated)}
    return total + sum(loop.usual * len(list(loop.inside())) for loop in loops)
