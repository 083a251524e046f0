"""Gradients averaged over the ranks of an MPI job, for parameters that all ranks have equal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from math import prod
from typing import Any, Final
from weakref import WeakSet

from staticgrad.errors import ArgumentError, DistributedError
from staticgrad.extend import ancestors, ranks
from staticgrad.extend.parameters import ParameterStore, Shard, write_all
from staticgrad.extend.ranks import Job, Rows, gather, means, parts, parts_of_means
from staticgrad.functions import input as graph_input
from staticgrad.optim.gradients import of_parts
from staticgrad.optim.state import (
    Stepping,
    asked_of,
    state_maker,
    states_expected_of,
    states_made_by,
)

#: Parameters that all ranks have had equal.
_synchronized: Final[WeakSet[ParameterStore]] = WeakSet()


def average_gradients(grads: Mapping[Any, Any], rows: Rows, is_late: bool) -> Mapping[Any, Any]:
    """Average gradients over all ranks by MPI, weighed by rows.

    ``rows``: by which they are weighted. ``is_late``: the gradients have been computed already, so
    the parameters must be equal.
    """
    job = ranks.job()
    if job.ranks == 1 or not grads:
        return grads
    synchronize(job, grads, is_late)
    return dict(zip(grads, means(job.ranks, [*grads.values()], rows), strict=True))


def step_shards(
    optimizer: Stepping, grads: Mapping[Any, Any], rows: Rows, is_late: bool
) -> dict[Any, Any]:
    """Update only this rank's shard of the optimizer state, and gather the new parameters.

    Raises:
        ArgumentError: a rule that does not step each element by itself; eager mode.
    """
    job = ranks.job()
    if job.ranks == 1 or not grads:
        return optimizer.advance(grads)
    if is_late:
        raise ArgumentError("shard_state: in eager mode each rank keeps the whole state")
    _check_elementwise(optimizer, grads)
    synchronize(job, grads, is_late)
    states_expected_of(optimizer, grads)
    shards = parts(job.ranks, [*grads])
    of_part = dict(zip(shards, grads, strict=True))
    slopes = parts_of_means(job.ranks, [*grads.values()], rows)
    inner = state_maker()

    def make(part: Any, name: str, shape: Any, dtype: Any) -> Any:
        if part is not None and shape == part.shape:
            shape = Shard(of_part[part].shape, job.ranks)
        return inner(of_part.get(part), name, shape, dtype)

    def over(number: Any) -> Any:
        return means(job.ranks, [number])[0] * job.ranks

    with states_made_by(make), asked_of(of_part.get), of_parts(over):
        stepped = optimizer.advance(dict(zip(shards, slopes, strict=True)))
    sizes = tuple(prod(p.shape) for p in grads)
    gathered = gather(job.ranks, sizes, [stepped.pop(part) for part in shards])
    new_parameters = {p: flat.reshape(p.shape) for p, flat in zip(grads, gathered, strict=True)}
    return {**new_parameters, **stepped}


def _check_elementwise(optimizer: Stepping, grads: Mapping[Any, Any]) -> None:
    """Refuse a sharded optimizer whose rule mixes elements of a parameter."""
    states: list[Any] = []

    def make(p: Any, name: str, shape: Any, dtype: Any) -> Any:
        states.append(state := graph_input(f"state{len(states)}", shape, dtype))
        return state

    slopes = {p: graph_input("gradient", p.shape, p.dtype.compute) for p in grads}
    with states_made_by(make):
        updates = optimizer.scheduled_step(slopes)
    marked = {value.node for value in (*slopes, *slopes.values(), *states) if value.shape}
    for node in sorted(ancestors([*updates.values()]), key=lambda node: node.serial):
        if node in marked or not any(value.node in marked for value in node.args):
            continue
        if not node.op.elementwise:
            raise ArgumentError(
                f"shard_state: {type(optimizer).__name__} computes {node.op.name} of a whole"
                " parameter, of which each rank has a part",
                hint="shard_state=False, or a rule that steps each element by itself, as AdamW",
            )
        marked.add(node)


def _without_number(name: str) -> str:
    """Remove the number of a model: which other models are alive differs between the ranks."""
    return re.sub(r"^([^.:]*)_\d+\.", r"\1.", name)


def synchronize(job: Job, parameters: Iterable[Any], is_late: bool) -> None:
    """Give parameters that are trained by several ranks for the first time rank 0's values."""
    new = [p for p in parameters if p.store not in _synchronized]
    if not new:
        return
    every = job.gather([(f"{p.name}: {p.store.type}", ranks.digest(p.store.array)) for p in new])
    types = [[text for text, _ in descriptions] for descriptions in every]
    for rank, rank_types in enumerate(types):
        pairs = zip_longest(types[0], rank_types, fillvalue="no further parameter")
        differing = [(a, b) for a, b in pairs if _without_number(a) != _without_number(b)]
        if differing:
            expected_type, rank_type = differing[0]
            raise DistributedError(
                "the ranks train different parameters",
                details=[f"rank 0: {expected_type}", f"rank {rank}: {rank_type}"],
                hint="every rank builds the same model",
            )
    digests = [[digest for _, digest in descriptions] for descriptions in every]
    if any(rank_digests != digests[0] for rank_digests in digests):
        if is_late:
            raise DistributedError(
                "the parameters differ between the ranks, and the loss has been computed with them",
                hint="in eager mode sg.distributed.broadcast(model) comes before the first step",
            )
        values = job.broadcast([p.store.read() for p in new] if job.rank == 0 else None)
        if job.rank:
            write_all([(p.store, value) for p, value in zip(new, values, strict=True)])
    _synchronized.update(p.store for p in new)
