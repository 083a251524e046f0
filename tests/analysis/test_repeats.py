"""Units, closures, and which sequences of steps are valid."""

import re
from pathlib import Path

import pytest

import staticgrad as sg
from staticgrad.analysis.liveness import Flow, Life, OldValues, last_uses, users_of
from staticgrad.analysis.repeats import Repeats
from tests.passes.test_memory import chain, training_step
from tests.runtime.handmade import ADD, COPY, FORK, I64, NEGATE, TAKE, Builder, N


def test_lives_follow_from_the_sequence():
    flow = Flow(chain(4))  # b0 -> b1 -> b2 -> b3 -> b4
    assert flow.lives([0, 1, 2, 3]) == [Life(1, 0, 1), Life(2, 1, 2), Life(3, 2, 3)]
    again = [0, 1, 0, 1, 2, 3]
    assert flow.lives(again) == [
        Life(1, 0, 1), Life(2, 1, 1), Life(1, 2, 3), Life(2, 3, 4), Life(3, 4, 5),
    ]  # fmt: skip
    assert flow.lives([0, 1, 2, 3], staged=[0])[0] == Life(0, 0, 0)


def test_check_words_live_until_the_commit_and_for_a_step_after_it():
    build = Builder()
    x, rows = build.buffer("input"), build.buffer("input", dtype=I64)
    words, found = build.buffer("check", 2, dtype=I64), build.buffer("temp")
    w, y = build.buffer("parameter", label="w"), build.buffer("output")
    build.step(TAKE, x, rows, found, words, arguments=(N, N))
    build.step(COPY, found, w)
    build.step(COPY, found, y)
    flow = Flow(build.schedule(y=y))
    number = flow.index[words]
    lives = [life for life in flow.lives([0, 1, 0, 2]) if life.buffer == number]
    assert lives == [Life(number, 0, 0), Life(number, 2, 2)]
    repeats = Repeats(flow)
    assert repeats.is_valid([0, 1, 0, 2])
    assert not repeats.is_valid([0, 1, 1, 2])


def test_closures_start_from_what_is_there():
    flow = Flow(chain(6))
    repeats = Repeats(flow)
    assert repeats.closure(flow.index["b4"], set()) == (0, 1, 2, 3)
    assert repeats.closure(flow.index["b4"], {flow.index["b2"]}) == (2, 3)
    assert repeats.closure(flow.index["b0"], set()) is None


def test_what_several_steps_write_is_one_unit():
    build = Builder()
    x, parts, twin, y = (build.buffer(r) for r in ("input", "temp", "temp", "output"))
    build.step(NEGATE, x, parts)
    build.step(FORK, x, parts, twin)
    build.step(ADD, parts, twin, y)
    flow = Flow(build.schedule(y=y))
    repeats = Repeats(flow)
    assert repeats.unit == ((0, 1), (0, 1), (2,))
    assert repeats.closure(flow.index[twin], set()) == (0, 1)
    assert repeats.is_valid([0, 1, 0, 1, 2])
    assert not repeats.is_valid([0, 1, 0, 2])
    assert repeats.is_valid([0, 1, 2, 1]) is False


def test_a_value_read_half_written_is_not_computed_again():
    build = Builder()
    x, parts, half, y = (build.buffer(r) for r in ("input", "temp", "temp", "output"))
    build.step(NEGATE, x, parts)
    build.step(NEGATE, parts, half)
    build.step(COPY, x, parts)
    build.step(ADD, parts, half, y)
    flow = Flow(build.schedule(y=y))
    repeats = Repeats(flow)
    assert repeats.repeatable == (False, True, False, True)
    assert repeats.closure(flow.index[parts], set()) is None
    assert repeats.closure(flow.index[half], set()) is None
    assert repeats.closure(flow.index[half], {flow.index[parts]}) == (1,)


def test_updates_wait_for_reads_that_come_later():
    flow = Flow(training_step(2))
    repeats = Repeats(flow)
    steps = list(range(len(flow.before)))
    first_update = flow.commits[0]
    late = [*steps[: first_update + 1], 1, *steps[first_update + 1 :]]  # step 1 reads w1 again
    settled = repeats.settled(late)
    assert settled is not None
    assert repeats.is_valid(settled)
    assert sorted(settled) == sorted(late)
    assert repeats.settled(steps) == steps
    assert not repeats.is_valid(late)
    assert not repeats.is_valid(steps[:-1])


@pytest.fixture
def graph():
    x = sg.input("x", (), "float64")
    square = x * x
    total = square + x
    return sg.Graph({"a": square, "b": total}, updates={})


def test_users_are_listed_once_in_order(graph):
    x, square, total = graph.nodes
    assert users_of(graph) == {(x, 0): [square, total], (square, 0): [total], (total, 0): []}
    x, square, total = graph.nodes
    assert last_uses(graph) == {x: [], square: [], total: [x]}


def test_a_node_that_nobody_reads_dies_at_once(graph):
    x, square, total = graph.nodes
    dead = sg.Graph.of_parts(
        nodes=graph.nodes, inputs=graph.inputs, parameters=(), outputs={"a": graph["a"]}
    )
    assert last_uses(dead) == {x: [], square: [], total: [x, total]}


def test_a_value_is_needed_until_its_last_run_by_another_step():
    reads = [(0, ["v"]), (1, ["v", "w"]), (0, ["v"]), (2, ["v", "w"])]  # step 0 runs twice
    old = OldValues(reads, {"v": {2}, "w": {1, 2}})
    assert old.is_needed("v")
    assert not old.is_needed("w"), "its writers alone read it"
    assert old.ran(0, ["v"]) == []
    assert old.ran(1, ["v", "w"]) == []
    assert old.is_needed("v")
    assert old.ran(0, ["v"]) == ["v"]
    assert not old.is_needed("v")
    assert old.ran(2, ["v", "w"]) == []


def test_those_who_place_updates_ask_one_rule():
    asking = set()
    for path in (*Path("passes").rglob("*.py"), *Path("staticgrad").rglob("*.py")):
        if re.search(r"\bOldValues\(|\bTakingOver\(", path.read_text()):
            asking.add(path.as_posix())
    assert asking == {
        "staticgrad/fusion/updates.py",
        "staticgrad/analysis/liveness.py",
        "staticgrad/analysis/repeats.py",
    }
