"""Functions by rows: one node on the tape, the same values and gradients, what is kept."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import nn
from staticgrad.eager import Tensor, grad
from staticgrad.eager.rowwise import RowsNode
from staticgrad.functions.rowwise import Rowwise
from staticgrad.nn.functional.losses import basic as basic_losses

#: More bytes than one block has, in float32 and in float64; rows that blocks do not divide.
ROWS, WIDTH = 1_001, 24


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


HEADS = (37, 4, 16, 12)
#: Function -> operands, those cut first; those that need no gradient are integers.
CALLS = {
    "gelu": (sg.nn.gelu, (normal(ROWS, WIDTH),), {}),
    "gelu by tanh": (sg.nn.gelu, (normal(ROWS, WIDTH),), {"approximate": True}),
    "silu": (sg.nn.silu, (normal(ROWS, WIDTH),), {}),
    "softplus": (sg.nn.softplus, (normal(ROWS, WIDTH),), {}),
    "elu": (sg.nn.elu, (normal(ROWS, WIDTH), 0.5), {}),
    "softmax": (sg.nn.softmax, (normal(ROWS, WIDTH),), {}),
    "log_softmax": (sg.nn.log_softmax, (normal(ROWS, WIDTH), -1), {}),
    "layer_norm": (sg.nn.layer_norm, (normal(ROWS, 3, 8), normal(8), normal(8)), {}),
    "rms_norm": (sg.nn.rms_norm, (normal(ROWS, WIDTH), normal(WIDTH)), {}),
    "attention": (
        sg.nn.attention, (normal(*HEADS), normal(*HEADS) + 1, normal(*HEADS) - 1), {"causal": True}
    ),
    "surprise": (
        basic_losses._surprise,
        (normal(ROWS, WIDTH), np.random.default_rng(0).integers(0, WIDTH, ROWS)),
        {},
    ),
}  # fmt: skip
every_call = pytest.mark.parametrize("name", CALLS)


def operands(name, dtype):
    return [
        Tensor(x, x.dtype.kind == "f", dtype if x.dtype.kind == "f" else x.dtype)
        if isinstance(x, np.ndarray)
        else x
        for x in CALLS[name][1]
    ]


def leaves(args):
    return [arg for arg in args if isinstance(arg, Tensor) and arg.requires_grad]


@every_call
def test_it_is_one_node_with_the_same_values_and_gradients(name):
    function, _, kwargs = CALLS[name]
    args, others = operands(name, "float64"), operands(name, "float64")
    out = function(*args, **kwargs)
    plain = function.by_rows.function(*others, **kwargs)
    assert isinstance(out.grad_fn, RowsNode)
    assert not isinstance(plain.grad_fn, RowsNode)
    np.testing.assert_array_equal(out.data, plain.data)
    weight = normal(*out.shape)
    gradients = grad(out, leaves(args), weight)
    expected = grad(plain, leaves(others), weight)
    for ours, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_blocks_of_any_number_of_rows(rows, extra):
    """A row alone may have more bytes than a block; the last block may be full, or one row."""
    block = 1 << 16
    for shape in ((rows, block // 8 + 8 + extra), (2 * rows + extra, block // 16)):
        x = normal(*shape)
        tensor = Tensor(x, True, "float64")
        out = sg.nn.softmax(tensor)
        powers = np.exp(x - x.max(1, keepdims=True))
        expected = powers / powers.sum(1, keepdims=True)
        np.testing.assert_allclose(out.data, expected, rtol=1e-12)
        weight = normal(*shape)
        slope = expected * (weight - (expected * weight).sum(1, keepdims=True))
        np.testing.assert_allclose(grad(out, tensor, weight).data, slope, rtol=1e-9, atol=1e-16)


def test_every_function_by_rows_was_tried():
    functions = [
        *vars(nn).values(),
        *vars(basic_losses).values(),
        *(getattr(sg.nn, name) for name in dir(sg.nn)),
    ]
    declared = {f for f in functions if isinstance(getattr(f, "by_rows", None), Rowwise)}
    assert declared == {function for function, _, _ in CALLS.values()}
