"""Lints of random numbers that are the same in every run of a program."""

from __future__ import annotations

from staticgrad import functions as sg
from staticgrad.extend import Graph, Node, ParameterLeaf, Value
from staticgrad.nn import Dropout
from staticgrad.random import Generator
from staticgrad.tools.lints.program import LintedGraph
from staticgrad.tools.lints.table import Seen, hazard


def _add_noise(x: Value) -> Value:
    return x + Generator(0).normal(shape=x.shape)


def _noisy_step(x: Value, *, keeps_step: bool) -> Graph:
    rng = Generator(0)
    return Graph(
        {"y": x + rng.normal(shape=x.shape)},
        updates={rng.step: rng.step} if keeps_step else rng.updates,
    )


@hazard(
    "repeated-draws",
    "draws of a generator whose step no update advances: each run has the same numbers",
    ("parameter",),
    bad=(
        _add_noise,
        lambda x: Dropout(0.5)(x).sum(),
        lambda x: sg.scan(lambda total, row: (total + _add_noise(row), row), x[0], x)[0],
    ),
    good=(
        lambda x: _noisy_step(x, keeps_step=False),
        lambda x: _noisy_step(x, keeps_step=True),
        lambda x: Dropout(0.5).eval()(x).sum(),
    ),
)
def _repeated_draws(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for a random generator whose state is not advanced by runs."""
    draws = program.users[(node, 0)]
    if not (isinstance(node.op, ParameterLeaf) and node.op.store.counts_runs) and not any(
        draw.op.name == "random_bits" and draw.args[1].node is node for draw in draws
    ):
        return None
    if any(parameter.node is node for parameter, _ in program.graph.updates):
        return None
    return Seen(
        f"each run draws the same numbers: no update advances {node.label!r}",
        "a graph with updates advances it: sg.Graph(outputs, updates=rng.updates), or those of an"
        " optimizer; so does sg.function",
        at=draws[0].origin if draws else None,
    )
