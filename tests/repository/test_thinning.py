"""``thinned`` leaves each case quick on one of so many days, and each shared value on every day."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

PATH = Path(__file__).parents[1] / "conftest.py"


@pytest.fixture(scope="module")
def conftest():
    spec = importlib.util.spec_from_file_location("conftest_of_the_tests", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def family(**parameters):
    cases = [{}]
    for name, values in parameters.items():
        cases = [{**case, name: value} for case in cases for value in values]
    return [
        SimpleNamespace(nodeid=f"test_it[{case}]", callspec=SimpleNamespace(params=case))
        for case in cases
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 20])
def test_each_case_is_quick_on_one_day_of_as_many(conftest, count):
    cases = family(a=range(10))
    turns = [conftest._in_turn(cases, count, day) for day in range(min(count, 10))]
    assert sorted(case for turn in turns for case in turn) == [*range(10)]
    assert max(map(len, turns)) - min(map(len, turns)) <= 1
    assert conftest._in_turn(cases, count, count) == conftest._in_turn(cases, count, 0)


@pytest.mark.parametrize("day", [0, 1, 2, 739_000])
def test_each_value_that_cases_share_is_quick_every_day(conftest, day):
    cases = family(dtype=["f4", "f8", "i8"], layout=[object(), object()], workers=[1, 2, 3, 4])
    quick = conftest._covering(cases, day)
    for name in ("dtype", "layout", "workers"):
        values = {id(case.callspec.params[name]) for case in cases}
        assert {id(cases[n].callspec.params[name]) for n in quick} == values
    assert len(quick) <= 6
    assert quick == conftest._covering(cases, day)


def test_other_cases_are_quick_on_other_days(conftest):
    cases = family(dtype=["f4", "f8", "i8"], workers=[1, 2, 3, 4])
    assert {n for day in range(40) for n in conftest._covering(cases, day)} == {*range(12)}
