"""Numbers and containers as people pass them: computed, or one error with the cure."""

import array
import collections
import ctypes
import decimal
from types import MappingProxyType

import numpy as np
import pytest

import staticgrad as sg

NUMBERS = [1.0, 2.0, 4.0]


def sum_of_squares(x):
    return (x * x).sum()


BUFFERS = {
    "memoryview": lambda: memoryview(np.array(NUMBERS)),
    "memoryview, read-only": lambda: memoryview(np.array(NUMBERS).tobytes()).cast("d"),
    "array": lambda: array.array("d", NUMBERS),
    "ctypes": lambda: (ctypes.c_double * 3)(*NUMBERS),
}


@pytest.mark.parametrize("name", BUFFERS)
def test_a_buffer_is_an_array(name):
    f = sg.function(sum_of_squares)
    assert f(BUFFERS[name]()) == f(np.array(NUMBERS)) == 21.0
    assert f.stats.traces == 1
    np.testing.assert_array_equal(sg.grad(sum_of_squares)(BUFFERS[name]()), [2.0, 4.0, 8.0])
    product = sg.function(lambda parts: parts["a"].sum() + parts["b"][0])
    assert product({"a": BUFFERS[name](), "b": np.ones(2)}) == 8.0


def test_a_list_of_numbers_is_a_vector_to_scipys_solvers():
    def rosenbrock(x):
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2

    for start in ([-1.2, 1.0], [-1, np.float64(1.0)]):
        result = sg.scipy.minimize(rosenbrock, start)
        assert isinstance(result.x, np.ndarray)
        np.testing.assert_allclose(result.x, [1.0, 1.0], atol=1e-4)
    lists = sg.scipy.minimize(lambda x: ((x[0] - 1) ** 2).sum() + x[1] ** 2, [np.zeros(2), 3.0])
    np.testing.assert_allclose(lists.x[0], [1.0, 1.0], atol=1e-6)
    assert sg.scipy.root(lambda x: x**2 - 4.0, [1.0]).x == pytest.approx([2.0])


def test_a_value_with_its_gradient_is_refused_as_derivatives_are_computed():
    with pytest.raises(sg.errors.ArgumentError, match="f gives 2 results, not one") as caught:
        sg.scipy.minimize(lambda x: (sum_of_squares(x), 2 * x), np.ones(2), jac=True)
    assert "return the value alone" in caught.value.hint
    assert sg.scipy.minimize(sum_of_squares, np.ones(2), jac=True).fun < 1e-9


def test_classes_of_attrs_are_trees():
    attrs = pytest.importorskip("attrs")

    @attrs.frozen
    class Layer:
        w: object
        b: object = 0.0

    @attrs.define
    class Net:
        layers: list
        name: str = attrs.field(default="net", kw_only=True)

    net = Net([Layer(np.array([1.0, 2.0])), Layer(np.array([3.0]), 4.0)])
    loss = lambda net: sum((layer.w**2).sum() + 3 * layer.b for layer in net.layers)
    slopes = sg.grad(lambda layers: loss(Net(layers)))(net.layers)
    np.testing.assert_array_equal(slopes[0].w, [2.0, 4.0])
    assert slopes[1].b == 3.0
    doubled = sg.tree.map(lambda x: x * 2, net.layers[0])
    assert isinstance(doubled, Layer)
    np.testing.assert_array_equal(doubled.w, [2.0, 4.0])


@pytest.mark.parametrize(
    ("numbers", "cure"),
    [
        ((x for x in NUMBERS), lambda x: np.array(list(x))),
        ([decimal.Decimal("1.5")], lambda x: np.array(x, "float64")),
        (collections.deque([1.0, 2.0]), list),
        ({1.0, 2.0}, list),
        (MappingProxyType({"a": 1.0}), dict),
    ],
    ids=["generator", "Decimal", "deque", "set", "mapping"],
)
def test_what_is_no_container_of_numbers_says_what_to_write(numbers, cure):
    f = sg.function(lambda x: sum(sg.exp(part).sum() for part in sg.tree.leaves(x)))
    with pytest.raises(sg.errors.StaticgradError) as caught:
        f(numbers)
    words = {list: "list(x)", dict: "dict(x)"}.get(cure, "np.array(")
    assert words in caught.value.hint
    assert f(cure([*NUMBERS] if not hasattr(numbers, "__len__") else numbers)) > 0


def test_a_data_frame_with_columns_by_name_is_a_dict_of_them():
    frame = pytest.importorskip("pandas").DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    f = sg.function(lambda columns: (columns["a"] * columns["b"]).sum())
    with pytest.raises(sg.errors.ArgumentError, match="'a' is not an index") as caught:
        f(frame)
    assert "{name: frame[name] for name in frame}" in caught.value.hint
    assert f({name: frame[name] for name in frame}) == 11.0
