"""The row of Scan.

A state is a window of its last elements: each iteration computes the newest one, and the window
moves by one. Buffers of PyTensor have the first elements in front, and as many of the last ones as
the graph reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import staticgrad.language.functions as sg
from staticgrad.extend import Size
from staticgrad.extend.sizes import is_at_least
from staticgrad.interop.pytensor.operators.registry import (
    PyTensorOp,
    operator,
    size,
    unsupported_variant,
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
def _scan(*operands: Any, info: Any, fgraph: Any, op: PyTensorOp, out: Any, **_: Any) -> Any:
    if info["as_while"]:
        raise unsupported_variant("a scan with until")
    xs = _group(operands, info)
    steps = size(xs.steps, "the number of steps of scan")
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
        mm_flat, ms_new, ss_new, nit_new, free_new = _split(
            results, sum(map(len, mm_out)), len(ms), len(ss), info["n_nit_sot"]
        )
        at, mm_done, mm_moved = 0, [], []
        for window, taps in zip(windows, mm_out, strict=True):
            elements = list(window)
            for tap in taps:
                elements[tap] = mm_flat[at]
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
        outputs.append(_last_elements(buffer, rows, length, steps))
    for length, rows in zip(xs.nit_sot, nit_rows, strict=True):
        count = size(length, "the number of elements that a scan returns")
        outputs.append(rows if count == steps else rows[steps - count :])
    return (*outputs, *free)


def _normalize_taps(slices: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return taps as offsets from the oldest of their group, or from 0."""
    return [[tap - min(0, *taps) for tap in taps] for taps in slices]


def _last_elements(buffer: Any, rows: Any, length: int, steps: Size) -> Any:
    """Return a state's buffer after the loop: its last elements, as many as it has.

    Args:
        buffer: before the loop, whose first ``length`` elements are the first state.
        rows: the elements that the loop computed.
        length: of the state.
        steps: of the loop.
    """
    count = buffer.shape[0]
    if count == steps:
        return rows
    if is_at_least(steps, count):
        return rows[steps - count :]
    if is_at_least(count, steps):
        return sg.concatenate([buffer[length - (count - steps) : length], rows], 0)
    elements = sg.concatenate([buffer[:length], rows], 0)
    return elements[length + steps - count :]
