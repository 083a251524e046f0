"""Capabilities that a user may need, and the answer of each execution mode with its reason.

Where compiled mode refuses, the reason is its real error message: the error is provoked here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import staticgrad as sg
from staticgrad.comparison.report import Ability
from staticgrad.errors import StaticgradError


def abilities() -> tuple[Ability, ...]:
    """The table, in the order in which a newcomer asks."""
    x = sg.input("x", ("n", 4))
    return (
        Ability(
            "branch on a value: if loss > 1", True, False,
            f"{_refusal(lambda: bool(x.sum() > 1.0))}; both branches can stand in the graph, "
            "chosen per element by sg.where",
        ),
        Ability(
            "print a value while it runs", True, False,
            f"{_refusal(lambda: float(x.sum()))}; "  # type: ignore[arg-type]  # it is refused
            "ask for it as a further output",
        ),
        Ability(
            "loop until a value converges", True, False,
            "a graph has a fixed number of nodes; loops of Python are unrolled when it is built",
        ),
        Ability(
            "another batch size", True, True,
            "sizes have names: one compilation serves them all, each gets a plan in milliseconds",
        ),
        Ability(
            "another number of axes, or layers", True, False,
            "rank and depth are part of the graph; another one is another compilation",
        ),
        Ability(
            "hear of a wrong shape before anything runs", False, True,
            f"the line that builds the node says it: {_refusal(lambda: x @ np.ones((3, 2)))}",
        ),
        Ability(
            "know the memory of a step before it runs", False, True,
            "the plan is exact: f.plan(batch=64).peak_bytes; a tape shows it by running",
        ),
        Ability(
            "give a byte budget", False, True,
            "which results to keep and which to compute again is a plan, made before the run",
        ),
        Ability(
            "step through it in a debugger", True, True,
            "the tape line by line of the model; the compiled step with STATICGRAD_JIT=0, kernel "
            "by kernel, as plain Python that names the model's lines",
        ),
        Ability(
            "differentiate a gradient again", True, True,
            "grad(..., create_graph=True) on the tape; in the graph gradients are ordinary nodes",
        ),
        Ability(
            "merge operations across the whole step", False, True,
            "a tape has run each operation before it sees the next",
        ),
    )  # fmt: skip


def _refusal(attempt: Callable[[], Any]) -> str:
    """The headline of the error that an attempt meets."""
    try:
        attempt()
    except StaticgradError as error:
        return error.headline
    return "it works"
