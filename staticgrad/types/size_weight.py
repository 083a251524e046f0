"""How much a size takes to write out, and the bound on what sizes may multiply out to.

Polynomials are kept multiplied out, so that ``(a+b+c+d)`` to the 25th has 3,276 terms, and a floor
division of it is an atom that the next product repeats in every term. A size that a program means
has a few terms; one beyond the bound is refused before it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from staticgrad.errors import ArgumentError

#: Names, those in divisions and maxima included, and terms, that a product of sizes may have.
HEAVIEST: Final = 2**13
_NAME: Final = 16  # characters of a name that weigh as much as a name


def terms_weight(terms: Mapping[Any, int]) -> int:
    """The weight of a polynomial: of its terms, and of the atoms in them."""
    return sum(1 + sum(map(_atom_weight, monomial)) for monomial in terms)


def _atom_weight(atom: Any) -> int:
    """The weight of a name, a floor division or a maximum."""
    name = getattr(atom, "name", None)
    if name is not None:
        return 1 + len(name) // _NAME
    division = hasattr(atom, "numerator")
    parts = (atom.numerator, atom.denominator) if division else (atom.left, atom.right)
    return 1 + sum(map(weight, parts))


def weight(size: Any) -> int:
    """The weight of a size; 1 for a literal one."""
    return 1 if isinstance(size, int) else int(size.weight)


def product_weight(left: Any, right: Any) -> int:
    """At most the weight of the product of two sizes, and what it takes to compute it."""
    if isinstance(left, int) or isinstance(right, int):
        return max(weight(left), weight(right))
    return len(right.terms) * int(left.weight) + len(left.terms) * int(right.weight)


def check_product(left: Any, right: Any) -> None:
    """Refuse a product that would have too many terms.

    Raises:
        ArgumentError: with the bound.
    """
    found = product_weight(left, right)
    if found > HEAVIEST:
        raise ArgumentError(
            f"a product of sizes multiplies out to as many as {found} names and terms, more than"
            f" {HEAVIEST}",
            hint="give a name of its own to a size that is a part of others: sg.dim(name)",
        )
