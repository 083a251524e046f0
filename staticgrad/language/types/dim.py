"""Sizes of axes: integers, or integer expressions of named sizes, in one canonical form.

A ``Dim`` is a polynomial with integer coefficients over *atoms*: a named size, a floor division, or
a maximum. Equal polynomials are equal objects by ``==`` and hash, so that shapes compare at build
time. What cannot be decided then becomes a ``Guard``, checked on the sizes of the feeds.

    >>> batch = dim("batch")
    >>> 2 * batch + batch - 3
    3*batch - 3
    >>> (6 * batch) // 3
    2*batch

**Bounds.** Polynomials are stored multiplied out, so that ``(a+b+c+d)`` to the 25th has 3,276
terms, and a floor division of it is an atom that the next product repeats in every term. A size
that a program means has a few terms; one beyond the bound is refused before it is computed.

**Caches by sizes.** Sizes are equal whatever the hints of their names, but results computed from
them contain hints. A cache by equality alone would give one program the hints of another, so that
such caches compare hints, too.

**Intervals.** What is known of a size's value is an interval of whole numbers, open or closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from functools import lru_cache, wraps
from math import gcd, inf, prod
from operator import index
from typing import Any, Final, ParamSpec, TypeVar

from staticgrad.errors import ArgumentError
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.values import UnknownNumber, check_size, over_sizes
from staticgrad.language.types.dtype import ALL_DTYPES
from staticgrad.language.types.lexis import name_text
from staticgrad.support.building import current, within
from staticgrad.support.records import dataclass

Bounds = tuple[int | None, int | None]  # lowest and highest value; None: unbounded


def product(left: Bounds, right: Bounds) -> Bounds:
    """The interval of a product; an open end counts as infinite, and 0 times infinite is 0."""
    corners = [a * b if a and b else 0 for a in _ends(left) for b in _ends(right)]
    low, high = min(corners), max(corners)
    return (low if isinstance(low, int) else None), (high if isinstance(high, int) else None)


def _ends(interval: Bounds) -> tuple[int | float, int | float]:
    low, high = interval
    return (-inf if low is None else low), (inf if high is None else high)


def quotient(numerator: Bounds, denominator: int | Bounds) -> Bounds:
    """Return the interval of a floor division of sizes; a number as denominator is positive."""
    low, high = numerator
    if isinstance(denominator, int):
        return (None if low is None else low // denominator), (
            None if high is None else high // denominator
        )
    smallest, _ = denominator
    never_negative = low is not None and low >= 0 and smallest is not None and smallest >= 0
    return (0, high) if never_negative else (None, None)


#: Names, those in divisions and maxima included, and terms, that a product of sizes may have.
HEAVIEST: Final = 2**13
_NAME: Final = 16  # characters of a name that weigh as much as a name
#: Monomials whose weight and place are remembered; shapes of a program have a few dozen.
_MONOMIALS: Final = 1 << 10


@lru_cache(maxsize=_MONOMIALS)
def _monomial_weight(monomial: Monomial) -> int:
    return 1 + sum(map(_atom_weight, monomial))


def _atom_weight(atom: Atom) -> int:
    if isinstance(atom, Named):
        return 1 + len(atom.name) // _NAME
    return 1 + sum(map(weight, atom.parts))


def weight(size: Size) -> int:
    """The weight of a size; 1 for a literal one."""
    return 1 if isinstance(size, int) else int(size.weight)


def product_weight(left: Size, right: Size) -> int:
    """At most the weight of the product of two sizes, and what it takes to compute it."""
    if isinstance(left, int) or isinstance(right, int):
        return max(weight(left), weight(right))
    return len(right.terms) * int(left.weight) + len(left.terms) * int(right.weight)


#: Words that mean something else where a size may stand in text; a size of that name is quoted.
_RESERVED: Final = {"max", "inf", "nan", "True", "False", "None", *(d.code for d in ALL_DTYPES)}


@dataclass(frozen=True)
class Named:
    """A size known by name; never negative. ``hint`` guides cost decisions, outside equality."""

    name: str
    min: int = 0
    max: int | None = None
    multiple_of: int = 1
    hint: int | None = field(default=None, compare=False)

    def __hash__(self) -> int:
        return hash(self.name)  # of one name there is one size, all but always

    def __str__(self) -> str:
        text = name_text(self.name, _RESERVED)
        return f"${text}" if text.startswith('"') else text


@dataclass(frozen=True)
class FloorDiv:
    """floor(numerator / denominator)."""

    numerator: Size
    denominator: Size

    @property
    def parts(self) -> tuple[Size, Size]:
        return self.numerator, self.denominator

    def __str__(self) -> str:
        return f"{_factor_text(self.numerator)}//{_factor_text(self.denominator)}"


@dataclass(frozen=True)
class MaxSize:
    """The larger of two sizes."""

    left: Size
    right: Size

    @property
    def parts(self) -> tuple[Size, Size]:
        return self.left, self.right

    def __str__(self) -> str:
        return f"max({self.left}, {self.right})"


Atom = Named | FloorDiv | MaxSize
Monomial = tuple[Atom, ...]  # sorted by text; () is the constant term
_PROOF_STEPS: Final = 64  # a proof that a size is not negative rarely takes more than ten
_DIVISION_STEPS: Final = 64  # shapes have few terms; a division that needs more is left undivided
_ATOM_ORDER: Final = {Named: 0, FloorDiv: 1, MaxSize: 2}


def _atom_order(atom: Atom) -> tuple[int, str]:
    return (_ATOM_ORDER[type(atom)], str(atom))


@lru_cache(maxsize=_MONOMIALS)
def _order(monomial: Monomial) -> tuple[int, list[tuple[int, str]]]:
    """High degrees first, then by atoms: an order that multiplication keeps, so division works."""
    return (-len(monomial), [_atom_order(atom) for atom in monomial])


class Dim(UnknownNumber):
    """A non-constant polynomial over named sizes. Build with ``dim`` and arithmetic."""

    __slots__ = ("_hash", "_text", "hints", "terms", "typical", "weight")

    terms: tuple[tuple[Monomial, int], ...]
    hints: tuple[int | None, ...] | None  # of its names, once somebody has asked
    typical: dict[int, int]  # by what names without a hint count for, as far as asked

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        pairs = list(terms.items())
        if len(pairs) > 1:
            pairs.sort(key=lambda term: _order(term[0]))
        self.terms, self._text = tuple(pairs), ""
        self._hash, self.weight = hash(self.terms), sum(map(_monomial_weight, terms))
        self.hints, self.typical = None, {}

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Dim) and self._hash == other._hash and self.terms == other.terms
        )

    def __hash__(self) -> int:
        return self._hash

    @over_sizes
    def __add__(self, other: Size) -> Size:
        return self._plus(1, other)

    def _plus(self, factor: int, size: Size) -> Size:
        total = dict(self.terms)
        for monomial, coefficient in _terms(size):
            total[monomial] = total.get(monomial, 0) + factor * coefficient
        return _normal(total)

    @over_sizes
    def __radd__(self, other: int) -> Size:
        return self + other

    def __neg__(self) -> Size:
        return self._times(-1)

    @over_sizes
    def __sub__(self, other: Size) -> Size:
        return self._plus(-1, other)

    @over_sizes
    def __rsub__(self, other: int) -> Size:
        return -self + other

    @over_sizes
    def __mul__(self, other: Size) -> Size:
        weight = product_weight(self, other)
        if weight > HEAVIEST:
            raise ArgumentError(
                f"a product of sizes multiplies out to as many as {weight} names and terms, more"
                f" than {HEAVIEST}",
                hint="give a separate name to a size that is a part of others: sg.dim(name)",
            )
        if not isinstance(other, Dim):
            return self._times(index(other))
        total: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in other.terms:
                monomial = left + right
                product = tuple(sorted(monomial, key=_atom_order)) if left and right else monomial
                total[product] = total.get(product, 0) + a * b
        return _normal(total)

    def _times(self, factor: int) -> Size:
        """Multiply a symbolic size by a number: the same terms, in order."""
        if not factor:
            return 0
        product = Dim.__new__(Dim)
        product.terms = tuple([(monomial, c * factor) for monomial, c in self.terms])
        product._hash, product.weight, product._text = hash(product.terms), self.weight, ""
        product.hints, product.typical = self.hints, {}
        return product

    @over_sizes
    def __rmul__(self, other: int) -> Size:
        return self * other

    @over_sizes
    def __floordiv__(self, other: Size) -> Size:
        return floordiv(self, other)

    @over_sizes
    def __rfloordiv__(self, other: int) -> Size:
        return floordiv(other, self)

    @over_sizes
    def __mod__(self, other: Size) -> Size:
        return self - floordiv(self, other) * other

    @over_sizes
    def __rmod__(self, other: int) -> Size:
        return other - floordiv(other, self) * self

    @over_sizes
    def __divmod__(self, other: Size) -> tuple[Size, Size]:
        return self // other, self % other

    @over_sizes
    def __rdivmod__(self, other: int) -> tuple[Size, Size]:
        return other // self, other % self

    def __pos__(self) -> Size:
        return self

    def __abs__(self) -> Size:
        return maximum(self, -self)

    def __str__(self) -> str:
        if self._text:
            return self._text
        text = ""
        for monomial, coefficient in self.terms:
            factors = [str(abs(coefficient))] if abs(coefficient) != 1 or not monomial else []
            # `-a//2` would read as (-a)//2, and `2*a//3` as (2*a)//3.
            alone = len(monomial) + len(factors) == 1 and (coefficient > 0 or text != "")
            factors += [
                f"({atom})" if isinstance(atom, FloorDiv) and not alone else str(atom)
                for atom in monomial
            ]
            negative, positive = (" - ", " + ") if text else ("-", "")
            text += (negative if coefficient < 0 else positive) + "*".join(factors)
        self._text = text
        return text

    __repr__ = __str__

    def __reduce__(self) -> tuple[object, ...]:
        return (Dim, (dict(self.terms),))


#: The size of an axis: a number, or a polynomial over named sizes.
Size = int | Dim


def _factor_text(size: Size) -> str:
    """A size as operand of ``//``: a literal, a name or a maximum stands without parentheses."""
    if isinstance(size, Dim):
        (monomial, coefficient), *more = size.terms
        if more or coefficient != 1 or len(monomial) != 1 or isinstance(monomial[0], FloorDiv):
            return f"({size})"
    return str(size)


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(size, Dim):
        return size.terms
    number = index(size)  # refuses 0.5, accepts NumPy's integers
    return (((), number),) if number else ()


def sum_of(parts: Iterable[tuple[int, Size]]) -> Size:
    """The sum of sizes, each times a number, in one go: as many additions as terms."""
    total: dict[Monomial, int] = {}
    for factor, size in parts:
        for monomial, coefficient in _terms(size):
            total[monomial] = total.get(monomial, 0) + factor * coefficient
    return _normal(total)


def _normal(terms: Mapping[Monomial, int]) -> Size:
    nonzero = {monomial: c for monomial, c in terms.items() if c}
    if not nonzero:
        return 0
    return nonzero[()] if list(nonzero) == [()] else Dim(nonzero)


def _of_atom(atom: Atom) -> Dim:
    return Dim({(atom,): 1})


@boundary
def dim(
    name: str,
    *,
    min: int = 0,
    max: int | None = None,
    hint: int | None = None,
    multiple_of: int = 1,
) -> Dim:
    """A named size. The same name is the same size wherever it is used in a graph.

    Args:
        name: how it is called in types, text and messages.
        min, max, multiple_of: promises about the value, checked on the feeds; they decide shapes.
        hint: a typical value; cost decisions use it, correctness never does.

    Returns:
        A size, for shapes of inputs; sizes are added, multiplied and divided.

    Raises:
        ArgumentError: an empty name, bounds that no size can meet, a hint outside of them.

    >>> import staticgrad as sg
    >>> n = sg.dim("n", min=1)
    >>> sg.concatenate([sg.input("x", (n, 3), "float32")] * 2).shape
    (2*n, 3)
    """
    check_size(name, min, max, hint, multiple_of)
    return _of_atom(Named(name, min, max, multiple_of, hint))


def floordiv(numerator: Size, denominator: Size) -> Size:
    """floor(numerator / denominator), divided out as far as the polynomials allow it."""
    if not isinstance(denominator, Dim):
        if numerator.__class__ is int and denominator.__class__ is int and denominator:
            return numerator // denominator
        return _floordiv_by_int(numerator, index(denominator))
    exact = divide_exactly(numerator, denominator)
    return _of_atom(FloorDiv(numerator, denominator)) if exact is None else exact


def _floordiv_by_int(numerator: Size, denominator: int) -> Size:
    """Floor-divide a symbolic size by a number, in canonical form."""
    if denominator == 0:
        raise ZeroDivisionError(f"the size {numerator} divided by 0")
    if denominator < 0:
        return _floordiv_by_int(-numerator, -denominator)
    # With g dividing the denominator d and every term but the constant k:
    # floor((g*p + k) / (g*d)) = floor((p + floor(k/g)) / d).
    common = gcd(denominator, *(c for monomial, c in _terms(numerator) if monomial))
    divisor = denominator // common
    quotients, remainders = {}, {}
    for monomial, c in _terms(numerator):
        quotients[monomial], remainders[monomial] = divmod(c // common, divisor)
    remainder = _normal(remainders)
    if isinstance(remainder, int):  # below the divisor, so its quotient is 0
        return _normal(quotients)
    return _normal(quotients) + _of_atom(FloorDiv(remainder, divisor))


def maximum(left: Size, right: Size) -> Size:
    """The larger of two sizes; decided at once where the bounds of the names allow it."""
    if left.__class__ is int and right.__class__ is int:
        return left if left >= right else right
    first, second = sorted((left, right), key=lambda size: (isinstance(size, int), str(size)))
    if is_at_least(first, second) or (second == 0 and is_never_negative(first)):
        return first
    return second if is_at_least(second, first) else _of_atom(MaxSize(first, second))


def minimum(left: Size, right: Size) -> Size:
    """The smaller of two sizes."""
    return left + right - maximum(left, right)


def is_at_least(left: Size, right: Size) -> bool:
    """Prove left >= right for all values of named sizes from their bounds; False if unproved."""
    if left.__class__ is int and right.__class__ is int:
        return left >= right
    others = dict.fromkeys((left, *_alternatives(left)))
    return right in others or all(
        part in others or any(_is_low(alternative, part) for alternative in others)
        for part in _alternatives(right)
    )


def _is_low(size: Size, part: Size) -> bool:
    low = bounds(size - part)[0]
    return low is not None and low >= 0


def maximum_of(size: Size) -> tuple[Size, ...]:
    """The two sizes of which it is the maximum, or itself alone."""
    ((monomial, coefficient), *others) = _terms(size) or (((), 0),)
    if others or coefficient != 1 or len(monomial) != 1 or not isinstance(monomial[0], MaxSize):
        return (size,)
    return monomial[0].left, monomial[0].right


def _alternatives(size: Size) -> tuple[Size, ...]:
    """Return all operands of a maximum, nested ones included, or the size itself."""
    parts = maximum_of(size)
    if len(parts) == 1:
        return parts
    return tuple(operand for part in parts for operand in _alternatives(part))


@lru_cache(maxsize=4096)
def is_never_negative(size: Size) -> bool:
    """Return whether ``size`` is 0 or more for all values of the names, as far as this is proved.

    Beyond ``bounds``, maxima and quotients are compared with the other terms: ``n - n//2`` and
    ``n + 2 - max(n, 2)``, the smaller of n and 2, are never negative.
    """
    return _is_proved(size, iter(range(_PROOF_STEPS)))


def _is_proved(size: Size, steps: Iterator[int]) -> bool:
    """Return whether a symbolic size is provably >= 0, within so many steps."""
    low = bounds(size)[0]
    if low is not None and low >= 0:
        return True
    if next(steps, None) is None:
        return False
    atoms = [(c, *monomial) for monomial, c in _terms(size) if len(monomial) == 1]
    # Both cases of a maximum with a negative factor must hold: they are the exact split, so first.
    for c, atom in sorted(atoms, key=lambda term: (term[0] > 0, -_ATOM_ORDER[type(term[1])])):
        remaining = size - c * _of_atom(atom)
        if isinstance(atom, MaxSize):
            either = (_is_proved(remaining + c * part, steps) for part in (atom.left, atom.right))
            return all(either) if c < 0 else any(either)
        if isinstance(atom, FloorDiv) and isinstance(atom.denominator, int):
            by = atom.denominator  # numerator - by + 1 <= by * atom <= numerator
            within = atom.numerator if c < 0 else atom.numerator - (by - 1)
            return _is_proved(by * remaining + c * within, steps)
    return False


def divide_exactly(numerator: Size, denominator: Size) -> Size | None:
    """Divide symbolic sizes exactly; None unless there is no remainder for all values."""
    if denominator == 0:
        return None
    quotient: dict[Monomial, int] = {}
    divisor = _terms(denominator)
    remaining = dict(_terms(numerator))
    for _ in range(_DIVISION_STEPS):
        if not remaining:
            return _normal(quotient)
        lead = min(remaining, key=_order)
        step = _divide_monomial(lead, remaining[lead], *divisor[0])
        if step is None:
            divides = _multiple_atom(numerator, denominator)
            return floordiv(numerator, denominator) if divides else None
        quotient[step[0]] = quotient.get(step[0], 0) + step[1]
        product = _normal({step[0]: step[1]}) * denominator
        for monomial, c in _terms(product):
            remaining[monomial] = remaining.get(monomial, 0) - c
        remaining = {monomial: c for monomial, c in remaining.items() if c}
    return None


def _divide_monomial(
    monomial: Monomial, c: int, by: Monomial, d: int
) -> tuple[Monomial, int] | None:
    """Divide a monomial of a symbolic size by another; None unless it is exact."""
    if c % d:
        return None
    remaining = list(monomial)
    for atom in by:
        if atom not in remaining:
            return None
        remaining.remove(atom)
    return tuple(remaining), c // d


def _multiple_atom(numerator: Size, denominator: Size) -> bool:
    """Return whether ``multiple_of`` makes a number divide every term of a size."""
    if not isinstance(denominator, int):
        return False
    for monomial, c in _terms(numerator):
        factor = c
        for atom in monomial:
            factor *= atom.multiple_of if isinstance(atom, Named) else 1
        if factor % denominator:
            return False
    return True


@lru_cache(maxsize=4096)
def bounds(size: Size) -> Bounds:
    """Return the interval of a symbolic size's values; None where unbounded."""
    low: int | None = 0
    high: int | None = 0
    for monomial, c in _terms(size):
        term: Bounds = (c, c)
        for atom in monomial:
            term = product(term, _atom_bounds(atom))
        low = None if low is None or term[0] is None else low + term[0]
        high = None if high is None or term[1] is None else high + term[1]
    return low, high


def _atom_bounds(atom: Atom) -> Bounds:
    """Return the interval of a named size, floor division or maximum."""
    if isinstance(atom, Named):
        return atom.min, atom.max
    if isinstance(atom, FloorDiv):
        by = atom.denominator
        return quotient(bounds(atom.numerator), by if isinstance(by, int) else bounds(by))
    (a, b), (c, d) = bounds(atom.left), bounds(atom.right)
    lows = [v for v in (a, c) if v is not None]
    return (max(lows) if lows else None), (None if b is None or d is None else max(b, d))


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """Evaluate a symbolic size, given the values of its names."""
    if isinstance(size, int):
        return size
    total = 0
    for monomial, c in size.terms:
        for atom in monomial:
            c *= _evaluate_atom(atom, values)
        total += c
    return total


def _evaluate_atom(atom: Atom, values: Mapping[str, int]) -> int:
    if isinstance(atom, Named):
        return values[atom.name]
    if isinstance(atom, FloorDiv):
        denominator = evaluate(atom.denominator, values)
        return evaluate(atom.numerator, values) // denominator if denominator else 0
    return max(evaluate(atom.left, values), evaluate(atom.right, values))


def named_sizes(size: Size) -> Iterator[Named]:
    """Return every named size in ``size``, in the order of its text."""
    for monomial, _ in _terms(size):
        for atom in monomial:
            if isinstance(atom, Named):
                yield atom
            else:
                for part in atom.parts:
                    yield from named_sizes(part)


#: Named size -> the size that takes its place.
Sizes = Mapping[Named, Size]


def substitute_size(size: Size, sizes: Sizes) -> Size:
    """Return a size with other sizes in place of named ones."""
    if isinstance(size, int) or not any(named in sizes for named in named_sizes(size)):
        return size
    total: Size = 0
    for monomial, factor in size.terms:
        term: Size = factor
        for atom in monomial:
            term = term * _substitute_atom(atom, sizes)
        total = total + term
    return total


def _substitute_atom(atom: Any, sizes: Sizes) -> Size:
    if isinstance(atom, Named):
        return sizes.get(atom, _of_atom(atom))
    first, second = (substitute_size(part, sizes) for part in atom.parts)
    if not isinstance(atom, FloorDiv):
        return maximum(first, second)
    return 0 if second == 0 else floordiv(first, second)


def suggest_least_sizes(left: Sequence[Size], right: Sequence[Size]) -> str:
    """Return a hint if two shapes are equal once named sizes are promised a minimum; else empty.

    ``concatenate([x[:1], x[1:]])`` has ``max(n - 1, 0) + 1`` rows: ``n`` for all ``n`` but 0.
    """
    pairs = [*zip(left, right, strict=False)]
    names = dict.fromkeys(named for pair in pairs for size in pair for named in named_sizes(size))

    def are_equal(least: Mapping[Named, int]) -> bool:
        sizes = {named: _promise_least(named, number) for named, number in least.items()}
        return all(substitute_size(a, sizes) == substitute_size(b, sizes) for a, b in pairs)

    # A maximum is decided beyond its numbers, so beyond the product of all of them.
    most = prod(1 + number for pair in pairs for size in pair for number in _numbers_of(size))
    if len(left) != len(right) or not names or not are_equal(dict.fromkeys(names, most)):
        return ""
    least = next(k for k in range(most + 1) if are_equal(dict.fromkeys(names, k)))
    needed: Mapping[Named, int] = dict.fromkeys(names, least)
    for named in names:
        fewer = {size: number for size, number in needed.items() if size is not named}
        needed = fewer if are_equal(fewer) else needed
    if any(named.max is not None and named.max < least for named in needed):
        return ""
    text = ", ".join(f'sg.dim("{named.name}", min={least})' for named in needed)
    return f"the shapes are equal if sizes are promised to be no smaller than {least}: {text}"


def _promise_least(named: Named, least: int) -> Dim:
    """Return a named size with a minimum that is at least ``least``."""
    most = named.max if named.max is None else max(named.max, least)
    return _of_atom(Named(named.name, max(named.min, least), most, named.multiple_of, named.hint))


def _numbers_of(size: Size) -> Iterator[int]:
    """Yield the absolute values of all numbers in a size."""
    if isinstance(size, int):
        yield abs(size)
        return
    for monomial, factor in size.terms:
        yield abs(factor)
        for atom in monomial:
            for part in () if isinstance(atom, Named) else atom.parts:
                yield from _numbers_of(part)


@dataclass(frozen=True)
class Guard:
    """A condition on named sizes that build time could not decide.

    ``left`` must be ``relation`` (``==`` or ``>=``) ``right``; ``text`` is the error's headline.
    """

    left: Size
    relation: str
    right: Size
    text: str

    def holds(self, values: Mapping[str, int]) -> bool:
        """Return whether the condition is true for the given values of the names."""
        left, right = evaluate(self.left, values), evaluate(self.right, values)
        return left == right if self.relation == "==" else left >= right


@contextmanager
def collecting_guards() -> Iterator[list[Guard]]:
    """Collect the guards that shape inference needs inside the block."""
    guards: list[Guard] = []
    with within(guards=guards):
        yield guards


def equal(left: Size, right: Size, text: str) -> bool:
    """Compare two sizes: False if never equal, else True, with a guard if it depends on a run."""
    if left == right:
        return True
    difference = left - right
    low, high = bounds(difference)
    if (low is not None and low > 0) or (high is not None and high < 0):
        return False
    if isinstance(difference, int):
        return False
    # The value 0 is reached only if the divisor of the coefficients divides the constant.
    constant = dict(difference.terms).get((), 0)
    if constant % gcd(*(c for monomial, c in difference.terms if monomial)):
        return False
    _note(Guard(left, "==", right, text))
    return True


def at_least(left: Size, right: Size, text: str) -> bool:
    """Return whether left >= right: False if never, else True, with a guard if it depends."""
    if left.__class__ is int and right.__class__ is int:
        return left >= right
    difference = left - right
    if is_never_negative(difference):
        return True
    high = bounds(difference)[1]
    if high is not None and high < 0:
        return False
    _note(Guard(left, ">=", right, text))
    return True


def _note(guard: Guard) -> None:
    guards = current().guards
    if guards is not None and guard not in guards:
        guards.append(guard)


P = ParamSpec("P")
T = TypeVar("T")


def kept_by_sizes(function: Callable[P, T]) -> Callable[P, T]:
    """Cache a function of symbolic sizes and hashables, all positional."""

    @lru_cache(maxsize=1024, typed=True)
    def compute(_: tuple[object, ...], *arguments: Any) -> Any:
        return function(*arguments)  # type: ignore[call-arg]

    @wraps(function)
    def lookup(*arguments: Any) -> Any:
        return compute(tuple(map(_hints, arguments)), *arguments)

    return lookup  # type: ignore[return-value]


def _hints(argument: object) -> object:
    """Return the hints of the named sizes in an argument, part of a cache key."""
    if isinstance(argument, Dim):
        if argument.hints is None:
            argument.hints = tuple([named.hint for named in named_sizes(argument)])
        return argument.hints
    if isinstance(argument, tuple):
        return tuple([_hints(entry) for entry in argument if entry.__class__ is not int])
    return None
