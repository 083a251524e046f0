"""Measured schedules: equal results, choices on disk, illegal directives refused."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.compiling import tuning
from staticgrad.language.ir.kernels.directives import Interleave, Prefetch, Stream, Vector
from staticgrad.language.ir.kernels.legality import IllegalDirectiveError, with_directives
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.kernels.stages import Loop, Map, nested_stages
from staticgrad.language.ir.schedule import KernelStep

RNG = np.random.default_rng(3)


def layer_norm():
    x, w = sg.input("x", ("rows", 96), "float32"), sg.input("w", (96,), "float32")
    loss = (sg.nn.layer_norm(x, w) * x).sum()
    return {"loss": loss, **dict(zip("xw", sg.grad(loss, [x, w]), strict=True))}


def softmax():
    return {"y": sg.nn.softmax(sg.input("x", ("rows", 70), "float64"), axis=1)}


def gather():
    x, at = sg.input("x", (40, 24), "float32"), sg.input("at", ("n",), "int64")
    return {"y": sg.take(x, at, 0) * 2.0, "z": sg.grad(sg.take(x, at, 0).sum(), x)}


def columns():
    x = sg.input("x", (300, 33), "float32")
    return {"sum": sg.tanh(x).sum(axis=0), "max": x.max(axis=0), "mean": sg.exp(x).mean()}


def scan():
    x = sg.input("x", (20, 8), "float32")
    carry, out = sg.scan(lambda c, row: (c * 0.5 + row,) * 2, x[0] * 0.0, x)
    return {"carry": carry, "out": out}


def windows():
    x, w = sg.input("x", (2, 3, 12, 12), "float32"), sg.input("w", (4, 3, 3, 3), "float32")
    y = sg.nn.max_pool(sg.nn.relu(sg.nn.conv(x, w, padding=1)), 2)
    return {"y": y, "slope": sg.grad((y * y).sum(), w)}


def streaming_program():
    x = sg.input("x", (1 << 21,), "float32")
    return {"y": x + 1.0, "z": sg.transpose(sg.reshape(x, (1 << 10, 1 << 11)))}


PROGRAMS = (
    layer_norm,
    softmax,
    gather,
    columns,
    scan,
    windows,
    pytest.param(streaming_program, id="streamed"),
)


def feeds_of(graph, rows):
    feeds = {}
    for value in graph.inputs:
        shape = [size if isinstance(size, int) else rows for size in value.shape]
        drawn = RNG.normal(size=shape) * (8 if value.dtype.is_integer else 1)
        feeds[value.node.label] = np.abs(drawn).astype(value.dtype.numpy)
    return feeds


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_set_of_directives_gives_the_same_bytes(program, monkeypatch, tmp_path):
    graph = sg.Graph(program())
    feeds = feeds_of(graph, 37)
    expected = sg.compile(graph).run(feeds)
    choices = set()
    for number in range(1, tuning.MOST + 3):

        def choose_by_number(sets, arguments, elements, number=number):
            chosen = [*sets][number % len(sets)]
            choices.add(str(chosen))
            return chosen, dict.fromkeys(sets, 1)

        monkeypatch.setattr(tuning, "find_fastest", choose_by_number)
        monkeypatch.setattr(tuning, "_choice_texts", {})
        with sg.options(cache_dir=tmp_path / str(number)):
            actual = sg.compile(graph, tune=True).run(feeds)
        for name, array in expected.items():
            assert array.tobytes() == actual[name].tobytes(), (name, choices)
    assert len(choices) > 1


def kernels(graph):
    for step in sg.compile(graph).schedule.steps:
        if isinstance(step, KernelStep):
            yield step.kernel


@pytest.mark.parametrize("program", PROGRAMS)
def test_directives_are_read_and_put_back(program):
    for kernel in kernels(sg.Graph(program())):
        assert with_directives(with_directives(kernel, ()), kernel.directives) == kernel
        for directives, changed in tuning.candidates(kernel).items():
            read = parse_kernel(str(changed))
            assert read == changed
            assert read.directives == directives


def attention():
    q, k, v = (sg.input(name, (2, 64, 32), "float32") for name in "qkv")
    return {"y": sg.nn.attention(q, k, v)}


def test_directives_have_the_numbers_of_their_stages():
    """Rows of a block are a loop of stages: scores before it, products behind it."""
    (kernel,) = kernels(sg.Graph(attention()))
    stages = [stage for stage, _ in nested_stages(kernel.stages)]
    rows = next(n for n, stage in enumerate(stages) if isinstance(stage, Loop) and n > 0)
    assert kernel.directives[0] == Interleave(stages[rows].axis.name, 4, rows)
    maps = [rows + n for n, stage in enumerate(stages[rows:]) if isinstance(stage, Map)]
    ahead = (Prefetch(stages[rows].axis.name, 4, number) for number in maps)
    assert kernel.directives[1:] == tuple(ahead)


ILLEGAL = {
    "no rows": Interleave("o", 0),
    "more rows than registers": Interleave("o", 64),
    "an unknown axis": Prefetch("nowhere", 4, 0),
    "no distance": Prefetch("j", 0, 0),
    "an unknown tail": Vector("none", 0),
    "an unknown stage": Vector("mask", 1),
}


@pytest.mark.parametrize("directive", ILLEGAL.values(), ids=ILLEGAL)
def test_illegal_directives_are_refused(directive):
    (kernel,) = kernels(sg.Graph(sg.exp(sg.input("x", (100,), "float32"))))
    with pytest.raises(IllegalDirectiveError):
        with_directives(kernel, (directive,))


def test_streaming_stores_are_for_whole_vectors_alone():
    x = sg.input("x", (64, 64), "float32")
    kernel = next(kernels(sg.Graph(x.sum(axis=1))))
    outs = tuple(o.name for o in kernel.operands if o.mode == "out")
    with pytest.raises(IllegalDirectiveError, match="whole vectors"):
        with_directives(kernel, (*map(Stream, outs),))


def test_choices_are_kept_for_other_processes_and_explained(tmp_path):
    graph = sg.Graph(layer_norm(), name="norm")
    child = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).explain())"
    with sg.options(cache_dir=tmp_path / "cache"):
        f = sg.compile(graph, tune=True, sizes={"rows": 256})
        lines = f.explanation().as_json()["tuning"]
        assert lines
        for line in lines:
            assert "as lowered" in line
            assert line in f.explain()
        with (tmp_path / "program").open("wb") as file:
            pickle.dump(f, file)
    environment = {
        "STATICGRAD_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": ":".join(sys.path),
    }
    arguments = [sys.executable, "-c", child, str(tmp_path / "program")]
    shown = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    assert all(line in shown.stdout for line in lines)
    assert "by measurement" not in sg.compile(graph, sizes={"rows": 256}).explain()


def test_the_setting_tunes_every_program(monkeypatch, tmp_path):
    monkeypatch.setenv("STATICGRAD_TUNE", "1")
    with sg.options(cache_dir=tmp_path):
        assert "by measurement" in sg.compile(softmax()).explain()
        assert "by measurement" not in sg.compile(softmax(), tune=False).explain()


def test_without_machine_code_nothing_is_measured(tmp_path):
    graph = sg.Graph(softmax())
    feeds = {"x": RNG.normal(size=(3, 70))}
    want = sg.compile(graph).run(feeds)
    with sg.options(jit=False, cache_dir=tmp_path):
        f = sg.compile(graph, tune=True)
        np.testing.assert_array_equal(f.run(feeds)["y"], want["y"])
        assert f.explanation().tuning == ()


def test_command(tmp_path):
    from click.testing import CliRunner

    from staticgrad.tools.commands.cli import main

    path = tmp_path / "graph.txt"
    path.write_text(str(sg.Graph(softmax())))
    with sg.options(cache_dir=tmp_path / "cache"):
        answer = CliRunner().invoke(main, ["tune", str(path), "--size", "rows=64", "--json"])
        assert answer.exit_code == 0
        (line,) = json.loads(answer.output)["tuning"]
        assert "as lowered" in line
        wrong = CliRunner().invoke(main, ["tune", str(path), "--size", "columns=64"])
        assert wrong.exit_code == 1
        assert "its sizes are rows" in wrong.output
