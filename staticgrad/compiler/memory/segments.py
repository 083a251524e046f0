"""Nested segments of a pair of loops: the first loop runs again for the one that runs backwards.

A loop that stacks values for a loop in the other direction stores those of all its iterations until
that one runs. With segments of ``length`` iterations, the outer loop stores only the carries at the
start of each segment; the loop in the other direction runs a segment again before it goes
through it (Chen et al. 2016 for layers; Griewank and Walther 2000 for steps of time). So bytes for
``iterations`` values become bytes for ``iterations / length + length`` of them, for one more run of
the first loop. The inner pair may be divided again. Iterations that do not fill a segment are
separate: the first loop runs them first, the other one last. The stacked values of the last
iterations may all be stored, for as many as fit into memory: the second loop begins with them, and
they do not run again. The order of iterations and of sums does not change, and every value is
computed by the same kernels, so results stay bitwise identical.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from passes.loops.divisions import Begin, Division, part, segment_length
from staticgrad.analysis.liveness import ValueKey
from staticgrad.compiler.memory.loop_pairs import Follower, LoopPair, loop_of, pairs_of
from staticgrad.language.ir.bodies import body_input, body_of, inlined
from staticgrad.language.ir.graph import Graph, Node, Symbolic, ancestors, rebuild
from staticgrad.language.ops.indexing import Slice
from staticgrad.language.ops.loops import NUMBER, Loop
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.types.arrays import TensorType, hint_bytes, hint_value
from staticgrad.language.types.dim import Size
from staticgrad.support.building import within
from staticgrad.support.records import NamedTuple

#: No part of the iterations.
NOTHING: Final = Fraction()


def with_segments(graph: Graph, levels: int = 1, kept: Fraction = NOTHING) -> Graph:
    """The graph with every pair in segments, and the pairs inside of these, ``levels`` deep.

    Segments of a pair have about as many iterations as leave the same number to each level, and
    whole blocks of what follows it; where there are none such, what follows stays behind it, whole.
    Of no level, nothing runs again: what the second loop stacks for its followers alone is that of
    a block at a time. Of the last iterations, a part ``kept`` of all, the segments are a level less
    deep. The graph itself where there is no pair that can be divided.
    """
    done: set[Node] = set()
    while True:
        pairs = pairs_of(graph, again=levels > 0)
        pair = next((each for each in pairs if each.first not in done), None)
        if pair is None:
            return graph
        graph, made = _with_pair_divided(graph, pair, levels, kept)
        done |= made


def _with_pair_divided(
    graph: Graph, pair: LoopPair, levels: int, kept: Fraction
) -> tuple[Graph, set[Node]]:
    """Return the graph with one pair in segments, and the new first loops."""
    cut = _cut(graph, pair, levels, kept)
    if cut is None:
        return graph, {pair.first}
    graph, outer, rows = _divided(graph, *cut, levels)
    made = {each for each in (outer, rows) if each is not None}
    pairs = pairs_of(graph, again=levels > 1) if rows is not None else []
    for each in pairs:
        if each.first is rows:
            graph, more = _with_pair_divided(graph, each, levels - 1, NOTHING)
            made |= more
    return graph, made


def _cut(
    graph: Graph, pair: LoopPair, levels: int, kept: Fraction
) -> tuple[LoopPair, Division] | None:
    """Return the division of a pair, with its followers or without, or None."""
    iterations = hint_value(pair.iterations)
    ways = [pair]
    if levels:
        ways += [p for p in pairs_of(graph, followed=False) if p.first is pair.first]
    for way in ways:
        last = 0
        if levels and way.stacks and isinstance(way.iterations, int) and _pays(way):
            last = int(iterations * kept) // way.unit * way.unit
        left = iterations - last
        wanted = round(left ** (levels / (levels + 1))) if levels else way.unit
        length = segment_length(left, wanted, way.unit)
        if last and length is None and left >= way.unit:
            length = way.unit  # one segment, beside those that are kept
        if length is not None:
            cut = Division(way.iterations, length, loop_of(way.second).reverse, last)
            if not cut.has_pieces or _pays(way):
                return way, cut
    return None


def _pays(pair: LoopPair) -> bool:
    """Return whether the bytes no longer stacked exceed those copied to join the segments."""
    spared = kept = 0
    ahead = [(pair.first, pair.stacks)] if pair.stacks else []  # else it stays as it is
    for node, places in (*ahead, (pair.second, pair.passed)):
        for place, kind in enumerate(node.types[loop_of(node).carries :]):
            nbytes = hint_bytes(kind)
            spared, kept = (spared + nbytes, kept) if place in places else (spared, kept + nbytes)
    return spared > 2 * kept


class _Ahead(NamedTuple):
    """The operands of a first loop, and the carries with which its segments begin.

    ``kept``: its stacks of the iterations that do not run again. Nothing where none runs again.
    """

    args: Sequence[Symbolic] = ()
    starts: Sequence[Symbolic] = ()
    kept: Sequence[Symbolic] = ()


def _divided(
    graph: Graph, pair: LoopPair, cut: Division, levels: int
) -> tuple[Graph, Node | None, Node | None]:
    """Return the graph with one pair in segments, the outer loop, and the loop over kept rows."""
    stacked = {(pair.first, loop_of(pair.first).carries + place) for place in pair.stacks}
    stacked |= {(pair.second, loop_of(pair.second).carries + place) for place in pair.passed}
    watched = {value.node for each in pair.followers for value in each.others}
    known: dict[ValueKey, Symbolic] = {}
    made: dict[Node, Sequence[Symbolic]] = {}
    ahead: list[_Ahead] = []
    back = _Back(pair, cut, levels)

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if node is pair.first and pair.stacks:
            made[node], found = _outer_first(pair, args, cut)
            ahead.append(found)
        elif node is pair.second:
            others = {
                value.key: known.get(value.key, value)
                for each in pair.followers
                for value in each.others
            }
            made.update(back.outer(args, ahead[0] if ahead else _Ahead(), others))
        elif node in pair.ends:
            made[node] = [back.of_rest(node)]
        elif node in watched and node not in made:
            moved = any(new.key != old.key for new, old in zip(args, node.args, strict=True))
            made[node] = rebuild(node, args).values if moved else node.values
        elif any(arg.key in stacked for arg in node.args) and node not in made:
            stacked.add((node, 0))
            return [args[0]]  # only followers read it, which read segments
        if node in watched:
            known.update(((node, n), value) for n, value in enumerate(made[node]))
        return made.get(node)

    divided = graph.replace_nodes(rewrite).without_dead_nodes()
    first = ahead[0] if ahead else _Ahead()
    outer = first.starts[0].node if first.starts else pair.first
    return divided, outer, first.kept[0].node if first.kept else None


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


def _segment_type(value: Symbolic, length: int) -> TensorType:
    """Return the type of a segment of an array with one row per iteration."""
    return value.type.with_shape((length, *value.type.shape[1:]))


def _inner(op: Loop, length: Size, outputs: Sequence[int]) -> tuple[Loop, bool]:
    """The loop over a segment that gives these of its outputs, and whether it counts iterations.

    Then its last operand is the number of the iteration with which the segment begins.
    """
    values = [*op.body.outputs.values()]
    kept = values[: op.carries] + [values[op.carries + place] for place in outputs]
    named = {f"c{n}": value for n, value in enumerate(kept[: op.carries])}
    named |= {f"y{n}": value for n, value in enumerate(kept[op.carries :])}
    body = body_of(op.body.inputs, named)
    counts = op.body.inputs[0].node in set(ancestors(kept))
    if counts:
        body = _with_begin(body, len(body.inputs) - 1 - op.carries - op.slices)
    return Loop(body, length, op.carries, op.slices, op.reverse), counts


def _with_begin(body: Graph, stays: int) -> Graph:
    """The body with one more number, which is added to that of its iteration; ``stays``: how many
    values stay the same in all iterations."""
    given = [body_input(v.node.label, v.type, v.node.origin, v.node.order) for v in body.inputs]
    first = given[0].node
    begin = body_input(f"p{stays}", NUMBER, first.origin, first.order)
    with within(first.origin, first.order):
        number: Any = given[0] + begin
    results = inlined(body, [number, *given[1:]])
    return body_of([*given, begin], dict(zip(body.outputs, results, strict=True)))


def _outer_first(
    pair: LoopPair, args: Sequence[Symbolic], cut: Division
) -> tuple[list[Symbolic], _Ahead]:
    """Return the results of the first loop over segments, and what the other loop needs of it.

    Values that only the other loop reads are not among the results: its old values, which are not
    read any more, are in their places.
    """
    node, op = pair.first, loop_of(pair.first)
    carries, rows = op.carries, op.carries + op.slices
    others = [n for n in range(len(node.types) - carries) if n not in pair.stacks]
    inner, counts = _inner(op, cut.length, others)
    with within(node.origin, node.order):
        start, rest, kept = args[:carries], list[Symbolic](), list[Symbolic]()
        if cut.rest != 0:
            piece, _ = _inner(op, cut.rest, others)
            lasts = [cut.of_rest(arg) for arg in args[carries:rows]]
            begin = [Begin(cut.rest_begin).value()] * counts
            rest = _apply(piece, [*start, *lasts, *args[rows:], *begin])
            start = tuple(rest[:carries])
        body = _SegmentInputs(node)
        begun = body.take("c", [arg.type for arg in start])
        parts = body.take("x", [_segment_type(arg, cut.length) for arg in args[carries:rows]])
        stay = body.take("p", [arg.type for arg in args[rows:]])
        begin = [Begin(cut.begin, body.number, cut.length).value()] * counts
        found = _apply(inner, [*begun, *parts, *stay, *begin])
        closed = body.closed(found[:carries], [*found[carries:], *begun])
        outer = Loop(closed, cut.parts, carries, op.slices, op.reverse)
        given = [cut.segments(arg) for arg in args[carries:rows]]
        out = _apply(outer, [*start, *given, *args[rows:]])
        if cut.kept:
            piece, counts = _inner(op, cut.kept, [*others, *pair.stacks])
            lasts = [cut.of_kept(arg) for arg in args[carries:rows]]
            begin = [Begin(cut.kept_begin).value()] * counts
            kept = _apply(piece, [*out[:carries], *lasts, *args[rows:], *begin])
        results = [*(kept or out)[:carries], *node.values[carries:]]
        for n, place in enumerate(others, carries):
            pieces = [found[n] if found else None for found in (rest, kept)]
            results[carries + place] = cut.whole(out[n], *pieces)
    behind = carries + len(others)
    return results, _Ahead(args, out[behind:], kept[behind:])


class _Operands(NamedTuple):
    """The operands of a segment of a second loop; ``states`` are the first one's carries."""

    carries: Sequence[Symbolic]
    totals: Sequence[Symbolic]
    states: Sequence[Symbolic]
    arrays: Sequence[Symbolic]
    stay: Sequence[Symbolic]


class _Back:
    """The second loop of a pair over segments, each of which runs the first one's again before.

    Behind a segment follows what its followers make of it.
    """

    def __init__(self, pair: LoopPair, cut: Division, levels: int) -> None:
        self.pair, self.cut, self.levels = pair, cut, levels
        self.node, self.op, self.ahead = pair.second, loop_of(pair.second), loop_of(pair.first)
        ends = self.op.carries, self.op.carries + self.op.slices
        self.stacked = {place: n for n, read in enumerate(pair.stacks.values()) for place in read}
        self.own = [n for n in range(*ends) if n not in self.stacked]
        kept = range(len(self.op.body.outputs) - self.op.carries)
        self.kept = [n for n in kept if n not in pair.passed]
        inside = self._known(range(len(pair.stacks)), range(len(self.node.types)))
        sources = (source for each in pair.followers for source in each.sources)
        self.apart = [*dict.fromkeys(s.key for s in sources if s.key not in inside)]
        self.rest: dict[ValueKey, Symbolic] = {}

    def outer(
        self, args: Sequence[Symbolic], first: _Ahead, others: Mapping[ValueKey, Symbolic]
    ) -> dict[Node, Sequence[Symbolic]]:
        """The results of the second loop and of the followers."""
        carries, rows = self.op.carries, self.op.carries + self.op.slices
        ends = self.ahead.carries, self.ahead.carries + self.ahead.slices
        followers, cut = self.pair.followers, self.cut
        arrays = [*first.args[ends[0] : ends[1]], *(args[n] for n in self.own)]
        arrays += [others[key] for key in self.apart]
        stay = [*args[rows:], *first.args[ends[1] :]]
        stay += [others[value.key] for each in followers for value in each.fixed]
        late = [others[value.key] for each in followers for value in each.first]
        with within(self.node.origin, self.node.order):
            back, rest, kept = [*args[:carries]], list[Symbolic](), list[Symbolic]()
            if cut.kept:
                pieces = [cut.of_kept(array) for array in arrays]
                given = _Operands(back, late, (), pieces, stay)
                kept, late, _ = self._segment(given, cut.kept, Begin(cut.kept_begin), first.kept)
                back = kept[:carries]
            given = _Operands(back, late, first.starts, arrays, stay)
            out = self._over_segments(given)
            back, late = out[:carries], out[carries : carries + len(late)]
            if cut.rest != 0:
                pieces = [cut.of_rest(array) for array in arrays]
                given = _Operands(back, late, first.args[: ends[0]], pieces, stay)
                rest, late, self.rest = self._segment(given, cut.rest, Begin(cut.rest_begin))
                back = rest[:carries]
            own = [*back, *[out[0]] * (len(self.node.types) - carries)]
            for place, value in zip(self.kept, out[carries + len(late) :], strict=True):
                parts = [piece[carries + place] if piece else None for piece in (rest, kept)]
                own[carries + place] = cut.whole(value, *parts)
        return {self.node: own} | self._by_follower(late)

    def _over_segments(self, given: _Operands) -> list[Symbolic]:
        """Return the results of the loop over segments, given whole arrays."""
        cut, body = self.cut, _SegmentInputs(self.node)
        inside = _Operands(
            body.take("c", [value.type for value in given.carries]),
            body.take("c", [value.type for value in given.totals]),
            body.take("x", [s.type.with_shape(s.shape[1:]) for s in given.states]),
            body.take("x", [_segment_type(array, cut.length) for array in given.arrays]),
            body.take("p", [value.type for value in given.stay]),
        )
        carries = len(given.carries)
        begin = Begin(cut.begin, body.number, cut.length)
        back, late, _ = self._segment(inside, cut.length, begin)
        stacks = [back[carries + place] for place in self.kept]
        closed = body.closed([*back[:carries], *late], stacks)
        closed = with_segments(closed, self.levels - 1) if self.levels > 1 else closed
        count, slices = carries + len(late), len(given.states) + len(given.arrays)
        outer = Loop(closed, cut.parts, count, slices, self.op.reverse)
        segments = [cut.segments(array) for array in given.arrays]
        operands = (*given.carries, *given.totals, *given.states, *segments, *given.stay)
        return _apply(outer, operands)

    def _by_follower(self, late: Sequence[Symbolic]) -> dict[Node, Sequence[Symbolic]]:
        """Return the final carries of each follower."""
        left = iter(late)
        return {each.node: [next(left) for _ in each.node.types] for each in self.pair.followers}

    def of_rest(self, node: Node) -> Symbolic:
        """Rows of the rest, which the node cuts out of all rows."""
        op, (array,) = node.op, node.args
        assert isinstance(op, Slice)
        begin, count = op.starts[0], op.lengths[0]
        found: Symbolic = part(self.rest[array.key], begin - self.cut.rest_begin, count)
        return found

    def _known(self, found: Sequence[Any], back: Sequence[Any]) -> dict[ValueKey, Any]:
        """Return the values that both loops stack in a segment, by the original stacks."""
        pair, carries = self.pair, self.ahead.carries
        known = {(pair.first, carries + n): v for n, v in zip(pair.stacks, found, strict=True)}
        own = range(self.op.carries, len(self.node.types))
        return known | {(self.node, n): back[n] for n in own}

    def _segment(
        self, given: _Operands, length: Size, begin: Begin, kept: Sequence[Symbolic] = ()
    ) -> tuple[list[Symbolic], list[Symbolic], dict[ValueKey, Symbolic]]:
        """Build the first loop again, the second one and the followers; return results and stacks.

        The ``kept`` values of the first one are not computed again.
        """
        op, ahead, found = self.op, self.ahead, [*kept]
        own, again, rows = len(self.node.args) - op.carries - op.slices, 0, 0
        if self.pair.stacks:
            rows = ahead.slices
            again = len(self.pair.first.args) - ahead.carries - rows
        if self.pair.stacks and not kept:
            one, counts = _inner(ahead, length, [*self.pair.stacks])
            stay = [*given.stay[own : own + again], *[begin.value()] * counts]
            found = _apply(one, [*given.states, *given.arrays[:rows], *stay])[ahead.carries :]
        mine = dict(zip(self.own, given.arrays[rows:], strict=False))
        mine |= {place: found[n] for place, n in self.stacked.items()}
        two, counts = _inner(op, length, range(len(self.node.types) - op.carries))
        stay = [*given.stay[:own], *[begin.value()] * counts]
        back = _apply(two, [*given.carries, *(mine[n] for n in sorted(mine)), *stay])
        known = self._known(found, back)
        known |= zip(self.apart, given.arrays[rows + len(self.own) :], strict=True)
        totals, fixed = iter(given.totals), iter(given.stay[own + again :])
        late: list[Symbolic] = []
        for each in self.pair.followers:
            total = [next(totals) for _ in each.node.types]
            late += self._follow(each, total, known, [next(fixed) for _ in each.fixed], begin)
        return back, late, known

    def _follow(
        self,
        each: Follower,
        total: list[Symbolic],
        known: Mapping[ValueKey, Symbolic],
        fixed: Sequence[Symbolic],
        begin: Begin,
    ) -> list[Symbolic]:
        """Return the carries of a follower behind a segment."""
        op, length = loop_of(each.node), known[each.sources[0].key].shape[0]
        blocks, left = length // each.length, length % each.length
        if blocks == 0:
            return total
        before = self.cut.iterations % each.length if op.reverse else 0
        with within(each.node.origin, each.node.order):
            inner, counts = _inner(op, blocks, [])
            shapes = [arg.shape[1:] for arg in each.node.args[op.carries : op.carries + op.slices]]
            slices = [
                Reshape((blocks, *shape))(
                    part(known[source.key], left if op.reverse else 0, blocks * each.length)
                )
                for shape, source in zip(shapes, each.sources, strict=True)
            ]
            first = begin._replace(first=begin.first + (left if op.reverse else 0))
            return _apply(
                inner, [*total, *slices, *fixed, *[first.value(each.length, before)] * counts]
            )
