"""Common parts of the text forms: documents and literals (values, attributes, sizes, types).

Graphs, Schedules and Plans are documents: ``staticgrad-ir 1``, then a line for each named size with
bounds or a hint, then the thing itself. Large arrays are named by a digest.

One spelling per value: floats by the shortest digits that read back to the same bits, NaN without
sign and payload, tuples with Python's commas. ``Reader`` is the part of a parser that Graph,
Schedule and Plan share: a cursor over tokens, and the grammar of literals.

    >>> from staticgrad.language.types.dtype import F32
    >>> value_text((1, F32, 2.5, "ij,jk->ik", dim("batch") // 2))
    '(1, f32, 2.5, "ij,jk->ik", batch//2)'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from staticgrad.errors import ArgumentError, ParseError
from staticgrad.errors.wording import kind_of
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import ArrayData, TensorType, convert_array
from staticgrad.language.types.dim import (
    Dim,
    Named,
    Size,
    dim,
    named_sizes,
    product_weight,
    weight,
)
from staticgrad.language.types.dtype import ALL_DTYPES, F32, F64, DType
from staticgrad.language.types.lexis import Tokens, quote, unquote
from staticgrad.support.source import Location, SourceLine

INLINE_ELEMENTS: Final = 16  # larger arrays are named by their digest and bound from outside
MAX_NESTING: Final = 64  # tuples, parentheses, lists: deeper text is refused, not recursed into
MAX_DIGITS: Final = 40  # of an integer; seeds and sizes have 64 bits
_SIZE_WORK: Final = 2**15  # names and terms that the sizes of one text may multiply out to,
_SIZE_WORK_PER_TOKEN: Final = 16  # and as many more for each of its tokens
_MOST_KNOWN: Final = 2000  # names among which a misspelt one is looked for
_LONGEST_GUESS: Final = 60  # characters of a misspelt name
_FLOAT_MAX: Final = float(np.finfo(np.float64).max)
_DTYPES: Final = {dtype.code: dtype for dtype in ALL_DTYPES}
_WORDS: Final[dict[str, bool | float | None]] = {
    "None": None,
    "True": True,
    "False": False,
    "inf": float("inf"),
    "nan": float("nan"),
}


# -- writing --------------------------------------------------------------------------------------


def float_text(value: float, dtype: DType | None = None) -> str:
    """Print the shortest decimal that reads back as ``value`` in ``dtype`` (by default float64)."""
    if value != value:
        return "nan"
    if dtype is None or dtype.digits == F64.digits or not np.isfinite(value):
        return repr(float(value))
    numbers = (float(f"{value:.{digits}g}") for digits in range(1, 17))
    with np.errstate(over="ignore"):
        return repr(next((n for n in numbers if _in_dtype(n, dtype) == value), float(value)))


def _in_dtype(number: float, dtype: DType) -> float:
    if dtype is F32:  # most are, and this takes a tenth of the time
        return float(np.float32(number))
    return float(convert_array(np.asarray(number), dtype))


def element_text(value: Any, dtype: DType) -> str:
    """One array element of ``dtype``."""
    if dtype.is_float:
        return float_text(float(value), dtype)
    return repr(bool(value) if dtype.is_bool else int(value))


def array_text(data: ArrayData) -> str:
    """Every element, in nested lists; ``[]`` for an array without elements, of any shape."""
    return _nested_text(data.array, data.dtype) if data.array.size else "[]"


def _nested_text(array: npt.NDArray[Any], dtype: DType) -> str:
    if array.ndim == 0:
        return element_text(array[()], dtype)
    return "[" + ", ".join(_nested_text(part, dtype) for part in array) + "]"


def value_text(value: object) -> str:
    """Print an op's attribute value as text."""
    if isinstance(value, tuple):
        inner = ", ".join(map(value_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, ArrayData):
        inline = value.array.size <= INLINE_ELEMENTS
        return f"{value.type} {array_text(value) if inline else quote(value.digest)}"
    if isinstance(value, DType):
        return value.code
    if value is None or isinstance(value, bool | int | Dim | TensorType):
        return str(value)
    raise TypeError(f"the text form has no way to write {value!r}, a {type(value).__name__}")


# -- reading --------------------------------------------------------------------------------------


class Reader:
    """A cursor over tokens, and the grammar of names, sizes, types and attribute values.

    Every method reads its construct at the cursor, moves behind it, and raises ParseError at the
    first token that does not fit. ``constants`` holds arrays by digest; ``sizes`` the declared
    named sizes, to which those met on the way are added.
    """

    def __init__(self, tokens: Tokens, constants: dict[str, ArrayData] | None = None) -> None:
        self.tokens = tokens
        self.kinds, self.texts = tokens.kinds, tokens.texts
        self.at = 0
        self.constants = constants or {}
        self.sizes: dict[str, Size] = {}
        self._depth = 0
        self._size_work = _SIZE_WORK + _SIZE_WORK_PER_TOKEN * len(self.kinds)

    # tokens

    def mistake(self, headline: str, at: int | None = None, hint: str = "") -> ParseError:
        """A ParseError that points at token ``at``, by default the one at the cursor."""
        index = self.at if at is None else at
        return self.tokens.error(headline, self.tokens.starts[index], len(self.texts[index]), hint)

    def fail(self, headline: str, at: int | None = None, hint: str = "") -> NoReturn:
        """Raise that ParseError."""
        raise self.mistake(headline, at, hint) from None

    def accept(self, text: str) -> bool:
        """Step over the word or mark ``text`` if it stands at the cursor."""
        if self.texts[self.at] == text and self.kinds[self.at] in ("name", "mark"):
            self.at += 1
            return True
        return False

    def expect(self, text: str, preceding: str = "") -> None:
        """Step over the word or mark ``text``."""
        if not self.accept(text):
            where = f" after {preceding}" if preceding else ""
            self.fail(f"expected {text!r}{where}, found {self.token_text}")

    @property
    def token_text(self) -> str:
        """The token at the cursor, for a message."""
        return repr(self.texts[self.at]) if self.kinds[self.at] != "end" else "the end of the text"

    def take(self, kind: str, what: str) -> str:
        """The text of the token at the cursor, of ``kind``, which people call ``what``."""
        if self.kinds[self.at] != kind:
            self.fail(f"expected {what}, found {self.token_text}")
        self.at += 1
        return self.texts[self.at - 1]

    def unquote(self, token: str, at: int | None = None) -> str:
        """The string of a quoted token, by default the one just read."""
        try:
            return unquote(token)
        except (ValueError, OverflowError) as error:
            self.fail(str(error), self.at - 1 if at is None else at)

    def marked_name(self, mark: str, what: str) -> str:
        """The name of a value, which begins with ``mark``."""
        token = self.take("value", what)
        if token[0] != mark:
            self.fail(f"expected {what}, found {token!r}", self.at - 1)
        return self.strip_mark(token)

    def strip_mark(self, token: str) -> str:
        """The name in a token behind its mark, bare or quoted."""
        return self.unquote(token[1:]) if token[1] == '"' else token[1:]

    def name(self, what: str) -> str:
        """A name, bare or quoted."""
        if self.kinds[self.at] == "string":
            self.at += 1
            return self.unquote(self.texts[self.at - 1])
        return self.take("name", what)

    def integer(self, what: str) -> int:
        """A non-negative integer literal."""
        return self._int(self.take("int", what))

    def _int(self, token: str) -> int:
        if len(token) > MAX_DIGITS:
            self.fail(f"an integer of too many digits: more than {MAX_DIGITS}", self.at - 1)
        return int(token)

    def sequence(self, item: Callable[[], Any], close: str) -> list[Any]:
        """Parse items separated by commas up to the closing mark ``close``."""
        items: list[Any] = []
        if self.accept(close):
            return items
        while True:
            items.append(item())
            if self.accept(close):
                return items
            if not self.accept(","):
                self.fail(f"expected ',' or {close!r}, found {self.token_text}")

    def comma_list(self, item: Callable[[], Any]) -> list[Any]:
        """One or more items with commas between them."""
        items = [item()]
        while self.accept(","):
            items.append(item())
        return items

    def two_lists(
        self, first: Callable[[], Any], second: Callable[[], Any], of: str
    ) -> tuple[list[Any], list[Any]]:
        """Parse ``(a, b; c, d)``: items of two kinds; no ``;``: none of the second."""
        self.expect("(", of)
        left = [] if self.texts[self.at] in (";", ")") else self.comma_list(first)
        if self.accept(";"):
            return left, self.sequence(second, ")")
        if not self.accept(")"):
            self.fail(f"expected ',', ';' or ')', found {self.token_text}")
        return left, []

    def read_nested(self, read: Callable[[], Any]) -> Any:
        """Parse one level deeper; refuse text that nests without end."""
        self._depth += 1
        if self._depth > MAX_NESTING:
            self.fail(f"nested more than {MAX_NESTING} deep")
        result = read()
        self._depth -= 1
        return result

    # sizes: sum = term {("+" | "-") term}; term = factor {("*" | "//") factor}; as in Python

    def size(self, first: Size | None = None) -> Size:
        """Parse a symbolic size: an integer expression over named sizes, such as ``2*n + 1``."""
        parts = [(1, self._term(first))]
        while self.texts[self.at] in ("+", "-"):
            self.at += 1
            sign = 1 if self.texts[self.at - 1] == "+" else -1
            parts.append((sign, self._term(None)))
        if len(parts) == 1:
            return parts[0][1]
        self._spend(sum(weight(part) for _, part in parts))
        return self._check_digits(dims.sum_of(parts))

    def _term(self, first: Size | None) -> Size:
        """Parse a product or floor division of symbolic sizes: ``n * 4 // m``."""
        product = self._factor() if first is None else first
        while self.texts[self.at] in ("*", "//"):
            operator = self.at
            self.at += 1
            factor = self._factor()
            if factor == 0 and self.texts[operator] == "//":
                self.fail("a size divided by 0", operator)
            self._spend(product_weight(product, factor))
            try:
                if self.texts[operator] == "*":
                    product = product * factor
                else:
                    product = dims.floordiv(product, factor)
            except ArgumentError as error:  # it multiplies out to too much
                self.fail(error.headline, operator)
            product = self._check_digits(product)
        return product

    def _spend(self, work: int) -> None:
        """Count what it takes to multiply sizes out; a short text can ask for a very long size."""
        self._size_work -= work
        if self._size_work < 0:
            self.fail("the sizes of this text multiply out to too many terms", self.at - 1)

    def _check_digits(self, size: Size) -> Size:
        """``size``, if its numbers are not beyond every use."""
        numbers = [size] if isinstance(size, int) else [number for _, number in size.terms]
        if any(abs(number) >= 10**MAX_DIGITS for number in numbers):
            self.fail(f"a size of more than {MAX_DIGITS} digits", self.at - 1)
        return size

    def _factor(self) -> Size:
        """Parse a factor of a symbolic size: a number, a name, ``max(...)`` or parentheses."""
        kind, text = self.kinds[self.at], self.texts[self.at]
        self.at += 1
        if kind == "int":
            return self._int(text)
        if text == "-":
            negated: Size = self.read_nested(self._factor)
            return -negated
        if text == "(":
            inner: Size = self.read_nested(self.size)
            self.expect(")", "the size")
            return inner
        if text == "max" and self.accept("("):
            return self._maximum()
        if kind == "size" or (kind == "name" and text not in _DTYPES and text not in _WORDS):
            name = self.unquote(text[1:]) if kind == "size" else text
            size = self.sizes.get(name)
            if size is not None:
                return size
            if not name:
                self.fail("a size needs a name", self.at - 1)
            return self.sizes.setdefault(name, dim(name))
        self.at -= 1
        raise self.mistake(f"expected a size, found {self.token_text}")

    def _maximum(self) -> Size:
        left: Size = self.read_nested(self.size)
        self.expect(",", "the first size of max")
        right: Size = self.read_nested(self.size)
        self.expect(")", "the second size of max")
        self._spend(weight(left) + weight(right))
        return dims.maximum(left, right)

    # types

    def dtype(self) -> DType:
        """Parse an element type: ``f32``."""
        text = self.texts[self.at]
        dtype = _DTYPES.get(text)
        if dtype is None:
            self.fail(
                f"expected an element type, found {self.token_text}", hint=suggestion(text, _DTYPES)
            )
        self.at += 1
        return dtype

    def type(self) -> TensorType:
        """Element type and shape: ``f32[batch, 784]``."""
        dtype = self.dtype()
        self.expect("[", f"the element type {dtype.code}")
        return TensorType(dtype, tuple(self.sequence(self._extent, "]")))

    def _extent(self) -> Size:
        """Parse the size of one axis of a type: an integer or a symbolic size."""
        start = self.at
        if self.kinds[start] == "int" and self.texts[start + 1] in (",", "]"):
            return self.integer("a size")
        extent = self.size()
        if (dims.bounds(extent)[1] or 0) < 0:
            self.fail(f"the size {extent} is negative", start)
        return extent

    # attribute values

    def value(self) -> Any:
        """Parse an attribute value of an op; an array's elements come as nested lists."""
        kind, text = self.kinds[self.at], self.texts[self.at]
        if kind in ("string", "float") or (kind == "name" and text in _WORDS):
            self.at += 1
            return _simple(text) if kind != "string" else self.unquote(text)
        if kind == "name" and text in _DTYPES:
            if self.texts[self.at + 1] != "[":
                return self.dtype()
            start = self.at
            declared = self.type()
            if self.kinds[self.at] == "string":
                return self.bound_array(self.value(), declared, self.at - 1)
            if self.texts[self.at] in ("[", "-") or self.kinds[self.at] in ("int", "float", "name"):
                return self.array(self.value(), declared, start)
            return declared
        if text == "(":
            return self._tuple_or_size()
        if text == "[":
            self.at += 1
            return self.read_nested(lambda: self.sequence(self.value, "]"))
        if text == "-" and (self.kinds[self.at + 1] == "float" or self.texts[self.at + 1] == "inf"):
            self.at += 2
            return -_simple(self.texts[self.at - 1])
        if kind in ("int", "name", "size") or text == "-":
            return self.size()
        raise self.mistake(f"expected a value, found {self.token_text}")

    def _tuple_or_size(self) -> Any:
        """Parse parentheses in an attribute: a tuple, or a size that begins with ``(``."""
        opening = self.at
        self.at += 1
        items: list[Any] = []
        while not self.accept(")"):
            items.append(self.read_nested(self.value))
            if self.accept(","):
                continue
            self.expect(")", "the value")
            if len(items) > 1:
                break
            if not isinstance(items[0], int | Dim) or isinstance(items[0], bool):
                self.fail("a tuple of one value is written (value,)", opening)
            return self.size(items[0])
        return tuple(items)

    def array(self, elements: Any, declared: TensorType, at: int) -> ArrayData:
        """Convert parsed nested lists to array data of the declared type, or report the token
        ``at``.
        """
        shape = self._literal_shape(declared, at)
        flat = (
            self._flatten_elements(elements, shape, at) if 0 not in shape or elements != [] else []
        )
        for element in flat:
            if not _fits(element, declared.dtype):
                self.fail(f"{element!r} is not a {declared.dtype.numpy.name}", at)
        try:
            element_type = np.float64 if declared.dtype.is_storage else declared.dtype.numpy
            array = np.array(flat, element_type).reshape(shape)
        except (ValueError, OverflowError):  # too many axes, or a size beyond every address
            self.fail(f"no array can be {declared}", at)
        return ArrayData(array, declared.dtype)

    def _flatten_elements(self, elements: Any, shape: tuple[int, ...], at: int) -> list[Any]:
        level = [elements]
        for extent in shape:
            if not all(isinstance(part, list) and len(part) == extent for part in level):
                self.fail(f"the elements do not have the shape {shape}", at)
            level = [element for part in level for element in part]
        return level

    def _literal_shape(self, declared: TensorType, at: int) -> tuple[int, ...]:
        if not all(isinstance(extent, int) for extent in declared.shape):
            self.fail(f"an array cannot be {declared}: its sizes must be literal", at)
        return tuple(int(extent) for extent in declared.shape)

    def bound_array(self, digest: str, declared: TensorType, at: int) -> ArrayData:
        """Return the array that the caller bound for ``digest`` when parsing; check its type."""
        data = self.constants.get(digest)
        if data is None:
            self.fail(
                f"no array is bound for the constant {quote(digest)}",
                at,
                hint="constants=graph.constants gives it (of what was printed)",
            )
        if data.type != declared:
            self.fail(f"the bound array is {data.type}, the text says {declared}", at)
        return data


def suggestion(wrong: str, candidates: Iterable[str]) -> str:
    """Suggest a similar name for an error: ``did you mean 'matmul'?``; empty if none is near."""
    from difflib import get_close_matches

    if len(wrong) > _LONGEST_GUESS:
        return ""
    names = [name for name in islice(candidates, _MOST_KNOWN) if len(name) <= 2 * _LONGEST_GUESS]
    near = get_close_matches(wrong, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def _simple(text: str) -> Any:
    return _WORDS[text] if text in _WORDS else float(text)


def _fits(element: Any, dtype: DType) -> bool:
    """Return whether a parsed number is representable in a dtype."""
    if dtype.is_bool or isinstance(element, bool):
        return dtype.is_bool and isinstance(element, bool)
    if not dtype.is_float:
        limits = np.iinfo(dtype.numpy.name)
        return isinstance(element, int) and int(limits.min) <= element <= int(limits.max)
    if not isinstance(element, int | float) or abs(element) > _FLOAT_MAX:
        return isinstance(element, float)  # an infinity
    number = float(element)
    with np.errstate(over="ignore"):
        return number != number or bool(np.isfinite(_in_dtype(number, dtype)))


# -- documents ------------------------------------------------------------------------------------

VERSION: Final = 1
_PROMISES: Final = ("min", "max", "multiple_of", "hint")
#: File of the origins that the parser gives to nodes without a comment; never printed.
NO_FILE: Final = "<text>"


def header_line(form: str) -> str:
    """The first line of a document of ``form`` (``ir``, ``schedule``, ``plan``)."""
    return f"staticgrad-{form} {VERSION}"


def size_line(named: Named, *, hint: bool = True) -> str:
    """Print the declaration of a named size with its bounds: ``size batch {min=1, hint=64}``."""
    promises = {
        "min": (named.min, 0),
        "max": (named.max, None),
        "multiple_of": (named.multiple_of, 1),
    }
    if hint:
        promises["hint"] = (named.hint, None)
    stated = [f"{key}={value}" for key, (value, default) in promises.items() if value != default]
    return f"size {named} {{{', '.join(stated)}}}"


def size_lines(names: Iterable[Named]) -> list[str]:
    """The declarations of those sizes that promise or hint at something."""
    return [
        size_line(named)
        for named in names
        if (named.min, named.max, named.multiple_of, named.hint) != (0, None, 1, None)
    ]


def distinct_sizes(sizes: Iterable[Size]) -> list[Named]:
    """Every named size in ``sizes``, in order of first appearance."""
    sizes_by_name: dict[str, Named] = {}
    for size in dict.fromkeys(sizes):
        for named in () if isinstance(size, int) else named_sizes(size):
            sizes_by_name.setdefault(named.name, named)
    return list(sizes_by_name.values())


def comment(origins: Iterable[Location]) -> str:
    """``   # train.py:8 [head], train.py:5``: every line once; nothing of places in parsed text."""
    places = (place for origin in origins for place in origin.places)
    lines = (place.label for place in places if getattr(place, "file", None) != NO_FILE)
    where = ", ".join(dict.fromkeys(lines))
    return f"   # {where}" if where else ""


def bound_constants(constants: Mapping[str, npt.ArrayLike] | None) -> dict[str, ArrayData]:
    """Check and return the arrays that a caller binds to digests for parsing."""
    if not isinstance(constants, Mapping | None):
        raise ArgumentError(
            f"constants are arrays by digest, not {kind_of(constants)}",
            hint="constants=graph.constants gives them (of what was printed)",
        )
    data_by_digest = {digest: ArrayData(array) for digest, array in (constants or {}).items()}
    for digest, data in data_by_digest.items():
        if data.digest != digest:
            raise ArgumentError(
                f"the array bound for constant {digest!r} has the digest {data.digest!r}"
            )
    return data_by_digest


class DocumentReader(Reader):
    """Reads what stands before the thing itself, and comments."""

    def __init__(self, tokens: Tokens, constants: dict[str, ArrayData] | None = None) -> None:
        super().__init__(tokens, constants)
        self._lines: dict[str, SourceLine | None] = {}  # by comment

    def header(self, form: str, thing: str) -> None:
        """Parse a document's header line, and check its form and version."""
        if self.texts[:3] != ["staticgrad", "-", form]:
            self.fail(f"the text of a {thing} starts with '{header_line(form)}'", 0)
        self.at = 3
        if self.integer("the version of the text form") != VERSION:
            self.fail(
                f"this is staticgrad-{form} {self.texts[3]}; this release reads version {VERSION}",
                3,
            )

    def size_declarations(self) -> None:
        """Parse declarations of named sizes: ``size batch {min=1, hint=64}``, any number."""
        while self.accept("size"):
            start = self.at
            token = self.texts[self.at]
            quoted = self.kinds[self.at] == "size"
            self.at += quoted
            name = self.unquote(token[1:]) if quoted else self.take("name", "the name of a size")
            if name in self.sizes:
                self.fail(f"the size {token} is declared twice", start)
            self.expect("{", "the name of the size")
            promises = dict(self.sequence(self._promise, "}"))
            try:
                self.sizes[name] = dim(name, **promises)
            except ValueError as error:
                self.fail(str(error), start)

    def _promise(self) -> tuple[str, int]:
        key = self.take("name", f"one of {', '.join(_PROMISES)}")
        if key not in _PROMISES:
            self.fail(f"a size promises {', '.join(_PROMISES)}, not {key}", self.at - 1)
        self.expect("=", key)
        return key, self.integer(f"the number of {key}")

    def named_line(self) -> SourceLine | None:
        """Return the source line, or lines, that the comment after the last token names."""
        comment = self.tokens.comments.get(self.at - 1, "")
        if comment not in self._lines:
            try:
                self._lines[comment] = SourceLine.from_text(comment)
            except ValueError:  # a remark, or nothing
                self._lines[comment] = None
        return self._lines[comment]

    def expect_end(self, thing: str) -> None:
        """Nothing follows."""
        if self.kinds[self.at] != "end":
            self.fail(f"the {thing} has ended, but {self.token_text} follows")
