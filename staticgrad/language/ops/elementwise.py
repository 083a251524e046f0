"""The family of elementwise ops, and the factories of their public functions.

An op defines what it does to one element (``scalar``), to arrays (``reference``) and its partial
derivatives. Promotion, broadcasting, masks and both derivative rules are written here, once. The
element types that an op takes are class attributes.

``exp = unary(Exp)`` makes a public function: the function, its signature for ``help`` and
type checkers, and its docstring, which is that of the op and what its element types say of operands
and results.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from types import FunctionType
from typing import Any, ClassVar, Final, Protocol

import numpy as np

from staticgrad.errors import (
    ArgumentError,
    DTypeError,
    OpDefinitionError,
    ShapeError,
    SymbolicValueError,
)
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.values import no_operand
from staticgrad.errors.wording import TRANSPOSED_WEIGHT, did_you_mean, kind_of, quote
from staticgrad.language.ir.expr import PRIMITIVES, Expr, apply
from staticgrad.language.ir.forms import Form, Pointwise
from staticgrad.language.ir.kinds import AnyValue, ArrayLike as ArrayLike, binding_kind, of_kind
from staticgrad.language.ir.op import Op, as_array
from staticgrad.language.ir.python_numbers import Number, PythonNumber
from staticgrad.language.ir.ranges import Range, RangeOf
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.basic import add, astype, broadcast_to, reshape, size_value
from staticgrad.language.ops.cotangent import (
    Cotangent,
    Masked,
    PartCotangent,
    Partial,
    times,
    unbroadcast,
    unbroadcast_mask,
    under,
)
from staticgrad.language.types.arrays import (
    Array,
    ArrayData,
    BroadcastError,
    Shape,
    TensorType,
    broadcast_shapes,
)
from staticgrad.language.types.dim import Dim, Size
from staticgrad.language.types.dtype import (
    ALL_DTYPES,
    BOOL,
    C128,
    F32,
    F64,
    I64,
    DType,
    as_dtype,
    promote,
    promote_weak,
)

#: Decorator of references: NumPy's warnings about overflow, NaN and division stay silent.
quiet: np.errstate = np.errstate(all="ignore")

_WEAK: Final[dict[type, DType]] = {bool: BOOL, int: I64, float: F64, complex: C128}
_KIND_NAMES: Final = {"b": "bool", "i": "integer", "f": "floating"}


class Elementwise(Op):
    """An op that acts on each element separately; operands broadcast.

    Class attributes:
        kinds: dtype kinds that operands may have (letters of ``DType.kind``).
        hint: what to do instead, for a dtype that the op does not take.
        arity: the number of operands of ``scalar``.
        numpy: the function that ``reference`` calls, where it is one of NumPy's.
        scipy: the same, by its name in ``scipy.special``; it is computed in float64.
        primitive: the scalar primitive that ``scalar`` applies, where it is one.
        keeps_sign: the result has the sign of the only operand, and is 0 where it is 0.
        has_poles: partial derivatives may be infinite or NaN where the operands are finite.
    """

    elementwise = True
    kinds: ClassVar[str] = "biuf"
    hint: ClassVar[str] = ""
    arity: ClassVar[int] = 0
    numpy: ClassVar[np.ufunc | None] = None
    scipy: ClassVar[str] = ""
    primitive: ClassVar[str] = ""
    keeps_sign: ClassVar[bool] = False
    has_poles: ClassVar[bool] = False

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(name=name, **kwargs)
        attributes = vars(cls)
        if attributes.get("primitive"):
            cls.arity = PRIMITIVES[cls.primitive].operands
        elif "scalar" in attributes or not cls.primitive:
            cls.arity = cls.scalar.__code__.co_argcount - 1  # without self
        if isinstance(attributes.get("reference"), FunctionType):
            cls.reference = quiet(cls.reference)  # type: ignore[method-assign]

    # -- what a concrete op says --------------------------------------------------------------

    def reference(self, *arrays: Any) -> Any:
        """The meaning in NumPy, without its warnings: ``numpy`` of the operands, or in float64."""
        with np.errstate(all="ignore"):
            if self.numpy is not None:
                return self.numpy(*arrays)
            wide = [np.asarray(array, np.float64) for array in arrays]
            return np.asarray(self.in_float64(*wide)).astype(arrays[-1].dtype)

    def in_float64(self, *arrays: Any) -> Any:
        """The meaning for operands that were converted to float64: ``scipy`` of them."""
        if not self.scipy:
            return super().reference(*arrays)  # which says that it is missing
        return scipy_special(self.scipy)(*arrays)

    def scalar(self, *elements: Any) -> Expr:
        """The result's element, from one Expr per operand."""
        if self.primitive:
            return apply(self.primitive, *elements)
        raise self._missing_rule("what it does to an element", "scalar(self, *elements)")

    def partials(self, out: Any, *args: Any) -> tuple[Partial, ...]:
        """d out / d operand for each operand: a value, a number (1.0 is free), or None.

        None says that the operand carries no gradient: the function is piecewise constant in it.
        """
        return (None,) * len(args)

    def operand_dtype(self, common: DType) -> DType:
        """The dtype that operands are brought to, given the one in which they meet."""
        return common

    def result_dtype(self, operand: DType) -> DType:
        """The result's dtype, given that of the operands."""
        return operand

    # -- what the family gives ----------------------------------------------------------------

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """Operands as values of one dtype: scalars lifted weakly, values cast explicitly."""
        return promote_operands(self, args)

    def infer(self, *types: TensorType) -> TensorType:
        """Infer an elementwise op's type: the broadcast shape and ``result_dtype``."""
        if len(types) != self.arity:
            if type(self).scalar is Elementwise.scalar and not self.primitive:
                self.scalar()  # says that it is missing
            raise ArgumentError(f"{self.name}: takes {self.arity} operands, got {len(types)}")
        dtype = self.result_dtype(self.met_dtype(*types))
        shape = broadcast(self.name, [t.shape for t in types])
        first = types[0]
        same = dtype is first.dtype and shape is first.shape
        return first if same else TensorType(dtype, shape)

    def met_dtype(self, *types: TensorType) -> DType:
        """Check that an elementwise op's operands have one dtype, and return it."""
        dtype = types[0].dtype
        for operand in types:
            if operand.dtype is not dtype:
                dtypes = ", ".join(str(t.dtype.numpy) for t in types)
                raise DTypeError(
                    f"{self.name}: operands of {dtypes}", hint="convert them with astype"
                )
        if dtype.kind not in self.kinds:
            raise self.refuse(dtype)
        return dtype

    def refuse(self, dtype: DType) -> DTypeError:
        """The error that says which element types the op takes."""
        takes = " and ".join(name for kind, name in _KIND_NAMES.items() if kind in self.kinds)
        return DTypeError(f"{self.name}: takes {takes} elements, got {dtype.numpy}", hint=self.hint)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Batch axes meet in front of all others."""
        return self(*lined_up(args, over))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        """Pointwise."""
        return Pointwise(self.scalar)

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        """``interval``, or the signs of the operand where the op keeps them."""
        return of(args[0]).signs() if self.keeps_sign else self.interval

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, *args: Any
    ) -> tuple[Cotangent | None, ...]:
        """Return ``ct`` times each partial derivative; None where it is not needed.

        Override where there is a cheaper form than partials.
        """
        shares: list[Cotangent | None] = []
        for partial, want in zip(self.checked_partials(out, *args), needed, strict=True):
            shares.append(times(ct, partial) if want and partial is not None else None)
        return tuple(shares)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Cotangent | None, ...]:
        """Differentiate an elementwise op: ct times partials, summed over broadcast axes."""
        if out.type.dtype.kind != "f" or not self.differentiable:
            return (None,) * len(args)
        masked = isinstance(ct, Masked)
        shares: list[Cotangent | None] = []
        pulled = self.pullback(ct.value if masked else ct, needed, out, *args)
        for share, want, arg in zip(pulled, needed, args, strict=True):
            if share is None or not want or arg.type.dtype.kind != "f":
                shares.append(None)
            else:
                if isinstance(ct, PartCotangent):
                    share = ct.through(share, self.has_poles)
                elif masked:
                    share = under(ct, share)
                shares.append(unbroadcast(share, arg.type))
        return tuple(shares)

    def checked_partials(self, out: Any, *args: Any) -> tuple[Partial, ...]:
        """Return an elementwise op's partial derivatives, checked to be one per operand."""
        partials: Any = self.partials(out, *args)
        if not isinstance(partials, tuple) or len(partials) != len(args):
            many = f"{len(partials)} partials" if isinstance(partials, tuple) else quote(partials)
            raise OpDefinitionError(
                f"{self.name}: partials gives {many}, not a tuple of {len(args)} for its operands"
            )
        return partials

    def pushforward(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        """Return the sum of tangents times partials, or None; it may still need broadcasting."""
        total: Any = None
        for tangent, partial in zip(tangents, self.checked_partials(out, *args), strict=True):
            if tangent is None or partial is None:
                continue
            term: Any = times(tangent, partial)
            total = term if total is None else add(total, term)
        return total

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        """Push tangents through an elementwise op, to the type of its result.

        None where no operand with a tangent carries a gradient.
        """
        if not out.dtype.is_float or not self.differentiable:
            return None
        total = self.pushforward(tangents, out, *args)
        if total is None:
            return None
        if total.dtype is not out.dtype:
            total = astype(total, out.dtype)
        return total if total.shape == out.shape else broadcast_to(total, out.shape)

    def operand_masks(self, mask: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        """An element counts where the result's does that is made of it."""
        if mask is True:
            return super().operand_masks(mask, out, *args)
        return tuple(unbroadcast_mask(mask, arg.type) for arg in args)


class Floating(Elementwise):
    """An elementwise op over floating elements; integers and bools are converted to float64."""

    kinds = "f"

    def operand_dtype(self, common: DType) -> DType:
        return common if common.is_float else F64


def scipy_special(name: str) -> Any:
    """Return a function of ``scipy.special``, which building a graph does not import."""
    return getattr(import_module("scipy.special"), name)


# -- shapes ---------------------------------------------------------------------------------------


def broadcast(name: str, shapes: Sequence[Shape]) -> Shape:
    """Broadcast the operand shapes of the op ``name`` to one shape."""
    try:
        return broadcast_shapes(shapes)
    except BroadcastError as error:
        named = isinstance(error.left, Dim) or isinstance(error.right, Dim)
        hint = "a named size meets itself or a literal 1 only; " if named else ""
        if name == "eq":  # Python's ``in`` asks for it
            hint = "a value in a list: any(x is y for y in values)\n" + hint
        if any(a == b[::-1] and len(a) == 2 for a, b in pairwise(shapes)):
            hint += f"x.T has the other shape; {TRANSPOSED_WEIGHT}\n"
        raise ShapeError(
            f"{name}: shapes do not broadcast, {error.left} != {error.right}",
            details=_align_shapes(shapes, error.axis_from_end),
            hint=hint + "align axes with reshape, or insert one of size 1 with x[..., None]",
        ) from None


def lined_up(args: Sequence[Any], over: Sequence[bool]) -> list[Any]:
    """Align batched operands of an elementwise op, so that their batch axes are in front.

    Those with the axis get as many axes as the others have, of size 1, behind it.
    """
    ranks = [arg.ndim - has for arg, has in zip(args, over, strict=True)]
    most = max(ranks)
    return [
        reshape(arg, (arg.shape[0], *(1,) * (most - rank), *arg.shape[1:]))
        if has and rank < most
        else arg
        for arg, has, rank in zip(args, over, ranks, strict=True)
    ]


def _align_shapes(shapes: Sequence[Shape], marked: int) -> list[str]:
    """Print shapes right-aligned by axis, with carets at axis ``marked``, for an error."""
    rank = max(map(len, shapes))
    rows = [[""] * (rank - len(shape)) + [str(size) for size in shape] for shape in shapes]
    widths = [max(len(row[axis]) for row in rows) for axis in range(rank)]
    lines = ["  ".join(f"{size:>{w}}" for size, w in zip(row, widths, strict=True)) for row in rows]
    offset = sum(widths[: rank - marked]) + 2 * (rank - marked)
    return [
        "aligned:",
        *(f"  {line}" for line in lines),
        "  " + " " * offset + "^" * widths[-marked],
    ]


# -- promotion ------------------------------------------------------------------------------------


def is_weak(arg: object) -> bool:
    """Return whether ``arg`` is a Python scalar that takes the dtype of the other operands."""
    return type(arg) in _WEAK


def _weak_scalar(arg: object) -> complex | None:
    """The Python scalar as which ``arg`` promotes; a named size is a weak integer. Else None."""
    if isinstance(arg, Dim):
        return 0
    if type(arg) is PythonNumber:
        return arg.sample
    return arg if isinstance(arg, complex | float | int) and is_weak(arg) else None


def strong_dtype(op: str, arg: object) -> DType:
    """Return the dtype of a value or array-like operand, for promotion."""
    if isinstance(arg, Value):
        return arg.dtype
    if isinstance(arg, Dim):
        return I64
    if type(arg) is PythonNumber:
        raise arg.refusal(op)
    return array_dtype(arg, op)


def real_dtype(op: str, arg: object) -> DType:
    """The dtype of a value or of an array-like that is not complex."""
    dtype = strong_dtype(op, arg)
    if dtype.is_complex:
        raise DTypeError(f"{op}: {dtype} where real numbers are needed", hint="z.real, abs(z)")
    return dtype


def array_dtype(data: object, what: str = "") -> DType:
    """Return the dtype of an array-like other than a value; ``what`` begins the message, by default
    the name of what is called."""
    if type(data) is np.ndarray:
        dtype = data.dtype
    else:
        what = what or called_name()
        try:
            dtype = as_array(data, what).dtype
        except SymbolicValueError:
            raise SymbolicValueError(
                f"{what}: {kind_of(data)} with values of a graph in it is not an array",
                hint="sg.stack([a, b]) makes one value of several, sg.concatenate joins them",
            ) from None
        if dtype.kind in "OUS" and not isinstance(data, np.ndarray | list | tuple):
            raise no_operand(what, data)
    try:
        return as_dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"{what or called_name()}: {error}", hint=dtype_hint(dtype)) from None


def dtype_hint(spec: object) -> str:
    """Return a hint for an unsupported dtype: what to use instead."""
    name = str(spec)
    if isinstance(spec, int):
        return "a shape is one argument, a tuple of its sizes: sg.zeros((3, 4))"
    if isinstance(spec, np.dtype) and spec.kind in "OUS":
        return (
            "arrays of numbers; object arrays come from None or lists of unequal lengths\n"
            "of Decimal and Fraction: np.array(x, 'float64')"
        )
    names = [d.numpy.name for d in ALL_DTYPES]
    last = name.rpartition(".")[2]
    return f"write {last!r}" if last in names else did_you_mean(name, names)


def common_dtype(op: str, args: Sequence[object]) -> DType:
    """Promote the dtypes of operands: NEP 50, but integer arrays take a float's dtype."""
    common, _ = shared_dtype(args)
    if common is not None:
        return common
    weak = [_weak_scalar(arg) for arg in args]
    for arg, scalar in zip(args, weak, strict=True):
        if scalar is None:
            dtype = strong_dtype(op, arg)
            common = dtype if common is None else promote(common, dtype)
    for scalar in weak:
        if scalar is not None:
            common = _WEAK[type(scalar)] if common is None else promote_weak(scalar, common)
    return F64 if common is None else common


def promote_operands(
    op: Elementwise, args: Sequence[Any], kind: type[AnyValue] | None = None
) -> tuple[AnyValue, ...]:
    """Convert operands to values of the one dtype in which ``op`` computes."""
    shared, numbers = shared_dtype(args)
    dtype = op.operand_dtype(shared or common_dtype(op.name, args))
    if shared is dtype and not numbers:
        return tuple(args)
    kind = kind or binding_kind(tuple(args))
    return tuple([lift_operand(op.name, kind, arg, dtype) for arg in args])


def shared_dtype(args: Sequence[object]) -> tuple[DType | None, bool]:
    """Return the common dtype of operands that are values, and whether numbers are among them.

    Python's numbers count only beside floating values: those give them their dtype. None where
    there is more to promote; a short cut of ``common_dtype`` for nearly all that programs do.
    """
    shared: DType | None = None
    numbers = False
    for arg in args:
        if isinstance(arg, Value):
            dtype = arg.type.dtype
            if shared is not None and dtype is not shared:
                return None, numbers
            shared = dtype
        elif type(arg) is float or type(arg) is int:
            numbers = True
        else:
            return None, numbers
    return (None if numbers and shared is not None and shared.kind != "f" else shared), numbers


def lift_operand(op: str, kind: type[AnyValue], arg: Any, dtype: DType) -> AnyValue:
    """Convert an operand to a value of a kind and dtype; Python numbers become constants."""
    if isinstance(arg, Value):
        value: Any = arg if arg.__class__ is kind else of_kind(arg, kind)
        return value if value.dtype is dtype else astype(value, dtype)
    if isinstance(arg, Dim):
        size: Any = size_value(arg, dtype)
        return size
    if type(arg) is PythonNumber:
        if kind.computes:
            raise arg.refusal(op)
        return lift_operand(op, kind, arg.arithmetic.input_of(arg, dtype.real), dtype)
    if is_weak(arg):
        check_range(op, arg, dtype)
        if not dtype.is_float or abs(arg) <= dtype.largest:
            return kind.lift(arg, dtype)
    with np.errstate(over="ignore"):  # 1e300 becomes inf in float32, as NumPy has it
        return kind.lift(arg, dtype)


def number_array(scalar: Number, dtype: DType) -> Array:
    """Convert a Python number to an array of ``dtype``, as it meets arrays of it.

    Raises:
        DTypeError: an integer that ``dtype`` cannot hold.
    """
    check_range("number", scalar, dtype)
    with np.errstate(over="ignore"):
        return ArrayData(scalar, dtype).array


def check_range(op: str, scalar: bool | int | float, dtype: DType) -> None:
    """Refuse a Python integer that ``dtype`` cannot represent."""
    if type(scalar) is not int or (dtype.is_float and abs(scalar) <= dtype.largest):
        return
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy.name)
        low, high = int(limits.min), int(limits.max)
    else:
        high = int(np.finfo(np.float64).max)
        low = -high
    if not (dtype.is_bool or low <= scalar <= high):
        raise DTypeError(
            f"{op}: the Python integer {quote(scalar)} does not fit {dtype.numpy}",
            hint="convert the other operand first, x.astype('int64'), or write a float",
        )


_OPERANDS: Final = {
    "f": "numbers; integers and bools become float64",
    "iuf": "numbers",
    "biuf": "numbers or bools",
    "iu": "integers",
    "b": "bools, or numbers, which are true where they are not 0",
}


class Unary(Protocol):
    """A function of one operand."""

    __name__: str

    def __call__(self, x: ArrayLike[AnyValue]) -> AnyValue:
        """Apply the op."""


class Binary(Protocol):
    """A function of two operands, which broadcast."""

    __name__: str

    def __call__(self, x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
        """Apply the op."""


def unary(kind: type[Elementwise], call: str = "", result: str = "", *, name: str = "") -> Unary:
    """Return the public function of one operand that applies an op without attributes.

    Its name is that of the op, or ``name``; its docstring is that of the op, with an example.
    """
    op = kind()

    def apply(x: ArrayLike[AnyValue]) -> AnyValue:
        return op(x)

    return _rename_function(apply, op, name, "x", call, result)


def binary(kind: type[Elementwise], call: str = "", result: str = "", *, name: str = "") -> Binary:
    """Return the public function of two operands, as ``unary`` does of one."""
    op = kind()

    def apply(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
        return op(x, y)

    return _rename_function(apply, op, name, "x, y", call, result)


def _rename_function(
    function: Callable[..., Any], op: Elementwise, name: str, operands: str, call: str, result: str
) -> Any:
    """Give a public elementwise function its name, module and docstring."""
    name = name or op.name
    code = function.__code__.replace(co_name=name, co_qualname=name)
    named = FunctionType(code, sys._getframe(2).f_globals, name, None, function.__closure__)
    named.__annotations__ = function.__annotations__
    if op.__doc__:  # python -OO has none
        named.__doc__ = _docstring(op, operands, call, result)
    return named


def _docstring(op: Elementwise, operands: str, call: str, result: str) -> str:
    """Write the docstring of a public elementwise function from its op's."""
    has_several = "," in operands
    takes = _OPERANDS[op.kinds] + ("; they broadcast" if has_several else "")
    shape = "of the broadcast shape" if has_several else "of x's shape"
    if op.result_dtype(F32) is BOOL:
        gives = f"Bools {shape}."
    elif op.kinds == "f":
        gives = f"Floating values {shape}."
    else:
        gives = f"Values {shape}, in the " + ("promoted dtype." if has_several else "dtype of x.")
    parts = [inspect.cleandoc(op.__doc__ or ""), f"Args:\n    {operands}: {takes}."]
    parts.append(f"Returns:\n    {gives}")
    if call:
        parts.append(f">>> sg.evaluate({call})\n{result}")
    return "\n\n".join(parts)
