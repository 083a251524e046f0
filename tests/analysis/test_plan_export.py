"""Plans as JSON, judged by a small simulator that knows only the documents."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.memory.planner import plan
from tests.analysis.plan_documents import memory_documents
from tests.passes.test_memory import chain, schedules, training_step


class InvalidError(Exception):
    """A document that breaks a rule of its format."""


class Simulator:
    """Runs a schedule over a live set and byte ranges; ``top`` is the highest byte used."""

    def __init__(self, graph, schedule):
        self.sizes = {v["id"]: v["size"] for v in graph["values"]}
        self.ops = {op["id"]: op for op in graph["ops"]}
        self.arena = schedule["arena"]
        self.live = set(graph["resident"])
        self.updated = set()
        self.ranges = {}
        self.top = 0
        self.runs = Counter()
        for kind, name, *options in schedule["steps"]:
            if kind == "f":
                self.free(name)
            else:
                self.compute(self.ops[name], options[0])
        if self.runs.keys() != self.ops.keys() or not self.live.issuperset(graph["outputs"]):
            raise InvalidError("not everything was computed")

    def free(self, name):
        if name not in self.live:
            raise InvalidError(f"{name} is freed and not live")
        self.live.discard(name)
        self.ranges.pop(name, None)

    def compute(self, op, options):
        self.runs[op["id"]] += 1
        if self.runs[op["id"]] > op.get("max_runs", self.runs[op["id"]]):
            raise InvalidError(f"{op['id']} runs again")
        for value in op["inputs"]:
            late = value in self.updated and value not in op.get("reads_updated", ())
            if value not in self.live or late:
                raise InvalidError(f"{op['id']} reads {value}")
        offsets = dict(options.get("offsets", {}))
        for into, out in options.get("inplace", ()):
            if [into, out] not in op["inplace"] or self.sizes[into] != self.sizes[out]:
                raise InvalidError(f"{op['id']} cannot write {out} over {into}")
            self.live.discard(into)
            offsets[out] = self.ranges.pop(into, (0, 0))[0]
        for value in op["outputs"]:
            if self.sizes[value]:
                self.place(value, offsets[value], offsets[value] + self.sizes[value])
            self.live.add(value)
        self.updated |= set(op.get("mutates", ()))

    def place(self, value, begin, end):
        if begin % 64 or end > self.arena:
            raise InvalidError(f"{value} lies at {begin}")
        if any(begin < e and b < end for b, e in self.ranges.values()):
            raise InvalidError(f"{value} shares bytes")
        self.ranges[value] = begin, end
        self.top = max(self.top, end)


def documents(schedule, sizes, staged=False):
    inputs = {b.name for b in schedule.buffers if b.role == "input"} if staged else set()
    made = plan(schedule, sizes, staged=inputs)
    graph, steps = json.loads(json.dumps(memory_documents(made)))
    return graph, steps


@settings(max_examples=100)
@given(schedules(), st.integers(0, 70), st.integers(0, 40), st.booleans())
def test_every_plan_is_valid_to_an_outsider(schedule, n, m, staged):
    graph, steps = documents(schedule, {"n": n, "m": m}, staged)
    assert Simulator(graph, steps).top == steps["arena"]


@pytest.mark.parametrize("check", [False, True])
def test_a_training_step_is_exported_whole(check):
    schedule = training_step(4, check=check)
    graph, steps = documents(schedule, {"n": 100})
    assert Simulator(graph, steps).top == steps["arena"]
    assert sum(op["id"].startswith("s") for op in graph["ops"]) == len(schedule.steps)
    assert sum(bool(op.get("mutates")) for op in graph["ops"]) == 4


def test_a_damaged_document_is_noticed():
    graph, steps = documents(training_step(3), {"n": 100})
    offsets = next(s[2]["offsets"] for s in steps["steps"] if s[0] == "c" and s[2]["offsets"])
    offsets[next(iter(offsets))] += 32
    with pytest.raises(InvalidError, match="lies at"):
        Simulator(graph, steps)
    graph, steps = documents(chain(5), {"n": 100})
    steps["steps"] = [s for s in steps["steps"] if s[1] != "s1"]
    with pytest.raises(InvalidError):
        Simulator(graph, steps)
