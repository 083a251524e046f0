"""Loops whose trips run again: a loop and the one that runs backwards over what it stacks, nested.

A loop that stacks values for a loop in the other direction keeps those of all its trips until that
one runs. With segments of so many trips, the outer loop keeps the carries with which each segment
begins, and no more; the loop in the other direction runs a segment again before it goes through it
(Chen et al. 2016 for layers; Griewank and Walther 2000 for steps of time). So bytes for ``trips``
values become bytes for ``trips / length + length`` of them, for one more run of the first loop. The
inner pair may be taken apart again. Trips follow each other as before, sums are added up in the
same order, and every value is computed by the same kernels, so that no byte of a result changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isqrt
from typing import Any, NamedTuple

from staticgrad.analysis.users import ValueKey, users_of
from staticgrad.building import within
from staticgrad.ir.bodies import body_input, body_of, inlined
from staticgrad.ir.graph import Graph, Node, Symbolic, ancestors
from staticgrad.ops.loops import NUMBER, Loop
from staticgrad.ops.movement import Reshape
from staticgrad.types.tensor import TensorType


class LoopPair(NamedTuple):
    """A loop, the loop that runs the other way, and the stacks that it alone reads.

    ``stacks``: of each result of the first, by its place behind the carries, the places among the
    operands of the second at which that is read.
    """

    first: Node
    second: Node
    stacks: Mapping[int, tuple[int, ...]]

    @property
    def trips(self) -> int:
        """How many trips each makes."""
        return int(_loop(self.first).trips)  # a pair has so many whatever sizes are


def pairs_of(graph: Graph) -> list[LoopPair]:
    """The pairs of a graph whose trips are a literal number, as they stand in it."""
    users = users_of(graph)
    roots = {value.key for value in graph.roots}
    found = []
    for node in graph.nodes:
        if isinstance(node.op, Loop) and isinstance(node.op.trips, int):
            pair = _pair(node, users, roots)
            if pair is not None:
                found.append(pair)
    return found


def _pair(
    node: Node, users: Mapping[ValueKey, Sequence[Node]], roots: set[ValueKey]
) -> LoopPair | None:
    op = _loop(node)
    stacks: dict[int, tuple[int, ...]] = {}
    second: Node | None = None
    for place in range(len(node.types) - op.carries):
        key = (node, op.carries + place)
        readers = users.get(key, ())
        if key in roots or len(set(readers)) != 1:
            continue
        reader = readers[0]
        if second not in (None, reader) or not _runs_back(op, reader):
            continue
        read = tuple(n for n, arg in enumerate(reader.args) if arg.key == key)
        back = _loop(reader)
        if all(back.carries <= n < back.carries + back.slices for n in read):
            stacks[place], second = read, reader
    return None if second is None else LoopPair(node, second, stacks)


def _runs_back(op: Loop, reader: Node) -> bool:
    other = reader.op
    return isinstance(other, Loop) and other.trips == op.trips and other.reverse != op.reverse


def _loop(node: Node) -> Loop:
    assert isinstance(node.op, Loop)
    return node.op


def segment_length(trips: int, wanted: int | None = None) -> int | None:
    """The divisor of ``trips`` next to ``wanted`` (by default its root); None: there is none."""
    wanted = wanted or isqrt(trips)
    divisors = [n for n in range(2, trips // 2 + 1) if trips % n == 0]
    return min(divisors, key=lambda n: (abs(n - wanted), n)) if divisors else None


def with_segments(graph: Graph, levels: int = 1) -> Graph:
    """The graph with every pair in segments, and the pairs inside of these, ``levels`` deep.

    Segments of a pair have about as many trips as leave the same number to each level. The graph
    itself where there is no pair that can be divided.
    """
    for pair in pairs_of(graph):
        wanted = round(pair.trips ** (levels / (levels + 1)))
        length = segment_length(pair.trips, max(2, wanted))
        if length is not None:
            graph = _divided(graph, pair, length, levels)
    return graph


def _divided(graph: Graph, pair: LoopPair, length: int, levels: int) -> Graph:
    """The graph with one pair in segments of so many trips."""
    made: dict[Node, list[Symbolic]] = {}
    starts: list[Symbolic] = []

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if node is pair.first:
            results, begun = _outer_first(pair, args, length)
            starts.extend(begun)
            made[node] = [*args]
            return results
        if node is pair.second:
            return _outer_second(pair, args, made[pair.first], starts, length, levels)
        return None

    return graph.replace_nodes(rewrite)


class _SegmentInputs:
    """The inputs of a body that is being made, in the order of a loop's operands."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.number = self._new("i", NUMBER)
        self.inputs = [self.number]
        self._count: dict[str, int] = {}

    def _new(self, label: str, kind: TensorType) -> Symbolic:
        return body_input(label, kind, self.node.origin, self.node.order)

    def take(self, role: str, kinds: Iterable[TensorType]) -> list[Symbolic]:
        """Inputs of a role: carries ``c``, slices ``x``, invariants ``p``."""
        found = []
        for kind in kinds:
            place = self._count[role] = self._count.get(role, -1) + 1
            found.append(self._new(f"{role}{place}", kind))
        self.inputs += found
        return found

    def closed(self, carries: Sequence[Symbolic], outputs: Sequence[Symbolic]) -> Graph:
        """The body that gives these."""
        named = {f"c{n}": value for n, value in enumerate(carries)}
        named |= {f"y{n}": value for n, value in enumerate(outputs)}
        return body_of(self.inputs, named)


def _apply(op: Loop, args: Sequence[Symbolic]) -> list[Symbolic]:
    found: object = op(*args)
    return [*found] if isinstance(found, tuple) else [found]  # type: ignore[list-item]


def _rows(value: Symbolic, trips: int, length: int) -> Any:
    """An array of a row per trip as one of so many rows per segment."""
    return Reshape((trips // length, length, *value.shape[1:]))(value)


def _flat(value: Symbolic, trips: int) -> Any:
    return Reshape((trips, *value.shape[2:]))(value)


def _segment_type(value: Symbolic, length: int) -> TensorType:
    """What a segment has of an array of a row per trip."""
    return value.type.with_shape((length, *value.type.shape[1:]))


def _inner(op: Loop, length: int, outputs: Sequence[int]) -> tuple[Loop, bool]:
    """The loop over a segment that gives these of its outputs, and whether it counts trips.

    Then its last operand is the number of the trip with which the segment begins.
    """
    values = [*op.body.outputs.values()]
    kept = values[: op.carries] + [values[op.carries + place] for place in outputs]
    named = {f"c{n}": value for n, value in enumerate(kept[: op.carries])}
    named |= {f"y{n}": value for n, value in enumerate(kept[op.carries :])}
    body = body_of(op.body.inputs, named)
    counts = op.body.inputs[0].node in set(ancestors(kept))
    if counts:
        body = _with_begin(body)
    return Loop(body, length, op.carries, op.slices, op.reverse), counts


def _with_begin(body: Graph) -> Graph:
    """The body with one more number, which is added to that of its trip."""
    given = [body_input(v.node.label, v.type, v.node.origin, v.node.order) for v in body.inputs]
    first = given[0].node
    stays = sum(value.node.label.startswith("p") for value in given)
    begin = body_input(f"p{stays}", NUMBER, first.origin, first.order)
    with within(first.origin, first.order):
        number: Any = given[0] + begin
    results = inlined(body, [number, *given[1:]])
    return body_of([*given, begin], dict(zip(body.outputs, results, strict=True)))


def _begin_of(body: _SegmentInputs, length: int) -> Any:
    """The number of the first trip of a segment."""
    return body.number * length


def _outer_first(
    pair: LoopPair, args: Sequence[Symbolic], length: int
) -> tuple[list[Symbolic], list[Symbolic]]:
    """The results of the first loop over segments, and the carries with which those begin.

    What the other loop alone reads is not among the results: the first carries stand for it.
    """
    node, op = pair.first, _loop(pair.first)
    carries, rows = op.carries, op.carries + op.slices
    kept = [n for n in range(len(node.types) - carries) if n not in pair.stacks]
    inner, counts = _inner(op, length, kept)
    with within(node.origin, node.order):
        body = _SegmentInputs(node)
        begun = body.take("c", [arg.type for arg in args[:carries]])
        parts = body.take("x", [_segment_type(arg, length) for arg in args[carries:rows]])
        stay = body.take("p", [arg.type for arg in args[rows:]])
        found = _apply(inner, [*begun, *parts, *stay, *[_begin_of(body, length)] * counts])
        closed = body.closed(found[:carries], [*found[carries:], *begun])
        outer = Loop(closed, pair.trips // length, carries, op.slices, op.reverse)
        given = [_rows(arg, pair.trips, length) for arg in args[carries:rows]]
        out = _apply(outer, [*args[:carries], *given, *args[rows:]])
        results = [*out[:carries], *[out[0]] * (len(node.types) - carries)]
        for place, value in zip(kept, out[carries:], strict=False):
            results[carries + place] = _flat(value, pair.trips)
    return results, out[carries + len(kept) :]


def _outer_second(
    pair: LoopPair,
    args: Sequence[Symbolic],
    first: Sequence[Symbolic],
    starts: Sequence[Symbolic],
    length: int,
    levels: int,
) -> list[Symbolic]:
    """The results of the other loop, each segment of which runs the first one's again before.

    ``first`` are the operands of the first loop, ``starts`` the carries with which segments begin.
    """
    node, op, ahead = pair.second, _loop(pair.second), _loop(pair.first)
    carries, rows = op.carries, op.carries + op.slices
    again, counts = _inner(ahead, length, [*pair.stacks])
    stacked = {place: n for n, read in enumerate(pair.stacks.values()) for place in read}
    own = [n for n in range(carries, rows) if n not in stacked]
    with within(node.origin, node.order):
        body = _SegmentInputs(node)
        begun = body.take("c", [arg.type for arg in args[:carries]])
        states = body.take("x", [start.type.with_shape(start.shape[1:]) for start in starts])
        sliced = first[ahead.carries : ahead.carries + ahead.slices]
        parts = body.take("x", [_segment_type(arg, length) for arg in sliced])
        mine = dict(
            zip(own, body.take("x", [_segment_type(args[n], length) for n in own]), strict=True)
        )
        stay = body.take("p", [arg.type for arg in args[rows:]])
        others = first[ahead.carries + ahead.slices :]
        stay_ahead = body.take("p", [arg.type for arg in others])
        begin = [_begin_of(body, length)]
        found = _apply(again, [*states, *parts, *stay_ahead, *begin * counts])[ahead.carries :]
        for place, n in stacked.items():
            mine[place] = found[n]
        inner, counts_back = _inner(op, length, range(len(op.body.outputs) - carries))
        operands = [*begun, *(mine[n] for n in range(carries, rows)), *stay, *begin * counts_back]
        back = _apply(inner, operands)
        closed = body.closed(back[:carries], back[carries:])
        closed = with_segments(closed, levels - 1) if levels > 1 else closed
        segments = pair.trips // length
        outer = Loop(closed, segments, carries, len(states) + len(parts) + len(own), op.reverse)
        given = [
            *starts,
            *(_rows(arg, pair.trips, length) for arg in [*sliced, *(args[n] for n in own)]),
        ]
        out = _apply(outer, [*args[:carries], *given, *args[rows:], *others])
    return [*out[:carries], *(_flat(value, pair.trips) for value in out[carries:])]
