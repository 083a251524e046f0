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

from typing import TYPE_CHECKING, NoReturn

from staticgrad.errors.elsewhere import no_such_name
from staticgrad.errors.tracebacks import boundary
from staticgrad.optim.adadelta import Adadelta
from staticgrad.optim.adafactor import Adafactor
from staticgrad.optim.adagrad import Adagrad
from staticgrad.optim.adam import Adam, AdamW
from staticgrad.optim.adamax import Adamax
from staticgrad.optim.averaging import Average
from staticgrad.optim.clipping import clip_by_global_norm, clip_by_value, global_norm
from staticgrad.optim.groups import ParameterGroups
from staticgrad.optim.lamb import LAMB
from staticgrad.optim.lbfgs import LBFGS
from staticgrad.optim.lion import Lion
from staticgrad.optim.muon import Muon
from staticgrad.optim.nadam import NAdam
from staticgrad.optim.optimizer import Optimizer, registered_optimizers
from staticgrad.optim.plateau import Plateau
from staticgrad.optim.radam import RAdam
from staticgrad.optim.rmsprop import RMSProp
from staticgrad.optim.rprop import Rprop
from staticgrad.optim.scaling import LossScale
from staticgrad.optim.schedules import (
    RateSchedule,
    constant,
    cosine,
    exponential,
    one_cycle,
    step_decay,
    warm_up,
)
from staticgrad.optim.sgd import SGD
from staticgrad.optim.state import slot

__all__ = [
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Average",
    "ParameterGroups",
    "LAMB",
    "LBFGS",
    "Lion",
    "LossScale",
    "Muon",
    "NAdam",
    "Optimizer",
    "Plateau",
    "RAdam",
    "RMSProp",
    "Rprop",
    "SGD",
    "RateSchedule",
    "clip_by_global_norm",
    "clip_by_value",
    "constant",
    "cosine",
    "exponential",
    "global_norm",
    "one_cycle",
    "step_decay",
    "registered_optimizers",
    "slot",
    "warm_up",
]


# ``sg.optim.adam``, as other libraries call theirs, is answered below: a file is no optimizer.
_FILES = "adadelta adafactor adagrad adam adamax lamb lbfgs lion muon nadam radam rmsprop rprop sgd"
for _file in _FILES.split():
    del globals()[_file]


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:

    @boundary
    def __getattr__(name: str) -> NoReturn:
        raise no_such_name("sg.optim", name)
