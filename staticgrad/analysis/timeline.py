"""A sequence of steps laid out in time and bytes: lives, in-place results, loads, one arena.

``Timeline`` holds what no size changes, ``ArenaLayout`` adds sizes, ``Placed`` adds offsets. A
sequence may run a step several times; each life of a buffer then has its own place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from staticgrad.analysis.liveness import Flow, Life, SizeNumbers
from staticgrad.kept import cached_property
from staticgrad.planning.offsets import Spans, place
from staticgrad.records import NamedTuple, dataclass

_LAYOUTS: Final = 64  # choices of in-place results that a timeline keeps ready


class Chance(NamedTuple):
    """At a run of a step, the life ``out`` begins where the life ``into`` ends; ``pair`` is the
    number of the pair that may share bytes, of all in ``Flow.in_place``."""

    pair: int
    out: int
    into: int


class _Blocks(NamedTuple):
    """The block of each life, the lifetimes of blocks, and a buffer in each."""

    of_life: list[int]
    spans: Spans
    buffers: tuple[int, ...]


class Timeline:
    """One sequence: when buffers live, and where a result could take over an operand's bytes."""

    def __init__(self, flow: Flow, sequence: Sequence[int], staged: frozenset[int]) -> None:
        self.sequence = tuple(sequence)
        self.commit = flow.commit(sequence)
        self.lives: list[Life] = flow.lives(sequence, staged)
        self._flow = flow
        self.chances = tuple(_chances(flow, self.sequence, self.lives))
        self._blocks: dict[bytes, _Blocks] = {}  # by the pairs that share bytes

    @property
    def held_bytes(self) -> int:
        """About how many bytes the timeline takes, with what was derived for sizes seen so far."""
        derived = sum(
            16 * len(each.of_life) + each.spans.held_bytes for each in self._blocks.values()
        )
        return 8 * len(self.sequence) + 90 * len(self.lives) + 100 * len(self.chances) + derived

    def layout(self, numbers: SizeNumbers) -> ArenaLayout:
        """Blocks of bytes at these sizes, each shared by a chain of in-place results."""
        sharing = numbers.sharing(self._flow)
        found = self._blocks.get(sharing)
        if found is None:
            if len(self._blocks) >= _LAYOUTS:
                self._blocks.clear()
            found = self._blocks[sharing] = self._joined(sharing)
        aligned = numbers.all_aligned
        return ArenaLayout(
            self, found.of_life, found.spans, tuple(map(aligned.__getitem__, found.buffers))
        )

    def _joined(self, sharing: bytes) -> _Blocks:
        """The blocks where these pairs share bytes."""
        taken: dict[int, int] = {}
        operands: set[int] = set()
        for pair, out, into in self.chances:
            if sharing[pair] and out not in taken and into not in operands:
                taken[out] = into
                operands.add(into)
        blocks = [-1] * len(self.lives)
        first: list[int] = []
        last: list[int] = []
        buffers: list[int] = []
        for life in sorted(range(len(self.lives)), key=lambda i: self.lives[i].first):
            if life in taken:
                block = blocks[life] = blocks[taken[life]]
                last[block] = self.lives[life].last
            else:
                blocks[life] = len(first)
                first.append(self.lives[life].first)
                last.append(self.lives[life].last)
                buffers.append(self.lives[life].buffer)
        spans = Spans(tuple(first), tuple(last), len(self.sequence))
        return _Blocks(blocks, spans, tuple(buffers))


def _chances(flow: Flow, sequence: Sequence[int], lives: Sequence[Life]) -> Iterator[Chance]:
    """Where the result's life begins and the operand's ends."""
    begins = {(life.buffer, life.first): i for i, life in enumerate(lives)}
    ends = {(life.buffer, life.last): i for i, life in enumerate(lives)}
    numbers = [*accumulate(map(len, flow.in_place), initial=0)]
    for at, step in enumerate(sequence):
        for number, pair in enumerate(flow.in_place[step], numbers[step]):
            out, into = begins.get((pair.out, at)), ends.get((pair.into, at))
            if out is not None and into is not None:
                yield Chance(number, out, into)


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

    def placed(
        self, effort: int = 0, slack: int = 0, order: Callable[[], Sequence[int]] | None = None
    ) -> Placed:
        """The layout with an offset for each block; more effort finds lower arenas.

        Args:
            effort: about how many blocks are looked at where first fit misses the load; none is
                a millisecond, and nothing is compiled.
            slack: bytes by which an arena may exceed the load before they are.
            order: gives an order of the blocks for one more first fit, before that.
        """
        if effort <= 0:  # nothing is compiled for what no budget asks for
            return Placed(self, *self._placed_briefly())
        from staticgrad.planning.exact_offsets import place_tightly

        bound = self.load + slack
        return Placed(self, *place_tightly(self.spans, self.sizes, bound, effort, order))

    def _placed_briefly(self) -> tuple[list[int], int]:
        """Offsets and height by first fit; where that misses the load, a short search beside it."""
        found = place(self.spans, self.sizes, self.load)
        if found[1] <= self.load:
            return found
        from staticgrad.planning.exact_offsets import lowered_briefly

        return lowered_briefly(self.spans, self.sizes, self.load, found)


@dataclass(frozen=True)
class Placed:
    """A layout with an offset for each block, in an arena of ``height`` bytes."""

    layout: ArenaLayout
    offsets: Sequence[int]
    height: int
