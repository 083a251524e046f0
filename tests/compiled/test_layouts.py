"""Feeds and operands in every layout: equal bytes to the contiguous one, and never written."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.language.types.dtype import as_dtype
from tests.compiled.agreement import assert_same
from tests.helpers.limits import NUMPY_DTYPES

DTYPES = [d.numpy for d in NUMPY_DTYPES]  # files and swapped bytes lose the others' names


def numbers(rng, shape, dtype):
    return np.asarray(rng.integers(0, 2 if is_bool(dtype) else 9, shape)).astype(dtype)


def is_bool(dtype):
    return np.dtype(dtype).kind == "b"


def misalign(data):
    """The same elements one byte off their alignment."""
    raw = np.zeros(data.nbytes + 64, np.uint8)
    start = 1 - raw.ctypes.data % 64 + 64 if raw.ctypes.data % 64 > 1 else 1
    view = raw[start % 64 :][: data.nbytes].view(data.dtype).reshape(data.shape)
    view[...] = data
    return view


def layouts(data, folder):
    """``data`` (two axes) laid out in other ways."""
    yield "contiguous", data
    yield "reversed rows", data[::-1].copy()[::-1]
    yield "reversed columns", data[:, ::-1].copy()[:, ::-1]
    yield "both reversed", data[::-1, ::-1].copy()[::-1, ::-1]
    yield "every second column", np.repeat(data, 2, axis=1)[:, ::2]
    yield "every second row", np.repeat(data, 2, axis=0)[::2]
    yield "part of a wider array", np.pad(data, 3)[3:-3, 3:-3]
    yield "Fortran", np.asfortranarray(data)
    yield "misaligned", misalign(data)
    yield "swapped bytes", data.astype(data.dtype.newbyteorder())
    yield "swapped bytes, reversed", data.astype(data.dtype.newbyteorder())[::-1].copy()[::-1]
    frozen = data.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    strided = np.asfortranarray(data)
    strided.flags.writeable = False
    yield "read-only Fortran", strided
    np.save(folder / "feed.npy", data)
    yield "memory-mapped", np.load(folder / "feed.npy", mmap_mode="r")
    yield "memory-mapped Fortran", np.load(folder / "feed.npy", mmap_mode="r").T.copy().T
    yield "a subclass", data.view(np.matrix) if data.ndim == 2 else data
    yield "a buffer", memoryview(np.ascontiguousarray(data))


@pytest.mark.thinned(5)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_feeds_in_any_layout(dtype, rng, tmp_path):
    x = sg.input("x", ("m", "n"), dtype)
    outputs = {"x": x, "flipped": x[::-1, ::-1], "largest": x.T.max(0), "equal": x == x}
    if not is_bool(dtype):
        outputs |= {"sum": x.sum(0), "more": x * x + x}
    f = sg.compile(outputs)
    for shape in ((5, 17), (1, 1), (33, 3), (64, 16)):
        data = numbers(rng, shape, dtype)
        want = {name: array.copy() for name, array in f.run({"x": data}).items()}
        assert np.array_equal(want["x"], data)
        for name, feed in layouts(data, tmp_path):
            bytes_before = np.asarray(feed).tobytes()
            assert_same(f.run({"x": feed}), want, name)
            assert np.asarray(feed).tobytes() == bytes_before, f"{name} was written to"


CASTABLE = {
    "float32": ("float64", "float16", "int64", "int8", "uint64", "bool", ">f8", "longdouble"),
    "float64": ("float32", "float16", "int64", "uint8", "bool", ">f4", "longdouble"),
    "int64": ("int8", "int32", "uint8", "uint32", "bool", ">i4"),
    "int32": ("int64", "int8", "uint16", "bool", ">i8"),
    "uint8": ("uint64", "bool", ">u4"),
}


@pytest.mark.parametrize("dtype", CASTABLE)
def test_feeds_of_another_dtype_are_converted_as_by_numpy(dtype, rng, tmp_path):
    x = sg.input("x", ("m", "n"), dtype)
    f = sg.compile({"x": x, "more": x + 1})
    for source in CASTABLE[dtype]:
        kind = np.dtype(source)
        values = (
            rng.uniform(-300, 300, (5, 17)) if kind.kind == "f" else numbers(rng, (5, 17), kind)
        )
        data = values.astype(kind)
        for name, feed in layouts(data, tmp_path):
            want = data.astype(as_dtype(dtype).numpy)
            assert_same(f.run({"x": feed}), {"x": want, "more": want + 1}, (source, name))


# -- views inside a program ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fuse", [True, False])
def test_batches_of_products_broadcast(fuse, rng):
    shapes = (
        (("p", "q", "m", "k"), ("k", "n")),
        (("m", "k"), ("p", "k", "n")),
        (("p", 1, "m", "k"), ("q", "k", "n")),
        (("p", "m", "k"), ("p", "k", "n")),
        ((1, "m", "k"), (3, "k", "n")),
    )
    outputs, inputs = {}, []
    for number, (left, right) in enumerate(shapes):
        a, b = sg.input(f"a{number}", left, "float32"), sg.input(f"b{number}", right, "float32")
        inputs += [a, b]
        outputs[f"y{number}"] = sg.maximum(a @ b, 0)
        outputs[f"t{number}"] = sg.swapaxes(sg.swapaxes(b, -1, -2) @ sg.swapaxes(a, -1, -2), -1, -2)
    graph = sg.Graph(outputs)
    f = sg.compile(graph, fuse=fuse)
    for sizes in (
        {"p": 2, "q": 3, "m": 5, "k": 7, "n": 33},
        {"p": 1, "q": 1, "m": 1, "k": 1, "n": 1},
        {"p": 3, "q": 2, "m": 97, "k": 3, "n": 9},
        {"p": 0, "q": 2, "m": 4, "k": 3, "n": 2},
        {"p": 2, "q": 2, "m": 4, "k": 0, "n": 2},
        {"p": 2, "q": 0, "m": 0, "k": 3, "n": 0},
    ):
        feeds = {
            v.node.op.label: numbers(rng, tuple(sizes.get(str(n), n) for n in v.shape), "float32")
            for v in inputs
        }
        assert_same(f.run(feeds), sg.evaluate(graph, feeds), sizes)


def test_a_bool_feed_may_hold_any_byte():
    """NumPy's bools can be any byte by way of a view; all but zero are true."""
    x = sg.input("x", (6,), "bool")
    f = sg.compile({"count": x.astype("int32"), "not": ~x, "picked": sg.where(x, 1.0, 2.0)})
    raw = np.array([0, 1, 2, 255, 128, 0], np.uint8).view(bool)
    want = {k: v.copy() for k, v in f.run({"x": raw != 0}).items()}
    actual = f.run({"x": raw})
    assert same_bytes(actual["picked"], want["picked"])
    assert same_bytes(actual["not"].view(np.uint8), want["not"].view(np.uint8))
    assert same_bytes(actual["count"], want["count"])
