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


def average(count: int, arrays: list[Array], results: list[Array], work: Array) -> None:
    """Write the means over the ranks, of which there must be ``count``."""
    if count == 1:
        for array, result in zip(arrays, results, strict=True):
            result[...] = array
        return
    job = ranks.job()
    if job.ranks != count:
        raise DistributedError(
            f"the program was built for {count} ranks, and {job.ranks} run",
            hint="build it again: optimizers read the number of ranks",
        )
    job.average(arrays, results, work, "a mean")


def _make(rest: str) -> RoutineCode:
    count, _, text = rest.partition(":")
    split = [each.rpartition(".") for each in text.split("_")]
    kinds = 2 * [(dtype, int(axes)) for dtype, _, axes in split]
    latest: dict[tuple[int, ...], list[Array]] = {}  # of the latest plan and arena

    def call(record: int, own: int) -> None:
        words = (*record_words(record, kinds), ctypes.c_int64.from_address(own).value)
        arrays = latest.get(words)
        if arrays is None:
            arrays = list(arrays_in(words, kinds))
            nbytes = sum(array.nbytes for array in arrays[: len(split)])
            arrays.append(memory_at(words[-1], ranks.work_bytes(nbytes, int(count))))
            latest.clear()
            latest[words] = arrays
        average(int(count), arrays[: len(split)], arrays[len(split) : -1], arrays[-1])

    return code_of(recording(call, checks=1))


def _failure(rest: str, iteration: int, how: int) -> BaseException:
    return raised(how)


register("ranks", _make, _failure)
