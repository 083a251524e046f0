"""Texts of programs and results: explanations, texts, pictures in notebooks."""

import json
import re
from functools import cache

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.reports.profiling import Limits, Profile, StepProfile
from staticgrad.errors import ArgumentError

#: Characters of a terminal's screen.
SCREEN = 2000


class Block(sg.nn.Module):
    def __init__(self):
        self.norm, self.inner = sg.nn.LayerNorm(8), sg.nn.Linear(8, 8)

    def forward(self, x):
        return x + sg.tanh(self.inner(self.norm(x)))


@cache
def training():
    """A step of many parameters, compiled, with its feeds."""
    net, opt = sg.nn.Sequential(*[Block() for _ in range(40)]), sg.optim.Adam(1e-3)

    @sg.function
    def step(x, y):
        loss = ((net(x) - y) ** 2).mean()
        opt.minimize(loss)
        return loss

    feeds = {"x": np.ones((4, 8), "float32"), "y": np.zeros((4, 8), "float32")}
    step(**feeds)
    return step, net, feeds


def results():
    step, net, feeds = training()
    f = step.compile(**feeds)
    x = sg.input("x", (3,))
    return {
        "step": step,
        "step.stats": step.stats,
        "net": net,
        "f": f,
        "graph": f.graph,
        "schedule": f.schedule,
        "plan": f.plan(),
        "memory": f.memory,
        "stats": f.stats,
        "profile": f.profile(feeds, runs=2),
        "explanation": f.explanation(),
        "kernel": max(f.kernels, key=lambda kernel: len(kernel.source)),
        "tradeoff": sg.tradeoff(f),
        "findings": sg.lint(sg.Graph({f"y{k}": sg.sqrt(x * x) for k in range(99)})),
        "history": sg.train.History([1 / 3 for _ in range(500)], [1 / 7 for _ in range(500)]),
    }


@pytest.mark.slow
def test_no_repr_exceeds_a_screen():
    """Neither of a large result, nor of what its attributes are."""
    seen = {}

    def look(result, path, depth):
        seen[path] = len(repr(result))
        for name in () if depth == 0 else [*dir(type(result)), *getattr(result, "__dict__", ())]:
            if name.startswith("_"):
                continue
            try:
                value = getattr(result, name)
            except Exception:
                continue
            for part in value[:3] if isinstance(value, tuple | list) else (value,):
                if type(part).__module__.startswith("staticgrad"):
                    look(part, f"{path}.{name}", depth - 1)

    for name, result in results().items():
        look(result, name, 2)
    assert len(seen) > 100
    assert {path: length for path, length in seen.items() if length >= SCREEN} == {}


def test_llvm_and_assembly_of_a_kernel():
    x = sg.input("x", ("n",), "float32")
    (kernel,) = sg.compile(sg.special.gammaln(x) + 1.0, backend="vector").kernels
    defined = {*re.findall(r"^define [^@]*@([\w.]+)", kernel.llvm, re.MULTILINE)}
    called = {*re.findall(r"call [^@\n]*@([\w.]+)", kernel.llvm)}
    assert len(defined) > 1, "functions that kernels share are part of it"
    assert {name for name in called - defined if not name.startswith("llvm.")} == set()
    assert re.search(r"^sg_v_\w+:$", kernel.asm, re.MULTILINE)
    assert "retq" in kernel.asm
    with sg.options(jit=False):
        (python,) = sg.compile(sg.exp(x) + 1.0).kernels
    with pytest.raises(ArgumentError, match="llvm is of kernels that vector or numba compiled"):
        _ = python.llvm
    with pytest.raises(AttributeError) as caught:
        _ = sg.compile(x + 1.0).llvm
    assert "f.kernels[0].llvm" in caught.value.hint


def profile_of(steps, flops=1e12):
    return Profile("g", {}, 1, (Limits(1, flops, 1e10),), tuple(steps), (0.0,) * len(steps))


def step_of(kernel, seconds, module, share=0.5):
    return StepProfile(
        0, 0, kernel, "mul", ("a.py:1",), 1, seconds, seconds, 1e3, 1e3, share, 0, 1, 0.0, module
    )


def test_a_profile_folds_small_rows_by_kernel_and_module():
    steps = [step_of("k0", 1.0, "")]
    steps += [step_of("k1", 0.004, f"layer{k}") for k in range(40)]
    steps += [step_of(f"k{k}", 0.004, "head") for k in range(2, 12)]
    steps += [step_of(f"k{k}", 0.0001, f"layer{k}") for k in range(12, 20)]
    actual = profile_of(steps)
    descriptions = [row.description for row in actual.rows()]
    assert descriptions == ["k0 mul", "k1 mul, 40 times", "10 steps of 10 kernels in head",
                    "8 steps of 8 kernels"]  # fmt: skip
    assert sum(row.seconds for row in actual.rows()) == pytest.approx(actual.seconds)
    assert len(str(actual).splitlines()) == 3 + 4
    assert len(actual.text(full=True).splitlines()) == 3 + len(steps)


def program():
    x = sg.input("x", ("n", 4))
    w = sg.parameter("w", np.ones((4, 3), "f4"))
    loss = sg.log(sg.exp(sg.negative(-(x @ w))).sum(-1)).sum()
    return sg.compile(sg.Graph({"loss": loss}, {w: w - 0.1 * sg.grad(loss, w)}, name="told"))


def test_text_and_data_are_the_same_for_the_same_program():
    left, right = program(), program()
    assert left.explain(n=8) == right.explain(n=8)
    assert left.explanation(n=8).as_json() == right.explanation(n=8).as_json()
    assert left.explanation(n=8) == right.explanation(n=8)
    assert "seconds" not in json.dumps(left.explanation(n=8).as_json())
    x = sg.input("x", ("n", 3))
    f = sg.compile(sg.Graph({"y": sg.tanh(x) @ np.ones((3, 2), "float32")}, name="net"))
    assert repr(f.plan(n=4)).startswith("<plan of net at n=4: ")
    assert f"{f.plan(n=4).peak_bytes} bytes" in repr(f.plan(n=4))
    assert repr(f.schedule) == f"<schedule of net: {len(f.schedule.steps)} steps, " + (
        f"{len(f.schedule.buffers)} buffers>"
    )
