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

from passes.dce import DeadNodes
from passes.loop_pairs import Follower, LoopPair, loop_of, pairs_of
from staticgrad.analysis.users import ValueKey
from staticgrad.building import within
from staticgrad.ir.bodies import body_input, body_of, inlined
from staticgrad.ir.graph import Graph, Node, Symbolic, ancestors, rebuild
from staticgrad.ops.loops import NUMBER, Loop
from staticgrad.ops.movement import Reshape
from staticgrad.types.tensor import TensorType


def segment_length(trips: int, wanted: int | None = None, unit: int = 1) -> int | None:
    """The divisor of ``trips`` next to ``wanted`` (by default its root); None: there is none.

    It is a multiple of ``unit``.
    """
    wanted = wanted or isqrt(trips)
    divisors = [n for n in range(unit, trips // 2 + 1, unit) if trips % n == 0 and n > 1]
    return min(divisors, key=lambda n: (abs(n - wanted), n)) if divisors else None


def with_segments(graph: Graph, levels: int = 1) -> Graph:
    """The graph with every pair in segments, and the pairs inside of these, ``levels`` deep.

    Segments of a pair have about as many trips as leave the same number to each level, and whole
    blocks of what follows it; where there are none such, what follows stays behind it, whole. The
    graph itself where there is no pair that can be divided.
    """
    place = 0
    while True:
        pairs = pairs_of(graph)
        if place >= len(pairs):
            return graph
        first = pairs[place].first
        alone = [pair for pair in pairs_of(graph, followed=False) if pair.first is first]
        for pair in (pairs[place], *alone):
            wanted = round(pair.trips ** (levels / (levels + 1)))
            length = segment_length(pair.trips, max(2, wanted), pair.unit)
            if length is not None:
                graph = _divided(graph, pair, length, levels)
                break
        place += 1  # a pair of loops over segments stands where a divided one stood


def _divided(graph: Graph, pair: LoopPair, length: int, levels: int) -> Graph:
    """The graph with one pair in segments of so many trips."""
    stacked = {(pair.first, loop_of(pair.first).carries + place) for place in pair.stacks}
    stacked |= {(pair.second, loop_of(pair.second).carries + place) for place in pair.passed}
    watched = {value.node for each in pair.followers for value in each.others}
    new: dict[ValueKey, Symbolic] = {}
    made: dict[Node, Sequence[Symbolic]] = {}
    ahead: list[_Ahead] = []

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if node is pair.first:
            found, starts = _outer_first(pair, args, length)
            ahead.append(_Ahead(args, starts))
            made[node] = found
        elif node is pair.second:
            others = {
                value.key: new.get(value.key, value)
                for each in pair.followers
                for value in each.others
            }
            made.update(_Back(pair, length, levels).outer(args, ahead[0], others))
        elif node in watched and node not in made:
            made[node] = node.values if args == node.args else rebuild(node, args).values
        elif any(arg.key in stacked for arg in node.args) and node not in made:
            return [args[0]]  # only followers read it, which read segments
        if node in watched:
            new.update(((node, n), value) for n, value in enumerate(made[node]))
        return made.get(node)

    return DeadNodes()(graph.replace_nodes(rewrite))


class _Ahead(NamedTuple):
    """The operands of a first loop, and the carries with which its segments begin."""

    args: Sequence[Symbolic]
    starts: Sequence[Symbolic]


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
    node, op = pair.first, loop_of(pair.first)
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


class _Back:
    """The second loop of a pair over segments, each of which runs the first one's again before.

    Behind a segment follows what its followers make of it.
    """

    def __init__(self, pair: LoopPair, length: int, levels: int) -> None:
        self.pair, self.length, self.levels = pair, length, levels
        self.node, self.op, self.ahead = pair.second, loop_of(pair.second), loop_of(pair.first)
        ends = self.op.carries, self.op.carries + self.op.slices
        self.stacked = {place: n for n, read in enumerate(pair.stacks.values()) for place in read}
        self.own = [n for n in range(*ends) if n not in self.stacked]
        kept = range(len(self.op.body.outputs) - self.op.carries)
        self.kept = [n for n in kept if n not in pair.passed]

    def outer(
        self, args: Sequence[Symbolic], first: _Ahead, others: Mapping[ValueKey, Symbolic]
    ) -> dict[Node, Sequence[Symbolic]]:
        """The results of the second loop and of the followers.

        Args:
            args: the operands of the second loop.
            first: what there is of the first one.
            others: what followers read besides.
        """
        carries, rows = self.op.carries, self.op.carries + self.op.slices
        sliced = first.args[self.ahead.carries : self.ahead.carries + self.ahead.slices]
        fixed = first.args[self.ahead.carries + self.ahead.slices :]
        apart = self._apart(others)
        trips, length, followers = self.pair.trips, self.length, self.pair.followers
        arrays = [*sliced, *(args[n] for n in self.own), *apart.values()]
        with within(self.node.origin, self.node.order):
            body = _SegmentInputs(self.node)
            begun = body.take("c", [arg.type for arg in args[:carries]])
            totals = [body.take("c", each.node.types) for each in followers]
            states = body.take("x", [s.type.with_shape(s.shape[1:]) for s in first.starts])
            parts = body.take("x", [_segment_type(arg, length) for arg in sliced])
            mine = body.take("x", [_segment_type(args[n], length) for n in self.own])
            more = body.take("x", [_segment_type(value, length) for value in apart.values()])
            stay = body.take("p", [arg.type for arg in args[rows:]])
            stay_ahead = body.take("p", [arg.type for arg in fixed])
            found = self._again(body, [*states, *parts, *stay_ahead])
            back = self._back(body, begun, dict(zip(self.own, mine, strict=True)), found, stay)
            known = self._known(found, back) | dict(zip(apart, more, strict=True))
            late: list[Symbolic] = []
            given: list[Symbolic] = []
            for each, total in zip(followers, totals, strict=True):
                fix = body.take("p", [value.type for value in each.fixed])
                late += self._follow(body, each, total, known, fix)
                given += [others[value.key] for value in each.fixed]
            closed = body.closed(
                [*back[:carries], *late], [back[carries + place] for place in self.kept]
            )
            closed = with_segments(closed, self.levels - 1) if self.levels > 1 else closed
            count, slices = carries + len(late), len(states) + len(arrays)
            outer = Loop(closed, trips // length, count, slices, self.op.reverse)
            begin = [others[value.key] for each in followers for value in each.first]
            operands = [*args[:carries], *begin, *first.starts]
            operands += [_rows(array, trips, length) for array in arrays]
            out = _apply(outer, [*operands, *args[rows:], *fixed, *given])
        return self._results(out)

    def _apart(self, others: Mapping[ValueKey, Symbolic]) -> dict[ValueKey, Symbolic]:
        """The arrays of a row per trip that followers read and the pair does not make here."""
        inside = self._known(range(len(self.pair.stacks)), range(len(self.node.types)))
        return {
            source.key: others[source.key]
            for each in self.pair.followers
            for source in each.sources
            if source.key not in inside
        }

    def _known(self, found: Sequence[Any], back: Sequence[Any]) -> dict[ValueKey, Any]:
        """What both loops stack in a segment, by what stacked it for all trips."""
        pair, carries = self.pair, self.ahead.carries
        known = {(pair.first, carries + n): v for n, v in zip(pair.stacks, found, strict=True)}
        own = range(self.op.carries, len(self.node.types))
        return known | {(self.node, n): back[n] for n in own}

    def _again(self, body: _SegmentInputs, operands: Sequence[Symbolic]) -> list[Symbolic]:
        """What the first loop stacks in a segment."""
        again, counts = _inner(self.ahead, self.length, [*self.pair.stacks])
        begin = [_begin_of(body, self.length)] * counts
        return _apply(again, [*operands, *begin])[self.ahead.carries :]

    def _back(
        self,
        body: _SegmentInputs,
        begun: Sequence[Symbolic],
        mine: dict[int, Symbolic],
        found: Sequence[Symbolic],
        stay: Sequence[Symbolic],
    ) -> list[Symbolic]:
        """The second loop over a segment."""
        inner, counts = _inner(self.op, self.length, range(len(self.node.types) - self.op.carries))
        slices = mine | {place: found[n] for place, n in self.stacked.items()}
        begin = [_begin_of(body, self.length)] * counts
        return _apply(inner, [*begun, *(slices[n] for n in sorted(slices)), *stay, *begin])

    def _follow(
        self,
        body: _SegmentInputs,
        each: Follower,
        total: Sequence[Symbolic],
        known: Mapping[ValueKey, Symbolic],
        fixed: Sequence[Symbolic],
    ) -> list[Symbolic]:
        """What a follower carries behind a segment."""
        op, blocks = loop_of(each.node), self.length // each.length
        with within(each.node.origin, each.node.order):
            inner, counts = _inner(op, blocks, [])
            shapes = [arg.shape[1:] for arg in each.node.args[op.carries : op.carries + op.slices]]
            slices = [
                Reshape((blocks, *shape))(known[source.key])
                for shape, source in zip(shapes, each.sources, strict=True)
            ]
            begin = [_begin_of(body, blocks)] * counts
            return _apply(inner, [*total, *slices, *fixed, *begin])  # type: ignore[list-item]

    def _results(self, out: Sequence[Symbolic]) -> dict[Node, Sequence[Symbolic]]:
        """Of what the outer loop gives, that of each loop; the first where nobody reads."""
        carries = self.op.carries
        own = [*out[:carries], *[out[0]] * (len(self.node.types) - carries)]
        made: dict[Node, Sequence[Symbolic]] = {self.node: own}
        at = carries
        for each in self.pair.followers:
            made[each.node] = out[at : at + len(each.node.types)]
            at += len(each.node.types)
        for place, value in zip(self.kept, out[at:], strict=True):
            own[carries + place] = _flat(value, self.pair.trips)
        return made
