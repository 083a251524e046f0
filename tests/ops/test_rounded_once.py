"""Functions of float16 and bfloat16 compute in float32, and round once, at their end.

The reference is the same function of the same numbers in float64, rounded once. Functions come from
the tables of public names: what is composed of several operations has a call in ``CALLS``, and any
other function rounds at most once on every path of its graph, so that a new one is tried, too.
"""

import numpy as np
import pytest

import staticgrad as sg
import staticgrad.functions
from staticgrad import exports
from staticgrad.eager import Tensor
from staticgrad.errors import StaticgradError
from staticgrad.language.calls.functional import load_functions
from staticgrad.language.ir.forms import MOVES
from staticgrad.language.ir.graph import BodyOp, Symbolic, ancestors
from staticgrad.language.trees import flatten
from staticgrad.language.types.arrays import convert_array
from staticgrad.language.types.dtype import ALL_DTYPES
from staticgrad.special import constants as special_constants, quadratures
from tests.eager.test_functions import (
    CALLS as OTHER_CALLS,
    MADE_OF_NOTHING,
    OF_GRAPHS,
    OF_NUMBERS,
    OPERANDS,
    I,
    V,
    X,
)

STORAGE = [dtype for dtype in ALL_DTYPES if dtype.is_storage]
every_storage = pytest.mark.parametrize("dtype", STORAGE, ids=str)
#: More than the largest float16, which is the largest count of one that is not infinite.
LONG = 70_000


def rows(call, *kinds):
    """A call, and what its operands are: m a matrix, v a vector, w weights, p probabilities, ..."""
    return call, kinds


nn, special, linalg = sg.nn, sg.special, sg.linalg
#: Public name -> a call of a function that is composed of operations which round.
CALLS = {
    "average": rows(lambda x, w: sg.average(x, 1, w), "m", "p"),
    "average without weights": rows(lambda x: sg.average(x, 1), "m"),
    "corrcoef": rows(sg.corrcoef, "m"),
    "cov": rows(sg.cov, "m"),
    "cross": rows(sg.cross, "three", "three"),
    "deg2rad": rows(sg.deg2rad, "m"),
    "diff": rows(lambda x: sg.diff(x, 3), "m"),
    "einsum": rows(lambda x, y, z: sg.einsum("ij,ij,ij->i", x, y, z), "m", "p", "p"),
    "gradient": rows(lambda x: sg.gradient(x, axis=1, edge_order=2), "m"),
    "histogram": rows(lambda x, w: sg.histogram(x, 3, (-3.0, 3.0), True, w)[0], "m", "p"),
    "interp": rows(lambda x, w: sg.interp(x, sg.sort(w[0, :9]), w[1, :9]), "v", "m"),
    "linspace": rows(lambda x: sg.linspace(x[:, 0], x[:, 1], 33), "m"),
    "mean": rows(lambda x: sg.mean(x, 1), "m"),
    "mean of all": rows(sg.mean, "v"),
    "mean where": rows(lambda x: sg.mean(x, 1, where=x > 0.0), "m"),
    "median": rows(lambda x: sg.median(x, 1), "even"),
    "nanmean": rows(lambda x: sg.nanmean(x, 1), "m"),
    "nanmedian": rows(lambda x: sg.nanmedian(x, 1), "even"),
    "nanpercentile": rows(lambda x: sg.nanpercentile(x, 30.0, 1), "m"),
    "nanquantile": rows(lambda x: sg.nanquantile(x, 0.3, 1), "m"),
    "nanstd": rows(lambda x: sg.nanstd(x, 1), "m"),
    "nanvar": rows(lambda x: sg.nanvar(x, 1), "m"),
    "norm": rows(lambda x: sg.norm(x, axis=1), "m"),
    "norm of order 3": rows(lambda x: sg.norm(x, 3, 1), "m"),
    "norm of order 1": rows(lambda x: sg.norm(x, 1, 1), "m"),
    "percentile": rows(lambda x: sg.percentile(x, 30.0, 1), "m"),
    "polyval": rows(lambda w, x: sg.polyval(w[:4], x), "w", "unit"),
    "prod": rows(lambda x: sg.prod(x, 1), "near one"),
    "ptp": rows(lambda x: sg.ptp(x, 1), "m"),
    "quantile": rows(lambda x: sg.quantile(x, 0.3, 1), "m"),
    "rad2deg": rows(sg.rad2deg, "unit"),
    "sinc": rows(sg.sinc, "p"),
    "std": rows(lambda x: sg.std(x, 1), "m"),
    "sum from a start": rows(lambda x: sg.sum(x, 1, initial=0.3), "m"),
    "trapezoid": rows(lambda x: sg.trapezoid(x, dx=0.3), "m"),
    "unwrap": rows(sg.unwrap, "unit"),
    "var": rows(lambda x: sg.var(x, 1), "m"),
    "var without freedom": rows(lambda x: sg.var(x, 1, ddof=1), "m"),
    "linalg.matrix_norm": rows(linalg.matrix_norm, "m"),
    "linalg.matrix_power": rows(lambda x: linalg.matrix_power(x[:3], 3), "three"),
    "linalg.vector_norm": rows(lambda x: linalg.vector_norm(x, axis=1), "m"),
    "nn.adaptive_avg_pool": rows(lambda x: nn.adaptive_avg_pool(x, 3), "image"),
    "nn.affine_grid": rows(lambda x: nn.affine_grid(x[:, :2], (3, 1, 5, 7)), "cubes"),
    "nn.attention": rows(
        lambda q, k, v: nn.attention(q, k, v, causal=True), "square", "square", "square"
    ),
    "nn.avg_pool": rows(lambda x: nn.avg_pool(x, 3), "image"),
    "nn.batch_norm": rows(lambda x, w: nn.batch_norm(x, weight=w[:5], bias=w[5:10]), "batch", "w"),
    "nn.batch_statistics": rows(lambda x: nn.batch_statistics(x)[1], "batch"),
    "nn.binary_cross_entropy": rows(lambda x, w: nn.binary_cross_entropy(x, w), "p", "p"),
    "nn.binary_cross_entropy_with_logits": rows(
        lambda x, w: nn.binary_cross_entropy_with_logits(x, w), "m", "p"
    ),
    "nn.celu": rows(lambda x: nn.celu(x, 1.3), "m"),
    "nn.conv": rows(lambda x, f, w: nn.conv(x, f, w[:4]), "image", "filters", "w"),
    "nn.conv_transpose": rows(
        lambda x, f, w: nn.conv_transpose(x, f.swapaxes(0, 1), w[:4]), "image", "filters", "w"
    ),
    "nn.cosine_similarity": rows(nn.cosine_similarity, "m", "m"),
    "nn.cross_entropy": rows(lambda x, i: nn.cross_entropy(x, i), "tall", "labels"),
    "nn.cross_entropy smoothed": rows(
        lambda x, i, w: nn.cross_entropy(x, i, w[:4], label_smoothing=0.1), "tall", "labels", "w"
    ),
    "nn.ctc_loss": rows(lambda x: nn.ctc_loss(x, np.ones((2, 2), int)), "times"),
    "nn.elu": rows(lambda x: nn.elu(x, 0.7), "m"),
    "nn.gelu": rows(nn.gelu, "m"),
    "nn.gelu by tanh": rows(lambda x: nn.gelu(x, "tanh"), "unit"),
    "nn.glu": rows(nn.glu, "even"),
    "nn.grid_sample": rows(lambda x, g: nn.grid_sample(x, g), "image", "grid"),
    "nn.group_norm": rows(lambda x, w: nn.group_norm(x, 2, w[:6], w[6:12]), "groups", "w"),
    "nn.gru_cell": rows(
        lambda x, h, w, u: nn.gru_cell(
            x[:, :3], h[:, :2], w[:18].reshape(3, 6), u[:12].reshape(2, 6)
        ),
        *("batch", "batch", "w", "w"),
    ),
    "nn.hardsigmoid": rows(nn.hardsigmoid, "m"),
    "nn.hardswish": rows(nn.hardswish, "m"),
    "nn.huber": rows(nn.huber, "m", "p"),
    "nn.instance_norm": rows(nn.instance_norm, "image"),
    "nn.kl_div": rows(lambda x, w: nn.kl_div(x, w, "sum"), "m", "p"),
    "nn.cosine_embedding_loss": rows(lambda x, y: nn.cosine_embedding_loss(x, y, 1.0), "m", "p"),
    "nn.linear": rows(lambda x, w: nn.linear(x, w), "m", "p"),
    "nn.margin_ranking_loss": rows(lambda x, y: nn.margin_ranking_loss(x, y, 1.0, 0.3), "m", "p"),
    "nn.l1_loss": rows(nn.l1_loss, "m", "p"),
    "nn.layer_norm": rows(lambda x, w: nn.layer_norm(x, w[:9], w[9:18]), "nine", "w"),
    "nn.layer_norm of long rows": rows(nn.layer_norm, "m"),
    "nn.leaky_relu": rows(nn.leaky_relu, "m"),
    "nn.local_response_norm": rows(lambda x: nn.local_response_norm(x, 3, 0.5), "groups"),
    "nn.log_sigmoid": rows(nn.log_sigmoid, "m"),
    "nn.log_softmax": rows(nn.log_softmax, "m"),
    "nn.logsumexp": rows(nn.logsumexp, "m"),
    "nn.lp_pool": rows(lambda x: nn.lp_pool(x, 2, 3), "image"),
    "nn.lstm_cell": rows(
        lambda x, h, c, w, u: nn.lstm_cell(
            x[:, :3], (h[:, :2], c[:, :2]), w[:24].reshape(3, 8), u[:16].reshape(2, 8)
        )[1],
        *("batch", "batch", "batch", "w", "w"),
    ),
    "nn.mish": rows(nn.mish, "unit"),
    "nn.mse": rows(nn.mse, "m", "p"),
    "nn.nll_loss": rows(lambda x, i, w: nn.nll_loss(x, i, w[:4]), "tall", "labels", "w"),
    "nn.normalize": rows(nn.normalize, "m"),
    "nn.pairwise_distance": rows(nn.pairwise_distance, "m", "p"),
    "nn.prelu": rows(lambda x, w: nn.prelu(x, w[:1]), "m", "w"),
    "nn.resize": rows(lambda x: nn.resize(x, (11, 13), "cubic"), "image"),
    "nn.rms_norm": rows(nn.rms_norm, "m"),
    "nn.rnn_cell": rows(
        lambda x, h, w, u: nn.rnn_cell(
            x[:, :3], h[:, :2], w[:6].reshape(3, 2), u[:4].reshape(2, 2)
        ),
        *("batch", "batch", "w", "w"),
    ),
    "nn.rotary": rows(lambda x: nn.rotary(x[:, :8]), "square"),
    "nn.selu": rows(nn.selu, "m"),
    "nn.silu": rows(nn.silu, "m"),
    "nn.smooth_l1_loss": rows(nn.smooth_l1_loss, "m", "p"),
    "nn.softmax": rows(nn.softmax, "m"),
    "nn.softplus": rows(nn.softplus, "m"),
    "nn.softsign": rows(nn.softsign, "m"),
    "nn.triplet_margin_loss": rows(
        lambda x, y, z: nn.triplet_margin_loss(x, y, z, 1e-2), "m", "p", "p"
    ),
    "special.beta": rows(special.beta, "p", "p"),
    "special.logsumexp": rows(lambda x, w: special.logsumexp(x, 1, w), "m", "p"),
}

#: How far an element may lie from the true one: in units of its last place, and as a part of the
#: largest element, which is what float32 loses where terms cancel.
ULP, CANCELLED = 0.55, 2.0**-18


def length(mode):
    """Return the length of a row: with ``long`` more than the largest float16."""
    return LONG if mode == "long" else 40


def operand(kind, mode, dtype, seed):
    """An array of the numbers that a narrow float has, as float64."""
    rng = np.random.default_rng(seed)
    n = length(mode)
    shape = {
        "m": (2, n), "p": (2, n), "unit": (2, n), "near one": (2, n), "even": (2, n),
        "v": (n,), "w": (24,), "three": (n // 3, 3), "square": (2, 17, 8), "image": (2, 3, 7, 9),
        "filters": (4, 3, 3, 3),
        "batch": (n, 5), "groups": (2, 6, n // 4), "cubes": (3, 3, 3), "tall": (n, 4),
        "labels": (n,), "times": (6, 2, 3), "grid": (2, 4, 5, 2), "nine": (n // 8, 9),
    }[kind]  # fmt: skip
    if kind == "labels":
        return rng.integers(0, 4, shape)
    if kind == "p":
        array = rng.uniform(0.05, 0.95, shape)
    elif kind in ("unit", "grid"):
        array = rng.uniform(-3.0, 3.0, shape) / (3 if kind == "grid" else 1)
    elif kind == "near one":
        array = 1.0 + rng.choice([-1.0, 0.0, 1.0], shape) * 2.0 ** (2 - dtype.digits) / n**0.5
    else:
        array = rng.normal(size=shape) * scale(mode, dtype)
    return convert_array(array, dtype).astype(np.float64)


def scale(mode, dtype):
    """Numbers to multiply those of a normal distribution by, per mode."""
    if mode == "large":
        return 1.4e4
    if mode == "tiny":
        return 2.0**-21 if dtype.name == "float16" else 2.0**-30
    return 1.0


def graph_of(call, arrays, dtype):
    """The graph of a call and of its slopes by floating operands, for a cotangent ``ct``."""
    kinds = [dtype if array.dtype.kind == "f" else "int64" for array in arrays]
    pairs = enumerate(zip(arrays, kinds, strict=True))
    values = [sg.input(f"x{k}", array.shape, kind) for k, (array, kind) in pairs]
    out = call(*values)
    floats = [value for value in values if value.dtype.is_float]
    slopes = sg.vjp(out, floats, sg.input("ct", out.shape, out.dtype), allow_disconnected=True)
    return sg.Graph({"value": out, **{f"slope {k}": slope for k, slope in enumerate(slopes)}})


def convert_feeds(graph, arrays):
    """Feeds in the dtypes of the inputs: the numbers are those of a narrow float in any of them."""
    kinds = {value.node.label: value.dtype for value in graph.inputs}
    return {name: convert_array(arrays[name], dtype) for name, dtype in kinds.items()}


def narrow_and_wide(call, kinds, mode, dtype):
    """A call in a narrow float and in float64: graphs, and what they are of."""
    arrays = [operand(kind, mode, dtype, seed) for seed, kind in enumerate(kinds)]
    narrow, wide = (graph_of(call, arrays, kind) for kind in (dtype, "float64"))
    arrays_by_name = {f"x{k}": array for k, array in enumerate(arrays)}
    shape = tuple(map(int, narrow.outputs["value"].shape))
    cts = np.random.default_rng(9).uniform(0.5, 1.0, shape)
    arrays_by_name["ct"] = convert_array(cts, dtype).astype(np.float64)
    return [(graph, convert_feeds(graph, arrays_by_name)) for graph in (narrow, wide)]


def assert_rounded_once(actual, exact, dtype, lost=0.0):
    """Elements are the exact ones, rounded to a narrow float; infinite where those are beyond.

    ``lost`` is how far those of float32 are from the exact ones.
    """
    actual = np.asarray(actual).astype(np.float64)
    with np.errstate(all="ignore"):
        exponent = np.maximum(np.frexp(exact)[1] - 1, 1 - dtype.bias)
        unit = 2.0 ** (exponent - (dtype.digits - 1))
        most = np.max(np.abs(exact), initial=0.0, where=np.isfinite(exact))
        beyond = np.abs(exact) > dtype.largest
        near = np.abs(actual - exact) <= ULP * unit + CANCELLED * most + lost
    near |= (actual == exact) | (np.isnan(actual) & np.isnan(exact))
    near |= beyond & np.isinf(actual) & (np.sign(actual) == np.sign(exact))
    assert near.all(), (actual[~near][:5], exact[~near][:5], int((~near).sum()))


def check(call, kinds, mode, dtype, run=sg.evaluate):
    (narrow, feeds), (wide, numbers) = narrow_and_wide(call, kinds, mode, dtype)
    actual, exact = run(narrow, feeds), sg.evaluate(wide, numbers)
    assert actual["value"].dtype == dtype.numpy
    for name, array in exact.items():
        assert_rounded_once(actual[name], array, dtype)


#: Of long operands these sort, search, or multiply element by element.
TAKE_LONG = ("histogram", "interp", "median", "nanmedian", "nanpercentile", "nanquantile",
             "percentile", "prod", "quantile", "nn.ctc_loss", "nn.gru_cell", "nn.lstm_cell",
             "nn.nll_loss", "nn.cross_entropy smoothed")  # fmt: skip


def trials():
    """Calls, modes and dtypes; most of bfloat16, and what takes long, not daily."""
    for name in CALLS:
        for mode in ("short", "large", "tiny", "long"):
            for dtype in STORAGE:
                slow = dtype.name == "bfloat16" and mode != "short"
                slow |= mode == "long" and name in TAKE_LONG
                slow |= name == "nn.ctc_loss" and mode != "short"
                marks = [pytest.mark.slow] * slow
                yield pytest.param(name, mode, dtype, marks=marks, id=f"{name}-{mode}-{dtype}")


@pytest.mark.parametrize(("name", "mode", "dtype"), [*trials()])
def test_value_and_slopes_are_those_of_float64_rounded_once(name, mode, dtype):
    check(*CALLS[name], mode, dtype)


#: Read by kernels every day; the others are read by them, too, but not daily.
COMPILED = ("mean", "std", "norm", "nn.layer_norm of long rows", "nn.softmax", "nn.mse", "nn.gelu")


@every_storage
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n not in COMPILED)) for n in CALLS],
)
def test_kernels_round_once(name, dtype):
    mode = "short" if name in TAKE_LONG else "long"
    check(*CALLS[name], mode, dtype, lambda graph, feeds: sg.compile(graph).run(feeds))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"backend": "numba"}, {"jit": False}], ids=str)
@pytest.mark.parametrize("name", COMPILED)
def test_other_readers_of_kernels_round_once(name, options):
    with sg.options(**options):
        check(*CALLS[name], "large", STORAGE[0], lambda g, feeds: sg.compile(g).run(feeds))


def on_the_tape(call):
    def run(graph, feeds):
        names = [name for name in feeds if name != "ct"]
        of = [Tensor(feeds[n], requires_grad=feeds[n].dtype.kind != "i") for n in names]
        out = call(*of)
        out.backward(Tensor(feeds["ct"]))
        slopes = [t.grad for t in of if t.requires_grad]
        return {"value": out.data, **{f"slope {k}": s for k, s in enumerate(slopes)}}

    return run


@every_storage
@pytest.mark.parametrize("name", [name for name in CALLS if name not in TAKE_LONG])
def test_tensors_round_once(name, dtype):
    call, kinds = CALLS[name]
    (_, feeds), (wide, numbers) = narrow_and_wide(call, kinds, "short", dtype)
    actual, exact = on_the_tape(call)(None, feeds), sg.evaluate(wide, numbers)
    for key, array in exact.items():
        if key in actual and actual[key] is not None:
            assert_rounded_once(actual[key], array, dtype)


# -- every public function ------------------------------------------------------------------------

#: Ops whose results have the elements of their operands, or those with another sign.
EXACT = {"abs", "at_least", "at_most", "max", "maximum", "min", "minimum", "neg",
         "order_statistic", "relu", "sort", "topk", "where", "window_max"}  # fmt: skip


def rounds(node):
    """Return whether a node rounds to a narrow float."""
    if node.is_leaf or node.op.name in EXACT or node.op.copies or isinstance(node.op, BodyOp):
        return False
    if node.op.name == "cast" and node.args[0].dtype.is_bool:
        return False
    return any(t.dtype.is_storage for t in node.types) and not isinstance(node.form, MOVES)


def most_roundings(values):
    """The largest number of nodes that round on one path to a value."""
    roundings = {}
    for node in sorted(ancestors(values), key=lambda node: node.serial):
        roundings[node] = rounds(node) + max((roundings[arg.node] for arg in node.args), default=0)
    return max((roundings[value.node] for value in values), default=0)


#: Public name -> a call of x [3, 4], v [4], i [3], where the calls of other tests do not fit.
FURTHER = {
    "kaiser": lambda x, v, i: sg.kaiser(5, v[0]),
    "histogram2d": lambda x, v, i: sg.histogram2d(v, x[0], 3),
    "histogramdd": lambda x, v, i: sg.histogramdd(x, 3),
    **{
        name: lambda x, v, i, name=name: getattr(sg, name)(v, v[:3], size=3)
        for name in ("intersect1d", "setdiff1d", "setxor1d", "union1d")
    },
    "polyfit": lambda x, v, i: sg.polyfit(v, x[0], 1),
    "argwhere": lambda x, v, i: sg.argwhere(x, size=2),
    "compress": lambda x, v, i: sg.compress(v > 0.0, v, size=2),
    "dynamic_slice": lambda x, v, i: sg.dynamic_slice(x, [i[0], 0], [2, 2]),
    "dynamic_update_slice": lambda x, v, i: sg.dynamic_update_slice(v, v[:2], [i[0]]),
    "extract": lambda x, v, i: sg.extract(x > 0.0, x, size=3),
    "flatnonzero": lambda x, v, i: sg.flatnonzero(x, size=2),
    "nonzero": lambda x, v, i: sg.nonzero(x, size=2),
    "unique": lambda x, v, i: sg.unique(x, size=2),
    **{
        f"segment_{kind}": lambda x, v, i, kind=kind: getattr(sg, f"segment_{kind}")(v[:3], i, 4)
        for kind in ("sum", "prod", "max", "min")
    },
    "nn.adaptive_max_pool": lambda x, v, i: nn.adaptive_max_pool(x[None], 2),
    "nn.embedding": lambda x, v, i: nn.embedding(i, x),
    "nn.fold": lambda x, v, i: nn.fold(x[None, None], 6),
    "nn.gumbel_softmax": lambda x, v, i: nn.gumbel_softmax(x, sg.random.Generator(0)),
    "nn.multi_margin_loss": lambda x, v, i: nn.multi_margin_loss(x, i[: x.shape[0]] % 2),
    "nn.max_pool": lambda x, v, i: nn.max_pool(x[None, None], 2),
    "nn.one_hot": lambda x, v, i: nn.one_hot(i, 4),
    "nn.pixel_shuffle": lambda x, v, i: nn.pixel_shuffle(x.reshape(4, 1, 3), 2),
    "nn.pixel_unshuffle": lambda x, v, i: nn.pixel_unshuffle(x.reshape(1, 2, 6), 2),
    "nn.unfold": lambda x, v, i: nn.unfold(x[None, None], 2),
    "special.eval_jacobi": lambda x, v, i: special.eval_jacobi(2, x, v, x),
    "special.factorialk": lambda x, v, i: special.factorialk(x, 3),
    **{
        f"special.{name}": lambda x, v, i, name=name: getattr(special, name)(1.0, 2.0, x, v)
        for name in (
            "elliprj",
            "eval_sh_jacobi",
            "ncfdtr",
            "ncfdtri",
            "ncfdtrinc",
            "obl_ang1",
            "obl_rad1",
            "obl_rad2",
            "pro_ang1",
            "pro_rad1",
            "pro_rad2",
        )
    },
    **{
        f"special.{name}_cv": lambda x, v, i, name=name: getattr(special, f"{name}_cv")(
            1, 2, 0.5, v, x
        )
        for name in ("obl_ang1", "obl_rad1", "obl_rad2", "pro_ang1", "pro_rad1", "pro_rad2")
    },
    **{
        f"special.{name}": lambda x, v, i, name=name: getattr(special, name)(1.5, x, 1)
        for name in ("jvp", "yvp", "ivp", "kvp")
    },
    "special.huber": lambda x, v, i: special.huber(1.5, x),
    "special.hyp2f1": lambda x, v, i: special.hyp2f1(1.0, x, v, x),
    "special.polygamma": lambda x, v, i: special.polygamma(2, x),
}
#: They call functions of users, or are steps of a time, each of which rounds.
OF_USERS = {"apply_along_axis", "apply_over_axes", "associative_scan", "checkpoint", "cond",
            "fori_loop", "map", "scan", "switch", "vmap",
            "while_loop", "custom_jvp", "custom_vjp", "host_call", "numba_call", "nn.bidirectional",
            "nn.gru", "nn.lstm", "nn.rnn", "nn.stacked"}  # fmt: skip
#: They take no floating value, or are no function of values; complex numbers are no narrow floats.
OF_NOTHING = {
    *(f"special.{name}" for name in special_constants.NAMES | quadratures.NAMES),
    *(f"special.{name}" for name in ("hankel1", "hankel1e", "hankel2", "hankel2e", "h1vp", "h2vp",
                                     "kelvin", "modfresnelm", "modfresnelp", "sph_harm_y")),
    *MADE_OF_NOTHING, *OF_GRAPHS, *OF_NUMBERS, "Graph", "Parameter", "Value", "bitwise_count",
    "complex", "fromfunction", "gcd", "lcm", "ravel_multi_index", "reduce_and", "reduce_or",
    "reduce_xor", "roots", "unravel_index",
}  # fmt: skip
#: They are exact: no operation of theirs rounds.
OF_PARTS = {"frexp", "modf", "nextafter", "spacing"}


def public_names():
    """The names of public functions: of ``sg``, ``sg.nn``, ``sg.special``, and norms."""
    load_functions()
    for name in exports.homes(exports.FUNCTIONS):
        yield name, getattr(sg, name)
    for home, names in exports.LAYERS.items():
        if home.startswith("staticgrad.functions"):
            for name in sorted({entry.rpartition("=")[2] for entry in names.split()}):
                yield f"nn.{name}", getattr(nn, name)
    for name in special.__all__:
        yield f"special.{name}", getattr(special, name)


def calls_of(name):
    """The calls that are tried for a public function that ``CALLS`` does not have."""
    last = name.rpartition(".")[2]
    listed = FURTHER.get(name, OTHER_CALLS.get(last))
    function = dict(public_names())[name]
    others = [lambda x, v, i, of=of: function(*of(x, v, i)) for of in OPERANDS]
    return [listed] if listed else others


@pytest.mark.parametrize(
    "name", [n for n, _ in public_names() if not {n} & {*CALLS, *OF_USERS, *OF_NOTHING, *OF_PARTS}]
)
def test_any_other_public_function_rounds_at_most_once(name):
    fitting = 0
    for call in calls_of(name):
        x, v = (sg.input(word, a.shape, "float16") for word, a in (("x", X), ("v", V)))
        try:
            results = call(x, v, sg.input("i", I.shape, "int64"))
        except (StaticgradError, TypeError):
            continue
        fitting += 1
        values = [value for value in flatten(results)[0] if isinstance(value, Symbolic)]
        assert most_roundings(values) <= 1, f"declare {name} with rounded_once"
    assert fitting, f"no call of {name}: add one to FURTHER"


#: They read elements at several places, and what comes back from these is added up; or their calls
#: read several parts of an operand.
AT_PLACES = {
    *("interp", "linspace", "median", "nanmedian", "nanpercentile", "nanquantile", "percentile"),
    *("quantile", "nn.batch_norm", "nn.group_norm", "nn.layer_norm"),
}


@pytest.mark.parametrize("name", CALLS)
def test_composed_functions_round_once_on_every_path(name):
    call, kinds = CALLS[name]
    (narrow, _), _ = narrow_and_wide(call, kinds, "short", STORAGE[0])
    outputs = dict(narrow.outputs)
    assert most_roundings([outputs.pop("value")]) == 1
    assert name in AT_PLACES or most_roundings(outputs.values()) == 1


@pytest.mark.parametrize("largest", [sg.max, sg.min])
def test_many_equal_elements_share_the_cotangent(largest):
    slopes = sg.grad(largest)(np.full(LONG, 0.5, "float16"))
    assert slopes.dtype == np.float16
    np.testing.assert_array_equal(slopes, np.float16(1 / LONG))
    x = sg.input("x", (LONG,), "float16")
    tangent = sg.jvp(largest(x), x, sg.ones_like(x))
    assert sg.evaluate(tangent, {"x": np.full(LONG, 0.5, "float16")}) == 1.0


def test_a_slope_of_a_product_adds_up_in_float32():
    x, w = sg.input("x", (LONG, 2), "float16"), sg.input("w", (2,), "float16")
    slope = sg.grad((x * w).sum(), w, seed=np.float16(2.0**-16))
    arrays = {"x": np.full((LONG, 2), 1.0, "float16")}
    np.testing.assert_array_equal(sg.evaluate(slope, arrays), np.float16(LONG * 2.0**-16))


def test_the_slope_of_a_matrix_adds_up_products_of_a_batch_in_float32():
    x, w = sg.input("x", (3000, 1, 2), "float16"), sg.input("w", (1, 2, 3), "float16")
    (slope,) = sg.vjp(x @ w, [w], sg.constant(np.full((3000, 1, 3), 0.3, "float16")))
    actual = sg.evaluate(slope, {"x": np.full((3000, 1, 2), 0.7, "float16")})
    exact = 3000 * float(np.float16(0.7)) * float(np.float16(0.3))  # 630 of rounded products
    np.testing.assert_array_equal(actual, np.full((1, 2, 3), exact, "float16"))


def test_a_module_of_batch_norm_of_float16_rounds_once():
    array = (np.random.default_rng(4).normal(size=(40, 3)) * 300 + 2000).astype("float16")
    layer = sg.nn.BatchNorm1d(3, dtype="float16")
    actual = sg.function(layer)(array)
    wide = array.astype("float64")
    exact = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + layer.eps)
    assert_rounded_once(actual, exact, STORAGE[0])


def test_a_rounding_between_is_not_rewritten_away():
    x = sg.input("x", (3,), "float32")
    y = x.astype("float16").astype("float32")
    array = np.array([1 + 2.0**-12, 1e-9, 1e6], "float32")
    with np.errstate(over="ignore"):
        expected = array.astype("float16").astype("float32")
    for level in ("O0", "O1", "O2"):
        np.testing.assert_array_equal(sg.compile(y, pipeline=level).run({"x": array}), expected)


def test_dtypes_that_are_asked_for():
    x, y = sg.input("x", (LONG,), "float16"), sg.input("y", (LONG,), "float32")
    ones = np.ones(LONG)
    feeds = {"x": ones.astype("float16"), "y": ones.astype("float32")}
    for value in (sg.mean(x, dtype="float32"), sg.var(x, dtype="float32"), sg.mean(y)):
        assert value.dtype == "float32"
    narrow = {
        "x": [sg.mean(x, dtype="float16")],
        "y": [sg.mean(y, None, "float16"), y.mean(dtype="float16")],
    }
    for name, values in narrow.items():
        for value in values:
            assert value.dtype == "float16"
            assert sg.evaluate(value, {name: feeds[name]}) == 1.0
    with pytest.raises(sg.errors.DTypeError, match="nonsense"):
        sg.mean(x, dtype="nonsense")


def test_operands_of_several_dtypes():
    x = np.array([[2e4, -2e4, 2e4, -2e4]], "float16")
    w = np.full(4, 3.0, "float32")
    value = sg.nn.layer_norm(sg.input("x", (1, 4), "float16"), w)
    assert value.dtype == "float32"
    np.testing.assert_allclose(sg.evaluate(value, {"x": x}), [[3, -3, 3, -3]], rtol=1e-6)
    loss = sg.nn.cross_entropy(sg.constant(x), [0], w, label_smoothing=0.1)
    assert loss.dtype == "float16"


def test_an_error_names_the_operands_as_they_are():
    x = sg.input("x", (3,), "float16")
    with pytest.raises(sg.errors.RankError, match=r"f16\[3\] has no two axes"):
        sg.nn.attention(x, x, x)


def test_batches_and_loops_round_once():
    arrays = np.full((3, LONG), 2.0, "float16")
    x = sg.input("x", arrays.shape, "float16")
    slopes = sg.vmap(lambda row: sg.grad(lambda r: sg.mean(r * 1.0))(row))(x)
    actual = sg.evaluate(sg.Graph({"each": slopes}, inputs=[x]), {"x": arrays})["each"]
    np.testing.assert_array_equal(actual, np.full(arrays.shape, 1 / LONG, "float16"))
    _, means = sg.scan(lambda c, row: (c, row.mean()), 0.0, x)
    np.testing.assert_array_equal(sg.evaluate(means, {"x": arrays}), [2.0, 2.0, 2.0])


@pytest.mark.parametrize("name", ["nn.layer_norm", "nn.softmax", "nn.silu", "std", "norm"])
def test_derivatives_of_slopes_round_once(name):
    call, kinds = CALLS[name]

    def of_slopes(*values):
        floats = [value for value in values if value.dtype.is_float]
        ones = sg.ones(call(*values).shape, values[0].dtype)
        return sg.vjp(call(*values), floats, ones * 0.75)[0]

    check(of_slopes, kinds, "short", STORAGE[0])


# -- random programs ------------------------------------------------------------------------------

#: Functions of rows [n, c] and of a matrix [c, c] of weights that random programs are made of.
STEPS = {
    "attention": lambda x, w: nn.attention(x, w, sg.stop_gradient(w[::-1])),
    "gelu": lambda x, w: nn.gelu(x),
    "group norm": lambda x, w: nn.group_norm(x, 2, w[0], w[1]),
    "layer norm": lambda x, w: nn.layer_norm(x, w[0], w[1]),
    "log softmax": lambda x, w: nn.log_softmax(x),
    "mish": lambda x, w: nn.mish(x),
    "normalize": lambda x, w: nn.normalize(x),
    "product": lambda x, w: x @ w,
    "rms norm": lambda x, w: nn.rms_norm(x, w[0]),
    "scaled": lambda x, w: x * w[0],
    "shifted": lambda x, w: x + w[0],
    "silu": lambda x, w: nn.silu(x),
    "softmax": lambda x, w: nn.softmax(x),
    "softplus": lambda x, w: nn.softplus(x),
    "sums": lambda x, w: sg.cumsum(x, 1),
    "tanh": lambda x, w: nn.hardtanh(x, -2.0, 2.0),
}


def check_random_program(seed, dtype, run):
    """Compare each step, and what it hands back to its operands, with float64 at these."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 40)), 2 * int(rng.integers(2, 20)))
    steps = [STEPS[name] for name in rng.choice([*STEPS], rng.integers(1, 7))]
    arrays = {"x": rng.normal(size=shape) * 10.0 ** rng.uniform(-2, 2)}
    arrays |= {f"w{k}": rng.normal(size=(shape[1],) * 2) for k in range(len(steps))}
    arrays["ct"] = rng.uniform(0.5, 1.0, shape)
    feeds = {name: convert_array(array, dtype) for name, array in arrays.items()}
    x, *weights, ct = (sg.input(name, array.shape, dtype) for name, array in feeds.items())
    values = [x]
    for step, w in zip(steps, weights, strict=True):
        values.append(step(values[-1], w))
    cts = sg.vjp(values[-1], [*values, *weights], ct, allow_disconnected=True)
    pairs = {**dict(enumerate(values)), **{-1 - k: cotangent for k, cotangent in enumerate(cts)}}
    graph = sg.Graph({str(k): value for k, value in pairs.items()}, inputs=[x, *weights, ct])
    arrays_by_step = {int(k): array for k, array in run(graph, feeds).items()}
    for k, step in enumerate(steps):
        at = [arrays_by_step[k], feeds[f"w{k}"], arrays_by_step[-2 - k]]
        near, exact = (slopes_at(step, at, kind) for kind in ("float32", "float64"))
        got = (arrays_by_step[k + 1], arrays_by_step[-1 - k], arrays_by_step[-2 - len(steps) - k])
        for array, wide, true in zip(got, near, exact, strict=True):
            assert_rounded_once(array, true, dtype, np.abs(wide - true))


def slopes_at(step, arrays, dtype):
    """The value of a step and its slopes, of the same numbers in a wide dtype."""
    h, w, back = (sg.input(n, a.shape, dtype) for n, a in zip("hwb", arrays, strict=True))
    out = step(h, w)
    slopes = sg.vjp(out, [h, w], back, allow_disconnected=True)
    graph = sg.Graph({"out": out, "h": slopes[0], "w": slopes[1]}, inputs=[h, w, back])
    numbers = {n: a.astype(dtype) for n, a in zip("hwb", arrays, strict=True)}
    return [array.astype("float64") for array in sg.evaluate(graph, numbers).values()]


@every_storage
@pytest.mark.parametrize("seed", range(8))
def test_each_step_of_a_random_program_rounds_once(seed, dtype):
    check_random_program(seed, dtype, sg.evaluate)


@pytest.mark.slow
@every_storage
@pytest.mark.parametrize("seed", range(100, 112))
def test_each_step_of_a_random_program_rounds_once_in_kernels(seed, dtype):
    check_random_program(seed, dtype, lambda graph, feeds: sg.compile(graph).run(feeds))


@every_storage
def test_parts_of_narrow_floats_are_exact(dtype):
    """Every float16, and every bfloat16: put together again from both parts."""
    x = np.arange(2**16, dtype=np.uint16).view(dtype.numpy)
    with np.errstate(invalid="ignore"):  # of NaN
        x = x[np.isfinite(x.astype("float64"))]
    wide = x.astype("float64")
    value = sg.input("x", x.shape, str(dtype))
    parts = [*sg.frexp(value), *sg.modf(value), sg.ldexp(*sg.frexp(value)), sg.spacing(value)]
    m, e, fraction, integral, again, step = sg.evaluate(parts, {"x": x})
    np.testing.assert_array_equal(np.ldexp(m.astype("float64"), e), wide)
    assert (abs(m[x != 0].astype("float64")) >= 0.5).all()
    np.testing.assert_array_equal(fraction.astype("float64"), np.modf(wide)[0])
    np.testing.assert_array_equal(integral.astype("float64"), np.modf(wide)[1])
    np.testing.assert_array_equal(again, x)
    beyond = sg.evaluate(sg.nextafter(value, sg.astype(np.inf, str(dtype))), {"x": x})
    inside = (x > 0) & (x < x.max())
    np.testing.assert_array_equal((beyond - x)[inside], step[inside])
    assert (beyond[x < 0] > x[x < 0]).all()
