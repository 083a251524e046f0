"""Plans as JSON, judged by a small simulator that knows only the documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from passes.memory import plan
from staticgrad.analysis.plan_export import memory_documents
from staticgrad.ir.schedule import Schedule
from tests.passes.test_memory import chain, schedules, training_step


class Invalid(Exception):
    """A document that breaks a rule of its format."""


def simulate(graph: dict[str, Any], schedule: dict[str, Any]) -> int:
    """Run the schedule over live sets and byte ranges; the highest byte that was used."""
    sizes = {v["id"]: v["size"] for v in graph["values"]}
    base = {v["id"]: v.get("alias_of", v["id"]) for v in graph["values"]}
    ops = {op["id"]: op for op in graph["ops"]}
    live = set(graph["resident"])
    updated: set[str] = set()
    ranges: dict[str, tuple[int, int]] = {}
    top = 0
    for kind, name, *options in schedule["steps"]:
        if kind == "f":
            if name not in live:
                raise Invalid(f"{name} is freed and not live")
            live = {v for v in live if base[v] != name}
            ranges.pop(name, None)
            continue
        op = ops.pop(name)
        for value in op["inputs"]:
            if value not in live or (value in updated and value not in op.get("reads_updated", ())):
                raise Invalid(f"{name} reads {value}")
        taken = {out: into for into, out in options[0].get("inplace", ())}
        for into in taken.values():
            ranges.pop(into)
            live.discard(into)
        offsets = dict(options[0].get("offsets", {}))
        for value in op["outputs"]:
            if base[value] == value and sizes[value]:
                if value in taken:
                    offsets[value] = next(p[1] for p in schedule["places"] if p[0] == value)
                begin, end = offsets[value], offsets[value] + sizes[value]
                if begin % 64 or end > schedule["arena"]:
                    raise Invalid(f"{value} lies at {begin}")
                if any(begin < e and b < end for b, e in ranges.values()):
                    raise Invalid(f"{value} shares bytes")
                ranges[value] = begin, end
                top = max(top, end)
            live.add(value)
        updated |= set(op.get("mutates", ()))
    if ops or not live.issuperset(graph["outputs"]):
        raise Invalid("not everything was computed")
    return top


def documents(schedule: Schedule, sizes: dict[str, int], staged: bool = False) -> tuple[Any, Any]:
    inputs = {b.name for b in schedule.buffers if b.role == "input"} if staged else set()
    made = plan(schedule, sizes, staged=inputs)
    graph, steps = json.loads(json.dumps(memory_documents(made)))
    steps["places"] = [[p.buffer, p.offset] for p in made.placements]
    return graph, steps


@settings(max_examples=100)
@given(schedules(), st.integers(0, 70), st.integers(0, 40), st.booleans())
def test_every_plan_is_valid_to_an_outsider(
    schedule: Schedule, n: int, m: int, staged: bool
) -> None:
    graph, steps = documents(schedule, {"n": n, "m": m}, staged)
    assert simulate(graph, steps) == steps["arena"]


@pytest.mark.parametrize("check", [False, True])
def test_a_training_step_is_exported_whole(check: bool) -> None:
    schedule = training_step(4, check=check)
    graph, steps = documents(schedule, {"n": 100})
    assert simulate(graph, steps) == steps["arena"]
    assert sum(op["id"].startswith("s") for op in graph["ops"]) == len(schedule.steps)
    assert sum(bool(op.get("mutates")) for op in graph["ops"]) == 4


def test_a_damaged_document_is_noticed() -> None:
    graph, steps = documents(training_step(3), {"n": 100})
    offsets = next(s[2]["offsets"] for s in steps["steps"] if s[0] == "c" and s[2]["offsets"])
    offsets[next(iter(offsets))] += 32
    with pytest.raises(Invalid, match="lies at"):
        simulate(graph, steps)
    graph, steps = documents(chain(5), {"n": 100})
    steps["steps"] = [s for s in steps["steps"] if s[1] != "s1"]
    with pytest.raises(Invalid):
        simulate(graph, steps)
