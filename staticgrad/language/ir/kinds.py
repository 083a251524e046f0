"""Kinds of values: the one that operands select, and its declaration for type checkers.

An operation on values of a kind gives a value of the kind. A parameter plus one is a ``Value``, not
a parameter; a tensor plus one is a ``Tensor``. So operators are not typed ``Self``: each kind says
with ``of_kind`` what its operations give. Functions are generic in ``AnyValue``: of tensors they
give tensors, of anything else values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from staticgrad.errors import DTypeError
from staticgrad.language.calls.execution import as_graph_value, computing_kind, is_holding
from staticgrad.language.ir.value import Value
from staticgrad.language.types.dim import Dim

if TYPE_CHECKING:
    from typing_extensions import TypeVar as WithDefault

    import staticgrad

    #: What operands are and results become; where no operand says it, a symbolic value. A type
    #: checker reads the public name of tensors in the table of public names.
    AnyValue = WithDefault("AnyValue", Value, staticgrad.eager.Tensor, default=Value)
else:
    AnyValue = TypeVar("AnyValue")


class Numbers(Protocol):
    """An array of NumPy or of another library; values have sizes that need not be numbers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of elements along each axis."""


#: What public functions take: a value, a size, or what ``np.asarray`` takes. Sizes and Python
#: scalars are weak.
ArrayLike: TypeAlias = AnyValue | Dim | float | Sequence[Any] | Numbers


_DEFAULT_KIND: list[type[Value]] = []


def set_default_kind(kind: type[Value]) -> None:
    """The kind that an op without Value operands is bound to: symbolic values register here."""
    _DEFAULT_KIND[:] = [kind]


def binding_kind(args: tuple[Any, ...]) -> type[Any]:
    """Return the class of value (graph, eager, ...) that an op's operands select.

    A parameter beside eager values counts as one of them.
    """
    common_kind: type[Value] | None = None
    for arg in args:
        if isinstance(arg, Value):
            kind: type[Value] = getattr(arg, "kind", type(arg))
            if common_kind is not None and kind is not common_kind:
                return _where_they_meet(common_kind, kind, args)
            common_kind = kind
    return common_kind or computing_kind() or _DEFAULT_KIND[0]


def _where_they_meet(left: type[Value], right: type[Value], args: tuple[Any, ...]) -> type[Value]:
    """Return the common kind of a pair of operands, graph value or tensor, parameters aside.

    Return the kind of graphs if eager values may be their operands.
    """
    values = [arg for arg in args if isinstance(arg, Value) and not arg.is_stored]
    kinds = {getattr(arg, "kind", type(arg)) for arg in values or args if isinstance(arg, Value)}
    parts = {getattr(kind, "part_kind", kind) for kind in kinds}
    if len(parts) == 1:
        (kind,) = parts
        every = [getattr(arg, "kind", type(arg)) for arg in args if isinstance(arg, Value)]
        if any(
            hasattr(operand_kind, "part_kind") for operand_kind in every
        ):  # a pair takes real operands
            return kind.complex_kind
        if kind.computes or kind is _DEFAULT_KIND[0]:
            return kind
    if is_holding() and all(kind.computes or kind is _DEFAULT_KIND[0] for kind in kinds):
        return _DEFAULT_KIND[0]
    raise two_kinds(left, right)


def two_kinds(left: type[Value], right: type[Value]) -> DTypeError:
    """The error where values of these kinds meet."""
    names = f"{left.__name__} and {right.__name__}"
    return DTypeError(
        f"values of two kinds cannot meet in one op: {names}", hint=right.meeting or left.meeting
    )


def of_kind(value: Any, kind: Any) -> Any:
    """A value as one of ``kind``: itself, the present array of a parameter, or what holds it."""
    if kind.computes:
        return kind.lift(value) if value.is_stored else value
    return as_graph_value(value)
