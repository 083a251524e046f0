"""The words that messages are made of."""

import numpy as np
import pytest

from staticgrad.errors.wording import (
    closest,
    did_you_mean,
    kind_of,
    listed,
    message,
    shortened,
    shown,
)
from staticgrad.source import SourceLine


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (None, "None"),
        ([1], "a list"),
        ("x", "a text"),
        (b"x", "a text of bytes"),
        (np.ones(2), "an array"),
        (np.float32(1), "a float32"),
        (1, "an int"),
        (int, "a class int"),
        (len, "a builtin_function_or_method"),
    ],
)
def test_things_are_named_by_their_kind(data, kind):
    assert kind_of(data) == kind


def test_what_a_user_passed_is_shown_in_one_short_line():
    assert shown("a\nb") == "'a\\nb'"
    assert shown(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert shown(kind_of) == "kind_of"
    assert len(shown(list(range(1000)))) == 60


@pytest.mark.parametrize("width", [5, 60])
def test_a_shortened_text_ends_in_dots(width):
    assert shortened("x" * width, width) == "x" * width
    assert shortened("x" * (width + 1), width) == "x" * (width - 3) + "..."


def test_a_close_name_is_suggested_and_no_other():
    assert did_you_mean("bacth", ["batch", "time"]) == "did you mean 'batch'? "
    assert did_you_mean("zzz", ["batch", "time"]) == ""
    assert did_you_mean(3, []) == ""
    assert closest("softmx", {"softmax": 1, "relu": 2}) == "softmax"
    assert closest("meen", ["mean", "median"]) == "mean"
    assert closest("X", ["x", "y"]) == "x"
    for wrong, known in {
        "det": "dot", "sgd": "std", "save": "ravel", "scan": "isnan", "solve": "absolute",
        "cond": "round", "yy": "y", "vmap": "vecmat", "interp": "inner",
    }.items():  # fmt: skip
        assert closest(wrong, [known]) is None


def test_names_are_listed():
    assert listed(["a", "b"]) == "a, b"
    assert listed([]) == "none"


def test_a_long_headline_is_cut_and_the_rest_stays():
    lines = message("x" * 1000, SourceLine("a.py", 3), hint="do this").splitlines()
    assert lines == ["x" * 237 + "...", "  a.py:3", "  hint: do this"]
