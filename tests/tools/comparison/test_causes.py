"""Bytes by cause: hand-worked events, gradients by the shapes, the tape beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.plan_check import largest_at_peak
from staticgrad.comparison.causes import of_events, of_plan
from staticgrad.comparison.memory import tape_memory, tape_peak
from staticgrad.comparison.peers import torch_memory
from staticgrad.comparison.programs import program, restore_afterwards
from staticgrad.comparison.report import (
    BACKWARD,
    FORWARD,
    NARROW,
    RANDOM as RANDOM_NUMBERS,
    TORCH,
    Causes,
    Comparison,
    Peer,
    why_more,
    why_other,
)
from staticgrad.comparison.ways import DefineThenRun

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(32, 40)).astype("float32")
CLASSES = RANDOM.integers(0, 5, 32)


def make_program(*between: Any) -> Any:
    net = sg.nn.Sequential(sg.nn.Linear(40, 300), sg.nn.Tanh(), *between, sg.nn.Linear(300, 5))
    return program(net, (X, CLASSES))


def test_events_by_hand() -> None:
    """100 B are kept, 40 B a gradient, 20 B are made and freed in the backward pass: the peak."""
    events = [
        (1, 50, "f"), (2, 100, "f"), (1, -50, "f"), (3, 40, "b"), (1, 20, "b"), (1, -20, "b"),
        (2, -100, "b"), (4, 8, "u"), (3, -40, "u"), (4, -8, "u"),
    ]  # fmt: skip
    assert of_events("here", events) == Causes("here", 100, 40, 0, 20)
    late = [*events[:7], (4, 200, "u"), (3, -40, "u")]
    assert of_events("here", late) == Causes("here", 0, 40, 200, 0)
    assert of_events("here", []).total == 0


def test_the_tape_holds_all_gradients_when_it_is_fullest() -> None:
    chosen = make_program()
    batch = chosen.draw(4, RANDOM)  # of more examples the activations are larger
    with restore_afterwards(chosen):
        tape_bytes = tape_memory(chosen, batch)
    tape, peak = tape_bytes.causes, tape_bytes.peak
    gradients = 4 * (40 * 300 + 300 + 300 * 5 + 5)
    assert gradients <= tape.gradients <= gradients + 256
    assert tape.total == peak
    assert max(tape_bytes.timeline.nbytes) >= peak  # Python's objects, too


def test_the_compiled_step_stores_no_gradient_of_the_weight() -> None:
    chosen = make_program()
    plan = DefineThenRun(chosen).plan(32)
    actual = of_plan("compiled", plan)
    assert actual.total <= plan.peak_bytes <= actual.total + 64 * len(plan.placements)
    assert actual.gradients < 4 * 40 * 300
    assert actual.kept >= 4 * 32 * 300  # the activation


@pytest.mark.slow
def test_the_tape_and_pytorch_by_cause() -> None:
    pytest.importorskip("torch")
    from staticgrad.comparison import torch_peer

    chosen = make_program()
    batch = chosen.draw(32, RANDOM)
    with restore_afterwards(chosen):
        tape = tape_memory(chosen, batch).causes
        torch = torch_peer.training(chosen).causes("PyTorch", batch)
    assert torch.gradients == pytest.approx(tape.gradients, rel=0.01)
    assert torch.kept == pytest.approx(tape.kept, rel=0.01)
    # The derivative of tanh is several operations of NumPy, and one of PyTorch: an array more.
    assert torch.temporaries <= tape.temporaries <= torch.temporaries + 4 * 32 * 300 + 1024


def test_the_factor_beside_pytorch_has_a_reason() -> None:
    """By hand: 300 of 200 bytes, of which temporaries are 110 more and kept ones 10 fewer."""
    tape, torch = Causes("tape", 100, 40, 0, 160), Causes(TORCH, 110, 40, 0, 50)
    comparison = object.__new__(Comparison)
    vars(comparison).update(causes=(tape,), peers=(Peer(TORCH, causes=torch),))
    (reason,) = comparison.about_tape_memory
    assert reason.startswith("The tape holds 1.50 times the bytes of PyTorch. Temporaries: 160 B")
    vars(comparison).update(causes=(torch,))
    assert comparison.about_tape_memory == ()


@pytest.mark.parametrize("kind", ["draws", "narrow", "forward", "backward"])
def test_what_makes_most_temporaries(kind: str) -> None:
    """A program of one kind of large arrays each; sentences say which."""
    w = sg.parameter("w", np.ones((64, 64), "float32") / 64)
    noise = sg.random.Generator(0)
    x = RANDOM.normal(size=(256, 64)).astype("float32")

    def step(x: Any) -> Any:
        if kind == "draws":
            return (noise.uniform(shape=(512, 64)).sum() + x[:1] @ w).mean()
        if kind == "narrow":
            return ((x.astype("float16") @ w.astype("float16")).astype("float32")).mean()
        if kind == "forward":
            return (x * x * 2.0 + x[:1] @ w).mean()
        return sg.tanh(sg.tanh(x @ w) * 3.0).mean()

    chosen = program(step, (x,))
    with restore_afterwards(chosen):
        actual = tape_memory(chosen, chosen.draw(chosen.batch_size, RANDOM)).causes
    expected = {"draws": RANDOM_NUMBERS, "narrow": NARROW, "forward": FORWARD, "backward": BACKWARD}
    assert actual.of == expected[kind]
    reason = why_other(actual, Causes(TORCH, 0, 0, 0, actual.total // 2))
    assert reason.startswith("The tape holds 2.0")


@pytest.mark.parametrize(
    ("arena", "parts", "reason"),
    [(300, (100, 40, 0, 160), "1.50 times the bytes of PyTorch. Temporaries: 160 B and 50 B"),
     (300, (190, 40, 0, 50), "1.50 times the bytes of PyTorch. Kept for the backward pass: 190 B"),
     (300, (110, 40, 0, 60), "1.50 times the bytes of PyTorch. 90 B lie between buffers"),
     (200, (100, 40, 0, 60), ""), (100, (20, 40, 0, 40), "")],
)  # fmt: skip
def test_an_arena_above_pytorch_has_a_reason(arena: int, parts: Any, reason: str) -> None:
    """By hand: PyTorch holds 200 bytes, of which 110 are kept, 40 gradients, 50 temporaries."""
    torch = Causes(TORCH, 110, 40, 0, 50)
    actual = why_more(arena, Causes("compiled", *parts), torch, ["64 B file.py:1"])
    assert actual.startswith(f"The compiled step holds {reason}" if reason else "")
    assert actual.endswith("The largest at the peak: 64 B file.py:1." if reason else "")
    assert bool(actual) == bool(reason)


def test_bytes_of_pytorch_by_hand() -> None:
    """Differences [256, 8, 4] are the largest; a program of other losses has a reason instead."""
    torch = pytest.importorskip("torch")
    x = RANDOM.normal(size=(256, 4)).astype("float32")
    centres = sg.parameter("centres", x[:8].copy())
    chosen = program(lambda x: ((x[:, None] - centres) ** 2).sum(2).min(1).mean(), (x,))

    def loss(shift: float) -> Any:
        parameter = torch.tensor(centres.value + shift, requires_grad=True)

        def distance(x: Any) -> Any:
            return ((x[:, None] - parameter) ** 2).sum(2).amin(1).mean()

        return distance

    actual = torch_memory(chosen, loss(0.0))
    assert 2 <= actual.tape / (4 * 256 * 8 * 4) <= 5  # kept, and the derivative of the square
    assert actual.causes is not None
    of_torch = torch_memory(chosen, loss(1.0))
    assert (of_torch.tape, of_torch.causes) == (0, None)
    assert "another program" in of_torch.reason


def test_the_largest_values_at_a_peak_have_lines() -> None:
    x, w = sg.input("x", (8, 16), "float32"), sg.parameter("w", np.ones((16, 64), "float32"))
    wide = sg.exp(x @ w)
    f = sg.compile({"y": (wide / wide.sum(1, keepdims=True)) @ w.T}, threads=1)
    first, *_ = largest_at_peak(f.plan(), 1)
    assert first.startswith(f"{4 * 8 * 64:,} B test_causes.py:")


def test_dropout_on_the_tape_holds_what_its_numbers_take() -> None:
    """Draws are made in blocks: 4.1 times PyTorch's bytes when all were made at once."""
    net = sg.nn.Sequential(sg.nn.Linear(8, 4096), sg.nn.Dropout(0.5), sg.nn.Linear(4096, 4))
    chosen = program(net, (RANDOM.normal(size=(64, 8)).astype("float32"), np.arange(64) % 4))
    with restore_afterwards(chosen):
        peak = tape_peak(chosen, chosen.draw(64, RANDOM))
    activation_bytes = 4 * 64 * 4096
    assert peak < 6 * activation_bytes
