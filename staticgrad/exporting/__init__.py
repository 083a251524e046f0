"""Compiled programs as files that run without this package: one of Python, one of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import kind_of
from staticgrad.exporting.program import ProgramWriter
from staticgrad.ir.graph import Graph
from staticgrad.ir.plan import Plan
from staticgrad.storage.parameter import ParameterStore

__all__ = ["export"]


def export(
    path: str | PathLike[str],
    graph: Graph,
    plan: Plan,
    stores: Mapping[str, ParameterStore],
    fixed: Mapping[str, int],
    single: bool,
) -> Path:
    """Write a program into ``path``, a file of Python, and its arrays into an ``.npz`` beside it.

    Args:
        path: where to write it, ``"step.py"``.
        graph: what feeds are checked by.
        plan: in which order, and, where all sizes are fixed, where in memory.
        stores: the parameters by name.
        fixed: the sizes that every run has.
        single: whether ``run`` gives one array instead of a dict.

    Raises:
        ArgumentError: ``path`` is no path of a Python file.
        ExportError: a part of the program has no such form; it names the operation and its line.
        OSError: a file cannot be written.
    """
    if not isinstance(path, str | PathLike):
        raise ArgumentError(f"the path of a file comes first, got {kind_of(path)}")
    found = Path(path)
    if found.suffix != ".py" or not found.stem.isidentifier():
        raise ArgumentError(
            f"a program is exported as a module of Python, got {found.name!r}", hint='"step.py"'
        )
    writer, arrays = ProgramWriter(graph, plan, fixed, single), found.with_suffix(".npz")
    text = writer.text(arrays.name)
    stored: dict[str, Any] = dict(writer.constants)
    for name, store in stores.items():
        stored[name] = store.read()
    with arrays.open("wb") as file:
        np.savez(file, **stored)
    found.write_text(text, "utf-8")
    return found
