"""Loops that end by a test, in stretches of iterations.

A kernel does not return before its last iteration, and signals wait for that. So a loop without an
end of its own, or one of many iterations, becomes two: the inner one makes so many iterations at
most, and is a kernel (``lowering/loops/tested_loops.py``); the outer one, the driver's, goes on
while the inner one made as many as it may. Loops whose iterations are no kernel stay as they are.

This happens just before kernels are made: derivatives and other passes see one loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from staticgrad.analysis.cost import ROWS, all_seconds
from staticgrad.building import here
from staticgrad.ir.bodies import body_input, body_of, inlined
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ir.schedule import Schedule
from staticgrad.ops.loops import NUMBER, TRUTH, While
from staticgrad.types.dtype import I64
from staticgrad.types.tensor import TensorType, hint_value

#: Iterations of a stretch, at most; of what is no longer, there is but one.
_MOST: Final = 4096
#: And at least, so that it pays to keep what is carried.
_FEWEST: Final = 16
#: Predicted seconds of a stretch: programs begin and end in native code while iterations take
#: little beyond that (``runtime/entry.py``).
_LONGEST: Final = 5e-5


def with_tested_iterations(graph: Graph, fuse: Callable[[Graph], Schedule]) -> Graph:
    """The graph with long loops that end by a test in stretches; ``fuse`` gives schedules."""

    def rewritten(node: Node, op: While, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if _is_short(op):
            return None
        length = _MOST
        seconds = _seconds(fuse(_stretch(node, length)))
        if seconds is None:
            return None
        while length > _FEWEST and seconds * length > _LONGEST * _MOST:
            length //= 2
        return _in_stretches(node, args, _stretch(node, length))

    return graph.replace_ops(While, rewritten)


def _is_short(op: While) -> bool:
    """Whether a loop is one stretch."""
    return isinstance(op.most, int) and op.most <= _MOST


def _seconds(stretch: Schedule) -> float | None:
    """What the kernel of a stretch is predicted to take, if it is one."""
    kernels = [step for step in stretch.steps if not step.bodies()]
    if len(kernels) != len(stretch.steps):
        return None
    arguments = [tuple(map(hint_value, step.arguments)) for step in kernels]
    return sum(all_seconds(kernels, arguments, ROWS))


class _StretchInputs:
    """The inputs of a stretch: its number, the loop's carries, how many iterations were made,
    whether there may be another one, and what stays."""

    def __init__(self, node: Node) -> None:
        assert isinstance(node.op, While)
        carries = node.op.carries
        types = [arg.type for arg in node.args]
        self.number = body_input("i", NUMBER, *here())
        self.carries = [_input("c", *each) for each in enumerate(types[:carries])]
        self.done, self.goes = _input("c", carries, NUMBER), _input("c", carries + 1, TRUTH)
        self.rest = [_input("p", *each) for each in enumerate(types[carries:])]
        self.all = [self.number, *self.carries, self.done, self.goes, *self.rest]


def _input(role: str, number: int, kind: TensorType) -> Symbolic:
    return body_input(f"{role}{number}", kind, *here())


def _stretch(node: Node, length: int) -> Graph:
    """So many iterations, or what is left of them, as a body."""
    op, outer = node.op, _StretchInputs(node)
    assert isinstance(op, While)
    inner = While(_from_there(node, op.test), _from_there(node, op.body), op.carries, length)
    found: Any = inner(*outer.carries, outer.done, *outer.rest)
    *carries, made = found
    goes = functions.equal(made, length)
    return body_of(outer.all, _labelled([*carries, outer.done + made, goes]))


def _from_there(node: Node, body: Graph) -> Graph:
    """A test or body of a stretch, which knows how many iterations were made before."""
    op, types = node.op, [arg.type for arg in node.args]
    assert isinstance(op, While)
    i = body_input("i", NUMBER, *here())
    carries = [_input("c", *each) for each in enumerate(types[: op.carries])]
    done, *rest = [_input("p", *each) for each in enumerate([NUMBER, *types[op.carries :]])]
    number: Any = done + i
    given: list[Any] = inlined(body, [number, *carries, *rest])
    if body is op.test and op.most is not None:
        before: Any = functions.less(number, op.most)
        given = [functions.logical_and(given[0], before)]
    return body_of([i, *carries, done, *rest], dict(zip(body.outputs, given, strict=True)))


def _in_stretches(node: Node, args: Sequence[Symbolic], stretch: Graph) -> Sequence[Symbolic]:
    """The results of the loop, a stretch at a time."""
    op, inputs = node.op, _StretchInputs(node)
    assert isinstance(op, While)
    test = body_of(inputs.all, {"go": inputs.goes})
    loop = While(test, stretch, op.carries + 2)
    first: list[Any] = [*args[: op.carries], functions.constant(0, I64), functions.constant(True)]
    found: Any = loop(*first, *args[op.carries :])
    results: Sequence[Symbolic] = found[: op.carries + 1]
    return results


def _labelled(values: Sequence[Any]) -> dict[str, Symbolic]:
    return {f"c{number}": value for number, value in enumerate(values)}
