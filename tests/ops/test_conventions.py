"""The table of conventions says what the derivatives do: each entry is tried at its kink."""

import re

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.ir.op import registered_ops
from staticgrad.ops.indexing import ScatterExtreme

NAN, INF = np.nan, np.inf


def sent(x, y):
    """The larger of two that are sent to one place."""
    return ScatterExtreme("max", 0, 1)(sg.stack([x, y]), np.array([0, 0])).sum()


def pooled(x, y):
    """The larger of two, by a window over both."""
    return sg.nn.max_pool(sg.stack([x, y]).reshape(1, 1, 2), 2).sum()


#: Name -> function of values, operands at the kink, derivatives by each operand.
CASES = {
    "abs": [(sg.abs, [0.0], [0.0])],
    "sqrt": [(sg.sqrt, [0.0], [INF])],
    "maximum": [
        (sg.maximum, [1.0, 1.0], [0.5, 0.5]),
        (sg.maximum, [0.0, -0.0], [0.5, 0.5]),
        (sg.maximum, [NAN, 1.0], [NAN, NAN]),
    ],
    "minimum": [
        (sg.minimum, [1.0, 1.0], [0.5, 0.5]),
        (sg.minimum, [2.0, NAN], [NAN, NAN]),
    ],
    "pow": [
        (lambda x, y: x**y, [0.0, 0.0], [0.0, 0.0]),
        (lambda x, y: x**y, [0.0, 2.0], [0.0, 0.0]),
    ],
    "where": [
        (lambda x: sg.where(x > 0.0, sg.log(x), 0.0), [-1.0], [0.0]),
        (lambda x, y: sg.where(x > 0.0, x, y), [1.0, NAN], [1.0, 0.0]),
    ],
    "max": [
        (lambda x, y: sg.stack([x, y, x]).max(), [3.0, 3.0], [2 / 3, 1 / 3]),
        (lambda x, y: sg.stack([x, y]).max(), [NAN, 3.0], [NAN, NAN]),
    ],
    "min": [(lambda x, y: sg.stack([x, y]).min(), [3.0, 3.0], [0.5, 0.5])],
    "nn.elu": [(lambda x: sg.nn.elu(x, 0.5), [0.0], [0.5])],
    "nn.leaky_relu": [(lambda x: sg.nn.leaky_relu(x, 0.25), [0.0], [0.25])],
    "nn.lp_pool": [
        (
            lambda x, y, p=p: sg.nn.lp_pool(sg.stack([x, y])[None, None], p, 2)[0, 0, 0],
            [0.0] * 2,
            [0.0] * 2,
        )
        for p in (0.5, 1, 1.5, 2, 3)
    ],
    "nanstd": [(lambda x, y: sg.nanstd(sg.stack([x, y, NAN])), [2.0, 2.0], [0.0, 0.0])],
    "norm": [
        *[
            (lambda x, y, p=p: sg.norm(sg.stack([x, y]), p), [0.0, 0.0], [0.0, 0.0])
            for p in (None, 1, 2, 3, 4, 0.5, 1.5, -1, -2.5, INF, -INF)
        ],
        (lambda x, y: sg.norm(sg.stack([x, y])[None], "fro"), [0.0, 0.0], [0.0, 0.0]),
        (lambda x, y: sg.norm(sg.stack([x, y]), 0.5), [0.0, 2.0], [0.0, 1.0]),
        (lambda x, y: sg.norm(sg.stack([x, y]), -2), [0.0, 2.0], [0.0, 0.0]),
    ],
    "relu": [(sg.nn.relu, [0.0], [0.0]), (sg.nn.relu, [NAN], [1.0])],
    "nn.relu": [(sg.nn.relu, [0.0], [0.0]), (sg.nn.relu, [NAN], [1.0])],
    "asin": [(sg.arcsin, [1.0], [INF])],
    "acos": [(sg.arccos, [-1.0], [-INF])],
    "acosh": [(sg.arccosh, [1.0], [INF])],
    "atan2": [(sg.arctan2, [0.0, 0.0], [NAN, NAN])],
    "hypot": [(sg.hypot, [0.0, 0.0], [0.0, 0.0])],
    "cbrt": [(sg.cbrt, [0.0], [INF])],
    "xlogy": [(sg.xlogy, [0.0, 0.0], [0.0, 0.0]), (sg.xlogy, [0.0, 1.0], [0.0, 0.0])],
    "remainder": [(sg.remainder, [-4.0, 2.0], [1.0, 2.0])],
    "fmod": [(sg.fmod, [-4.0, 2.0], [1.0, 2.0])],
    "at_least": [(lambda x, y: sg.clip(x, y, None), [1.0, 1.0], [1.0, 0.0])],
    "at_most": [(lambda x, y: sg.clip(x, None, y), [1.0, 1.0], [1.0, 0.0])],
    "sort": [
        (lambda x, y: (sg.sort(sg.stack([x, y])) * [1.0, 3.0]).sum(), [2.0, 2.0], [1.0, 3.0]),
        (lambda x, y: (sg.sort(sg.stack([x, y])) * [1.0, 3.0]).sum(), [0.0, -0.0], [1.0, 3.0]),
    ],
    "topk": [(lambda x, y: sg.topk(sg.stack([x, y, x]), 1)[0].sum(), [2.0, 2.0], [1.0, 0.0])],
    "scatter_extreme": [(sent, [3.0, 3.0], [0.0, 1.0]), (sent, [3.0, 2.0], [1.0, 0.0])],
    "loop": [
        (lambda x: sg.scan(lambda c, _: (sg.nn.relu(c), None), x, length=2)[0], [0.0], [0.0]),
        (lambda x: sg.fori_loop(0, 3, lambda i, c: abs(c) * x, x), [0.0], [0.0]),
    ],
    "while": [
        (
            lambda x: sg.while_loop(lambda y: y < 4.0, lambda y: y * 2, x, max_steps=9),
            [at],
            [slope],
        )
        for at, slope in ((1.0, 4.0), (3.0, 2.0), (4.0, 1.0))
    ],
    "branch": [
        (lambda x: sg.cond(x > 0.0, lambda: sg.sqrt(x), lambda: x * 3.0), [0.0], [3.0]),
        (lambda x: sg.cond(x >= 0.0, lambda: sg.sqrt(x), lambda: x * 3.0), [0.0], [INF]),
    ],
    "betainc": [(lambda x: sg.special.betainc(2.0, 3.0, x), [at], [0.0]) for at in (0.0, 1.0)],
    "entr": [(sg.special.entr, [0.0], [INF])],
    "gammainc": [(lambda x, a=a: sg.special.gammainc(a, x), [0.0], [a == 1]) for a in (1.0, 2.0)],
    "gammaincc": [(lambda x: sg.special.gammaincc(1.0, x), [0.0], [-1.0])],
    "i0e": [(sg.special.i0e, [0.0], [0.0])],
    "i1e": [(sg.special.i1e, [0.0], [0.5])],
    "kl_div": [(sg.special.kl_div, [0.0, 2.0], [-INF, 1.0])],
    "rel_entr": [(sg.special.rel_entr, [0.0, 2.0], [-INF, 0.0])],
    "polygamma": [(lambda x: sg.special.polygamma(1, x), [0.0], [-INF])],
    "window_max": [(pooled, [3.0, 3.0], [1.0, 0.0]), (pooled, [NAN, NAN], [1.0, 0.0])],
    "xlog1py": [
        (sg.special.xlog1py, [0.0, -1.0], [0.0, 0.0]),
        (sg.special.xlog1py, [0.0, 1.0], [np.log(2.0), 0.0]),
    ],
    "std": [
        (lambda x, y: sg.std(sg.stack([x, y])), [2.0, 2.0], [0.0, 0.0]),
        (lambda x, y: sg.std(sg.stack([x, y]), ddof=1), [2.0, 2.0], [0.0, 0.0]),
        (lambda x: sg.std(x), [3.0], [0.0]),
        (lambda x, y: sg.var(sg.stack([x, y])), [2.0, 2.0], [0.0, 0.0]),
    ],
}


def stated():
    """The entries of this package's ops that say more than that there is no gradient."""
    said = [name for name, text in sg.conventions().items() if "no gradient" not in text]
    return {name for name in said if name.startswith("nn.") or "." not in name}


def test_every_convention_is_tried():
    assert sorted(CASES) == sorted(stated())


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", sorted(CASES.keys() & stated()))
def test_every_convention_holds(name):
    for function, at, expected in CASES[name]:
        values = [sg.input(f"x{i}", (), "float64") for i in range(len(at))]
        gradients = sg.grad(function(*values), values, allow_disconnected=True)
        feeds = dict(zip(values, at, strict=True))
        graph = sg.Graph({str(i): g for i, g in enumerate(gradients)}, inputs=values)
        found = list(sg.evaluate(graph, feeds).values())
        np.testing.assert_allclose(found, expected, rtol=1e-15)


@pytest.mark.thinned(5)
@pytest.mark.parametrize("order", [None, 1, 2, 3, 0.5, 1.5, -1, INF, "std", "nanstd"])
def test_lengths_and_deviations_of_nothing_have_finite_second_derivatives(order):
    x = sg.input("x", (2, 3), "float64")
    length = getattr(sg, order)(x) if isinstance(order, str) else sg.norm(x, order, axis=1).sum()
    (slope,) = sg.grad(length, [x])
    bend = sg.grad((slope * np.arange(1.0, 4.0)).sum(), x, allow_disconnected=True)
    for rows in (np.zeros((2, 3)), np.array([[0.0, 0, 0], [0, 3, 4]])):
        found = sg.compile(sg.Graph({"bend": bend}, inputs=[x])).run({x: rows})["bend"]
        assert np.isfinite(found).all()
        assert order in ("std", "nanstd") or not found[0].any()


def test_ops_without_gradient_are_listed():
    table = sg.conventions()
    without = {name for name, op in registered_ops().items() if not op.differentiable}
    assert without
    assert all("no gradient" in table[name] for name in without)


def test_the_table_prints_a_line_per_name():
    table = sg.conventions()
    lines = str(table).splitlines()
    assert len(lines) == len(table) > 10
    assert list(table) == sorted(table)
    assert any(re.fullmatch(r"abs +the derivative at 0 is 0", line) for line in lines)
