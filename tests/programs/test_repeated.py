"""Calls that repeat an earlier one are found by types and shapes; results are those of others."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.language.types.arrays import is_constant, over_bytes, viewer_of


def calls(f, *every):
    """Call twice with each arguments, so that the second call repeats one; the second results."""
    results = [[f(*args, **named) for args, named in every] for _ in range(3)]
    return results[-1]


X = np.arange(6.0).reshape(2, 3)


def test_a_number_of_a_default_has_its_value_again():
    f = sg.function(lambda x, c=0.1: x * c)
    results = calls(f, ((X,), {"c": 0.2}), ((X,), {"c": 0.3}), ((X,), {}), ((X, 0.5), {}))
    for result, c in zip(results, (0.2, 0.3, 0.1, 0.5), strict=True):
        np.testing.assert_array_equal(result, X * c)


def test_numbers_by_name_in_any_order():
    f = sg.function(lambda x, a=1.0, b=2.0: x * a - b)
    for a, b in ((1.0, 1.0), (2.0, 3.0), (4.0, 5.0), (6.0, 7.0)):
        np.testing.assert_array_equal(f(X, a=a, b=b), X * a - b)
        np.testing.assert_array_equal(f(X, b=b, a=a), X * a - b)
        np.testing.assert_array_equal(f(X, b, a), X * b - a)
        np.testing.assert_array_equal(f(b=b, a=a, x=X), X * a - b)
    options = sg.function(lambda x, **named: x * named["c"])
    for c in (0.2, 0.3, 0.4, 0.5):
        np.testing.assert_array_equal(options(X, c=c), X * c)


def test_new_numbers_repeat_a_call_and_python_needs_others():
    f = sg.function(lambda x, c: x * c)
    for c in (0.1, 0.2, 0.3, 0.4):
        np.testing.assert_array_equal(f(X, c), X * c)
    assert f.stats.traces == 2
    g = sg.function(lambda x, n, c: sum([x] * n) * c)
    for n, c in ((2, 0.5), (3, 0.25), (2, 0.75), (3, 0.5)):
        np.testing.assert_allclose(g(X, n, c), X * n * c)
    divided = sg.function(lambda x, c: x + 1 / c)
    for c in (1.0, 2.0, 4.0):
        divided(X, c)
    with pytest.raises(ZeroDivisionError):
        divided(X, 0.0)


def test_kinds_of_numbers_and_zeros_are_apart():
    f = sg.function(lambda x, c: x / c, static="c")
    with np.errstate(all="ignore"):
        for c in (0.0, -0.0, 1, 1.0, True):
            np.testing.assert_array_equal(f(X, c), X / c)
            np.testing.assert_array_equal(f(X, c), X / c)
    first = sg.function(lambda pair, flag: pair[0] if flag else pair[1])
    for flag in (True, False, True):
        np.testing.assert_array_equal(first((X, X + 1), flag), X if flag else X + 1)


@pytest.mark.filterwarnings(r"ignore:\[SG900\]")  # containers change at every call
def test_containers_names_and_order():
    def f(tree, y=None):
        total = tree["a"][0] - 2 * tree["b"] if "a" in tree else tree["c"]
        return {"sum": total if y is None else total + y}

    run = sg.function(f)
    trees = {"a": [X], "b": X + 1}, {"b": X + 1, "a": [X]}, {"a": (X,), "b": X}, {"c": X}
    every = [((tree,), {}) for tree in trees] + [((tree,), {"y": X}) for tree in trees]
    for result, (args, named) in zip(calls(run, *every), every, strict=True):
        np.testing.assert_array_equal(result["sum"], f(*args, **named)["sum"])
    difference = sg.function(lambda a, b: a - b)
    for _ in range(3):
        np.testing.assert_array_equal(difference(b=X, a=X + 2), np.full((2, 3), 2.0))
        np.testing.assert_array_equal(difference(a=X, b=X + 2), np.full((2, 3), -2.0))


def test_an_array_around_it_is_looked_at():
    around = np.ones(3)
    f = sg.function(lambda x: x * around)
    calls(f, ((X,), {}))
    around[:] = 2
    np.testing.assert_array_equal(f(X), X * 2)


def test_tensors_and_values_are_not_arrays():
    f, slopes = sg.function(lambda x: (x**2).sum()), sg.grad(lambda x: (x**2).sum())
    calls(f, ((X,), {}))
    calls(slopes, ((X,), {}))
    tensor = Tensor(X, requires_grad=True)
    assert isinstance(f(tensor), Tensor)
    f(tensor).backward()
    np.testing.assert_array_equal(tensor.grad.data, 2 * X)
    value = sg.input("x", X.shape, "float64")
    np.testing.assert_array_equal(sg.compile(slopes(value)).run({"x": X}), 2 * X)
    with sg.eager_mode():
        assert isinstance(slopes(X), Tensor)
    np.testing.assert_array_equal(slopes(X), 2 * X)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_arrays_of_another_library_are_read_in_place(name):
    library = pytest.importorskip(name)
    of = library.from_numpy if name == "torch" else library.numpy.asarray
    x, w = X.astype("float32"), np.ones((3, 2), "float32")
    f = sg.function(lambda tree: (tree["x"] @ tree["w"]).sum())
    foreign = {"x": of(x), "w": of(w)}
    program = sg.compile(sg.input("x", (2, 3), "float32") * 2)
    for _ in range(5):
        assert f(foreign) == f({"x": x, "w": w}) == 2 * x.sum()
        np.testing.assert_array_equal(program.run({"x": of(x)}), 2 * x)
    assert f.stats.traces == 1
    assert program._executor._entry.runs >= 1  # in native code
    if name == "torch":
        with pytest.raises(sg.StaticgradError, match="detach"):
            f({"x": of(x).requires_grad_(), "w": of(w)})
        foreign["x"][:] = 0
        assert f(foreign) == 0


def test_classes_of_arrays_of_other_libraries():
    class Array:
        __array__ = __dlpack__ = None

    class Own(Tensor):
        pass

    assert viewer_of(Array) is not None
    assert [viewer_of(kind) for kind in (Own, np.float32, float, list, np.matrix)] == [None] * 5


def test_memory_that_nothing_writes():
    numbers = np.arange(6.0).reshape(2, 3)
    frozen = over_bytes(numbers)
    np.testing.assert_array_equal(frozen, numbers)
    assert is_constant(frozen)
    assert is_constant(frozen[0])
    with pytest.raises(ValueError, match="WRITEABLE"):
        frozen.flags.writeable = True
    numbers.flags.writeable = False
    assert not is_constant(numbers)  # its owner may write it again
    memory = np.frombuffer(memoryview(bytearray(16)).toreadonly())
    assert not memory.flags.writeable
    assert not is_constant(memory)
