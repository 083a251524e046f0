"""The walk back over the tape: seeds, accumulation, release, hooks, depth, modes, mutation."""

import gc
import threading
import weakref

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import (
    Tensor,
    clip_grad_norm,
    detect_mutation,
    enable_grad,
    grad,
    no_grad,
)
from staticgrad.errors import DisconnectedError, OpDefinitionError, TapeError
from tests.ops.messages import assert_each_raises


def leaf(*data):
    return Tensor(list(data), requires_grad=True)


def test_seeds():
    x = leaf(1.0, 2.0, 3.0)
    (x * x).sum().backward()
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [2.0, 4.0, 6.0]
    x = leaf(4.0)
    x.backward()
    assert x.grad.tolist() == [1.0]
    x = leaf(1.0, 2.0)
    y = x * 3.0
    with pytest.raises(ValueError, match="seed"):
        y.backward()
    for wrong in (np.ones(3), np.ones((2, 1)), 1.0, Tensor(np.ones((1, 2)))):
        with pytest.raises(ValueError, match="shape"):
            y.backward(wrong)
    assert x.grad is y.grad is None
    y.backward(np.array([1.0, 10.0]))  # and the tape is still there
    assert x.grad.tolist() == [3.0, 30.0]


def test_gradients_add_up_over_paths_and_calls():
    x = leaf(3.0)
    y = x * 2.0
    z = y * y + y + x
    z.backward()
    assert x.grad.tolist() == [2 * 2 * 6 + 2 + 1]
    gradient = x.grad
    (x * 1.0).backward()
    assert x.grad.tolist() == [28.0]
    assert gradient.tolist() == [27.0]  # the array that somebody may hold is left alone
    x.zero_grad()
    assert x.grad is None


def test_interior_tensors_get_gradients_if_they_retain_them():
    x = leaf(1.0, 2.0)
    y = x * 3.0
    z = sg.nn.relu(y - 4.0)
    total = z.sum()
    total.backward(retain_graph=True)
    assert total.grad is z.grad is y.grad is None
    x.zero_grad()
    for tensor in (total, z, y, x):
        tensor.retain_grad()
    with pytest.raises(ValueError, match="retain"):
        Tensor([1.0]).retain_grad()
    total.backward()
    assert [t.grad.tolist() for t in (total, z, y, x) if t.grad is not None] == [
        1.0, [1.0, 1.0], [0.0, 1.0], [0.0, 3.0],
    ]  # fmt: skip


def test_a_released_tape_is_an_error_that_changes_nothing():
    x, w = leaf(1.0), leaf(5.0)
    y = x * 2.0
    first, second = y * y, sg.tanh(y) * w
    first.backward()
    assert x.grad is not None
    gradients = [t.grad.copy() if t.grad is not None else None for t in (x, y, w, first, second)]
    for _ in range(2):
        for again in (first, second):  # the second one was never walked over, but its operand was
            with pytest.raises(RuntimeError, match="released"):
                again.backward()
        now = [t.grad for t in (x, y, w, first, second)]
        assert [None if g is None else g.tolist() for g in now] == [
            None if g is None else g.tolist() for g in gradients
        ]
    part = w * w  # what was not released still works
    part.backward()
    assert w.grad.tolist() == [10.0]


def test_a_rule_that_fails_changes_nothing():
    x = leaf(1.0, 2.0)
    y = x * 2.0
    handle = y.register_hook(lambda g: np.ones(3))
    z = (y * y).sum()
    with pytest.raises(OpDefinitionError):
        z.backward(retain_graph=True)
    assert x.grad is None
    handle.remove()
    z.backward(retain_graph=True)  # nothing was released: it works
    gradient = x.grad.copy()
    y.register_hook(lambda g: np.ones(3))
    with pytest.raises(OpDefinitionError):
        z.backward()
    with pytest.raises(TapeError, match="released"):  # the walk has let go of what it went over
        z.backward()
    assert x.grad.tolist() == gradient.tolist()


def test_a_gradient_that_does_not_fit_is_refused():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    wrong = [np.ones(3, np.float32), np.ones((2, 2), np.float32), 1.0, np.ones(2)]
    for gradient in wrong:
        with pytest.raises((sg.errors.ShapeError, sg.errors.DTypeError), match="gradient"):
            b.grad = gradient
    with pytest.raises(ValueError, match="carries no gradient"):
        Tensor([1], dtype="int64").grad = np.ones(1, np.int64)
    b.grad = np.ones(2, np.float32)
    (a * b).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([3.0, 4.0], [2.0, 3.0])
    b.data = np.ones((3, 2), np.float32)  # the gradient that is set no longer fits
    total = (a * b).sum()
    for _ in range(2):
        with pytest.raises(sg.errors.ShapeError, match="is set on a tensor"):
            total.backward()
        assert a.grad.tolist() == [3.0, 4.0]
    b.zero_grad()
    total.backward()
    assert a.grad.tolist() == [6.0, 7.0]


def test_hooks_see_and_replace_gradients():
    x = leaf(1.0, 2.0)
    y = x * 3.0
    y.retain_grad()
    seen = []
    y.register_hook(lambda g: seen.append(g.data.tolist()))
    doubled = y.register_hook(lambda g: g * 2.0)
    leafs = x.register_hook(lambda g: seen.append(np.asarray(g).tolist()))
    (y * y + y).sum().backward(retain_graph=True)  # two paths, one call
    assert seen == [[7.0, 13.0], [42.0, 78.0]]
    assert y.grad.tolist() == [14.0, 26.0]
    assert x.grad.tolist() == [42.0, 78.0]
    doubled.remove()
    leafs.remove()
    leafs.remove()
    x.grad = None
    (y * y + y).sum().backward()
    assert x.grad.tolist() == [21.0, 39.0]
    assert len(seen) == 3
    with pytest.raises(ValueError, match="hook"):
        Tensor([1.0]).register_hook(print)


DEPTH = 10_000


@pytest.mark.slow
def test_deep_chains_need_no_recursion():
    x = leaf(1.0, 2.0)
    y = x
    for _ in range(DEPTH):
        y = y + x
    y.sum().backward()
    assert x.grad.tolist() == [DEPTH + 1.0] * 2
    for _ in range(DEPTH):
        y = y * 1.0
    del y  # a tape that nobody walked over dies as deep as it is


def test_a_tape_dies_with_its_result_without_the_collector():
    x = leaf(1.0, 2.0)
    y = sg.nn.softmax(x * 2.0)
    node = weakref.ref(y)
    gc.disable()
    try:
        del y
        assert node() is None
        z = (x * x).sum()
        z.backward()
        reference = weakref.ref(z)
        del z
        assert reference() is None
    finally:
        gc.enable()


def test_modes():
    x = leaf(1.0)

    @no_grad()
    def double(v):
        return v * 2.0

    with no_grad():
        assert not (x * 2.0).requires_grad
        with enable_grad():
            assert (x * 2.0).requires_grad
        assert not (x * 2.0).requires_grad
    assert not double(x).requires_grad
    assert (x * 2.0).requires_grad
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert (x * 2.0).requires_grad
    x = leaf(1.0)
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2.0).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_writing_in_place_is_allowed_where_no_mutation_is_looked_for():
    w = leaf(1.0, 2.0)
    (w * w).sum().backward()
    with no_grad():
        assert w.grad is not None
        w.data -= 0.5 * w.grad
    assert w.data.tolist() == [0.0, 0.0]
    x = leaf(1.0)
    y = x * x
    x.data = np.array([5.0], np.float32)
    y.backward()
    with detect_mutation():
        y = x * x
    x.data = np.array([6.0, 7.0], np.float32)
    with pytest.raises(TapeError, match="changed"):
        y.backward()


@pytest.mark.parametrize("what", ["operand 1", "operand 2", "the result"])
def test_mutation_between_forward_and_backward_is_found(what):
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with detect_mutation():
        y = x * w
    {"operand 1": x, "operand 2": w, "the result": y}[what].data[0] = 9.0
    with pytest.raises(RuntimeError, match=f"mul: the data of {what} changed") as caught:
        y.backward(np.ones(2))
    assert "test_backward.py" in str(caught.value)
    assert "y = x * w" in str(caught.value)
    assert x.grad is w.grad is y.grad is None


def test_gradients_as_values():
    x, w = leaf(2.0), leaf(5.0)
    y = x * x * w
    assert [g.item() for g in grad(y, [x, w], retain_graph=True)] == [20.0, 4.0]
    assert grad(y, x).item() == 20.0
    assert x.grad is w.grad is None
    with pytest.raises(TapeError):
        grad(y, x)
    x = Tensor(2.0, True, "float64")
    y = x**5
    expected = [80.0, 160.0, 240.0, 240.0, 120.0]
    for order in expected:
        y = grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(order)
    assert not grad(sg.exp(x), x).requires_grad
    x = leaf(1.0, 2.0)
    y = x * 3.0
    z, t = y * y, sg.exp(x)
    by_y, by_x = grad([z, t], [y, x], [np.ones(2), None if t.size == 1 else np.ones(2)])
    np.testing.assert_allclose(by_y.data, 2 * y.data)
    np.testing.assert_allclose(by_x.data, 18 * x.data + np.exp(x.data), rtol=1e-6)


def test_grad_never_invents_a_zero():
    x, w = leaf(1.0), leaf(1.0)
    y = x * 2.0
    with pytest.raises(DisconnectedError):
        grad(y, [x, w], retain_graph=True)
    assert grad(y, [x, w], allow_disconnected=True)[1].item() == 0.0
    assert_each_raises(
        (ValueError, "require", lambda: grad(x * 2.0, Tensor([1.0]))),
        (ValueError, "seeds", lambda: grad([x * 2.0], x, [1.0, 1.0])),
        (ValueError, "shape", lambda: grad(x * 2.0, x, np.ones(2))),
    )


def test_clip_grad_norm():
    a, b, c = leaf(1.0), leaf(1.0, 1.0), leaf(0.0)
    a.grad, b.grad = np.array([3.0], np.float32), np.array([0.0, 4.0], np.float32)
    assert clip_grad_norm([a, b, c], 10.0) == pytest.approx(5.0)
    assert b.grad.tolist() == [0.0, 4.0]
    assert clip_grad_norm([a, b, c], 1.0) == pytest.approx(5.0)
    np.testing.assert_allclose(np.concatenate([a.grad, b.grad]), [0.6, 0.0, 0.8], rtol=1e-6)
    assert c.grad is None
    a.grad = np.array([np.inf], np.float32)
    with np.errstate(all="raise"):
        clip_grad_norm([a, b], 1.0)
    with pytest.raises(ValueError, match="max_norm"):
        clip_grad_norm([a], 0.0)
    assert clip_grad_norm([c], 1.0) == 0.0


def test_one_nan_among_gradients_makes_all_of_them_nan():
    a, b = leaf(1.0), leaf(1.0, 1.0)
    a.grad, b.grad = np.array([np.nan], np.float32), np.array([0.5, 0.25], np.float32)
    assert np.isnan(clip_grad_norm([a, b], 1.0))
    assert np.isnan(a.grad).all()
    assert np.isnan(b.grad).all()


def test_hooks_get_the_numbers_of_one_element_after_the_other():
    """Also where the gradients of all elements could be computed together."""
    x = Tensor(np.arange(1.0, 10.0), requires_grad=True)
    squares = x * x
    largest = []

    def scale(ct):
        largest.append(float(np.abs(ct.data).max()))
        return ct * largest[-1]

    squares.register_hook(scale)
    actual = sg.jacobian(squares * np.arange(1.0, 10.0), x)
    assert largest == [float(k) for k in range(1, 10)]
    expected = np.diag(2.0 * np.arange(1.0, 10.0) ** 3)
    np.testing.assert_allclose(actual.data, expected, rtol=1e-14)
