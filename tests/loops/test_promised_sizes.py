"""Carries whose shape is that of the loop's start only for sizes above a minimum: the hint runs."""

import re

import numpy as np
import pytest

import staticgrad as sg

START = np.arange(1.0, 7.0)


def run_hint(build, sizes):
    """Build with plain names, and again with the sizes that the hint gives."""
    with pytest.raises((sg.errors.CarryError, sg.errors.GradientError)) as caught:
        build(sizes)
    declared = re.findall(r"sg\.dim\(\"(\w+)\", min=(\d+)\)", caught.value.hint)
    assert declared, caught.value.hint
    promised = {name: eval(f'sg.dim("{name}", min={least})') for name, least in declared}
    return build({**sizes, **promised}), {name: int(least) for name, least in declared}


STEPS = {
    "sums": (lambda c, m: m.concatenate([c[:1], c[:-1] + c[1:]]), 1),
    "roll": (lambda c, m: m.concatenate([c[-1:], c[:-1]]), 1),
    "differences": (lambda c, m: m.concatenate([c[:1], m.diff(c)]), 1),
    "shifted": (lambda c, m: m.pad(c[1:], (0, 1)), 1),
    "by two": (lambda c, m: m.concatenate([c[:2], c[:-2]]), 2),
    "by five": (lambda c, m: m.concatenate([c[5:], c[:5]]), 5),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("kind", ["scan", "fori", "while", "cond"])
def test_the_hint_of_a_carry_of_another_shape_runs(name, kind):
    function, least = STEPS[name]

    def build(sizes):
        x = sg.input("x", (sizes["n"],), "float64")
        if kind == "scan":
            return sg.scan(lambda c, _: (function(c, sg), None), x, sg.arange(3.0))[0]
        if kind == "fori":
            return sg.fori_loop(0, 3, lambda _, c: function(c, sg), x)
        if kind == "while":
            start = (sg.constant(0), x)
            return sg.while_loop(
                lambda s: s[0] < 3, lambda s: (s[0] + 1, function(s[1], sg)), start, max_steps=3
            )[1]
        return sg.cond(x.sum() > 0, lambda: function(x, sg), lambda: x)

    result, promised = run_hint(build, {"n": "n"})
    assert promised == {"n": least}
    expected = START
    for _ in range(1 if kind == "cond" else 3):
        expected = function(expected, np)
    actual = sg.compile({"y": result}, threads=1).run({"x": START})["y"]
    np.testing.assert_array_equal(actual, expected)


def test_only_the_sizes_that_matter_are_promised():
    def build(sizes):
        x = sg.input("x", (sizes["rows"], sizes["n"]), "float64")
        return sg.scan(
            lambda c, _: (sg.concatenate([c[:, 1:], c[:, :1]], axis=1), None), x, sg.arange(2.0)
        )[0]

    result, promised = run_hint(build, {"rows": "rows", "n": "n"})
    assert promised == {"n": 1}
    x = np.arange(6.0).reshape(2, 3)
    actual = sg.compile({"y": result}, threads=1).run({"x": x})["y"]
    np.testing.assert_array_equal(actual, np.roll(x, -2, 1))


def test_a_tangent_of_another_shape_has_the_hint():
    def build(sizes):
        x = sg.input("x", (sizes["n"],), "float64")
        return sg.jvp(lambda v: v * v, (x,), (sg.concatenate([x[1:], x[:1]]),))[1]

    result, _ = run_hint(build, {"n": "n"})
    actual = sg.compile({"y": result}, threads=1).run({"x": START})["y"]
    np.testing.assert_array_equal(actual, 2 * START * np.roll(START, -1))


@pytest.mark.parametrize("change", [lambda c: c[1:], lambda c: c[None], lambda c: sg.tile(c, 2)])
def test_shapes_that_always_differ_have_no_such_hint(change):
    x = sg.input("x", (sg.dim("n", max=9),), "float64")
    with pytest.raises(sg.errors.CarryError) as caught:
        sg.fori_loop(0, 3, lambda _, c: change(c), x)
    assert "sg.dim" not in caught.value.hint


def test_a_minimum_beyond_the_declared_maximum_is_no_cure():
    x = sg.input("x", (sg.dim("n", max=3),), "float64")
    with pytest.raises(sg.errors.CarryError) as caught:
        sg.fori_loop(0, 3, lambda _, c: sg.pad(c[5:], (0, 5)), x)
    assert "sg.dim" not in caught.value.hint
