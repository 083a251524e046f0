"""Run a schedule step by step on guarded buffers: the slow, suspicious twin of the runtime.

Every buffer stands alone between red zones; after each step the zones must be intact and nothing
but what the step says it writes may have changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticgrad import native
from staticgrad.codegen.numba_source import render
from staticgrad.ir.dim import evaluate
from staticgrad.ir.graph import Graph
from staticgrad.ir.schedule import Schedule, Step
from staticgrad.ir.verify_schedule import verify_schedule

ZONE = 1024  # bytes on each side
POISON = 0xA5


@dataclass
class Guarded:
    """Bytes between two red zones."""

    raw: np.ndarray
    start: int
    nbytes: int

    @classmethod
    def of(cls, nbytes: int) -> Guarded:
        raw = np.full(nbytes + 2 * ZONE + 64, POISON, np.uint8)
        return cls(raw, ZONE + -raw.ctypes.data % 64, nbytes)

    @property
    def bytes(self) -> np.ndarray:
        return self.raw[self.start : self.start + self.nbytes]

    @property
    def address(self) -> int:
        return self.raw.ctypes.data + self.start

    def is_intact(self) -> bool:
        before, after = self.raw[: self.start], self.raw[self.start + self.nbytes :]
        return bool((before == POISON).all() and (after == POISON).all())


def run_schedule(
    schedule: Schedule, graph: Graph, feeds: Mapping[str, Any], sizes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Outputs by name, and parameters after the run as ``@name``; the stores are not touched."""
    verify_schedule(schedule)
    memory = {b.name: _filled(b, graph, feeds, sizes) for b in schedule.buffers}
    for step in schedule.steps:
        _run_step(step, memory, sizes)
    results: dict[str, np.ndarray] = {}
    for name, buffer in schedule.outputs:
        results[name] = _array(memory[buffer], graph.outputs[name].type, sizes)
    for parameter in graph.parameters:
        buffer = f"param.{parameter.name}"
        if buffer in memory:
            results[f"@{parameter.name}"] = _array(memory[buffer], parameter.type, sizes)
    return results


def _filled(
    buffer: Any, graph: Graph, feeds: Mapping[str, Any], sizes: Mapping[str, int]
) -> Guarded:
    guarded = Guarded.of(evaluate(buffer.nbytes, sizes))
    values = guarded.bytes.view(buffer.dtype.numpy)
    if buffer.role == "input":
        values[:] = np.asarray(feeds[buffer.label]).astype(buffer.dtype.numpy).reshape(-1)
    elif buffer.role == "parameter":
        store = next(p.store for p in graph.parameters if p.name == buffer.label)
        values[:] = store.array.reshape(-1)
    elif buffer.role == "constant":
        values[:] = buffer.data.array.reshape(-1)
    elif buffer.role == "check":
        values[:] = -1
    return guarded


def _array(guarded: Guarded, kind: Any, sizes: Mapping[str, int]) -> np.ndarray:
    shape = [evaluate(extent, sizes) for extent in kind.shape]
    return guarded.bytes.view(kind.dtype.numpy).reshape(shape).copy()


def _run_step(step: Step, memory: Mapping[str, Guarded], sizes: Mapping[str, int]) -> None:
    kernel = native.kernel(render(step.kernel))
    words = [
        memory[bound.buffer].address + evaluate(bound.offset, sizes) * operand.dtype.itemsize
        for operand, bound in zip(step.kernel.operands, step.operands, strict=True)
    ]
    record = np.array([*words, *(evaluate(size, sizes) for size in step.arguments)], np.int64)
    row = np.array([kernel.address, record.ctypes.data, 0, evaluate(step.total, sizes)], np.int64)
    written = set(step.writes())
    before = {name: g.bytes.tobytes() for name, g in memory.items() if name not in written}
    native.run(row.ctypes.data, 0, 1)
    for name, guarded in memory.items():
        assert guarded.is_intact(), f"{step.label}: wrote outside {name}"
    for name, old in before.items():
        assert memory[name].bytes.tobytes() == old, f"{step.label}: wrote to {name}"
