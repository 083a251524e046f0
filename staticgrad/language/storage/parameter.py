"""Parameters' storage: an aligned buffer that graphs read and update, and the lock around it.

A store outlives every graph that names it; its layout (C-contiguous, 64-byte aligned) never
changes. Runs take a read or write lock of each store that they touch (``storage/locks.py``).

Values are read, set and published in calls that run no Python code in between: a signal handler,
which Python runs between two of its own instructions, finds the old value or the new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from math import prod
from operator import setitem
from typing import Any
from weakref import ref

import numpy as np
import numpy.typing as npt

from staticgrad.errors import (
    ImmutableError,
    OutOfMemory,
    ParameterValueError,
    SymbolicValueError,
)
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.wording import TRANSPOSED_WEIGHT, kind_of, quote
from staticgrad.language.storage.locks import (
    Holder,
    ReadWriteLock,
    acquire_all,
    hold_or_copy,
    release_all,
)
from staticgrad.language.types.arrays import (
    TensorType,
    aligned_bytes,
    array_of,
    as_parts,
    convert_array,
    of_parts,
)
from staticgrad.language.types.dtype import as_dtype, kind_of_elements, whole_bools
from staticgrad.support import ranks
from staticgrad.support.records import NamedTuple


def write_together(places: Sequence[npt.NDArray[Any]], values: Sequence[npt.NDArray[Any]]) -> None:
    """Write each value, of its place's dtype and shape, in one call that no interrupt divides."""
    set_item: Callable[..., None] = setitem
    deque(map(set_item, places, repeat(...), values), maxlen=0)


class Shard(NamedTuple):
    """An array of ``shape`` of which each of ``ranks`` processes has a part, flat."""

    shape: tuple[int, ...]
    ranks: int

    @property
    def part(self) -> tuple[int, ...]:
        """The shape of a part."""
        return (ranks.part_size(prod(self.shape), self.ranks),)


class ParameterStore:
    """The current value of one parameter: name, type, bytes, lock.

    Attributes:
        leaf: its leaf on tapes, once it has met a tensor.
        former: the names that it, or what it is a copy of, had before, the latest first.
        in_graph: whether a graph has it, which is a value and fixes its name.
        in_module: whether it has been in an attribute of a module.
        made_for_module: whether it was made for that attribute, whose path may become its name.
        is_complex: whether the last axis has real and imaginary parts of complex numbers.
        shard: says of what array it is this rank's part, if it is one of several ranks' parts.
        counts_runs: whether it is the step of a generator, which each run with updates adds 1 to.
    """

    is_complex: bool = False
    counts_runs: bool = False

    leaf: Any = None
    in_graph: bool = False
    in_module: bool = False
    made_for_module: bool = False
    shard: Shard | None = None
    _states: tuple[tuple[ref[ParameterStore], str], ...] = ()
    former: tuple[str, ...] = ()

    def __init__(self, name: str, initial: npt.ArrayLike, former: tuple[str, ...] = ()) -> None:
        self.former = former
        source = array_of(initial, f"parameter {name!r}", ParameterValueError)
        self._allocate(name, TensorType(as_dtype(source.dtype), source.shape))
        self.array[...] = whole_bools(source)

    @classmethod
    def zeros(cls, name: str, type: TensorType) -> ParameterStore:
        """Make a parameter's storage of zeros; its memory is allocated lazily when written.

        Raises:
            OutOfMemory: the system gives no such memory, or no array can have the shape.
        """
        store = cls.__new__(cls)
        store._allocate(name, type, zero=True)
        return store

    def _allocate(self, name: str, type: TensorType, zero: bool = False) -> None:
        """Allocate a parameter's aligned buffer and its lock."""
        self.name, self.type = name, type
        self.lock = ReadWriteLock(f"parameter {name!r}")
        shape = tuple(map(int, type.shape))
        try:
            raw = aligned_bytes(prod(shape) * type.dtype.itemsize, zero)
            self.array: npt.NDArray[Any] = raw.view(type.dtype.numpy).reshape(shape)
        except (MemoryError, ValueError, OverflowError):
            raise OutOfMemory(
                f"parameter {name!r}, {type}, does not fit into memory",
                hint=f"it takes {prod(shape) * type.dtype.itemsize} bytes",
            ) from None

    def read(self) -> npt.NDArray[Any]:
        """A copy of the current value: from before a step that has not come to its first write, of
        whichever thread it is, from after it where code of its own thread interrupts it later.
        """
        return self.lock.read(self.array.copy)

    def numbers(self, value: Any) -> npt.NDArray[Any]:
        """A copy of a value of its, complex if its last axis has the parts of complex numbers."""
        copy = np.array(value)
        return of_parts(copy) if self.is_complex else copy

    def gather_array(self) -> npt.NDArray[Any]:
        """A copy of the current value; of a part the whole array, which all ranks call together."""
        part = self.read()
        if self.shard is None:
            return part
        parts = np.concatenate(ranks.job().gather(part))
        return parts[: prod(self.shard.shape)].reshape(self.shard.shape)

    def part_of(self, value: Any) -> Any:
        """Return this rank's part of an array of a sharded parameter; others unchanged."""
        if self.shard is None or np.shape(value) != self.shard.shape:
            return value
        part = np.zeros(self.array.shape, value.dtype)
        source = value.reshape(-1)[ranks.job().rank * part.size :][: part.size]
        part[: source.size] = source
        return part

    def write(self, value: npt.ArrayLike) -> None:
        """Set the parameter's array atomically; nothing changes if shape or dtype do not fit.

        Raises:
            MaskedArrayError: a masked array.
            ParameterValueError: another shape, or a dtype that would lose information.
            ReentryError: code that interrupts a step sets what a step is using.
        """
        self.lock.write(partial(setitem, self.array, ..., self.fit_array(value)))

    def fit_array(self, value: npt.ArrayLike) -> npt.NDArray[Any]:
        """Check that an array fits the parameter's shape and dtype, and return it.

        Raises:
            MaskedArrayError, ParameterValueError: as ``write``.
        """
        source = self._as_array(value)
        if self.is_complex and source.dtype.kind == "c":
            source = as_parts(source)
        if source.shape != self.array.shape:
            fits_transposed = source.ndim == 2 and source.shape[::-1] == self.array.shape
            raise ParameterValueError(
                f"parameter {self.name!r} has shape {self.array.shape}, got {source.shape}",
                hint=f"array.T fits: {TRANSPOSED_WEIGHT}; model.load_torch(state) converts"
                if fits_transposed
                else "a parameter keeps its shape; make a new one for another shape",
            )
        floats = self.type.dtype.is_float and kind_of_elements(source.dtype) == "f"
        if not (floats or np.can_cast(source.dtype, self.array.dtype, "same_kind")):
            raise ParameterValueError(
                f"parameter {self.name!r} is {self.type.dtype.numpy.name}, got {source.dtype}",
                hint=f"convert it first: value.astype({self.type.dtype.numpy.name!r})",
            )
        normalized = whole_bools(source)
        fits = normalized.dtype == self.array.dtype
        return normalized if fits else convert_array(normalized, self.type.dtype)

    def _as_array(self, value: Any) -> npt.NDArray[Any]:
        """Convert a new value of the parameter to an array of numbers."""
        try:
            array = array_of(value, f"parameter {self.name!r}", ParameterValueError)
            if kind_of_elements(array.dtype) in "biufc":
                return array
            why = "None is none" if value is None else f"{quote(value)} is {kind_of(value)}"
        except SymbolicValueError:
            why = f"{quote(value)} is symbolic: it has no numbers before a run"
        raise ParameterValueError(
            f"parameter {self.name!r} takes an array of numbers; {why}",
            hint="sg.Graph(updates={w: value}) sets it to what a graph computes"
            if "symbolic" in why
            else f"an array of shape {self.array.shape} and dtype {self.type.dtype.numpy.name}",
        )

    def rename(self, name: str) -> None:
        """Give it another name, as long as no graph has it."""
        self.former, self.name = (self.name, *self.former), name
        self.lock.name = f"parameter {name!r}"
        for state, suffix in self._states:
            if (store := state()) is not None and not store.in_graph:
                store.rename(f"{name}.{suffix}")

    def belong_to(self, owner: ParameterStore, suffix: str) -> None:
        """Be a state of another parameter, ``owner.own``, which is renamed with it."""
        self.former = tuple(f"{former}.{suffix}" for former in owner.former)
        owner._states = (*owner._states, (ref(self), suffix))

    def states(self) -> list[ParameterStore]:
        """The states that belong to it and are still there."""
        return [state for reference, _ in self._states if (state := reference()) is not None]

    def __reduce__(self) -> tuple[object, ...]:
        names = ("is_complex", "shard", "counts_runs")
        state = {name: getattr(self, name) for name in names}
        return (ParameterStore, (self.name, self.read(), self.former), state)


class Deferred(NamedTuple):
    """An array that is read, or copied, when ``read`` is called."""

    dtype: Any
    shape: tuple[int, ...]
    read: Callable[[], Any]

    @classmethod
    def of(cls, array: Any) -> Deferred:
        """An array that is there."""
        return cls(array.dtype, array.shape, lambda: array)


def write_all(pairs: Sequence[tuple[ParameterStore, npt.NDArray[Any]]]) -> None:
    """Write several parameters' arrays at once, under all their locks.

    Raises:
        ReentryError: as ``ParameterStore.write``.
    """
    places, values = [store.array for store, _ in pairs], [value for _, value in pairs]
    change_together([store for store, _ in pairs], partial(write_together, places, values))


def write_each(
    pairs: Sequence[tuple[ParameterStore, Callable[[], npt.NDArray[Any]]]],
) -> None:
    """Read and write several parameters' arrays, one at a time, under all their locks.

    What interrupts it, as Ctrl-C does, is raised when all are written: half of them would be
    neither the values of before nor those of after.

    Raises:
        ReentryError: as ``ParameterStore.write``.
    """

    def write() -> None:
        interrupt: BaseException | None = None
        for store, read in pairs:
            try:
                store.array[...] = read()
            except BaseException as error:
                interrupt = interrupt or error
                store.array[...] = read()
        if interrupt is not None:
            raise interrupt

    change_together([store for store, _ in pairs], write)


def read_together(
    stores: Sequence[ParameterStore], read: Callable[[list[npt.NDArray[Any]]], object]
) -> None:
    """Call ``read`` with several parameters' arrays, as they are at one moment.

    They are the arrays themselves, which nobody writes until ``read`` returns: steps of other
    threads wait. Where another thread has trained them last, or this code interrupts a step, they
    are copies, and nobody waits.
    """
    copies: list[npt.NDArray[Any]] = []

    def copy() -> None:
        copies[:] = [store.array.copy() for store in stores]

    locks = sorted({store.lock for store in stores}, key=lambda lock: lock.serial)
    while True:
        holder = Holder(is_step=True)  # it takes more than one call
        try:
            with holder.token:
                outcome = hold_or_copy(locks, holder, copy)
                if outcome == "held":
                    read([store.array for store in stores])
                    return
        finally:
            release_all([(lock, False) for lock in locks], holder)
        if isinstance(outcome, ReadWriteLock):
            outcome.read(lambda: None)  # waits for a write in its turn
        else:
            read(copies)
            return


def change_together(stores: Iterable[ParameterStore], change: Callable[[], object]) -> None:
    """Call ``change``, which writes to parameters, under all their locks.

    Raises:
        ReentryError: as ``ParameterStore.write``.
    """
    locks = sorted({store.lock for store in stores}, key=lambda lock: lock.serial)
    acquired = [(lock, True) for lock in locks]
    holder = Holder(is_step=False)
    try:
        with holder.token:
            acquire_all(acquired, holder)
            change()
    finally:
        release_all(acquired, holder)


class ParameterValue(np.ndarray[Any, np.dtype[Any]]):
    """The value of ``w.value``: a read-only copy; a result computed from it is an ordinary array.

    Writing into a copy would change nothing that a graph reads, without a word. ``w.value += 1`` is
    another matter: Python reads, adds and assigns, so the sum has to be a new array. A copy of it
    may be written into, as any array.
    """

    @classmethod
    def of(cls, array: np.ndarray[Any, np.dtype[Any]]) -> ParameterValue:
        """The array itself, from now on read-only."""
        array.flags.writeable = False
        return array.view(cls)

    @boundary
    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.flags.writeable:
            raise _not_written()
        super().__setitem__(key, value)

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **keywords: Any
    ) -> Any:
        targets = out if isinstance(out, tuple) else () if out is None else (out,)
        if any(isinstance(t, ParameterValue) and not t.flags.writeable for t in targets):
            if method != "__call__" or len(targets) > 1 or targets[0] is not inputs[0]:
                raise _not_written()
            targets = ()  # ``value += y``: the name, or the parameter, gets the new array
        if targets:
            keywords["out"] = tuple(map(_plain, targets))
        return getattr(ufunc, method)(*map(_plain, inputs), **keywords)

    def __repr__(self) -> str:
        return repr(_plain(self))

    def __reduce__(self) -> tuple[Any, ...]:
        reduced: tuple[Any, ...] = _plain(self).__reduce__()
        return reduced


def _plain(array: Any) -> Any:
    """The same array without what this class adds."""
    return array.view(np.ndarray) if isinstance(array, ParameterValue) else array


def _not_written() -> ImmutableError:
    return ImmutableError(
        "the value of a parameter is a copy: writing into it would not change the parameter",
        hint="v = w.value.copy(), write into v, then w.value = v",
    )
