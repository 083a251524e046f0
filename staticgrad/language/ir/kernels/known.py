"""Facts about its integer arguments that a kernel may rely on, for all sizes of the program.

Kernels are generic in every size. What holds for a size in every step that runs a kernel is derived
before the kernel is compiled: a row whose length is a multiple of some vectors has no tail to mask,
a row of a single block has no counter of blocks, and products that are never flat need no code for
flat ones. ``verify_schedule`` proves the facts for each step.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd
from typing import Final

from staticgrad.language.ir.kernels.stages import LONE
from staticgrad.language.ir.summation import BLOCK
from staticgrad.language.types.dim import Dim, Size, bounds
from staticgrad.support.records import dataclass

#: The largest multiple that is told: four vectors of the narrowest lanes that are written apart.
LARGEST: Final = 64
#: The largest bound that is told: no code depends on that of what is longer.
BOUND: Final = 64
#: Elements of which rows may be a multiple apart that lie in the same lines of a cache.
EVEN: Final = 1024


@dataclass(frozen=True)
class Known:
    """The facts that hold for the argument ``name``.

    It is a multiple of ``multiple``, a power of two; ``short``: it is from 1 to ``BLOCK``;
    ``many``: it is 0, or more than ``LONE``; ``most``: it is no more than that, unless 0;
    ``uneven``: it is not a multiple of ``EVEN``; ``fixed``: it is always ``most``.
    """

    name: str
    multiple: int = 1
    short: bool = False
    many: bool = False
    most: int = 0
    uneven: bool = False
    fixed: bool = False

    @property
    def is_nothing(self) -> bool:
        """True if it contains no fact."""
        return self.multiple == 1 and not (self.short or self.many or self.most or self.uneven)

    def holds(self, size: Size) -> bool:
        """Return whether facts (divisor, bound) hold for a symbolic size, for all values of its
        names.
        """
        actual = known_of(self.name, [size])
        bounded = not self.most or 0 < actual.most <= self.most
        return (
            bounded
            and actual.multiple % self.multiple == 0
            and actual.short >= self.short
            and actual.many >= self.many
            and actual.uneven >= self.uneven
            and (not self.fixed or (actual.fixed and actual.most == self.most))
        )


def known_of(name: str, sizes: Iterable[Size]) -> Known:
    """Return the facts (divisor, bound) that hold for every one of some sizes."""
    multiple, short, many, longest, uneven = LARGEST, True, True, 0, True
    every: set[int | None] = set()
    for size in sizes:
        low, high = bounds(size)
        every |= {low, high}
        step = gcd(*(number for _, number in size.terms)) if isinstance(size, Dim) else size
        multiple = gcd(multiple, step)
        short &= low is not None and low >= 1 and high is not None and high <= BLOCK
        many &= (low is not None and low > LONE) or not 0 < step <= LONE
        longest = max(longest, 1, BOUND + 1 if high is None else high)
        uneven &= not isinstance(size, Dim) and size % EVEN != 0
    most = longest if longest <= BOUND else 0
    return Known(name, multiple, short, many, most, uneven, every == {most} and most > 0)
