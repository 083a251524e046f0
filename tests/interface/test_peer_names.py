"""Names of NumPy, PyTorch and SciPy: the pages say what differs, and one call runs in both."""

import json
from importlib.util import find_spec

import numpy as np
import pytest

import staticgrad as sg
from tests import numpy_names as table, peer_names
from tests.helpers.cases import check_all

ACTIVATIONS = [
    "relu", "relu6", "selu", "silu", "mish", "softsign", "hardsigmoid", "hardswish",
    "sigmoid", "tanh", "gelu", "softplus", "hardtanh", "elu", "celu",
    "leaky_relu",
]  # fmt: skip
#: Function of both -> a call that PyTorch and staticgrad read alike.
CALLS = {
    **dict.fromkeys(ACTIVATIONS, "f(x)"),
    **dict.fromkeys(["softmax", "log_softmax", "glu"], "f(x, -1)"),
    **dict.fromkeys(["elu", "celu", "leaky_relu"], "f(x, 0.3)"),
    "hardtanh": "f(x, -0.5, 0.25)",
    "prelu": "f(x, w6)",
    **dict.fromkeys(["cross_entropy", "nll_loss"], "f(x, labels, w6)"),
    **dict.fromkeys(["l1_loss", "smooth_l1_loss"], "f(x, sign)"),
    "kl_div": "f(x, half, reduction='sum')",
    "binary_cross_entropy_with_logits": "f(x, half)",
    "binary_cross_entropy": "f(half, half)",
    "triplet_margin_loss": "f(x, half, sign, 0.7, 2.0)",
    **dict.fromkeys(["cosine_similarity", "pairwise_distance"], "f(x, half)"),
    "normalize": "f(images, 3.0)",
    "embedding": "f(labels, x)",
    "one_hot": "f(labels, 9)",
    "local_response_norm": "f(images, 3, 0.5)",
    "group_norm": "f(images, 2, w4, w4)",
    "instance_norm": "f(images, weight=w4, bias=w4)",
    "pixel_shuffle": "f(images, 2)",
    "pixel_unshuffle": "f(images, 2)",
    "grid_sample": "f(images, grid, 'nearest', align_corners=True)",
    "affine_grid": "f(cube[:2, :2, :3], (2, 4, 6, 6), False)",
}


def make_arrays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 6))
    return {
        "x": x,
        "half": rng.uniform(0.1, 0.9, size=(5, 6)),
        "sign": np.sign(rng.normal(size=(5, 6))),
        "labels": np.array([0, 3, 1, 4, 2]),
        "bags": np.array([[0, 1], [2, 4]]),
        "cube": rng.normal(size=(5, 6, 6)),
        "images": rng.normal(size=(2, 4, 6, 6)),
        "grid": rng.uniform(-1.0, 1.0, size=(2, 3, 3, 2)),
        **{f"w{n}": rng.uniform(0.5, 1.5, size=n) for n in (4, 5, 6)},
    }


@pytest.mark.skipif(not peer_names.IS_ABOUT_THE_INSTALLED, reason="about another SciPy")
def test_the_page_is_up_to_date():
    assert peer_names.PAGE.read_text("utf-8") == peer_names.page()


@pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch")
def test_the_signatures_are_those_of_torch():
    assert json.loads(peer_names.SIGNATURES.read_text("utf-8")) == peer_names.read_torch()


def test_one_call_gives_the_same_in_torch():
    torch = pytest.importorskip("torch")
    arrays = make_arrays()
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}

    def check(name):
        theirs = eval(CALLS[name], {"f": getattr(torch.nn.functional, name), **tensors})
        ours = eval(CALLS[name], {"f": getattr(sg.nn, name), **arrays})
        np.testing.assert_allclose(sg.evaluate(ours), theirs.numpy(), rtol=1e-6, atol=1e-9)

    check_all(check, zip(CALLS))


def test_another_spelling_names_ours():
    x, labels = np.ones((2, 3)), np.array([0, 1])
    for call, word in (
        (lambda: sg.nn.cross_entropy(logits=x, labels=labels), "input"),
        (lambda: sg.nn.nll_loss(x, labels=labels), "target"),
        (lambda: sg.nn.group_norm(x, groups=1), "num_groups"),
        (lambda: sg.nn.one_hot(labels, classes=3), "num_classes"),
        (lambda: sg.optim.Adam(epsilon=1e-8), "eps"),
        (lambda: sg.implicit.fixed_point(sg.cos, 1.0, tolerance=1e-3), "tol"),
    ):
        with pytest.raises(sg.StaticgradError) as caught:
            call()
        assert f"write {word}=" in caught.value.hint


@pytest.mark.slow
@pytest.mark.skipif(not np.__version__.startswith("2.4."), reason="the page is about NumPy 2.4")
def test_the_page_of_numpy_is_up_to_date():
    assert table.PAGE.read_text("utf-8") == table.page()


ELEMENTWISE = [n for n in table.covered_functions() if isinstance(getattr(np, n), np.ufunc)]


def test_numpys_own_functions_build_nodes():
    """Every ufunc, on floats or else on integers: of values what it is of arrays."""

    def check(name):
        ufunc = getattr(np, name)
        last = None
        for dtype in ("float64", "int32"):
            arrays = [np.array([1, 2, 3]).astype(dtype), np.array([2, 1, 3]).astype(dtype)][
                : ufunc.nin
            ]
            if ufunc.signature:
                arrays = [np.ones((3, 3)) for _ in arrays]
            try:
                with np.errstate(all="ignore"):
                    expected = ufunc(*arrays)
            except TypeError as error:
                last = error
                continue
            x = sg.input("x", arrays[0].shape, arrays[0].dtype)
            values = ufunc(x, *arrays[1:])
            values = values if isinstance(values, tuple) else (values,)
            expected = expected if isinstance(expected, tuple) else (expected,)
            for value, array in zip(values, expected, strict=True):
                actual = sg.evaluate(value, {"x": arrays[0]})
                np.testing.assert_allclose(actual, array, rtol=1e-12, equal_nan=True)
            return
        raise AssertionError(last)

    check_all(check, zip(ELEMENTWISE))
