"""Feeds of one run: checked, and sorted into those read in place and those copied first.

A C-contiguous, aligned array of the input's dtype in native byte order is read where it lies, a
bool one where its bytes are 0 and 1. Any other is copied into the arena before the run, and the
plan counts that copy. What is no array, a list, NumPy makes into one first, outside the arena.
Dtypes convert as in NumPy's ``same_kind``: within a kind in both directions (float64 to float32
rounds, int64 to int32 wraps), and from a lower kind to a higher (bool, integer, floating), never
down. Feeds are never written, and no reference to them outlives the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.analysis.binding import Feeds, feed_array, name_feeds
from staticgrad.errors.wording import kind_of
from staticgrad.ir.graph import Graph
from staticgrad.native.environment import default_environment
from staticgrad.records import NamedTuple
from staticgrad.types.arrays import convert_array
from staticgrad.types.dtype import as_dtype

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
    def staged(self) -> frozenset[str]:
        return self.key[1]


class FeedBinder:
    """What the inputs of a graph take; binds the feeds of a run."""

    def __init__(self, graph: Graph, unused: frozenset[str] = frozenset()) -> None:
        """``unused`` names inputs that no kernel reads: they are checked, never copied."""
        self._graph = graph
        self._inputs = {value.node.label: value for value in graph.inputs}
        self._dtypes = tuple(
            (name, value.dtype.numpy, value.dtype.is_bool) for name, value in self._inputs.items()
        )
        self._unused = unused

    def bind(self, feeds: Feeds) -> BoundFeeds:
        """The feeds as arrays, with what a plan must know of them.

        Args:
            feeds: input name or input value -> array, or anything that NumPy sees as one.

        Raises:
            MissingFeedError, UnknownFeedError, FeedDTypeError: as ``analysis.binding`` words them.
                Shapes are checked by ``bind_sizes`` when they are seen for the first time.
        """
        named = feeds
        if type(feeds) is not dict or feeds.keys() != self._inputs.keys():
            named = self.named(feeds)
        arrays = []
        staged = []
        for name, dtype, is_bool in self._dtypes:
            data = named[name]
            if type(data) is not np.ndarray:
                with default_environment():
                    data = feed_array(self._inputs[name], data)
            own = data.dtype  # mostly the very object
            if (own is not dtype and own != dtype) or data.flags.num & _IN_PLACE != _IN_PLACE:
                data = feed_array(self._inputs[name], data)
                if name not in self._unused:
                    staged.append(name)
            elif is_bool and data.size and name not in self._unused and _has_other_bytes(data):
                staged.append(name)
            arrays.append(data)
        shapes = tuple([array.shape for array in arrays])
        return BoundFeeds(tuple(arrays), (shapes, frozenset(staged)))

    def reasons(self, feeds: Feeds, bound: BoundFeeds) -> dict[str, tuple[str, str]]:
        """Of each feed that is copied: why, and what to feed instead. By input, in their order."""
        named = self.named(feeds)
        arrays = dict(zip(self._inputs, bound.arrays, strict=True))
        return {
            name: _reason(name, named[name], arrays[name], self._inputs[name].dtype.numpy)
            for name in arrays
            if name in bound.staged
        }

    def named(self, feeds: Feeds) -> Mapping[str, Any]:
        """The feeds by the names of their inputs."""
        return name_feeds(self._graph, feeds)


def copy_feed(place: Array, feed: Array) -> None:
    """Copy a feed to where kernels read it, of the dtype of ``place``; a true bool becomes 1."""
    if feed.dtype == np.bool_ == place.dtype:  # NumPy allows any byte for True, kernels only 1
        np.not_equal(feed.view(np.uint8), 0, out=place)
    elif "V" in (feed.dtype.kind, place.dtype.kind):  # NumPy would round twice on the way
        place[...] = convert_array(feed, as_dtype(place.dtype))
    else:
        np.copyto(place, feed, casting="same_kind")


def _reason(name: str, given: Any, array: Array, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Why a feed is copied, and what needs no copy."""
    shown = name if name.isidentifier() else "feed"
    if not isinstance(given, np.ndarray):
        was = f"it is {kind_of(given)}, which NumPy makes {array.dtype}, and the input is {dtype}"
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


def _has_other_bytes(data: Array) -> bool:
    """Whether a contiguous array of bools has bytes other than 0 and 1."""
    return bool(data.view(np.uint8).max() > 1)
