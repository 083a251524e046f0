"""ParameterGroups of parameters that step each in their own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from staticgrad.errors import ArgumentError
from staticgrad.errors.tracebacks import bounded
from staticgrad.errors.wording import kind_of, shown
from staticgrad.ir.graph import Parameter
from staticgrad.optim.optimizer import Optimizer, Updates, listed_parameters, rule
from staticgrad.optim.state import as_given


@bounded
@rule
class ParameterGroups(Optimizer):
    """Other options, or another optimizer, for some of the parameters.

    Gradients are accumulated, clipped and scaled for all of them together: those options stand
    here.

    Args:
        default: the optimizer of all parameters that no group has.
        groups: pairs of what belongs to a group and how that steps. What belongs to it: a function
            of a parameter that gives True or False, or parameters in containers, or what has a
            method ``parameters()``. How it steps: options that differ from ``default``, in a dict,
            or an optimizer. Of several groups the first one has a parameter.

    Raises:
        ArgumentError: something else; ``accumulate`` and so on in an optimizer of a group.

    >>> import numpy as np, staticgrad as sg
    >>> w, b = sg.parameter("w", np.ones((2, 2))), sg.parameter("b", np.ones(2))
    >>> plain = (lambda p: p.ndim < 2, {"weight_decay": 0.0})
    >>> opt = ParameterGroups(sg.optim.SGD(0.1, weight_decay=0.5), [plain])
    >>> found = opt.updates((w.sum() + b.sum()) * 0.0, [w, b])
    >>> sg.evaluate([found[w][0], found[b]], {})
    [array([0.95, 0.95]), array([1., 1.])]
    """

    default: Optimizer
    groups: Sequence[tuple[Any, Any]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_inner(self.default)
        if isinstance(self.groups, Mapping) or not isinstance(self.groups, Sequence):
            raise _no_groups(self.groups)
        made = [self._group(each) for each in self.groups]
        object.__setattr__(self, "_made", made)

    def parts(self) -> tuple[Optimizer, ...]:
        """The default one and those of the groups."""
        made: list[tuple[Any, Optimizer]] = vars(self)["_made"]
        return (self.default, *[how for _, how in made])

    def _group(self, pair: Any) -> tuple[Callable[[Any], bool], Optimizer]:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise _no_groups(pair)
        chosen, how = pair
        if isinstance(how, Mapping):
            how = replace(self.default, **how)
        _check_inner(how)
        if callable(chosen) and not hasattr(chosen, "parameters"):
            return chosen, how
        own = {p.node for p in listed_parameters(chosen)}
        return (lambda p: getattr(p, "node", None) in own), how

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """What the optimizers of the groups give."""
        made: list[tuple[Callable[[Any], bool], Optimizer]] = vars(self)["_made"]
        parts: dict[int, dict[Parameter, Any]] = {}
        for p, g in grads.items():
            place = next((k for k, (has, _) in enumerate(made) if has(as_given(p))), -1)
            parts.setdefault(place, {})[p] = g
        updates: Updates = {}
        for place, part in parts.items():
            how = self.default if place < 0 else made[place][1]
            updates |= how.scheduled(part)
        return updates


#: What all parameters of a step have in common.
_SHARED = tuple(field.name for field in fields(Optimizer) if field.name != "name")


def _check_inner(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(
            f"ParameterGroups takes optimizers, not {shown(optimizer)}", hint="sg.optim.AdamW(1e-3)"
        )
    for name in _SHARED:
        if getattr(optimizer, name) != getattr(Optimizer, name):
            raise ArgumentError(
                f"ParameterGroups: {name} is of all parameters together",
                hint=f"ParameterGroups(optimizer, groups, {name}=...)",
            )


def _no_groups(given: Any) -> ArgumentError:
    return ArgumentError(
        f"ParameterGroups takes pairs of what belongs and how it steps, not {kind_of(given)}",
        hint='ParameterGroups(sg.optim.AdamW(), [(lambda p: p.ndim < 2, {"weight_decay": 0.0})])',
    )
