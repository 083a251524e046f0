"""Processes that run one program together, by MPI: their messages, and how they end.

``job`` starts MPI when it is first called; ``running`` never does. A rank that waits polls, so that
signals are seen and the timeout holds.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from functools import partial, wraps
from io import StringIO
from math import inf, isclose
from struct import pack
from types import FrameType
from typing import Any, Final, NoReturn
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from staticgrad.errors import DistributedError
from staticgrad.support.exits import at_exit
from staticgrad.support.optional import mpi4py
from staticgrad.support.records import NamedTuple

Array = NDArray[Any]
#: Seconds after which a rank that waits says that another one is missing.
TIMEOUT: Final = 300.0
#: Bytes that one exchange averages at most, which bounds the scratch of a step. Each exchange is a
#: wait of all ranks: with 1 MiB, 4 ranks on 2 processors took 6 times as long.
BLOCK: Final = 16 * 2**20
#: Polls, of about 0.2 us, before the processor is offered to other processes: with a processor for
#: each rank, and without. Seconds of waiting before a rank sleeps between polls: then the others
#: compile or save.
_POLLS: Final = 5_000
_FEW_POLLS: Final = 100
_PATIENCE: Final = 0.02


class Departure(NamedTuple):
    """Notice of a rank that left: what it called and where, and the exchanges that it completed."""

    rank: int
    call: str
    line: str
    code: int
    exchanges: int


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
        #: Rows of all ranks in the latest mean of unequal shares; None if the shares were equal.
        self.rows: float | None = None
        self.is_broken = False
        self._mpi = mpi
        self._polls = _FEW_POLLS
        self._exchanges = 0
        #: How this rank leaves, if its program ends now; the code with which it ends all ranks.
        self._departure = Departure(self.rank, "its program has ended", "", 1, 0)
        self._code = 1
        self._departures: Any = None
        #: What each exchange sends first, and gets from all ranks: what it is, and sizes.
        self._tag_and_size, self._every = np.zeros(2, np.int64), np.zeros((self.ranks, 2), np.int64)
        if self.ranks > 1:  # averages are never mixed up with other messages
            self._control, self._numbers = self._duplicate(), self._duplicate()
            self._departures = self._duplicate()
            sys.excepthook = self._wrap_excepthook(sys.excepthook)
            sys.exit = self._wrap_exit(sys.exit)
            immediate_exit: Any = self._wrap_immediate_exit(os._exit, os.getpid())
            os._exit = immediate_exit
            at_exit(partial(self._leave, os.getpid()))
            machine = mpi.Get_processor_name()
            if self.gather(machine).count(machine) <= (os.cpu_count() or 1):
                self._polls = _POLLS

    def average(self, block: _Block, shares: Sequence[float] | None) -> None:
        """Average one block over MPI ranks: rank k sums row k of all ranks in order.

        With ``shares``, which add up to 1, each row is multiplied by its share; a row whose share
        is 0 is not read, for the mean over no rows is NaN.
        """
        self._wait(self._numbers.Ialltoall(block.out, block.back), "mean")
        with np.errstate(all="ignore"):
            if shares is None:
                first, *others = block.back
            else:
                pairs = [
                    (row, share) for row, share in zip(block.back, shares, strict=True) if share
                ]
                first, *others = [np.multiply(row, share, out=row) for row, share in pairs]
            for row in others:
                np.add(first, row, out=first)
            np.divide(first, self.ranks if shares is None else 1, out=block.part)
        self.sent += block.out.nbytes - block.part.nbytes

    def collect(self, block: _Block) -> None:
        """Send this rank's row to all: then ``back`` has the rows of all ranks."""
        self._wait(self._numbers.Iallgather(block.part, block.back), "mean")
        self.sent += block.out.nbytes - block.part.nbytes

    def check_alike(self, what: str, tag: int, sizes: Array | None) -> list[int]:
        """Refuse an MPI exchange that differs between ranks; return the sizes of all ranks.

        The result has a number for each rank: its size where all of its ``sizes`` are equal, and
        otherwise a negative digest of them.
        """
        self.calls += 1
        call_tag = tag + (self.calls << 32)
        self._tag_and_size[:] = call_tag, _size_code(sizes)
        self._wait(self._numbers.Iallgather(self._tag_and_size, self._every), "mean")
        tags, codes = self._every.T.tolist()
        if tags.count(call_tag) != self.ranks:
            texts = self.gather(what)
            differing = next(rank for rank, rank_tag in enumerate(tags) if rank_tag != tags[0])
            raise DistributedError(
                "the ranks exchange different values",
                details=[f"rank {rank}, call {tags[rank] >> 32}: {texts[rank]}"
                         for rank in (0, differing)],
                hint="every rank runs the same steps in the same order",
            )  # fmt: skip
        return codes

    def shares(self, sizes: Array, codes: list[int], must_be_equal: bool) -> list[float] | None:
        """Return each MPI rank's fraction of all rows, from what ``check_alike`` returned.

        ``sizes`` are those of the arrays that this rank has, along their axes of rows. Those that
        differ between the ranks say how many rows each rank has. None: the ranks have equal shares.
        """
        if codes.count(codes[0]) == len(codes):
            self.rows = None
            return None
        of_ranks = [[size] for size in np.array(codes).view(np.float64).tolist()]
        if min(codes) < 0:
            of_ranks = self.gather(sizes.tolist())
        columns = [list(column) for column in zip(*of_ranks, strict=False)]
        shares = [[n / sum(column) for n in column] for column in columns if len({*column}) > 1]
        counts = [f"rank {rank}: {', '.join(f'{n:g}' for n in row)}"
                  for rank, row in enumerate(of_ranks)]  # fmt: skip
        if len({*map(len, of_ranks)}) > 1 or not all(
            isclose(fraction, first)
            for fractions in shares
            for fraction, first in zip(fractions, shares[0], strict=True)
        ):
            raise DistributedError(
                "the arrays of the ranks differ in more than their number of rows",
                details=[f"sizes of axis 0, {text}" for text in counts],
                hint="say how many rows a rank has: minimize(loss, data_parallel=True,"
                " rows=x.shape[0]), distributed.mean(loss, rows=x.shape[0])",
            )
        if must_be_equal:
            raise DistributedError(
                "the ranks have unequal shares, and random numbers belong to the examples of equal"
                " ones",
                details=[f"rows of {text}" for text in counts],
                hint="sg.train.Batches(..., rank=job.rank, ranks=job.ranks) makes equal shares",
            )
        self.rows = sum(next(column for column in columns if len({*column}) > 1))
        return shares[0]

    def gather(self, item: Any) -> list[Any]:
        """Return the items of all ranks, by rank."""
        return [self.broadcast(item, rank) for rank in range(self.ranks)]

    def broadcast(self, item: Any, root: int = 0) -> Any:
        """Send an object of one MPI rank to all; those of others are not read."""
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
        value, error = None, None
        if self.rank == 0:
            try:
                value = act()
            except Exception as raised:
                error = raised
        value, error = self.broadcast((value, error))
        if error is not None:
            raise error
        return value

    def any(self, flag: bool) -> bool:
        """Return whether the flag of a rank is set."""
        flags = np.array([flag], np.int64)
        if self.ranks > 1:
            self._wait(self._control.Iallreduce(self._mpi.IN_PLACE, flags, self._mpi.MAX), "vote")
        return bool(flags[0])

    def _duplicate(self) -> Any:
        communicator, request = self._mpi.COMM_WORLD.Idup()
        self._wait(request, "start")
        return communicator

    def _wait(self, request: Any, what: str) -> None:
        """Wait for an MPI request until the other ranks have done their part."""
        if self.is_broken:
            raise DistributedError(f"{what}: an exchange was interrupted before, or failed")
        self.is_broken = True  # until it is over
        polls, begun, now = 0, 0.0, 0.0
        while not request.Test():
            polls += 1
            if polls < self._polls:
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
                self._check_departures(what)
                time.sleep(1e-4)
        self._exchanges += 1
        self.is_broken = False

    def _leave(self, process: int) -> None:
        """Tell MPI ranks 0 and 1 that this rank ends, so that none waits for it."""
        if os.getpid() != process or self._mpi.Is_finalized():
            return
        data = np.frombuffer(
            pickle.dumps(self._departure._replace(exchanges=self._exchanges)), np.uint8
        )
        for receiver in {0, 1} - {self.rank}:  # small messages leave at once
            self._departures.Isend(data, receiver).Test()

    def _check_departures(self, what: str) -> None:
        """Raise a DistributedError if an MPI rank left that does not take part."""
        status = self._mpi.Status()
        while self._departures is not None and self._departures.Iprobe(
            self._mpi.ANY_SOURCE, 0, status
        ):
            data = np.empty(status.Get_count(self._mpi.BYTE), np.uint8)
            self._departures.Recv(data, status.Get_source())
            left: Departure = pickle.loads(data.tobytes())
            if left.exchanges <= self._exchanges:
                self._code = left.code
                raise DistributedError(
                    f"{what}: rank {left.rank} of {self.ranks} has left: {left.call}",
                    details=[left.line] if left.line else [],
                    hint="every rank runs the same steps; one that cannot go on raises an error",
                )

    def _wrap_exit(self, original: Callable[..., Any]) -> Callable[..., NoReturn]:
        """Return a ``sys.exit`` that records the caller and the code, for other ranks."""

        @wraps(original)
        def leave(status: Any = None, /) -> NoReturn:
            code = status & 255 if isinstance(status, int) else 1
            text = "" if status is None else repr(status)
            self._note_departure(f"sys.exit({text})", sys._getframe(1), code or 1)
            raise SystemExit(status)

        return leave

    def _wrap_immediate_exit(
        self, original: Callable[[int], NoReturn], process: int
    ) -> Callable[[int], NoReturn]:
        """Return an ``os._exit`` that ends MPI first where it would say that all went well.

        That waits for the other ranks, which are told; a rank that waits for this one fails. MPICH
        tells its launcher that a rank is done in C's ``exit`` alone: a rank that leaves past it has
        failed, and all others are killed.
        """

        @wraps(original)
        def leave(status: int) -> NoReturn:
            is_rank = os.getpid() == process  # no child that it has forked
            if status == 0 and is_rank and not self._mpi.Is_finalized():
                self._note_departure("os._exit(0)", sys._getframe(1), 1)
                self._leave(process)
                self._mpi.Finalize()
                ctypes.CDLL(None).exit(status)
            original(status)

        return leave

    def _note_departure(self, call: str, caller: FrameType, code: int) -> None:
        """Note how this rank leaves, and the line that calls it, for the other ranks."""
        line = f"{caller.f_code.co_filename}:{caller.f_lineno}, in {caller.f_code.co_name}"
        self._departure = Departure(self.rank, call, line, code, 0)

    def _wrap_excepthook(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return an excepthook that shows an uncaught error and ends all MPI ranks."""

        def end(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
            text = StringIO()  # in one piece: the other ranks write, too
            if issubclass(kind, KeyboardInterrupt):
                text.write(f"rank {self.rank} of {self.ranks}: KeyboardInterrupt\n")
            else:
                text.write(f"rank {self.rank} of {self.ranks} ends all ranks:\n")
                with redirect_stderr(text):
                    original(kind, error, traceback)
            sys.stdout.flush()
            sys.stderr.write(text.getvalue())
            sys.stderr.flush()
            self._mpi.COMM_WORLD.Abort(130 if issubclass(kind, KeyboardInterrupt) else self._code)

        return end


class Exchange:
    """An exchange of arrays that keep their place in memory, in blocks.

    An array of n elements has a part on each of R ranks: ceil(n / R) elements each, zeros behind
    the last. Each element of a mean is ``(((a0 + a1) + a2) + ...) / ranks``, in the order of the
    ranks and in its dtype, so it depends on nothing else.

    Args:
        kind: "mean" (arrays to arrays), "scatter" (arrays to this rank's part of their mean),
            "part" (arrays to this rank's part of them), "gather" (parts to arrays).
        arrays: contiguous, of the same types in all ranks.
        results: an array for each.
        work: bytes, ``work_bytes`` of them.
        sizes: of arrays along their axes of rows, by which means are weighted; None: by 1.
        must_be_equal: refuse shares that are not equal.
    """

    def __init__(
        self,
        job: Job,
        kind: str,
        arrays: Sequence[Array],
        results: Sequence[Array],
        work: Array,
        sizes: Array | None = None,
        must_be_equal: bool = False,
    ) -> None:
        self._job, self._kind = job, kind
        self._sizes, self._must_be_equal = sizes, must_be_equal
        self._what = f"a {kind} of {', '.join(f'{a.dtype}{[*a.shape]}' for a in arrays)}"
        self._tag = crc32(self._what.encode())
        self._blocks: list[_Block] = []
        for dtype in dict.fromkeys(array.dtype for array in arrays):
            pairs = [
                (array.reshape(-1), result.reshape(-1))
                for array, result in zip(arrays, results, strict=True)
                if array.dtype == dtype
            ]
            parts = [part_size(max(a.size, r.size), job.ranks) for a, r in pairs]
            if kind == "gather":
                parts = [array.size for array, _ in pairs]
            for block in blocks(parts, max(1, BLOCK // dtype.itemsize // job.ranks)):
                self._blocks.append(_Block.of(kind, pairs, parts, block, work.view(dtype), job))

    def run(self) -> None:
        """Write the averaged blocks into the result arrays."""
        begun = time.perf_counter()
        shares = None
        if self._kind != "part":
            codes = self._job.check_alike(self._what, self._tag, self._sizes)
            if self._sizes is not None:
                shares = self._job.shares(self._sizes, codes, self._must_be_equal)
        for block in self._blocks:
            for zeros in block.padding:
                zeros.fill(0)
            for target, source in block.pack:
                np.copyto(target, source)
            if self._kind in ("mean", "scatter"):
                self._job.average(block, shares)
            if self._kind in ("mean", "gather"):
                self._job.collect(block)
            for target, source in block.unpack:
                np.copyto(target, source)
        self._job.seconds += time.perf_counter() - begun


class _Block(NamedTuple):
    """Arrays that one exchange moves: views into arrays, results and the memory to work in.

    ``out`` and ``back`` have a row for each rank, ``part`` is this rank's part. ``pack`` and
    ``unpack`` are copies (target, source) before and after, ``padding`` becomes zeros before them.
    """

    padding: tuple[Array, ...]
    pack: tuple[tuple[Array, Array], ...]
    unpack: tuple[tuple[Array, Array], ...]
    out: Array
    back: Array
    part: Array

    @classmethod
    def of(
        cls,
        kind: str,
        pairs: Sequence[tuple[Array, Array]],
        parts: Sequence[int],
        block: Sequence[BlockPart],
        work: Array,
        job: Job,
    ) -> _Block:
        width = sum(end - begin for _, begin, end in block)
        size = width * job.ranks
        out, back = work[: 2 * size].reshape(2, job.ranks, width)
        padding: list[Array] = []
        pack: list[tuple[Array, Array]] = []
        unpack: list[tuple[Array, Array]] = []
        at = 0
        for number, begin, end in block:
            array, result = pairs[number]
            columns = slice(at, at + end - begin)
            at += end - begin
            if kind == "part":
                source = array[job.rank * parts[number] :][: parts[number]][begin:end]
                padding.append(result[begin + source.size : end])
                unpack.append((result[begin : begin + source.size], source))
                continue
            if kind == "gather":
                pack.append((out[0, columns], array[begin:end]))
            else:
                pack += _rows(array, out[:, columns], parts[number], begin)
                if parts[number] * job.ranks > array.size:
                    padding.append(out[:, columns])
            if kind == "scatter":
                unpack.append((result[begin:end], out[0, columns]))
            else:
                pairs_back = _rows(result, back[:, columns], parts[number], begin)
                unpack += [(target, source) for source, target in pairs_back]
        return cls(tuple(padding), tuple(pack), tuple(unpack), out, back, out[0])


def _rows(array: Array, rows: Array, part: int, begin: int) -> list[tuple[Array, Array]]:
    """Pair views of rows with the parts of an array split by rows over MPI ranks."""
    width = rows.shape[1]
    full = array.size // part
    pairs = [(rows[:full], array[: full * part].reshape(full, part)[:, begin : begin + width])]
    remainder = array[full * part :][begin : begin + width]
    if remainder.size:
        pairs.append((rows[full, : remainder.size], remainder))
    return pairs


def _size_code(sizes: Array | None) -> int:
    """Encode equal ``sizes`` as bits, or different ones as a negative digest, to compare ranks.

    Raises:
        DistributedError: a size that is negative or not finite.
    """
    if sizes is None:
        return 0
    values = sizes.tolist()
    first = values[0]
    if min(values) >= 0.0 and max(values) < inf and values.count(first) == len(values):
        return int.from_bytes(pack("<d", abs(first)), "little")
    if not all(0.0 <= value < inf for value in values):
        raise DistributedError(f"the rows of a rank must be >= 0 and finite, got {first:g}")
    from hashlib import sha256  # for arguments of several sizes

    return int.from_bytes(sha256(sizes.tobytes()).digest()[:8], "little") - (1 << 64) | -(1 << 63)


def part_size(elements: int, count: int) -> int:
    """Return the number of elements that each of ``count`` ranks has of an array."""
    return -(-elements // count)


def work_bytes(arrays: Sequence[int], count: int) -> int:
    """Return the bytes that an exchange of ``count`` ranks works in, for whole arrays of bytes."""
    return 2 * (min(sum(arrays) + 8 * count * len(arrays), BLOCK) + 8 * count)


def blocks(sizes: Sequence[int], most: int) -> Iterator[list[BlockPart]]:
    """Split the concatenated elements of arrays into blocks of at most ``most``."""
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


def digest(array: Array) -> str:
    """Return what only equal arrays have in common."""
    from hashlib import sha256  # takes a millisecond, for the few programs with several ranks

    plain = np.asarray(array, order="C")
    return f"{plain.dtype} {plain.shape} {sha256(plain.tobytes()).hexdigest()}"


_job: Job | None = None
#: Whether graphs with random numbers were built while there was no job.
_drawn = False


def note_draw() -> None:
    """Note that a graph draws random numbers, which has no rank because there is no job."""
    global _drawn
    _drawn = True


def running() -> Job | None:
    """Return the job, if this process has started it."""
    return _job


def on_first(act: Callable[[], Any]) -> Any:
    """Return what ``act`` does: on rank 0 for all ranks, where a job has been started."""
    return act() if _job is None else _job.on_first(act)


def job() -> Job:
    """Return the MPI job of which this process is a rank; a process by itself is the only one.

    Raises:
        MissingPackageError: mpi4py, or an MPI library, is not installed.
        DistributedError: of several ranks, if a graph with random numbers was built before.
    """
    global _job
    if _job is None:
        _job = Job(mpi4py("MPI"))
        if _job.ranks > 1 and _drawn:
            raise DistributedError(
                "a program that draws random numbers was built before the job was joined: all ranks"
                " would draw the same",
                hint="job = sg.distributed.start() comes first",
            )
    return _job
