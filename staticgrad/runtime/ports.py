"""The inputs and outputs of one program, as runs ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from staticgrad.ir.graph import Graph, Symbolic
from staticgrad.ir.schedule import Schedule
from staticgrad.records import NamedTuple


class Port(NamedTuple):
    """An input or output: the name it is asked for by, its buffer, its dtype and rank.

    ``buffer`` is None of an input that no step has. ``is_read``: some step reads it.
    ``is_checked``: its bytes must be 0 and 1. ``number_bytes``: how many it has where it may be
    fed as a number, else 0.
    """

    name: str
    buffer: str | None
    dtype: np.dtype[Any]
    rank: int
    is_read: bool = True
    is_checked: bool = False
    number_bytes: int = 0


def input_ports(graph: Graph, schedule: Schedule) -> tuple[Port, ...]:
    """The inputs of a graph, in order."""
    buffers = {b.label: b.name for b in schedule.buffers if b.role == "input"}
    read = {name for step in schedule.steps for name in step.reads()}
    return tuple([_input(value, buffers, read) for value in graph.inputs])


def _input(value: Symbolic, buffers: Mapping[str, str], read: set[str]) -> Port:
    name, dtype = value.node.label, value.dtype.numpy
    buffer = buffers.get(name)
    is_read = buffer in read
    takes_numbers = value.ndim == 0 and dtype in (np.float32, np.float64)
    return Port(
        name, buffer, dtype, value.ndim, is_read, value.dtype.is_bool and is_read,
        value.dtype.itemsize if takes_numbers else 0,
    )  # fmt: skip


def output_ports(graph: Graph, schedule: Schedule) -> tuple[Port, ...]:
    """The outputs of a graph, in order."""
    buffers = dict(schedule.outputs)
    return tuple(
        [Port(n, buffers[n], value.dtype.numpy, value.ndim) for n, value in graph.outputs.items()]
    )
