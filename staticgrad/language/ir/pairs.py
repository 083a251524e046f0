"""Complex values: pairs of real ones, of any kind.

No op, kernel or rule knows a complex element. A complex value is a pair of values of one kind, and
what an op means of pairs is one more reading of it (``Complex.readings``), as its derivative and
its meaning over batches are. Below the pair everything is real: derivatives, ``vmap``, passes,
fusion and plans. Where an array meets a graph (inputs, parameters, outputs) both parts are one real
array with a last axis of 2, which are the very bytes of NumPy's complex array: nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from staticgrad.errors import DTypeError, ParameterValueError, Related
from staticgrad.errors.tracebacks import boundary, called_name
from staticgrad.errors.values import NoNumbers
from staticgrad.language.calls.execution import computing_kind, register_parameters
from staticgrad.language.calls.functional import functions
from staticgrad.language.ir.kinds import of_kind
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.value import Value
from staticgrad.language.storage.parameter import ParameterValue
from staticgrad.language.types.arrays import Array, TensorType, as_parts, of_parts
from staticgrad.language.types.dtype import DType, as_dtype, complex_of

#: What an op means of operands of which one at least is a pair.
Reading = Callable[..., Any]
#: A real or imaginary part; None is an exact zero, which costs nothing.
Part = Any
Parts = tuple[Part, Part]


#: What imports the module of the readings: few programs need it.
_LOADERS: list[Callable[[], Any]] = []


def register_readings(load: Callable[[], Any]) -> None:
    """Let ``load`` run before an op is applied to a pair, to fill ``Complex.readings``."""
    _LOADERS[:] = [load]


def is_complex_data(data: object) -> bool:
    """Return whether data are complex numbers of Python or NumPy, or lists with some."""
    if isinstance(data, complex):
        return True
    if isinstance(data, list | tuple):
        return any(map(is_complex_data, data))
    if isinstance(data, np.ndarray):  # as memory has it, whatever a subclass says
        return bool(np.ndarray.dtype.__get__(data).kind == "c")
    return getattr(getattr(data, "dtype", None), "kind", "") == "c"


def join_parts(value: Any) -> Any:
    """Both parts of a complex value, along the last axis of a real one; anything else as it is."""
    return value.join_parts() if isinstance(value, Complex) else value


def has_parts(op: Any) -> bool:
    """Return whether an input or parameter has both parts of complex numbers as last axis."""
    return bool(getattr(getattr(op, "store", op), "is_complex", False))


def whole_type(parts: TensorType) -> TensorType:
    """The complex type of a real one with a last axis of 2."""
    return TensorType(complex_of(parts.dtype), parts.shape[:-1])


def takes_real(name: str, value: Any) -> DTypeError:
    """The error for an op or function of complex numbers that it has no meaning for."""
    dtype = getattr(value, "dtype", "complex numbers")
    return DTypeError(
        f"{name}: takes real values, got {dtype}",
        hint="z.real, z.imag, abs(z) and sg.angle(z) are real",
    )


def check_real(*values: Any, of: str = "") -> None:
    """Refuse complex values, arrays and numbers."""
    for value in values:
        if isinstance(value, Complex) or is_complex_data(value):
            raise takes_real(of or called_name(), value)


def parts_type(complex_type: TensorType) -> TensorType:
    """The real type with a last axis of 2 that a complex one is stored as."""
    return TensorType(complex_type.dtype.real, (*complex_type.shape, 2))


class Complex(Value):
    """A complex value: two real ones.

    Attributes:
        re, im: the parts, of one type; None for one that is exactly zero throughout.
        stored: the real value with a last axis of 2 of which both are parts, or None.
    """

    __slots__ = ("im", "re", "stored")

    #: Op -> its meaning of pairs; a class stands for its subclasses. ``ops.complex_readings``.
    readings: ClassVar[dict[type[Op], Reading]] = {}
    #: The kind of the parts.
    part_kind: ClassVar[type[Value]]
    re: Part
    im: Part
    stored: Any

    def __init__(self, re: Part, im: Part, stored: Any = None) -> None:
        self.re, self.im, self.stored = re, im, stored

    @classmethod
    def of(cls, stored: Any) -> Self:
        """The complex value whose parts lie along the last axis of a real one."""
        return cls(stored[..., 0], stored[..., 1], stored)

    @property
    def type(self) -> TensorType:
        part = self.im if self.re is None else self.re
        return TensorType(complex_of(part.dtype), part.shape)

    @property
    def real(self) -> Any:
        return functions.zeros_like(self.im) if self.re is None else self.re

    @property
    def imag(self) -> Any:
        return functions.zeros_like(self.re) if self.im is None else self.im

    def join_parts(self) -> Any:
        """The real value with a last axis of 2, which has both parts."""
        if self.stored is not None:
            return self.stored
        return functions.stack([self.real, self.imag], -1)

    @classmethod
    def bind(cls, op: Op, args: tuple[Any, ...]) -> Any:
        """Apply ``op`` to complex values, by its rule for pairs of real and imaginary parts.

        Raises:
            DTypeError: it has none, as an op that orders its operands.
        """
        for load in _LOADERS:
            load()
        for op_class in type(op).__mro__:
            reading = cls.readings.get(op_class)
            if reading is not None:
                return reading(op, *[of_kind(arg, cls) for arg in args])
        complex_args = [arg for arg in args if isinstance(arg, Complex)]
        if not complex_args:  # beside a complex value
            return cls.part_kind.bind(op, args)
        raise takes_real(op.name, complex_args[0])

    @classmethod
    def lift(cls, data: object, like: DType | None = None) -> Self:
        """A constant of this kind, or of that of the parts for real data."""
        return cls.part_kind.lift(data, like)  # type: ignore[return-value]

    @classmethod
    def constant(
        cls, data: Any, dtype: DType | None, lift: Callable[[Any, DType | None], Any]
    ) -> Self:
        """Make a complex constant as a pair of parts made by ``lift``; a zero part stays exact."""
        array = np.asarray(data)
        if not is_complex_data(array):
            return cls(lift(data, None if dtype is None else dtype.real), None)
        complex_dtype = dtype if dtype is not None and dtype.is_complex else as_dtype(array.dtype)
        plain = isinstance(data, complex) and data != 0
        parts = [
            None
            if plain and part == 0 and not np.signbit(part)
            else lift(np.array(part, complex_dtype.real.numpy), complex_dtype.real)
            for part in (array.real, array.imag)
        ]
        return cls(*parts)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as what is stored; else as both parts."""
        if self.stored is not None:
            return type(self).of, (self.stored,)
        return type(self), (self.re, self.im)


class SymbolicComplex(NoNumbers, Complex):
    """A complex value of a graph under construction."""

    __slots__ = ()

    kind: ClassVar[type[Value]]

    def _describe(self) -> Related:
        part = self.im if self.re is None else self.re
        name = self.name or "value"
        return name, str(self.type), (self.stored if self.name else part).node.origin

    @property
    def name(self) -> str:
        """The name of an input or a parameter; else empty."""
        return "" if self.stored is None else self.stored.node.label

    def __repr__(self) -> str:
        return f"<{self.name or 'complex'}: {self.type}>"


class ComplexParameter(SymbolicComplex):
    """A complex value with an array that updates replace; ``sg.parameter`` makes it of a complex
    array.

    What is stored is a real parameter with a last axis of 2 (``stored``), which optimizers,
    checkpoints and graphs see.
    """

    __slots__ = ("_parts",)
    is_stored = True

    def __init__(self, stored: Any) -> None:
        self.stored = stored
        self._parts: tuple[Any, Any] | None = None

    @classmethod
    def of(cls, stored: Any) -> Any:
        """The complex value of a real one: a parameter, if that is one."""
        return cls(stored) if stored.is_stored else SymbolicComplex.of(stored)

    @property
    def type(self) -> TensorType:
        return whole_type(self.stored.type)

    @property
    def kind(self) -> Any:  # type: ignore[override]
        """Complex values of graphs, unless parameters are what they hold here."""
        computing = computing_kind()
        return SymbolicComplex if computing is None else computing.complex_kind

    @property
    def re(self) -> Any:
        return self._part(0)

    @property
    def im(self) -> Any:
        return self._part(1)

    def _part(self, number: int) -> Any:
        if computing_kind() is not None:
            return self.stored[..., number]
        if self._parts is None:
            self._parts = (self.stored[..., 0], self.stored[..., 1])
        return self._parts[number]

    @property
    def value(self) -> Array:
        """A copy of the current value, read-only; assigning sets it."""
        return ParameterValue.of(of_parts(np.array(self.stored.value)))

    @value.setter
    @boundary
    def value(self, array: Any) -> None:
        data = np.array(array, self.dtype.numpy, order="C")
        self.stored.value = as_parts(data)

    @property
    def grad(self) -> Any:
        """The gradient that backward passes have added up here, or None: dL/dre - i dL/dim."""
        gradient = self.stored.grad
        return None if gradient is None else np.conj(of_parts(gradient))

    def zero_grad(self) -> None:
        """Forget the gradient, if there is one."""
        self.stored.grad = None

    @boundary
    def update(self, value: Any) -> None:
        """Let ``value`` be the next one, as of a real parameter."""
        self.stored.update(next_parts(self, value))


def parts_of(value: Any) -> Parts:
    """The parts of an operand; None is an exact zero."""
    return (value.re, value.im) if isinstance(value, Complex) else (value, None)


def pair(re: Part, im: Part) -> Any:
    """The complex value of two parts."""
    part = im if re is None else re
    return part.kind.complex_kind(re, im)


SymbolicComplex.kind = SymbolicComplex.complex_kind = SymbolicComplex
register_parameters(ComplexParameter)


def stored_array(parameter: Any, array: Any) -> tuple[Any, Any]:
    """Return a complex parameter's store, and ``array`` as the real array of pairs stored there.

    Raises:
        ParameterValueError: an array of another element type.
    """
    if not isinstance(parameter, ComplexParameter):
        return parameter.store, parameter.store.fit_array(array)
    if np.asarray(array).dtype != parameter.dtype.numpy:
        raise ParameterValueError(
            f"parameter {parameter.name!r} is {parameter.type}, got {np.asarray(array).dtype.name}"
        )
    store = parameter.stored.store
    return store, store.fit_array(as_parts(np.array(array, order="C")))


def stored_of(leaf: Any) -> Any:
    """The real parameter that a complex one is stored as; anything else as it is."""
    return leaf.stored if isinstance(leaf, ComplexParameter) else leaf


def real_gradients(grads: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return gradients by parameter, those of complex parameters as stored pairs of reals."""

    def store_gradient(gradient: Any, dtype: DType) -> Any:
        if isinstance(gradient, Value):
            turned: Any = functions.conj(gradient)
            return turned.join_parts()
        return as_parts(np.conj(np.asarray(gradient)).astype(dtype.numpy, order="C"))

    return {
        p.stored if isinstance(p, ComplexParameter) else p: store_gradient(g, p.dtype)
        if isinstance(p, ComplexParameter)
        else g
        for p, g in grads.items()
    }


def next_parts(parameter: ComplexParameter, value: Any) -> Any:
    """Return the next value of a complex parameter as a stored array of pairs.

    Raises:
        DTypeError: a value of another element type.
    """
    if not isinstance(value, Value):
        return as_parts(np.array(value, parameter.dtype.numpy, order="C"))
    if value.dtype is not parameter.dtype:
        raise DTypeError(
            f"update of parameter {parameter.name!r}: {parameter.type} becomes {value.type}",
            hint=f"an update keeps its dtype: value.astype({parameter.dtype.name!r})",
        )
    return value.join_parts()  # type: ignore[attr-defined]
