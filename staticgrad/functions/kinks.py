"""Derivatives at points where a function has none: a table of the choice of every op.

Each op says it in its class attribute ``kink``; what is a function over ops, and no op, is added
here. The names of both are those of the text form and of ``sg``.
"""

from __future__ import annotations

from typing import Final

from staticgrad.language.ir.op import registered_ops

#: Functions made of ops whose convention follows from theirs.
_OF_FUNCTIONS: Final = {
    "argmax": "no gradient; the first of equal elements is the position",
    "argmin": "no gradient; the first of equal elements is the position",
    "nn.elu": "the derivative at 0 is alpha",
    "nn.leaky_relu": "the derivative at 0 is the slope",
    "nn.lp_pool": "the derivative of a window of zeros is 0",
    "nn.relu": "the derivative at 0 is 0, at NaN 1",
    "nanstd": "the derivative where all elements are equal is 0, the second one NaN",
    "norm": "the derivative of a vector of zeros is 0, the second one NaN; of an order below 1, by"
    " each zero 0",
    "std": "the derivative where all elements are equal is 0, the second one NaN",
}
_NO_GRADIENT: Final = "carries no gradient"


class Conventions(dict[str, str]):
    """A map from op or function names to their derivatives at kinks; prints as a table."""

    def __str__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in self.items())


def conventions() -> Conventions:
    """Return the derivative of each op at its kinks, and which ops have no derivative.

    An op that is not listed has the mathematical derivative wherever it exists.
    Ops from outside are listed too, once they are defined.

    >>> conventions()["abs"]
    'the derivative at 0 is 0'
    """
    kinks = {
        name: op.kink or ("" if op.differentiable else _NO_GRADIENT)
        for name, op in registered_ops().items()
    }
    stated = {name: text for name, text in (kinks | _OF_FUNCTIONS).items() if text}
    return Conventions(sorted(stated.items()))
