"""Kernels that differ in numbers alone are one kernel, and results are those of the numbers."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.lowering.numbers import FEWEST, with_shared_kernels
from tests.exporting.libraries import module_of

X = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")


def written_out(levels):
    """A sampler whose steps are written out, each with other numbers."""
    x, w = sg.input("x", X.shape, "float32"), sg.parameter("w", np.eye(5, dtype="float32"))
    for level in levels:
        x = x * float(np.sqrt(1 - level)) + sg.tanh(x @ w) * float(np.sqrt(level)) / (1.5 + level)
    return x


def kernels_of(schedule):
    return {step.kernel for step in schedule.steps}


def constants_of(schedule):
    return [buffer for buffer in schedule.buffers if buffer.role == "constant"]


def test_the_steps_of_a_sampler_are_one_kernel():
    levels = np.linspace(0.05, 0.6, 12)
    program = sg.compile(written_out(levels))
    assert len(program.kernels) < len(levels) // 2
    expected = X.astype("float64")
    for level in levels:
        expected = expected * np.sqrt(1 - level) + np.tanh(expected) * np.sqrt(level) / (
            1.5 + level
        )
    np.testing.assert_allclose(program.run({"x": X}), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [FEWEST - 1, FEWEST])
def test_few_kernels_keep_their_numbers(count):
    x = sg.input("x", X.shape, "float32")
    value = x
    for k in range(count):
        value = value[::-1] * (1.5 + k) + 0.25
    schedule = fuse(sg.Graph(value))
    shared = with_shared_kernels(schedule)
    assert len(kernels_of(schedule)) == count
    assert len(kernels_of(shared)) == (1 if count >= FEWEST else count)
    assert (shared is schedule) == (count < FEWEST)


def test_common_numbers_stay_literals_and_equal_ones_are_one_element():
    x = sg.input("x", X.shape, "float32")
    value = x
    for k in range(6):
        value = (value[::-1] * (1.5 + k) + 0.25) * (1.5 + k)
    schedule = with_shared_kernels(fuse(sg.Graph(value)))
    (kernel,), (numbers,) = kernels_of(schedule), constants_of(schedule)
    assert "f32(0.25)" in kernel.text
    assert numbers.data.array.tolist() == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert [step.operands[-1].offset for step in schedule.steps] == [0, 1, 2, 3, 4, 5]


def each_of(numbers, change):
    """Return the results of a change of X by each number: a kernel for each, and at last one."""
    inputs = [sg.input(f"x{k}", X.shape, "float32") for k in range(len(numbers))]
    values = {
        f"y{k}": change(x, *constants)
        for k, (x, constants) in enumerate(zip(inputs, numbers, strict=True))
    }
    program = sg.compile(sg.Graph(values))
    assert len(program.kernels) == 1
    return [*program.run({x.name: X for x in inputs}).values()]


def test_zeros_of_both_signs_infinities_and_nan_are_different_numbers():
    numbers = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0 / 3.0]
    actual = each_of([(number,) for number in numbers], lambda x, number: x / number)
    for array, number in zip(actual, numbers, strict=True):
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(array, X / np.float32(number))


def test_zeros_of_both_signs_are_two_elements():
    pairs = [(0.0, -0.0), (3.0, 3.0), (5.0, 5.0), (7.0, 7.0)]
    actual = each_of(pairs, lambda x, a, b: sg.where(x > 1.0, x / a, 1.0 / (x * b)))
    for array, (a, b) in zip(actual, pairs, strict=True):
        with np.errstate(all="ignore"):
            below = np.float32(1) / (X * np.float32(b))
            np.testing.assert_array_equal(array, np.where(X > 1, X / np.float32(a), below))


def test_numbers_of_two_element_types_stay_literals():
    x = sg.input("x", X.shape, "float32")
    numbers = [(0.1 + k, 0.3 + 2 * k) for k in range(FEWEST + 1)]
    values = {f"y{k}": (x[::-1] * a).astype("float64") * b for k, (a, b) in enumerate(numbers)}
    actual = sg.compile(sg.Graph(values)).run({"x": X})
    for array, (a, b) in zip(actual.values(), numbers, strict=True):
        expected = (X[::-1] * np.float32(a)).astype("float64") * b
        np.testing.assert_array_equal(array, expected)


def test_exponents_stay_literals():
    x = sg.input("x", X.shape, "float64")
    value = x
    for k in range(6):
        value = abs(value[::-1]) ** (1.25 + k / 8)
    schedule = with_shared_kernels(fuse(sg.Graph(value)))
    assert not constants_of(schedule)
    program = sg.compile(value)
    expected = np.abs(X.astype("float64"))
    for k in range(6):
        expected = expected[::-1] ** (1.25 + k / 8)
    np.testing.assert_allclose(program.run({"x": X.astype("float64")}), expected, rtol=1e-13)


@pytest.mark.parametrize("options", [{}, {"fuse": False}, {"threads": 2}, {"debug": True}])
def test_results_are_those_of_kernels_apart(options, monkeypatch):
    def train_once():
        value = written_out(np.linspace(0.05, 0.6, 6))
        loss = sg.mean(value * value)
        (w,) = sg.Graph(loss).parameters
        program = sg.compile(sg.Graph({"loss": loss}, {w: w - 0.1 * sg.grad(loss, w)}), **options)
        return [program.run({"x": X})["loss"].tobytes() for _ in range(3)]

    actual = train_once()
    monkeypatch.setattr("staticgrad.compiler.lowering.numbers.FEWEST", 1000)
    monkeypatch.setattr("staticgrad.compiler.compiling.scheduling.entry_name", lambda *_: None)
    assert train_once() == actual


@pytest.mark.slow
def test_steps_of_a_library_read_their_own_numbers(tmp_path):
    program = sg.compile({"y": written_out(np.linspace(0.05, 0.6, 6))})
    actual = module_of(program, tmp_path).Program().run({"x": X})["y"]
    np.testing.assert_array_equal(actual, program.run({"x": X})["y"])
