"""The benchmark of every op: each op of the registry has a case, which computes what it says."""

import json

import pytest

import staticgrad.functions  # noqa: F401 - fills the registry
from benchmarks.every_op import report
from benchmarks.every_op.cases import CASES, IN_WORKLOADS, WITHOUT_WORK
from benchmarks.every_op.command import main
from benchmarks.every_op.libraries import Numpy, Own
from benchmarks.every_op.measure import (
    Point,
    measure,
    points,
)
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
