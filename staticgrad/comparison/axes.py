"""The axis of the arrays that counts examples: asked for, named, or found by what the loss does.

An axis counts examples if the loss adds up over it: what a change of some of them does is then the
same whatever the others are. The time of a sequence, the channels of an image, and nodes that send
messages do not add up. Where no axis does (batch normalization, several updates in a step), one in
whose order the loss is the same counts them. All this is tried, on the program itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.errors import ArgumentError
from staticgrad.extend import NamedTuple, did_you_mean, kind_of, list_names

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
#: The result for some arrays as one number; it may raise anything.
Loss = Callable[[Arrays], float]
Asked = int | Mapping[str, int]
#: How an axis is known.
ASKED: Final = "as asked for"
ADDS: Final = "the loss adds up over it"
ANY_ORDER: Final = "the loss is the same in any order of it"
_DATA_ALONE: Final = "; arguments that carry data were asked, not the parameters before them"
ASSUMED: Final = "assumed; batch_axis= takes another one"
CHANGING: Final = "sizes change from step to step"
#: The names of sizes that count examples.
_NAMES: Final = frozenset({"batch", "batch_size", "minibatch", "examples", "samples", "n", "b"})
_NOISE: Final = 0.3  # the largest relative change of a number
_SECONDS: Final = 5.0  # of the processor, after which nothing further is tried
_MOST: Final = 8  # axes that are tried
_EXACT: Final = 1e-12  # relative differences of losses in float64 that are rounding
_SAME: Final = 1e-6  # the same, of losses on the tape, too


class BatchAxes(NamedTuple):
    """The axis of each array that counts examples, and how it is known; arrays without one lack."""

    axes: Mapping[str, int]
    reason: str

    def size(self, arrays: Arrays) -> int:
        """Return the number of examples."""
        return next((arrays[name].shape[axis] for name, axis in self.axes.items()), 1)

    def __str__(self) -> str:
        if not self.axes:
            return "no array has an axis"
        arrays: dict[int, list[str]] = {}
        for name, axis in self.axes.items():
            arrays.setdefault(axis, []).append(name)
        where = list_names(
            [f"axis {axis} of {list_names(names)}" for axis, names in arrays.items()]
        )
        return f"{where}: {self.reason}"


def read_asked_axes(axis: Asked, arrays: Arrays) -> BatchAxes:
    """Read the batch axis that the user gives, for all arrays or by name.

    A number is the axis of each array whose size there is that of the first array which has it.

    Raises:
        ArgumentError: no such array or axis; sizes differ.
    """
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    if isinstance(axis, bool) or not isinstance(axis, int | Mapping):
        raise ArgumentError(
            f"batch_axis is {kind_of(axis)}, not a number or a dict of numbers by array",
            hint="batch_axis=1, or batch_axis={'x': 1, 'y': 0}",
        )
    if isinstance(axis, int):
        has = {n: a for n, a in arrays.items() if -a.ndim <= axis < a.ndim}
        sizes = [array.shape[axis] for array in has.values()]
        batch_axes = {n: axis % a.ndim for n, a in has.items() if a.shape[axis] == sizes[0]}
        if not batch_axes:
            raise ArgumentError(f"batch_axis is {axis}, and no array has it: {shapes}")
        return BatchAxes(batch_axes, ASKED)
    for name, number_of_axis in axis.items():
        if name not in arrays:
            raise ArgumentError(
                f"batch_axis names {name!r}, which is no array", hint=did_you_mean(name, arrays)
            )
        ndim = arrays[name].ndim
        number: object = number_of_axis
        if (
            isinstance(number, bool)
            or not isinstance(number, int)
            or not -ndim <= number_of_axis < ndim
        ):
            raise ArgumentError(
                f"batch_axis of {name} is {number_of_axis!r}: {name} has {ndim} axes"
            )
    if len({arrays[name].shape[number] for name, number in axis.items()}) != 1:
        raise ArgumentError(f"batch_axis has axes of one size: {dict(axis)} of {shapes}")
    return BatchAxes({n: number % arrays[n].ndim for n, number in axis.items()}, ASKED)


def find_named_axes(names: Mapping[str, Sequence[str | None]], arrays: Arrays) -> BatchAxes | None:
    """Find the batch axis by the names of sizes, or the only named one."""
    axes_by_label: dict[str, dict[str, int]] = {}
    for array, labels in names.items():
        if array in arrays and len(labels) == arrays[array].ndim:
            for axis, label in enumerate(labels):
                if label is not None:
                    axes_by_label.setdefault(label, {}).setdefault(array, axis)
    fitting = [label for label in axes_by_label if label.lower() in _NAMES] or [*axes_by_label]
    if len(fitting) != 1:
        return None
    return BatchAxes(axes_by_label[fitting[0]], f"which the program names {fitting[0]}")


def assume_first_axes(arrays: Arrays) -> BatchAxes:
    """Return the first axis of those arrays that are as long as the first one."""
    return next((BatchAxes(axes, ASSUMED) for axes in _first(arrays)), BatchAxes({}, ASSUMED))


def _first(arrays: Arrays) -> Iterator[dict[str, int]]:
    sizes = [array.shape[0] for array in arrays.values() if array.ndim]
    if sizes:
        yield {name: 0 for name, array in arrays.items() if array.shape[:1] == (sizes[0],)}


def find(
    arrays: Arrays,
    loss: Loss,
    tolerance: float,
    repeat: Callable[[Mapping[str, int]], tuple[float, float] | None],
    parameters: Sequence[str] = (),
) -> BatchAxes:
    """Find the batch axis by experiments with the loss: examples add up, or their order is free.

    Some of the arrays that have the axis carry data. That the hidden units of a network may be
    permuted is a symmetry of its parameters, not of examples.

    Args:
        arrays: the example.
        loss: the result for arrays of these shapes, from the same state each time.
        tolerance: of what is the same, relative to what a change of the arrays does.
        repeat: the losses with each example twice, and with other ones after them; None where the
            program does not serve other sizes.
        parameters: arrays that carry no data, as far as the arguments say it.
    """
    end = time.process_time() + _SECONDS
    data = {name: array for name, array in arrays.items() if name not in parameters}
    tried = [axes for axes in candidates(arrays) if not data.keys().isdisjoint(axes)]
    tried += [axes for axes in candidates(data) if axes not in tried]
    tried = [axes for axes in tried if _length(arrays, axes) > 1][:_MOST]
    base: float | None = None
    for reason, holds in ((ADDS, _adds_up), (ANY_ORDER, _in_any_order)):
        for axes in tried:
            if time.process_time() > end:
                return assume_first_axes(data)
            try:
                base = loss(arrays) if base is None else base
                if not np.isfinite(base) or not holds(arrays, axes, loss, base, tolerance):
                    continue
                losses = repeat(axes)
            except Exception:  # of the user's program, with numbers that it has not seen
                continue
            if losses is None or (
                differ(*losses) and (reason == ADDS or _are_examples(axes, base, losses[0]))
            ):
                return BatchAxes(axes, f"{reason}{_DATA_ALONE if parameters else ''}")
    return assume_first_axes(data)


def _are_examples(axes: Mapping[str, int], base: float, twice_loss: float) -> bool:
    """Return whether what may be permuted are examples, not hidden units of a network.

    Units that stand twice change what the next layer adds up; of examples the loss stays or
    doubles. It is asked where arrays have the axis at several places, as weights have.
    """
    if len({*axes.values()}) == 1:
        return True
    return any(abs(twice_loss - n * base) <= _SAME * abs(base) for n in (1, 2))


def candidates(arrays: Arrays) -> list[dict[str, int]]:
    """List candidates for the batch axis: axes of one size, those of most arrays first."""
    candidate_axes: list[dict[str, int]] = []
    for size in dict.fromkeys(size for array in arrays.values() for size in array.shape):
        axes = {
            name: [k for k, length in enumerate(array.shape) if length == size]
            for name, array in arrays.items() if size in array.shape
        }  # fmt: skip
        candidate_axes += [
            {name: positions[min(k, len(positions) - 1)] for name, positions in axes.items()}
            for k in range(max(map(len, axes.values())))
        ]
    return sorted(candidate_axes, key=lambda axes: (-len(axes), sum(axes.values())))


def _length(arrays: Arrays, axes: Mapping[str, int]) -> int:
    name, axis = next(iter(axes.items()))
    return int(arrays[name].shape[axis])


def _adds_up(
    arrays: Arrays, axes: Mapping[str, int], loss: Loss, base: float, tolerance: float
) -> bool:
    """Test whether changes of alternate examples of a candidate batch axis add up in the loss."""
    every = np.arange(_length(arrays, axes))
    for change in _changes(arrays, axes):
        even_changed, odd_changed = change(arrays, every[::2]), change(arrays, every[1::2])
        first, second = loss(even_changed) - base, loss(odd_changed) - base
        least = min(abs(first), abs(second))
        if least > tolerance * 1e-3 * abs(base):
            joint_change = loss(change(even_changed, every[1::2])) - base
            most = max(abs(first), abs(second))
            return bool(abs(joint_change - first - second) <= tolerance * most)
    return False


def _in_any_order(
    arrays: Arrays, axes: Mapping[str, int], loss: Loss, base: float, tolerance: float
) -> bool:
    """Test whether the loss keeps its value if the examples of a batch axis are permuted.

    A program that fails or does not end with changed examples depends on them, too.
    """
    order = np.random.default_rng(0).permutation(_length(arrays, axes))
    permuted = {n: a.take(order, axes[n]) if n in axes else a for n, a in arrays.items()}
    order_change, fails = abs(loss(permuted) - base), False
    for change in _changes(arrays, axes):
        try:
            most = abs(loss(change(arrays, order)) - base)
        except Exception:  # of the user's program, with numbers that it has not seen
            fails = True
            continue
        if most > tolerance * 1e-3 * abs(base):
            return bool(order_change <= tolerance * most)
    return fails and bool(order_change <= tolerance * abs(base))


Change = Callable[[Arrays, Array], Arrays]


def _changes(arrays: Arrays, axes: Mapping[str, int]) -> Iterator[Change]:
    """Yield perturbations of rows along a candidate batch axis, for experiments with the loss.

    Zeros and ones are masks, whose numbers stay.
    """
    numbers = [n for n in axes if arrays[n].dtype.kind in "fc" and not _is_mask(arrays[n])]

    def scale_rows(of: Arrays, rows: Array) -> Arrays:
        random, changed = np.random.default_rng(0), dict(of)
        for name in numbers:
            part = of[name].take(rows, axes[name])
            part = part * (1 + random.uniform(-_NOISE, _NOISE, part.shape))
            changed[name] = _with_rows(of[name], part, rows, axes[name])
        return changed

    if numbers:
        yield scale_rows
    for name in axes:
        if name not in numbers:

            def copy_first_row(of: Arrays, rows: Array, name: str = name) -> Arrays:
                first = of[name].take(rows[:1], axes[name])
                return {**of, name: _with_rows(of[name], first, rows, axes[name])}

            yield copy_first_row


def _is_mask(array: Array) -> bool:
    return bool(np.isin(array, (0, 1)).all())


def _with_rows(array: Array, rows_of: Array, rows: Array, axis: int) -> Array:
    """Return an array with other rows along an axis, in its element type."""
    changed = np.array(array)
    changed[(slice(None),) * axis + (rows,)] = rows_of
    return changed


def twice(arrays: Arrays, axes: Mapping[str, int]) -> tuple[Arrays, Arrays]:
    """Repeat the examples along the batch axis, once equal, once with other numbers."""
    count = _length(arrays, axes)
    longer = {
        n: np.concatenate([a, a], axes[n]) if n in axes else a for n, a in arrays.items()
    }  # fmt: skip
    changes = [*_changes(longer, axes)]
    return longer, changes[0](longer, np.arange(count, 2 * count)) if changes else longer


def differ(loss: float, other_loss: float) -> bool:
    """Return whether two losses in float64 differ by more than rounding."""
    return not abs(loss - other_loss) <= _EXACT * max(abs(loss), abs(other_loss))
