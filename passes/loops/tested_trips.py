"""Loops that end by a test, several trips at a time.

A trip of a few numbers takes less time than to run a test and a body of their own. So a body
becomes several trips, each with its test: once a test fails, what follows keeps the carries. The
last of them may be for nothing, so there are few, which take no longer than a step of the driver's.
What is computed where the test failed is dropped; a body that checks an index stays as it is.

This happens just before kernels are made, because a derivative of a choice would multiply what is
not defined where it is not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from staticgrad.analysis.cost import Machine, all_seconds
from staticgrad.building import here, within
from staticgrad.ir.bodies import body_input, body_of, inlined
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ir.kernel_stages import Check, nested, statements
from staticgrad.ir.schedule import Schedule
from staticgrad.ops.loops import NUMBER, TRUTH, Loop, While
from staticgrad.types.dtype import I64
from staticgrad.types.tensor import TensorType, hint_value

#: Trips at a time.
_TRIPS: Final = 8
#: Predicted seconds of a trip, at most: the driver takes about as long for a test and a body.
_LONGEST: Final = 2.5e-8
#: Numbers that wait for each other, as those of a trip do.
_WAITING: Final = Machine(map_flops=2e9, bandwidth=1e11, launch=0.0)


def with_tested_trips(graph: Graph, fuse: Callable[[Graph], Schedule]) -> Graph:
    """The graph with loops of short trips as loops of several; ``fuse`` gives schedules."""

    def rewritten(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not isinstance(node.op, While):
            return None
        with within(node.origin, node.order):
            trips = _tested(node)
            return _in_stretches(node, args, trips) if _is_short(trips, fuse) else None

    if not any(isinstance(node.op, While) for node in graph.nodes):
        return graph
    return graph.replace_nodes(rewritten)


def _is_short(trips: Graph, fuse: Callable[[Graph], Schedule]) -> bool:
    """Whether trips take little, of one kernel that checks no index."""
    schedule = fuse(trips)
    if len(schedule.steps) != 1 or schedule.steps[0].bodies():
        return False
    (step,) = schedule.steps
    stages = (stage for kernel in step.kernels() for stage, _ in nested(kernel.stages))
    if any(isinstance(each, Check) for stage in stages for each in statements(stage)):
        return False
    (seconds,) = all_seconds([step], [tuple(map(hint_value, step.arguments))], _WAITING)
    return seconds <= _TRIPS * _LONGEST


class _TripInputs:
    """The inputs of a body: the number of its trip, the loop's carries, how many trips were made,
    whether there is another one, and what stays."""

    def __init__(self, node: Node) -> None:
        assert isinstance(node.op, While)
        carries = node.op.carries
        types = [arg.type for arg in node.args]
        self.number = body_input("i", NUMBER, *here())
        self.carries = [*map(_input, range(carries), types)]
        self.done, self.goes = _input(carries, NUMBER), _input(carries + 1, TRUTH)
        self.rest = [body_input(f"p{k}", type_, *here()) for k, type_ in enumerate(types[carries:])]
        self.state = [*self.carries, self.done, self.goes]
        self.all = [self.number, *self.state, *self.rest]


def _input(number: int, kind: TensorType) -> Symbolic:
    return body_input(f"c{number}", kind, *here())


def _tested(node: Node) -> Graph:
    """Some trips as a body."""
    op = node.op
    assert isinstance(op, While)
    own = _TripInputs(node)
    new: list[Any]
    ((holds, *_), new) = (inlined(b, [own.done, *own.carries, *own.rest]) for b in op.bodies)
    goes = functions.logical_and(own.goes, holds)
    if op.most is not None:
        goes = functions.logical_and(goes, functions.less(own.done, op.most))
    kept = [functions.where(goes, a, b) for a, b in zip(new, own.carries, strict=True)]
    done = own.done + functions.astype(goes, I64)
    trip = body_of(own.all, _labelled([*kept, done, goes]))
    outer = _TripInputs(node)
    found: Any = Loop(trip, _TRIPS, len(outer.state), 0)(*outer.state, *outer.rest)
    return body_of(outer.all, _labelled(found))


def _in_stretches(node: Node, args: Sequence[Symbolic], trips: Graph) -> Sequence[Symbolic]:
    """The results of the loop, some trips at a time."""
    op, inputs = node.op, _TripInputs(node)
    assert isinstance(op, While)
    test = body_of(inputs.all, {"go": inputs.goes})
    loop = While(test, trips, op.carries + 2)
    first: list[Any] = [*args[: op.carries], functions.constant(0, I64), functions.constant(True)]
    found: Any = loop(*first, *args[op.carries :])
    results: Sequence[Symbolic] = found[: op.carries + 1]
    return results


def _labelled(values: Sequence[Any]) -> dict[str, Symbolic]:
    return {f"c{number}": value for number, value in enumerate(values)}
