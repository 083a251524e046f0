"""Feeds of one run (checked, read in place or copied) and the arrays of its results.

A C-contiguous, aligned array of the input's dtype in native byte order is read in place, a
bool one where its bytes are 0 and 1. Any other is copied into the arena before the run, and the
plan counts that copy. NumPy first converts other objects, as lists, outside the arena.
Dtypes convert as in NumPy's ``same_kind``: within a kind in both directions (float64 to float32
rounds, int64 to int32 wraps), and from a lower kind to a higher (bool, integer, floating), never
down. Feeds are never written, and no reference to them outlives the run.

**Results** are written into recycled or fresh arrays, or the caller's own. An array that a run in
Python returns is a view of a block that only this file holds. When the block's reference count is
down to ours, the caller has dropped the array and every view of it, and the block is used again.
Results therefore never alias each other, the arena, a feed or a parameter. Where the caller still
refers to all blocks, the native entry makes an array with memory of its own, which no pool holds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.analysis.binding import Feeds, fed_type, feed_array, name_feeds
from staticgrad.compiler.runtime.arena import address_of
from staticgrad.errors import OutOfMemory, OutputArrayError
from staticgrad.errors.wording import kind_of
from staticgrad.language.ir.graph import Graph, Symbolic
from staticgrad.language.ir.schedule import Schedule
from staticgrad.language.types.arrays import aligned_bytes, array_of, convert_array, viewer_of
from staticgrad.language.types.dtype import as_dtype
from staticgrad.native.entry.words import ResultPoolWord
from staticgrad.native.system.floating_point import default_environment
from staticgrad.support.records import NamedTuple

Array = npt.NDArray[Any]
_IN_PLACE: Final = 0x0001 | 0x0100  # ndarray.flags.num: C_CONTIGUOUS and ALIGNED


class BoundFeeds(NamedTuple):
    """One array per input, in the graph's order.

    ``key`` decides the plan: the shapes, and the names of inputs that are copied first.
    """

    arrays: tuple[Array, ...]
    key: tuple[tuple[tuple[int, ...], ...], frozenset[str]]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.key[0]

    @property
    def staged_names(self) -> frozenset[str]:
        return self.key[1]


class FeedBinder:
    """The inputs of a graph; binds the feeds of a run."""

    def __init__(self, graph: Graph, unused: frozenset[str] = frozenset()) -> None:
        """``unused`` names inputs that no kernel reads: they are checked, never copied."""
        self._graph = graph
        self._inputs = {value.node.label: value for value in graph.inputs}
        dtypes = [(name, fed_type(value).dtype) for name, value in self._inputs.items()]
        self._dtypes = tuple((name, dtype.numpy, dtype.is_bool) for name, dtype in dtypes)
        self._unused = unused

    def bind(self, feeds: Feeds) -> BoundFeeds:
        """Check feeds and convert them to arrays, with the sizes that a plan depends on.

        Args:
            feeds: input name or input value -> array, or anything that NumPy sees as one.

        Raises:
            MissingFeedError, UnknownFeedError, FeedDTypeError: as ``analysis.binding`` words them.
                Shapes are checked by ``bind_sizes`` when they are seen for the first time.
        """
        named = feeds
        if type(feeds) is not dict or feeds.keys() != self._inputs.keys():
            named = self.by_name(feeds)
        arrays = []
        staged = []
        for name, dtype, is_bool in self._dtypes:
            data = named[name]
            if type(data) is not np.ndarray:
                with default_environment():
                    data = feed_array(self._inputs[name], data)
            array_dtype = data.dtype  # mostly the very object
            if (
                array_dtype is not dtype and array_dtype != dtype
            ) or data.flags.num & _IN_PLACE != _IN_PLACE:
                data = feed_array(self._inputs[name], data)
                if name not in self._unused:
                    staged.append(name)
            elif (
                is_bool and data.size and name not in self._unused and data.view(np.uint8).max() > 1
            ):
                staged.append(name)
            arrays.append(data)
        shapes = tuple([array.shape for array in arrays])
        return BoundFeeds(tuple(arrays), (shapes, frozenset(staged)))

    def reasons(self, feeds: Feeds, bound: BoundFeeds) -> dict[str, tuple[str, str]]:
        """Return why each feed must be copied, and what to feed instead, by input."""
        named = self.by_name(feeds)
        arrays = dict(zip(self._inputs, bound.arrays, strict=True))
        return {
            name: _reason_for_copy(
                name, named[name], arrays[name], fed_type(self._inputs[name]).dtype.numpy
            )
            for name in arrays
            if name in bound.staged_names
        }

    def by_name(self, feeds: Feeds) -> Mapping[str, Any]:
        """The feeds by the names of their inputs."""
        return name_feeds(self._graph, feeds)


def views_of(feeds: Feeds) -> dict[Any, Array]:
    """Return feeds from other libraries (torch, JAX) as NumPy views of their memory."""
    views = {}
    for name, data in feeds.items() if type(feeds) is dict else ():
        if type(data) is not np.ndarray:
            view = viewer_of(type(data))
            array = None if view is None else view(data)
            if array is not None:
                views[name] = array
    return views


def copy_feed(place: Array, feed: Array) -> None:
    """Copy a feed to its place in the arena, of that dtype; a true bool becomes 1."""
    if feed.dtype == np.bool_ == place.dtype:  # NumPy allows any byte for True, kernels only 1
        np.not_equal(feed.view(np.uint8), 0, out=place)
    elif "V" in (feed.dtype.kind, place.dtype.kind):  # NumPy would round twice on the way
        place[...] = convert_array(feed, as_dtype(place.dtype))
    else:
        np.copyto(place, feed, casting="same_kind")


def _reason_for_copy(name: str, feed: Any, array: Array, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Return why a feed must be copied, and what to feed to avoid the copy."""
    shown = name if name.isidentifier() else "feed"
    if not isinstance(feed, np.ndarray):
        was = f"it is {kind_of(feed)}, which NumPy makes {array.dtype}, and the input is {dtype}"
        return was, f"np.asarray({shown}, {dtype.name!r})"
    contiguous = bool(array.flags.c_contiguous)
    if array.dtype != dtype:
        same = array.dtype.newbyteorder("=") == dtype
        was = "its bytes stand in the other order" if same else f"it is {array.dtype}"
        if contiguous:
            return f"{was}, and the input is {dtype}", f"{shown}.astype({dtype.name!r})"
        was = f"{was} and strided, and the input is {dtype}"
        return was, f"np.ascontiguousarray({shown}, {dtype.name!r})"
    if not contiguous:
        return f"it is strided, {array.strides} bytes", f"np.ascontiguousarray({shown})"
    if not array.flags.aligned:
        return "it is misaligned", f"{shown}.copy()"
    return "its bools have bytes other than 0 and 1", f"{shown}.view('uint8') != 0"


#: Blocks of each output: a loop holds its last result while it makes the next.
_BLOCKS: Final = ResultPoolWord.MISSES.value
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
        """Take an uninitialized result array that nothing else references, with its address.

        Raises:
            OutOfMemory: the system gives no such block.
        """
        for block in self._blocks:
            if block.template.shape == shape and block.references() == _UNUSED:
                return block.template.view(), block.address
        same_shape = [block for block in self._blocks if block.template.shape == shape]
        try:
            block = _Block(shape, self.dtype)
        except (MemoryError, ValueError, OverflowError):
            raise OutOfMemory(
                f"output {self.name!r} of shape {shape} does not fit into memory",
                hint="nothing was run and no parameter has changed",
            ) from None
        self._keep([*same_shape[len(same_shape) + 1 - _BLOCKS :], block])
        return block.template.view(), block.address

    def note_blocks(self, words: memoryview) -> None:
        """Write the addresses of blocks to a ``ResultPoolWord`` from now on, 0 for none."""
        self._noted = words
        self._keep(self._blocks)

    def _keep(self, blocks: list[_Block]) -> None:
        if self._noted is not None:
            for number in range(_BLOCKS):
                self._noted[number] = id(blocks[number].template) if number < len(blocks) else 0
            self._noted[ResultPoolWord.MISSES] = 0
        self._blocks = blocks


def given_outputs(
    out: object, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, np.dtype[Any]]
) -> dict[str, Array]:
    """Check the caller's ``out`` arrays one by one; return them by output name.

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
    output_arrays: dict[str, Array] = {}
    for name, data in out.items():
        if name not in shapes:
            output_names = ", ".join(map(repr, shapes))
            raise OutputArrayError(f"out= names {name!r}; the outputs are {output_names}")
        if not isinstance(data, np.ndarray):
            raise OutputArrayError(
                f"the array for output {name!r} is {kind_of(data)}, not an array",
                hint=f"np.empty({shapes[name]}, {dtypes[name].name!r}) fits",
            )
        array = array_of(data, f"the array for output {name!r}")
        problem = _why_unsuited(array, shapes[name], dtypes[name])
        if problem:
            raise OutputArrayError(
                f"the array for output {name!r} {problem}",
                hint=f"np.empty({shapes[name]}, {dtypes[name].name!r}) fits",
            )
        output_arrays[name] = array
    return output_arrays


def _why_unsuited(array: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """Return why an ``out`` array cannot take a result, as text; empty if it can."""
    if array.shape != shape:
        return f"has shape {array.shape}, the result {shape}"
    if array.dtype != dtype:
        return f"is {array.dtype}, the result {dtype.name}"
    if not array.flags.writeable:
        return "is read-only"
    if not array.flags.c_contiguous or not array.flags.aligned:
        return "is not contiguous in C order and aligned"
    return ""


def check_apart(output_arrays: Mapping[str, Array], others: Iterable[tuple[str, Array]]) -> None:
    """Check that the caller's output arrays share no byte with each other or with ``others``.

    Args:
        given: output arrays by name.
        others: (what it is, array) of everything that the step reads or updates.

    Raises:
        OutputArrayError: two that do, or might.
    """
    arrays = list(output_arrays.items())
    for i, (name, array) in enumerate(arrays):
        earlier_outputs: Sequence[tuple[str, Array]] = [(f"output {n!r}", a) for n, a in arrays[:i]]
        for what, array_of_step in (*earlier_outputs, *others):
            if _share_memory(array, array_of_step):
                raise OutputArrayError(
                    f"the array for output {name!r} shares memory with {what}",
                    hint="outputs are written while the step runs: give a separate array",
                )


def _share_memory(a: Array, b: Array) -> bool:
    """Return True if two arrays share memory, or if that is too costly to decide."""
    if not np.may_share_memory(a, b):
        return False
    try:
        # NumPy takes any amount of work; its stubs know two of them
        return np.shares_memory(a, b, max_work=_OVERLAP_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


class Port(NamedTuple):
    """An input or output: its public name, its buffer, its dtype and rank.

    ``buffer`` is None of an input that no step has. ``is_read``: some step reads it.
    ``is_checked``: its bytes must be 0 and 1. ``number_bytes``: how many it has where it may be
    fed as a number, below 0 of integers and bools, else 0.
    """

    name: str
    buffer: str | None
    dtype: np.dtype[Any]
    rank: int
    is_read: bool = True
    is_checked: bool = False
    number_bytes: int = 0


_NUMBERS: Final = (np.float32, np.float64, np.int32, np.int64, np.bool_)


def input_ports(graph: Graph, schedule: Schedule) -> tuple[Port, ...]:
    """The inputs of a graph, in order."""
    buffers = {b.label: b.name for b in schedule.buffers if b.role == "input"}
    read = {name for step in schedule.steps for name in step.reads()}
    return tuple([_input_port(value, buffers, read) for value in graph.inputs])


def _input_port(value: Symbolic, buffers: Mapping[str, str], read: set[str]) -> Port:
    """Return the port of a graph's input: its buffer, dtype, rank and allowed feeds."""
    name, kind = value.node.label, fed_type(value)
    buffer = buffers.get(name)
    is_read = buffer in read
    dtype = kind.dtype.numpy
    takes_numbers = kind.rank == 0 and dtype in _NUMBERS
    sign = 1 if value.dtype.is_float else -1
    return Port(
        name, buffer, dtype, kind.rank, is_read, value.dtype.is_bool and is_read,
        sign * value.dtype.itemsize if takes_numbers else 0,
    )  # fmt: skip


def output_ports(graph: Graph, schedule: Schedule) -> tuple[Port, ...]:
    """The outputs of a graph, in order."""
    buffers = dict(schedule.outputs)
    types = graph.output_types
    return tuple([Port(n, buffers[n], kind.dtype.numpy, kind.rank) for n, kind in types.items()])
