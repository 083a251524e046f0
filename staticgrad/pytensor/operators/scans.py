"""The row of Scan.

A state is a window of its last elements: each iteration computes the newest one, and the window
moves by one. Buffers of PyTensor have the first elements in front, and as many of the last ones as
the graph reads.

A scan with until of which only the last elements are read is a while loop. If more of them are
read, a while loop counts the steps, and what runs then is a scan of this number of steps, which is
a named size of the next program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import staticgrad.functions as sg
from staticgrad.bridges.operands import UncountedResultError
from staticgrad.bridges.tables import unsupported_variant
from staticgrad.extend import Size
from staticgrad.extend.sizes import maximum, minimum
from staticgrad.pytensor.operators.registry import (
    cast,
    operator,
    size,
    value,
)


class ScanOperands(NamedTuple):
    """The operands of a Scan by their kind, in PyTensor's order."""

    steps: Any
    sequences: Sequence[Any]
    mit_mot: Sequence[Any]
    mit_sot: Sequence[Any]
    sit_sot: Sequence[Any]
    untraced: Sequence[Any]
    nit_sot: Sequence[Any]
    fixed: Sequence[Any]


def _split(xs: Sequence[Any], *counts: int) -> list[Sequence[Any]]:
    """Split a sequence into parts of these lengths; the last part has what remains."""
    parts, begin = [], 0
    for count in counts:
        parts.append(xs[begin : begin + count])
        begin += count
    return [*parts, xs[begin:]]


def _group(operands: Sequence[Any], info: Any) -> ScanOperands:
    parts = _split(
        operands[1:],
        info["n_seqs"],
        len(info["mit_mot_in_slices"]),
        len(info["mit_sot_in_slices"]),
        len(info["sit_sot_in_slices"]),
        info["n_untraced_sit_sot"],
        info["n_nit_sot"],
    )
    return ScanOperands(operands[0], *parts)


@operator("Scan")
def _scan(*operands: Any, info: Any, fgraph: Any, count: Size | None = None, **_: Any) -> Any:
    xs = _group(operands, info)
    if info["as_while"] and count is None:
        return _scan_until(xs, info, fgraph)
    steps = size(xs.steps, "the number of steps of scan") if count is None else count
    kinds = [kind.dtype for kind in fgraph.result_types]
    sequences = [value(x)[:steps] for x in xs.sequences]
    fixed = [*xs.fixed]
    untraced = [value(x) for x in xs.untraced]

    reads = info["mit_mot_in_slices"]
    writes = info["mit_mot_out_slices"]
    mm_in, mm_out = _normalize_taps(reads), _normalize_taps(writes)
    widths = [max([*a, *b]) + 1 for a, b in zip(mm_in, mm_out, strict=True)]
    mm_buffers = [value(x) for x in xs.mit_mot]
    mm_first = [
        tuple([b[k] for k in range(w - 1)]) for b, w in zip(mm_buffers, widths, strict=True)
    ]
    mm_next = [b[w - 1 : w - 1 + steps] for b, w in zip(mm_buffers, widths, strict=True)]

    ms_buffers = [value(x) for x in xs.mit_sot]
    ms_taps = info["mit_sot_in_slices"]
    lengths = [-min(taps) for taps in ms_taps]
    ms_first = [tuple([b[k] for k in range(n)]) for b, n in zip(ms_buffers, lengths, strict=True)]
    ss_buffers = [value(x) for x in xs.sit_sot]
    ss_first = [b[0] for b in ss_buffers]

    def limit(length: Size, full: Size) -> Size:
        """Return how many elements a result has: no more than steps give in a scan with until."""
        return minimum(length, full) if info["as_while"] else length

    def body(carry: Any, slices: Any) -> Any:
        mm, ms, ss, free = carry
        row, newest = slices
        windows = [(*window, new) for window, new in zip(mm, newest, strict=True)]
        inner = [*row]
        for window, taps in zip(windows, mm_in, strict=True):
            inner += [window[tap] for tap in taps]
        for window, taps in zip(ms, ms_taps, strict=True):
            inner += [window[tap + len(window)] for tap in taps]
        results = fgraph.run([*inner, *ss, *free, *fixed])
        results = [value(x, dtype) for x, dtype in zip(results, kinds, strict=True)]
        mm_flat, ms_new, ss_new, nit_new, free_new, _ = _split(
            results, sum(map(len, mm_out)), len(ms), len(ss), info["n_nit_sot"], len(free)
        )
        ms_new = [_as_shaped(x, window[0]) for x, window in zip(ms_new, ms, strict=True)]
        ss_new = [_as_shaped(x, state) for x, state in zip(ss_new, ss, strict=True)]
        free_new = [_as_shaped(x, state) for x, state in zip(free_new, free, strict=True)]
        at, mm_done, mm_moved = 0, [], []
        for window, taps in zip(windows, mm_out, strict=True):
            elements = list(window)
            for tap in taps:
                elements[tap] = _as_shaped(mm_flat[at], window[0])
                at += 1
            mm_done.append(elements[0])
            mm_moved.append(tuple(elements[1:]))
        ms_moved = [(*window[1:], new) for window, new in zip(ms, ms_new, strict=True)]
        return (
            (tuple(mm_moved), tuple(ms_moved), tuple(ss_new), tuple(free_new)),
            (tuple(mm_done), tuple(ms_new), tuple(ss_new), tuple(nit_new)),
        )

    first = (tuple(mm_first), tuple(ms_first), tuple(ss_first), tuple(untraced))
    (mm, _, _, free), (done, ms_rows, ss_rows, nit_rows) = sg.scan(
        body, first, (tuple(sequences), tuple(mm_next)), steps
    )
    outputs: list[Any] = []
    for buffer, rows, window, width in zip(mm_buffers, done, mm, widths, strict=True):
        parts = [rows]
        if width > 1:
            parts.append(sg.stack(list(window)))
        end = steps + width - 1
        if buffer.shape[0] != end:
            parts.append(buffer[end:])
        outputs.append(sg.concatenate(parts, 0) if len(parts) > 1 else rows)
    for buffer, rows, length in zip(
        [*ms_buffers, *ss_buffers], [*ms_rows, *ss_rows], [*lengths, *[1] * len(ss_buffers)],
        strict=True,
    ):  # fmt: skip
        elements = rows if buffer.shape[0] == steps else sg.concatenate([buffer[:length], rows], 0)
        full = steps if buffer.shape[0] == steps else length + steps
        outputs.append(_take_last(elements, full, limit(buffer.shape[0], full)))
    for length, rows in zip(xs.nit_sot, nit_rows, strict=True):
        stored = limit(size(length, "the number of elements that a scan returns"), steps)
        outputs.append(_take_last(rows, steps, stored))
    return (*outputs, *free)


def _as_shaped(x: Any, state: Any) -> Any:
    """Return the next value of a state with its shape: named sizes of both must be equal."""
    return x if x.shape == state.shape else sg.broadcast_to(x, state.shape)


def _normalize_taps(slices: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return taps as offsets from the oldest of their group, or from 0."""
    return [[tap - min(0, *taps) for tap in taps] for taps in slices]


def _take_last(rows: Any, length: Size, count: Size) -> Any:
    """Return as many of the last rows as a buffer has; behind fewer rows are zeros."""
    if count == length:
        return rows
    longest = maximum(count, length)
    last, missing = rows[longest - count :], longest - length
    if missing != 0:
        zeros = sg.zeros((missing, *rows.shape[1:]), rows.dtype)
        last = sg.concatenate([last, zeros], 0)
    return sg.broadcast_to(last, (count, *rows.shape[1:]))


def _scan_until(xs: ScanOperands, info: Any, fgraph: Any) -> Any:
    """Compute a scan that ends where its condition is true, as a while loop.

    A buffer of as many elements as one iteration fills is a window of the last ones.

    Raises:
        UncountedResultError: a buffer has more: its size follows from the number of iterations.
        ExportError: an iteration writes several elements of a state.
    """
    if xs.mit_mot:
        raise unsupported_variant("a scan with until that writes several elements of a state")
    steps = size(xs.steps, "the number of steps of scan")
    types = [kind.dtype for kind in fgraph.result_types]
    sequences = [value(x) for x in xs.sequences]
    fixed, untraced = [*xs.fixed], tuple([value(x) for x in xs.untraced])
    taps = [*info["mit_sot_in_slices"], *info["sit_sot_in_slices"]]
    buffers = [value(x) for x in [*xs.mit_sot, *xs.sit_sot]]
    lengths = [-min(group) for group in taps]
    sizes = [
        *[(b.shape[0], n + 1) for b, n in zip(buffers, lengths, strict=True)],
        *[(size(n, "the size of a result"), 1) for n in xs.nit_sot],
    ]  # fmt: skip
    is_window = all(isinstance(n, int) and n <= longest for n, longest in sizes)
    counts = [
        int(n) if is_window else length for (n, _), length in zip(sizes, lengths, strict=False)
    ]
    windows = []
    for buffer, length, extent in zip(buffers, lengths, counts, strict=True):
        first = [buffer[k] for k in range(min(length, extent))]
        if extent < length:
            raise unsupported_variant("a scan with until whose buffer is shorter than its taps")
        windows.append((*[sg.zeros_like(first[0])] * (extent - length), *first))

    def compute(step: Any, windows: Any, free: Any) -> list[Any]:
        inner = [sequence[step] for sequence in sequences]
        for window, group in zip(windows, taps, strict=True):
            inner += [window[tap + len(window)] for tap in group]
        results = fgraph.run([*inner, *free, *fixed])
        return [value(x, dtype) for x, dtype in zip(results, types, strict=True)]

    count = len(buffers)
    example = compute(sg.constant(0), windows, untraced)
    stacked = example[count : count + info["n_nit_sot"]]

    def goes_on(state: Any) -> Any:
        step, is_over, *_ = state
        return (step < steps) & ~is_over

    def advance(state: Any) -> Any:
        step, _, windows, _, free = state
        states, new_rows, free, (is_over,) = _split(
            compute(step, windows, free), count, info["n_nit_sot"], info["n_untraced_sit_sot"]
        )
        windows = tuple([
            (*w[1:], _as_shaped(new, w[0])) for w, new in zip(windows, states, strict=True)
        ])  # fmt: skip
        return step + 1, cast(is_over, "bool"), windows, tuple(new_rows), tuple(free)

    first_state = (
        sg.constant(0), sg.constant(False), tuple(windows), tuple(map(sg.zeros_like, stacked)),
        untraced,
    )  # fmt: skip
    bound = steps if isinstance(steps, int) else None
    step_count, _, windows, rows, free = sg.while_loop(goes_on, advance, first_state, bound)
    if not is_window:
        raise UncountedResultError("how many steps a scan with until takes", step_count)
    outputs = [sg.stack(list(w[len(w) - n :])) for w, n in zip(windows, counts, strict=True)]
    outputs += [sg.expand_dims(row, 0) for row in rows]
    return (*outputs, *free)
