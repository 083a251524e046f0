"""Element types: their names in text, in NumPy, and how two of them meet.

Promotion is NumPy's (NEP 50) with one departure: an integer or bool *array* that meets a floating
array takes the floating dtype, so that ``float32 * int64`` stays ``float32``. Python scalars are
weak: they take the dtype of the other operand, or the default of their kind when it is lower.
"""

from __future__ import annotations

from dataclasses import field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.support.optional import ml_dtypes
from staticgrad.support.records import dataclass

_KIND_ORDER: Final = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


@dataclass(frozen=True, eq=False)
class DType:
    """An element type: a singleton, also after copying and pickling.

    It stands wherever NumPy takes a dtype, equals every spelling of it (``x.dtype == np.float32``,
    ``== "float32"``), hashes as the NumPy dtype does and has its attributes. Inside the package two
    are compared by ``is``, which costs nothing.

    What a format can hold, and how wide its registers are, is asked here and nowhere decided by a
    test on ``bits``.

    Attributes:
        code: the name in texts of graphs and kernels, ``f32``.
        kind: one of b, i, u, f; c of complex numbers, which are pairs of floats.
        bits: 1 for bool.
        digits: bits of the largest run of whole numbers from 0 on that it holds: of a float its
            significant bits, of an integer those of its magnitude, 1 for bool.
        itemsize: bytes per element; a bool takes one.
        is_float: whether it has fractions, as complex numbers do.
        is_complex, is_integer, is_bool: whether it is of this kind.
        is_storage: whether its values are only stored, and computed in another dtype.

    A *storage* dtype has no arithmetic of its own: what is computed of its values is computed in
    another dtype, ``compute``, and every value is rounded to it, once.
    """

    code: str
    kind: str
    bits: int
    digits: int
    _compute: DType | None = None
    _hash: int | None = field(init=False, repr=False)
    # attributes, not properties: every operation asks for some of them
    itemsize: int = field(init=False, repr=False)
    is_float: bool = field(init=False, repr=False)
    is_complex: bool = field(init=False, repr=False)
    is_integer: bool = field(init=False, repr=False)
    is_bool: bool = field(init=False, repr=False)
    is_storage: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        is_known = self.code in _NUMPY  # what another package defines is loaded when it is used
        derived = {
            "_hash": hash(_NUMPY[self.code]) if is_known else None,
            "itemsize": max(self.bits // 8, 1),
            "is_float": self.kind in "fc",
            "is_complex": self.kind == "c",
            "is_integer": self.kind in "iu",
            "is_bool": self.kind == "b",
            "is_storage": self._compute is not None,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, DType):
            return False
        if not isinstance(other, str | type | np.dtype):
            return NotImplemented
        # An ambiguous name is compared with a value's dtype: it is NumPy's.
        spec = np.dtype(other) if other in _AMBIGUOUS else other
        try:
            return as_dtype(spec) is self and getattr(spec, "isnative", True)
        except TypeError:
            return False

    def __hash__(self) -> int:
        cached = self._hash
        if cached is not None:
            return cached
        # Without ml_dtypes there is no dtype of NumPy that it could be equal to.
        return hash(self.numpy) if HAS_BFLOAT16 else hash(self.code)

    @property
    def name(self) -> str:
        """NumPy's name, ``float32``: one text, where NumPy makes a new one each time."""
        return _NAMES[self.code]

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy dtype in native byte order."""
        return _NUMPY[self.code]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The NumPy dtype: by this attribute NumPy takes the object for one."""
        return _NUMPY[self.code]

    @property
    def compute(self) -> DType:
        """The dtype in which its values are computed: itself, unless it is for storage only."""
        return self if self._compute is None else self._compute

    @property
    def bias(self) -> int:
        """The exponent bias of a float; also its largest exponent.

        Sign, exponent and fraction fill an IEEE format, and the first of its digits is implied.
        """
        if not self.is_float:
            raise TypeError(f"{self.code} has no exponent")
        return int((1 << (self.real.bits - self.digits - 1)) - 1)

    @property
    def real(self) -> DType:
        """The dtype of real and imaginary part of a complex one; of another one itself."""
        return _PARTS.get(self.code, self)

    @property
    def largest(self) -> float:
        """The largest finite number of a float."""
        return (2.0 - 2.0 ** (1 - self.digits)) * 2.0**self.bias

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number of a float that has all its digits."""
        return 2.0 ** (1 - self.bias)

    @property
    def signed(self) -> DType:
        """The signed integer as wide: for sort keys and for the bits of a float."""
        return _integer("i", self)

    @property
    def unsigned(self) -> DType:
        """The unsigned integer as wide."""
        return _integer("u", self)

    @property
    def lanes(self) -> int:
        """Elements in a vector of 512 bits, at most 16: those of a kernel's loop and of a sum."""
        return min(16, 512 // self.bits)

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            return getattr(_NUMPY[self.code], name)  # type, char, str, byteorder, ...

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"sg.{self.name}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (as_dtype, (self.name,))


class _NumPyDTypes(dict[str, np.dtype[np.generic]]):
    """The NumPy dtype by code; that of another package is loaded when it is looked up."""

    def __missing__(self, code: str) -> np.dtype[np.generic]:
        if code != "bf16":
            raise KeyError(code)
        bfloat16: np.dtype[np.generic] = np.dtype(ml_dtypes.bfloat16)
        self[code] = bfloat16
        return bfloat16


_NUMPY: Final = _NumPyDTypes(
    {
        "bool": np.dtype("bool"),
        "f16": np.dtype("float16"),
        "f32": np.dtype("float32"),
        "f64": np.dtype("float64"),
        "c64": np.dtype("complex64"),
        "c128": np.dtype("complex128"),
        **{
            f"{k}{b}": np.dtype(f"{n}{b}")
            for k, n in (("i", "int"), ("u", "uint"))
            for b in (8, 16, 32, 64)
        },
    }
)

_NAMES: Final = {code: numpy.name for code, numpy in _NUMPY.items()} | {"bf16": "bfloat16"}
#: NumPy has no bfloat16; that of ``ml_dtypes`` is what other libraries have, too.
HAS_BFLOAT16: Final = find_spec("ml_dtypes") is not None

BOOL = DType("bool", "b", 1, 1)
I8, I16, I32, I64 = (DType(f"i{bits}", "i", bits, bits - 1) for bits in (8, 16, 32, 64))
U8, U16, U32, U64 = (DType(f"u{bits}", "u", bits, bits) for bits in (8, 16, 32, 64))
F32, F64 = DType("f32", "f", 32, 24), DType("f64", "f", 64, 53)
F16, BF16 = DType("f16", "f", 16, 11, F32), DType("bf16", "f", 16, 8, F32)
#: Those of pairs of values (``ir/pairs.py``); no node of a graph has them.
C64, C128 = DType("c64", "c", 64, 24), DType("c128", "c", 128, 53)
_PARTS: Final = {"c64": F32, "c128": F64}
#: The complex element types, whose values are pairs.
COMPLEX_DTYPES: Final = (C64, C128)

_FLOATS: Final[tuple[DType, ...]] = (F16, BF16, F32, F64) if HAS_BFLOAT16 else (F16, F32, F64)
ALL_DTYPES: Final[tuple[DType, ...]] = (BOOL, I8, I16, I32, I64, U8, U16, U32, U64, *_FLOATS)
_BY_CODE: Final = {d.code: d for d in (*ALL_DTYPES, *COMPLEX_DTYPES)}
_BY_NUMPY: Final = {d.numpy: d for d in _BY_CODE.values() if d.code in _NUMPY}
#: Bits in texts of graphs, bytes to NumPy: neither is meant for sure.
_AMBIGUOUS: Final = {"i8": "int8 or int64", "u8": "uint8 or uint64"}
_BY_NAME: Final = {d.name: d for d in _BY_CODE.values()} | {
    code: d for code, d in _BY_CODE.items() if code not in _AMBIGUOUS
}


def _integer(kind: str, like: DType) -> DType:
    """Return the integer of a kind that is as wide as ``like``."""
    dtype = _BY_CODE.get(f"{kind}{like.bits}")
    if dtype is None:
        raise TypeError(f"no integer is as wide as {like.code}")
    return dtype


def as_dtype(spec: object) -> DType:
    """The DType of a DType, a name (``"float32"``, ``"f32"``), a NumPy dtype or scalar class."""
    if isinstance(spec, DType):
        if spec is BF16 and not HAS_BFLOAT16:
            raise ml_dtypes.missing("it is not installed")
        return spec
    if isinstance(spec, str):
        if spec in _BY_NAME:
            return _BY_NAME[spec]
        if spec in _AMBIGUOUS:
            raise TypeError(f"{spec!r} counts bits in graphs, bytes in NumPy: {_AMBIGUOUS[spec]}?")
    if isinstance(spec, np.dtype) and spec in _BY_NUMPY:
        return _BY_NUMPY[spec]
    try:
        # NumPy reads None as float64, which is never meant.
        dtype = None if spec is None else _BY_NAME.get(np.dtype(spec).name)  # type: ignore[call-overload]
    except (TypeError, ValueError, SyntaxError):  # of a text with commas, NumPy reads fields
        dtype = None
    if isinstance(spec, str) and spec in ("bfloat16", "bf16"):
        raise ml_dtypes.missing("it is not installed")
    if dtype is None:
        names = ", ".join(d.name for d in _BY_CODE.values())
        name = spec.name if isinstance(spec, np.dtype) else repr(spec)
        raise TypeError(f"{name} is not a dtype of staticgrad; there are {names}")
    return dtype


def whole_bools(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array; one of bools as a copy in which every true byte is 1.

    NumPy takes any byte for True (by way of a view or a buffer), kernels compute with 0 and 1.
    """
    return array.view(np.uint8) != 0 if array.dtype == np.bool_ else array


def promote(a: DType, b: DType) -> DType:
    """Promote two dtypes to the one in which their arrays compute."""
    if a is b:
        return a
    if a.is_complex or b.is_complex:
        return complex_of(promote(a.real, b.real))
    if a.is_float != b.is_float:
        return a if a.is_float else b
    if a.is_float:
        return next(d for d in (a, b, F32, F64) if holds_float(d, a) and holds_float(d, b))
    return as_dtype(np.promote_types(a.numpy, b.numpy))


def complex_of(part: DType) -> DType:
    """The complex dtype whose parts have every value of a dtype; as NumPy's where it has one."""
    return C64 if part.compute is F32 else C128


def holds_float(outer: DType, inner: DType) -> bool:
    """Return whether a floating dtype has every value of another."""
    return outer.digits >= inner.digits and outer.bias >= inner.bias


def kind_of_elements(dtype: np.dtype[Any]) -> str:
    """Return NumPy's letter for a kind of elements; f also for floats that NumPy lacks."""
    foreign = dtype.kind == "V" and dtype.name == BF16.name
    return "f" if foreign else dtype.kind


_KINDS_OF_NUMBERS: Final = {bool: "b", int: "i", float: "f", complex: "c"}


def promote_weak(scalar: complex, dtype: DType) -> DType:
    """Promote a Python scalar beside an array's dtype: weak, as in NEP 50."""
    kind = _KINDS_OF_NUMBERS[type(scalar)]
    if kind == "c":
        return dtype if dtype.is_complex else complex_of(dtype)
    if _KIND_ORDER[kind] <= _KIND_ORDER[dtype.kind]:
        return dtype
    return I64 if kind == "i" else F64
