"""Tensors as arrays: what they store, their operators, methods and conversions."""

import copy
import pickle

import numpy as np
import pytest
import scipy.linalg

import staticgrad as sg
from staticgrad.eager import Tensor, no_grad
from tests.helpers.limits import NUMPY_DTYPES
from tests.ops.messages import assert_each_raises


@pytest.mark.parametrize("dtype", NUMPY_DTYPES, ids=str)
def test_an_array_has_the_dtype_and_the_values_that_a_constant_has(dtype):
    largest = np.array([0, 1, 2**53 + 1 if dtype.itemsize == 8 else 2**7 - 1]).astype(dtype.numpy)
    for array in (
        largest,
        largest[2],
        largest[:, None].T,
        largest.astype(dtype.numpy.newbyteorder()),
    ):
        assert Tensor(array).dtype == sg.constant(array).dtype == dtype
        np.testing.assert_array_equal(Tensor(array).numpy(), array)
    assert Tensor([largest, largest]).dtype == Tensor(Tensor(largest)).dtype == dtype
    assert Tensor([*largest]).dtype == dtype


@pytest.mark.parametrize("data", [3, True, [1, 2], [True], [np.int8(1)], np.ones(2, ">i2")])
def test_other_numbers_of_python_are_what_they_are_in_a_graph(data):
    assert Tensor(data).dtype == sg.constant(data).dtype


def test_data_are_a_copy_and_may_be_assigned():
    source = np.ones(3, np.float32)
    x = Tensor(source)
    source[0] = 5
    assert x.data[0] == 1
    assert Tensor(x).data is not x.data
    x = Tensor([1.0, 2.0])
    x.data = [[1.0, 2.0, 3.0]]
    assert x.shape == (1, 3)
    assert (x + 1.0).data.tolist() == [[2.0, 3.0, 4.0]]
    odd = np.array([0, 2, 255], np.uint8).view(bool)
    assert Tensor(odd).astype("int64").sum().item() == 2


def test_refuses_what_is_no_number():
    assert_each_raises(
        (sg.errors.DTypeError, None, lambda: Tensor([1.0], dtype="complex32")),
        (sg.errors.DTypeError, None, lambda: Tensor(["a"])),
        (ValueError, "no gradient", lambda: Tensor([1], requires_grad=True, dtype="int64")),
    )


def test_a_copy_loses_no_gradient_without_a_word():
    t, u = Tensor(1.0, requires_grad=True), Tensor(2.0)
    for lossy in ([t, u], [[u], [t]], (t,), t * 2.0):
        with pytest.raises(sg.errors.GradientError, match="would be lost"):
            Tensor(lossy)
    assert Tensor([u, u.item()]).tolist() == [2.0, 2.0]
    assert Tensor(t.detach()).item() == 1.0
    with no_grad():
        assert Tensor([t, u]).tolist() == [1.0, 2.0]


def test_requiring_a_gradient_is_checked():
    for dtype in ("int64", "bool", "uint8"):
        with pytest.raises(sg.errors.GradientError, match="carries no gradient"):
            Tensor([1], dtype=dtype).requires_grad = True
    x = Tensor([1.0], requires_grad=True)
    y = x * 2.0
    y.requires_grad = True
    with pytest.raises(sg.errors.GradientError, match="result of a recorded operation"):
        y.requires_grad = False
    seen = []
    x.register_hook(seen.append)
    x.requires_grad = False
    assert not (x * 2.0).requires_grad
    x.requires_grad = True
    (x * 2.0).backward()
    assert len(seen) == 1  # hooks come back with it


def test_attributes():
    x = Tensor(np.zeros((2, 3)), requires_grad=True)
    assert (x.shape, x.size, x.ndim, x.T.shape) == ((2, 3), 6, 2, (3, 2))
    assert x.requires_grad
    assert x.grad is None
    assert x.grad_fn is None
    assert x.numpy() is x.data
    assert Tensor(2.5).item() == 2.5
    assert not x.detach().requires_grad
    assert x.detach().data is x.data
    assert len(x) == 2
    assert [row.shape for row in x] == [(3,), (3,)]
    assert float(Tensor(2.5)) == 2.5
    assert int(Tensor(2.5)) == 2
    assert bool(Tensor(1.0))
    assert not Tensor(0.0)
    assert np.asarray(x.detach()).shape == (2, 3)
    assert x.tolist() == [[0.0] * 3] * 2
    with pytest.raises(ValueError, match="size 1"):
        x.item()


#: Ways in which another library takes the elements of a tensor without its gradient.
TAKEN = {
    "asarray": np.asarray,
    "array": lambda x: np.array(x, "float64"),
    "det": scipy.linalg.det,
    "assignment": lambda x: np.zeros((2, 2)).__setitem__(..., x),
}


@pytest.mark.parametrize("take", TAKEN.values(), ids=TAKEN)
@pytest.mark.parametrize("recorded", [False, True], ids=["leaf", "result"])
def test_a_gradient_is_not_lost_in_silence(take, recorded):
    x = Tensor(np.eye(2) + np.ones((2, 2)), requires_grad=True)
    value = x * 2 if recorded else x
    with pytest.raises(sg.errors.GradientError, match="the gradient would be lost") as raised:
        take(value)
    assert "x.detach()" in raised.value.hint
    take(value.detach())
    take(Tensor(value.data))
    with no_grad():
        take(value)


def test_no_gradient_of_complex_numbers_is_lost_either():
    z = Tensor([[2.0 + 1.0j]], requires_grad=True)
    with pytest.raises(sg.errors.GradientError, match=r"scipy\.linalg\.det converts"):
        scipy.linalg.det(z)
    assert scipy.linalg.det(z.detach()) == 2.0 + 1.0j


def test_a_complex_gradient_adds_up_until_it_is_forgotten():
    z = Tensor([3.0 + 4.0j, -1.0j], requires_grad=True, dtype="complex128")
    unit = np.conj(z.data) / abs(z.data)  # of abs: dL/dre - i dL/dim
    for times in (1, 2):
        sg.abs(z).sum().backward()
        np.testing.assert_allclose(z.grad, times * unit, rtol=1e-15)
    z.zero_grad()
    assert z.grad is None
    (z.real * 2.0).sum().backward()  # one part alone has a gradient
    np.testing.assert_array_equal(z.grad, [2.0, 2.0])
    z.zero_grad()
    (z.imag * 2.0).sum().backward()
    np.testing.assert_array_equal(z.grad, [-2.0j, -2.0j])


@pytest.mark.parametrize("factor", [1.0 + 2.0j, 3.0j, 2.0 + 0.0j])
def test_complex_results_of_which_a_part_is_zero_have_all_members(factor):
    x = Tensor([0.5, -2.0], requires_grad=True, dtype="float64")
    z = x * factor
    expected = np.array([0.5, -2.0]) * factor
    assert z.requires_grad
    assert z.grad_fn is not None
    assert z.grad is None
    z.zero_grad()
    plain = z.detach()
    assert not plain.requires_grad
    for value in (z.data, plain.data, np.asarray(plain)):
        np.testing.assert_array_equal(value, expected)
    for part, array in ((z.real, expected.real), (z.imag, expected.imag)):
        np.testing.assert_array_equal(part.data, array)
    assert "requires_grad=True" in repr(z)
    sg.abs(z).sum().backward()
    np.testing.assert_allclose(x.grad, abs(factor) * np.sign(x.data), rtol=1e-15)


def test_dlpack_gives_no_recorded_tensor():
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(sg.errors.GradientError, match="the gradient would be lost"):
        np.from_dlpack(x * x)
    np.testing.assert_array_equal(np.from_dlpack((x * x).detach()), [1.0, 4.0])


def test_the_error_names_the_function_that_keeps_the_gradient():
    x = Tensor([[2.0, 1.0], [0.5, 3.0]], requires_grad=True, dtype="float64")
    with pytest.raises(sg.errors.GradientError) as raised:
        (x * scipy.linalg.det(x)).sum()
    assert "scipy.linalg.det converts a tensor" in str(raised.value)
    assert "sg.linalg.det" in raised.value.hint
    (x * sg.linalg.det(x)).sum().backward()
    # d/dx of sum(x) * (x00 x11 - x01 x10): det + sum(x) * cofactor, by hand.
    np.testing.assert_allclose(x.grad, 5.5 + 6.5 * np.array([[3.0, -0.5], [-1.0, 2.0]]))


def test_numbers_that_are_asked_for_by_name_need_no_detach():
    x = Tensor([3.0], requires_grad=True)[0]
    assert (float(x), int(x), x.item(), x.tolist(), f"{x:.2f}") == (3.0, 3, 3.0, 3.0, "3.00")
    assert x.numpy() == x.data == 3.0


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
def test_a_leaf_is_copied_whole_and_a_result_refuses(copied):
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    copied_tensor = copied(x)
    assert (type(copied_tensor), copied_tensor.requires_grad, copied_tensor.grad_fn) == (
        Tensor,
        True,
        None,
    )
    assert copied_tensor.data is not x.data
    np.testing.assert_array_equal(copied_tensor.data, x.data)
    np.testing.assert_array_equal(copied_tensor.grad, [2.0, 4.0])
    (copied_tensor * 3).sum().backward()
    np.testing.assert_array_equal(copied_tensor.grad, [5.0, 7.0])
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])
    assert not copied(x.detach()).requires_grad
    with pytest.raises(sg.errors.GradientError, match="without its operands"):
        copied(x * x)
    np.testing.assert_array_equal(copied((x * x).detach()).data, [1.0, 4.0])


def test_a_shallow_copy_stays_on_the_tape():
    x = Tensor([1.0, 2.0], requires_grad=True)
    copy.copy(x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])


OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("number", [2, 2.0, 0.5, np.float32(3), np.array([2.0, 3.0], np.float32)])
def test_operators_with_numbers_on_either_side(operator, number):
    apply = OPERATORS[operator]
    a = np.array([1.5, 4.0], np.float32)
    x = Tensor(a)
    for actual, expected in (
        (apply(x, number), apply(a, number)),
        (apply(number, x), apply(number, a)),
        (apply(x, Tensor(number)), apply(a, np.float32(number))),
    ):
        assert isinstance(actual, Tensor)
        assert actual.data.dtype == expected.dtype
        np.testing.assert_allclose(actual.data, expected, rtol=1e-6)


def test_operands_that_do_not_meet():
    with pytest.raises(sg.errors.ShapeError, match="test_tensor") as caught:
        Tensor([1.0, 2.0]) + Tensor([1.0, 2.0, 3.0])
    assert "operand 1" in str(caught.value)
    with pytest.raises(ValueError, match="inner sizes"):
        Tensor(np.ones((2, 3))) @ Tensor(np.ones((2, 3)))
    x = sg.input("x", (1,))
    for meet in (lambda t: t + x, lambda t: x * t, lambda t: sg.where(x > 0.0, t, t)):
        with pytest.raises(TypeError, match="two kinds") as caught:
            meet(Tensor([1.0]))
        assert "sg.parameter(name, t.data)" in str(caught.value)
    x = Tensor([1.0, 2.0])
    for make_array in (sg.arange, sg.zeros, sg.ones, sg.eye):
        with pytest.raises(TypeError, match="two kinds") as caught:
            x + make_array(x.shape[0])
        assert caught.value.hint.startswith("with sg.eager_mode(): ")
        with sg.eager_mode():
            assert isinstance(x + make_array(x.shape[0]), Tensor)


def test_shapes():
    a = np.arange(24.0).reshape(2, 3, 4)
    x = Tensor(a)
    assert x.reshape(4, -1).shape == x.reshape((4, 6)).shape == (4, 6)
    np.testing.assert_array_equal(x.transpose().data, a.transpose())
    np.testing.assert_array_equal(x.transpose(0, 1).data, a.swapaxes(0, 1))
    np.testing.assert_array_equal(x.transpose((2, 0, 1)).data, a.transpose(2, 0, 1))
    np.testing.assert_array_equal(x.transpose(2, 0, 1).data, a.transpose(2, 0, 1))
    np.testing.assert_array_equal(x.permute(2, 0, 1).data, a.transpose(2, 0, 1))
    np.testing.assert_array_equal(x.permute((2, 0, 1)).data, a.transpose(2, 0, 1))
    np.testing.assert_array_equal(x.T.data, a.T)
    assert Tensor([1.0, 2.0]).transpose().shape == (2,)
    np.testing.assert_array_equal(x[0, ::2, 1:].data, a[0, ::2, 1:])
    np.testing.assert_array_equal(x[..., -1].data, a[..., -1])
    np.testing.assert_array_equal(x[[1, 0]].data, a[[1, 0]])
    np.testing.assert_array_equal(x[np.array([0, 1]), [2, 0]].data, a[[0, 1], [2, 0]])


def test_a_notebook_shows_what_a_tensor_is_and_its_gradient():
    x = Tensor([1.5, 2.0], requires_grad=True)
    assert ">grad<" not in x._repr_html_()
    (x * x).sum().backward()
    html = x._repr_html_()
    assert ">grad<" in html
    assert "[3., 4.]" in html
    assert ">grad_fn<" in (x * x)._repr_html_()
