"""Programs of frozen parameters: what depends on these alone runs once; all bits stay."""

import importlib.util
import pickle
import re
import shutil

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.compiling import constant_steps
from staticgrad.errors import ArgumentError
from staticgrad.language.ir.verify_schedule import verify_schedule

RNG = np.random.default_rng(11)


def normal(*shape):
    return RNG.normal(size=shape).astype("f4")


def parameter(name, *shape):
    return sg.parameter(name, normal(*shape) * np.float32(0.3))


def convolution():
    x = sg.input("x", ("n", 32, 16, 16))
    return x, sg.nn.conv2d(x, parameter("w", 64, 32, 3, 3), padding=1)


def dense():
    x = sg.input("x", ("n", 40))
    return x, sg.tanh(x @ parameter("w", 30, 40).T + parameter("b", 30))


def recurrent():
    x = sg.input("x", ("n", 20, 24))
    cell = parameter("w", 160, 40)

    def step(h, row):
        h = sg.tanh(row @ parameter_in @ cell.T[:, :40] + h @ cell[:40])
        return h, None

    parameter_in = parameter("v", 24, 40)
    h, _ = sg.scan(step, sg.zeros((x.shape[0], 40)), sg.swapaxes(x, 0, 1))
    return x, h


def normalize_channels():
    x = sg.input("x", ("n", 6, 5, 5))
    gain, shift = parameter("gain", 6), parameter("shift", 6)
    scale = gain / sg.sqrt(sg.exp(parameter("variance", 6)) + 1e-5)
    return x, sg.nn.conv2d(x * scale[:, None, None], parameter("w", 4, 6, 3, 3)) + shift.sum()


def looked_up():
    x = sg.input("x", ("n",), "int64")
    return x, sg.take(sg.exp(parameter("table", 9, 5)), x, axis=0)


PROGRAMS = {
    "convolution": (convolution, (32, 16, 16)),
    "dense": (dense, (40,)),
    "recurrent": (recurrent, (20, 24)),
    "normalized": (normalize_channels, (6, 5, 5)),
    "lookups": (looked_up, ()),
}
OPTIONS = ({}, {"debug": True}, {"threads": 2}, {"fuse": False}, {"memory_budget": 1 << 22})


def feeds_of(name, batch):
    make, shape = PROGRAMS[name]
    if make is looked_up:
        return {"x": RNG.integers(0, 9, size=batch)}
    return {"x": normal(batch, *shape)}


@pytest.mark.parametrize("name", PROGRAMS)
def test_frozen_programs_have_the_bits_of_others(name):
    _, y = PROGRAMS[name][0]()
    f = sg.compile(y)
    for options in OPTIONS:
        frozen = sg.compile(y, freeze=True, **options)
        for batch in (1, 3, 2):
            feeds = feeds_of(name, batch)
            assert same_bytes(frozen.run(feeds), f.run(feeds)), (options, batch)
            verify_plan(frozen.plan(n=batch))
        verify_schedule(frozen.schedule)
        assert not frozen.program_graph.parameters
        assert frozen.memory.parameters == 0 < f.memory.parameters
        if "memory_budget" in options:
            assert frozen.peak_bytes <= options["memory_budget"]


def test_filters_of_winograd_tiles_are_computed_once():
    _, y = convolution()
    sizes = {"n": 2}
    f, frozen = (sg.compile(y, sizes=sizes, freeze=freeze) for freeze in (False, True))
    assert f.schedule.steps[0].label == "matmul"  # the filters
    assert [step.label for step in frozen.schedule.steps] == ["conv"]
    assert len(f.schedule.steps) == 2
    assert re.search(r"computed once, of constants:\n +k\d+ matmul", frozen.explain())
    once = frozen.explanation().computed_once
    assert [section.computes for section in once] == ["matmul"]
    assert frozen.peak_bytes < f.peak_bytes
    assert frozen.memory.constants == 64 * 32 * 16 * 4
    assert f"1 values of constants, {64 * 32 * 16 * 4} bytes" in " ".join(frozen.stats.reasons)
    array = normal(2, 32, 16, 16)
    w = f.program_graph.parameters[0].store.read()
    padded = np.pad(array.astype("f8"), [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = np.einsum("ncxyhw,ochw->noxy", windows, w.astype("f8"))
    np.testing.assert_allclose(frozen.run({"x": array}), expected, rtol=2e-3, atol=2e-3)


def test_values_are_those_of_compilation_also_in_pickles():
    _, y = dense()
    graph = sg.Graph({"y": y})
    w, _ = graph.parameters
    frozen = sg.compile(graph, freeze=True)
    feeds = feeds_of("dense", 4)
    expected = frozen.run(feeds)["y"].copy()
    w.value = np.zeros((30, 40), "f4")
    assert same_bytes(frozen.run(feeds)["y"], expected)
    assert same_bytes(pickle.loads(pickle.dumps(frozen)).run(feeds)["y"], expected)
    assert not same_bytes(sg.compile(graph, freeze=True).run(feeds)["y"], expected)
    again = sg.compile(graph, freeze=True).run(feeds)["y"]
    assert same_bytes(again, sg.compile(graph).run(feeds)["y"])


def test_functions_freeze_the_module_that_they_close_over():
    layer, array = sg.nn.Linear(4, 3), normal(2, 4)
    frozen = sg.function(lambda x: layer(x) * 2.0, freeze=True)
    expected = 2.0 * (array.astype("f8") @ layer.weight.value + layer.bias.value)
    np.testing.assert_allclose(frozen(array), expected, rtol=1e-5, atol=1e-6)
    layer.weight.value = np.zeros_like(layer.weight.value)
    np.testing.assert_allclose(frozen(array), expected, rtol=1e-5, atol=1e-6)


def test_updated_parameters_stay_parameters():
    """Fine-tuning a head behind frozen layers."""
    x = sg.input("x", ("n", 32, 16, 16))
    w, head = parameter("w", 64, 32, 3, 3), parameter("head", 64, 2)
    start = head.value.copy()
    loss = (sg.nn.conv2d(x, w, padding=1).mean(axis=(2, 3)) @ head).sum()
    graph = sg.Graph({"loss": loss}, {head: head - 0.1 * sg.grad(loss, head)})
    feeds, values = {"x": normal(2, 32, 16, 16)}, []
    for freeze in (False, True):
        head.value = start
        step = sg.compile(graph, sizes={"n": 2}, freeze=freeze)
        losses = [step.run(feeds)["loss"] for _ in range(3)]
        values.append((losses, head.value.copy()))
        assert {p.name for p in step.program_graph.parameters} == (
            {"head"} if freeze else {"w", "head"}
        )
    assert all(map(same_bytes, values[0][0], values[1][0]))
    assert same_bytes(values[0][1], values[1][1])
    assert not same_bytes(values[0][1], start)


def import_file(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_exported_modules_contain_what_was_computed_once(tmp_path):
    _, y = convolution()
    frozen, array = sg.compile(y, freeze=True), normal(2, 32, 16, 16)
    path = frozen.export(tmp_path / "frozen_step.py")
    close = {"rtol": 1e-4, "atol": 1e-4}
    actual = import_file(path).run({"x": array})
    np.testing.assert_allclose(actual, frozen.run({"x": array}), **close)
    arrays = [array.size for array in np.load(path.with_suffix(".npz")).values()]
    assert 64 * 32 * 16 in arrays
    assert 64 * 32 * 9 not in arrays


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_libraries_contain_what_was_computed_once(tmp_path):
    _, y = convolution()
    frozen, array = sg.compile(y, freeze=True), normal(2, 32, 16, 16)
    path = frozen.export(tmp_path / "frozen.so", wrappers=["python"], n=2)
    tiles, filters = (64 * 32 * count * 4 for count in (16, 9))
    assert tiles < path.stat().st_size < tiles + filters
    program = import_file(tmp_path / "frozen_ctypes.py").Program()
    assert same_bytes(program.run({"x": array})["output"], frozen.run({"x": array}))


@pytest.mark.parametrize(("growth", "is_held"), [(1, False), (2, True)])
def test_results_that_take_much_memory_are_left_in_the_step(monkeypatch, growth, is_held):
    """The filters of small tiles take 16 / 9 times the bytes of the filters."""
    monkeypatch.setattr(constant_steps, "ROOM", 0)
    monkeypatch.setattr(constant_steps, "GROWTH", growth)
    _, y = convolution()
    frozen = sg.compile(y, sizes={"n": 2}, freeze=True)
    assert bool(frozen.explanation().computed_once) is is_held
    assert [step.label for step in frozen.schedule.steps] == ["matmul"] * (not is_held) + ["conv"]


def test_what_budgets_try_has_no_constant_steps():
    _, y = convolution()
    frozen = sg.compile(y, sizes={"n": 2}, freeze=True)
    assert sg.tradeoff(frozen).everything.peak_bytes == frozen.peak_bytes
    constant = sg.compile(frozen.program_graph, sizes={"n": 2})
    assert constant.peak_bytes == frozen.peak_bytes


def test_what_is_no_flag_is_refused():
    with pytest.raises(ArgumentError, match=r"freeze='yes' is a text, neither True nor False"):
        sg.compile(sg.input("x", ()) * 2.0, freeze="yes")
