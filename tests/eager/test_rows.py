"""Jacobians of tensors: rows of a batch by one walk have the numbers of one walk for each row."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Function, Tensor, checkpoint, rowwise
from staticgrad.errors import DisconnectedError

RNG = np.random.default_rng(0)
SQUARE = RNG.normal(size=(12, 12))


def tensor(*shape):
    return Tensor(RNG.normal(size=shape), requires_grad=True, dtype="float64")


class Cubed(Function):
    """A rule of the user's, over numbers."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 3.0 * x * x


def stacked(h, each):
    h = sg.tanh(h + each)
    return h, h * each


FUNCTIONS = {
    "layers": lambda x: sg.tanh(sg.tanh(x @ SQUARE) @ SQUARE[:, :10]),
    "branches": lambda x: sg.where(x > 0, sg.log(sg.abs(x)), x * x),
    "rows": lambda x: sg.nn.softmax(x.reshape(4, 3)),
    "inverse": lambda x: sg.linalg.inv(x[:9].reshape(3, 3) + 4 * np.eye(3)),
    "slices": lambda x: sg.cumsum(sg.sort(x))[::-1] * x[1],
    "scan": lambda x: sg.scan(stacked, x[0], x)[1],
    "wide": lambda x: sg.concatenate([x[:8] * x[0], sg.sin(x[:8]), x]),
    "kept": lambda x: checkpoint(lambda y: sg.sin(y) * y, x),
}


@pytest.mark.thinned(8)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_of_a_batch_are_those_of_single_walks(name, monkeypatch):
    f, x = FUNCTIONS[name], tensor(12)
    found = []
    for fewest, most in ((2, 1 << 20), (2, 1), (1000, 1)):
        monkeypatch.setattr(rowwise, "FEWEST", fewest)
        monkeypatch.setattr(rowwise, "MOST", most)
        matrices = [sg.jacobian(f, mode=mode)(x) for mode in (None, "reverse", "forward")]
        again = sg.jacobian(f(x), x)
        found.append([*matrices, again, sg.grad((again * again).sum(), x)])
    for several in found[:2]:
        for one, other in zip(several, found[-1], strict=True):
            assert isinstance(one, Tensor)
            np.testing.assert_allclose(one.data, other.data, rtol=1e-12, atol=1e-13)


def test_hooks_and_rules_of_numbers_see_one_row_after_the_other():
    x, seen = tensor(9), []
    h = sg.sin(x)
    h.register_hook(lambda ct: seen.append(ct.data.copy()))
    np.testing.assert_allclose(sg.jacobian(h * 2.0, x).data, 2 * np.diag(np.cos(x.data)))
    np.testing.assert_array_equal(seen, 2 * np.eye(9))
    found = sg.jacobian(lambda x: Cubed.apply(x), mode="reverse")(x)
    np.testing.assert_allclose(found.data, np.diag(3 * x.data**2))


def test_what_nothing_depends_on():
    x, z = tensor(9), tensor(2)
    y = sg.sin(x)
    with pytest.raises(DisconnectedError, match="jacobian: no differentiable path"):
        sg.jacobian(y, [x, z], mode="reverse")
    for mode in ("reverse", "forward"):
        by_x, by_z = sg.jacobian(y, [x, z], mode=mode, allow_disconnected=True)
        np.testing.assert_allclose(by_x.data, np.diag(np.cos(x.data)))
        np.testing.assert_array_equal(by_z.data, np.zeros((9, 2)))
        nothing = sg.jacobian(Tensor(np.ones(9)), x, mode=mode, allow_disconnected=True)
        np.testing.assert_array_equal(nothing.data, np.zeros((9, 9)))
