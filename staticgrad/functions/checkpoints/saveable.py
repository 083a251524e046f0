"""Policies of ``sg.checkpoint_policies``: functions of an op, or rules by names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import kind_of, quote
from staticgrad.language.ir.op import Op
from staticgrad.language.ops.marks import name_of
from staticgrad.language.types.arrays import TensorType
from staticgrad.support.records import dataclass

#: ``policy(op, *types)``: whether the result of the op on operands of these types is kept.
Saveable = Callable[..., bool]
Maker = TypeVar("Maker", bound=Callable[..., Saveable])
_makers: Final[set[Any]] = set()


def maker(function: Maker) -> Maker:
    """A function that makes a policy, and is none: a decorator."""
    _makers.add(function)
    return function


class SaveableRule:
    """A policy that is one rule; one of several parts is an ``EitherRule``.

    Attributes:
        names: those that it mentions, each of which a value must have.
    """

    names: tuple[str, ...] = ()

    def __call__(self, op: Op, *types: TensorType) -> bool:
        """Return whether the result of ``op`` is kept."""
        raise TypeError(f"{type(self).__name__} does not say what it saves")


@dataclass(frozen=True, repr=False)
class OnlyNames(SaveableRule):
    """Values with one of the names."""

    names: tuple[str, ...]

    def __call__(self, op: Op, *types: TensorType) -> bool:
        return name_of(op) in self.names

    def __repr__(self) -> str:
        return f"save_only_these_names({_quote_names(self.names)})"


@dataclass(frozen=True, repr=False)
class EitherRule(SaveableRule):
    """A policy that keeps a result if one of its parts does."""

    parts: tuple[Saveable, ...]

    def __call__(self, op: Op, *types: TensorType) -> bool:
        return any(part(op, *types) for part in self.parts)

    def __repr__(self) -> str:
        texts = (getattr(part, "__name__", repr(part)) for part in self.parts)
        return f"save_from_both_policies({', '.join(texts)})"


def _quote_names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def names_given(what: str, names: Sequence[Any]) -> tuple[str, ...]:
    """Names as a user gave them."""
    for name in names:
        if not isinstance(name, str) or not name:
            raise ArgumentError(
                f"{what}: {quote(name)} is {kind_of(name)}, not a name",
                hint='a name is a text that is not empty: "h"',
            )
    if not names:
        raise ArgumentError(f"{what}() without a name", hint=f'{what}("a", "b")')
    return tuple(names)


def parts_of(policy: object) -> tuple[Saveable, ...]:
    """Return the rules of a policy; a value is kept if one of them keeps it."""
    if isinstance(policy, EitherRule):
        return policy.parts
    candidate: Any = policy
    if callable(candidate) and not isinstance(candidate, type):
        if getattr(candidate, "__hash__", None) is not None and candidate in _makers:
            name = candidate.__name__
            raise ArgumentError(
                f"{name} makes a policy of its arguments", hint=f"call it: policy={name}(...)"
            )
        return (candidate,)
    raise ArgumentError(
        f"{quote(policy)} is {kind_of(policy)}, not a policy of what is saved",
        hint="sg.checkpoint_policies has some: dots_saveable, save_only_these_names('h')\n"
        "or a function of an op and its operands' types: lambda op, *types: op.name == 'exp'",
    )
