"""Batches of arrays in an order that a seed says, and batches that are made ahead in a thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np

from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.extend import (
    Array,
    NonNegativeInt,
    PositiveInt,
    array_of,
    is_array_like,
    kind_of,
    make_boundaries,
    public,
    quote,
)

Item = TypeVar("Item")
B = TypeVar("B")


@make_boundaries
class Batches(Generic[B]):
    """Arrays with one entry per example along axis 0, cut into batches.

    Iterating goes through the examples once, and the next time in another order: that of pass k is
    a function of the seed and k, so that ``batches.epoch(k)`` gives it again.

    >>> batches = Batches(np.arange(5), size=2)
    >>> [each.tolist() for each in batches]
    [[0, 1], [2, 3], [4]]
    >>> mixed = Batches(np.arange(4), np.arange(4) * 10, size=4, seed=1)
    >>> [bool((y == 10 * x).all()) for x, y in mixed.epoch(7)]
    [True]
    """

    if TYPE_CHECKING:

        @overload
        def __init__(
            self: Batches[Array],
            array: Any,
            /,
            *,
            size: int = 32,
            seed: int | None = None,
            drop_last: bool = False,
            rank: int = 0,
            ranks: int = 1,
        ) -> None: ...
        @overload
        def __init__(
            self: Batches[tuple[Array, Array]],
            first: Any,
            second: Any,
            /,
            *,
            size: int = 32,
            seed: int | None = None,
            drop_last: bool = False,
            rank: int = 0,
            ranks: int = 1,
        ) -> None: ...
        @overload
        def __init__(
            self: Batches[tuple[Array, ...]],
            *arrays: Any,
            size: int = 32,
            seed: int | None = None,
            drop_last: bool = False,
            rank: int = 0,
            ranks: int = 1,
        ) -> None: ...

    @public
    def __init__(
        self,
        *arrays: Any,
        size: PositiveInt = 32,
        seed: int | None = None,
        drop_last: bool = False,
        rank: NonNegativeInt = 0,
        ranks: PositiveInt = 1,
    ) -> None:
        """Batches of these arrays.

        Args:
            arrays: what has a shape and takes an array of indices: also a ``np.memmap``; tables and
                columns of pandas, Polars and Arrow. Or one data set of examples by number, as those
                of PyTorch: arrays, or tuples or dicts of them, which are stacked.
            size: examples in a batch; the last one may have fewer.
            seed: of the orders; None: as they are.
            drop_last: leave out a last batch that has fewer.
            rank, ranks: cut each batch into this many equal shares, and take the one of this
                number. What does not divide, at most ``ranks - 1`` examples of the last batch, is
                left out.
        """
        if rank >= ranks:
            raise ArgumentError(f"Batches: rank must be in [0, ranks), got {rank} of {ranks}")
        if size % ranks:
            raise ArgumentError(
                f"Batches: size is that of all ranks, and {size} is not a multiple of {ranks}"
            )
        if not arrays:
            raise ArgumentError("Batches: there are no arrays")
        self._examples = arrays[0] if len(arrays) == 1 and is_data_set(arrays[0]) else None
        self.arrays = [_array(array) for array in arrays] if self._examples is None else []
        counts = [int(array.shape[0]) for array in self.arrays] or [len(arrays[0])]
        if len(set(counts)) != 1:
            raise ShapeError(f"Batches: arrays of {counts} examples")
        self.size, self.seed, self.drop_last = size, seed, drop_last
        self.rank, self.ranks = rank, ranks
        self._total, self._passes = counts[0], 0
        self._count = self._total // ranks * ranks

    def __repr__(self) -> str:
        arrays = f"{len(self.arrays)} array{'s' * (len(self.arrays) > 1)}"
        if self._examples is not None:
            arrays = kind_of(self._examples)
        seed = f", seed={self.seed}" if self.seed is not None else ""
        last = ", drop_last=True" if self.drop_last else ""
        share = f", rank={self.rank}, ranks={self.ranks}" if self.ranks > 1 else ""
        return f"Batches({arrays} of {self._count} examples, size={self.size}{seed}{last}{share})"

    def __len__(self) -> int:
        """The number of batches in a pass."""
        return self._count // self.size if self.drop_last else -(-self._count // self.size)

    def __iter__(self) -> Iterator[B]:
        self._passes += 1
        return self.epoch(self._passes - 1)

    def epoch(self, number: int, start: int = 0) -> Iterator[B]:
        """Yield the batches of one epoch in its order, from batch ``start`` on."""
        order = None
        if self.seed is not None:
            order = np.random.default_rng([self.seed, number]).permutation(self._total)
        for place in range(start, len(self)):
            first = place * self.size
            share = (min(first + self.size, self._count) - first) // self.ranks
            chosen: Any = slice(first + self.rank * share, first + (self.rank + 1) * share)
            if self._examples is not None:
                numbers = range(self._total)[chosen] if order is None else order[chosen]
                yield stack_examples([self._examples[int(number)] for number in numbers])
                continue
            if order is not None:
                chosen = order[chosen]
            batch: Any = tuple([np.ascontiguousarray(array[chosen]) for array in self.arrays])
            yield batch if len(batch) > 1 else batch[0]


def is_data_set(data: Any) -> bool:
    """Return whether something, neither an array nor a list, gives examples by their number."""
    if isinstance(data, Mapping | list | tuple | str | bytes | memoryview | type):
        return False
    if is_array_like(data):
        return False
    is_array = hasattr(data, "shape") and hasattr(data, "dtype")
    has_number = hasattr(type(data), "__getitem__") and hasattr(type(data), "__len__")
    return has_number and not is_array


def stack_examples(examples: list[Any]) -> Any:
    """Stack examples (arrays or numbers in equal tuples or dicts) to one batch."""
    first = examples[0]
    if isinstance(first, Mapping):
        return {name: stack_examples([example[name] for example in examples]) for name in first}
    if isinstance(first, tuple | list):
        return tuple(stack_examples([*part]) for part in zip(*examples, strict=True))
    arrays = [array_of(example, "an example") for example in examples]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        texts = " and ".join(map(str, sorted(shapes)[:2]))
        raise ShapeError(f"Batches: examples have shapes {texts}, and a batch stacks them")
    return np.stack(arrays)


def _array(examples: Any) -> Array:
    """Convert examples to an array with an entry for each, for ``Batches``."""
    if type(examples) in (np.ndarray, np.memmap):
        array: Array = examples
    elif (
        isinstance(examples, list | tuple) or hasattr(examples, "shape") or is_array_like(examples)
    ):
        array = array_of(examples, "the array for Batches")
    else:
        raise ArgumentError(
            f"Batches: {quote(examples)} is {kind_of(examples)}, not an array",
            hint='Batches(d["x"], d["y"]) of a dict; of pairs Batches(*map(np.stack, zip(*pairs)))',
        )
    if not array.ndim:
        raise ShapeError(f"Batches: {quote(examples)} has no axis of examples")
    return array


def prefetch(items: Iterable[Item], ahead: PositiveInt = 2) -> Iterator[Item]:
    """Yield the items, made in a thread while the ones before are used.

    An error that making one raises is raised where it would have been given.

    Args:
        items: what to iterate over; it is left when the iterator is closed.
        ahead: how many may wait.

    Returns:
        An iterator over them, in their order.

    >>> list(prefetch(n * n for n in range(4)))
    [0, 1, 4, 9]
    """
    return _prefetch_items(items, ahead)


def _prefetch_items(items: Iterable[Item], ahead: int) -> Iterator[Item]:
    """Yield items that a thread makes ahead, and end the thread at the end."""
    waiting: Queue[tuple[bool, Any]] = Queue(ahead)
    left = Event()
    thread = Thread(target=_make_items, args=(items, waiting, left), name="prefetch", daemon=True)
    try:
        thread.start()
        while True:
            is_item, what = _next_entry(waiting, thread)
            if is_item:
                yield what
            elif what is None:
                return
            else:
                raise what
    finally:
        left.set()
        if thread.ident is not None:  # an interrupt may have come before it began
            thread.join()


def _next_entry(waiting: Queue[tuple[bool, Any]], thread: Thread) -> tuple[bool, Any]:
    """Wait for the next prefetched item; report a thread that ended without its last."""
    while True:
        is_alive = thread.is_alive()
        try:
            return waiting.get(timeout=1.0 if is_alive else 0.0)
        except Empty:
            if not is_alive:
                return False, RuntimeError("the thread that prefetches items was ended")


def _make_items(items: Iterable[Item], waiting: Queue[tuple[bool, Any]], left: Event) -> None:
    """Make items in the prefetch thread, until the consumer leaves; pass an error on."""
    error: BaseException | None = None
    try:
        for item in items:
            if not _put_entry(waiting, (True, item), left):
                return
    except BaseException as raised:  # the consumer's thread shall raise it
        error = raised
    _put_entry(waiting, (False, error), left)


def _put_entry(waiting: Queue[tuple[bool, Any]], entry: tuple[bool, Any], left: Event) -> bool:
    """Put an entry into the prefetch queue; return False if the consumer has left."""
    while not left.is_set():
        try:
            waiting.put(entry, timeout=0.1)
        except Full:
            continue
        return True
    return False
