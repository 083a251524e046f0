"""Never a silent zero: a path that dies is an error at its line, or explicit zeros."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import DisconnectedError


@pytest.fixture
def x():
    return sg.input("x", (3,), "float64")


def error_of(y, wrt):
    with pytest.raises(DisconnectedError) as caught:
        sg.grad(y, wrt)
    return caught.value


def test_floor_on_the_only_path_names_its_line(x):
    steps = np.floor(x)  # dies here
    error = error_of((steps * 2.0).sum(), x)
    assert error.code == "SG302"
    assert "floor" in error.headline
    assert "'x'" in error.headline
    assert "dies here" in error.at.resolve().text


def test_a_comparison(x):
    above = x > 0.0  # dies here
    error = error_of(sg.where(above, 1.0, 2.0).sum(), x)
    assert "dies here" in error.at.resolve().text


def test_a_cast_to_an_integer(x):
    whole = x.astype("int64")  # dies here
    error = error_of(whole.astype("float64").sum(), x)
    assert "int64" in error.headline
    assert "dies here" in error.at.resolve().text


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        (sg.stop_gradient, "stop_gradient passes no gradient on"),
        (lambda x: sg.one_hot(sg.argmax(x), 3), "passes no gradient on"),
        (np.sign, "sign passes no gradient on"),
        (lambda x: np.rint(x) * 2.0, "rint"),
        (lambda x: sg.take(sg.constant(np.ones(3)), x.astype("int32")), "gives int32"),
    ],
)
def test_other_ops_that_pass_nothing(x, blocks, says):
    assert says in error_of(blocks(x).astype("float64").sum(), x).headline


def test_every_dead_path_is_listed(x):
    down = np.floor(x)
    up = np.ceil(x)
    error = error_of((down + up).sum(), x)
    assert "floor" in error.headline
    assert any("ceil" in detail for detail in error.details)


def test_a_value_that_is_not_used_at_all(x):
    other = sg.input("other", (), "float64")
    error = error_of((x * x).sum(), [x, other])
    assert "does not depend on 'other'" in error.headline


def test_a_result_made_after_the_output_is_not_on_its_way(x):
    y = (x * x).sum()
    later = x * 3.0
    assert "does not depend" in error_of(y, later).headline


def test_one_live_path_is_enough(x):
    fraction = x - np.floor(x)
    assert sg.evaluate(sg.grad(fraction.sum(), x)).tolist() == [1.0, 1.0, 1.0]


def test_zeros_when_allowed(x):
    n = sg.input("n", (), "int64")
    batch = sg.input("batch", ("b", 2), "float32")
    y = (x * n).sum()
    dx, dn, db = sg.grad(y, [x, n, batch], allow_disconnected=True)
    assert (dn.type, db.type) == (n.type, batch.type)
    feeds = {"n": 4, "batch": np.ones((5, 2), "float32")}
    found = sg.evaluate({"x": dx, "n": dn, "b": db, "read": batch}, feeds)
    assert found["x"].tolist() == [4.0] * 3
    assert found["n"] == 0
    assert found["b"].shape == (5, 2)
    assert not found["b"].any()


def test_zeros_of_a_symbolic_shape_follow_the_feeds():
    batch = sg.input("batch", ("b", 2), "float32")
    x = sg.input("x", (), "float32")
    zeros = sg.grad(x * x, batch, allow_disconnected=True)
    assert sg.evaluate(zeros, sizes={"b": 3}).shape == (3, 2)


def test_by_an_unused_value_when_nothing_is_connected():
    x = sg.input("x", (), "float64")
    y = sg.input("y", (), "float64")
    assert sg.evaluate(sg.grad(x * x, y, allow_disconnected=True)) == 0.0
