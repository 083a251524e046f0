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

from staticgrad.extend import namespace, present
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
    cosine_restarts,
    exponential,
    linear,
    multi_step,
    one_cycle,
    polynomial,
    step_decay,
    warm_up,
)
from staticgrad.optim.state import slot
from staticgrad.optim.variants import LAMB, Adadelta, Adamax, NAdam, RAdam

__all__ = [
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Average", "LAMB", "LBFGS",
    "Lion", "LossScale", "Muon", "NAdam", "Optimizer", "ParameterGroups", "Plateau", "RAdam",
    "RMSProp", "RMSprop", "RateSchedule", "SGD", "clip_by_global_norm", "clip_by_value", "constant",
    "cosine", "cosine_restarts", "exponential", "global_norm", "linear", "multi_step", "one_cycle",
    "polynomial", "registered_optimizers", "slot", "step_decay", "warm_up",
]  # fmt: skip

#: PyTorch's spelling.
RMSprop = RMSProp

namespace(globals(), operands=present)
