"""Ops over windows that ONNX has no operator for, as slices and pads of a padded image, tap by tap.

They are what gradients of pooling are made of. ``MaxPool`` has a second result, the index of each
maximum, but it does not choose a NaN as kernels and PyTorch do, and needs literal sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import Any, Final

import numpy as np

import staticgrad.functions as sg
from staticgrad.extend import Size, op_class
from staticgrad.extend.sizes import maximum

#: The ops by which all others are written.
_PAD: Final[Any] = op_class("pad")
_SLICE: Final[Any] = op_class("slice")


class _Windows:
    """Windows of a padded image: the attributes of an op over windows.

    ``image`` and ``windows`` are the last sizes of the image and of the windows.
    """

    def __init__(
        self, attributes: dict[str, Any], image: Sequence[Size], windows: Sequence[Size]
    ) -> None:
        self.taps, self.strides = attributes["taps"], attributes["strides"]
        self.dilation, self.border = attributes["dilation"], attributes["before"]
        self.image, self.windows = tuple(image), tuple(windows)
        axes = zip(self.taps, self.strides, self.dilation, windows, strict=True)
        ends = [(extent - 1) * step + (tap - 1) * apart + 1 for tap, step, apart, extent in axes]
        sizes = [a + b for a, b in zip(self.border, self.image, strict=True)]
        self.padded = tuple(maximum(end, size) for end, size in zip(ends, sizes, strict=True))

    def starts(self) -> Iterator[tuple[int, ...]]:
        """Yield the first index of each tap in the padded image, in C order."""
        for tap in product(*map(range, self.taps)):
            yield tuple(k * apart for k, apart in zip(tap, self.dilation, strict=True))

    def pad(self, x: Any) -> Any:
        """Put the image into its border of zeros."""
        lead = x.shape[: x.ndim - len(self.taps)]
        starts = (*(0,) * len(lead), *self.border)
        return _PAD((*lead, *self.padded), starts, (1,) * x.ndim)(x)

    def read(self, x: Any) -> Iterator[Any]:
        """Yield the elements of all windows, tap by tap; 0 in the border."""
        lead, padded = x.shape[: x.ndim - len(self.taps)], self.pad(x)
        none = (0,) * len(lead)
        for start in self.starts():
            steps = (*(1,) * len(lead), *self.strides)
            yield _SLICE((*none, *start), (*lead, *self.windows), steps)(padded)

    def spread(self, elements: Sequence[Any]) -> Any:
        """Add elements of windows up, tap by tap, where they are in the image."""
        first = elements[0]
        lead = first.shape[: first.ndim - len(self.taps)]
        none, ones = (0,) * len(lead), (1,) * len(lead)
        terms = [
            _PAD((*lead, *self.padded), (*none, *start), (*ones, *self.strides))(tap)
            for start, tap in zip(self.starts(), elements, strict=True)
        ]
        total = reduce(lambda a, b: a + b, terms)
        cut = _SLICE((*none, *self.border), (*lead, *self.image), (1,) * first.ndim)
        return cut(total)


def _windows_of(x: Any, attributes: dict[str, Any]) -> _Windows:
    count = len(attributes["taps"])
    return _Windows(attributes, x.shape[x.ndim - count :], attributes["extents"])


def _windows_over(y: Any, attributes: dict[str, Any]) -> _Windows:
    count = len(attributes["taps"])
    return _Windows(attributes, attributes["extents"], y.shape[y.ndim - count :])


def _find_places(x: Any, **attributes: Any) -> Any:
    """Return the tap of each window's first maximum; a NaN wins, the border never does."""
    windows = _windows_of(x, attributes)
    kind = next(
        d for d in ("int8", "int16", "int32") if prod(windows.taps) <= 2 ** (int(d[3:]) - 1)
    )
    inside = windows.read(sg.broadcast_to(sg.constant(np.ones((), "int32")), windows.image))
    best: Any = None
    place: Any = None
    has_element: Any = None
    for number, (element, is_inside) in enumerate(zip(windows.read(x), inside, strict=True)):
        is_element = sg.broadcast_to(is_inside > 0, element.shape)
        if best is None:
            best, has_element = element, is_element
            place = sg.broadcast_to(sg.constant(np.zeros((), "int32")), element.shape)
            continue
        is_larger = sg.logical_not(element <= best) & (best == best)
        wins = is_element & (is_larger | sg.logical_not(has_element))
        best, place = sg.where(wins, element, best), sg.where(wins, number, place)
        has_element = has_element | is_element
    return sg.astype(place, kind)


def _take_places(x: Any, places: Any, **attributes: Any) -> Any:
    """Return the element of each window that ``places`` says."""
    elements = enumerate(_windows_of(x, attributes).read(x))
    chosen = [sg.where(_is_tap(places, number), element, 0) for number, element in elements]
    return reduce(lambda a, b: a + b, chosen)


def _put_places(y: Any, places: Any, **attributes: Any) -> Any:
    """Add each element up at the place of its window that ``places`` says."""
    windows = _windows_over(y, attributes)
    count = prod(windows.taps)
    return windows.spread([sg.where(_is_tap(places, number), y, 0) for number in range(count)])


def _is_tap(places: Any, number: int) -> Any:
    """Compare places as int32: ONNX compares no shorter integers in every version."""
    return sg.astype(places, "int32") == number


def _write_unfold(x: Any, **attributes: Any) -> Any:
    windows = _windows_of(x, attributes)
    lead = x.shape[: x.ndim - len(windows.taps)]
    stacked = sg.stack([*windows.read(x)], axis=len(lead))
    return sg.reshape(stacked, (*lead, *windows.taps, *windows.windows))


def _write_fold(y: Any, **attributes: Any) -> Any:
    windows = _windows_over(y, attributes)
    count = len(windows.taps)
    lead = y.shape[: y.ndim - 2 * count]
    flat = sg.reshape(y, (*lead, prod(windows.taps), *windows.windows))
    none, ones = (0,) * len(lead), (1,) * (len(lead) + 1 + count)
    elements = []
    for number in range(prod(windows.taps)):
        starts = (*none, number, *(0,) * count)
        part = _SLICE(starts, (*lead, 1, *windows.windows), ones)(flat)
        elements.append(sg.reshape(part, (*lead, *windows.windows)))
    return windows.spread(elements)


#: Our op -> the same by ops that ONNX has.
BY_SLICES: Final[dict[str, Callable[..., Any]]] = {
    "fold": _write_fold,
    "unfold": _write_unfold,
    "window_place": _find_places,
    "window_put": _put_places,
    "window_take": _take_places,
}
