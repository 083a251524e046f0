"""Recompute loops in nested segments (checkpointing) for the loops that run backwards over them.

A loop that stacks values for a loop in the other direction stores those of all its iterations until
that one runs. With segments of ``length`` iterations, the outer loop stores only the carries at the
start of each segment; the loop in the other direction recomputes each segment before it runs over
it (Chen et al. 2016 for layers; Griewank and Walther 2000 for steps of time). So bytes for
``iterations`` values become bytes for ``iterations / length + length`` of them, for one more run of
the first loop. The inner pair may be divided again. Iterations that do not fill a segment are
separate: the first loop runs them first, the other one last. The stacked values of the last
iterations may all be stored, for as many as fit into memory: the second loop begins with them, and
they are not recomputed. The order of iterations and of sums does not change, and every value is
computed by the same kernels, so results stay bitwise identical.

Twelve iterations in segments of four: instead of c0 to c11, at most c0, c4, c8 and the four carries
of a segment are stored::

    forward     c0 -> . -> . -> . -> c4 -> . -> . -> . -> c8 -> . -> . -> . -> c12
    backward    c8 .. c11 again, then backward over them; c4 .. c7 again, ...; c0 .. c3 again, ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from passes.base import Pass
from passes.loops.divisions import Division, SegmentStart, part, segment_length
from passes.loops.loop_pairs import Follower, LoopPair, loop_of, pairs_of
from staticgrad.analysis.liveness import ValueKey
from staticgrad.language.ir.bodies import body_input, body_of, inline_body
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.graph import Graph, Node, Symbolic, ancestors
from staticgrad.language.ops.indexing import Slice
from staticgrad.language.ops.loops import NUMBER, Loop
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.types.arrays import TensorType, hint_bytes, hint_value
from staticgrad.language.types.dim import Size
from staticgrad.support.building import within
from staticgrad.support.records import NamedTuple

#: No part of the iterations.
NOTHING: Final = Fraction()


def run_in_segments(graph: Graph, levels: int = 1, kept_part: Fraction = NOTHING) -> Graph:
    """Rewrite forward loops in nested segments, which backward loops recompute (checkpointing).

    Segment lengths leave about the same number of iterations to each level, and are multiples of
    the blocks of the followers; if there is no such length, the followers run behind the pair,
    undivided. With 0 levels nothing is recomputed: only what the second loop stacks for its
    followers is stored for one block at a time. For the last iterations, a part ``kept_part`` of
    all, the segments are a level less deep. Return the graph itself if no pair can be divided.
    """
    done: set[Node] = set()
    while True:
        pairs = pairs_of(graph, recomputes=levels > 0)
        pair = next((candidate for candidate in pairs if candidate.first not in done), None)
        if pair is None:
            return graph
        graph, new_loops = _divide_pair_nested(graph, pair, levels, kept_part)
        done |= new_loops


class Segments(Pass, name="segments"):
    """Recompute loops in nested segments for the loops that run backwards over them.

    A memory budget or a policy chooses the options. ``levels``: how deep segments are nested; with
    0 nothing is recomputed. ``kept_part``: the last iterations, as a part of all, whose segments
    are a level less deep, ``'3/4'``.
    """

    inside = False
    levels: int = 1
    kept_part: str = "0"

    def __call__(self, graph: Graph) -> Graph:
        """Return the result of ``run_in_segments``."""
        return run_in_segments(graph, self.levels, Fraction(self.kept_part))


def _divide_pair_nested(
    graph: Graph, pair: LoopPair, levels: int, kept_part: Fraction
) -> tuple[Graph, set[Node]]:
    """Rewrite one pair of loops in segments; return the graph and the new forward loops."""
    choice = _choose_division(graph, pair, levels, kept_part)
    if choice is None:
        return graph, {pair.first}
    graph, outer, rows = _divide_pair(graph, *choice, levels)
    new_loops = {loop for loop in (outer, rows) if loop is not None}
    pairs = pairs_of(graph, recomputes=levels > 1) if rows is not None else []
    for inner_pair in pairs:
        if inner_pair.first is rows:
            graph, more = _divide_pair_nested(graph, inner_pair, levels - 1, NOTHING)
            new_loops |= more
    return graph, new_loops


def _choose_division(
    graph: Graph, pair: LoopPair, levels: int, kept_part: Fraction
) -> tuple[LoopPair, Division] | None:
    """Choose segments in which to rewrite a loop pair, with its followers or without, or None."""
    iterations = hint_value(pair.iterations)
    ways = [pair]
    if levels:
        ways += [p for p in pairs_of(graph, followed=False) if p.first is pair.first]
    for way in ways:
        last = 0
        if levels and way.stacks and isinstance(way.iterations, int) and _saves_bytes(way):
            last = int(iterations * kept_part) // way.unit * way.unit
        left = iterations - last
        target_length = round(left ** (levels / (levels + 1))) if levels else way.unit
        length = segment_length(left, target_length, way.unit)
        if last and length is None and left >= way.unit:
            length = way.unit  # one segment, besides the iterations that are not recomputed
        if length is not None:
            division = Division(way.iterations, length, loop_of(way.second).reverse, last)
            if not division.has_pieces or _saves_bytes(way):
                return way, division
    return None


def _saves_bytes(pair: LoopPair) -> bool:
    """Return True if segments save more stack bytes than joining them costs."""
    no_longer_stacked = still_stacked = 0
    first_loops = (
        [(pair.first, pair.stacks)] if pair.stacks else []
    )  # else the first loop is unchanged
    for node, places in (*first_loops, (pair.second, pair.followed)):
        for place, kind in enumerate(node.types[loop_of(node).carries :]):
            nbytes = hint_bytes(kind)
            no_longer_stacked, still_stacked = (
                (no_longer_stacked + nbytes, still_stacked)
                if place in places
                else (no_longer_stacked, still_stacked + nbytes)
            )
    return no_longer_stacked > 2 * still_stacked


class _FirstLoop(NamedTuple):
    """The operands of a first loop, and the carries with which its segments begin.

    ``kept_stacks``: its stacks of the iterations that are not recomputed. All are empty if nothing
    is recomputed.
    """

    args: Sequence[Symbolic] = ()
    starts: Sequence[Symbolic] = ()
    kept_stacks: Sequence[Symbolic] = ()


def _divide_pair(
    graph: Graph, pair: LoopPair, division: Division, levels: int
) -> tuple[Graph, Node | None, Node | None]:
    """Rewrite one loop pair in segments; return the graph, the outer and the stored loop."""
    stacked = {(pair.first, loop_of(pair.first).carries + place) for place in pair.stacks}
    stacked |= {(pair.second, loop_of(pair.second).carries + place) for place in pair.followed}
    follower_operands = {value.node for follower in pair.followers for value in follower.operands}
    rebuilt_values: dict[ValueKey, Symbolic] = {}
    rebuilt: dict[Node, Sequence[Symbolic]] = {}
    first_loops: list[_FirstLoop] = []
    back = _SecondLoop(pair, division, levels)

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Replace the loops of a divided pair, its followers and readers of its stacks."""
        if node is pair.first and pair.stacks:
            rebuilt[node], first_loop = _divide_first_loop(pair, args, division)
            first_loops.append(first_loop)
        elif node is pair.second:
            others = {
                value.key: rebuilt_values.get(value.key, value)
                for follower in pair.followers
                for value in follower.operands
            }
            rebuilt.update(
                back.outer(args, first_loops[0] if first_loops else _FirstLoop(), others)
            )
        elif node in pair.ends:
            rebuilt[node] = [back.remainder_rows(node)]
        elif node in follower_operands and node not in rebuilt:
            has_new_operands = any(
                new.key != old.key for new, old in zip(args, node.args, strict=True)
            )
            rebuilt[node] = rebuild(node, args).values if has_new_operands else node.values
        elif any(arg.key in stacked for arg in node.args) and node not in rebuilt:
            stacked.add((node, 0))
            return [args[0]]  # only followers read the value, and those read segments now
        if node in follower_operands:
            rebuilt_values.update(((node, n), value) for n, value in enumerate(rebuilt[node]))
        return rebuilt.get(node)

    divided = graph.replace_nodes(rewrite).without_dead_nodes()
    first = first_loops[0] if first_loops else _FirstLoop()
    outer = first.starts[0].node if first.starts else pair.first
    return divided, outer, first.kept_stacks[0].node if first.kept_stacks else None


class _SegmentInputs:
    """The inputs of a new body, in the order of a loop's operands."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.number = self._new("i", NUMBER)
        self.inputs = [self.number]
        self._count: dict[str, int] = {}

    def _new(self, label: str, kind: TensorType) -> Symbolic:
        return body_input(label, kind, self.node.origin, self.node.order)

    def take(self, role: str, kinds: Iterable[TensorType]) -> list[Symbolic]:
        """Add a segment body's inputs of a role: carries ``c``, slices ``x``, invariants ``p``."""
        inputs = []
        for kind in kinds:
            place = self._count[role] = self._count.get(role, -1) + 1
            inputs.append(self._new(f"{role}{place}", kind))
        self.inputs += inputs
        return inputs

    def build_body(self, carries: Sequence[Symbolic], outputs: Sequence[Symbolic]) -> Graph:
        """Return the body with these results."""
        named = {f"c{n}": value for n, value in enumerate(carries)}
        named |= {f"y{n}": value for n, value in enumerate(outputs)}
        return body_of(self.inputs, named)


def _apply(op: Loop, args: Sequence[Symbolic]) -> list[Symbolic]:
    results: object = op(*args)
    return [*results] if isinstance(results, tuple) else [results]  # type: ignore[list-item]


def _segment_type(value: Symbolic, length: int) -> TensorType:
    """Return the type of a segment of an array with one row per iteration."""
    return value.type.with_shape((length, *value.type.shape[1:]))


def _build_segment_loop(op: Loop, length: Size, outputs: Sequence[int]) -> tuple[Loop, bool]:
    """Build the loop over one segment's iterations; True if it reads iteration numbers.

    Then its last operand is the number of the first iteration of the segment.
    """
    values = [*op.body.outputs.values()]
    results = values[: op.carries] + [values[op.carries + place] for place in outputs]
    named = {f"c{n}": value for n, value in enumerate(results[: op.carries])}
    named |= {f"y{n}": value for n, value in enumerate(results[op.carries :])}
    body = body_of(op.body.inputs, named)
    counts = op.body.inputs[0].node in set(ancestors(results))
    if counts:
        body = _add_begin(body, len(body.inputs) - 1 - op.carries - op.slices)
    return Loop(body, length, op.carries, op.slices, op.reverse), counts


def _add_begin(body: Graph, invariant_count: int) -> Graph:
    """Add a segment's first iteration as an operand to a loop's body.

    ``invariant_count``: the number of loop invariants.
    """
    inputs = [body_input(v.node.label, v.type, v.node.origin, v.node.order) for v in body.inputs]
    first = inputs[0].node
    begin = body_input(f"p{invariant_count}", NUMBER, first.origin, first.order)
    with within(first.origin, first.order):
        number: Any = inputs[0] + begin
    results = inline_body(body, [number, *inputs[1:]])
    return body_of([*inputs, begin], dict(zip(body.outputs, results, strict=True)))


def _divide_first_loop(
    pair: LoopPair, args: Sequence[Symbolic], division: Division
) -> tuple[list[Symbolic], _FirstLoop]:
    """Build the forward loop over segments, and what the backward loop reads of it.

    Stacks that only the second loop reads are not among the results: the old values, which are not
    read any more, replace them.
    """
    node, op = pair.first, loop_of(pair.first)
    carries, rows = op.carries, op.carries + op.slices
    others = [n for n in range(len(node.types) - carries) if n not in pair.stacks]
    inner, counts = _build_segment_loop(op, division.length, others)
    with within(node.origin, node.order):
        start, rest_results, kept_results = args[:carries], list[Symbolic](), list[Symbolic]()
        if division.remainder != 0:
            piece, _ = _build_segment_loop(op, division.remainder, others)
            lasts = [division.remainder_rows(arg) for arg in args[carries:rows]]
            begin = [SegmentStart(division.remainder_begin).value()] * counts
            rest_results = _apply(piece, [*start, *lasts, *args[rows:], *begin])
            start = tuple(rest_results[:carries])
        body = _SegmentInputs(node)
        start_carries = body.take("c", [arg.type for arg in start])
        parts = body.take("x", [_segment_type(arg, division.length) for arg in args[carries:rows]])
        stay = body.take("p", [arg.type for arg in args[rows:]])
        begin = [SegmentStart(division.begin, body.number, division.length).value()] * counts
        inner_results = _apply(inner, [*start_carries, *parts, *stay, *begin])
        segment_body = body.build_body(
            inner_results[:carries], [*inner_results[carries:], *start_carries]
        )
        outer = Loop(segment_body, division.parts, carries, op.slices, op.reverse)
        operands = [division.segments(arg) for arg in args[carries:rows]]
        out = _apply(outer, [*start, *operands, *args[rows:]])
        if division.stored:
            piece, counts = _build_segment_loop(op, division.stored, [*others, *pair.stacks])
            lasts = [division.stored_rows(arg) for arg in args[carries:rows]]
            begin = [SegmentStart(division.stored_begin).value()] * counts
            kept_results = _apply(piece, [*out[:carries], *lasts, *args[rows:], *begin])
        results = [*(kept_results or out)[:carries], *node.values[carries:]]
        for n, place in enumerate(others, carries):
            pieces = [
                results_of_piece[n] if results_of_piece else None
                for results_of_piece in (rest_results, kept_results)
            ]
            results[carries + place] = division.join(out[n], *pieces)
    end_of_results = carries + len(others)
    return results, _FirstLoop(args, out[end_of_results:], kept_results[end_of_results:])


class _Operands(NamedTuple):
    """The operands of a segment of a second loop; ``states`` are the first one's carries."""

    carries: Sequence[Symbolic]
    totals: Sequence[Symbolic]
    states: Sequence[Symbolic]
    arrays: Sequence[Symbolic]
    invariants: Sequence[Symbolic]


class _SecondLoop:
    """The second loop of a pair over segments: each recomputes a segment of the first loop first.

    The followers run after each segment.
    """

    def __init__(self, pair: LoopPair, division: Division, levels: int) -> None:
        self.pair, self.division, self.levels = pair, division, levels
        self.node, self.op, self.first_op = pair.second, loop_of(pair.second), loop_of(pair.first)
        ends = self.op.carries, self.op.carries + self.op.slices
        self.stacked = {place: n for n, read in enumerate(pair.stacks.values()) for place in read}
        self.own_slices = [n for n in range(*ends) if n not in self.stacked]
        stacks = range(len(self.op.body.outputs) - self.op.carries)
        self.returned_stacks = [n for n in stacks if n not in pair.followed]
        inside = self._collect_stacks(range(len(pair.stacks)), range(len(self.node.types)))
        sources = (source for follower in pair.followers for source in follower.sources)
        self.other_sources = [*dict.fromkeys(s.key for s in sources if s.key not in inside)]
        self.rest_stacks: dict[ValueKey, Symbolic] = {}

    def outer(
        self, args: Sequence[Symbolic], first: _FirstLoop, others: Mapping[ValueKey, Symbolic]
    ) -> dict[Node, Sequence[Symbolic]]:
        """Build the backward loop over segments; return its results and the followers'."""
        carries, rows = self.op.carries, self.op.carries + self.op.slices
        ends = self.first_op.carries, self.first_op.carries + self.first_op.slices
        followers, division = self.pair.followers, self.division
        arrays = [*first.args[ends[0] : ends[1]], *(args[n] for n in self.own_slices)]
        arrays += [others[key] for key in self.other_sources]
        stay = [*args[rows:], *first.args[ends[1] :]]
        stay += [others[value.key] for follower in followers for value in follower.invariants]
        late = [others[value.key] for follower in followers for value in follower.first_carries]
        with within(self.node.origin, self.node.order):
            back, rest_results, kept_results = [*args[:carries]], list[Symbolic](), list[Symbolic]()
            if division.stored:
                pieces = [division.stored_rows(array) for array in arrays]
                operands = _Operands(back, late, (), pieces, stay)
                kept_results, late, _ = self._build_segment(
                    operands,
                    division.stored,
                    SegmentStart(division.stored_begin),
                    first.kept_stacks,
                )
                back = kept_results[:carries]
            operands = _Operands(back, late, first.starts, arrays, stay)
            out = self._over_segments(operands)
            back, late = out[:carries], out[carries : carries + len(late)]
            if division.remainder != 0:
                pieces = [division.remainder_rows(array) for array in arrays]
                operands = _Operands(back, late, first.args[: ends[0]], pieces, stay)
                rest_results, late, self.rest_stacks = self._build_segment(
                    operands, division.remainder, SegmentStart(division.remainder_begin)
                )
                back = rest_results[:carries]
            results = [*back, *[out[0]] * (len(self.node.types) - carries)]
            for place, value in zip(self.returned_stacks, out[carries + len(late) :], strict=True):
                parts = [
                    piece[carries + place] if piece else None
                    for piece in (rest_results, kept_results)
                ]
                results[carries + place] = division.join(value, *parts)
        return {self.node: results} | self._by_follower(late)

    def _over_segments(self, operands: _Operands) -> list[Symbolic]:
        """Build the loop over segments that reads whole arrays; return its results."""
        division, body = self.division, _SegmentInputs(self.node)
        inside = _Operands(
            body.take("c", [value.type for value in operands.carries]),
            body.take("c", [value.type for value in operands.totals]),
            body.take("x", [s.type.with_shape(s.shape[1:]) for s in operands.states]),
            body.take("x", [_segment_type(array, division.length) for array in operands.arrays]),
            body.take("p", [value.type for value in operands.invariants]),
        )
        carries = len(operands.carries)
        begin = SegmentStart(division.begin, body.number, division.length)
        back, late, _ = self._build_segment(inside, division.length, begin)
        stacks = [back[carries + place] for place in self.returned_stacks]
        segment_body = body.build_body([*back[:carries], *late], stacks)
        segment_body = (
            run_in_segments(segment_body, self.levels - 1) if self.levels > 1 else segment_body
        )
        count, slices = carries + len(late), len(operands.states) + len(operands.arrays)
        outer = Loop(segment_body, division.parts, count, slices, self.op.reverse)
        segments = [division.segments(array) for array in operands.arrays]
        arguments = (
            *operands.carries,
            *operands.totals,
            *operands.states,
            *segments,
            *operands.invariants,
        )
        return _apply(outer, arguments)

    def _by_follower(self, late: Sequence[Symbolic]) -> dict[Node, Sequence[Symbolic]]:
        """Return the final carries of each follower."""
        left = iter(late)
        return {
            follower.node: [next(left) for _ in follower.node.types]
            for follower in self.pair.followers
        }

    def remainder_rows(self, node: Node) -> Symbolic:
        """Return a stack's rows of the iterations that fill no segment."""
        op, (array,) = node.op, node.args
        assert isinstance(op, Slice)
        begin, count = op.starts[0], op.lengths[0]
        rows: Symbolic = part(
            self.rest_stacks[array.key], begin - self.division.remainder_begin, count
        )
        return rows

    def _collect_stacks(
        self, first_stacks: Sequence[Any], back: Sequence[Any]
    ) -> dict[ValueKey, Any]:
        """Return the values that both loops stack in a segment, by the original stacks."""
        pair, carries = self.pair, self.first_op.carries
        stacks = {
            (pair.first, carries + n): v for n, v in zip(pair.stacks, first_stacks, strict=True)
        }
        outputs = range(self.op.carries, len(self.node.types))
        return stacks | {(self.node, n): back[n] for n in outputs}

    def _build_segment(
        self,
        operands: _Operands,
        length: Size,
        begin: SegmentStart,
        kept_stacks: Sequence[Symbolic] = (),
    ) -> tuple[list[Symbolic], list[Symbolic], dict[ValueKey, Symbolic]]:
        """Build a segment's body: the recomputed forward loop, the backward loop, followers.

        ``kept_stacks``: values of the first loop that are stored and not recomputed.
        """
        op, first_op, first_stacks = self.op, self.first_op, [*kept_stacks]
        own_invariants, again, rows = len(self.node.args) - op.carries - op.slices, 0, 0
        if self.pair.stacks:
            rows = first_op.slices
            again = len(self.pair.first.args) - first_op.carries - rows
        if self.pair.stacks and not kept_stacks:
            first_loop, counts = _build_segment_loop(first_op, length, [*self.pair.stacks])
            stay = [
                *operands.invariants[own_invariants : own_invariants + again],
                *[begin.value()] * counts,
            ]
            first_stacks = _apply(first_loop, [*operands.states, *operands.arrays[:rows], *stay])[
                first_op.carries :
            ]
        slices = dict(zip(self.own_slices, operands.arrays[rows:], strict=False))
        slices |= {place: first_stacks[n] for place, n in self.stacked.items()}
        second_loop, counts = _build_segment_loop(
            op, length, range(len(self.node.types) - op.carries)
        )
        stay = [*operands.invariants[:own_invariants], *[begin.value()] * counts]
        back = _apply(second_loop, [*operands.carries, *(slices[n] for n in sorted(slices)), *stay])
        stacks = self._collect_stacks(first_stacks, back)
        stacks |= zip(
            self.other_sources, operands.arrays[rows + len(self.own_slices) :], strict=True
        )
        totals, fixed = iter(operands.totals), iter(operands.invariants[own_invariants + again :])
        late: list[Symbolic] = []
        for follower in self.pair.followers:
            total = [next(totals) for _ in follower.node.types]
            late += self._run_follower(
                follower, total, stacks, [next(fixed) for _ in follower.invariants], begin
            )
        return back, late, stacks

    def _run_follower(
        self,
        follower: Follower,
        total: list[Symbolic],
        stacks: Mapping[ValueKey, Symbolic],
        fixed: Sequence[Symbolic],
        begin: SegmentStart,
    ) -> list[Symbolic]:
        """Build a follower's loop over a segment; return its carries after it."""
        op, length = loop_of(follower.node), stacks[follower.sources[0].key].shape[0]
        blocks, left = length // follower.length, length % follower.length
        if blocks == 0:
            return total
        offset = self.division.iterations % follower.length if op.reverse else 0
        with within(follower.node.origin, follower.node.order):
            inner, counts = _build_segment_loop(op, blocks, [])
            shapes = [
                arg.shape[1:] for arg in follower.node.args[op.carries : op.carries + op.slices]
            ]
            slices = [
                Reshape((blocks, *shape))(
                    part(stacks[source.key], left if op.reverse else 0, blocks * follower.length)
                )
                for shape, source in zip(shapes, follower.sources, strict=True)
            ]
            first = begin._replace(first=begin.first + (left if op.reverse else 0))
            return _apply(
                inner, [*total, *slices, *fixed, *[first.value(follower.length, offset)] * counts]
            )
