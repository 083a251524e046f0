"""The base class of late passes, and the decorator that makes one of a function of graphs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from passes.base import Hits, Pass, Watch
from staticgrad.analysis.changes import changed_parts
from staticgrad.analysis.cost import compare_seconds, seconds_at_scales
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.schedule import Schedule

#: A rewrite of a graph; the graph itself if nothing changes.
Rewrite = Callable[[Graph], Graph]
#: The part of a predicted time by which two predictions differ without meaning.
TOLERANCE: Final = 0.03
#: The part of a graph's nodes beyond which the whole graph is fused in the place of the part:
#: one of the two schedules is used again then.
_MOST_OF_GRAPH: Final = 0.8
#: Makes the schedule of a graph.
MakeSchedule = Callable[[Graph], Schedule]


_Result = TypeVar("_Result")
#: What late passes made of graphs, by the pass and the graph; None outside of ``results_reused``.
_results: ContextVar[dict[Hashable, Any] | None] = ContextVar("late results", default=None)


@contextmanager
def results_reused() -> Iterator[None]:
    """Run each late pass once for each graph inside; trials run the same passes again."""
    token = _results.set({} if (reused := _results.get()) is None else reused)
    try:
        yield
    finally:
        _results.reset(token)


def _reuse(key: Hashable, make: Callable[[], _Result]) -> _Result:
    """Return what was made for a key, or make it."""
    results = _results.get()
    if results is None:
        return make()
    if key not in results:
        results[key] = make()
    result: _Result = results[key]
    return result


class LatePass(Pass):
    """A pass over the graph that kernels are made of, after the pipeline that users choose.

    The body of a loop or branch has kernels of its own. So the late pipeline runs again for each
    body that is left, and a late pass does not visit bodies.
    """

    inside = False
    may_fail = True

    def apply(self, program: Any, watch: Watch | None = None) -> tuple[Any, Mapping[str, int]]:
        """Run the pass, or return what it made of the same graph before (``results_reused``)."""
        return _reuse((self, program), lambda: super(LatePass, self).apply(program, watch))


class PricedPass(LatePass):
    """A late pass that is kept only where kernels are predicted to take no longer with it.

    ``schedule`` makes the schedule of a graph; the compiler passes its own. Without one, as in
    ``staticgrad opt -p late``, whatever the pass changes is kept.
    """

    schedule: MakeSchedule | None = None

    def rewrite(self, graph: Graph) -> Graph:
        """Return the graph that the pass makes; the graph itself if nothing changes."""
        raise NotImplementedError

    def apply(self, program: Any, watch: Watch | None = None) -> tuple[Any, Mapping[str, int]]:
        """Run the pass, and return the graph with it or without it, whichever is cheaper."""
        rewritten = _reuse((type(self), program), lambda: self.rewrite(program))
        if rewritten is program or self.schedule is None:
            return rewritten, {}
        return choose_cheaper(program, rewritten, self.schedule)

    def options(self) -> dict[str, Any]:
        """Return no option: text names no function."""
        return {}


def choose_cheaper(
    original: Graph, changed_graph: Graph, schedule: MakeSchedule
) -> tuple[Graph, Hits]:
    """Return the graph whose kernels are predicted to take less time, with a note of both prices.

    The changed parts of each graph are fused by themselves (``staticgrad.analysis.changes``), equal
    ones once, and priced at several values of named sizes; a graph that changed nearly everywhere
    is fused whole, as it is fused again when the pass is kept. Of equal prices, that behind the
    pass is taken.
    """
    parts = changed_parts(original, changed_graph, _MOST_OF_GRAPH)
    without = _predict_seconds([(schedule(part.original), part.count) for part in parts])
    with_pass = _predict_seconds([(schedule(part.rewritten), part.count) for part in parts])
    keeps = compare_seconds(with_pass, without) <= 1.0 + TOLERANCE
    note = describe_prices(keeps, with_pass, without)
    return (changed_graph if keeps else original), Hits(note=note)


def _predict_seconds(schedules: Sequence[tuple[Schedule, int]]) -> tuple[float, ...]:
    """Predict the seconds of schedules, each with how many equal ones it stands for."""
    steps = [(step, count) for schedule, count in schedules for step in schedule.steps]
    return seconds_at_scales([s for s, _ in steps], counts=[count for _, count in steps])


def describe_prices(keeps: bool, with_pass: Sequence[float], without: Sequence[float]) -> str:
    """Return the line of a report that says whether a pass is kept, and both predictions."""
    prices = [" / ".join(f"{s * 1e6:.3g}" for s in seconds) for seconds in (with_pass, without)]
    decision = "kept" if keeps else "left out"
    return f"{decision}: predicted {prices[0]} us with it, {prices[1]} without"


def late_pass(
    name: str, *, keeps: str = "exact", required: str = "", priced: bool = False
) -> Callable[[Rewrite], Rewrite]:
    """Register a function as the late pass of this name; the function itself does not change.

    Args:
        name: the name in pipeline text, in reports, and for ``disable=`` of ``sg.compile``.
        keeps: ``exact`` if results stay bitwise identical, else ``close``.
        required: why no program compiles without the pass; empty if it may be disabled.
        priced: keep what the pass does only where kernels are predicted to take no longer with it.
    """

    def register(rewrite: Rewrite) -> Rewrite:
        @functools.wraps(rewrite)
        def call(_: Pass, graph: Graph) -> Graph:
            return rewrite(graph)

        attributes = {
            ("rewrite" if priced else "__call__"): call,
            "__doc__": rewrite.__doc__,
            "__module__": rewrite.__module__,
            # Where pickle looks for the class: the function has its name in the module.
            "__qualname__": f"{rewrite.__qualname__}.late_pass",
            "keeps": keeps,
            "required": required,
        }
        pass_class = type(
            rewrite.__name__, (PricedPass if priced else LatePass,), attributes, name=name
        )
        vars(rewrite)["late_pass"] = pass_class
        return rewrite

    return register
