"""Workers that claim groups of a table's rows in random order, one call at a time."""

from ctypes import c_int64

import numpy as np

from staticgrad import native
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.memory.planner import Planner
from staticgrad.compiler.runtime.arena import Arena
from staticgrad.compiler.runtime.executor import Executor
from staticgrad.compiler.runtime.step import Table
from staticgrad.language.ir.kernels.chain_parts import PART
from staticgrad.language.types.dim import evaluate
from staticgrad.native import ROW_WORDS, Row
from staticgrad.native.plain.control import follow
from staticgrad.native.table.control_code import ThroughWord
from tests.native.support import ENTRY

#: Bytes on both sides of an arena, which nobody may touch.
ZONE = 4096


class Claims(Table):
    """A table that simulated workers run.

    Between two barriers all groups of all rows are claimed in random order, each by a random
    worker, as if some stalled for as long as the barriers let them.
    """

    rows_of_steps = "single"

    def __init__(self, program, plan, seed):
        super().__init__(program, plan)
        self._random = np.random.default_rng(seed)
        self._driver = self._claim
        self.groups = 0
        self.rows = self._words.rows
        if self.rows_of_steps == "single":
            self._check_parts()

    def _claim(self, block, first, last):
        while first < last:
            if self.rows[first].function == 0:
                first = self._words.row_at(
                    follow(block, self._words.address + 8 * ROW_WORDS * first)
                )
                if first < 0:
                    return
                continue
            stop = first + 1
            while stop < last and not self._starts(stop):
                stop += 1
            self._claim_between(first, stop)
            first = stop

    def _starts(self, row):
        """Return whether a row waits for those before it."""
        alone = self.plan.workers == 1 or self.rows[row].function == 0
        return alone or bool(self._words.waits[row])

    def _claim_between(self, start, stop):
        groups = [group for row in self.rows[start:stop] for group in groups_of(row)]
        self.groups += len(groups)
        for number in self._random.permutation(len(groups)):
            row, begin, end = groups[number]
            worker = int(self._random.integers(self.plan.workers))
            ENTRY(row.function)(row.record, self._words.block(worker) + row.scratch, begin, end)

    def _check_parts(self):
        """Check that scratch and check words of two workers share no byte."""
        sizes = dict(self.plan.sizes)
        by_name = self.plan.schedule.by_name
        stride = (self._words.block(1) - self._words.block(0)) // 8
        parts = dict(
            zip(self._words.arena_words.tolist(), self._words.arena_offsets.tolist(), strict=True)
        )
        for row, planned in enumerate(self.plan.steps):
            step = self.plan.schedule.steps[planned.step]
            if planned.bodies:
                continue
            for word, access in zip(
                self._words.of_row(self._words.first_rows[row], step.accesses()),
                step.accesses(),
                strict=True,
            ):
                if not access.is_own:
                    continue
                nbytes = evaluate(by_name[access.buffer].nbytes, sizes)
                starts = [parts[word + w * stride] for w in range(self.plan.workers)]
                assert (np.diff(starts) >= nbytes).all()
                (place,) = (
                    p for p in self.plan.placements
                    if p.buffer == access.buffer and p.first <= row <= p.last
                )  # fmt: skip
                assert place.offset <= starts[0]
                assert starts[-1] + nbytes <= place.offset + place.nbytes

    def run(self, arena, *writing):
        """Run as ``Table.run``, in an arena of exactly the plan's bytes between two zones."""
        peak = self.plan.peak_bytes
        memory = np.full(2 * ZONE + peak + 64, 0xA5, np.uint8)
        start = ZONE + -(memory.ctypes.data + ZONE) % 64
        inside = memory[start : start + peak]
        if peak:
            inside[:] = arena.array(0, np.dtype(np.uint8), (peak,))
            arena = Arena.over(inside)
            self.bind_arena(arena)
        super().run(arena, *writing)
        assert (memory[:start] == 0xA5).all()
        assert (memory[start + peak :] == 0xA5).all()


class ChainedClaims(Claims):
    """One whose workers run several steps for rows of their own, where they may.

    Each worker takes a part of a chain; whose step is next is drawn for each step.
    """

    rows_of_steps = "together"

    def _claim_between(self, start, stop):
        chains = [row for row in self.rows[start:stop] if row.function == native.through()]
        if not chains or any(row.function == 0 for part in parts_of(chains[0]) for row in part):
            super()._claim_between(start, stop)
            return
        (chain,) = self.rows[start:stop]
        parts, rows_of_worker = parts_of(chain), dict[int, list[Row]]()
        parts = [parts[n] for n in self._random.permutation(len(parts))]
        while parts or rows_of_worker:
            free = [worker for worker in range(self.plan.workers) if worker not in rows_of_worker]
            rows_of_worker |= {worker: parts.pop() for worker in free[: len(parts)]}
            worker = int(self._random.choice([*rows_of_worker]))
            row = rows_of_worker[worker].pop(0)
            block = self._words.block(worker)
            ENTRY(row.function)(row.record, block + row.scratch, row.first, row.total)
            if not rows_of_worker[worker]:
                del rows_of_worker[worker]


def parts_of(through):
    """The rows of each part that a row runs through."""
    rows_of_parts = []
    for part in range(through.total):
        words = (c_int64 * len(ThroughWord)).from_address(
            through.record + 8 * len(ThroughWord) * part
        )
        size = words[ThroughWord.BEHIND] - words[ThroughWord.FIRST]
        every = (c_int64 * (size // 8)).from_address(words[ThroughWord.FIRST])
        rows_of_parts.append(
            [Row(*every[at : at + ROW_WORDS]) for at in range(0, size // 8, ROW_WORDS)]
        )
    return rows_of_parts


def groups_of(row):
    """The groups of a row: (row, begin, end)."""
    if row.total == PART:
        return [(row, 0, PART)]
    step = row.grain or max(row.total, 1)
    return [(row, at, min(at + step, row.total)) for at in range(0, row.total, step)]


def with_workers(f, workers, seed, kind=Claims):
    """``f`` as several workers run it."""
    planner = Planner(f.schedule, workers=workers)

    def make(program, plan):
        verify_plan(plan)
        return kind(program, plan, seed)

    return Executor(
        f.program_graph,
        f._executor.program,
        lambda sizes, staged: planner.plan(sizes, staged=staged),
        dict(f.options.sizes),
        make,
    )


def check_equal_bytes(f, feeds, workers, seed, kind=Claims):
    """Results and new parameters are those of one worker, to the byte; the table that ran."""
    parameters = f.graph.parameters
    old = [p.value for p in parameters]
    expected = f.run(feeds)
    expected = expected if isinstance(expected, dict) else {"": expected}
    new = [p.value for p in parameters]
    for parameter, value in zip(parameters, old, strict=True):
        parameter.value = value
    executor = with_workers(f, workers, seed, kind)
    actual = executor.run(feeds)
    for result, reference in zip(actual.values(), expected.values(), strict=True):
        assert result.tobytes() == reference.tobytes()
    for parameter, value, value_before in zip(parameters, new, old, strict=True):
        assert parameter.value.tobytes() == value.tobytes()
        parameter.value = value_before
    assert isinstance(executor._latest, Claims)
    return executor._latest
