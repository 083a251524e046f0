"""Optimizers as graph updates: from a loss and parameters to the next value of each parameter.

An optimizer is a frozen dataclass of hyperparameters. Its state (momenta, step counters, gradient
accumulators) is made of ordinary parameters and its arithmetic of ordinary nodes, so that a whole
training step is one graph: ``Graph({"loss": loss}, updates=opt.updates(loss, ws))``.

    >>> import numpy as np, staticgrad as sg
    >>> w = sg.parameter("w", np.ones(3))
    >>> step = sg.Graph(updates=SGD(0.5).updates((w * w).sum(), [w]))
    >>> sg.evaluate(step, {}, updates=True)[1]["w"]
    array([0., 0., 0.])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from math import inf
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from staticgrad.autodiff.reverse import grad, slopes_of_free
from staticgrad.autodiff.structure import leaves, mapped
from staticgrad.errors import (
    ArgumentError,
    GraphError,
    ShapeError,
    UnknownArgumentError,
    UnknownAttributeError,
)
from staticgrad.errors.elsewhere import no_such_name
from staticgrad.errors.habits import OF_OPTIMIZERS
from staticgrad.errors.wording import did_you_mean, kind_of, shown
from staticgrad.ir.calls import Constructed
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.ir.session import running_session
from staticgrad.ir.value import Value
from staticgrad.ops.operands import is_number, related
from staticgrad.optimizer_state import slot, state_of, states_kept_by

__all__ = [
    "Adam",
    "AdamW",
    "Optimizer",
    "SGD",
    "clip_by_global_norm",
    "global_norm",
    "registered_optimizers",
    "slot",
]


def __dir__() -> list[str]:
    return sorted(__all__)


_MINIMIZE: Final = (
    "in a function under @sg.function it is a step of each call; of a graph:"
    " sg.Graph({'loss': loss}, opt.updates(loss, ws))"
)
Updates = dict[Parameter, Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Optimizer(metaclass=Constructed):
    """What all optimizers have. Subclasses say in ``step`` how a gradient becomes an update.

    Args:
        accumulate: gradients of this many runs are added up, in the order of the runs, and their
            mean is applied in the last of them: k mini-batches of a mean loss act as one batch.
        name: prefix of the state that belongs to no single parameter (``sgd.micro_step``); give
            two optimizers of one graph two names.
    """

    accumulate: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        """Check the hyperparameters that are numbers.

        Raises:
            ArgumentError: one is outside its range; it is named.
        """
        _require(type(self.accumulate) is int and self.accumulate >= 1, "accumulate", "1 or more")

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            raise _no_attribute(self, name)

    def updates(self, loss: Any, params: Any) -> Updates:
        """The next value of every parameter, and of the state that this call makes for them.

        Args:
            loss: a 0-d floating value.
            params: parameters, in a list, tuple or dict (nested as one likes).

        Returns:
            Parameter -> value, for ``Graph(updates=...)``. Every call makes new state.

        Raises:
            GradientError: the loss has no gradient with respect to one of them.
            ArgumentError: something among ``params`` is no parameter, or there are none.
        """
        wanted = _parameters(params)
        if not wanted:
            raise ArgumentError("there are no parameters to update", hint="updates(loss, [w, b])")
        return self.apply(dict(zip(wanted, grad(loss, wanted), strict=True)))

    def apply(self, grads: Mapping[Parameter, Any]) -> Updates:
        """As ``updates``, for gradients made elsewhere (clipped, averaged, noised).

        Raises:
            ShapeError: a gradient that is not of its parameter's shape.
        """
        if not isinstance(grads, Mapping):
            raise ArgumentError(
                f"apply takes gradients by parameter, not {kind_of(grads)}",
                hint="dict(zip(params, sg.grad(loss, params))), or updates(loss, params)",
            )
        for p, gradient in zip(_parameters(list(grads)), grads.values(), strict=True):
            _check_gradient(p, gradient)
        return self.advanced(grads)

    def advanced(self, grads: Mapping[Any, Any]) -> Updates:
        """``step``, or where gradients are accumulated one run of that; nothing is checked.

        Steps of parameters in a storage dtype, and their state, have its compute dtype (1e-8 is
        nothing in float16); the new value of a parameter is rounded once.
        """
        computed = {
            p: functions.astype(g, p.dtype.compute) if p.dtype.is_storage else g
            for p, g in grads.items()
        }
        stepped = self.step(computed) if self.accumulate == 1 else self._accumulated(computed)
        return {
            p: functions.astype(value, p.dtype) if p.dtype.is_storage else value
            for p, value in stepped.items()
        }

    def minimize(self, loss: Any, params: Any = None) -> None:
        """Let each call of a traced function end with a step, as ``updates`` has it.

        What the optimizer keeps for a parameter is made once, and serves every trace. Of a loss
        that is a tensor the step happens now; in ``f.eagerly(...)`` when the function ends.

        Args:
            loss: a 0-d floating value.
            params: as in ``updates``. By default all that the loss depends on through
                differentiable operations, but those that the function has updated before.

        Raises:
            GraphError: no function is traced, and the loss is no tensor. Else as ``updates``.

        >>> import numpy as np, staticgrad as sg
        >>> w, opt = sg.parameter("w", np.ones(3)), SGD(0.5)
        >>> @sg.function
        ... def step(x):
        ...     loss = ((w - x) ** 2).sum()
        ...     opt.minimize(loss)
        ...     return loss
        >>> step(np.zeros(3)), step(np.zeros(3))
        (array(3.), array(0.))
        """
        if isinstance(loss, Value) and loss.computes:
            from staticgrad.eager.at_once import minimize  # who has tensors has loaded most of it

            with states_kept_by(self):
                minimize(loss, params and _parameters(params), self.apply)
            return
        noted = running_session()
        if noted is None:
            what = f"{type(self).__name__}.minimize: no function is traced"
            raise GraphError(what, hint=_MINIMIZE)
        with states_kept_by(self):
            if params is None:
                found = self.apply(slopes_of_free(loss, {p.node for p, _ in noted.updates}))
            else:
                found = self.updates(loss, params)
        for parameter_, value in found.items():
            parameter_.update(value)

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """One application of the gradients: the parameters and their state afterwards."""
        raise TypeError(f"{type(self).__name__} does not say how it steps")

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "step" in cls.__dict__:
            cls.step = _graph_step(cls.step)  # type: ignore[method-assign]

    def state(self, name: str, dtype: str = "int64") -> Parameter:
        """A 0-d state parameter of the optimizer as a whole, zero at first."""
        prefix = self.name or type(self).__name__.lower()
        made: Parameter = state_of(None, f"{prefix}.{name}", (), np.dtype(dtype))
        return made

    def _accumulated(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Sum gradients in slots; every k-th run steps with their mean and empties the slots."""
        seen = self.state("micro_step")
        due = functions.equal(seen + 1, self.accumulate)
        where = functions.where
        slots = {p: slot(p, "accumulator") for p in grads}
        totals = {p: slots[p] + gradient for p, gradient in grads.items()}
        stepped = self.step({p: total / self.accumulate for p, total in totals.items()})
        return {
            **{p: where(due, after, p) for p, after in stepped.items()},
            **{slots[p]: where(due, 0.0, total) for p, total in totals.items()},
            seen: where(due, 0, seen + 1),
        }


def registered_optimizers() -> tuple[type[Optimizer], ...]:
    """Every class of optimizers that there is, in the order of definition, a base before others."""
    found: dict[type[Optimizer], None] = {}
    waiting = Optimizer.__subclasses__()
    while waiting:
        cls = waiting.pop(0)
        found[cls] = None
        waiting += cls.__subclasses__()
    return tuple(found)


def _no_attribute(optimizer: Optimizer, name: str) -> UnknownAttributeError:
    known = [each for each in dir(type(optimizer)) if not each.startswith("_")]
    return UnknownAttributeError(
        f"{type(optimizer).__name__} has no {name!r}",
        hint=OF_OPTIMIZERS.get(name) or did_you_mean(name, known),
    )


def _graph_step(step: Any) -> Any:
    """A subclass's ``step``; called without gradients, as by users of PyTorch, it says why not."""

    @wraps(step)
    def stepped(self: Optimizer, *grads: Any) -> Any:
        if len(grads) != 1:
            what = f"{type(self).__name__}.step takes gradients by parameter, and runs nothing"
            raise UnknownArgumentError(what, hint=OF_OPTIMIZERS["step"])
        return step(self, *grads)

    return stepped


@dataclass(frozen=True, eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as in Sutskever et al. (ICML 2013), eqs. 1 to 4.

    With g the gradient (plus ``weight_decay * p``), v the slot ``<parameter>.momentum``:

        v' = momentum * v + g
        p' = p - learning_rate * v'                     (momentum)
        p' = p - learning_rate * (g + momentum * v')    (nesterov)

    The learning rate stands outside v, so that a changing rate does not act on past gradients.

    Args:
        learning_rate: a number, or a 0-d floating value (an input, a parameter, a schedule).
        momentum: 0 (no slots) up to, not including, 1.
        nesterov: look ahead; needs momentum.
        weight_decay: the L2 penalty's factor.
    """

    learning_rate: Any
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        _check_rate(self.learning_rate)
        _require_between(self.momentum, "momentum", 0, 1, "in [0, 1)")
        _require_between(self.weight_decay, "weight_decay", 0, inf, "0 or more")
        _require(type(self.nesterov) in (bool, np.bool_), "nesterov", "True or False")
        _require(self.momentum > 0 or not self.nesterov, "nesterov", "False without momentum")

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters and momenta."""
        updates: Updates = {}
        for p, g in grads.items():
            if self.weight_decay:
                g = g + self.weight_decay * p
            if self.momentum:
                velocity = slot(p, "momentum")
                updates[velocity] = moved = self.momentum * velocity + g
                g = g + self.momentum * moved if self.nesterov else moved
            updates[p] = p - _rate(self.learning_rate, p) * g
        return updates


@dataclass(frozen=True, eq=False)
class Adam(Optimizer):
    """Adam: Kingma and Ba (ICLR 2015), algorithm 1.

    With g the gradient, t the runs so far (``adam.step``, from 1), c1 = 1 - beta1**t, c2 = 1 -
    beta2**t, and the slots ``<parameter>.first_moment`` m and ``<parameter>.second_moment`` v:

        m' = beta1 * m + (1 - beta1) * g
        v' = beta2 * v + (1 - beta2) * (g * g)
        p' = p - learning_rate * (m' / (sqrt(v') * (c1 / sqrt(c2)) + c1 * epsilon))

    The quotient is (m' / c1) / (sqrt(v' / c2) + epsilon) by one division. c1 / sqrt(c2)
    and c1 * epsilon are computed in float64, once per step, then take the moments' dtype.

    Args:
        learning_rate: a number, or a 0-d floating value.
        beta1, beta2: decay of the moments, in [0, 1); epsilon: added to the root, outside it.
    """

    learning_rate: Any = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        _check_rate(self.learning_rate)
        _require_between(self.beta1, "beta1", 0, 1, "in [0, 1)")
        _require_between(self.beta2, "beta2", 0, 1, "in [0, 1)")
        _require_between(self.epsilon, "epsilon", 0, inf, "0 or more")

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters, moments and step counter."""
        count = self.state("step")
        t = (count + 1).astype("float64")
        correction = 1.0 - functions.power(self.beta1, t)
        scale = correction / functions.sqrt(1.0 - functions.power(self.beta2, t))
        least = correction * self.epsilon
        updates: Updates = {count: count + 1}
        for p, g in grads.items():
            m, v = slot(p, "first_moment"), slot(p, "second_moment")
            updates[m] = self.beta1 * m + (1.0 - self.beta1) * g
            updates[v] = self.beta2 * v + (1.0 - self.beta2) * (g * g)
            spread = functions.sqrt(updates[v]) * scale.astype(m.dtype)
            updates[p] = self.moved(p, updates[m] / (spread + least.astype(m.dtype)))
        return updates

    def moved(self, p: Parameter, direction: Any) -> Any:
        """The parameter after a step of the learning rate along ``-direction``."""
        return p - _rate(self.learning_rate, p) * direction


@dataclass(frozen=True, eq=False)
class AdamW(Adam):
    """Adam with decoupled weight decay: Loshchilov and Hutter (ICLR 2019), algorithm 2.

    As Adam, but ``p' = p - learning_rate * (direction + weight_decay * p)``. The decay is scaled by
    the learning rate, as frameworks have it (the paper scales it by the schedule alone).

    Args:
        learning_rate, beta1, beta2, epsilon: as in Adam.
        weight_decay: the factor of p.
    """

    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        _require_between(self.weight_decay, "weight_decay", 0, inf, "0 or more")

    def moved(self, p: Parameter, direction: Any) -> Any:
        """The parameter after a step along ``-direction`` and towards zero."""
        return super().moved(p, direction + self.weight_decay * p)


def global_norm(grads: Any) -> Any:
    """The Euclidean norm of all gradients as one vector; a 0-d value.

    Args:
        grads: values in a list, tuple or dict; their squares are added in that order.

    Raises:
        ArgumentError: there are none.
    """
    return _norm(leaves(grads))


def clip_by_global_norm(grads: Any, max_norm: float) -> Any:
    """The gradients, scaled together so that their global norm is at most ``max_norm``.

    ``g * (max_norm / max(norm, max_norm))``: Pascanu et al. (ICML 2013), algorithm 1. A NaN among
    them makes all of them NaN. Returns the containers of ``grads``.

    Raises:
        ArgumentError: no gradients, or a ``max_norm`` that is not positive.
    """
    _require_number(max_norm, is_number(max_norm) and max_norm > 0, "max_norm", "positive")
    scale = _scale(leaves(grads), max_norm)
    return mapped(grads, lambda g: g * scale.astype(g.dtype))


def clipped(grads: Sequence[Any], max_norm: float) -> list[Any]:
    """As ``clip_by_global_norm``, for values of any kind, tensors included; nothing is checked."""
    scale = _scale(grads, max_norm)
    return [g * scale.astype(g.dtype) for g in grads]


def _scale(grads: Sequence[Any], max_norm: float) -> Any:
    return max_norm / functions.maximum(_norm(grads), max_norm)


def _norm(grads: Sequence[Any]) -> Any:
    if not grads:
        raise ArgumentError("the norm of no gradients")
    total: Any = (grads[0] * grads[0]).sum()
    for g in grads[1:]:
        total = total + (g * g).sum()
    return functions.sqrt(total)


def _parameters(params: Any) -> list[Parameter]:
    """The parameters in ``params``, each once."""
    found: list[Any] = list(leaves(params))
    for value in found:
        if not isinstance(value, Parameter):
            raise ArgumentError(
                f"an optimizer updates parameters; {value!r} is none",
                hint="sg.parameter(name, array) makes one",
                related=related(value),
            )
    _require_distinct(found)
    return found


def _require_distinct(params: Iterable[Parameter]) -> None:
    seen = set()
    for p in params:
        if p.node in seen:
            raise ArgumentError(f"parameter {p.name!r} is listed twice")
        seen.add(p.node)


def _check_gradient(p: Parameter, gradient: Any) -> None:
    if isinstance(gradient, Value) and gradient.shape != p.shape:
        raise ShapeError(
            f"the gradient of {p.name!r} is {gradient.type}, the parameter {p.type}",
            related=related(p, gradient),
        )


def _check_rate(rate: Any) -> None:
    if isinstance(rate, Value):
        if rate.shape or not rate.dtype.is_float:
            raise ArgumentError(
                f"learning_rate is {rate.type}, not a 0-d floating value", related=related(rate)
            )
        return
    _require_between(rate, "learning_rate", 0, inf, "0 or more")


def _rate(rate: Any, p: Parameter) -> Any:
    """The learning rate in the dtype of a step of ``p``; a number is weak as it is."""
    return rate.astype(p.dtype.compute) if isinstance(rate, Value) else rate


def _require_number(number: Any, holds: bool, name: str, what: str) -> None:
    if not is_number(number):
        raise ArgumentError(
            f"{name} is {shown(number)}, not a number",
            hint="parameters go to updates: sg.optim.SGD(0.1).updates(loss, [w, b])"
            if isinstance(number, list | tuple | dict)
            else "",
        )
    _require(holds, name, f"{what}, not {number}")


def _require_between(number: Any, name: str, low: float, high: float, what: str) -> None:
    _require_number(number, is_number(number) and low <= number < high, name, what)


def _require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise ArgumentError(f"{name} must be {what}")


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        raise no_such_name("sg.optim", name)
