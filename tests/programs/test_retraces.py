"""Calls that are traced again and again: what changed is said at the third one in a row."""

import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.programs.retraces import CallOutline, find_change


def total(x):
    return sum(leaf.sum() for leaf in sg.tree.leaves(x) if hasattr(leaf, "sum"))


def rows(count):
    return [np.ones(3)] * count


class Pair(NamedTuple):
    first: Any
    second: Any


CHANGING = {
    "lists of other lengths": (
        [rows(1), rows(2), rows(3), rows(4)],
        r"x has 3 arrays, after 2: one array, np.stack\(...\), may have any number of rows",
    ),
    "other keys": (
        [{"a": np.ones(2)}, {"b": np.ones(2)}, {"c": np.ones(2)}],
        r"x has other keys: the same keys at each call keep the program",
    ),
    "other ranks": (
        [np.ones(2), np.ones((2, 2)), np.ones((2, 2, 2))],
        r"x has 3 axes, after 2: the same axes at each call keep the program",
    ),
    "other dtypes": (
        [np.ones(2, dtype) for dtype in ("float32", "float64", "int32")],
        r"x is int32, after float64: x.astype\('float64'\) keeps the program",
    ),
    "other functions": (
        [{"f": lambda x=x: x, "x": np.ones(2)} for x in range(3)],
        r"x.f is another <lambda>: a function that is defined once",
    ),
    "other containers": (
        [(np.ones(2),), [np.ones(2)], Pair(np.ones(2), None)],
        "because of other containers: the same ones at each call keep the program",
    ),
}


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ((np.float64(0.5), 0.5), "x is 0.5, after an array of float64"),
        ((0.5, np.float64(0.5)), "x is an array of float64, after 0.5"),
        ((None, np.ones(2)), "x is an array of float64, after no array"),
        ((np.ones(2), None), "x is no array, after an array of float64"),
        ((np.ones(2), [np.ones(2)]), "x is a container of arrays, after an array of float64"),
        (([np.ones(2)] * 3, np.ones(2)), "x is an array of float64, after a container of arrays"),
    ],
)
def test_an_argument_of_another_kind_is_named(calls, reason):
    f = sg.function(lambda x: sg.sum(x) if isinstance(x, sg.Value) else sg.constant(1.0))
    for x in calls:
        f(x)
    assert f.stats.reasons[-1].endswith(reason)


def test_the_cure_of_a_number_is_its_dtype():
    array = CallOutline({"x": "float32"}, {"x": 0}, {}, {})
    for text, cure in (("-0.5", "np.float32(x) at each call"), ("'a'", "the same kind at each")):
        number = CallOutline({}, {}, {"x": text}, {})
        assert find_change(array, number).cure.startswith(cure)
        assert find_change(number, array).cure.startswith(cure)


@pytest.mark.parametrize("kind", [float, np.float64])
def test_what_the_reason_of_a_number_says_keeps_the_program(kind):
    f = sg.function(lambda x: x * 2.0)
    for x in (np.float64(0.5), np.float64(kind(0.25)), np.float64(0.125)):
        f(x)
    assert f.stats.traces == 1


@pytest.mark.parametrize("name", CHANGING)
def test_the_third_trace_in_a_row_says_what_changes(name):
    calls, words = CHANGING[name]
    f = sg.function(total)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(calls[0])
        f(calls[1])  # twice is often meant
    with pytest.warns(sg.errors.StaticgradWarning, match=words):
        f(calls[2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in calls:  # once is enough
            f(call)
    assert f.stats.traces == len(calls)


def test_what_a_function_reads_and_that_changes_at_each_call_is_named():
    class Trainer:
        def __init__(self):
            self.rate = 1.0

        @sg.function
        def step(self, x):
            return x * self.rate

    trainer = Trainer()
    for rate in (1.0, 2.0):
        trainer.rate = rate
        np.testing.assert_allclose(trainer.step(np.ones(2)), [rate, rate])
    trainer.rate = 3.0
    with pytest.warns(sg.StaticgradWarning, match=r"self.rate is another: a number that changes"):
        np.testing.assert_allclose(trainer.step(np.ones(2)), [3.0, 3.0])
    for rate in range(4, 14):  # once is enough
        trainer.rate = float(rate)
        np.testing.assert_allclose(trainer.step(np.ones(2)), [rate, rate])


def test_a_function_that_refuses_open_sizes_is_warned_of():
    f = sg.function(lambda x: x.sum() * (0.5 if x.shape[0] % 2 else 2.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [f(np.ones(n)) for n in (1, 2)] == [0.5, 4.0]
    with pytest.warns(sg.StaticgradWarning, match="compiles for each size of its arrays, since"):
        assert f(np.ones(3)) == 1.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        assert f(np.ones(5)) == 2.5
    cured = sg.function(lambda x: x.sum() * sg.size_value(x.shape[0], "float64"))
    assert [cured(np.ones(n)) for n in (1, 2, 3, 4)] == [1.0, 4.0, 9.0, 16.0]
    assert cured.stats.traces == 2


def test_lists_of_numbers_of_other_lengths_are_named():
    f = sg.function(lambda weights: sum(weights))
    assert [f([0.5] * count) for count in (1, 2)] == [0.5, 1.0]
    words = r"weights has 3 numbers or other static parts, after 2: one array, np.array\(weights\)"
    with pytest.warns(sg.StaticgradWarning, match=words):
        assert f([0.5] * 3) == 1.5
    again = sg.function(lambda weights: weights.sum())
    assert [again(np.array([0.5] * count)) for count in (1, 2, 3, 4)] == [0.5, 1.0, 1.5, 2.0]
    assert again.stats.traces == 2


def test_attributes_of_a_bound_method_are_named_by_self():
    class Trainer:
        rate = 1.0

        def scale(self, x):
            return x * self.rate

    trainer = Trainer()
    step = sg.function(trainer.scale)
    for rate in (1.0, 2.0):
        trainer.rate = rate
        np.testing.assert_allclose(step(np.ones(2)), rate)
    trainer.rate = 3.0
    with pytest.warns(sg.StaticgradWarning, match=r"because self.rate is another"):
        step(np.ones(2))


def test_an_int_that_python_needs_is_named_at_its_third_value():
    f = sg.function(lambda x, k: x[:k].sum())
    meant = sg.function(lambda x, k: x[:k].sum(), static="k")
    for k in (1, 2):
        assert f(np.ones(5), k) == meant(np.ones(5), k) == k
    assert meant(np.ones(5), 3) == 3
    with pytest.warns(sg.StaticgradWarning, match="k is 3, after 2: static='k' says that"):
        assert f(np.ones(5), 3) == 3


def test_traces_for_reasons_that_differ_are_no_pattern():
    """A first state that is missing, sequences of other lengths, then a state: all are meant."""
    f = sg.function(lambda x, state=None: total(x) if state is None else total(x) + state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(np.ones((6, 3)))
        f(np.ones((4, 3)))
        f(np.ones((2, 3)), np.float64(1.0))
    assert f.stats.traces == 3


def test_static_arguments_that_change_are_named_and_meant_ones_are_not():
    def scale_by_length(x, kind):
        return x * len(kind)

    f, meant = sg.function(scale_by_length), sg.function(scale_by_length, static="kind")
    f(np.ones(2), "a"), f(np.ones(2), "bb")
    with pytest.warns(
        sg.errors.StaticgradWarning, match=r"kind is 'ccc', after 'bb': static='kind'"
    ):
        f(np.ones(2), "ccc")
    for kind in ("a", "bb", "ccc", "dddd"):
        np.testing.assert_array_equal(meant(np.ones(2), kind), len(kind))


def test_a_function_that_was_called_again_between_is_not_named():
    f = sg.function(total)
    for count in (1, 1, 2, 2, 3, 3, 4):
        f(rows(count))
    assert f.stats.traces == 4
    assert "x has 4 arrays, after 3" in f.stats.reasons[-1]
