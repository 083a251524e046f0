"""Calls of programs with lists of tensors: what native code reads, and what it leaves to Python."""

import gc
import math
import weakref

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.torch.aten import backend

torch = pytest.importorskip("torch")

from staticgrad.torch.calls import TensorCall, TensorFeed  # noqa: E402

FIRST_RUNS = 5  # more than those after which a program has a native entry


def make_call(shape, dtype, order=None, are_guarded=True):
    """A call of a program of one tensor, ``x + x`` in the order of memory."""
    x = sg.input("x", shape, dtype)
    program = sg.compile(sg.Graph({"y": x | x if dtype == "bool" else x + x}))
    return TensorCall(program, [TensorFeed(1, "x", order)], are_guarded)


def run_often(call, tensor):
    """Return the results of several calls with a list of which the second is the tensor."""
    return [call([None, tensor])[0] for _ in range(FIRST_RUNS)]


def is_native(call, tensor):
    return call.run_native([None, tensor]) is not None


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8", "bool"]
)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_native_code_reads_tensors_of_each_type(dtype, shape):
    x = torch.arange(1, 1 + math.prod(shape)) * 3 % 11
    x = x.reshape(shape).to(getattr(torch, dtype))
    call = make_call(shape, dtype)
    expected = (x | x if dtype == "bool" else x + x).float().numpy()
    for result in run_often(call, x):
        np.testing.assert_array_equal(np.asarray(result, "float32"), expected)
    assert is_native(call, x)


def test_axes_in_another_order_in_memory():
    x = torch.arange(24.0).reshape(4, 3, 2).permute(1, 2, 0)
    call = make_call((4, 3, 2), "float32", (2, 0, 1))
    for result in run_often(call, x):
        np.testing.assert_array_equal(result, 2 * x.permute(2, 0, 1).numpy())
    assert is_native(call, x)
    assert not is_native(call, x.contiguous())  # the same tensor in C order in memory


def test_axes_of_one_element_may_have_any_stride():
    x = torch.arange(12.0).reshape(4, 3)[:, None].as_strided((4, 1, 3), (3, 77, 1))
    call = make_call((4, 1, 3), "float32")
    for result in run_often(call, x):
        np.testing.assert_array_equal(result, 2 * x.numpy())
    assert is_native(call, x)


def test_strided_tensors_are_copied_and_then_read_in_native_code():
    rows = torch.arange(12.0).reshape(4, 3)
    call = make_call((4,), "float32")
    for column in (0, 1, 2):
        for result in run_often(call, rows[:, column]):
            np.testing.assert_array_equal(result, 2 * rows[:, column].numpy())
    arguments = [None, rows[:, 1]]
    assert call.run_native(arguments) is not None
    assert arguments[1].stride() == (3,)  # the list has the caller's tensor


class Other(torch.Tensor):
    """A kind of tensor of somebody."""


def test_what_native_code_does_not_read():
    x = torch.arange(6.0)
    call = make_call((6,), "float32")
    run_often(call, x)
    assert is_native(call, x)
    assert is_native(call, torch.nn.Parameter(x))
    unfit = {
        "a class that derives from Tensor": x.as_subclass(Other),
        "other sizes": torch.arange(5.0),
        "another rank": x.reshape(6, 1),
        "another type": x.double(),
        "strides": torch.arange(12.0)[::2],
        "no memory": torch.empty(6, device="meta"),
        "no strides": torch.eye(6).to_sparse()[0],
        "an array": x.numpy(),
        "none": None,
        "misaligned": torch.from_numpy(np.frombuffer(bytearray(32), "f4", 6, offset=1)),
    }
    assert [name for name, tensor in unfit.items() if is_native(call, tensor)] == []
    assert call.run_native([None]) is None  # a list without the argument
    assert call._enter((None, x)) is None  # no list
    assert is_native(call, x)  # errors of PyTorch are no error of a later call


def test_negatives_in_memory_are_read_as_they_are():
    x = torch.tensor([1 + 2j, 3 - 4j]).conj().imag
    assert x.is_neg()
    pair = make_call((2,), "float32", are_guarded=False)
    single = x[:1]  # contiguous, whatever its stride is
    for call, tensors in (
        (pair, (torch.tensor([5.0, 6.0]), x, x.contiguous())),
        (make_call((1,), "float32", are_guarded=False), (torch.tensor([5.0]), single)),
    ):
        for tensor in tensors:
            for result in run_often(call, tensor):
                np.testing.assert_array_equal(result, 2 * tensor.resolve_neg().numpy())


def test_an_index_out_of_range_is_an_error_of_the_run():
    x, k = sg.input("x", (4,), "float32"), sg.input("k", (2,), "int64")
    program = sg.compile(sg.Graph({"y": sg.take(x, k)}))
    call = TensorCall(program, [TensorFeed(0, "x", None), TensorFeed(1, "k", None)], True)
    data = torch.arange(4.0)
    for _ in range(FIRST_RUNS):
        np.testing.assert_array_equal(call([data, torch.tensor([3, 1])])[0], [3.0, 1.0])
    with pytest.raises(sg.errors.IndexOutOfRange):
        call([data, torch.tensor([3, 4])])
    np.testing.assert_array_equal(call([data, torch.tensor([0, 2])])[0], [0.0, 2.0])


def test_results_of_a_call_are_not_those_of_the_next():
    call = make_call((500,), "float32")  # of more bytes than NumPy's cache has
    results = [call([None, torch.full((500,), float(k))])[0] for k in range(12)]
    assert [result[7] for result in results] == [2.0 * k for k in range(12)]


def compile_noting(f):
    """Return ``f`` compiled by the backend, and the notes of its graphs."""
    notes = []

    def compile_graph(graph, example):
        return backend.compile_dynamo_graph(graph, example, {}, notes.append)

    return torch.compile(f, backend=compile_graph), notes


def calls_of(notes):
    """The calls of all programs that were compiled."""
    runs = [run for note in notes for part in note.runs for run in part._run_by_kinds.values()]
    runs += [part._run_for_all for note in notes for part in note.runs if part._run_for_all]
    return [run._call for run in runs if run._call is not None]


@pytest.fixture
def count_python(monkeypatch):
    """Count the runs in Python from here on: a list with an element for each."""
    runs, run = [], TensorCall._run_in_python

    def run_counted(self, arguments):
        runs.append(self)
        return run(self, arguments)

    monkeypatch.setattr(TensorCall, "_run_in_python", run_counted)
    return runs


@pytest.mark.parametrize("dynamic", [False, True])
def test_steps_of_training_run_in_native_code(count_python, dynamic):
    net = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.LayerNorm(8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    )
    notes = []

    def compile_graph(graph, example):
        return backend.compile_dynamo_graph(graph, example, {}, notes.append)

    f = torch.compile(net, backend=compile_graph, dynamic=dynamic)
    x = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0))
    for _ in range(2 * FIRST_RUNS):
        del count_python[:]
        net.zero_grad()
        f(x)[:, 0].square().sum().backward()  # a strided cotangent
    assert not count_python
    slopes = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    net(x)[:, 0].square().sum().backward()
    for slope, parameter in zip(slopes, net.parameters(), strict=True):
        torch.testing.assert_close(slope, parameter.grad)


def test_negative_cotangents():
    x = torch.ones(1, requires_grad=True)
    f, notes = compile_noting(lambda x: x.sin())
    negative = torch.tensor([1 + 2j]).conj().imag
    assert negative.is_neg()
    for _ in range(FIRST_RUNS):
        for cotangent in (torch.ones(1), negative):
            (slope,) = torch.autograd.grad(f(x), x, cotangent)
            torch.testing.assert_close(slope, cotangent.resolve_neg() * x.detach().cos())
    assert len(calls_of(notes)) == 2


def test_views_are_saved_by_their_base():
    def f(x, w):
        rows = (x @ w).tanh()  # of which all parts are read by the backward pass
        return rows[0] * rows[1] * rows[2].sin(), (x[0] * x[1]).sum()

    x, w = (torch.randn(3, 3, requires_grad=True) for _ in range(2))
    compiled, notes = compile_noting(f)
    actual, expected = compiled(x, w), f(x, w)
    torch.testing.assert_close(actual, expected)
    slopes = [torch.autograd.grad(sum(y.sum() for y in ys), (x, w)) for ys in (actual, expected)]
    torch.testing.assert_close(*slopes)
    forward = next(note for note in notes if note.kind == "forward").runs[0]
    assert not any(forward._views)
    saved = forward.graph.graph.output_node().args[0][2:]
    assert [list(node.meta["val"].shape) for node in saved] == [[3, 3]] * len(saved)


def test_results_are_dropped_with_their_last_reference():
    x = torch.randn(4, requires_grad=True)
    f, _ = compile_noting(lambda x: x.exp().detach().sin() * x.exp())
    for _ in range(FIRST_RUNS):
        y = f(x)
        dropped = weakref.ref(y)
        del y
        gc.disable()
        assert dropped() is None
        gc.enable()
