"""``sg.tree``: functions of values as functions of containers, modules too."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError


def test_a_step_of_a_module_is_a_module():
    """Its functions are not leaves; the gradient by it is built as it is."""
    model = sg.nn.Sequential(sg.nn.Linear(2, 3, dtype="float64"), sg.tanh, sg.nn.Dropout(0.0))
    x = np.random.default_rng(0).normal(size=(4, 2))

    def loss(model, x):
        return (model(x) ** 2).sum()

    def after(x):
        slopes = sg.grad(loss)(model, x)
        assert slopes.layers[1] is sg.tanh
        return loss(sg.tree.map(lambda p, slope: p - 0.1 * slope, model, slopes), x)

    weight, bias = (p.value for p in model.parameters())
    y = np.tanh(x @ weight + bias)
    back = 2 * y * (1 - y * y)
    expected = (np.tanh(x @ (weight - 0.1 * x.T @ back) + bias - 0.1 * back.sum(0)) ** 2).sum()
    f = sg.function(after)
    assert f(x) == pytest.approx(expected, rel=1e-12)
    assert f.eagerly(x) == pytest.approx(expected, rel=1e-12)
    leaves, tree = sg.tree.flatten({"model": model, "other": (None, 1)})
    assert [getattr(leaf, "shape", leaf) for leaf in leaves] == [(2, 3), (3,), 1]
    again = sg.tree.unflatten(tree, [1, 2, 3])
    assert (again["model"].layers[0].bias, again["other"]) == (2, (None, 3))
    assert again["model"].layers[2] is not model.layers[2]
    assert sg.tree.leaves(model) == model.parameters()


def test_trees_that_differ_are_refused():
    with pytest.raises(ArgumentError, match="differently"):
        sg.tree.map(max, {"a": 1}, {"b": 1})
    with pytest.raises(ArgumentError, match="f is a function"):
        sg.tree.map({"a": 1}, {"a": 1})
    with pytest.raises(ArgumentError, match="takes 2 leaves, not 1"):
        sg.tree.unflatten(sg.tree.flatten([1, 2])[1], [1])
    with pytest.raises(ArgumentError, match="list"):
        sg.tree.unflatten([1, 2], [1])
