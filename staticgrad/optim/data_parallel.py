"""Gradients averaged over the ranks of an MPI job, for parameters that all ranks have equal."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, Final
from weakref import WeakSet

from staticgrad import ranks
from staticgrad.errors import DistributedError
from staticgrad.ops.collective import means
from staticgrad.ranks import Job
from staticgrad.storage.parameter import ParameterStore, write_all

#: Parameters that all ranks have had equal.
_synchronized: Final[WeakSet[ParameterStore]] = WeakSet()


def averaged(grads: Mapping[Any, Any], is_late: bool) -> Mapping[Any, Any]:
    """Return the means of gradients over all ranks, by one exchange; make their parameters equal.

    ``is_late``: the gradients have been computed already, so the parameters must be equal.
    """
    job = ranks.job()
    if job.ranks == 1 or not grads:
        return grads
    _synchronize(job, [p for p in grads if p.store not in _synchronized], is_late)
    found = means(job.ranks, [*grads.values()])
    return dict(zip(grads, found, strict=True))


def _synchronize(job: Job, new: list[Any], is_late: bool) -> None:
    """Give parameters that are averaged for the first time the values of rank 0."""
    if not new:
        return
    every = job.gather([(f"{p.name}: {p.store.type}", ranks.digest(p.store.array)) for p in new])
    types = [[text for text, _ in each] for each in every]
    for rank, other in enumerate(types):
        if other != types[0]:
            pairs = zip_longest(types[0], other, fillvalue="no further parameter")
            here, there = next(pair for pair in pairs if pair[0] != pair[1])
            raise DistributedError(
                "the ranks train different parameters",
                details=[f"rank 0: {here}", f"rank {rank}: {there}"],
                hint="every rank builds the same model",
            )
    if any(each != every[0] for each in every):
        if is_late:
            raise DistributedError(
                "the parameters differ between the ranks, and the loss has been computed with them",
                hint="in eager mode sg.distributed.broadcast(model) comes before the first step",
            )
        values = job.broadcast([p.store.read() for p in new] if job.rank == 0 else None)
        if job.rank:
            write_all([(p.store, value) for p, value in zip(new, values, strict=True)])
    _synchronized.update(p.store for p in new)
