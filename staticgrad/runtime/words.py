"""The words of a driver's table: rows, records, and a block for each worker.

A row is ``native.Row``. Its record holds one pointer per access that workers share, then one word
per integer argument. Its words in a worker's block are one pointer for each access that is the
worker's own: scratch and check words. The block begins with a ``native.Head``. Rows of a step that
has bodies are those of their plans, each once, between rows that say where to go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from staticgrad import native
from staticgrad.ir.schedule import Touch
from staticgrad.native import HEAD_WORDS, ROW_WORDS, Head, Row
from staticgrad.runtime.arena import address_of
from staticgrad.runtime.cuts import Rows
from staticgrad.runtime.places import BufferPlaces
from staticgrad.runtime.row_writer import Codes, RowWriter
from staticgrad.runtime.sections import shared


class Words:
    """The words of one plan. ``address`` is where the rows begin.

    Attributes:
        array: all words. Those that point into the arena, or into what a run binds, are 0.
        first_rows: the first row of each position of the plan, and behind the last one's. The row
            of a chain is that of its first position; the others' is the next one.
        waits: for each row whether every earlier one must be finished before it begins.
        arena_words, arena_offsets: words that point into the arena, and the bytes from its start.
        slots: by buffer that a run binds, words that point into it, with the bytes from its start.
    """

    def __init__(self, places: BufferPlaces, codes: Codes, rows: Rows) -> None:
        workers = places.plan.workers
        writer = RowWriter(workers, codes, rows)
        self.first_rows = (*writer.write(places), len(writer.drafts))
        self.waits = bytes(draft.waits for draft in writer.drafts)
        written = [each.row for each in shared(writer.drafts, workers)]
        first = ROW_WORDS * len(written)
        blocks = writer.blocks
        self._block_start, self._block_words = first + len(writer.records), len(blocks[0])
        words = [*chain.from_iterable(written), *writer.records, *chain(*blocks)]
        self.array = np.array(words, np.int64)
        self.address = address_of(self.array)
        self.array[1:first:ROW_WORDS] *= 8
        self.array[1:first:ROW_WORDS] += self.address + 8 * first
        for word, target in writer.pointers:
            self.array[first + word] = self.address + 8 * (first + target)
        starts = range(self._block_start, len(self.array), self._block_words)
        head = Head(self.address, 0, 8 * self._block_words, workers, 1)
        if any(row.function == 0 for row in written):
            head = head._replace(control=native.control())
        for start in starts:
            self.array[start : start + len(head)] = head
        arena = [(first + word, at) for word, at in writer.in_arena]
        for start, block in zip(starts, blocks, strict=True):
            arena += enumerate(block[HEAD_WORDS:], start + HEAD_WORDS)
        self.arena_words, self.arena_offsets = np.array(arena, np.int64).reshape(-1, 2).T.copy()
        self.slots: dict[str, list[tuple[int, int]]] = {}
        for word, memory, at in writer.outside:
            self.slots.setdefault(memory, []).append((first + word, at))

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows."""
        words = self.array[: ROW_WORDS * self.first_rows[-1]].reshape(-1, ROW_WORDS)
        return tuple(Row(*row) for row in words.tolist())

    @property
    def has_sections(self) -> bool:
        """True if there are rows that workers may share."""
        last = ROW_WORDS * self.first_rows[-1]
        return bool(self.array[Row._fields.index("section") : last : ROW_WORDS].any())

    def share(self, pool: int) -> None:
        """Let the driver share sections with the workers of the pool at an address."""
        self.array[self.head("pool")] = pool

    def head(self, name: str) -> int:
        """The number of a word at the head of the caller's block."""
        return self._block_start + Head._fields.index(name)

    def row_at(self, address: int) -> int:
        """The number of the row at an address; -1 for 0."""
        return (address - self.address) // (8 * ROW_WORDS) if address else -1

    def block(self, worker: int) -> int:
        """The address of a worker's block, by its number."""
        return self.address + 8 * (self._block_start + worker * self._block_words)

    def of_row(self, row: int, accesses: Sequence[Touch]) -> Iterator[int]:
        """The word that points to each operand of a row, as the first worker has it."""
        at, own = (int(word) for word in self.array[ROW_WORDS * row + 1 : ROW_WORDS * row + 3])
        at, own = (at - self.address) // 8, self._block_start + own // 8
        for access in accesses:
            yield own if access.is_own else at
            at, own = at + (not access.is_own), own + access.is_own
