"""Calls and names that do not fit: one error each, with a hint that is true of what there is."""

import functools
import inspect
import pickle
import re
import types
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import random
from staticgrad.compiler.compiling import compiler
from staticgrad.eager import Tensor, tensor
from staticgrad.errors import (
    StaticgradError,
    UnknownArgumentError,
    UnknownAttributeError,
    UnknownSettingError,
    calls,
    hints,
    values,
    wording,
)
from staticgrad.errors.hints import _ROOMS
from staticgrad.language.calls.functional import numpy_function
from staticgrad.support import config


def exists(name):
    """Return whether a name that messages call missing exists after all."""
    if hasattr(np, name) and name not in hints.INSTEAD:  # what NumPy's function of the name does
        return numpy_function(name) is not None
    return name in sg.__all__


def test_nothing_that_exists_is_said_to_be_missing():
    assert [name for name in [*hints.INSTEAD, *hints.REASONS] if exists(name)] == []
    x, opt = sg.input("x", ()), sg.optim.SGD(0.1)
    for table, owner in (
        (hints.METHODS, type(x)), (hints.OF_TENSORS, Tensor),
        (hints.OF_MODULES, sg.nn.Linear(2, 2)), (hints.OF_OPTIMIZERS, opt),
    ):  # fmt: skip
        assert [name for name in table if name in dir(owner) and name != "value"] == []
    listed = [name for names in hints.MISSING.values() for name in names.split()]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("clamp_", "a value never changes: the function without _"),
        ("parse_schedule", r"sg.parse\(text\)"),
        ("parse_schema", "TorchScript"),
        ("native_group_norm", "the function without native_"),
    ],
)
def test_names_of_families_and_in_place_have_their_hint(name, words):
    with pytest.raises(AttributeError, match=words):
        getattr(sg, name)


def test_an_unknown_name_with_an_underscore_has_no_hint_of_writes():
    with pytest.raises(AttributeError) as error:
        _ = sg.nowhere_known_
    assert "never changes" not in str(error.value)


def test_what_hints_name_exists():
    rng, wrong = sg.random.Generator(0), []
    x = sg.input("x", (2, 3))
    tables = (hints.INSTEAD, hints.METHODS, calls.ARGUMENTS, hints.OF_MODULES, hints.OF_OPTIMIZERS)
    for hint in {hint for table in tables for hint in table.values()}:
        for path in re.findall(r"\b((?:sg|rng|x)\.[\w.]*\w)", hint):
            owner = {"sg": sg, "rng": rng, "x": x}[path.partition(".")[0]]
            try:
                functools.reduce(getattr, path.split(".")[1:], owner)
            except AttributeError:
                wrong.append((path, hint))
    assert wrong == []


R, S = (np.array(row) for row in ([[-1.5, np.nan, 2.0], [0.0, np.inf, -3.0]], [0.5, -2.0, 2.0]))
F = np.array([[-1.5, 0.25, 2.0], [0.0, 1.0, -3.0]])
WINDOW, PLACES = np.array([0.5, 1.0, 0.25]), np.arange(3)[:, None] * 2 + np.arange(3)
FRAMES = PLACES**2.0
#: Name -> what its hint computes of x, y and so on, by NumPy.
COMPUTED = {
    "renorm": (
        {"x": F, "limit": 1.0},
        F * np.minimum(1.0, 1.0 / np.sqrt((F**2).sum(1, keepdims=True))),
    ),
    "airy_ai": ({"x": np.array([0.0])}, [0.3550280538878172]),
    "bessel_j0": ({"x": np.array([0.0, 2.404825557695773])}, [1.0, 0.0]),
    "modified_bessel_i0": ({"x": np.array([0.0, 1.0])}, [1.0, 1.2660658777520082]),
    "scaled_modified_bessel_k0": ({"x": np.array([1.0])}, [0.42102443824070834 * np.e]),
    "spherical_bessel_j0": ({"x": np.array([0.5])}, [np.sin(0.5) / 0.5]),
    "chebyshev_polynomial_t": ({"n": 3, "x": F[0]}, 4 * F[0] ** 3 - 3 * F[0]),
    "chebyshev_polynomial_u": ({"n": 2, "x": F[0]}, 4 * F[0] ** 2 - 1),
    "shifted_chebyshev_polynomial_t": ({"n": 1, "x": F[0]}, 2 * F[0] - 1),
    "shifted_chebyshev_polynomial_u": ({"n": 1, "x": F[0]}, 4 * F[0] - 2),
    "hermite_polynomial_h": ({"n": 2, "x": F[0]}, 4 * F[0] ** 2 - 2),
    "hermite_polynomial_he": ({"n": 2, "x": F[0]}, F[0] ** 2 - 1),
    "laguerre_polynomial_l": ({"n": 1, "x": F[0]}, 1 - F[0]),
    "legendre_polynomial_p": ({"n": 2, "x": F[0]}, (3 * F[0] ** 2 - 1) / 2),
    "inv_ex": ({"x": F[:, :2]}, np.linalg.inv(F[:, :2])),
    "solve_ex": ({"a": F[:, :2], "b": F[:, 0]}, [1.0, 0.0]),
    "cholesky_ex": ({"x": F @ F.T}, np.linalg.cholesky(F @ F.T)),
    "householder_product": ({"x": F[:, :2]}, np.linalg.qr(F[:, :2])[0]),
    "hfft": ({"a": F[0] + 1j, "n": 4}, np.fft.hfft(F[0] + 1j, 4)),
    "ihfft": ({"a": F, "n": 3}, np.fft.ihfft(F)),
    "inverse": ({"x": F[:, :2]}, [[-2 / 3, 1 / 6], [0.0, 1.0]]),
    "rsqrt": ({"x": np.array([0.25, 4.0])}, [2.0, 0.5]),
    "bmat": ({"rows": [[F, F]]}, np.hstack([F, F])),
    "rev": ({"x": F, "axis": 1}, F[:, ::-1]),
    "rem": ({"a": F, "b": 2.0}, np.fmod(F, 2.0)),
    "integer_pow": ({"x": F, "n": 3}, F**3),
    "movedim": ({"x": F, "source": 0, "destination": 1}, F.T),
    "swapdims": ({"x": F, "axis": 0, "other": 1}, F.T),
    "index_select": ({"x": F, "indices": [2, 0], "axis": 1}, F[:, [2, 0]]),
    "masked_scatter": ({"mask": F > 0, "x": F, "y": -F}, np.where(F > 0, -F, F)),
    "take_along_dim": ({"x": F, "indices": np.array([[0], [2]]), "axis": 1}, [[-1.5], [-3.0]]),
    "repeat_interleave": ({"x": F, "n": 2, "axis": 0}, np.repeat(F, 2, 0)),
    "lerp": ({"a": F, "b": -F, "weight": 0.25}, 0.5 * F),
    "addcmul": ({"x": F, "value": 2.0, "a": F, "b": F}, F + 2.0 * F * F),
    "addcdiv": ({"x": F, "value": 2.0, "a": F, "b": F + 4.0}, F + 2.0 * F / (F + 4.0)),
    "cdist": (
        {"x": F, "y": F[:1] + 1.0}, np.sqrt(((F[:, None] - F[:1] - 1.0) ** 2).sum(-1)),
    ),
    "dist": ({"x": F, "y": F + 2.0}, np.sqrt(24.0)),
    "pinverse": ({"x": F}, np.linalg.pinv(F)),
    "logdet": ({"x": F @ F.T}, np.log(np.linalg.det(F @ F.T))),
    "matrix_exp": ({"x": np.diag([0.5, -1.0])}, np.diag(np.exp([0.5, -1.0]))),
    "frac": ({"x": F}, np.modf(F)[0]),
    "histc": ({"x": F, "bins": 3}, np.histogram(F, 3)[0]),
    "bucketize": ({"edges": np.array([-1.0, 0.5]), "x": F}, np.searchsorted([-1.0, 0.5], F)),
    "kthvalue": ({"x": F[0], "k": 2}, 0.25),
    "mvlgamma": ({"x": np.array(3.5), "d": 1}, 1.2009736023470743),
    "igamma": ({"a": np.array(1.0), "x": np.array(2.0)}, 1.0 - np.exp(-2.0)),
    "igammac": ({"a": np.array(1.0), "x": np.array(2.0)}, np.exp(-2.0)),
    "rsub": ({"a": F, "b": 1.0}, 1.0 - F),
    "conj_physical": ({"x": F + 1j}, F - 1j),
    "diag_embed": ({"x": F, "n": 3}, F[..., None] * np.eye(3)),
    "reduce_sum": ({"x": F, "axis": 1}, F.sum(1)),
    "reduce_max": ({"x": F, "axis": 1}, F.max(1)),
    "reduce_min": ({"x": F, "axis": 1}, F.min(1)),
    "reduce_prod": ({"x": F, "axis": 1}, F.prod(1)),
    "shift_left": ({"x": np.array([1, 3]), "n": 2}, [4, 12]),
    "population_count": ({"x": np.array([1, 3])}, [1, 2]),
    "dynamic_slice_in_dim": ({"x": F, "start": 1, "size": 1}, F[1:]),
    "dynamic_index_in_dim": ({"x": F, "i": 2, "axis": 1}, F[:, 2]),
    "dynamic_update_slice_in_dim": ({"x": F, "i": 1, "y": 7.0}, np.stack([F[0], [7.0] * 3])),
    "convert_element_type": ({"x": F, "dtype": "float32"}, F),
    "broadcasted_iota": ({"shape": (2, 3), "axis": 1}, np.indices((2, 3))[1]),
    "qr_multiply": ({"a": F.T, "c": F}, F @ np.linalg.qr(F.T)[0]),
    "issymmetric": ({"a": F[:, :2]}, False),
    "swish": ({"x": F}, F / (1.0 + np.exp(-F))),
    "narrow": ({"x": F, "start": 1, "length": 2, "axis": 1}, F[:, 1:3]),
    "combinations": ({"x": F[0], "n": 3}, [[-1.5, 0.25], [-1.5, 2.0], [0.25, 2.0]]),
    "cumulative_trapezoid": ({"y": F[0], "dx": 2.0}, [-1.25, 1.0]),
    "trapz": ({"y": F[0], "x": np.array([0.0, 2.0, 4.0])}, 1.0),
    "frobenius_norm": ({"x": F}, np.sqrt((F * F).sum())),
    "nuclear_norm": ({"x": F}, np.linalg.svd(F)[1].sum()),
    "diagonal_scatter": ({"x": F, "n": 2, "y": 7.0}, [[7.0, 0.25, 2.0], [0.0, 7.0, -3.0]]),
    "select_scatter": ({"x": F, "i": 0, "y": F[1]}, F[[1, 1]]),
    "slice_scatter": ({"x": F, "start": 1, "stop": 2, "y": F[:1]}, F[[0, 0]]),
    "channel_shuffle": (
        {"x": np.arange(8.0).reshape(1, 4, 2), "groups": 2}, [[[0, 1], [4, 5], [2, 3], [6, 7]]],
    ),
    "constant_pad_nd": ({"x": F, "widths": 1}, np.pad(F, 1)),
    "view_as_real": ({"x": F + 2j}, np.stack([F, np.full_like(F, 2.0)], -1)),
    "view_as_complex": ({"x": F[:, :2]}, F[:, 0] + 1j * F[:, 1]),
    "unique_consecutive": ({"x": np.array([1.0, 1.0, 2.0, 1.0]), "n": 3}, [1.0, 2.0, 1.0]),
    "segment_reduce": ({"x": F[0], "segments": np.array([0, 0, 1]), "n": 2}, [-1.25, 2.0]),
    "stft": (
        {"x": np.arange(7.0) ** 2, "size": 3, "hop": 2, "window": np.array([0.5, 1.0, 0.5])},
        np.fft.rfft(np.array([[0.0, 1.0, 2.0], [2.0, 9.0, 8.0], [8.0, 25.0, 18.0]])),
    ),
    "bessel_i0e": ({"x": np.array([0.0])}, [1.0]),
    "bessel_i1e": ({"x": np.array([0.0])}, [0.0]),
    "igamma_grad_a": (  # of 1 - exp(-x) at a = 1, by differences of SciPy's
        {"a": 1.0, "x": 2.0}, -0.22082542622, 1e-7
    ),
    "broadcast": ({"x": F[0], "sizes": (2,)}, F[[0, 0]]),
    "sort_key_val": ({"keys": F[0], "values": np.array([5.0, 6.0, 7.0])}, [5.0, 6.0, 7.0]),
    "hard_silu": ({"x": F}, F * np.clip(F + 3.0, 0.0, 6.0) / 6.0),
    "logmeanexp": ({"x": F}, np.log(np.exp(F).mean(-1))),
    "squareplus": ({"x": F}, (F + np.sqrt(F * F + 4.0)) / 2.0),
    "standardize": ({"x": F}, (F - F.mean(-1, keepdims=True)) / F.std(-1, keepdims=True)),
    "sparse_plus": ({"x": F}, [[0.0, 1.25**2 / 4, 2.0], [0.25, 1.0, 0.0]]),
    "sparse_sigmoid": ({"x": F}, np.clip((F + 1.0) / 2.0, 0.0, 1.0)),
    "reduce_mean": ({"x": F, "axis": 1}, F.mean(1)),
    "reduce_std": ({"x": F, "axis": 1}, F.std(1)),
    "reduce_variance": ({"x": F, "axis": 1}, F.var(1)),
    "reduce_logsumexp": ({"x": F, "axis": 1}, np.log(np.exp(F).sum(1))),
    "reduce_any": ({"x": F > 1, "axis": 1}, [True, False]),
    "reduce_all": ({"x": F > -4, "axis": 1}, [True, True]),
    "reduce_euclidean_norm": ({"x": F, "axis": 1}, np.sqrt((F * F).sum(1))),
    "to_int32": ({"x": F}, [[-1, 0, 2], [0, 1, -3]]),
    "clip_by_norm": ({"x": np.array([3.0, 4.0]), "size": 1.0}, [0.6, 0.8]),
    "foldl": (
        {"f": lambda total, row: total * 2.0 + row, "init": 1.0, "x": F[0]}, 8.0 - 6.0 + 0.5 + 2.0
    ),
    "foldr": (
        {"f": lambda total, row: total * 2.0 + row, "init": 1.0, "x": F[0]}, 8.0 + 8.0 + 0.5 - 1.5
    ),
    "map_fn": ({"f": lambda row: row.sum(), "x": F}, F.sum(1)),
    "gather_nd": ({"x": F, "i": np.array([0, 1]), "j": np.array([2, 0])}, [2.0, 0.0]),
    "scatter_nd": (
        {"shape": (4,), "indices": np.array([1, 3, 1]), "y": F[0]}, [0.0, 0.5, 0.0, 0.25]
    ),
    "unsorted_segment_sum": ({"x": F[0], "segments": np.array([1, 0, 1]), "n": 2}, [0.25, 0.5]),
    "unsorted_segment_max": ({"x": F[0], "segments": np.array([1, 0, 1]), "n": 2}, [0.25, 2.0]),
    "strided_slice": ({"x": F[0], "start": 0, "stop": 3, "step": 2}, [-1.5, 2.0]),
    "reverse": ({"x": F, "axis": 1}, F[:, ::-1]),
    "l2_loss": ({"x": F}, (F * F).sum() / 2.0),
    "l2_normalize": ({"x": F}, F / np.sqrt((F * F).sum(1, keepdims=True))),
    "sequence_mask": ({"n": 3, "lengths": np.array([1, 3])}, [[1, 0, 0], [1, 1, 1]]),
    "fill": ({"shape": (2,), "number": 3.0}, [3.0, 3.0]),
    "alloc": ({"shape": (2,), "number": 3.0}, [3.0, 3.0]),
    "bias_add": ({"x": F, "b": F[0]}, F + F[0]),
    "ifelse": (
        {"condition": np.array(False), "x": F[0], "y": F[1]}, F[1]
    ),
    "tensor_scatter_nd_update": ({"x": F, "indices": 1, "y": 7.0}, [F[0], [7.0] * 3]),
    "inc_subtensor": ({"x": F, "indices": 1, "y": 7.0}, [F[0], F[1] + 7.0]),
    "sqr": ({"x": F}, F * F),
    "vertcat": ({"a": F, "b": F[:1]}, F[[0, 1, 0]]),
    "horzcat": ({"a": F, "b": F}, np.hstack([F, F])),
    "rearrange": ({"x": F, "shape": (3, 2), "axes": (1, 0)}, F.reshape(3, 2).T),
    "sigmoid_cross_entropy_with_logits": (
        {"logits": np.zeros(2), "labels": np.array([0.0, 1.0])}, np.log(2.0)
    ),
    "softmax_cross_entropy_with_logits": (
        {"logits": np.zeros((2, 4)), "labels": np.array([0, 3])}, np.log(4.0)
    ),
    "cumtrapz": ({"y": F[0], "dx": 2.0}, [-1.25, 1.0]),
    "fori": (
        {"start": 0, "stop": 3, "body": lambda i, x: x * 2.0, "init": sg.constant(1.0)}, 8.0
    ),
    "diagsvd": ({"s": np.array([2.0, 3.0])}, np.diag([2.0, 3.0])),
    "as_strided": ({"x": np.arange(5.0), "size": 2, "step": 3}, [[0.0, 1.0], [3.0, 4.0]]),
    "as_strided_scatter": (
        {"x": F[0], "start": 0, "stop": 3, "step": 2, "y": 7.0}, [7.0, 0.25, 7.0]
    ),
    "slice_inverse": (
        {"shape": (3,), "start": 0, "stop": 3, "step": 2, "x": F[0, 1:]}, [0.25, 0.0, 2.0]
    ),
    "mode": ({"x": np.array([3.0, 1.0, 2.0, 1.0, 2.0])}, 1.0),  # the smallest of the most frequent
    "istft": (  # of the frames of "stft" above, but with a window that has no zeros
        {"n": 7, "frames": 3, "hop": 2, "size": 3, "window": WINDOW,
         "s": np.fft.rfft(FRAMES * WINDOW), "places": PLACES}, np.arange(7.0) ** 2, 1e-6
    ),
    "multilabel_margin_loss": (  # PyTorch's example: (1 - (.1 - .2)) + (1 - (.1 - .4)) + ...
        {"x": np.array([[0.1, 0.2, 0.4, 0.8]]), "is_label": np.array([[True, False, False, True]])},
        0.85,
    ),
    "chebyshev_polynomial_v": ({"n": 2, "x": F[0]}, 4 * F[0] ** 2 - 2 * F[0] - 1),
    "chebyshev_polynomial_w": ({"n": 2, "x": F[0]}, 4 * F[0] ** 2 + 2 * F[0] - 1),
    "shifted_chebyshev_polynomial_v": ({"n": 1, "x": F[0]}, 4 * F[0] - 3),
    "shifted_chebyshev_polynomial_w": ({"n": 1, "x": F[0]}, 4 * F[0] - 1),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPUTED)
def test_hints_compute_what_the_name_does(name):
    arguments, expected, rtol = (*COMPUTED[name], 1e-12)[:3]
    leaves = {
        word: sg.constant(argument) if isinstance(argument, np.ndarray) else argument
        for word, argument in arguments.items()
    }
    code = hints.INSTEAD[name].partition(", of ")[0]  # and what its operands are
    actual = sg.evaluate(eval(code, {"sg": sg, "np": np, **leaves}))
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-15)


#: Names of PyTorch, NumPy and JAX that had no hint (of the versions of December 2026).
WITHOUT_HINT = (
    "as_strided as_strided_scatter binomial fork hash_tensor int_repr is_storage istft saddmm"
    " set_flush_denormal slice_inverse sspaddmm wait may_share_memory shares_memory"
    " copy_to_host_async ds free_ref freeze host_ids live_arrays make_array_from_callback"
    " make_array_from_single_device_arrays make_user_context print_environment_info"
    " process_indices transfer_guard",
    "AdaptiveLogSoftmaxWithLoss FractionalMaxPool2d FractionalMaxPool3d MultiLabelMarginLoss"
    " fractional_max_pool2d fractional_max_pool2d_with_indices fractional_max_pool3d"
    " fractional_max_pool3d_with_indices multilabel_margin_loss get_scaled_dot_general_config",
    "chebyshev_polynomial_v chebyshev_polynomial_w shifted_chebyshev_polynomial_v"
    " shifted_chebyshev_polynomial_w",
    "as_subclass hash_tensor istft mode module_load",
)


@pytest.mark.parametrize(
    ("owner", "names"),
    [*zip((sg, sg.nn, sg.special, Tensor([1.0])), WITHOUT_HINT, strict=True)],
    ids=["sg", "nn", "special", "tensor"],
)
def test_names_of_other_libraries_have_a_hint(owner, names):
    for name in names.split():
        with pytest.raises(AttributeError) as caught:
            getattr(owner, name)
        assert caught.value.hint, name


def test_the_hint_of_max_norm_trains_as_pytorch():
    """PyTorch scales the rows that are read, in place, before it reads them."""
    with pytest.raises(UnknownArgumentError) as caught:
        sg.nn.Embedding(3, 2, max_norm=1.0)
    line = re.search(r"instead: (w\.update\(.*\)), of w", caught.value.hint)[1]
    embedding, max_norm, opt = sg.nn.Embedding(3, 2), 1.0, sg.optim.SGD(0.5)
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [0.3, 0.4]])
    embedding.weight.value = rows
    targets = np.array([[2.0, 0.0], [0.0, -3.0], [1.0, 1.0]])

    def renorm():
        eval(line, {"sg": sg, "max_norm": max_norm, "w": embedding.weight})

    @sg.function
    def step(targets):
        loss = ((embedding(np.arange(3)) - targets) ** 2).sum()
        opt.minimize(loss)
        renorm()
        return loss

    sg.function(renorm)()
    for _ in range(4):
        norms = np.sqrt((rows**2).sum(1, keepdims=True))
        rows = np.where(norms > max_norm, rows * max_norm / np.maximum(norms, 1e-7), rows)
        assert step(targets.astype("float32")) == pytest.approx(((rows - targets) ** 2).sum())
        rows = rows - 0.5 * 2.0 * (rows - targets)


def test_the_hint_of_binomial_draws_counts():
    rng, n, p, shape = sg.random.Generator(0), 10, 0.25, (4000,)
    draws = eval(hints.INSTEAD["binomial"].partition(", of ")[0], {**locals(), "sg": sg})
    counts = sg.evaluate(draws)
    assert counts.shape == shape
    assert abs(counts.mean() - n * p) < 0.1  # 4.6 standard deviations of the mean
    assert abs(counts.var() - n * p * (1 - p)) < 0.2


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("sparse.linalg", "sg.sparse.spsolve(A, b)"), ("linalg.spsolve", "it is sg.sparse.spsolve"),
        ("signal", "sg.convolve(x, y)"), ("interpolate.interp1d", "sg.interp(x, xp, fp)"),
        ("nn.functional.interpolate", "sg.nn.resize(x, shape"),
        ("shared", "sg.parameter(name, array)"), ("clip_by_value", "sg.clip(x, low, high)"),
        ("scipy.optimize", "sg.scipy.minimize(f, x0)"), ("optimize", "sg.scipy.minimize(f, x0)"),
        ("integrate", "sg.ode.solve_ivp(fun"),
        ("gaussian_filter", "it is sg.ndimage.gaussian_filter"),
        ("minimize", "it is sg.scipy.minimize"), ("optim.minimize", "opt.minimize(loss)"),
        ("backward", "opt.minimize(loss)"), ("config", "sg.options(threads=2)"),
        ("autograd", "sg.grad(loss, [w])"), ("Session", "sg.compile(y).run(feeds)"),
        ("keras", "sg.nn.Linear(4, 8)"), ("einops", "x.reshape(shape)"),
        ("updates", "sg.nn.updates"),
    ],
)  # fmt: skip
def test_names_of_scipy_tensorflow_and_theano_are_answered(path, hint):
    with pytest.raises(AttributeError) as caught:
        functools.reduce(getattr, path.split("."), sg)
    assert hint in caught.value.hint


def test_functions_of_scipy_on_a_value_name_ours():
    from scipy import (
        fft,
        integrate,
        interpolate,
        linalg,
        ndimage,
        optimize,
        signal,
        sparse,
        spatial,
        special,
        stats,
    )
    from scipy.sparse import linalg as solvers

    x, a = sg.input("x", (3,), "float64"), sg.input("a", (3, 3), "float64")
    ones, rng = np.ones(3), np.random.default_rng(0)
    answers = {
        "scipy.linalg.solve needs .*of values: sg.linalg.solve": lambda: linalg.solve(a, ones),
        "scipy.linalg.expm .*sg.linalg.expm": lambda: linalg.expm(a),
        "scipy.linalg.cholesky .*sg.linalg.cholesky": lambda: linalg.cholesky(a),
        "scipy.linalg.eigh .*sg.linalg.eigh": lambda: linalg.eigh(a),
        "scipy.fft.fft .*sg.fft.fft": lambda: fft.fft(x),
        "scipy.signal.convolve .*sg.convolve": lambda: signal.convolve(x, ones),
        "scipy.signal.lfilter .*sg.scan": lambda: signal.lfilter([1.0], [1.0, 0.5], x),
        "scipy.signal.hilbert .*sg.host_call": lambda: signal.hilbert(x),
        "CubicSpline .*sg.interpolate.CubicSpline": lambda: interpolate.CubicSpline(
            np.arange(3), x
        ),
        "solve_ivp .*sg.ode.solve": lambda: integrate.solve_ivp(lambda t, y: -y, (0, 1), x),
        "integrate.solve_ivp .*ode.solve": lambda: integrate.solve_ivp(
            lambda t, y: x, (0, 1), ones
        ),
        "integrate.trapezoid .*sg.trapezoid": lambda: integrate.trapezoid(x),
        "ndimage.gaussian_filter .*sg.ndimage.gaussian_filter": lambda: ndimage.gaussian_filter(
            x, 1.0
        ),
        "optimize.minimize .*sg.scipy.minimize": lambda: optimize.minimize(np.sum, x),
        "spsolve .*sg.sparse.spsolve": lambda: solvers.spsolve(sparse.eye(3).tocsr(), x),
        "distance.cdist .*sg.linalg.norm": lambda: spatial.distance.cdist(a, a),
        "scipy.linalg.bandwidth .*scipy.linalg.bandwidth.array": lambda: linalg.bandwidth(a),
        "linear_sum_assignment .*sg.host_call": lambda: optimize.linear_sum_assignment(a),
        "multivariate_normal .*of values: sg.stats.multivariate_normal": lambda: (
            stats.multivariate_normal(x)
        ),
        "special.sph_harm_y .*of values: sg.special.sph_harm_y": lambda: special.sph_harm_y(
            1, 1, x, x
        ),
        "np.random.normal.*rng.normal": lambda: np.random.normal(x),
        "rng.normal.*sg.random.Generator.*rng.normal": lambda: rng.normal(x, 1.0),
        "np.asarray.*sg.stack": lambda: np.asarray(x),
    }
    for pattern, call in answers.items():
        with pytest.raises(sg.StaticgradError) as caught:
            call()
        assert re.search(pattern, str(caught.value), re.DOTALL), str(caught.value)
    for package, rooms in hints._SAME_NAMES.items():
        theirs = import_module(package)
        assert all(room == "sg" or room.startswith("sg.") for room in rooms)
        assert any(hints.instead_of_call(package, name) for name in theirs.__all__)


def calls_in(hint):
    """Return the calls of our functions that a hint has, ``sg.sin(x)``, as text."""
    for begin in re.finditer(r"\b(?:sg|opt)\.[\w.]+\(", hint):
        depth, end = 1, begin.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(hint[end], 0)
            end += 1
        yield hint[begin.start() : end]


W, ROWS = (
    sg.parameter("w", np.ones(3)),
    np.array([[2.0, 0.5, 0.0], [0.5, 2.0, 0.1], [0.0, 0.1, 1.0]]),
)
#: What the calls of ``PACKAGES`` take.
TAKEN = {
    "x": sg.constant(np.array([0.5, 1.0, 2.0])), "y": sg.constant(np.array([1.0, 3.0, 2.0])),
    "a": sg.constant(ROWS), "b": ROWS, "k": sg.constant(ROWS), "l": np.linalg.cholesky(ROWS),
    "f": lambda x: ((x - 1.0) ** 2).sum(), "x0": np.zeros(3), "residuals": lambda x: x - 1.0,
    "fun": lambda t, y: -y, "y0": np.ones(3), "t": np.array([0.0, 0.5, 1.0]), "loc": 0.0,
    "scale": 2.0, "w": W, "loss": (W * W).sum(), "logits": sg.constant(ROWS), "feeds": {},
    "labels": np.array([0, 1, 1]), "images": np.ones((1, 1, 2, 2)), "shape": (3, 1), "n": 2,
    "table": types.SimpleNamespace(to_numpy=lambda: ROWS), "sg": sg, "opt": sg.optim.Adam(1e-3),
    "rng": sg.random.Generator(0),
}  # fmt: skip
#: Calls of libraries that not every installation has, of files and of loops: other tests run them.
ELSEWHERE = ("sg.torch.module(", "sg.jax.trace(", "sg.train.fit(", "sg.compile(loss).export(")


@pytest.mark.parametrize("hint", dict.fromkeys(hints.PACKAGES.values()))
def test_what_stands_for_a_package_runs(hint):
    names = TAKEN | ({"f": TAKEN["fun"]} if "sg.ode.solve(f" in hint else {})
    names |= {"f": TAKEN["residuals"]} if "sg.implicit.root" in hint else {}
    for call in calls_in(hint):
        if not call.startswith(ELSEWHERE) and not call.startswith("sg.scipy.minimize"):
            result = eval(call, dict(names))
            assert result is not None
    for call in calls_in(hint):
        if call.startswith("sg.scipy.minimize"):
            np.testing.assert_allclose(eval(call, dict(TAKEN)).x, 1.0, atol=1e-5)


@pytest.mark.parametrize("room", [sg, sg.nn, sg.optim], ids=["sg", "nn", "optim"])
def test_a_missing_name_is_answered(room):
    for name in hints.INSTEAD:
        if not hasattr(room, name):
            with pytest.raises(AttributeError, match=name) as caught:
                getattr(room, name)
            assert caught.value.hint


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("from staticgrad import grad, jit", "hint: sg.function, above a function of arrays"),
        ("from staticgrad import softmx", "hint: did you mean sg.nn.softmax"),
        ("from staticgrad.nn import Linear, Linar", "hint: did you mean sg.nn.Linear"),
        ("from staticgrad.optim import StepLR", "hint: sg.optim.step_decay"),
        ("from staticgrad.distributed import get_rank", "hint: sg.distributed.start"),
    ],
)
def test_an_import_of_a_missing_name_has_the_hint(line, hint):
    with pytest.raises(ImportError, match=hint):
        exec(line, {})
    module = import_module(line.split()[1])
    assert getattr(module, line.split()[-1], None) is None  # others see an AttributeError


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("numpy", "sg.xp has those of the array API"),
        ("numpy.linalg", "sg.sin(x), in sg.linalg"),
        ("nn.init", "xavier_uniform"),
        ("optim.lr_scheduler", "sg.optim.cosine"),
        ("signal", "sg.convolve"),
        ("sparse.linalg", "sg.sparse.spsolve"),
        ("keras.layers", "sg.nn.Sequential"),
        ("scipy.optimize", "sg.scipy.minimize(f, x0)"),
        ("jax.numpy", "sg.xp has those of the array API"),
        ("random.PRNGKey", "rng = sg.random.Generator(seed)"),
        ("grad", "it is sg.grad: from staticgrad import grad"),
        ("nn.Linear", "it is sg.nn.Linear: from staticgrad.nn import Linear"),
        ("optm", "did you mean sg.optim"),
    ],
)
def test_an_import_of_a_missing_module_has_the_hint(name, hint):
    with pytest.raises(ModuleNotFoundError, match="there is no module staticgrad") as caught:
        import_module(f"staticgrad.{name}")
    assert hint in str(caught.value)
    assert f"staticgrad.{name}".startswith(caught.value.name)


def test_modules_of_which_nothing_is_known_are_not_found():
    assert find_spec("staticgrad.conftest") is None
    assert find_spec("staticgrad._absent") is None
    assert not hasattr(sg.scipy, "__path__")
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        import_module("staticgrad.conftest")


def test_families_of_names_have_a_reason():
    for name, hint in (
        ("cudnn_convolution", "kernels run on the CPU"),
        ("quantize_per_tensor", r"sg\.quantize\(program\)"),
        ("sym_max", r"sg\.dim\(name\)"),
    ):
        with pytest.raises(UnknownAttributeError, match=hint):
            getattr(sg, name)
    assert not any(hasattr(sg, name) for name in hints.FAMILIES)
    assert [n for n in sg.__all__ if n.startswith(tuple(hints.FAMILIES))] == []


def test_every_public_module_says_what_it_does_not_have():
    members = (getattr(sg, name) for name in sg.__all__ if name != "errors")
    rooms = [room for room in members if inspect.ismodule(room) and hasattr(room, "__all__")]
    assert len(rooms) > 12
    for room in rooms:
        with pytest.raises(UnknownAttributeError):
            room.absent  # noqa: B018


@pytest.mark.parametrize(
    ("room", "name", "hint"),
    [
        (sg, "sofmax", "did you mean sg.nn.softmax?"),
        (sg.nn, "Linar", "did you mean sg.nn.Linear?"),
        (sg, "Linear", "it is sg.nn.Linear"),
        (sg, "solve", "it is sg.linalg.solve"),
        (sg.optim, "sgd", "it is sg.optim.SGD"),
        (sg, "compare", "from staticgrad.comparison import compare"),
        (sg, "Batches", "it is sg.train.Batches"),
        (sg.nn, "grad", "it is sg.grad"),
        (sg.optim, "map", "it is sg.map"),  # before sg.tree.map
        (sg.distributed, "get_rank", "sg.distributed.start().rank"),
        (sg.onnx, "save", "sg.onnx.export(program, path)"),
        (sg.linalg, "choleski", "did you mean sg.linalg.cholesky?"),
        (sg, "sqaure", "did you mean sg.square?"),
        (sg.linalg, "decomp_lu", ""),
        (sg.special, "expj", "did you mean sg.special.exp1?"),  # not sg.linalg.expm
        (sg.nn, "layernorn", "did you mean sg.nn.layer_norm?"),
        (sg.nn, "lstmcell", "it is sg.nn.lstm_cell"),
        (sg.nn, "instancenorm1d", ""),  # a function takes values, the class sizes
        (sg.train, "batches", "it is sg.train.Batches"),
    ],
)
def test_names_that_are_close_or_stand_elsewhere_are_found(room, name, hint):
    with pytest.raises(AttributeError) as caught:
        getattr(room, name)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("left", "right", "count"),
    [("mean", "mean", 0), ("meen", "mean", 1), ("sqaure", "square", 1), ("inverse", "invert", 2),
     ("exp", "expm1", 2), ("ab", "ba", 1), ("", "a", 1), ("rq", "randint", 3)],
)  # fmt: skip
def test_edits_are_counted(left, right, count):
    assert hints.edits(left, right) == hints.edits(right, left) == count


X0 = np.array([[2.0, 1.0], [0.5, 3.0]])
#: A name of another library -> what its hint says to write, and what the name means.
WRITTEN = {
    "flatten": (lambda x: x.reshape(len(x), -1), X0),
    "aminmax": (lambda x: sg.stack([sg.min(x), sg.max(x)]), [0.5, 3.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_what_hints_of_names_say_is_what_the_name_means(name):
    write, expected = WRITTEN[name]
    np.testing.assert_allclose(sg.evaluate(write(sg.constant(X0))), expected, rtol=1e-12)


@pytest.mark.parametrize("tensor", [False, True], ids=["value", "tensor"])
def test_methods_of_torch_tensors_are_there_or_answered(tensor):
    x = Tensor([[1.0, 2.0]]) if tensor else sg.input("x", (1, 2))
    silent = []
    names = [*hints.METHODS, *(hints.OF_TENSORS if tensor else ())]
    for name in [*names, "exp_", "add_", "zero_", "clamp_", "softmax", "norm", "topk"]:
        try:
            getattr(x, name)
        except AttributeError as error:
            silent += [] if error.hint else [name]
    assert silent == []


def test_the_hint_of_index_finds_an_element():
    x = Tensor([[3.0, 1.0], [2.0, 4.0]])
    with pytest.raises(AttributeError) as caught:
        x.index(2.0)
    assert "x[key]; the place of an element: sg.argmax(x == element)" in caught.value.hint
    assert sg.argmax(x == 2.0).item() == [3.0, 1.0, 2.0, 4.0].index(2.0)


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: sg.optim.LBFGS().minimum(abs, 1.0, data_parallel=True), "opt.minimize"),
        (lambda: Tensor([1.0]).name, r"keep tensors in a dict"),
        (lambda: sg.nn.init, "xavier_uniform"),
        (lambda: sg.nn.Parameter, r"sg\.parameter\(name"),
        (lambda: sg.randn, r"rng\.uniform"),
        (lambda: sg.optim.warmup_cosine, r"warm_up\(sg\.optim\.cosine"),
        (lambda: sg.utils, r"sg\.train\.Batches"),
        (lambda: sg.input("x", (2, 3)).ravel(1), r"x\.flatten"),
        (lambda: sg.input("x", (2, 3, 4)).transpose(1, 2), "swapaxes"),
        (lambda: sg.zeros(3, 4), "one argument"),
        (lambda: sg.compile(sg.input("x", ()) + 1.0, dump="out"), r"sg\.options\(dump="),
    ],
)
def test_what_newcomers_from_torch_typed_is_answered(call, hint):
    with pytest.raises(sg.StaticgradError) as caught:
        call()
    assert re.search(hint, caught.value.hint), caught.value.hint


NET = sg.nn.Sequential(sg.nn.Linear(3, 4), sg.nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: NET.state_dict()["0.weight"], r"torch_state\(\) has PyTorch's names"),
        (lambda: NET[0].weight + np.zeros((4, 2), "float32") @ np.zeros((2, 3), "float32"),
         r"x\.T has the other shape; the weight of a Linear is \(inputs, outputs\)"),
        (lambda: sg.input("x", (5, 3), "float32") @ NET[0].weight.T, r"x @ w of w \(inputs, out"),
        (lambda: setattr(NET[0].weight, "value", np.zeros((4, 3))), r"array\.T fits.*load_torch"),
        (lambda: NET.load_state_dict(NET.torch_state()), r"load_torch\(state\) converts"),
    ],
)  # fmt: skip
def test_names_and_layouts_of_torch_weights_are_said(call, hint):
    with pytest.raises(sg.StaticgradError) as caught:
        call()
    assert re.search(hint, caught.value.hint), caught.value.hint


def test_a_state_is_a_dict_of_arrays():
    state = NET.state_dict()
    assert pickle.loads(pickle.dumps(state)).keys() == state.keys()
    assert sg.tree.map(np.shape, state)["layers.0.weight"] == (3, 4)
    assert state.get("0.weight") is None
    assert "0.weight" not in state
    with pytest.raises(KeyError, match=r"its names are layers\.0\.weight, .*, \.\.\."):
        state["0.weight"]


def test_modules_and_optimizers_have_plain_attribute_errors():
    for owner in (sg.nn.Linear(2, 2), sg.optim.SGD(0.1), sg.optim.cosine(0.1, 9)):
        assert not hasattr(owner, "no_such")
        with pytest.raises(AttributeError, match="has no attribute 'zero_it'"):
            owner.zero_it()
    with pytest.raises(TypeError, match="unsupported operand"):
        sg.nn.Linear(2, 2) * 2
    opt = sg.optim.SGD(0.1, momentum=0.9, max_norm=1.0)
    assert repr(opt) == "SGD(learning_rate=0.1, momentum=0.9, max_norm=1.0)"
    assert repr(sg.optim.Adam(sg.input("rate", ()))) == "Adam(learning_rate=<rate: f32[]>)"


#: What programs get, and do not make; and what takes any keywords, to hand them on.
GIVEN = {
    "BudgetInfeasible", "CheckError", "Compiled", "Epoch", "History", "Module", "Parameter",
    "Samples", "Sequential", "StaticgradError", "StaticgradWarning", "Value", "function",
}  # fmt: skip
ROOMS = {"sg": "staticgrad", "sg.ode": "staticgrad.ode",
         "sg.implicit": "staticgrad.implicit", **_ROOMS}  # fmt: skip


def callables():
    for room, home in ROOMS.items():
        module = import_module(home)
        for name in module.__all__ if room != "sg.checkpoint_policies" else ():
            value = getattr(module, name)
            if callable(value) and not inspect.ismodule(value) and name not in GIVEN:
                yield f"{home}:{name}"


def at(path):
    home, _, name = path.partition(":")
    return getattr(import_module(home), name)


def answer(function):
    """Return the message of a call with an argument that no function has."""
    try:
        function(no_such_argument=1)
    except (UnknownArgumentError, UnknownSettingError) as error:
        return str(error)
    except Exception as error:  # the test shows it
        return repr(error.__class__)
    return "no error"


def test_an_argument_that_a_function_does_not_have_is_named():
    answers = {path: answer(at(path)) for path in callables()}
    assert len(answers) > 500
    assert {p: message for p, message in answers.items() if "no_such_argument" not in message} == {}
    assert [path for path in callables() if not survives_pickling(at(path))] == []
    for function, takes in ((sg.show_config, "it takes no arguments"), (sg.scope, "it takes name")):
        with pytest.raises(UnknownArgumentError) as caught:
            function("a", "b")
        assert takes in str(caught.value)


def survives_pickling(function):
    try:
        return pickle.loads(pickle.dumps(function)) is function
    except (pickle.PicklingError, AttributeError, TypeError):
        return False


@pytest.mark.parametrize("dtype", ["float8", "complex32", 3])
def test_an_unknown_dtype_is_one_error(dtype):
    x = sg.input("x", ("n",), "float32")
    for make in (
        lambda: sg.astype(x, dtype),
        lambda: sg.size_value(x.shape[0], dtype),
        lambda: sg.size_value(3, dtype),
        lambda: sg.zeros((2,), dtype),
        lambda: sg.one_hot(np.arange(2), 3, dtype),
        lambda: sg.input("y", (), dtype),
        lambda: sg.precision(sg.Graph({"y": sg.exp(x)}), dtype=dtype),
    ):
        with pytest.raises(StaticgradError) as caught:
            make()
        assert repr(dtype) in str(caught.value)


X = sg.input("x", (3,), "float32")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sg.hstack(None), "hstack: takes a list"),
        (lambda: sg.vstack(2.0), "vstack: takes a list"),
        (lambda: sg.hstack([]), "hstack: no values"),
        (lambda: sg.column_stack({}), "column_stack: takes a list"),
        (lambda: sg.concatenate(X, X), "concatenate: takes a list"),
        (lambda: sg.switch(0, None), "switch: branches is None"),
        (lambda: sg.associative_scan(None, X), "fn is None, not a function"),
        (lambda: sg.histogram(X, range=2.5), "range=2.5"),
        (lambda: sg.histogram_bin_edges(X, range=("a", "b")), "is not a pair of numbers"),
        (lambda: sg.dim("n", min=None), "min=None is not a whole number"),
        (lambda: sg.dim("n", multiple_of=None), "multiple_of=None is not"),
        (lambda: sg.Graph({"y": sg.exp(X)}, inputs=None), "inputs= is None"),
        (lambda: sg.Graph({"y": sg.exp(X)}, inputs=X), "inputs= is a"),
        (lambda: sg.nn.Linear(3, 2, seed=-1), "seed=-1 is not a seed"),
        (lambda: sg.nn.manual_seed("one"), "seed='one' is not a seed"),
        (lambda: sg.nn.Linear(3, 2, init=[]), r"init=\[\] is unknown"),
        (lambda: sg.nn.GRU(3, None), "GRU: hidden_size None is not an integer"),
    ],
)
def test_an_argument_of_another_kind_is_one_error(make, says):
    with pytest.raises(StaticgradError, match=says) as caught:
        make()
    assert "test_hints.py" in str(caught.value)


def test_a_probe_finds_no_hint_until_its_message_is_read(monkeypatch):
    """``hasattr`` is how tree libraries, pandas and debuggers look at an object."""
    x = sg.input("x", (3,))
    graph = sg.Graph({"y": x * 2.0})
    probed = [
        *(x, sg.parameter("w", np.ones(3)), Tensor([1.0]), x.at, x.at[0], graph, sg.compile(graph)),
        *(sg.function(np.sin), sg.random.Generator(0), sg.nn.Linear(1, 1), sg.optim.SGD(0.1)),
        *(sg, sg.nn, sg.linalg, sg.xp, sg.testing, sg.implicit, sg.scipy),
    ]
    for value in probed:
        hasattr(value, "sqeeze")  # what is imported then stays

    def refuse_search(*_):
        raise AssertionError("a hint was looked for")

    with monkeypatch.context() as patch:
        for name in ("closest", "did_you_mean", "instead_of_method", "instead_of", "call_of"):
            for module in (hints, values, compiler, wording, tensor, random):
                patch.setattr(module, name, refuse_search, raising=False)
        patch.setattr(config, "settings", refuse_search)
        assert [value for value in probed if hasattr(value, "sqeeze")] == []
    with pytest.raises(UnknownAttributeError, match="did you mean 'squeeze'") as caught:
        x.sqeeze  # noqa: B018
    assert len(caught.traceback) == 1  # the user's line


def test_an_error_whose_hint_was_not_read_pickles():
    with pytest.raises(UnknownAttributeError) as caught:
        sg.input("x", (3,)).sqeeze  # noqa: B018
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.hint == caught.value.hint == "did you mean 'squeeze'? "


# -- what a hint says to write runs ---------------------------------------------------------------


def written_into_an_array():
    array, y = np.zeros((3, 3)), sg.input("y", (2, 2), "float64")
    feeds = {"y": np.full((2, 2), 5.0)}
    with pytest.raises(sg.errors.SymbolicValueError, match="a part of an array needs") as caught:
        array[:2, :2] = y
    out = sg.asarray(array)
    out = out.at[:2, :2].set(y)
    array[:2, :2] = feeds["y"]
    return caught, "out = sg.asarray(array), and out = out.at[:2, :2].set(y)", out, feeds, array


def divided_in_place():
    h, x = np.ones(3), sg.input("x", (3,), "float64")
    with pytest.raises(sg.errors.ArgumentError, match="divide: out=") as caught:
        h /= x
    h = h / x
    feeds = {"x": np.array([1.0, 2.0, 4.0])}
    return caught, "h = h / x in place of h /= x", h, feeds, 1.0 / feeds["x"]


def loop_in_a_loop():
    x, n = sg.input("x", (), "float64"), 4

    def powers(**bound):
        def body(i, carry):
            return sg.fori_loop(0, i, lambda j, inner: inner * x, carry, **bound)

        return sg.grad(sg.fori_loop(0, n, body, x), x)

    with pytest.raises(sg.errors.GradientError, match="a loop stores the carries") as caught:
        powers()
    expected = 7 * 1.5**6  # x ** (1 + 0 + 1 + 2 + 3)
    hint = "sg.fori_loop(0, n, body, init, max_steps=100) where n is a value"
    return caught, hint, powers(max_steps=100), {"x": 1.5}, expected


def mask_of_a_run():
    x, mask = sg.input("x", (4, 5), "float64"), sg.input("mask", (5,), "bool")
    with pytest.raises(sg.errors.ArgumentError, match="whose size is only known") as caught:
        x[:, mask]
    feeds = {"x": np.arange(20.0).reshape(4, 5), "mask": np.arange(5) % 2 == 0}
    expected = feeds["x"].copy()
    expected[:, feeds["mask"]] = 0
    return caught, "x.at[:, mask].set(0)", x.at[:, mask].set(0), feeds, expected


def call_without_a_rule():
    x, ones = sg.input("x", (3,), "float64"), np.ones(3)

    def call(x, vjp=None):
        return sg.host_call(np.sin, x, types=((3,), "float64"), vjp=vjp)

    sine = sg.custom_vjp(call)
    sine.rule(lambda ct, out, x: (ct * sg.cos(x),))
    with pytest.raises(sg.errors.GradientError, match="no derivative rule") as caught:
        sg.jvp(sine, x, ones)
    (tangent,) = [sg.jvp(lambda x: call(x, vjp=lambda ct, out, x: (ct * sg.cos(x),)), x, ones)[1]]
    feeds = {"x": np.linspace(0, 1, 3)}
    return caught, "host_call(..., vjp=rule)", tangent, feeds, np.cos(feeds["x"])


@pytest.mark.parametrize(
    "case",
    [
        written_into_an_array,
        divided_in_place,
        loop_in_a_loop,
        mask_of_a_run,
        call_without_a_rule,
    ],
)
def test_what_a_hint_says_runs(case):
    caught, hint, value, feeds, expected = case()
    assert hint in caught.value.hint
    np.testing.assert_allclose(sg.evaluate(value, feeds), expected, rtol=1e-15)
