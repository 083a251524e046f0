"""Regions of values that cross a border and depend on each other: which to store, which to make.

Of each the least bytes are found that must be stored for the rest to be made again behind the
border: a cut of the values between what is there anyway and what is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING, Final

from passes.residual_values import work
from staticgrad.analysis.users import ValueKey
from staticgrad.analysis.vertex_cut import vertex_cut
from staticgrad.ir.graph import Node
from staticgrad.records import dataclass

if TYPE_CHECKING:
    from passes.residuals import Border

#: Rounds in which values that depend on each other are weighed; two are usual, whatever their
#: number. What would take more stays as it is, and is counted.
MOST_ROUNDS: Final = 64


@dataclass(frozen=True)
class Offer:
    """What one region could do: make the wanted values again from those that are kept."""

    wanted: Sequence[ValueKey]
    kept: Set[ValueKey]
    gain: int  # bytes, before fusion is asked


class CrossingRegions:
    """Values of one border that depend on each other: what crosses, and what it is made of.

    Iterating gives each connected set of them. What is there anyway is in none.
    """

    def __init__(self, border: Border, refused: Set[Node]) -> None:
        self.border, self.refused = border, refused
        self.wanted = [key for key in border.crossing if key not in border.stored]
        self.operands: dict[ValueKey, list[ValueKey]] = {}  # of what may run again
        self.readers: dict[ValueKey, list[ValueKey]] = {}
        waiting = [key for key in self.wanted if self._may_run_again(key[0])]
        while waiting:
            key = waiting.pop()
            if key in self.operands:
                continue
            node = key[0]
            there = [arg for arg in node.args if border.weight(arg.key)]
            self.operands[key] = [arg.key for arg in there]
            for arg in there:
                self.readers.setdefault(arg.key, []).append(key)
                if arg.shape == node.types[0].shape and self._may_run_again(arg.node):
                    waiting.append(arg.key)

    def _may_run_again(self, node: Node) -> bool:
        return node not in self.refused and self.border.may_run_again(node)

    def __iter__(self) -> Iterator[list[ValueKey]]:
        seen: set[ValueKey] = set()
        for first in self.wanted:
            if first in seen:
                continue
            seen.add(first)
            values = [first]
            for key in values:
                near = (*self.operands.get(key, ()), *self.readers.get(key, ()))
                values += [each for each in dict.fromkeys(near) if each not in seen]
                seen.update(near)
            yield values

    def offer(self, values: Sequence[ValueKey]) -> Offer | None:
        """What a connected set of values could do, if anything."""
        number = {key: place for place, key in enumerate(values)}
        wanted = [key for key in values if key in self.border.crossing]
        weight = self.border.weight
        cut = vertex_cut(
            [self.border.price(weight(key)) for key in values],
            [(number[x], number[key]) for key in values for x in self.operands.get(key, ())],
            [number[key] for key in values if key not in self.operands],
            [number[key] for key in wanted],
            MOST_ROUNDS,
            [work(key[0]) if key in self.operands else 0 for key in values],
        )
        if cut is None:
            if not self.refused:
                self.border.tangled.add(values[0])
            return None
        kept = frozenset(values[place] for place in cut)
        again = [key for key in wanted if key not in kept]
        if not again:
            return None
        return Offer(again, kept, sum(map(weight, wanted)) - sum(map(weight, kept)))

    def nodes(self, offer: Offer) -> Iterator[Node]:
        """The nodes to run again."""
        waiting = list(offer.wanted)
        seen = set(waiting)
        while waiting:
            key = waiting.pop()
            yield key[0]
            below = [x for x in self.operands[key] if x not in offer.kept and x not in seen]
            waiting += dict.fromkeys(below)
            seen.update(below)
