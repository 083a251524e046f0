"""Processes that run one program together, by MPI: their messages, and how they end.

``job`` starts MPI when it is first called; ``running`` never does. A rank that waits polls, so that
signals are seen and the timeout holds.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from io import StringIO
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from staticgrad.errors import DistributedError, MissingPackageError
from staticgrad.records import NamedTuple

Array = NDArray[Any]
#: Seconds after which a rank that waits says that another one is missing.
TIMEOUT: Final = 300.0
#: Bytes that one exchange averages at most, which bounds the scratch of a step. Each exchange is a
#: wait of all ranks: with 1 MiB, 4 ranks on 2 processors took 6 times as long.
BLOCK: Final = 16 * 2**20
#: Polls before the processor is offered to other processes, and seconds of waiting before a rank
#: sleeps between polls: then the others compile or save.
_POLLS: Final = 100
_PATIENCE: Final = 0.02


class BlockPart(NamedTuple):
    """Elements ``begin`` to ``end`` (exclusive) of an array by its number."""

    array: int
    begin: int
    end: int


class Job:
    """A running MPI job, as one of its ranks sees it."""

    def __init__(self, mpi: Any) -> None:
        self.timeout = TIMEOUT
        self.rank, self.ranks = int(mpi.COMM_WORLD.rank), int(mpi.COMM_WORLD.size)
        #: Averages so far, the bytes that this rank has sent for them, and seconds inside of them.
        self.calls, self.sent, self.seconds = 0, 0, 0.0
        self.is_broken = False
        self._mpi = mpi
        if self.ranks > 1:  # averages are never mixed up with other messages
            self._control, self._numbers = self._duplicate(), self._duplicate()
            sys.excepthook = self._ending_all(sys.excepthook)

    def average(
        self, arrays: Sequence[Array], results: Sequence[Array], work: Array, what: str
    ) -> None:
        """Write the mean over the ranks of each array into the result of its number.

        Each element is ``(((a0 + a1) + a2) + ...) / ranks``, in the order of the ranks and in its
        dtype, so it depends on nothing else. Rank k adds up part k of each block.

        Args:
            arrays: contiguous, floating, of the same types in all ranks.
            work: bytes, ``work_bytes`` of them.
            what: a description for messages.
        """
        begun = time.perf_counter()
        self.calls += 1
        self._check_alike(f"{what} of {', '.join(f'{a.dtype}{[*a.shape]}' for a in arrays)}")
        for dtype in dict.fromkeys(array.dtype for array in arrays):
            flat = [
                (array.reshape(-1), result.reshape(-1))
                for array, result in zip(arrays, results, strict=True)
                if array.dtype == dtype
            ]
            for block in _blocks([a.size for a, _ in flat], BLOCK // dtype.itemsize):
                self._average(flat, block, work.view(dtype))
        self.seconds += time.perf_counter() - begun

    def _average(
        self, pairs: Sequence[tuple[Array, Array]], block: Sequence[BlockPart], work: Array
    ) -> None:
        used = sum(end - begin for _, begin, end in block)
        share = -(-used // self.ranks)
        size = share * self.ranks
        out, back = work[:size], work[size : 2 * size]
        at = 0
        for number, begin, end in block:
            out[at : at + end - begin] = pairs[number][0][begin:end]
            at += end - begin
        out[used:] = 0
        self._wait(self._numbers.Ialltoall(out, back), "average")
        parts, own = back.reshape(self.ranks, share), out[:share]
        with np.errstate(all="ignore"):
            for part in parts[1:]:
                np.add(parts[0], part, out=parts[0])
            np.divide(parts[0], self.ranks, out=own)
        self._wait(self._numbers.Iallgather(own, back), "average")
        self.sent += 2 * (size - share) * work.itemsize
        at = 0
        for number, begin, end in block:
            pairs[number][1][begin:end] = back[at : at + end - begin]
            at += end - begin

    def _check_alike(self, what: str) -> None:
        """Refuse to average where another rank averages something else."""
        tags = np.zeros(self.ranks, np.int64)
        own = np.array([crc32(what.encode()) + (self.calls << 32)])
        self._wait(self._numbers.Iallgather(own, tags), "average")
        if (tags != own).any():
            every = self.gather(what)
            other = int(np.flatnonzero(tags != tags[0])[0])
            raise DistributedError(
                "the ranks average different values",
                details=[f"rank {rank}, call {tags[rank] >> 32}: {every[rank]}"
                         for rank in (0, other)],
                hint="every rank runs the same steps in the same order",
            )  # fmt: skip

    def gather(self, item: Any) -> list[Any]:
        """Return the items of all ranks, by rank."""
        return [self.broadcast(item, rank) for rank in range(self.ranks)]

    def broadcast(self, item: Any, root: int = 0) -> Any:
        """Return the item of one rank; those of the others are not read."""
        if self.ranks == 1:
            return item
        is_root = self.rank == root
        data = np.frombuffer(pickle.dumps(item) if is_root else b"", np.uint8)
        size = np.array([data.size])
        self._wait(self._control.Ibcast(size, root), "broadcast")
        data = data.copy() if is_root else np.empty(int(size[0]), np.uint8)
        self._wait(self._control.Ibcast(data, root), "broadcast")
        return item if is_root else pickle.loads(data.tobytes())

    def on_first(self, act: Callable[[], Any]) -> Any:
        """Return what ``act`` does on rank 0, or raise what it raises, on every rank."""
        if self.ranks == 1 or self.is_broken:
            return act() if self.rank == 0 else None
        found, error = None, None
        if self.rank == 0:
            try:
                found = act()
            except Exception as raised:
                error = raised
        found, error = self.broadcast((found, error))
        if error is not None:
            raise error
        return found

    def any(self, flag: bool) -> bool:
        """Return whether the flag of a rank is set."""
        found = np.array([flag], np.int64)
        if self.ranks > 1:
            self._wait(self._control.Iallreduce(self._mpi.IN_PLACE, found, self._mpi.MAX), "vote")
        return bool(found[0])

    def _duplicate(self) -> Any:
        made, request = self._mpi.COMM_WORLD.Idup()
        self._wait(request, "start")
        return made

    def _wait(self, request: Any, what: str) -> None:
        """Wait until the other ranks have done their part."""
        if self.is_broken:
            raise DistributedError(f"{what}: an exchange was interrupted before, or failed")
        self.is_broken = True  # until it is over
        polls, begun, now = 0, 0.0, 0.0
        while not request.Test():
            polls += 1
            if polls < _POLLS:
                continue
            os.sched_yield()
            now = time.monotonic()
            begun = begun or now
            if now - begun > self.timeout:
                raise DistributedError(
                    f"{what}: rank {self.rank} of {self.ranks} has waited {self.timeout:g} s for"
                    " another rank",
                    hint="one has ended, hangs, or runs another program; a longer wait:"
                    " sg.distributed.start(timeout=...)",
                )
            if now - begun > _PATIENCE:
                time.sleep(1e-4)
        self.is_broken = False

    def _ending_all(self, before: Callable[..., Any]) -> Callable[..., Any]:
        """Return a hook that shows an error nobody caught, and ends all ranks."""

        def end(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
            text = StringIO()  # in one piece: the other ranks write, too
            if issubclass(kind, KeyboardInterrupt):
                text.write(f"rank {self.rank} of {self.ranks}: KeyboardInterrupt\n")
            else:
                text.write(f"rank {self.rank} of {self.ranks} ends all ranks:\n")
                with redirect_stderr(text):
                    before(kind, error, traceback)
            sys.stdout.flush()
            sys.stderr.write(text.getvalue())
            sys.stderr.flush()
            self._mpi.COMM_WORLD.Abort(130 if issubclass(kind, KeyboardInterrupt) else 1)

        return end


def work_bytes(nbytes: int, count: int) -> int:
    """Return the bytes that ``Job.average`` works in, for so many bytes of one dtype."""
    return 2 * (min(nbytes, BLOCK) + 8 * count)


def digest(array: Array) -> str:
    """Return what only equal arrays have in common."""
    from hashlib import sha256  # takes a millisecond, for the few programs with several ranks

    plain = np.asarray(array, order="C")
    return f"{plain.dtype} {plain.shape} {sha256(plain.tobytes()).hexdigest()}"


def _blocks(sizes: Sequence[int], most: int) -> Iterator[list[BlockPart]]:
    """Cut the elements of arrays, one behind the other, into blocks of at most so many."""
    block: list[BlockPart] = []
    room = most
    for number, size in enumerate(sizes):
        begin = 0
        while begin < size:
            end = min(size, begin + room)
            block.append(BlockPart(number, begin, end))
            room -= end - begin
            begin = end
            if not room:
                yield block
                block, room = [], most
    if block:
        yield block


_job: Job | None = None


def running() -> Job | None:
    """Return the job, if this process has started it."""
    return _job


def on_first(act: Callable[[], Any]) -> Any:
    """Return what ``act`` does: on rank 0 for all ranks, where a job has been started."""
    return act() if _job is None else _job.on_first(act)


def job() -> Job:
    """Return the job of which this process is a rank; a process by itself is the only one.

    Raises:
        MissingPackageError: mpi4py, or an MPI library, is not installed.
    """
    global _job
    if _job is None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise MissingPackageError(
                f"several processes need mpi4py and an MPI library: {str(error).splitlines()[0]}",
                hint='pip install "staticgrad[mpi]"',
            ) from None
        _job = Job(MPI)
    return _job
