"""Samples of the options, rates and further updates of optimizers.

An optimizer of the package without a sample, and an option that no sample sets, are found by
``missing``. A *case* is a way to make a training step of a loss and its parameters.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import staticgrad as sg
from staticgrad.optim import (
    LAMB,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    LossScale,
    Muon,
    NAdam,
    Optimizer,
    ParameterGroups,
    RAdam,
    RMSProp,
    registered_optimizers,
)

Updates = dict[Any, Any]
#: Options of each optimizer; between them they set every option to something else than its default.
SAMPLES = {
    SGD: (
        {"learning_rate": 0.1}, {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01},
        {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "name": "ahead"},
        {"learning_rate": 0.1, "momentum": 0.5, "accumulate": 2},
        {"learning_rate": 0.1, "momentum": 0.5, "dampening": 0.3},
    ),
    LAMB: (
        {"learning_rate": 0.01, "weight_decay": 0.1, "beta1": 0.8},
        {"beta2": 0.9, "eps": 1e-6, "amsgrad": True},
    ),
    NAdam: (
        {"learning_rate": 0.01, "momentum_decay": 0.1, "weight_decay": 0.01},
        {"beta1": 0.8, "beta2": 0.5, "eps": 1e-6, "amsgrad": True},
    ),
    RAdam: (
        {"learning_rate": 0.01, "beta2": 0.7, "weight_decay": 0.01},
        {"beta1": 0.8, "beta2": 0.3, "eps": 1e-6, "amsgrad": True},
    ),
    Adamax: (
        {"beta1": 0.7, "beta2": 0.9, "eps": 1e-5, "weight_decay": 0.01, "learning_rate": 0.02},
    ),
    Adadelta: ({"decay": 0.8, "eps": 1e-4, "weight_decay": 0.01, "learning_rate": 0.5},),
    Adam: (
        {"weight_decay": 0.05, "amsgrad": True, "beta2": 0.3, "learning_rate": 0.1},
        {}, {"learning_rate": 0.01, "beta1": 0.5, "beta2": 0.9, "eps": 1e-6, "name": "quick"},
        {"learning_rate": 0.01, "accumulate": 2},
    ),
    AdamW: (
        {"learning_rate": 0.01, "beta1": 0.8, "beta2": 0.99, "eps": 1e-7},
        {"weight_decay": 0.1, "accumulate": 3, "name": "decayed"},
        {"amsgrad": True, "beta2": 0.3, "learning_rate": 0.1},
    ),
    RMSProp: (
        {"learning_rate": 0.01, "decay": 0.9, "eps": 1e-6},
        {"momentum": 0.9, "centered": True, "weight_decay": 0.01, "max_norm": 0.5},
    ),
    Adagrad: ({"learning_rate": 0.1, "eps": 1e-6, "weight_decay": 0.01, "max_value": 0.05},),
    Lion: ({"learning_rate": 0.003, "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.1},),
    Adafactor: (
        {"skip_nonfinite": True, "least_scale": 1.0},
        {
            **{"learning_rate": 0.05, "decay": 0.7, "eps": 1e-20, "threshold": 0.5},
            **{"relative": False, "weight_decay": 0.01},
        },
    ),
    Muon: (
        {"learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.01},
        {
            **{"nesterov": False, "rounds": 3, "adjust": "match_rms_adamw", "accumulate": 2},
            **{"beta1": 0.5, "beta2": 0.9, "eps": 1e-6, "amsgrad": True},
        },
    ),
    ParameterGroups: (
        {
            "default": AdamW(0.01),
            "groups": (
                (lambda p: len(p.shape) < 2, {"weight_decay": 0.0, "learning_rate": 0.02}),
                (lambda p: p.shape[0] > 100, SGD(0.01, momentum=0.5)),
            ),
            "loss_scale": LossScale(initial=1024.0, every=2),
        },
    ),
}  # fmt: skip
#: Options that all optimizers have: samples of any set them.
SHARED = {field.name for field in dataclasses.fields(Optimizer)}


def missing():
    """Optimizers of the package without a sample, and options that none of their samples sets."""
    everywhere = {name for samples in SAMPLES.values() for options in samples for name in options}
    gaps = [f"no sample sets {name}" for name in sorted(SHARED - everywhere)]
    for cls in registered_optimizers():
        if not cls.__module__.startswith("staticgrad"):
            continue
        if cls not in SAMPLES:
            gaps.append(f"{cls.__name__} has no sample")
        set_options = {name for options in SAMPLES.get(cls, ()) for name in options}
        options = {field.name for field in dataclasses.fields(cls)} - SHARED
        gaps += [f"{cls.__name__}: no sample sets {name}" for name in sorted(options - set_options)]
    return gaps


def number(loss):
    """A rate that the graph computes from nothing but a literal."""
    return sg.constant(0.05), {}


def decaying(loss):
    """A parameter that halves itself."""
    rate = sg.parameter("rate", np.array(0.1))
    return rate, {rate: rate * 0.5}


def counted(loss):
    """A rate of a counter that the same step counts up."""
    t = sg.parameter("schedule.t", np.array(0))
    new = t + 1
    return 0.1 / (1.0 + new.astype("float64")), {t: new}


def warmed_up(loss):
    """A warm-up and a cosine of a counter's old and new value."""
    t = sg.parameter("schedule.t", np.array(0))
    old, new = t.astype("float64"), (t + 1).astype("float64")
    cosine = 0.05 * (1.0 + sg.cos(old * (np.pi / 10)))
    return sg.where(new < 3.0, 0.02 * new, cosine), {t: t + 1}


def scaled_by_mean(loss):
    """A running mean of the loss that scales the rate."""
    mean = sg.parameter("schedule.mean", np.array(1.0))
    new = 0.9 * mean + 0.1 * sg.abs(loss).astype("float64")
    return 0.05 / (1.0 + new), {mean: new}


RATES = (number, decaying, counted, warmed_up, scaled_by_mean)


Extras = tuple[dict[str, Any], Updates]


def norms(updates):
    """The norm of the new parameters."""
    squares = [(new * new).sum().astype("float64") for p, new in updates.items() if p.ndim]
    return {"norm": sg.sqrt(sum(squares[1:], squares[0]))}, {}


def averages(updates):
    """Moving averages of the new parameters."""
    new_averages = {}
    for p, new in updates.items():
        if p.ndim and "." not in p.name:
            slow = sg.parameter(f"{p.name}.average", p.value)
            new_averages[slow] = 0.9 * slow + 0.1 * new
    return {}, new_averages


def copies(updates):
    """Every new parameter as an output too, and the first as the value of another parameter."""
    first, new = next((p, new) for p, new in updates.items() if p.ndim)
    twin = sg.parameter("twin", first.value)
    return {f"new {p.name}": value for p, value in updates.items()}, {twin: new}


EXTRAS = (norms, averages, copies)


@dataclass(frozen=True)
class Case:
    """An optimizer with options, a rate (None: its own) and what reads the new values."""

    cls: type[Optimizer]
    options: int = 0
    rate: Callable[[Any], tuple[Any, Updates]] | None = None
    extras: Callable[[Updates], Extras] | None = None
    clipped: bool = False

    def __str__(self):
        parts = [f"{self.cls.__name__}{self.options}"]
        parts += [f.__name__ for f in (self.rate, self.extras) if f is not None]
        return "-".join([*parts, *(["clipped"] if self.clipped else [])])

    @property
    def waits(self):
        """Return whether parameters are updated only after all gradients are computed."""
        options = SAMPLES[self.cls][self.options]
        return self.clipped or not {"max_norm", "loss_scale", "skip_nonfinite"}.isdisjoint(options)

    def step(self, loss, params, outputs):
        """The training step, with the loss and these outputs."""
        options, more = dict(SAMPLES[self.cls][self.options]), Updates()
        if self.rate is not None:
            options["learning_rate"], more = self.rate(loss)
        optimizer = self.cls(**options)
        if self.clipped:
            slopes = sg.optim.clip_by_global_norm(sg.grad(loss, list(params)), 0.5)
            updates = optimizer.apply(dict(zip(params, slopes, strict=True)))
        else:
            updates = optimizer.updates(loss, list(params))
        further, others = ({}, {}) if self.extras is None else self.extras(updates)
        return sg.Graph(
            {"loss": loss, **outputs, **further}, {**updates, **more, **others}, name=str(self)
        )


def plain_cases():
    """Every sample of every optimizer."""
    for cls, samples in SAMPLES.items():
        yield from (Case(cls, number) for number in range(len(samples)))


def mixed_cases():
    """Every rate, clipping, and whatever reads new values, with those that others are like."""
    for case in map(partial(Case, options=1), (SGD, Adam, AdamW)):
        yield from (dataclasses.replace(case, rate=rate) for rate in RATES)
        yield from (dataclasses.replace(case, extras=extras) for extras in EXTRAS)
        yield dataclasses.replace(case, rate=counted, extras=norms, clipped=True)
