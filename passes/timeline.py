"""A sequence of steps laid out in time and bytes: lives, in-place results, loads, one arena.

``Timeline`` holds what no size changes, ``ArenaLayout`` adds sizes, ``Placed`` adds offsets. A
sequence may run a step several times; each life of a buffer then has its own place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from staticgrad.analysis.liveness import Flow, InPlace, Life, SizeNumbers
from staticgrad.kept import cached_property
from staticgrad.planning.offsets import Spans, place
from staticgrad.records import NamedTuple, dataclass

_LAYOUTS: Final = 64  # choices of in-place results that a timeline keeps ready


class Chance(NamedTuple):
    """At a run of ``step``, the life ``out`` begins where the life ``into`` ends."""

    step: int
    pair: InPlace
    out: int
    into: int


class Timeline:
    """One sequence: when buffers live, and where a result could take over an operand's bytes."""

    def __init__(self, flow: Flow, sequence: Sequence[int], staged: frozenset[int]) -> None:
        self.sequence = tuple(sequence)
        self.commit = flow.commit(sequence)
        self.lives: list[Life] = flow.lives(sequence, staged)
        self.chances = tuple(_chances(flow, self.sequence, self.lives))
        self._spans: dict[tuple[tuple[int, int], ...], tuple[list[int], Spans]] = {}

    @property
    def held_bytes(self) -> int:
        """About how many bytes the timeline takes, with what was derived for sizes seen so far."""
        derived = sum(8 * len(blocks) + spans.held_bytes for blocks, spans in self._spans.values())
        return 8 * len(self.sequence) + 90 * len(self.lives) + 100 * len(self.chances) + derived

    def layout(self, numbers: SizeNumbers) -> ArenaLayout:
        """Blocks of bytes at these sizes, each shared by a chain of in-place results."""
        taken: dict[int, int] = {}
        operands: set[int] = set()
        for step, pair, out, into in self.chances:
            offsets = numbers.offsets[step]
            if (
                out not in taken
                and into not in operands
                and offsets[pair.out_operand] == offsets[pair.into_operand]
                and numbers.aligned(pair.out) == numbers.aligned(pair.into)
            ):
                taken[out] = into
                operands.add(into)
        blocks, spans = self._blocks(taken)
        sizes = [0] * len(spans.first)
        for life, block in zip(self.lives, blocks, strict=True):
            sizes[block] = numbers.aligned(life.buffer)
        return ArenaLayout(self, blocks, spans, tuple(sizes))

    def _blocks(self, taken: dict[int, int]) -> tuple[list[int], Spans]:
        """Block number of each life, and the lifetimes of the blocks."""
        key = tuple(taken.items())
        if key not in self._spans:
            if len(self._spans) >= _LAYOUTS:
                self._spans.clear()
            blocks = [-1] * len(self.lives)
            first: list[int] = []
            last: list[int] = []
            for life in sorted(range(len(self.lives)), key=lambda i: self.lives[i].first):
                if life in taken:
                    block = blocks[life] = blocks[taken[life]]
                    last[block] = self.lives[life].last
                else:
                    blocks[life] = len(first)
                    first.append(self.lives[life].first)
                    last.append(self.lives[life].last)
            self._spans[key] = blocks, Spans(tuple(first), tuple(last), len(self.sequence))
        return self._spans[key]


def _chances(flow: Flow, sequence: Sequence[int], lives: Sequence[Life]) -> Iterator[Chance]:
    """Where the result's life begins and the operand's ends."""
    begins = {(life.buffer, life.first): i for i, life in enumerate(lives)}
    ends = {(life.buffer, life.last): i for i, life in enumerate(lives)}
    for at, step in enumerate(sequence):
        for pair in flow.in_place[step]:
            out, into = begins.get((pair.out, at)), ends.get((pair.into, at))
            if out is not None and into is not None:
                yield Chance(step, pair, out, into)


@dataclass(frozen=True)
class ArenaLayout:
    """Blocks of one timeline at concrete sizes: ``blocks`` numbers the block of each life."""

    timeline: Timeline
    blocks: Sequence[int]
    spans: Spans
    sizes: tuple[int, ...]

    @cached_property
    def loads(self) -> list[int]:
        """Bytes alive at each position."""
        return self.spans.load(self.sizes)

    @cached_property
    def load(self) -> int:
        """The most bytes alive at once: no placement needs fewer."""
        return max(self.loads, default=0)

    def placed(self, effort: int = 0) -> Placed:
        """The layout with an offset for each block; more effort finds lower arenas.

        Args:
            effort: about how many blocks are looked at where first fit misses the load.
        """
        if effort <= 0:  # nothing is compiled for what no budget asks for
            return Placed(self, *place(self.spans, self.sizes, self.load))
        from staticgrad.planning.exact_offsets import place_tightly

        return Placed(self, *place_tightly(self.spans, self.sizes, self.load, effort))


@dataclass(frozen=True)
class Placed:
    """A layout with an offset for each block, in an arena of ``height`` bytes."""

    layout: ArenaLayout
    offsets: Sequence[int]
    height: int
