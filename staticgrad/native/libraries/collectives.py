"""The routines that exchange arrays between the ranks of an MPI job, inside of a compiled step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from staticgrad.errors import DistributedError
from staticgrad.native.libraries.routines import RoutineCode, register
from staticgrad.native.libraries.user_calls import (
    Kind,
    memory_at,
    prepared_once,
    take_error,
)
from staticgrad.support import ranks
from staticgrad.support.ranks import Array


def routine(kind: str, count: int, operands: list[Kind], results: list[Kind]) -> str:
    """The name of the routine that exchanges arrays of these kinds between so many ranks."""
    return ":".join(["ranks", kind, str(count), *map(_text, (operands, results))])


def _text(kinds: list[Kind]) -> str:
    return "_".join(f"{dtype}.{axes}" for dtype, axes in kinds)


def exchange(
    kind: str,
    count: int,
    arrays: list[Array],
    results: list[Array],
    work: Array,
    sizes: Array | None = None,
    rows: str = "",
) -> ranks.Exchange:
    """Prepare an MPI exchange of arrays between ``count`` ranks."""
    job = ranks.job()
    if job.ranks != count:
        raise DistributedError(
            f"the program was built for {count} ranks, and {job.ranks} run",
            hint="build it again: optimizers read the number of ranks",
        )
    return ranks.Exchange(job, kind, arrays, results, work, sizes, rows == "equal")


def _make_routine(spec: str) -> RoutineCode:
    """Make the routine that exchanges arrays between MPI ranks, from its name."""
    kind, count, *texts = spec.split(":")
    split = [[part.rpartition(".") for part in text.split("_")] for text in texts]
    operands, results = ([(dtype, int(axes)) for dtype, _, axes in kinds] for kinds in split)
    rows = next((suffix for suffix in ("weighted", "equal") if kind.endswith(suffix)), "")
    kind = kind.removesuffix(rows)

    def prepare(arrays: list[Array], rooms: tuple[int, ...]) -> Callable[[], object]:
        """Return the exchange over one call's arrays; for one rank it is a copy."""
        read, written = arrays[: len(operands)], arrays[len(operands) :]
        sizes = read.pop(0) if rows else None
        if count == "1":  # by itself, also where there is no MPI
            return partial(_copy, read, written)
        largest = [max(a.nbytes, b.nbytes) for a, b in zip(read, written, strict=True)]
        work = memory_at(rooms[0], ranks.work_bytes(largest, int(count)))
        return exchange(kind, int(count), read, written, work, sizes, rows).run

    return prepared_once(operands + results, prepare, 1, scratch=1)


def _copy(read: list[Array], written: list[Array]) -> None:
    for source, target in zip(read, written, strict=True):
        target.reshape(-1)[...] = source.reshape(-1)


register("ranks", _make_routine, take_error)
