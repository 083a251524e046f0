"""Layers, losses and data against NumPy written by hand."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import (
    BCE,
    GELU,
    MSE,
    CrossEntropy,
    DataLoader,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Module,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    Tensor,
    TensorDataset,
    manual_seed,
)


def test_linear() -> None:
    layer = Linear(3, 2)
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    assert layer.bias is not None
    np.testing.assert_allclose(
        layer(Tensor(x)).data, x @ layer.weight.data + layer.bias.data, rtol=1e-5
    )
    assert np.abs(layer.weight.data).max() <= 1 / np.sqrt(3)
    assert [p.shape for p in layer.parameters()] == [(3, 2), (2,)]
    assert len(Linear(3, 2, bias=False).parameters()) == 1
    assert Linear(3, 2, dtype="float64").weight.data.dtype == np.float64


def test_first_values_follow_from_the_seed() -> None:
    def first() -> list[np.ndarray]:
        return [p.data for p in Sequential(Linear(3, 3), Linear(3, 3)).parameters()]

    manual_seed(5)
    one = first()
    other = first()
    manual_seed(5)
    again = first()
    for a, b, c in zip(one, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert not np.array_equal(one[0], one[2])


def test_modules_find_their_parameters_once() -> None:
    class Net(Module):
        def __init__(self) -> None:
            self.shared = Linear(2, 2)
            self.blocks = [self.shared, Sequential(Linear(2, 1), ReLU())]
            self.scale = Tensor([1.0], requires_grad=True)
            self.constant = Tensor([1.0])

        def forward(self, x: Any) -> Any:
            return self.blocks[1](self.shared(x)) * self.scale

    net = Net()
    assert [p.shape for p in net.parameters()] == [(1,), (2, 2), (2,), (2, 1), (1,)]
    net(Tensor(np.ones((3, 2)))).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert not net.eval().shared.training
    assert net.train().blocks[1].training
    with pytest.raises(ValueError, match="forward"):
        Module()(1)


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (ReLU(), sg.nn.relu), (Sigmoid(), sg.sigmoid), (Tanh(), sg.tanh), (GELU(), sg.nn.gelu),
        (Softmax(), sg.nn.softmax), (LayerNorm(3), sg.nn.layer_norm),
    ],
)  # fmt: skip
def test_activations_are_the_functions_of_the_package(layer: Module, function: Any) -> None:
    x = Tensor([[-2.0, 0.5, 3.0]])
    np.testing.assert_allclose(layer(x).data, function(x).data, rtol=1e-6)


#: Layer -> its values at -inf, -1000, 1000 and inf.
LIMITS = (
    (ReLU(), [0.0, 0.0, 1000.0, np.inf]),
    (Sigmoid(), [0.0, 0.0, 1.0, 1.0]),
    (Tanh(), [-1.0, -1.0, 1.0, 1.0]),
    (GELU(), [0.0, 0.0, 1000.0, np.inf]),
)


@pytest.mark.parametrize(("layer", "expected"), LIMITS)
def test_activations_far_out(layer: Module, expected: list[float]) -> None:
    x = Tensor([-np.inf, -1e3, 1e3, np.inf], requires_grad=True)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        y = layer(x)
        y.backward(np.ones(4))
    assert y.data.tolist() == expected
    assert x.grad is not None
    slope = 1.0 if expected[3] == np.inf else 0.0
    assert x.grad[:3].tolist() == [0.0, 0.0, slope]


def test_softmax_and_losses_far_out() -> None:
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        far = Tensor([[-1e3, 1e3, -np.inf]], requires_grad=True)
        assert Softmax()(far).data.tolist() == [[0.0, 1.0, 0.0]]
        loss = CrossEntropy()(far, [1])
        loss.backward()
        assert loss.item() == 0.0
        assert far.grad is not None
        assert far.grad.tolist() == [[0.0, 0.0, 0.0]]
        assert CrossEntropy()(far, [0]).item() == 2000.0
        p = Tensor([0.0, 1.0, 0.5], requires_grad=True)
        loss = BCE()(p, Tensor([1.0, 0.0, 1.0]))
        loss.backward()
        assert loss.item() == pytest.approx((100 + 100 + np.log(2)) / 3, rel=1e-6)
        assert p.grad is not None
        assert p.grad.tolist() == pytest.approx([0.0, 0.0, -2 / 3], rel=1e-6)
        z = Tensor([-1e3, 1e3], requires_grad=True)
        assert BCE(logits=True)(z, Tensor([1.0, 1.0])).item() == 500.0
        assert MSE()(Tensor([1e3]), Tensor([-1e3])).item() == 4e6


def test_losses() -> None:
    rng = np.random.default_rng(0)
    p, t = rng.uniform(0.1, 0.9, 5), np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    x = Tensor(p, dtype="float64")
    expected = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
    assert BCE()(x, Tensor(t, dtype="float64")).item() == pytest.approx(expected)
    assert MSE()(x, Tensor(t, dtype="float64")).item() == pytest.approx(np.mean((p - t) ** 2))
    logits = rng.normal(size=(4, 3))
    labels = np.array([0, 2, 1, 1])
    picked = logits[np.arange(4), labels] - np.log(np.exp(logits).sum(1))
    for given in (labels, labels.tolist(), Tensor(labels), Tensor(labels, dtype="int64")):
        loss = CrossEntropy()(Tensor(logits, dtype="float64"), given)
        assert loss.item() == pytest.approx(-picked.mean())
    with pytest.raises(TypeError, match="whole"):
        CrossEntropy()(Tensor(logits), [0.5, 0, 0, 0])
    with pytest.raises(IndexError):
        CrossEntropy()(Tensor(logits), [0, 1, 2, 3])


def test_embedding_adds_up_gradients_of_equal_ids() -> None:
    table = Embedding(5, 2)
    out = table(np.array([[1, 1], [4, 1]]))
    np.testing.assert_array_equal(out.data, table.weight.data[[[1, 1], [4, 1]]])
    out.sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad[:, 0].tolist() == [0.0, 3.0, 0.0, 0.0, 1.0]
    assert table(Tensor([1.0, 2.0])).shape == (2, 2)


def test_dropout_drops_in_training_only() -> None:
    layer = Dropout(0.25, seed=1)
    x = Tensor(np.ones(4000), requires_grad=True)
    y = layer(x)
    kept = y.data != 0
    assert 0.7 < kept.mean() < 0.8
    np.testing.assert_allclose(y.data[kept], 1 / 0.75, rtol=1e-6)
    y.backward(np.ones(4000))
    np.testing.assert_array_equal(x.grad, y.data)
    assert not np.array_equal(layer(x).data, y.data)
    np.testing.assert_array_equal(Dropout(0.25, seed=1)(x).data, y.data)
    assert layer.eval()(x) is x


def test_data_loader() -> None:
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    plain = list(DataLoader((x, y), batch_size=4))
    assert [batch[0].shape for batch in plain] == [(4, 2), (4, 2), (2, 2)]
    assert plain[0][0].data.dtype == np.float32
    assert plain[0][1].data.dtype == np.int64
    np.testing.assert_array_equal(np.concatenate([b[1].data for b in plain]), y)

    def orders(seed: int) -> list[list[int]]:
        loader = DataLoader(TensorDataset(x, y), 4, shuffle=True, seed=seed)
        assert len(loader) == 3
        return [[int(i) for _, labels in loader for i in labels.data] for _ in range(2)]

    first = orders(1)
    assert first == orders(1)
    assert first != orders(2)
    assert first[0] != first[1]
    assert sorted(first[0]) == list(range(10))
    for rows, labels in DataLoader((x, y), 3, shuffle=True):
        np.testing.assert_array_equal(rows.data[:, 0], 2.0 * labels.data)
    assert list(DataLoader((x[:0], y[:0]), 3)) == []
    for wrong in (
        lambda: DataLoader((x, y), 0),
        lambda: TensorDataset(),
        lambda: TensorDataset(x, y[1:]),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            wrong()


def test_a_module_shows_what_it_is_made_of():
    model = Sequential(Linear(3, 4, bias=False), Tanh(), LayerNorm(4))
    text = repr(model)
    assert text.startswith("Sequential(layers=[Linear(weight: float")
    assert "[3, 4]), Tanh(), LayerNorm(gain: " in text
    assert "eps=1e-05" in text
    assert "0x" not in text
