"""``debug="nan"``: the source of NaNs is searched before a plan runs; and timing of positions.

That program computes the same values on the same feeds and parameters, one kernel per operation,
and writes neither parameters nor outputs; only where it finds nothing, the plan itself runs, as
always. ``analysis.nonfinite`` describes the search.

**Loops.** The bodies of a guilty loop or branch run again, one iteration after the other, on what
it was given. Each iteration is checked as a whole program is (``analysis.nonfinite``); a loop that
is guilty in it is looked into the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import perf_counter_ns
from typing import Any, Final, NoReturn

import numpy as np

from staticgrad.analysis.binding import Feeds, concrete_shape
from staticgrad.analysis.evaluate import at_sizes
from staticgrad.analysis.nonfinite import Iteration, Kind, Probe, Suspect, accusation, evidence
from staticgrad.compiler.runtime.arena import Arena, address_of
from staticgrad.compiler.runtime.executor import Executor
from staticgrad.compiler.runtime.side_run import Compile, SideRun
from staticgrad.compiler.runtime.step import ParameterLocks, Program, Table, nothing
from staticgrad.errors import ArgumentError, IndexOutOfRange
from staticgrad.errors.wording import quote
from staticgrad.language.ir.bodies import inline_body
from staticgrad.language.ir.graph import BodyOp, Graph, Input, Node, Symbolic, bodies_of
from staticgrad.language.ir.nodes import leaf_node
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.plan import Plan
from staticgrad.language.storage.parameter import write_together
from staticgrad.language.types.arrays import TensorType
from staticgrad.native.constants import ENDLESS
from staticgrad.support.caches import cached_property

#: What messages call the inputs of a body, by the first letter of their labels.
_ROLES = {"i": "iteration", "c": "carry", "x": "slice", "p": "operand"}


def _raise_accusation(
    guilty: Suspect,
    sizes: Mapping[str, int],
    feeds: Mapping[str, int],
    compile_graph: Compile,
    around: tuple[Iteration, ...] = (),
) -> NoReturn:
    """Raise the error for the operation that made a NaN, in the iterations of loops ``around``.

    A loop or branch runs again, iteration by iteration, since an operation of a body says more.
    """
    seen, _ = compile_graph(evidence(guilty)).run(sizes, feeds)
    node = guilty.value.node
    if isinstance(node.op, BodyOp):
        op: Any = at_sizes(node.op, sizes)
        operands = [seen[f"operand{i}"] for i in range(len(node.args))]
        with suppress(IndexOutOfRange):  # what it reads then says nothing
            op.interpret(_Suspicious(node, guilty.kind, sizes, compile_graph, around), *operands)
    raise accusation(guilty, seen, around)


class _Suspicious:
    """Runs bodies, each behind a search."""

    def __init__(
        self,
        node: Node,
        kind: Kind,
        sizes: Mapping[str, int],
        compile_graph: Compile,
        around: tuple[Iteration, ...],
    ) -> None:
        self._node, self._kind, self._sizes = node, kind, sizes
        self._compile, self._around = compile_graph, around
        self._programs: dict[Graph, _AskedBody] = {}

    def run(self, body: Graph, arrays: Sequence[Array]) -> list[Array]:
        """Run a loop's body in the search for NaNs; return its outputs.

        Raises:
            NonFiniteError: an operation of it makes what is looked for.
            IndexOutOfRange: a lookup fails.
        """
        if body not in self._programs:
            self._programs[body] = _AskedBody(body, self._kind, self._sizes, self._compile)
        program = self._programs[body]
        body_inputs = [np.array(array, order="C") for array in arrays]
        feeds = dict(zip(program.labels, map(address_of, body_inputs), strict=True))
        if program.search is not None:
            answers, failure = program.search.run(feeds)
            guilty = program.probe.guilty(answers, None if failure is None else failure.at)
            if guilty is not None:
                iterations = (*self._around, self._iteration(body, body_inputs))
                _raise_accusation(guilty, self._sizes, feeds, self._compile, iterations)
        results, failure = program.results.run(feeds)
        if failure is not None:
            raise failure
        return [results[name].copy() for name in program.names]

    def _iteration(self, body: Graph, body_inputs: Sequence[Array]) -> Iteration:
        """Return the current iteration of a searched loop, in words."""
        if body.inputs[0].node.label == "i":
            return Iteration(
                f"iteration {int(body_inputs[0])}", self._node.op.name, self._node.origin
            )
        case = bodies_of(self._node).index(body)
        return Iteration(f"case {case}", self._node.op.name, self._node.origin)

    def empty(self, of: TensorType, iterations: int) -> Array:
        """Room for a result of every iteration."""
        return np.empty((iterations, *concrete_shape(of.shape, self._sizes)), of.dtype.numpy)


class _AskedBody:
    """A body as a graph of its own, and the questions about it, compiled."""

    def __init__(
        self, body: Graph, kind: Kind, sizes: Mapping[str, int], compile_graph: Compile
    ) -> None:
        inputs = [_name_input(value) for value in body.inputs]
        self.labels = [value.node.label for value in inputs]
        values = inline_body(body, inputs)
        self.names = [*body.outputs]
        graph = Graph(dict(zip(self.names, values, strict=True)), inputs=inputs)
        self.probe = Probe(graph, kind)
        asked = self.probe.graph
        self.search = None if asked is None else SideRun(compile_graph(asked), sizes)
        self.results = SideRun(compile_graph(graph), sizes)


def _name_input(value: Symbolic) -> Symbolic:
    """An input of a graph like one of a body, with a name for messages."""
    label = value.node.label
    name = " ".join(filter(None, (_ROLES[label[0]], label[1:])))
    return Symbolic(leaf_node(Input(name, value.type), value.node.origin, value.node.order))


class _Search:
    """A probe with its questions compiled."""

    def __init__(self, probe: Probe, compile_graph: Compile) -> None:
        self._probe = probe
        self._program = None if probe.graph is None else compile_graph(probe.graph)

    def find(
        self, sizes: Mapping[str, int], feeds: Mapping[str, int]
    ) -> tuple[Suspect | None, bool]:
        """Find the operation that made a NaN, or None, and if an unexplained NaN remains.

        Before an index that is out of range there may be a NaN, which is the better news; if not,
        the index is reported by the run that follows.
        """
        if self._program is None:
            return None, False
        answers, failure = self._program.run(sizes, feeds)
        guilty = self._probe.guilty(answers, None if failure is None else failure.at)
        return guilty, failure is None and self._probe.is_a_mystery(answers)


class Watch:
    """Looks for operations of one graph that make NaNs, at any sizes."""

    def __init__(self, graph: Graph, compile_graph: Compile) -> None:
        self._graph, self._compile = graph, compile_graph
        self._search = _Search(Probe(graph), compile_graph)

    @cached_property
    def _nan_search(self) -> _Search:
        return _Search(Probe(self._graph, "nan"), self._compile)

    def look(self, sizes: Mapping[str, int], feeds: Mapping[str, int]) -> None:
        """Search a program's run for NaNs; loops are searched iteration by iteration.

        Raises:
            NonFiniteError: the first operation that made a NaN or an infinity of finite numbers;
                or, where feeds and parameters are finite and a result is not a number, the first
                that made a NaN of infinities.
        """
        guilty, mysterious = self._search.find(sizes, feeds)
        if guilty is None and mysterious:
            guilty, _ = self._nan_search.find(sizes, feeds)
        if guilty is not None:
            _raise_accusation(guilty, sizes, feeds, self._compile)

    def table(self, program: Program, plan: Plan) -> Table:
        """A table that looks before it runs."""
        return _ProbedTable(program, plan, self)


class _ProbedTable(Table):
    rows_of_steps = "single"

    def __init__(self, program: Program, plan: Plan, watch: Watch) -> None:
        super().__init__(program, plan)
        self._watch = watch
        self._inputs = {b.name: b.label for b in program.schedule.buffers if b.role == "input"}

    def run(self, arena: Arena, begin_writing: Callable[[], object] = nothing) -> None:
        """Run a plan as ``Table.run`` does, if no operation makes a NaN or an infinity.

        Raises:
            NonFiniteError: one does; nothing was written.
        """
        if self.loop_limit != ENDLESS:  # whoever looks has no limit
            super().run(arena)
        feeds = {label: arena.base + offset for label, offset in self.staged.items()}
        for name, label in self._inputs.items():
            if (address := self.address(name)) is not None:
                feeds[label] = address
        self._watch.look(dict(self.plan.sizes), feeds)
        super().run(arena, begin_writing)


#: Calls of no row, of which the shortest says what a call costs.
_EMPTY_CALLS: Final = 20


class TimedTable(Table):
    """A table whose every position is a call of its own; results have the bytes of a plain run.

    ``runs`` has, for each run, the nanoseconds of the clock at which each position began, and those
    that it took, without what the call itself costs.
    """

    rows_of_steps = "apart"

    def __init__(self, program: Program, plan: Plan) -> None:
        super().__init__(program, plan)
        self.runs: list[list[tuple[int, int]]] = []
        self._spans: list[tuple[int, int]] = []
        self._call_cost = 0

    def run(self, arena: Arena, begin_writing: Callable[[], object] = nothing) -> None:
        """Run as ``Table.run`` does; a run that fails is not noted."""
        self._spans = []
        self._call_cost = min(self._nanoseconds_of(0, 0) for _ in range(_EMPTY_CALLS))
        super().run(arena, begin_writing)
        self.runs.append(self._spans)

    def _call(self, first: int, last: int) -> None:
        for position in range(first, last):
            begun = perf_counter_ns()
            spent = self._nanoseconds_of(position, position + 1)
            self._spans.append((begun, max(0, spent - self._call_cost)))

    def _nanoseconds_of(self, first: int, last: int) -> int:
        begun = perf_counter_ns()
        super()._call(first, last)
        return perf_counter_ns() - begun

    def threads(self, position: int) -> int:
        """Return how many threads may share a position's work: 1 if only the caller runs it."""
        first, last = self._words.first_rows[position : position + 2]
        shared = any(row.section for row in self._words.rows[first:last])
        return self.plan.workers if shared else 1


def timed_runs(executor: Executor, feeds: Feeds, runs: int) -> TimedTable:
    """Run some times with these feeds, and time each step; parameters are restored.

    The first run, whose memory is new, is one more.

    Raises:
        ArgumentError: ``runs`` is no whole number from 1 on.
    """
    if type(runs) is not int or runs < 1:
        raise ArgumentError(f"profile: runs is {quote(runs)}, not a whole number from 1 on")
    tables: list[TimedTable] = []

    def make(program: Program, plan: Plan) -> Table:
        tables.append(TimedTable(program, plan))
        return tables[-1]

    timed, program = executor.with_tables(make), executor.program
    arrays = [program.stores[name].array for name in sorted(program.updated_labels)]
    saved_arrays = [array.copy() for array in arrays]

    def put_back(_: object, begin_writing: Callable[[], object]) -> None:
        begin_writing()
        write_together(arrays, saved_arrays)

    try:
        for _ in range(runs + 1):
            timed.run(feeds)
    finally:
        ParameterLocks(program).run(put_back, None)
    return tables[-1]
