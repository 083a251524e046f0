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
from staticgrad.comparison.page import page
from staticgrad.comparison.programs import of_model
from staticgrad.comparison.report import Comparison, Pair, Timing
from staticgrad.comparison.stopwatch import Race, one_thread, pools
from staticgrad.comparison.table import tables, verdict
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


def test_trying_for_frozen_numbers_leaves_the_users_alone() -> None:
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    assert found(Model("m", start(), loss, batch, 8)).holds
    assert np.random.rand() == expected


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


@pytest.mark.parametrize("wrong", ["loss", "gradients", "parameters", "nan"])
def test_what_differs_is_named(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    made = Model("m", start(), loss, batch, 8)
    step, gradients, values = DefineByRun.step, DefineByRun.gradients, DefineByRun.values

    def other_gradients(self, b):
        return {k: g * (1.001 if k == "v" else 1) for k, g in gradients(self, b).items()}

    method, other, says = {
        "loss": ("step", lambda self, b: step(self, b) * 1.001, "the losses differ"),
        "nan": ("step", lambda self, b: step(self, b) * np.nan, "the tape's loss is nan"),
        "gradients": ("gradients", other_gradients, "the gradients by 'v' differ"),
        "parameters": (
            "values",
            lambda self: {k: v + 1 for k, v in values(self).items()},
            "after 20 steps the values of",
        ),
    }[wrong]
    monkeypatch.setattr(DefineByRun, method, other)
    assert says in found(made).problem


def timing(cpu: float, waiting: float = 1.0) -> Timing:
    return Timing(cpu, cpu * waiting, cpu, cpu, cpu * waiting, 3, waiting)


def with_pair(one: Comparison, pair: Pair) -> Comparison:
    return Comparison(**{**vars(one), "batches": (pair,), "depths": ()})


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return measure.compare(Model("m", start(), loss, batch, 8), batches=[], seconds=0.0)


@pytest.mark.slow
def test_a_busy_machine_is_named(compared: Comparison) -> None:
    quiet = Pair(8, timing(1e-3), timing(1e-4), (9.0, 11.0))
    assert with_pair(compared, quiet).warnings == ()
    assert quiet.ratio == pytest.approx(10)
    busy = with_pair(compared, Pair(8, timing(1e-3, 4.0), timing(1e-4), (9.0, 11.0)))
    assert "wall time was 4.0 times processor time" in busy.warnings[0]
    assert busy.usual.ratio == pytest.approx(10)  # of processor time: waiting does not count
    several = with_pair(compared, Pair(8, timing(1e-3, 0.5), timing(1e-4), (9.0, 11.0)))
    assert "several threads" in several.warnings[0]
    assert "not quiet" in page(busy)


@pytest.mark.slow
def test_a_model_without_a_name_on_disk_has_no_first_results(compared: Comparison) -> None:
    assert compared.first == {}
    assert compared.break_even == {}
    text = page(compared)
    assert "First result" not in text
    assert '<p class="sub">16 parameters' in text  # and no empty note before it
    tables(compared)


def test_one_thread() -> None:
    np.ones((4, 4)) @ np.ones((4, 4))
    with one_thread():
        assert pools() == 1


def test_the_time_is_bounded() -> None:
    runs: list[str] = []

    def slow() -> None:
        runs.append("slow")
        time.sleep(0.02)

    begun = time.perf_counter()
    race = Race(1, slow, lambda: runs.append("quick"))
    for _ in range(3):
        race.run(0.0)
    assert time.perf_counter() - begun < 5
    pair = race.pair()
    assert pair.by_run.turns == pair.then_run.turns == 3 * 4
    assert runs.count("slow") == 2 + 3 * 4  # to warm up, to learn how long it takes; then bursts
    assert pair.by_run.waiting > 2  # sleeping is no work


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


@pytest.mark.slow
def test_the_verdict_tells_all_three(compared: Comparison) -> None:
    said = verdict(compared)
    for what in ("losses of 20 steps", "gradients", "parameters"):
        assert what in said
