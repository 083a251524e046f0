"""Training by several processes, on one machine or many, that step together by MPI.

Every rank runs the same program on its share of each batch. ``opt.minimize(loss,
data_parallel=True)`` averages the gradients of all ranks inside of the compiled step.

    job = sg.distributed.start()
    batches = sg.train.Batches(x, y, size=64, seed=0, rank=job.rank, ranks=job.ranks)

    mpiexec -n 4 python train.py

A rank that raises an error which nobody catches prints it, and ends all ranks.
"""

from __future__ import annotations

from typing import Any, Final

from staticgrad.errors import ArgumentError, DistributedError, DTypeError
from staticgrad.extend import as_value, namespace, ranks
from staticgrad.extend.parameters import Complex
from staticgrad.extend.ranks import Job, means, rows_of
from staticgrad.saving import restore_tree
from staticgrad.saving.trees import content_of

__all__ = ["Job", "broadcast", "check_equal", "mean", "start"]

#: Names of torch.distributed, MPI and Horovod -> what to write here.
_INSTEAD: Final = {
    **dict.fromkeys(("init", "init_process_group", "initialize"), "sg.distributed.start()"),
    **dict.fromkeys(
        ("rank", "get_rank", "local_rank", "process_index"), "sg.distributed.start().rank"
    ),
    **dict.fromkeys(
        ("size", "ranks", "world_size", "get_world_size", "process_count"),
        "sg.distributed.start().ranks",
    ),
    **dict.fromkeys(("all_reduce", "allreduce", "reduce", "pmean"), "sg.distributed.mean(x)"),
    **dict.fromkeys(
        ("DistributedDataParallel", "DistributedOptimizer", "data_parallel"),
        "opt.minimize(loss, data_parallel=True)",
    ),
}


def start(timeout: float = ranks.TIMEOUT) -> Job:
    """Join the job that ``mpiexec`` started; a process by itself is a job of one rank.

    Args:
        timeout: seconds after which a rank that waits for another raises DistributedError. Longer
            than the longest that one rank works by itself, as to validate.

    Returns:
        The job: ``rank``, ``ranks`` (their number), and of the averages so far ``calls``, bytes
        ``sent`` by this rank, and ``seconds``.

    Raises:
        MissingPackageError: mpi4py, or an MPI library, is not installed.

    >>> start().ranks  # doctest: +SKIP
    4
    """
    if not timeout > 0:
        raise ArgumentError(f"start: timeout must be > 0 seconds, got {timeout}")
    job = ranks.job()
    job.timeout = float(timeout)
    return job


def mean(x: Any, rows: Any = None) -> Any:
    """Return the mean of a value over the rows of all ranks, on each of them: of a loss, say.

    It is ``(((x0 + x1) + x2) + ...) / ranks`` in the order of the ranks, bitwise the same in every
    run and on every rank. If the ranks have different numbers of rows, ``xk`` is multiplied by the
    part of all rows that rank k has, and added up in the same order; a rank without rows does not
    count, whatever its x is. Every rank must compute it. Gradients go through it to all ranks, so
    it may stand inside of a model: statistics over the whole batch.

    Args:
        x: a floating or complex value, of the same shape on all ranks; float16 and bfloat16 are
            added up in float32.
        rows: how many rows x is the mean of, a number or a 0-d value: ``mask.sum()``; 1 for the
            plain mean over the ranks. By default as in ``opt.minimize``. Inside of a model it must
            be what ``minimize`` is given.

    Raises:
        DTypeError: x is not floating.
        DistributedError: in the run, where the ranks exchange different values, or their arrays
            differ in more than the number of their rows.
    """
    x = as_value(x)
    job = ranks.job()
    if not x.dtype.is_float:
        raise DTypeError(f"mean: {x.type} is not floating", hint="x.astype('float32')")
    if job.ranks == 1:
        return x
    if isinstance(x, Complex):
        complex_type: Any = x.kind.complex_kind  # type: ignore[attr-defined]
        return complex_type.of(mean(x.join_parts(), rows))
    weights = rows_of("mean", x, rows)
    return means(job.ranks, [x.astype(x.dtype.compute)], weights)[0].astype(x.dtype)


def broadcast(tree: Any) -> None:
    """Give parameters, optimizers and arrays in a tree the values that they have on rank 0.

    Args:
        tree: as ``sg.save`` takes it, the same on all ranks.

    Raises:
        SavedFileError: a rank whose tree has other names, shapes or element types.
    """
    job = ranks.job()
    content = job.broadcast(content_of(tree))
    if job.rank:
        restore_tree(content, "the tree of rank 0", tree)


def check_equal(tree: Any) -> None:
    """Check that a tree holds bitwise the same values on all ranks.

    Args:
        tree: as ``sg.save`` takes it.

    Raises:
        DistributedError: it does not; with the names and the ranks that differ from rank 0.
    """
    job = ranks.job()
    content = content_of(tree)
    digests = {name: ranks.digest(array) for name, array in content.arrays.items()}
    every = job.gather(digests)
    names = {name for rank_digests in every for name in rank_digests}
    differing = {
        name: others
        for name in sorted(names)
        if (
            others := [
                n
                for n, rank_digests in enumerate(every)
                if rank_digests.get(name) != every[0].get(name)
            ]
        )
    }
    if differing:
        raise DistributedError(
            f"{len(differing)} of {len(names)} arrays differ between the ranks",
            details=[f"{name}: ranks {others} from rank 0" for name, others in differing.items()][
                :5
            ],
            hint="sg.distributed.broadcast(tree) gives all ranks the values of rank 0",
        )


namespace(globals(), instead=_INSTEAD)
