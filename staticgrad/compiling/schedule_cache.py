"""Schedules on disk, found by their programs: what was compiled before skips passes and fusion.

An entry of the kernel cache holds the schedule of one program and the sources of its kernels,
pickled: who finds it loads neither fusion nor code generation. Its name is a digest of all
that they follow from: the graph with its lines and the files in which they stand, how it is
compiled, this package's sources, the processor and its nearest cache, and of programs with linear
algebra the core of OpenBLAS. What another package has a
part in is not kept, for its code may change unseen. An entry is as trusted as the machine code
beside it, and is read under the same conditions (``native.cache``); one that is damaged, or cannot
be read, is made anew.
"""

from __future__ import annotations

import functools
import linecache
import os
import pickle
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from passes.base import Fixpoint, Pass, Pipeline
from staticgrad import config
from staticgrad.backends import Sources
from staticgrad.errors import OpDefinitionError
from staticgrad.ir.document import size_lines
from staticgrad.ir.expr import Expr, postorder
from staticgrad.ir.graph import Constant, Graph, Input, Node, ParameterLeaf
from staticgrad.ir.op import Op
from staticgrad.ir.printer import op_text, signature
from staticgrad.ir.schedule import Schedule
from staticgrad.native import cache, machine, target
from staticgrad.native.jit import ObjectCode
from staticgrad.native.libraries import scipy_library
from staticgrad.records import NamedTuple
from staticgrad.source import Location, Origin, position

#: Nodes from which on passes and fusion take longer than an entry does.
LEAST_NODES: Final = 64
#: Bytes of constants up to which a schedule, which holds them, is kept.
_MOST_CONSTANTS: Final = 1 << 20
_MOST_BYTES: Final = 16 << 20
#: What entries of kernels have a symbol for.
_KIND: Final = "schedule"
#: The packages whose code makes schedules.
_PACKAGES: Final = ("staticgrad", "passes")


class KnownSchedule(NamedTuple):
    """The schedule of a program; the one that computed its constants, once, and a note on that."""

    schedule: Schedule
    once: Schedule | None
    note: str

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The schedules in it."""
        return (self.schedule,) if self.once is None else (self.schedule, self.once)


def key(graph: Graph, passes: Pipeline, policy: object, told: object) -> str | None:
    """The name of a program's entry; None for one that is not kept.

    Args:
        graph: the program.
        passes: what runs over it.
        policy: what decides what is computed again; like the passes, of this package.
        told: all else that was said, as values that print alike if they are equal.
    """
    settings = config.current()
    watched = settings.check or settings.dump is not None or "passes" in settings.log
    if len(graph.nodes) < LEAST_NODES or watched or not settings.jit:
        return None
    if cache.directory(settings) is None:
        return None
    sources = _sources()
    if sources is None or not all(map(_is_own, (policy, *_each(passes)))):
        return None
    try:
        text = "\n".join([sources, str(passes), repr((policy, told)), *_described(graph)])
        text += f"\n{machine.current()}"
    except (OpDefinitionError, _NotKeptError):
        return None
    return cache.key(text, target.host())


def read(name: str) -> tuple[KnownSchedule, Sources] | None:
    """The entry of that name, if there is one; sources are those that built-in backends compile."""
    entry = cache.read(name)
    if entry is None or entry.symbol != _KIND:
        return None
    try:
        _, found, sources = pickle.loads(entry.elf)
    except Exception as error:  # whatever reading it runs into: a schedule can be made anew
        config.logger.warning("a schedule on disk cannot be read, made anew: %r", error)
        cache.discard(name)
        return None
    if not isinstance(found, KnownSchedule) or not isinstance(sources, dict):
        return None
    return found, sources


def write(name: str, found: KnownSchedule, sources: Sources) -> None:
    """Keeps a schedule and its kernels' sources for later processes.

    Unless they are too large, or deeper than pickle goes. Expressions stand before the schedule,
    operands before their readers: pickle, which writes an object once and goes from each to its
    parts, then goes one expression deep.
    """
    try:
        content = pickle.dumps((_expressions(found), found, dict(sources)), protocol=5)
    except RecursionError:
        config.logger.info("a schedule of so many nodes in a tree is made anew by each process")
        return
    if len(content) <= _MOST_BYTES:
        cache.write(name, ObjectCode(content, _KIND))


def _expressions(found: KnownSchedule) -> list[Expr]:
    """Every expression of the kernels, operands before their readers."""
    steps = [step for schedule in found.schedules for step in schedule.steps]
    kernels = {id(kernel): kernel for step in steps for kernel in step.kernels()}
    return [*postorder([root for kernel in kernels.values() for root in kernel.expressions])]


# -- what a schedule follows from -----------------------------------------------------------------


class _NotKeptError(Exception):
    """Something in a program is not of this package, or large."""


def _each(passes: Pipeline | Fixpoint) -> Iterator[Pass]:
    """The passes, those of passes too."""
    for each in passes.passes:
        yield each
        if isinstance(each, Pipeline | Fixpoint):
            yield from _each(each)


def _is_own(each: object) -> bool:
    """Whether nothing from outside decides what a pass or policy does."""
    own = type(each).__module__.partition(".")[0] in _PACKAGES
    return own and not getattr(each, "is_foreign", False)


@functools.cache
def _sources() -> str | None:
    """The time of change and the size of every source file of this package; None if unknown."""
    found = []
    try:
        for package in _PACKAGES:
            folders = [str(Path(__file__).parents[1].with_name(package))]
            for folder in folders:
                for entry in sorted(os.scandir(folder), key=lambda each: each.name):
                    if entry.name.endswith(".py"):
                        status = entry.stat()
                        found.append(f"{entry.path} {status.st_mtime_ns} {status.st_size}")
                    elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                        folders.append(entry.path)
    except OSError:
        return None
    return blake2b("\n".join(found).encode(), digest_size=16).hexdigest()


def _described(graph: Graph) -> Iterator[str]:
    """Everything about a graph that a schedule or a message of its run may show."""
    files: dict[str, None] = {}
    operations = _Operations()
    yield from _lines(graph, operations, files)
    yield from map(_file_state, files)
    if operations.call_lapack:  # whose results, computed beforehand, may stand in the schedule
        yield f"OpenBLAS {scipy_library.core()}"


def _lines(graph: Graph, operations: _Operations, files: dict[str, None]) -> Iterator[str]:
    yield signature(graph)
    yield from size_lines(graph.sizes.values())
    numbers: dict[Node, int] = {}
    instructions: dict[tuple[int, int], str] = {}
    for node in graph.nodes:
        numbers[node] = len(numbers)
        args = [f"{numbers[arg.node]}.{arg.index}" for arg in node.args]
        place = _place(node.origin, instructions, files)
        yield f"{operations.text(node.op)} {args} {operations.types(node)} {node.order} {place}"
        for body in node.op.bodies:
            yield from _lines(body, operations, files)
    for name, value in graph.outputs.items():
        yield f"{name!r} {numbers[value.node]} {value.index}"
    for parameter, value in graph.updates:
        yield f"update {parameter.name!r} {numbers[value.node]} {value.index}"


class _Operations:
    """Ops and types as text, each written once; constants are counted."""

    def __init__(self) -> None:
        self._ops: dict[tuple[object, ...], str] = {}
        self._types: dict[tuple[object, ...], str] = {}
        self._room = _MOST_CONSTANTS
        self.call_lapack = False

    def text(self, op: Op) -> str:
        """An op without its bodies."""
        if isinstance(op, Constant):
            self._room -= op.data.array.nbytes
            if self._room < 0:
                raise _NotKeptError
            return op_text(op)
        if isinstance(op, Input | ParameterLeaf):
            return f"{op.name} {op.label!r}"
        found = self._ops.get(op.key)
        if found is None:
            if not _is_own(op) or op.rule_is_foreign:
                raise _NotKeptError
            found = self._ops[op.key] = op_text(op)
            self.call_lapack |= hasattr(op, "routine")  # ops.linalg.base.LinearAlgebra
        return found

    def types(self, node: Node) -> str:
        """The types of a node's results."""
        found = self._types.get(node.types)
        if found is None:
            found = self._types[node.types] = str(node.types)
        return found


def _place(
    origin: Location, instructions: dict[tuple[int, int], str], files: dict[str, None]
) -> str:
    """Where a node was made: all that a message may say of it, given what its file holds.

    Not by the offset: within one instruction it moves once the interpreter has specialised it.
    """
    if isinstance(origin, Origin):
        code, offset, scope = origin
        found = instructions.get((id(code), offset))
        if found is None:
            place = f"{code.co_filename}:{code.co_qualname}:{code.co_firstlineno}"
            found = instructions[id(code), offset] = f"{place} {position(code, offset)}"
            files[code.co_filename] = None
        return f"{found} {scope}"
    for each in origin.places:
        if isinstance(each, Origin):
            files[each[0].co_filename] = None
    return repr(origin.resolve())


def _file_state(name: str) -> str:
    """What tells whether the text of a file has changed."""
    try:
        status = Path(name).stat()
    except (OSError, ValueError):
        return repr(linecache.getlines(name))
    return f"{name} {status.st_mtime_ns} {status.st_size}"
