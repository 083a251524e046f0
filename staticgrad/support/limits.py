"""Limits of the compiler: the sizes from which on a special path pays.

The defaults are measured; the comments say what they mean and where. ``sg.options(limits=...)``
sets some, as text or as a dict, so that small programs take the paths of large ones, or so that an
experiment tries other sizes. No limit decides whether results are right. One that is marked
"order of sums" may change their last digits.

>>> from staticgrad.support import config
>>> from staticgrad.support.options import options
>>> with options(limits="wide_product=4096"):
...     print(config.limits())
wide_product=4096
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class CompilerLimits:
    """All limits, by name.

    Attributes:
        wide_product: bytes from which a product is wide. Less may stay in the caches that all cores
            share. Order of sums (``passes/late/chunks.py``).
        chunk_rows: rows of a chunk of a wide product, at least. Fewer read the factors, and add to
            the sums over rows, too often: with 256 this takes about a twentieth of the time of the
            products. Order of sums.
        byte_flops: operations of a product that are worth a byte of its result: as long as
            ``Residuals.flops`` take. Order of sums.
        chunk_share: the share of a product's bytes that a chunk of it, and the sums over rows, may
            take. Order of sums.
        long_exponentials: elements of a row from which on its exponentials are summed in parts.
            Order of sums (``passes/late/exponentials.py``).
        exponential_part: elements of such a part: 8 KB of float32, 16 of float64, which stay in L1.
            Order of sums.
        exponential_bytes: bytes of all rows from which on; those of a smaller array are in a cache.
            Order of sums.
        exponential_row_bytes: bytes of a row from which on it is not read once more, as by
            gradients: shorter rows are in a cache when one kernel reads them three times. Order of
            sums.
        partly_sorted_row: elements of a row from which on its smallest ones are selected, up to a
            quarter of it: a row of 64 is sorted in 0.47 us, and its 10 smallest elements are
            selected in 0.8 (Zen 3; ``passes/late/orders.py``).
        selected_row: elements of a row from which on a selected element of it is computed again: it
            may not fit into the kernel of its elementwise operands (``passes/late/indices.py``).
        stored_formula: elements from which storing an array takes noticeable time
            (``passes/late/columns.py``).
        formula_flops: operations per element for all pads that a formula is computed again for, at
            most: otherwise it is stored once and read by all of them.
        formula_reads: operands that are read from memory for all these pads, at most: each read has
            borders of its own. The gradient of a stencil of five points would read 25, in five
            times the time.
        compared_write: elements up to which a write is a comparison: some vectors take as long as
            one kernel more (``passes/late/writes.py``).
        compact_elements: elements of a scatter-add's result from which on the sums of a few rows
            are looked up in place of it (``passes/late/scatters.py``).
        compact_row: elements of its rows, at least: of short ones there are many look-ups.
        chunk_iterations: iterations of a chunk of a loop, at most; a loop of no more iterations is
            not split (``passes/late/loops.py``).
        summed_pads: pads of one sum, at least, that are classes of disjoint ones: a signal's
            overlapping frames (``passes/late/regions.py``).
        long_row: elements of a row from which on chunks are worth a second kernel
            (``compiler/fusion/merging.py``).
        totalled_row: elements of a row, at least, for which storing one number per row is cheap in
            comparison (``compiler/fusion/merging.py``).
        large_array: elements from which on a reduction is bound by reading them
            (``compiler/fusion/sinking.py``).
        sunk_elements: elements of an array, at least, that its only reader computes instead
            (``compiler/fusion/sinking.py``).
        sunk_window_elements: the same of windows: otherwise three arrays of a batch norm's gradient
            are alive together with a convolution's gradient, often at the peak of a step.
        spared_bytes: bytes that this spares, at least: less is not measurable.
        square_rows: rows and columns of a square of queries and keys, at least: smaller ones do not
            fill a tile (``compiler/fusion/blocks.py``).
        cut_nodes: operations of a part that is cut off a kernel, at least: a kernel takes 5 ms to
            compile, however short it is (``compiler/fusion/cutting.py``).
        copied_rows: rows of a part of a concatenation, at least, that one kernel copies
            (``compiler/fusion/grouping.py``).
        copied_row: elements of a row of such a part, at least: one vector.
        mask_elements: elements of a mask from which on its readers compute it again: a smaller one
            is a small part of what they read (``compiler/fusion/grouping.py``).
        folded_elements: elements, at least, so that folding short rows pays
            (``compiler/lowering/stages.py``).
        section_seconds: predicted seconds of rows that workers share: handing over takes a third of
            a microsecond, and on processors that are slow at it some two
            (``compiler/runtime/sections.py``).
        group_seconds: predicted seconds of a group of a section: a claim takes a fiftieth of it.
        waking_seconds: predicted seconds that are worth waking workers which sleep, at once: that
            takes some fifty microseconds. In sections that follow each other within ``SPIN`` they
            are awake all the time.
        chain_seconds: predicted seconds of a chain of steps that workers share, at least
            (``compiler/runtime/cuts.py``).
        chain_rows: rows of a part of a chain, at least: of fewer ones, tiles of a product compute
            many that are not there.
    """

    wide_product: int = 1 << 26
    chunk_rows: int = 256
    byte_flops: int = 36
    chunk_share: float = 0.75
    long_exponentials: int = 8 * 2048
    exponential_part: int = 2048
    exponential_bytes: int = 1 << 20
    exponential_row_bytes: int = 4 << 20
    partly_sorted_row: int = 128
    selected_row: int = 1 << 14
    stored_formula: int = 1 << 13
    formula_flops: int = 80
    formula_reads: int = 12
    compared_write: int = 32
    compact_elements: int = 1 << 16
    compact_row: int = 32
    chunk_iterations: int = 4096
    summed_pads: int = 12
    long_row: int = 1 << 17
    totalled_row: int = 32
    large_array: int = 1 << 16
    sunk_elements: int = 1 << 15
    sunk_window_elements: int = 1 << 13
    spared_bytes: int = 1 << 15
    square_rows: int = 16
    cut_nodes: int = 12
    copied_rows: int = 16
    copied_row: int = 16
    mask_elements: int = 1 << 18
    folded_elements: int = 1 << 10
    section_seconds: float = 3e-6
    group_seconds: float = 1e-6
    waking_seconds: float = 45e-6
    chain_seconds: float = 15e-6
    chain_rows: int = 12

    def __str__(self) -> str:
        changed = [f for f in fields(self) if getattr(self, f.name) != f.default]
        return ",".join(f"{f.name}={getattr(self, f.name)}" for f in changed) or "default"


def read_limits(raw: Any) -> CompilerLimits:
    """Read limits from a dict or from text, ``wide_product=4096,long_row=64``; the rest is default.

    Raises:
        ValueError: text that is no such list, an unknown name, or no positive number.
    """
    if isinstance(raw, CompilerLimits):
        return raw
    pairs: Any = raw
    if isinstance(raw, str):
        pairs = dict(pair.split("=") for pair in raw.replace(" ", "").split(",") if pair)
    if not isinstance(pairs, Mapping):
        raise ValueError(f"{raw!r} is no mapping")
    kinds: dict[str, type[Any]] = {
        field.name: type(field.default) for field in fields(CompilerLimits)
    }
    values = {}
    for name, value in pairs.items():
        if name not in kinds:
            raise ValueError(f"no limit is named {name!r}")
        values[name] = kinds[name](value)
        if isinstance(value, bool) or not values[name] > 0:
            raise ValueError(f"{name} is {value!r}")
    return CompilerLimits(**values)
