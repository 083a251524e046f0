"""Draws by rejection: gamma and what is made of it, Poisson, beside SciPy."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import (
    ArgumentError,
    DTypeError,
    GradientError,
    RankError,
    ShapeError,
    UnknownAttributeError,
)
from tests.diagonals import diagonals
from tests.ops.graphs import run
from tests.ops.messages import assert_each_refused

COUNT = 40_000
SHAPES = (0.3, 1.0, 2.5, 40.0, 1e5)


@diagonals(2, ("a", SHAPES), ("dtype", ["float32", "float64"]))
def test_gamma_draws(a, dtype):
    from scipy import stats

    found = run(sg.random.Generator(3).gamma(a, 2.0, (COUNT,), dtype))
    assert found.dtype == dtype
    assert stats.kstest(found.astype(np.float64), "gamma", (a, 0, 2.0)).pvalue > 1e-3
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 4 / np.sqrt(COUNT)


def test_gamma_draws_of_a_small_parameter_are_exact_as_logarithms():
    """u ** (1 / a) of a beta(a, 1) draw, whose logarithm is exponential; most shares are tiny."""
    from scipy import stats

    shares = run(sg.random.Generator(5).beta(0.02, 1.0, (COUNT,), "float64"))
    inside = shares > 0.0
    assert inside.mean() > 0.99
    assert stats.kstest(-0.02 * np.log(shares[inside]), "expon").pvalue > 1e-3


def test_shares():
    from scipy import stats

    rng, alpha = sg.random.Generator(4), np.array([0.5, 2.0, 3.0])
    found = run(rng.dirichlet(alpha, (COUNT,), "float64"))
    assert found.shape == (COUNT, 3)
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-14)
    for k, each in enumerate(alpha):
        assert stats.kstest(found[:, k], "beta", (each, 5.5 - each)).pvalue > 1e-3
    assert stats.kstest(run(rng.beta(0.5, 3.0, (COUNT,))), "beta", (0.5, 3.0)).pvalue > 1e-3
    assert rng.dirichlet(np.ones((4, 3))).shape == (4, 3)


#: Draws of counts, and the distribution as scipy.stats has it.
COUNTS = {
    **{f"poisson {m}": (lambda rng, m=m: rng.poisson(m, (COUNT,)), ("poisson", (m,)))
       for m in (0.1, 9.9, 10.0, 25.0, 1e5)},
}  # fmt: skip


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    """By chi-squared over the counts that are expected ten times or more."""
    from scipy import stats

    draw, (family, parameters) = COUNTS[name]
    found = run(draw(sg.random.Generator(11)))
    assert found.dtype == np.int64
    values, seen = np.unique(found, return_counts=True)
    expected = getattr(stats, family).pmf(values, *parameters) * COUNT
    often = expected > 10
    seen = np.append(seen[often], COUNT - seen[often].sum())
    expected = np.append(expected[often], COUNT - expected[often].sum())
    assert stats.chisquare(seen, expected).pvalue > 1e-3


@pytest.mark.slow
def test_means_and_certain_counts():
    rng, lam = sg.random.Generator(2), sg.input("lam", ("n",), "float32")
    f = sg.compile({"k": rng.poisson(lam), "x": rng.gamma(lam)})
    given = np.array([np.nan, -1.0, np.inf, 0.0, 1.0], "float32")
    found = f.run({"lam": given})
    assert found["k"][:4].tolist() == [-1, -1, -1, 0]
    assert np.isnan(found["x"][[0, 1]]).all()
    assert found["x"][2:4].tolist() == [np.inf, 0.0]
    assert f.run({"lam": given[:0]})["k"].shape == (0,)
    assert run(rng.poisson(3.0, (2,), "int32")).dtype == np.int32
    a = sg.input("a", (), "float64")
    shares = sg.random.Generator(6).beta(a, 3.0, (COUNT,), "float64")
    found = sg.compile({"slope": sg.grad(shares.mean(), a)}).run({"a": 2.0})["slope"]
    assert found == pytest.approx(3.0 / 25.0, abs=2e-3)
    alpha = sg.input("alpha", (3,), "float64")
    rows = sg.random.Generator(7).dirichlet(alpha, (COUNT,), "float64")
    slopes = sg.compile({"slope": sg.grad(rows.mean(0)[0], alpha)}).run({"alpha": [1.0, 2.0, 3.0]})
    np.testing.assert_allclose(slopes["slope"], [5 / 36, -1 / 36, -1 / 36], atol=2e-3)


def test_a_draw_moves_with_its_parameter_at_a_fixed_probability():
    """Beside central differences of SciPy's quantile; second derivatives beside those of first."""
    from scipy.special import gammainc, gammaincinv

    at = np.array([0.1, 0.5, 1.0, 3.0, 50.0])
    a, scale = sg.input("a", (5,), "float64"), sg.input("s", (), "float64")
    x = sg.random.Generator(3).gamma(a, scale, dtype="float64")
    by_a, by_scale = sg.grad(x.sum(), [a, scale])
    by_a_twice = sg.grad(by_a.sum(), a)
    f = sg.compile({"x": x, "a": by_a, "s": by_scale, "aa": by_a_twice})
    found = f.run({"a": at, "s": 2.0})
    p, step = gammainc(at, found["x"] / 2.0), 1e-4 * at
    ends = [2.0 * gammaincinv(at + k * step, p) for k in (1, 0, -1)]
    np.testing.assert_allclose(found["a"], (ends[0] - ends[2]) / (2 * step), rtol=1e-6)
    np.testing.assert_allclose(
        found["aa"], (ends[0] - 2 * ends[1] + ends[2]) / step**2, rtol=1e-4, atol=1e-5
    )
    assert found["s"] == pytest.approx(found["x"].sum() / 2.0)
    tangent = run(sg.jvp(x, a, np.ones(5)), {"a": at, "s": 2.0})
    np.testing.assert_allclose(tangent, found["a"], rtol=1e-12)


DRAWS = {
    "gamma": lambda rng, a: rng.gamma(a, dtype="float64"),
    "beta": lambda rng, a: rng.beta(a, 2.0, dtype="float64"),
    "dirichlet": lambda rng, a: rng.dirichlet(a, dtype="float64"),
    "poisson": lambda rng, a: rng.poisson(a * 5.0),
}


def test_draws_of_tensors_move_as_those_of_a_graph():
    at = np.array([0.3, 1.0, 4.0])
    a = sg.input("a", (3,), "float64")
    for name in ("gamma", "beta", "dirichlet"):

        def slope(a, rng, draw=DRAWS[name]):
            return sg.grad(sg.sin(draw(rng, a * a)).sum(), a)

        rng = sg.random.Generator(7)
        eager = sg.function(lambda a, g=slope, rng=rng: g(a, rng)).eagerly(at)
        wanted = run(slope(a, sg.random.Generator(7)), {"a": at})
        np.testing.assert_allclose(eager, wanted, rtol=1e-10)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", DRAWS)
def test_tensors_graphs_threads_and_sizes_draw_alike(name):
    at = np.array([0.2, 0.9, 1.0, 4.0, 7.5])
    a = sg.input("a", ("n",), "float64")
    value = DRAWS[name](sg.random.Generator(7), a)
    one, two = (sg.compile(value, threads=threads) for threads in (1, 2))
    found = one.run({"a": at})
    np.testing.assert_array_equal(two.run({"a": at}), found)
    own = sg.random.Generator(7)
    eager = sg.function(lambda a: DRAWS[name](own, a)).eagerly(at)
    np.testing.assert_allclose(eager, found, rtol=1e-12)
    if name != "dirichlet":  # whose sum is over all
        np.testing.assert_array_equal(one.run({"a": at[:2]}), found[:2])
    rng = sg.random.Generator(8)
    rows = sg.vmap(lambda each: DRAWS[name](rng, each))(sg.input("rows", (3, 5), "float64"))
    drawn = run(rows, {"rows": np.tile(at, (3, 1))})
    assert len({tuple(row) for row in drawn.tolist()}) == 3


def test_refusals():
    rng, lam = sg.random.Generator(0), sg.input("lam", (3,))
    assert_each_refused(
        (ArgumentError, "the parameter -1.0 is not a number", lambda: rng.gamma(-1.0)),
        (ShapeError, "gamma: shapes do not broadcast", lambda: rng.gamma(np.ones(3), np.ones(2))),
        (DTypeError, "not of dtype int32", lambda: rng.beta(1.0, 1.0, dtype="int32")),
        (RankError, "dirichlet: alpha is f64[]", lambda: rng.dirichlet(1.0)),
        (ArgumentError, "the mean -1", lambda: rng.poisson(-1)),
        (DTypeError, "counts are not of dtype float32", lambda: rng.poisson(1.0, dtype="float32")),
        (GradientError, "no gradient",
         lambda: sg.grad(rng.poisson(lam).astype("float32").sum(), lam)),
        (UnknownAttributeError, "no 'chisquare'", lambda: rng.chisquare(3)),
    )  # fmt: skip
