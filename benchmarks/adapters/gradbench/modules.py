"""The modules of GradBench: arguments of an input, functions, and how a result is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

import staticgrad as sg
from benchmarks.adapters.gradbench import bundles, descents, functions, hands, minors, sequences


def as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: as_json(entry) for name, entry in value.items()}
    return np.asarray(value).tolist()


class Module(NamedTuple):
    """A module: ``read`` makes arguments of an input; ``write`` has what differs from ``as_json``.

    ``static``: arguments that are no arrays.
    """

    read: Callable[[Any], tuple[Any, ...]]
    functions: Mapping[str, Callable[..., Any]]
    write: Mapping[str, Callable[[Any], Any]] = {}


MODES: Final = ("rr", "ff", "fr", "rf")

MODULES: Final[dict[str, Module]] = {
    "hello": Module(
        lambda inputs: (functions.array(inputs),),
        {"square": functions.square, "double": sg.grad(functions.square)},
    ),
    "lse": Module(
        lambda inputs: (functions.array(inputs["x"]),),
        {"primal": functions.log_sum_exp, "gradient": sg.grad(functions.log_sum_exp)},
    ),
    "llsq": Module(
        functions.of_llsq,
        {"primal": functions.least_squares, "gradient": sg.grad(functions.least_squares)},
    ),
    "kmeans": Module(
        functions.of_kmeans, {"cost": functions.cost, "dir": functions.newton_direction}
    ),
    "gmm": Module(
        functions.of_gmm,
        {"objective": functions.log_posterior, "jacobian": sg.grad(functions.log_posterior)},
    ),
    "ode": Module(
        functions.of_ode,
        {
            "primal": functions.ode_solution,
            "gradient": sg.grad(lambda x, s: functions.ode_solution(x, s)[-1]),
        },
    ),
    "ba": Module(
        bundles.read,
        {"objective": bundles.errors, "jacobian": bundles.jacobian},
        {"objective": bundles.write_errors, "jacobian": bundles.write_jacobian},
    ),
    "ht": Module(hands.read, {"objective": hands.distances, "jacobian": hands.jacobian}),
    "lstm": Module(
        sequences.read, {"objective": sequences.loss, "jacobian": sequences.gradient}
    ),
    "det": Module(
        minors.read, {"primal": minors.determinant, "gradient": minors.gradient}
    ),
    "particle": Module(
        descents.read_particle, {modes: descents.particle(modes) for modes in MODES}
    ),
    "saddle": Module(descents.read_saddle, {modes: descents.saddle(modes) for modes in MODES}),
}  # fmt: skip
