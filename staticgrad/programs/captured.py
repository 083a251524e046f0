"""The outside state of a traced function: names that it reads or writes, and random numbers.

A function is traced once. The globals, closures and attributes that it reads become part of its
graph, so a graph is valid as long as they are unchanged; what it writes there is written once. The
bytecode says which names these are: those of the function, of the functions that it names and of
the methods of objects that it names, as far as they are the user's.

Numbers that Python draws, or reads from a clock, while a function is traced are frozen in the
graph. If random states have moved, or a clock may have been read, the function is traced once more;
constants that differ between the two graphs are such numbers.
"""

from __future__ import annotations

import dis
import functools
import pickle
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from inspect import getattr_static, unwrap
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import numpy as np

from staticgrad.language.ir.graph import Constant, Graph
from staticgrad.support.building import is_user_file
from staticgrad.support.records import dataclass

_MISSING: Final = object()
_MOST_FUNCTIONS: Final = 500
_PLAIN: Final = (int, float, complex, bool, str, bytes, type(None), Enum, np.generic)
_CONTAINERS: Final = (list, dict, set, deque)
#: Containers of at most so many values are compared by what they hold.
_FEW: Final = 64
#: Modules that give something else each time.
_CLOCKS: Final = frozenset({"time", "datetime", "uuid", "secrets"})
#: Instructions that neither take the value on top nor put another there.
_IDLE: Final = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "RESUME", "PUSH_NULL", "PRECALL"})

#: Instructions that put a local variable on top.
_LOCAL: Final = frozenset({"LOAD_FAST", "LOAD_DEREF", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW"})
#: The names of double instructions that load a local variable at last.
_LOADS_LAST: Final = re.compile(r"_LOAD_FAST(_BORROW)?$")


@dataclass(frozen=True)
class OuterName:
    """A name outside of a function: of a module or an object (``holder`` is its dict), or a cell.

    ``label`` is how the user writes it.
    """

    holder: Any
    name: str
    label: str

    @property
    def value(self) -> Any:
        """The current value of the name."""
        if type(self.holder) is CellType:
            try:
                return self.holder.cell_contents
            except ValueError:
                return _MISSING
        return self.holder.get(self.name, _MISSING)


class Captured:
    """The places that a function reads and writes.

    Attributes:
        reads, writes: the places, each once.
        sources: random generators of NumPy and Python that it reads.
        asks_time: it names something of a module that gives another answer each time.
    """

    def __init__(self, function: Any, objects: Mapping[str, Any]) -> None:
        """Analyse a function, some of whose arguments are known objects."""
        self.reads: dict[tuple[int, str], OuterName] = {}
        self.writes: dict[tuple[int, str], OuterName] = {}
        self.sources: list[Any] = []
        self.asks_time = False
        self._waiting: list[tuple[FunctionType, Mapping[str, Any]]] = []
        self._seen: set[tuple[Any, ...]] = set()
        self._modules: set[int] = set()
        self._follow(function, objects)
        while self._waiting and len(self._seen) < _MOST_FUNCTIONS:
            callee, bound = self._waiting.pop()
            cells = dict(zip(callee.__code__.co_freevars, callee.__closure__ or (), strict=True))
            self._scan(callee.__code__, callee.__globals__, cells, bound)

    # -- walking ----------------------------------------------------------------------------------

    def _follow(self, callee: Any, objects: Mapping[str, Any] | None = None) -> None:
        """Scan the code of a user's function, or object with ``__call__``, for outside names."""
        while isinstance(callee, functools.partial):
            callee = callee.func
        owner = [callee.__self__] if isinstance(callee, MethodType) else []
        if _is_module(callee) or (owner and _is_module(owner[0])):
            self._follow_module(owner[0] if owner else callee)
            if not owner:
                return
        callee = unwrap(callee.__func__ if owner else callee)
        if not isinstance(callee, FunctionType):
            call = getattr_static(type(callee), "__call__", None)
            if not isinstance(call, FunctionType) or not _is_users(type(callee)):
                return
            callee, owner = call, [callee]
        code = callee.__code__
        bound = dict(zip(code.co_varnames[: code.co_argcount], owner, strict=False))
        bound.update(objects or {})
        key = (code, *map(id, callee.__closure__ or ()), *map(id, bound.values()))
        if key not in self._seen and is_user_file(code.co_filename):
            self._seen.add(key)
            self._waiting.append((callee, bound))

    def _follow_module(self, module: Any) -> None:
        """Record all attributes of a module as read, and scan ``forward`` of its submodules."""
        if id(module) in self._modules:
            return
        for path, submodule in module.named_modules():
            self._modules.add(id(submodule))
            label = ".".join([type(module).__name__, *[path] * bool(path)])
            for name in {"training": True, **vars(submodule)}:
                place = OuterName(vars(submodule), name, f"{label}.{name}")
                self.reads[id(place.holder), name] = place
                self._follow_values(place.value)
            self._follow(MethodType(type(submodule).forward, submodule))

    def _scan(
        self,
        code: CodeType,
        names: dict[str, Any],
        cells: Mapping[str, CellType],
        bound: Mapping[str, Any],
    ) -> None:
        """Scan bytecode for outside names that are read or written, following attributes."""
        top, label = _MISSING, ""
        for step in dis.get_instructions(code):
            kind, name = step.opname, step.argval
            if kind in _IDLE:
                continue
            if "FAST" in kind and isinstance(name, tuple):
                # Two instructions in one, from Python 3.13 on: the second decides what is on top.
                kind = "LOAD_FAST" if _LOADS_LAST.search(kind) else "STORE_FAST"
                name = name[-1]
            if kind == "LOAD_GLOBAL" or (kind == "LOAD_DEREF" and name in cells):
                holder = cells[name] if kind == "LOAD_DEREF" else names
                top, label = self._read(OuterName(holder, name, name)), name
            elif kind in _LOCAL:
                top, label = bound.get(name, _MISSING), name
            elif kind in ("LOAD_ATTR", "LOAD_METHOD"):
                top = self._attribute(top, name, f"{label}.{name}")
                label = f"{label}.{name}"
            else:
                if kind == "STORE_ATTR" and isinstance(getattr(top, "__dict__", None), dict):
                    self._write(OuterName(vars(top), name, f"{label}.{name}"))
                elif kind == "STORE_GLOBAL" or (kind == "STORE_DEREF" and name in cells):
                    holder = names if kind == "STORE_GLOBAL" else cells[name]
                    self._write(OuterName(holder, name, name))
                elif isinstance(name, CodeType):
                    self._scan(name, names, cells, bound)
                top = _MISSING

    def _read(self, place: OuterName) -> Any:
        """Record an outside name that a traced function reads; note generators and clocks."""
        value = place.value
        if value is _MISSING:
            return value
        self.reads[id(place.holder), place.name] = place
        module = type(value).__module__
        of_python = module == "random" and hasattr(value, "getstate")
        if of_python or module.startswith("numpy.random"):
            self.sources.append(value)
        self.asks_time |= getattr(value, "__module__", None) in _CLOCKS
        self._follow_values(value)
        return value

    def _follow_values(self, value: Any) -> None:
        is_container = isinstance(value, (tuple, *_CONTAINERS)) and len(value) <= _FEW
        for member in _contents(value) if is_container else (value,):
            if callable(member) and not isinstance(member, type):
                self._follow(member)

    def _write(self, place: OuterName) -> None:
        self.writes[id(place.holder), place.name] = place

    def _attribute(self, owner: Any, name: str, label: str) -> Any:
        """Resolve an attribute in scanned bytecode: record an instance's value, scan a method."""
        if isinstance(owner, ModuleType):
            self.asks_time |= owner.__name__ in _CLOCKS
            if is_user_file(getattr(owner, "__file__", None) or "<user>"):
                return self._read(OuterName(vars(owner), name, label))
            return vars(owner).get(name, _MISSING)
        if owner is _MISSING or not _is_users(owner if isinstance(owner, type) else type(owner)):
            return _MISSING
        if name in (getattr(owner, "__dict__", None) or ()) and not isinstance(owner, type):
            return self._read(OuterName(vars(owner), name, label))
        kind = owner if isinstance(owner, type) else type(owner)
        attribute = getattr_static(kind, name, None)
        if isinstance(attribute, property):
            attribute = attribute.fget
        elif isinstance(attribute, staticmethod | classmethod):
            attribute = attribute.__func__
        if isinstance(attribute, FunctionType):
            self._follow(attribute if isinstance(owner, type) else MethodType(attribute, owner))
            return _MISSING
        where = next((base for base in kind.__mro__ if name in vars(base)), None)
        if where is None or not _is_users(where) or hasattr(attribute, "__get__"):
            return _MISSING
        return self._read(OuterName(vars(where), name, label))


def _is_users(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    return kind.__module__ != "builtins" and is_user_file(
        getattr(module, "__file__", None) or "<user>"
    )


def _is_module(value: Any) -> bool:
    loaded = sys.modules.get("staticgrad.nn.module")  # by whoever has modules
    return loaded is not None and isinstance(value, loaded.Module)


# -- before and after -----------------------------------------------------------------------------


class Snapshot:
    """The values around a function before it was traced."""

    def __init__(self, around: Captured) -> None:
        self._around = around
        self._written = {key: place.value for key, place in around.writes.items()}
        self._containers = {
            key: (place.value, _contents(place.value))
            for key, place in around.reads.items()
            if isinstance(place.value, _CONTAINERS)
        }

    def changes(self) -> Iterator[tuple[str, str]]:
        """Yield the changed names: their spelling in the user's code, and the kind of change."""
        for key, place in self._around.writes.items():
            if place.value is not self._written[key]:
                yield place.label, "assigns"
        for key, (container, contents) in self._containers.items():
            if list(map(id, _contents(container))) != list(map(id, contents)):
                yield self._around.reads[key].label, "changes"


def _contents(container: Any) -> list[Any]:
    if isinstance(container, dict):
        return [*container, *container.values()]
    return sorted(container, key=id) if isinstance(container, set) else list(container)


def _inner(container: Any, depth: int = 3) -> list[Any]:
    """Return the contents of a container and of nested ones, up to ``depth`` levels."""
    contents = _contents(container)
    inner = [part for part in contents if depth and isinstance(part, (tuple, *_CONTAINERS))]
    return contents + [
        element for part in inner if len(part) <= _FEW for element in _inner(part, depth - 1)
    ]


class Frozen:
    """The values around a function when it was traced, by which another call finds its graph."""

    def __init__(self, around: Captured) -> None:
        places = [(place, place.value) for place in around.reads.values()]
        places = [(p, v) for p, v in places if not isinstance(v, _NEVER_BOUND_ANEW)]
        self._names = [
            (p.holder, p.name, v, p) for p, v in places if type(p.holder) is not CellType
        ]
        self._cells = [(p, v) for p, v in places if type(p.holder) is CellType]
        self._containers = [
            (p, v, _inner(v)) for p, v in places if isinstance(v, _CONTAINERS) and len(v) <= _FEW
        ]

    @property
    def is_empty(self) -> bool:
        """Return whether nothing around the function was read."""
        return not (self._names or self._cells or self._containers)

    def find_change(self) -> OuterName | None:
        """Return a name whose value has changed since tracing, or None."""
        for holder, name, value, place in self._names:
            now = holder.get(name, _MISSING)
            if now is not value and not _equal(now, value):
                return place
        for place, value in self._cells:
            if place.value is not value and not _equal(place.value, value):
                return place
        for place, container, contents in self._containers:
            now = _inner(container)
            pairs = zip(now, contents, strict=False)
            if len(now) != len(contents) or not all(a is b or _equal(a, b) for a, b in pairs):
                return place
        return None


#: Values of names that programs do not bind anew, or only when they are defined again.
_NEVER_BOUND_ANEW: Final = (ModuleType, type, BuiltinFunctionType)


def _equal(first: Any, second: Any) -> bool:
    """Return whether two plain values are equal; other values have to be identical."""
    if type(first) is not type(second):
        return False
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    return isinstance(first, _PLAIN) and bool(
        first == second or (first != first and second != second)
    )


def random_states(around: Captured) -> list[bytes]:
    """Return the states of the generators of NumPy and Python that a function may draw from."""
    numpy_random, python_random = sys.modules.get("numpy.random"), sys.modules.get("random")
    states: list[Any] = []
    for source in around.sources:
        if hasattr(source, "bit_generator"):
            states.append(source.bit_generator.state)
        else:
            get = getattr(source, "get_state", None) or getattr(source, "getstate", None)
            states.append(None if get is None else get())
    if numpy_random is not None:
        states.append(numpy_random.get_state())
    if python_random is not None:
        states.append(python_random.getstate())
    return [pickle.dumps(state) for state in states]


def differences(
    first_graph: Graph | None, second_graph: Graph | None, constants: Sequence[tuple[Any, Any]]
) -> Iterator[str]:
    """Yield the differences between two traces of one function, to report impure code.

    ``constants`` has the constant parts of the results, of both.
    """
    nodes = [() if graph is None else graph.nodes for graph in (first_graph, second_graph)]
    if len(nodes[0]) != len(nodes[1]):
        yield f"the program has {len(nodes[0])} operations, and another time {len(nodes[1])}"
        return
    for first, second in zip(*nodes, strict=True):
        if first.is_leaf and not isinstance(first.op, Constant):
            continue
        if first.op != second.op:
            what = "a constant" if isinstance(first.op, Constant) else first.op.name
            line = first.origin.places[0].resolve()
            yield f"{what} of {line.short}, {line.text.strip()}"
    for first_value, second_value in constants:
        if type(first_value) is not type(second_value) or repr(first_value) != repr(second_value):
            yield f"the result {first_value!r}"
