"""The benchmark of every op: each op of the registry has a case, which computes what it says."""

import json

import numpy as np
import pytest

import staticgrad.functions  # noqa: F401 - fills the registry
from benchmarks.every_op import report
from benchmarks.every_op.cases import CASES, IN_WORKLOADS, WITHOUT_WORK
from benchmarks.every_op.command import main
from benchmarks.every_op.libraries import Numpy, Own
from benchmarks.every_op.measure import (
    Point,
    in_order,
    measure,
    operands,
    points,
    shape_of,
    timed,
)
from benchmarks.every_op.parts import told
from benchmarks.every_op.reasons import reasoned
from benchmarks.every_op.report import Cell
from staticgrad.ir.op import op_class, registered_ops


def test_every_op_has_a_case():
    own = {name for name in registered_ops() if op_class(name).__module__.startswith("staticgrad.")}
    covered = {case.op for case in CASES}
    assert own == covered | WITHOUT_WORK | IN_WORKLOADS
    assert not covered & (WITHOUT_WORK | IN_WORKLOADS)
    told = [(case.label, dtype) for case in CASES for dtype in case.dtypes]
    assert len({*told}) == len(told)


def test_points_have_all_layouts_and_gradients():
    (case,) = (case for case in CASES if case.label == "tanh")
    found = [point for _, point in points([case], (10, 1_000_000))]
    assert {(p.dtype, p.backward) for p in found} == {
        (dtype, backward) for dtype in ("float32", "float64") for backward in (False, True)
    }
    assert sum(p.size == 1_000_000 for p in found) == 4 * sum(p.size == 10 for p in found)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("case", CASES[::6], ids=lambda case: case.label)
def test_libraries_agree_with_the_definition(case):
    libraries = [Own(1), Numpy(1)]
    for _, point in points([case], (1000,)):
        if point.dtype in case.dtypes[:1]:
            found = measure(case, point, libraries, quick=True)
            assert not found.wrong
            assert found.seconds["staticgrad"] > 0


def test_a_wrong_result_is_told(monkeypatch):
    (case,) = (case for case in CASES if case.label == "add" and "float32" in case.dtypes)
    own = Own(1)
    right = own.step
    off = {"step": lambda *a: lambda: {"output": right(*a)()["output"] + 1e-2}}
    monkeypatch.setattr(own, "step", off["step"])
    point = Point("add", "float32", "contiguous", 1000, backward=False)
    assert measure(case, point, [own], quick=True).wrong == "too far off"


def test_operands_lie_as_the_layout_says():
    (case,) = (case for case in CASES if case.label == "matmul")
    rows, columns = shape_of(1000)
    shapes = {}
    for layout in ("contiguous", "transposed", "strided", "broadcast"):
        fed, _ = operands(case, Point("matmul", "float32", layout, 1000, backward=False))
        shapes[layout] = [array.shape for array in fed]
    weights = (columns, 64)
    assert shapes == {
        "contiguous": [(rows, columns), weights],
        "transposed": [(columns, rows), weights],
        "strided": [(rows, 2 * columns), weights],
        "broadcast": [(1, columns), weights],
    }


def test_the_least_of_all_rounds_counts():
    now = [0.0]
    costs = iter([1.0, 1.0, 3.0, 5.0, 2.0, 7.0])

    def step():
        now[0] += next(costs)

    found = timed({"one": step, "other": step}, 2, clock=lambda: now[0])
    assert found == {"one": 2.0, "other": 5.0}


@pytest.mark.slow
def test_the_table_and_the_picture(tmp_path, capsys):
    path, picture = tmp_path / "results.json", tmp_path / "results.svg"
    base = {"label": "exp", "dtype": "float32", "layout": "contiguous", "backward": False}
    entries = [
        {"point": {**base, "size": 10}, "seconds": {"staticgrad": 1.0, "numpy": 2.0}},
        {"point": {**base, "size": 1000}, "seconds": {"staticgrad": 3.0, "jax": 1.0, "numpy": 2.0}},
        {"point": {**base, "size": 1000}, "seconds": {"staticgrad": 4.0, "jax": 2.0}},
    ]
    path.write_text("".join(f"{json.dumps({**e, 'wrong': ''})}\n" for e in entries))
    cells = report.read(path)
    assert [round(cell.ratio, 2) for cell in cells] == [0.5, 2.0]
    assert [cell.size for cell in report.worst(cells, 1)] == [1000]
    assert "| exp | float32 | 0.50 | **2.00** jax |" in report.markdown(cells)
    pytest.importorskip("matplotlib")
    assert main(["--show", str(path), "--plot", str(picture)]) == 0
    assert "1 faster" in capsys.readouterr().out
    assert picture.read_text().startswith("<?xml")


def test_results_are_added_to_a_file_that_lacks_them(tmp_path):
    """Of a tree that has them a run goes on with the others; of another tree it begins anew."""
    path = tmp_path / "results.json"
    chosen = ["--op", "neg", "--quick", "--json", str(path), "--layout", "contiguous"]
    assert main([*chosen, "--size", "10"]) == 0
    first = path.read_text().splitlines()
    assert len(first) == 4  # of two floats, forward and backward
    assert main([*chosen, "--size", "10", "--size", "100"]) == 0
    lines = path.read_text().splitlines()
    assert lines[:4] == first
    assert len(report.read(path)) <= len(lines) == 8
    assert {json.loads(line)["point"]["size"] for line in lines[4:]} == {100}
    older = [json.dumps(json.loads(line) | {"tree": "another"}) for line in first]
    path.write_text("".join(f"{line}\n" for line in older))
    assert main([*chosen, "--size", "10", "--seconds", "0"]) == 2
    assert main([*chosen, "--size", "10"]) == 0
    assert len(path.read_text().splitlines()) == 8


def test_results_are_compared_in_c_order_too():
    (case,) = (case for case in CASES if case.label == "add" and "float32" in case.dtypes)
    point = Point("add", "float32", "transposed", 1000, backward=False)
    found = measure(case, point, [Own(1), Numpy(1)], quick=True)
    assert {*found.seconds} == {"staticgrad", "numpy", "numpy, in C order"}


def test_calls_behind_others_are_counted_alone():
    """Of each turn the last call counts: the four before it fill the caches."""
    now, calls = [0.0], list[str]()

    def step(name):
        calls.append(name)
        now[0] += 1.0 if calls[-5:].count(name) < 5 else 0.25

    steps = {name: lambda name=name: step(name) for name in "ab"}
    found = timed(steps, 2, clock=lambda: now[0], behind_others=True)
    assert found == {"a": 0.25, "b": 0.25}
    assert "".join(calls) == "ab" + 2 * ("a" * 5 + "b" * 5)
    calls.clear()
    assert timed(steps, 2, clock=lambda: now[0], rest=1e-6) == found  # nor as their threads were
    assert "".join(calls) == "ab" + 2 * ("a" * 5 + "b" * 5)
    fed = np.ones((3, 4)).T
    assert in_order(lambda: fed)().flags.c_contiguous


def test_what_is_slower_has_its_reason_or_none(tmp_path):
    """Reasons apply to what they measured alone; parts are merged, the later ones counting."""

    def cell(label, layout, size, ratio, in_order=0.0, again=0.0):
        back = layout == "strided"
        return Cell(ratio, "numpy", 1.0, label, "float32", layout, size, back, in_order, again)

    cells = [
        cell("add", "transposed", 10**6, 3.0, 0.7),
        cell("sub", "transposed", 10**6, 3.0, 1.4),
        cell("sort", "contiguous", 10**5, 4.0),
        cell("pow", "contiguous", 10**6, 2.0),
        cell("neg", "strided", 10**6, 1.5),
        cell("exp", "broadcast", 10**6, 1.5, 1.5, 1.1),
        cell("log", "broadcast", 10**6, 1.5, 1.5, 1.3),
        *(cell("abs", "contiguous", 10**n, 1.3 if n == 6 else 1.0) for n in (5, 6, 7)),
        *(cell("mul", "contiguous", 10**n, 1.3) for n in (5, 6)),
    ]
    found = {text[:24]: [c.label for c in slow] for text, slow in reasoned(cells)}
    assert sorted(found.values()) == [
        ["abs"],
        ["add"],
        ["exp"],
        ["neg"],
        ["pow"],
        ["sort"],
        ["sub", "log", "mul", "mul"],
    ]
    assert found[""] == ["sub", "log", "mul", "mul"]
    first, second, whole = (tmp_path / name for name in ("first", "second", "whole"))
    line = {"point": {"label": "exp"}, "wrong": "", "tree": "a b", "threads": 1}
    first.write_text(json.dumps({**line, "seconds": {}}) + "\n")
    second.write_text(json.dumps({**line, "seconds": {}, "tree": "c d"}) + "\n")
    assert main(["--merge", str(first), str(second), "--json", str(whole)]) == 0
    assert whole.read_text() == second.read_text()
    assert "1 points: ?, ?, 1 thread, trees c d" in told(whole)
