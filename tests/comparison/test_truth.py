"""What a comparison claims: agreement, divergence, frozen numbers, threads, bounded times."""

from __future__ import annotations

import time

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from staticgrad.commands.cli import main
from staticgrad.comparison import Model, agreement, measure
from staticgrad.comparison.agreement import agreement as agree
from staticgrad.comparison.programs import of_model
from staticgrad.comparison.ways import DefineByRun, DefineThenRun


def start() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "w": random.normal(size=(3, 4)).astype("float32"),
        "v": random.normal(size=(4,)).astype("float32"),
    }


def batch(size, draw):
    x = draw.normal(size=(size, 3)).astype("float32")
    return {"x": x, "y": x.sum(1)}


def loss(p, b):
    return ((sg.tanh(b["x"] @ p["w"]) @ p["v"] - b["y"]) ** 2).mean()


def found(made: Model):
    chosen = of_model(made)
    return agree(chosen, DefineThenRun(chosen))


OPTIMIZERS = {
    "none": None,
    "momentum": sg.optim.SGD(0.05, momentum=0.9),
    "nesterov": sg.optim.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "accumulate": sg.optim.SGD(0.05, accumulate=3),
    "adam": sg.optim.Adam(1e-2),
    "adamw": sg.optim.AdamW(1e-2, accumulate=2),
    "rmsprop": sg.optim.RMSProp(sg.optim.cosine(1e-2, steps=9), centered=True),
    "groups": sg.optim.ParameterGroups(
        sg.optim.Lion(1e-3), [(lambda p: p.ndim < 2, sg.optim.Adafactor())]
    ),
}


@pytest.mark.thinned
@pytest.mark.parametrize("max_norm", [None, 0.1])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_both_ways_take_the_same_steps(name: str, max_norm: float | None) -> None:
    made = Model("m", start(), loss, batch, 8, optimizer=OPTIMIZERS[name], max_norm=max_norm)
    both = found(made)
    assert both.holds, both.problem
    assert max(both.losses, both.gradients, both.parameters) < 1e-5
    assert both.by_run[-1] != both.by_run[0]
    tape = DefineByRun(made)
    before = {name: array.copy() for name, array in tape.values().items()}
    for _ in range(6):
        tape.step(batch(8, np.random.default_rng(1)))
    assert any(not np.array_equal(before[k], after) for k, after in tape.values().items())


def test_random_numbers_are_drawn_alike() -> None:
    def noisy(p, b, random):
        hidden = sg.tanh(b["x"] @ p["w"])
        kept = random.uniform(shape=hidden.shape) < 0.7
        return ((hidden * kept @ p["v"] + random.normal(shape=(4,)).sum() - b["y"]) ** 2).mean()

    made = Model("m", start(), noisy, batch, 8)
    assert made.is_random
    both = found(made)
    assert both.holds, both.problem
    tape, compiled = DefineByRun(made), DefineThenRun(of_model(made))
    same = batch(8, np.random.default_rng(0))
    forwards = [way.forward(same) for way in (tape, compiled, tape, compiled)]
    np.testing.assert_allclose(forwards, forwards[0], rtol=1e-6)
    steps = [tape.step(same) for _ in range(2)]
    assert abs(steps[0] - steps[1]) > 1e-3 * abs(steps[0])  # every step draws anew


CALLS = iter(range(10_000))
FRESH = np.random.default_rng()


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    "number",
    [
        lambda: np.random.rand(),
        lambda: float(next(CALLS)),
        lambda: np.random.default_rng().random(),
        lambda: float(FRESH.random()),
        lambda: time.perf_counter(),
        lambda: FRESH.random(4).astype("float32"),
    ],
)
def test_a_frozen_number_is_reported(number) -> None:
    made = Model("m", start(), lambda p, b: loss(p, b) + (p["v"] * number()).sum(), batch, 8)
    both = found(made)
    assert not both.holds
    assert "frozen where a graph is built" in both.problem


def test_divergence_is_reported() -> None:
    both = found(Model("m", start(), loss, batch, 8, learning_rate=1e12))
    assert "diverged to" in both.problem
    assert "on both sides" in both.problem


@pytest.mark.parametrize(
    ("by_run", "then_run", "says"),
    [
        ([1.0, 2.0], [1.0, 2.0], ""),
        ([1.0, np.nan], [1.0, np.nan], "diverged to NaN on both sides"),
        ([1.0, np.inf], [1.0, np.inf], "diverged to infinity on both sides"),
        ([1.0, np.nan], [1.0, 2.0], "at step 2 the tape's loss is nan, the compiled one's 2.0"),
        ([1.0, 2.0], [np.inf, np.nan], "at step 1 the tape's loss is 1.0, the compiled one's inf"),
    ],
)
def test_losses_that_are_no_numbers(by_run, then_run, says) -> None:
    said = agreement._diverged(by_run, then_run)
    assert said.startswith(says)
    assert bool(said) == bool(says)


@pytest.mark.slow
def test_exit_codes(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_first_results", lambda *_: {})
    file = tmp_path / "diverging.py"
    file.write_text(
        "from staticgrad.comparison import Model\n"
        "from tests.comparison.test_truth import start, loss, batch\n"
        "def diverging():\n"
        '    return Model("m", start(), loss, batch, 4, learning_rate=1e12)\n'
    )
    arguments = ["compare", "--model", f"{file}:diverging", "--seconds", "0", "--batch", "4"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "PROBLEM: diverged" in " ".join(done.output.split())
