"""The routine that averages arrays over the ranks of an MPI job, inside of a compiled step."""

from __future__ import annotations

import ctypes

from staticgrad import ranks
from staticgrad.errors import DistributedError
from staticgrad.native.libraries.routines import RoutineCode, register
from staticgrad.native.libraries.user_calls import (
    Kind,
    arrays_in,
    code_of,
    memory_at,
    raised,
    record_words,
    recording,
)
from staticgrad.ranks import Array


def routine(count: int, kinds: list[Kind]) -> str:
    """The name of the routine that averages arrays of these kinds over so many ranks."""
    return f"ranks:{count}:{'_'.join(f'{dtype}.{axes}' for dtype, axes in kinds)}"


def mean(count: int, arrays: list[Array], results: list[Array], work: Array) -> ranks.Mean:
    """Prepare means over the ranks, of which there must be ``count``."""
    job = ranks.job()
    if job.ranks != count:
        raise DistributedError(
            f"the program was built for {count} ranks, and {job.ranks} run",
            hint="build it again: optimizers read the number of ranks",
        )
    return ranks.Mean(job, arrays, results, work)


def _make(rest: str) -> RoutineCode:
    count, _, text = rest.partition(":")
    split = [each.rpartition(".") for each in text.split("_")]
    kinds = 2 * [(dtype, int(axes)) for dtype, _, axes in split]
    latest: dict[tuple[int, ...], ranks.Mean] = {}  # of the latest plan and arena

    def call(record: int, own: int) -> None:
        if count == "1":  # by itself, also where there is no MPI
            arrays = list(arrays_in(record_words(record, kinds), kinds))
            for operand, result in zip(arrays[: len(split)], arrays[len(split) :], strict=True):
                result[...] = operand
            return
        words = (*record_words(record, kinds), ctypes.c_int64.from_address(own).value)
        found = latest.get(words)
        if found is None:
            arrays = list(arrays_in(words, kinds))
            operands, results = arrays[: len(split)], arrays[len(split) :]
            nbytes = ranks.work_bytes(sum(array.nbytes for array in operands), int(count))
            latest.clear()
            found = latest[words] = mean(
                int(count), operands, results, memory_at(words[-1], nbytes)
            )
        found.run()

    return code_of(recording(call, checks=1))


def _failure(rest: str, iteration: int, how: int) -> BaseException:
    return raised(how)


register("ranks", _make, _failure)
