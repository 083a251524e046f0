"""Optimizers as graph updates: from a loss and parameters to the next value of each parameter.

An optimizer is a frozen dataclass of hyperparameters. Its state (momenta, step counters, gradient
accumulators) is made of ordinary parameters and its arithmetic of ordinary nodes, so that a whole
training step is one graph: ``Graph({"loss": loss}, updates=opt.updates(loss, ws))``. The same rule
steps tensors of ``staticgrad.eager``.

    >>> import numpy as np, staticgrad as sg
    >>> w = sg.parameter("w", np.ones(3))
    >>> step = sg.Graph(updates=SGD(0.5).updates((w * w).sum(), [w]))
    >>> sg.evaluate(step, {}, updates=True)[1]["w"]
    array([0., 0., 0.])
"""

from __future__ import annotations

from staticgrad.language.ir.calls import namespace
from staticgrad.optim.averaging import Average
from staticgrad.optim.gradients import (
    LossScale,
    clip_by_global_norm,
    clip_by_value,
    global_norm,
)
from staticgrad.optim.lbfgs import LBFGS
from staticgrad.optim.optimizer import Optimizer, ParameterGroups, registered_optimizers
from staticgrad.optim.rules import (
    SGD,
    Adafactor,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    Muon,
    RMSProp,
)
from staticgrad.optim.schedules import (
    Plateau,
    RateSchedule,
    constant,
    cosine,
    exponential,
    one_cycle,
    step_decay,
    warm_up,
)
from staticgrad.optim.state import slot

__all__ = [
    "Adafactor", "Adagrad", "Adam", "AdamW", "Average", "ParameterGroups", "LBFGS", "Lion",
    "LossScale", "Muon", "Optimizer", "Plateau", "RMSProp", "SGD", "RateSchedule",
    "clip_by_global_norm", "clip_by_value", "constant", "cosine", "exponential", "global_norm",
    "one_cycle", "step_decay", "registered_optimizers", "slot", "warm_up",
]  # fmt: skip


namespace(globals())
