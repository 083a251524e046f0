"""What a named size refuses: impossible bounds, and to be a number before the feeds are known.

Every way in which Python and NumPy ask an object for its number ends here, in one message that
says what to write instead. The arithmetic of sizes is in ``types/dim.py``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import wraps
from operator import index
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from staticgrad.errors import ArgumentError, SymbolicValueError, UnknownAttributeError

Operator = TypeVar("Operator", bound=Callable[..., Any])

#: NumPy functions that are Python operators: ``np.int64(2) * batch`` arrives as one of them.
_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "equal": operator.eq,
    "not_equal": operator.ne,
}


class UnknownNumber:
    """Base of sizes that depend on names."""

    __slots__ = ()

    def _refuse(self, what: str, instead: str) -> SymbolicValueError:
        return SymbolicValueError(
            f"{what}: the size {self} has no value before feeds are bound",
            hint=f"{instead}\nor give the axis a literal size where it is declared",
        )

    def __bool__(self) -> NoReturn:
        raise self._refuse("bool()", "a condition on a size cannot steer how a graph is built")

    def __index__(self) -> NoReturn:
        raise self._refuse(
            "a whole number is needed", "use x.shape, sg.zeros(shape) and whole-array operations"
        )

    def __float__(self) -> NoReturn:
        raise self._refuse("float()", "as a number inside the graph: sg.size_value(size)")

    if not TYPE_CHECKING:  # to a type checker a size is no function

        def __call__(self, *_args: object, **_named: object) -> NoReturn:
            raise UnknownAttributeError(
                f"the size {self} is not called: size and shape are attributes",
                hint="x.size counts the elements, x.shape[0] is the size of the first axis",
            )

    def __truediv__(self, other: object) -> Any:
        if _takes_over(other):
            return NotImplemented
        raise self._refuse("/", "a size divides with //; for a number: sg.size_value(size) / 2")

    def __rtruediv__(self, other: object) -> Any:
        if _takes_over(other):
            return NotImplemented
        raise self._refuse("/", "as a number inside the graph: 1.0 / sg.size_value(size)")

    def __pow__(self, other: object) -> Any:
        if _takes_over(other):
            return NotImplemented
        raise self._refuse("**", "as a number inside the graph: sg.size_value(size) ** 2")

    def __lt__(self, other: object) -> Any:
        return self._compared("<", other)

    def __le__(self, other: object) -> Any:
        return self._compared("<=", other)

    def __gt__(self, other: object) -> Any:
        return self._compared(">", other)

    def __ge__(self, other: object) -> Any:
        return self._compared(">=", other)

    def _compared(self, sign: str, other: object) -> Any:
        if _takes_over(other):
            return NotImplemented
        raise self._refuse(
            f"{self} {sign} {other}", "promise it where it is declared: sg.dim(name, min=, max=)"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        same = _OPERATORS.get(ufunc.__name__)
        if same is None or method != "__call__" or kwargs:
            raise self._refuse(
                f"np.{ufunc.__name__}", "as a number inside the graph: sg.size_value(size)"
            )
        left, right = (i if isinstance(i, UnknownNumber) else self.whole(i) for i in inputs)
        return same(left, right)

    def whole(self, number: Any) -> int:
        """What stands beside a size in its arithmetic, as an int.

        Raises:
            SymbolicValueError: it is no whole number.
        """
        try:
            return operator.index(number)
        except TypeError:
            raise self._refuse(
                f"{number!r} is no size",
                "sizes are whole numbers; as a number inside the graph: sg.size_value(size)",
            ) from None


def _takes_over(other: object) -> bool:
    """Whether ``other`` brings operators that come first: NumPy's convention, which values keep."""
    return getattr(other, "__array_priority__", 0.0) > 0.0


def over_sizes(method: Operator) -> Operator:
    """An operator over sizes: takes whole numbers and sizes, leaves values to their own operators.

    Raises SymbolicValueError for other numbers.
    """

    @wraps(method)
    def operated(self: UnknownNumber, other: Any) -> Any:
        if not isinstance(other, int | UnknownNumber):
            if _takes_over(other):
                return NotImplemented
            other = self.whole(other)
        return method(self, other)

    return operated  # type: ignore[return-value]  # it also takes what has an index


def check_size(name: Any, min: Any, max: Any, hint: Any, multiple_of: Any) -> None:
    """Refuse a size that cannot be.

    Raises:
        ArgumentError: no name, bounds that are no whole numbers or that no size can meet, or a
            hint outside of them.
    """
    if not name or not isinstance(name, str):
        raise ArgumentError(
            f"a size needs a name, got {name!r}", hint='sg.dim("batch"); a literal size is an int'
        )
    for what, bound in (("min", min), ("max", max), ("hint", hint), ("multiple_of", multiple_of)):
        if not _is_whole(bound) and not (bound is None and what in ("max", "hint")):
            raise ArgumentError(f"size {name!r}: {what}={bound!r} is not a whole number")
    promised = f"min={min}, max={max}, multiple_of={multiple_of}"
    if min < 0 or multiple_of < 1 or (max is not None and max < min):
        raise ArgumentError(f"size {name!r}: no size has {promised}")
    if hint is not None and (hint < min or (max is not None and hint > max)):
        raise ArgumentError(f"size {name!r}: hint={hint} is outside {promised}")


def _is_whole(bound: Any) -> bool:
    try:
        index(bound)
    except TypeError:
        return False
    return not isinstance(bound, bool)
