"""Random numbers: the bits against Philox, the distributions, draws by rejection, the purity."""

import copy
import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.eager.checkpoint import replay_draws, states
from staticgrad.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    GradientError,
    RankError,
    ShapeError,
    UnknownAttributeError,
)
from staticgrad.language.ops.philox import FOLDED, STREAMS, RandomBits
from staticgrad.language.types.dtype import F32, U32, U64
from tests.helpers.diagonals import diagonals
from tests.ops.graphs import run
from tests.ops.messages import assert_each_refused, assert_refused

MASK = 0xFFFFFFFF


def philox(counter, key):
    """Philox-4x32-10 in Python integers, from its definition (Salmon et al. 2011, section 3.3).

    A round maps (L1, R1, L0, R0) by mulhi and mullo; the key is bumped by Weyl constants.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (product1 >> 32) ^ c1 ^ k0,
            product1 & MASK,
            (product0 >> 32) ^ c3 ^ k1,
            product0 & MASK,
        )
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def test_the_plain_philox_gives_the_published_answers():
    """The known answers of Random123 1.14 (tests/kat_vectors, lines "philox4x32 10")."""
    assert philox((0,) * 4, (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert philox((MASK,) * 4, (MASK, MASK)) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
    assert philox(*pi) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


@diagonals(
    2,
    ("key,step,stream", [(0, 0, 0), (2**63 + 12345, 2**32 + 7, 4095)]),
    ("compiled", [False, True]),
)
def test_bits_are_philox_of_their_position(key, step, stream, compiled):
    shape = (3, 7)
    outputs = {
        f"{dtype.code}{half}": RandomBits(shape, dtype, stream, half)(
            np.uint64(key), np.uint64(step)
        )
        for dtype in (U32, U64)
        for half in (0, 1)
    }
    actual = sg.compile(outputs).run({}) if compiled else sg.evaluate(outputs)
    for position in range(21):
        counter = (position, stream << 16, step & MASK, step >> 32)
        words = philox(counter, (key & MASK, key >> 32))
        for half in (0, 1):
            first, second = words[2 * half : 2 * half + 2]
            assert actual[f"u32{half}"].ravel()[position] == first
            assert actual[f"u64{half}"].ravel()[position] == first | second << 32


def test_each_run_draws_anew_and_going_back_repeats():
    rng = sg.random.Generator(3)
    f = sg.compile(sg.Graph({"x": rng.normal(shape=(4,))}, updates=rng.updates))
    first, second = f.run({})["x"].copy(), f.run({})["x"].copy()
    assert not np.array_equal(first, second)
    assert int(rng.step.value) == 2
    rng.step.value = np.uint64(0)
    np.testing.assert_array_equal(f.run({})["x"], first)
    rng.step.value, rng.key.value = np.uint64(0), np.uint64(4)
    assert not np.array_equal(f.run({})["x"], first)


def test_the_same_seed_builds_the_same_numbers_and_draws_differ():
    def draws(seed):
        rng = sg.random.Generator(seed)
        return [run(rng.bits((64,), "uint64")) for _ in range(3)]

    first, again, with_seed_6 = draws(5), draws(5), draws(6)
    np.testing.assert_array_equal(first, again)
    seen = np.concatenate([*first, *with_seed_6])
    assert np.unique(seen).size == seen.size


def test_a_prefix_does_not_depend_on_the_size():
    rng = sg.random.Generator(1)
    x = sg.input("x", ("n",))
    step = sg.Graph({"u": rng.uniform(shape=x.shape), "sum": x.sum()})
    f = sg.compile(step)
    long = f.run({"x": np.zeros(1000, np.float32)})["u"].copy()
    for n in (0, 1, 17, 333):
        np.testing.assert_array_equal(f.run({"x": np.zeros(n, np.float32)})["u"], long[:n])


def test_compiled_draws_are_those_of_the_oracle():
    rng = sg.random.Generator(11)
    outputs = {
        "uniform": rng.uniform(-1, 3, (500,)),
        "double": rng.uniform(shape=(500,), dtype="float64"),
        "integers": rng.integers(-5, 6, (500,), "int8"),
        "coins": rng.bernoulli(0.3, (500,)),
    }
    actual, expected = sg.compile(outputs).run({}), sg.evaluate(outputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)
    normal = {k: rng.normal(2, 3, (500,), k) for k in ("float32", "float64")}
    actual, expected = sg.compile(normal).run({}), sg.evaluate(normal)
    for name, array in expected.items():
        assert actual[name].dtype == np.dtype(name)
        np.testing.assert_allclose(actual[name], array, rtol=2e-5, atol=1e-5)


COUNT = 40_000
#: Distribution as scipy.stats calls it -> a draw, and where it lies and how wide it is.
CONTINUOUS = {
    "uniform": (lambda rng, dtype: rng.uniform(2.0, 5.0, (COUNT,), dtype), (2, 3)),
    "norm": (lambda rng, dtype: rng.normal(1.0, 2.0, (COUNT,), dtype), (1, 2)),
    "expon": (lambda rng, dtype: rng.exponential(0.5, (COUNT,), dtype), (0, 0.5)),
    "gumbel_r": (lambda rng, dtype: rng.gumbel(1.0, 2.0, (COUNT,), dtype), (1, 2)),
    "logistic": (lambda rng, dtype: rng.logistic(1.0, 2.0, (COUNT,), dtype), (1, 2)),
    "laplace": (lambda rng, dtype: rng.laplace(1.0, 2.0, (COUNT,), dtype), (1, 2)),
    "lognorm": (lambda rng, dtype: rng.lognormal(0.0, 0.5, (COUNT,), dtype), (0.5,)),
    "truncnorm": (lambda rng, dtype: rng.truncated_normal(-1.0, 2.0, (COUNT,), dtype), (-1, 2)),
}
#: Far out, where a distribution function near 1 has no digits left.
TAILS = {
    "above": (lambda rng, dtype: rng.truncated_normal(4.0, 5.0, (COUNT,), dtype), (4, 5)),
    "below": (lambda rng, dtype: rng.truncated_normal(-5.0, -4.0, (COUNT,), dtype), (-5, -4)),
}


@diagonals(2, ("name", CONTINUOUS), ("dtype", ["float32", "float64"]))
def test_continuous_distributions(name, dtype):
    from scipy import stats  # a second of loading, for these tests only

    draw, distribution = CONTINUOUS[name]
    actual = run(draw(sg.random.Generator(17), dtype))
    assert actual.dtype == dtype
    assert np.isfinite(actual).all()
    law = getattr(stats, name)(*distribution)
    assert stats.kstest(actual.astype(np.float64), law.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(actual[1:], actual[:-1])[0, 1]) < 4 / np.sqrt(COUNT)


@pytest.mark.parametrize("side", TAILS)
def test_a_normal_distribution_far_out(side):
    from scipy import stats

    draw, ends = TAILS[side]
    actual = run(draw(sg.random.Generator(17), "float32"))
    assert ends[0] <= actual.min() < actual.max() <= ends[1]
    assert stats.kstest(actual.astype(np.float64), "truncnorm", ends).pvalue > 1e-3


def test_vectors_have_the_mean_and_the_covariance_asked_for():
    mean, cov = np.array([1.0, -2.0]), np.array([[2.0, 0.6], [0.6, 1.0]])
    rng = sg.random.Generator(3)
    actual = run(rng.multivariate_normal(mean, cov, (COUNT,), "float64"))
    np.testing.assert_allclose(actual.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(actual.T), cov, atol=0.05)
    batch = rng.multivariate_normal(np.zeros((5, 2)), np.stack([cov] * 5))
    assert batch.shape == (5, 2)
    with assert_refused(RankError, "a mean f32[]", line="rng.multivariate_normal"):
        rng.multivariate_normal(0.0, cov)
    with assert_refused(ShapeError, "multivariate_normal: shapes do not", line="multivariate"):
        rng.multivariate_normal(np.zeros(3), cov)


#: How likely each of three is -> positions drawn so.
LIKELY = np.array([0.1, 0.0, 0.9])
POSITIONS = {
    "categorical": lambda rng: rng.categorical(np.log([0.1, 1e-9, 0.9]), shape=(COUNT,)),
    "along an axis": lambda rng: rng.categorical(
        np.tile(np.log([[0.1], [1e-9], [0.9]]), (1, COUNT)), axis=0
    ),
    "choice": lambda rng: rng.choice(3, (COUNT,), p=LIKELY),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_positions_come_as_often_as_they_are_likely(name):
    actual = run(POSITIONS[name](sg.random.Generator(5)))
    assert actual.dtype == np.int64
    np.testing.assert_allclose(np.bincount(actual, minlength=3) / COUNT, LIKELY, atol=0.01)


@pytest.mark.slow
def test_choices_without_replacement_are_drawn_one_after_the_other():
    rng, p = sg.random.Generator(6), np.array([0.1, 0.2, 0.7])
    pairs = run(sg.stack([rng.choice(3, (2,), replace=False, p=p) for _ in range(900)]))
    for i in range(3):
        for j in range(3):
            expected = 0.0 if i == j else p[i] * p[j] / (1 - p[i])
            assert abs(((pairs == (i, j)).all(1)).mean() - expected) < 0.06
    assert sorted(run(rng.choice(np.array([5.0, 6.0, 7.0]), (3,), replace=False))) == [5, 6, 7]


def test_orders_and_choices_of_a_named_size():
    rng, x = sg.random.Generator(2), sg.input("x", ("n", 2), "float64")
    f = sg.compile({"order": rng.permutation(x), "some": rng.choice(x, (50,))})
    for count in (1, 3, 40):
        rows = np.arange(2.0 * count).reshape(count, 2)
        actual = f.run({"x": rows})
        assert sorted(map(tuple, actual["order"])) == [*map(tuple, rows)]
        assert {*map(tuple, actual["some"])} <= {*map(tuple, rows)}
    assert run(rng.permutation(x, axis=1), {"x": rows})[:, ::-1].shape == rows.shape
    orders = run(sg.stack([rng.permutation(3) for _ in range(600)]))
    firsts = np.bincount(orders[:, 0], minlength=3) / 600
    assert (np.sort(orders, axis=1) == np.arange(3)).all()
    np.testing.assert_allclose(firsts, 1 / 3, atol=0.08)


def test_shares_of_bernoulli_and_integers():
    actual = run(sg.random.Generator(8).integers(-3, 4, (COUNT,)))
    from scipy import stats

    values, counts = np.unique(actual, return_counts=True)
    np.testing.assert_array_equal(values, np.arange(-3, 4))
    assert stats.chisquare(counts).pvalue > 1e-3
    wide = run(sg.random.Generator(8).integers(0, 2**32, (1000,), "uint32"))
    assert wide.dtype == np.uint32
    assert wide.max() > 2**31
    assert set(run(sg.random.Generator(8).integers(-128, 128, (5000,), "int8"))) == set(
        range(-128, 128)
    )
    p = np.array([0.0, 0.25, 1.0])
    actual = run(sg.random.Generator(9).bernoulli(p, (COUNT // 4, 3))).mean(0)
    assert actual[0] == 0
    assert actual[2] == 1
    assert abs(actual[1] - 0.25) < 0.02


def test_dropout():
    x = sg.input("x", (200, 50))
    out = sg.random.Generator(1).dropout(x, 0.25)
    slope = grad(out.sum(), x)
    feeds = {"x": np.full((200, 50), 3.0, np.float32)}
    actual = run(out, feeds)
    assert set(np.unique(actual)) == {np.float32(0), np.float32(4)}
    assert abs((actual == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(run(slope, feeds), actual / 3.0)
    assert sg.random.Generator(1).dropout(x, 0.0) is x


def test_gradients_flow_to_the_parameters_of_a_distribution():
    mean, spread = sg.input("m", (), "float64"), sg.input("s", (), "float64")
    z = sg.random.Generator(4).normal(mean, spread, (6,), "float64")
    by_mean, by_spread = grad(z.sum(), [mean, spread])
    feeds = {"m": 2.0, "s": 0.5}
    assert run(by_mean, feeds) == 6
    assert run(by_spread, feeds) == pytest.approx((run(z, feeds) - 2.0).sum() / 0.5)


def test_refusals():
    rng = sg.random.Generator(0)
    assert_each_refused(
        (ArgumentError, "seed -1", lambda: sg.random.Generator(-1)),
        (ArgumentError, "holds 0 numbers", lambda: rng.integers(3, 3)),
        (ArgumentError, "holds 300 numbers for int8", lambda: rng.integers(0, 300, dtype="int8")),
        (DTypeError, "float32", lambda: rng.integers(0, 3, dtype=F32)),
        (DTypeError, "int32", lambda: rng.normal(dtype="int32")),
    )
    for draw in (rng.uniform, rng.normal, rng.exponential):  # means of 5 and 3, or a shape?
        with assert_refused(ArgumentError, "(5, 3) is a tuple", line="draw((5, 3))"):
            draw((5, 3))
    assert rng.uniform([0.0, 1.0], 2.0).shape == (2,)
    with assert_refused(ArgumentError, "4 different ones of 3", line="rng.choice"):
        rng.choice(3, (4,), replace=False)
    with assert_refused(ArgumentError, "nothing to choose from", line="rng.choice"):
        rng.choice(0, (2,))
    assert rng.choice(0, (0, 2)).shape == (0, 2)
    assert_each_refused(
        (ShapeError, "for 3 slices", lambda: rng.choice(3, (), p=np.ones(2))),
        (AxisError, "no axis 1", lambda: rng.categorical(np.zeros(3), axis=1)),
        (ArgumentError, "the rate 1.0", lambda: rng.dropout(np.ones(3), 1.0)),
        (DTypeError, "uint32 or uint64", lambda: rng.bits((), "int64")),
        (ShapeError, "do not broadcast", lambda: rng.bernoulli(np.zeros(3), (4,))),
        (ArgumentError, "no stream",
         lambda: RandomBits((), U32, STREAMS)(np.uint64(0), np.uint64(0))),
        (DTypeError, "0-d uint64", lambda: RandomBits((), U32, 0)(np.int64(0), np.uint64(0))),
    )  # fmt: skip
    rng.streams = FOLDED
    with assert_refused(ArgumentError, "draws in a graph", line="rng.uniform"):
        rng.uniform(shape=())


def drawn_for_each_row(draw):
    """A function of rows that draws in each iteration of a loop over them."""
    return sg.function(lambda x: sg.scan(lambda carry, row: (carry, draw(row)), x[0, 0], x)[1])


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda source: pickle.loads(pickle.dumps(source))],
    ids=["shallow", "deep", "pickle"],
)
def test_copies_draw_other_numbers_in_each_call_and_iteration(again):
    """A module with a generator, and the generator: deep copies draw the original's numbers."""
    dropout = sg.nn.Dropout(0.5, seed=3)
    generator = sg.random.Generator(3)
    copied = again(generator)
    draws = [
        again(dropout),
        dropout,
        *(lambda row, g=g: g.normal(shape=row.shape) for g in (copied, generator)),
    ]
    actual = []
    for draw in draws:
        f = drawn_for_each_row(draw)
        actual.append(np.concatenate([f(np.ones((2, 64), "float32")) for _ in range(3)]))
        assert len({row.tobytes() for row in actual[-1]}) == 6
    if again is not copy.copy:
        assert np.array_equal(actual[0], actual[1])
        assert np.array_equal(actual[2], actual[3])


def test_a_copy_of_a_generator_is_drawn_from_again_where_values_are_computed_again():
    for generator in (sg.random.Generator(5), copy.deepcopy(sg.random.Generator(5))):
        with sg.eager_mode():
            old_states = states()
            first = generator.normal(shape=(4,)).data
            with replay_draws(old_states):
                assert np.array_equal(generator.normal(shape=(4,)).data, first)
            assert not np.array_equal(generator.normal(shape=(4,)).data, first)


SHAPES = (0.3, 1.0, 2.5, 40.0, 1e5)


@diagonals(2, ("a", SHAPES), ("dtype", ["float32", "float64"]))
def test_gamma_draws(a, dtype):
    from scipy import stats

    actual = run(sg.random.Generator(3).gamma(a, 2.0, (COUNT,), dtype))
    assert actual.dtype == dtype
    assert stats.kstest(actual.astype(np.float64), "gamma", (a, 0, 2.0)).pvalue > 1e-3
    assert abs(np.corrcoef(actual[1:], actual[:-1])[0, 1]) < 4 / np.sqrt(COUNT)


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
    actual = run(rng.dirichlet(alpha, (COUNT,), "float64"))
    assert actual.shape == (COUNT, 3)
    np.testing.assert_allclose(actual.sum(1), 1.0, rtol=1e-14)
    for k, concentration in enumerate(alpha):
        assert (
            stats.kstest(actual[:, k], "beta", (concentration, 5.5 - concentration)).pvalue > 1e-3
        )
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
    actual = run(draw(sg.random.Generator(11)))
    assert actual.dtype == np.int64
    values, seen = np.unique(actual, return_counts=True)
    expected = getattr(stats, family).pmf(values, *parameters) * COUNT
    often = expected > 10
    seen = np.append(seen[often], COUNT - seen[often].sum())
    expected = np.append(expected[often], COUNT - expected[often].sum())
    assert stats.chisquare(seen, expected).pvalue > 1e-3


@pytest.mark.slow
def test_means_and_certain_counts():
    rng, lam = sg.random.Generator(2), sg.input("lam", ("n",), "float32")
    f = sg.compile({"k": rng.poisson(lam), "x": rng.gamma(lam)})
    rates = np.array([np.nan, -1.0, np.inf, 0.0, 1.0], "float32")
    actual = f.run({"lam": rates})
    assert actual["k"][:4].tolist() == [-1, -1, -1, 0]
    assert np.isnan(actual["x"][[0, 1]]).all()
    assert actual["x"][2:4].tolist() == [np.inf, 0.0]
    assert f.run({"lam": rates[:0]})["k"].shape == (0,)
    assert run(rng.poisson(3.0, (2,), "int32")).dtype == np.int32
    a = sg.input("a", (), "float64")
    shares = sg.random.Generator(6).beta(a, 3.0, (COUNT,), "float64")
    actual = sg.compile({"slope": sg.grad(shares.mean(), a)}).run({"a": 2.0})["slope"]
    assert actual == pytest.approx(3.0 / 25.0, abs=2e-3)
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
    actual = f.run({"a": at, "s": 2.0})
    p, step = gammainc(at, actual["x"] / 2.0), 1e-4 * at
    ends = [2.0 * gammaincinv(at + k * step, p) for k in (1, 0, -1)]
    np.testing.assert_allclose(actual["a"], (ends[0] - ends[2]) / (2 * step), rtol=1e-6)
    np.testing.assert_allclose(
        actual["aa"], (ends[0] - 2 * ends[1] + ends[2]) / step**2, rtol=1e-4, atol=1e-5
    )
    assert actual["s"] == pytest.approx(actual["x"].sum() / 2.0)
    tangent = run(sg.jvp(x, a, np.ones(5)), {"a": at, "s": 2.0})
    np.testing.assert_allclose(tangent, actual["a"], rtol=1e-12)


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
        expected = run(slope(a, sg.random.Generator(7)), {"a": at})
        np.testing.assert_allclose(eager, expected, rtol=1e-10)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", DRAWS)
def test_tensors_graphs_threads_and_sizes_draw_alike(name):
    at = np.array([0.2, 0.9, 1.0, 4.0, 7.5])
    a = sg.input("a", ("n",), "float64")
    value = DRAWS[name](sg.random.Generator(7), a)
    single, threaded = (sg.compile(value, threads=threads) for threads in (1, 2))
    actual = single.run({"a": at})
    np.testing.assert_array_equal(threaded.run({"a": at}), actual)
    tape_rng = sg.random.Generator(7)
    eager = sg.function(lambda a: DRAWS[name](tape_rng, a)).eagerly(at)
    np.testing.assert_allclose(eager, actual, rtol=1e-12)
    if name != "dirichlet":  # whose sum is over all
        np.testing.assert_array_equal(single.run({"a": at[:2]}), actual[:2])
    rng = sg.random.Generator(8)
    rows = sg.vmap(lambda row: DRAWS[name](rng, row))(sg.input("rows", (3, 5), "float64"))
    drawn = run(rows, {"rows": np.tile(at, (3, 1))})
    assert len({tuple(row) for row in drawn.tolist()}) == 3


def test_refusals_of_draws_by_rejection():
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


@pytest.mark.parametrize(("dtype", "rank"), [(U32, 0), (U64, 3)])
def test_numpy_draws_the_same_in_blocks(dtype, rank, monkeypatch):
    bits = RandomBits((7, 13), dtype, 5, rank=rank)
    key, step = np.uint64(12345678901234), np.uint64(7)
    expected = bits.reference(key, step)
    monkeypatch.setattr("staticgrad.language.ops.philox._BLOCK", 10)
    np.testing.assert_array_equal(bits.reference(key, step), expected)
