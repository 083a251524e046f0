"""Claims of a comparison: agreement, divergence, frozen numbers."""

from __future__ import annotations

import time

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from staticgrad.comparison import measure, ways
from staticgrad.comparison.programs import program
from staticgrad.comparison.ways import DefineByRun, DefineThenRun, agreement as agree
from staticgrad.errors import ProgramError
from staticgrad.tools.commands.cli import main

RANDOM = np.random.default_rng(0)
W = sg.parameter("w", RANDOM.normal(size=(3, 4)).astype("float32"))
V = sg.parameter("v", RANDOM.normal(size=(4,)).astype("float32"))
X = RANDOM.normal(size=(8, 3)).astype("float32")
ARRAYS = X, X.sum(1)


def loss(x, y):
    return ((sg.tanh(x @ W) @ V - y) ** 2).mean()


def compare_steps(step, optimizer=None):
    chosen = program(step, ARRAYS, optimizer=optimizer)
    steps_compared = agree(chosen, DefineThenRun(chosen))
    chosen.restore()
    return steps_compared


OPTIMIZERS = {
    "none": sg.optim.SGD(0.05),
    "momentum": sg.optim.SGD(0.05, momentum=0.9),
    "nesterov": sg.optim.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "accumulate": sg.optim.SGD(0.05, accumulate=3),
    "adam": sg.optim.Adam(1e-2),
    "adamw": sg.optim.AdamW(1e-2, accumulate=2),
    "clipped": sg.optim.AdamW(1e-2, max_norm=0.1),
    "rmsprop": sg.optim.RMSProp(sg.optim.cosine(1e-2, steps=9), centered=True),
    "groups": sg.optim.ParameterGroups(
        sg.optim.Lion(1e-3), [(lambda p: p.ndim < 2, sg.optim.Adafactor())]
    ),
}


@pytest.mark.thinned
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_both_ways_take_the_same_steps(name: str) -> None:
    value_before = W.value.copy()
    steps_compared = compare_steps(loss, OPTIMIZERS[name])
    assert not steps_compared.problem
    assert max(steps_compared.losses, steps_compared.parameters) < 1e-5
    assert steps_compared.by_run[-1] != steps_compared.by_run[0]
    np.testing.assert_array_equal(W.value, value_before)


def test_random_numbers_are_drawn_alike() -> None:
    random = sg.random.Generator(0)

    def noisy(x, y):
        hidden = sg.tanh(x @ W)
        mask = random.uniform(shape=hidden.shape) < 0.7
        return ((hidden * mask @ V + random.normal(shape=(4,)).sum() - y) ** 2).mean()

    steps_compared = compare_steps(noisy)
    assert not steps_compared.problem
    chosen = program(noisy, ARRAYS)
    tape, same = DefineByRun(chosen), chosen.draw(8, np.random.default_rng(0))
    steps = [tape.step(same) for _ in range(2)]
    chosen.restore()
    assert abs(steps[0] - steps[1]) > 1e-3 * abs(steps[0])  # every step draws anew


def test_forward_is_the_loss_alone() -> None:
    chosen = program(loss, ARRAYS)
    batch = chosen.draw(8, np.random.default_rng(0))
    ways = DefineByRun(chosen), DefineThenRun(chosen)
    losses = [way.forward(batch) for way in ways for _ in range(2)]
    np.testing.assert_allclose(
        losses, np.mean((np.tanh(X @ W.value) @ V.value - X.sum(1)) ** 2), 1e-6
    )


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
        lambda: time.perf_counter() % 1.0,  # of seconds since long ago, a step is too few
        lambda: FRESH.random(4).astype("float32"),
    ],
)
def test_a_frozen_number_is_reported(number) -> None:
    steps_compared = compare_steps(lambda x, y: loss(x, y) + (V * number()).sum())
    words = ("frozen", "differs from time to time", "taken when it is traced")
    assert any(text in steps_compared.problem for text in words), steps_compared.problem


def test_divergence_is_reported() -> None:
    steps_compared = compare_steps(loss, sg.optim.SGD(1e12))
    assert "diverged to" in steps_compared.problem
    assert "on both sides" in steps_compared.problem


def test_a_step_that_fails_after_others_says_so() -> None:
    """By hand: w is 1, then 1 - 4 / 5 = 0.2, then -0.6, which has no Cholesky factor."""
    w = sg.parameter("falls", np.float64(1.0))

    def falling(x):
        return 4.0 * w + 0.0 * sg.linalg.cholesky(w * sg.eye(2, dtype="float64")).sum() * x.sum()

    chosen = program(falling, (np.ones(3),), optimizer=sg.optim.SGD(0.2))
    with pytest.raises(ProgramError, match="falling fails at step 3 of 20") as caught:
        agree(chosen, DefineThenRun(chosen))
    assert "4, 0.8" in str(caught.value)
    assert "sg.linalg.cholesky(w" in str(caught.value)


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
    description = ways._describe_divergence(by_run, then_run)
    assert description.startswith(says)
    assert bool(description) == bool(says)


@pytest.mark.slow
def test_exit_codes(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_REPEATS", 1)
    file = tmp_path / "diverging.py"
    file.write_text(
        "from tests.tools.comparison.test_truth import loss, ARRAYS, sg\n"
        "def step(x, y):\n"
        "    found = loss(x, y)\n"
        "    sg.optim.SGD(1e12).minimize(found)\n"
        "    return found\n"
        "example = step, *ARRAYS\n"
    )
    arguments = ["compare", "--model", f"{file}:example", "--seconds", "0", "--batch", "4"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "PROBLEM: diverged" in " ".join(done.output.split())
