"""Arrays that results are written into: recycled, fresh, or the caller's own.

An array handed out is a view of a block that only this file holds. When the block's reference
count is down to ours, the caller has dropped the array and every view of it, and the block is
used again. Results therefore never alias each other, the arena, a feed or a parameter.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.errors import OutOfMemory, OutputArrayError
from staticgrad.errors.wording import kind_of
from staticgrad.runtime.arena import address_of
from staticgrad.storage.parameter import aligned_bytes
from staticgrad.types.arrays import array_of

Array = npt.NDArray[Any]
_BLOCKS: Final = 2  # blocks kept per output: a loop holds its last result while it makes the next
_OVERLAP_WORK: Final = 10_000  # effort for an exact answer; beyond it, two arrays count as meeting


class _Block:
    """Memory of one output array. ``owner`` is what every view of the array refers to."""

    __slots__ = ("address", "owner", "template")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        count = dtype.itemsize
        for extent in shape:
            count *= extent
        self.template: Array = aligned_bytes(count).view(dtype).reshape(shape)
        self.owner = self.template.base
        self.address = address_of(self.template)

    def references(self) -> int:
        return sys.getrefcount(self.owner)


#: What ``references`` counts while nobody but the block refers to its memory.
_UNUSED: Final = _Block((1,), np.dtype(np.uint8)).references()


class OutputPool:
    """Arrays for one output, one after the other."""

    def __init__(self, name: str, dtype: np.dtype[Any]) -> None:
        self.name, self.dtype = name, dtype
        self._blocks: list[_Block] = []
        self._noted: memoryview | None = None

    def take(self, shape: tuple[int, ...]) -> tuple[Array, int]:
        """An uninitialised array of ``shape`` that nobody else refers to, and its address.

        Raises:
            OutOfMemory: the system gives no such block.
        """
        for block in self._blocks:
            if block.template.shape == shape and block.references() == _UNUSED:
                return block.template.view(), block.address
        kept = [block for block in self._blocks if block.template.shape == shape]
        try:
            block = _Block(shape, self.dtype)
        except (MemoryError, ValueError, OverflowError):
            raise OutOfMemory(
                f"output {self.name!r} of shape {shape} does not fit into memory",
                hint="nothing was run and no parameter has changed",
            ) from None
        self._keep([*kept[len(kept) + 1 - _BLOCKS :], block])
        return block.template.view(), block.address

    def note_blocks(self, words: memoryview) -> None:
        """From here on, keep in these words the addresses of the blocks' arrays, 0 for none."""
        self._noted = words
        self._keep(self._blocks)

    def _keep(self, blocks: list[_Block]) -> None:
        if self._noted is not None:
            for number in range(_BLOCKS):
                self._noted[number] = id(blocks[number].template) if number < len(blocks) else 0
        self._blocks = blocks


def given_outputs(
    out: object, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, np.dtype[Any]]
) -> dict[str, Array]:
    """The caller's arrays by output name, checked one by one.

    Args:
        out: a mapping from output names to arrays (some outputs may be left out), or one array
            when there is one output. A subclass of ndarray is written as the plain array that it
            is in memory.
        shapes, dtypes: what each output is in this run.

    Raises:
        MaskedArrayError: a masked array.
        OutputArrayError: an unknown name, no array, or one that the result does not fit.
    """
    if not isinstance(out, Mapping):
        if len(shapes) != 1:
            raise OutputArrayError(
                f"out= is a {type(out).__name__}, and there are {len(shapes)} outputs",
                hint=f"give a dict with the keys {', '.join(map(repr, shapes))}",
            )
        out = {next(iter(shapes)): out}
    given: dict[str, Array] = {}
    for name, data in out.items():
        if name not in shapes:
            known = ", ".join(map(repr, shapes))
            raise OutputArrayError(f"out= names {name!r}; the outputs are {known}")
        if not isinstance(data, np.ndarray):
            raise OutputArrayError(
                f"the array for output {name!r} is {kind_of(data)}, not an array",
                hint=f"np.empty({shapes[name]}, {dtypes[name].name!r}) fits",
            )
        array = array_of(data, f"the array for output {name!r}")
        problem = _misfit(array, shapes[name], dtypes[name])
        if problem:
            raise OutputArrayError(
                f"the array for output {name!r} {problem}",
                hint=f"np.empty({shapes[name]}, {dtypes[name].name!r}) fits",
            )
        given[name] = array
    return given


def _misfit(array: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    if array.shape != shape:
        return f"has shape {array.shape}, the result {shape}"
    if array.dtype != dtype:
        return f"is {array.dtype}, the result {dtype.name}"
    if not array.flags.writeable:
        return "is read-only"
    if not array.flags.c_contiguous or not array.flags.aligned:
        return "is not contiguous in C order and aligned"
    return ""


def check_apart(given: Mapping[str, Array], others: Iterable[tuple[str, Array]]) -> None:
    """Check that the caller's output arrays share no byte with each other or with ``others``.

    Args:
        given: output arrays by name.
        others: (what it is, array) of everything that the step reads or updates.

    Raises:
        OutputArrayError: two that do, or might.
    """
    arrays = list(given.items())
    for i, (name, array) in enumerate(arrays):
        rest: Sequence[tuple[str, Array]] = [(f"output {n!r}", a) for n, a in arrays[:i]]
        for what, other in (*rest, *others):
            if _meet(array, other):
                raise OutputArrayError(
                    f"the array for output {name!r} shares memory with {what}",
                    hint="outputs are written while the step runs: give an array of its own",
                )


def _meet(one: Array, two: Array) -> bool:
    if not np.may_share_memory(one, two):
        return False
    try:
        # NumPy takes any amount of work; its stubs know two of them
        return np.shares_memory(one, two, max_work=_OVERLAP_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
