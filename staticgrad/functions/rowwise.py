"""Functions that map each row of the operands to the same row of the result.

They are written with the ordinary operators. A kind of value that computes at once may take them
as one operation: a block of rows at a time, and for the derivative once more, so that what stands
between operands and result is never whole in memory. Graphs see what the function is written with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any, TypeVar, cast

from staticgrad.language.ir.value import Value
from staticgrad.language.ops.rounding import rounded_once
from staticgrad.support.records import dataclass

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Rowwise:
    """A function whose first ``rows`` operands are cut along axis 0; the others are for every row.

    ``inner`` says of each of these how many axes at the end make a row; those before are alike in
    all. Where an argument of ``fixed``, the first behind the operands, has another value than
    there, rows are not independent.
    """

    function: Callable[..., Any]
    rows: int
    inner: tuple[int, ...]
    fixed: Mapping[str, Any]

    def cuts(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Return whether these operands can be cut: values of one first axis, and nothing fixed."""
        cut = args[: self.rows]
        if len(cut) < self.rows or any(isinstance(value, Value) for value in kwargs.values()):
            return False
        if not all(isinstance(x, Value) for x in cut):
            return False
        outer = {
            x.shape[: x.ndim - inner_rank] for x, inner_rank in zip(cut, self.inner, strict=True)
        }
        if len(outer) > 1 or () in outer:
            return False
        fixed_args = dict(zip(self.fixed, args[self.rows :], strict=False)) | kwargs
        return all(
            name not in fixed_args
            or (type(fixed_args[name]) is type(default) and fixed_args[name] == default)
            for name, default in self.fixed.items()
        )


def rowwise(*inner: int, fixed: Mapping[str, Any] = MappingProxyType({})) -> Callable[[F], F]:
    """Declare a function as a ``Rowwise`` one: ``inner`` for each operand that is cut."""

    def declare(function: F) -> F:
        """Make the function row-wise: operands are mapped in blocks of rows."""
        once = rounded_once(
            function
        )  # for each block of rows, so that operands are kept as they are
        composite = Rowwise(once, len(inner), inner, fixed)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if args and isinstance(args[0], Value):
                return type(args[0]).by_rows(composite, *args, **kwargs)
            return once(*args, **kwargs)

        call.by_rows = composite  # type: ignore[attr-defined]  # for tests that go over all
        return cast(F, call)

    return declare
