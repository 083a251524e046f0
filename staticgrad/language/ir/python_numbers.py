"""Python numbers of a trace that later runs replace: weak scalars whose value each call gives.

Arithmetic among them is recorded and not traced: each call repeats it in Python, so that whole
numbers do not overflow and a division by 0 raises, as in the plain function. Where a number meets
an array it becomes an input without axes, in the dtype in which a Python number meets that array.
Whatever else asks for the number is refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from staticgrad.errors import SymbolicValueError
from staticgrad.language.ir.graph import Input, Symbolic
from staticgrad.language.ir.value import Value
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import DType

#: A number of Python, which is what arithmetic of Python makes of it.
Number = int | float
_NUMBERS: Final = (int, float)


class Arithmetic:
    """The Python numbers of one trace, and what is computed of them.

    Attributes:
        inputs: the inputs of the graph: their values, and the index of the number of each.
    """

    def __init__(self, numbers: Mapping[str, Number], labels: Iterable[str]) -> None:
        """Begin with the named ones of a call; ``labels`` are those of the other inputs."""
        self._names, self._labels = tuple(numbers), {*labels}
        #: The latest error where Python needed a number: NumPy's words may hide it.
        self.latest_refusal: SymbolicValueError | None = None
        self._types: list[type] = []
        self._steps: list[tuple[Callable[..., Any], tuple[int, ...], tuple[Any, ...]]] = []
        self._inputs: dict[tuple[int, DType], Symbolic] = {}
        self.call_numbers = {
            name: self._new(name, (name,), value) for name, value in numbers.items()
        }

    def _new(self, text: str, names: tuple[str, ...], value: Number) -> PythonNumber:
        self._types.append(type(value))
        return PythonNumber(self, len(self._types) - 1, value, text, names)

    def apply(self, f: Callable[..., Any], name: str, *operands: Any) -> Any:
        """Apply arithmetic to Python numbers of a trace: each call computes the result."""
        numbers = [operand for operand in operands if type(operand) is PythonNumber]
        value = f(
            *[operand.sample if type(operand) is PythonNumber else operand for operand in operands]
        )
        if type(value) not in _NUMBERS or any(number.arithmetic is not self for number in numbers):
            raise numbers[0].refusal(name)
        places = tuple(
            operand.place if type(operand) is PythonNumber else -1 for operand in operands
        )
        literals = tuple(None if type(operand) is PythonNumber else operand for operand in operands)
        self._steps.append((f, places, literals))
        names = tuple(dict.fromkeys(label for number in numbers for label in number.names))
        return self._new(f"computed of {', '.join(names)}", names, value)

    def input_of(self, number: PythonNumber, dtype: DType) -> Symbolic:
        """Return the graph input through which each call passes a Python number as ``dtype``."""
        value = self._inputs.get((number.place, dtype))
        if value is None:
            label, count = number.names[0], 0
            while label in self._labels:
                count += 1
                label = f"{number.names[0]}.{count}"
            self._labels.add(label)
            value = Symbolic.bind(Input(label, TensorType(dtype, ())), ())
            self._inputs[number.place, dtype] = value
        return value

    @property
    def inputs(self) -> Sequence[tuple[Symbolic, int]]:
        return [(value, place) for (place, _), value in self._inputs.items()]

    def values(self, numbers: Mapping[str, Number]) -> list[Number]:
        """Compute the traced Python numbers of a call from those it is called with, by index.

        Raises:
            TypeError: one that meets arrays has another type than in the trace. Other errors are
                those of Python's arithmetic.
        """
        values: list[Any] = [numbers[name] for name in self._names]
        for f, places, literals in self._steps:
            pairs = zip(places, literals, strict=True)
            values.append(
                f(*[values[place] if place >= 0 else literal for place, literal in pairs])
            )
        if list(map(type, values)) != self._types:
            raise TypeError("numbers of other types than in the trace")
        return values


def _binary(name: str, turned: bool = False) -> Callable[[PythonNumber, Any], Any]:
    """Make an arithmetic operator of a traced Python number; ``turned``: the reflected one."""
    f = getattr(operator, name)

    def operate(self: PythonNumber, operand: Any) -> Any:
        if type(operand) not in (*_NUMBERS, bool, PythonNumber):
            return NotImplemented
        pair = (operand, self) if turned else (self, operand)
        return self.arithmetic.apply(f, name, *pair)

    return operate


def _unary(f: Callable[[Any], Any], name: str) -> Callable[[PythonNumber], Any]:
    return lambda self: self.arithmetic.apply(f, name, self)


def _make_refusal(what: str) -> Callable[..., NoReturn]:
    def refuse(self: PythonNumber, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise self.refusal(what)

    return refuse


def _make_comparison(what: str) -> Callable[[PythonNumber, Any], Any]:
    def compare(self: PythonNumber, operand: Any) -> Any:
        if isinstance(operand, Value):
            return NotImplemented  # its own operator compares elements
        raise self.refusal(what)

    return compare


class PythonNumber:
    """A Python number of a trace that each call gives anew.

    Attributes:
        sample: its value in the trace, for the type of what is computed of it.
        names: the arguments that it is computed of.
    """

    __slots__ = ("arithmetic", "names", "place", "sample", "text")

    def __init__(
        self,
        arithmetic: Arithmetic,
        place: int,
        sample: Number,
        text: str,
        names: tuple[str, ...],
    ) -> None:
        self.arithmetic, self.place, self.sample = arithmetic, place, sample
        self.text, self.names = text, names

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # isinstance reads it: the function does what it does with a float
        return type(self.sample)

    def refusal(self, what: str) -> SymbolicValueError:
        """Return the error where Python needs the number now."""
        error = SymbolicValueError(f"{what} needs a Python number, {self.text}")
        error.numbers = self.names
        self.arithmetic.latest_refusal = error
        return error

    def __getattr__(self, name: str) -> NoReturn:
        if not name.startswith("__") and hasattr(self.sample, name):
            raise self.refusal(f".{name}")
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"<{self.text}>"

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise self.refusal("a copy")

    __str__ = _make_refusal("str()")
    __format__ = _make_refusal("a format")
    __bool__ = _make_refusal("a condition")
    __float__ = _make_refusal("float()")
    __int__ = _make_refusal("int()")
    __index__ = _make_refusal("a size, an index or range()")
    __complex__ = _make_refusal("complex()")
    __hash__ = _make_refusal("hash()")
    __array_ufunc__ = _make_refusal("a NumPy function")
    __array_function__ = _make_refusal("a NumPy function")
    __round__ = _make_refusal("round()")
    __trunc__ = _make_refusal("int()")
    __floor__ = _make_refusal("math.floor()")
    __ceil__ = _make_refusal("math.ceil()")
    __divmod__ = __rdivmod__ = _make_refusal("divmod()")

    __eq__ = _make_comparison("a comparison")
    __ne__ = _make_comparison("a comparison")
    __lt__ = _make_comparison("a comparison")
    __le__ = _make_comparison("a comparison")
    __gt__ = _make_comparison("a comparison")
    __ge__ = _make_comparison("a comparison")

    __add__, __radd__ = _binary("add"), _binary("add", True)
    __sub__, __rsub__ = _binary("sub"), _binary("sub", True)
    __mul__, __rmul__ = _binary("mul"), _binary("mul", True)
    __truediv__, __rtruediv__ = _binary("truediv"), _binary("truediv", True)
    __floordiv__, __rfloordiv__ = _binary("floordiv"), _binary("floordiv", True)
    __mod__, __rmod__ = _binary("mod"), _binary("mod", True)
    __pow__, __rpow__ = _binary("pow"), _binary("pow", True)
    __neg__, __abs__ = _unary(operator.neg, "neg"), _unary(abs, "abs")
    __pos__ = _unary(operator.pos, "pos")
