"""Compiled programs as files that run without this package: in Python, or as a library for C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

from staticgrad.analysis.plan_report import copied_feeds
from staticgrad.errors import ArgumentError, VerifyError
from staticgrad.errors.wording import kind_of
from staticgrad.exporting.program import ProgramWriter
from staticgrad.exporting.running import write_arrays
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.plan import Plan
from staticgrad.language.storage.parameter import ParameterStore

__all__ = ["export"]

#: How the files of libraries for C end.
LIBRARIES: Final = (".so", ".o", ".a")


def export(
    path: str | PathLike[str],
    graph: Graph,
    plans: Sequence[Plan],
    stores: Mapping[str, ParameterStore],
    fixed: Mapping[str, int],
    single: bool,
    header: str | PathLike[str] | None = None,
    free: Sequence[str] = (),
    opened: Sequence[str] = (),
    libraries: Sequence[str | PathLike[str]] = (),
    wrappers: Sequence[str] = (),
) -> Path:
    """Write a compiled program to ``path``: a Python file with an ``.npz``, or a C library.

    Args:
        path: where to write it, ``"step.py"``, ``"step.so"``, ``"step.o"``, ``"step.a"``.
        graph: the program, which defines the checks of feeds.
        plans: the order of steps and, with fixed sizes, the memory of buffers. A library has a plan
            for each of its sizes, a module has one.
        stores: the parameters by name.
        fixed: the sizes that every run has.
        single: True if ``run`` returns an array instead of a dict.
        header: where to write the header of a library, by default beside it.
        free: names of sizes of which plans have different values.
        opened: names of sizes that stay free.
        libraries: libraries that a library is linked to, names or paths.
        wrappers: languages for which a library gets a module.

    Raises:
        ArgumentError: ``path`` is not the path of such a file.
        ExportError: a part of the program cannot be exported; it names the operation and its line.
        VerifyError: a plan with copied feeds: no line of a file would fill their copies.
        OSError: a file cannot be written.
    """
    copied = [name for plan in plans for name in copied_feeds(plan)]
    if copied:
        raise VerifyError(f"an exported plan reads {copied[0]!r} in the arena, where nothing is")
    if not isinstance(path, str | PathLike):
        raise ArgumentError(f"the path of a file comes first, got {kind_of(path)}")
    file = Path(path)
    if file.suffix in LIBRARIES:
        from staticgrad.exporting.library import export_library  # by far the rarer

        header_path = file.with_suffix(".h") if header is None else Path(header)
        export_library(file, header_path, graph, plans, stores, free, opened, libraries, wrappers)
        return file
    of_libraries = {"a header": header is not None, "libraries": libraries, "wrappers": wrappers}
    if wrong := next((name for name, value in of_libraries.items() if value), ""):
        raise ArgumentError(
            f"{wrong} belong{'s' * (wrong == 'a header')} to a library, and {file.name!r} is none",
            hint=f"a library ends in {', '.join(LIBRARIES)}",
        )
    if file.suffix != ".py" or not file.stem.isidentifier():
        raise ArgumentError(
            f"a program is exported as a module of Python or a library, got {file.name!r}",
            hint='"step.py", or "step.so" with header="step.h"',
        )
    if free:
        raise ArgumentError(
            f"in a module the size {free[0]} stays free", hint=f"f.export(path, {free[0]}=64)"
        )
    writer, arrays = ProgramWriter(graph, plans[0], fixed, single), file.with_suffix(".npz")
    text = writer.text(arrays.name)
    stored: dict[str, Any] = dict(writer.constants)
    for name, store in stores.items():
        stored[name] = store.numbers(store.read())
    write_arrays(arrays, stored)
    file.write_text(text, "utf-8")
    return file
