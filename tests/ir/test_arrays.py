"""Every door for arrays takes the same kinds, reads the same numbers, and refuses the same ones."""

from itertools import product

import numpy as np
import pandas
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import MaskedArrayError, StaticgradError
from staticgrad.language.types.arrays import array_of
from staticgrad.train import Batches
from tests.helpers.cases import check_all

NUMBERS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "float32")
OTHER = np.arange(6.0, dtype="float32").reshape(3, 2)


# Doors: what takes an array of shape [3, 2], and gives the numbers that it has read.


def _run(feed):
    return sg.compile(sg.input("x", (3, 2)) * 1.0).run({"x": feed})


def _assign(data):
    w = sg.parameter("w", OTHER)
    w.value = data
    return w.value


def _parse(data):
    text = "staticgrad-ir 1 graph g() params(@w: f32[3, 2]) { return y = @w }"
    (w,) = sg.parse(text, parameters={"w": data}).parameters
    return w.value


def _differentiate(data):
    x = sg.input("x", (3, 2))
    return sg.evaluate(sg.grad(x * 1.0, x, seed=data), {})


def _index(data):
    steps = array_of(data).astype(int) if not isinstance(data, np.ma.MaskedArray) else data
    return sg.evaluate(sg.constant(np.arange(9.0))[steps], {})


def _data(data):
    tensor = Tensor(OTHER)
    tensor.data = data
    return tensor.data


def _grad(data):
    tensor = Tensor(OTHER, requires_grad=True)
    tensor.grad = data
    return tensor.grad


DOORS = {
    "feed of run": _run,
    "feed of evaluate": lambda feed: sg.evaluate(sg.input("x", (3, 2)) * 1.0, {"x": feed}),
    "parameter": lambda data: sg.parameter("w", data).value,
    "value of a parameter": _assign,
    "parameter of a text": _parse,
    "constant": lambda data: sg.evaluate(sg.constant(data), {}),
    "operand": lambda data: sg.evaluate(sg.input("x", (3, 2)) + data, {"x": OTHER * 0}),
    "operand of NumPy": lambda d: sg.evaluate(np.add(sg.input("x", (3, 2)), d), {"x": OTHER * 0}),
    "operand of a product": lambda d: sg.evaluate(sg.constant(np.eye(3, dtype="f4")) @ d, {}),
    "seed": _differentiate,
    "index": _index,
    "Tensor": lambda data: Tensor(data).data,
    "Tensor.data": _data,
    "Tensor.grad": _grad,
    "operand of a Tensor": lambda data: (Tensor(OTHER * 0) + data).data,
    "Batches": lambda data: Batches(data).arrays[0],
    "result of host_call": lambda data: sg.compile(
        sg.host_call(lambda _: data, sg.constant(np.float32(0)), types=((3, 2), "float32"))
    ).run(),
}


# Kinds: ways to write the six numbers down. A door may ask for float32 exactly.


class Subclass(np.ndarray):
    """An array that says nothing wrong."""


class Liar(np.ndarray):
    """An array that is wrong about itself."""

    shape = property(lambda self: (10**7, 2))
    dtype = property(lambda self: np.dtype("complex128"))
    strides = property(lambda self: (0, 0))
    size = property(lambda self: 1)

    def __array__(self, *args, **kwargs):
        raise AssertionError("an array is read in memory")


class Protocol:
    """An object that follows NumPy's protocol."""

    def __array__(self, dtype=None, copy=None):
        return NUMBERS.copy()


class Lent:
    """An object that lends its memory by DLPack only."""

    def __dlpack__(self, **options):
        return NUMBERS.__dlpack__(**options)

    def __dlpack_device__(self):
        return NUMBERS.__dlpack_device__()


KINDS = {
    "array": NUMBERS.copy,
    "Fortran": lambda: np.asfortranarray(NUMBERS),
    "strided": lambda: np.repeat(NUMBERS, 2, axis=0)[::2],
    "other byte order": lambda: NUMBERS.astype(">f4"),
    "read-only": lambda: np.broadcast_to(NUMBERS, (3, 2)),
    "subclass": lambda: NUMBERS.view(Subclass),
    "liar": lambda: NUMBERS.view(Liar),
    "matrix": lambda: NUMBERS.view(np.matrix),
    "parameter's value": lambda: sg.parameter("p", NUMBERS).value,
    "protocol": Protocol,
    "DLPack": Lent,
    "buffer": lambda: memoryview(NUMBERS.copy()),
    "DataFrame": lambda: pandas.DataFrame(NUMBERS, columns=["a", "b"]),
    "nullable": lambda: pandas.DataFrame(NUMBERS).astype("Float32"),
    "mixed columns": lambda: pandas.DataFrame(
        {"a": pandas.array(NUMBERS[:, 0], dtype="Float32"), "b": NUMBERS[:, 1]}
    ),
}


@pytest.mark.slow
def test_every_door_reads_every_kind():
    def check(door, kind):
        actual = DOORS[door](KINDS[kind]())
        assert np.array_equal(np.asarray(actual), NUMBERS)

    check_all(check, product(DOORS, KINDS))


REFUSED = {
    "masked": lambda: np.ma.masked_array(NUMBERS, NUMBERS > 5),
    "without a mask": lambda: np.ma.masked_array(NUMBERS),
    "subclass of masked": lambda: NUMBERS.view(type("Own", (np.ma.MaskedArray,), {})),
}


def test_every_door_refuses_masked_arrays():
    def check(door, kind):
        with pytest.raises(MaskedArrayError, match="is a masked array, and no kernel reads"):
            DOORS[door](REFUSED[kind]())

    check_all(check, product(DOORS, REFUSED))


class Attached:
    """An array like a tensor of PyTorch that needs a gradient."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use detach()")


def test_every_door_says_why_there_is_no_array():
    def check(door):
        with pytest.raises(StaticgradError, match=r"is not an array: .*requires grad\. Use detach"):
            DOORS[door](Attached())

    check_all(check, zip(sorted(DOORS.keys() - {"index"})))


# Output arrays are written, so they have to be arrays.


def program():
    return sg.compile(sg.input("x", ("n", 2)) * 2.0)


def test_an_output_array_that_is_wrong_about_itself_is_not_written_beyond_its_end():
    class Longer(np.ndarray):
        shape = property(lambda self: (3, 2))

    memory = np.zeros(100, "float32")
    with pytest.raises(StaticgradError, match=r"has shape \(3,\)"):
        program().run({"x": NUMBERS}, out=memory[:3].view(Longer))
    assert not memory.any()


def test_masked_output_arrays_are_refused():
    with pytest.raises(MaskedArrayError, match="the array for output"):
        program().run({"x": NUMBERS}, out=np.ma.masked_array(np.zeros((3, 2), "float32")))
    with pytest.raises(MaskedArrayError, match="masked array"):
        _ = np.ma.masked_array(NUMBERS, NUMBERS > 5) * sg.input("x", (3, 2))
