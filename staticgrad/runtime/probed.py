"""``debug="nan"``: before a plan runs, another program looks for what makes NaNs of its feeds.

That program computes the same values on the same feeds and parameters, one kernel per operation,
and writes neither parameters nor outputs; only where it finds nothing, the plan itself runs, as
always. What is looked for, and how, is said in ``analysis.nonfinite``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from staticgrad.analysis.nonfinite import Probe, Suspect, accusation, evidence
from staticgrad.ir.graph import Graph
from staticgrad.ir.plan import Plan
from staticgrad.kept import cached_property
from staticgrad.native.constants import ENDLESS
from staticgrad.runtime.arena import Arena
from staticgrad.runtime.probed_iterations import look_inside
from staticgrad.runtime.side_run import Compile
from staticgrad.runtime.step import Program, Table, nothing


class _Search:
    """A probe with its questions compiled."""

    def __init__(self, probe: Probe, compile_graph: Compile) -> None:
        self._probe = probe
        self._program = None if probe.graph is None else compile_graph(probe.graph)

    def find(
        self, sizes: Mapping[str, int], feeds: Mapping[str, int]
    ) -> tuple[Suspect | None, bool]:
        """The guilty suspect, or None, and then whether a NaN remains that no suspect explains.

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
        """See ``SideProgram.run`` for the arguments; loops are looked into iteration by iteration.

        Raises:
            NonFiniteError: the first operation that made a NaN or an infinity of finite numbers;
                or, where feeds and parameters are finite and a result is not a number, the first
                that made a NaN of infinities.
        """
        guilty, mysterious = self._search.find(sizes, feeds)
        if guilty is None and mysterious:
            guilty, _ = self._nan_search.find(sizes, feeds)
        if guilty is not None:
            seen, _ = self._compile(evidence(guilty)).run(sizes, feeds)
            node = guilty.value.node
            if node.op.bodies:
                operands = [seen[f"operand{i}"] for i in range(len(node.args))]
                look_inside(node, operands, guilty.kind, sizes, self._compile)
            raise accusation(guilty, seen)

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
        """As ``Table.run``, if no operation makes a NaN or an infinity.

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
