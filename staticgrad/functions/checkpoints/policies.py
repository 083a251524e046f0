"""What ``sg.checkpoint(f, policy=...)`` saves: predicates over ops, under the names of JAX.

A policy is called with an op and the types of its operands, and says whether the result is kept
from forward to backward: ``policy(op, *types)``. Everything else that the function computes runs
again. Any function of that form will do; these are the usual ones. Public as
``sg.checkpoint_policies``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from staticgrad.errors import ArgumentError
from staticgrad.errors.elsewhere import no_such_name
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.wording import kind_of, shown
from staticgrad.families import like
from staticgrad.ir.op import Op
from staticgrad.ops.marks import name_of
from staticgrad.records import dataclass
from staticgrad.types.tensor import TensorType

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
        refused: those whose values it does not keep, whatever made them.
    """

    names: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def __call__(self, op: Op, *types: TensorType) -> bool:
        """Return whether the result of ``op`` is kept."""
        raise TypeError(f"{type(self).__name__} does not say what it keeps")


@dataclass(frozen=True, repr=False)
class OnlyNames(SaveableRule):
    """Values with one of the names."""

    names: tuple[str, ...]

    def __call__(self, op: Op, *types: TensorType) -> bool:
        return name_of(op) in self.names

    def __repr__(self) -> str:
        return f"save_only_these_names({_quoted(self.names)})"


@dataclass(frozen=True, repr=False)
class ButNames(SaveableRule):
    """Values with another name than these."""

    names: tuple[str, ...]
    unnamed: bool  # whether values without a name are kept

    @property
    def refused(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.names

    def __call__(self, op: Op, *types: TensorType) -> bool:
        name = name_of(op)
        return name not in self.names if name else self.unnamed

    def __repr__(self) -> str:
        what = "save_anything_except_these_names" if self.unnamed else "save_any_names_but_these"
        return f"{what}({_quoted(self.names)})"


@dataclass(frozen=True, repr=False)
class EitherRule(SaveableRule):
    """What one of the parts keeps."""

    parts: tuple[Saveable, ...]

    def __call__(self, op: Op, *types: TensorType) -> bool:
        return any(part(op, *types) for part in self.parts)

    def __repr__(self) -> str:
        texts = (getattr(part, "__name__", repr(part)) for part in self.parts)
        return f"save_from_both_policies({', '.join(texts)})"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def names_given(what: str, names: Sequence[Any]) -> tuple[str, ...]:
    """Names as a user gave them."""
    for name in names:
        if not isinstance(name, str) or not name:
            raise ArgumentError(
                f"{what}: {shown(name)} is {kind_of(name)}, not a name",
                hint='a name is a text that is not empty: "h"',
            )
    if not names:
        raise ArgumentError(f"{what}() without a name", hint=f'{what}("a", "b")')
    return tuple(names)


def parts_of(policy: object) -> tuple[Saveable, ...]:
    """The rules of a policy, one of which must keep a value."""
    if isinstance(policy, EitherRule):
        return policy.parts
    given: Any = policy
    if callable(given) and not isinstance(given, type):
        if getattr(given, "__hash__", None) is not None and given in _makers:
            name = given.__name__
            raise ArgumentError(
                f"{name} makes a policy of its arguments", hint=f"call it: policy={name}(...)"
            )
        return (given,)
    raise ArgumentError(
        f"{shown(policy)} is {kind_of(policy)}, not a policy of what is saved",
        hint="sg.checkpoint_policies has some: dots_saveable, save_only_these_names('h')\n"
        "or a function of an op and its operands' types: lambda op, *types: op.name == 'exp'",
    )


__all__ = [
    "checkpoint_dots",
    "checkpoint_dots_with_no_batch_dims",
    "dots_saveable",
    "dots_with_no_batch_dims_saveable",
    "everything_saveable",
    "nothing_saveable",
    "save_any_names_but_these",
    "save_anything_except_these_names",
    "save_from_both_policies",
    "save_only_these_names",
]

_DOTS: Final = ("matmul", "conv", "conv_filter", "conv_image")


def everything_saveable(op: Op, *types: TensorType) -> bool:
    """Nothing runs again.

    Args:
        op: any.
        types: of its operands.

    >>> h = sg.input("h", (4,), "float64")
    >>> block = sg.checkpoint(sg.tanh, policy=sg.checkpoint_policies.everything_saveable)
    >>> sg.evaluate(sg.grad(block(h).sum(), h), {"h": [0.0] * 4})
    array([1., 1., 1., 1.])
    """
    return True


def nothing_saveable(op: Op, *types: TensorType) -> bool:
    """Only what the function takes is kept.

    Args:
        op: any.
        types: of its operands.

    >>> h = sg.input("h", (4,), "float64")
    >>> block = sg.checkpoint(sg.tanh, policy=sg.checkpoint_policies.nothing_saveable)
    >>> sg.evaluate(sg.grad(block(h).sum(), h), {"h": [0.0] * 4})
    array([1., 1., 1., 1.])
    """
    return False


def dots_saveable(op: Op, *types: TensorType) -> bool:
    """Products of matrices and convolutions are kept: they take the longest to run again.

    Args:
        op: any.
        types: of its operands.

    Returns:
        Whether it is one of these.

    >>> x, w = sg.input("x", (2, 3), "float64"), sg.input("w", (3, 3), "float64")
    >>> layer = sg.checkpoint(
    ...     lambda x: sg.tanh(x @ w), policy=sg.checkpoint_policies.dots_saveable
    ... )
    >>> str(sg.Graph(sg.grad(layer(x).sum(), w))).count("matmul")
    2
    """
    return op.name in _DOTS


def dots_with_no_batch_dims_saveable(op: Op, *types: TensorType) -> bool:
    """Products of two matrices are kept, those of stacks of matrices run again.

    Of a transformer that keeps its linear layers, and not the scores of its attention. A stack
    times one matrix is one product of two matrices.

    Args:
        op: any.
        types: of its operands.

    Returns:
        Whether it is a product of operands with two axes.

    >>> q = sg.input("q", (8, 5, 3), "float64")
    >>> scores = sg.checkpoint(
    ...     lambda q: sg.tanh(q @ sg.swapaxes(q, 1, 2)),
    ...     policy=sg.checkpoint_policies.dots_with_no_batch_dims_saveable,
    ... )
    >>> str(sg.Graph(sg.grad(scores(q).sum(), q))).count("matmul")
    3
    """
    return op.name == "matmul" and all(len(each.shape) == 2 for each in types)


checkpoint_dots = dots_saveable
checkpoint_dots_with_no_batch_dims = dots_with_no_batch_dims_saveable


@maker
def save_only_these_names(*names: str) -> Saveable:
    """Values with one of these names are kept, and nothing else.

    Args:
        names: as ``sg.checkpoint_name`` gave them.

    Raises:
        ArgumentError: no name, or something that is none.

    >>> x = sg.input("x", (3,), "float64")
    >>> def f(x):
    ...     h = sg.checkpoint_name(sg.exp(x), "h")
    ...     return sg.sin(sg.sin(h))
    >>> kept = sg.checkpoint(f, policy=sg.checkpoint_policies.save_only_these_names("h"))
    >>> text = str(sg.Graph(sg.grad(kept(x).sum(), x)))
    >>> text.count("exp("), text.count("sin(")  # the inner sine runs again
    (1, 1)
    """
    return OnlyNames(names_given("save_only_these_names", names))


@maker
@like(save_only_these_names)
def save_any_names_but_these(*names: str) -> Saveable:
    """Values with a name are kept, those with one of these, and those without any, run again.

    >>> sg.checkpoint_policies.save_any_names_but_these("scores")
    save_any_names_but_these('scores')
    """
    return ButNames(names_given("save_any_names_but_these", names), False)


@maker
@like(save_only_these_names)
def save_anything_except_these_names(*names: str) -> Saveable:
    """All is kept but values with one of these names.

    >>> sg.checkpoint_policies.save_anything_except_these_names("scores")
    save_anything_except_these_names('scores')
    """
    return ButNames(names_given("save_anything_except_these_names", names), True)


@maker
def save_from_both_policies(*policies: Saveable) -> Saveable:
    """Return what one of the policies keeps is kept.

    Args:
        policies: any number of them.

    Raises:
        ArgumentError: one that is no policy.

    >>> from staticgrad import checkpoint_policies as cp
    >>> cp.save_from_both_policies(cp.dots_saveable, cp.save_only_these_names("h"))
    save_from_both_policies(dots_saveable, save_only_these_names('h'))
    """
    return EitherRule(tuple(part for each in policies for part in parts_of(each)))


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:

    @boundary
    def __getattr__(name: str) -> NoReturn:
        raise no_such_name("sg.checkpoint_policies", name, tuple(__all__))
