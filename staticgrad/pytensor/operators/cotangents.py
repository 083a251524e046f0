"""Rows of Ops that are the identity, and change what a gradient is."""

from __future__ import annotations

from typing import Any

import staticgrad.functions as sg
from staticgrad.extend.derivatives import custom_vjp
from staticgrad.pytensor.operators.registry import operator, value


@operator("ZeroGrad", "DisconnectedGrad", "UndefinedGrad")
def _stop_gradient(x: Any, **_: Any) -> Any:
    return sg.stop_gradient(value(x))


def _identity_with_rule(name: str, change: Any) -> Any:
    """Return the identity, of which ``change`` computes the cotangent."""

    @custom_vjp(name=name)
    def identity(x: Any, *bounds: Any) -> Any:
        return x

    @identity.rule
    def _(ct: Any, out: Any, x: Any, *bounds: Any) -> Any:
        return (change(ct, *bounds), *[None] * len(bounds))

    return identity


_clip = _identity_with_rule("staticgrad.pytensor.clip_cotangent", sg.clip)
_scale = _identity_with_rule("staticgrad.pytensor.scale_cotangent", sg.multiply)


@operator("GradClip")
def _clip_gradient(x: Any, *, clip_lower_bound: float, clip_upper_bound: float, **_: Any) -> Any:
    x = value(x)
    bounds = [value(bound, x.dtype.name) for bound in (clip_lower_bound, clip_upper_bound)]
    return _clip(x, *bounds)


@operator("GradScale")
def _scale_gradient(x: Any, *, multiplier: float, **_: Any) -> Any:
    x = value(x)
    return _scale(x, value(multiplier, x.dtype.name))
