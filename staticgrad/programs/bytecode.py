"""The names that the bytecode of a function mentions: globals, closures, attributes, modules.

Only names are read here, not what they stand for: one table serves all functions with this code.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import CodeType
from typing import Final

from staticgrad.support.records import dataclass

_LOADS_NAME: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_LOADS_CELL: Final = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_LOADS_ATTRIBUTE: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"})
#: Instructions that neither take the value on top nor put another there.
_IDLE: Final = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "RESUME"})
#: Functions that read an attribute by its name in a string, their second argument.
_READS_BY_STRING: Final = frozenset({"getattr", "hasattr"})
#: Functions and methods that read attributes, or make functions that do, by names in strings.
_TAKES_NAMES: Final = frozenset({
    "attrgetter", "methodcaller", "getattr_static", "__getattribute__", "__getattr__",
})  # fmt: skip
#: Names by which code reads all attributes of an object.
_READS_ALL: Final = frozenset({"vars", "__dict__", "asdict", "astuple", "dir", "getmembers"})
_WRITES: Final = frozenset({"STORE_ATTR", "DELETE_ATTR", "STORE_SUBSCR", "DELETE_SUBSCR"})
#: What an array says of itself without its elements.
_METADATA: Final = frozenset({"shape", "ndim", "size", "dtype", "itemsize", "nbytes", "strides"})


@dataclass(frozen=True)
class Load:
    """A global or closed-over name that code reads, and the attributes that it reads of it."""

    name: str
    is_cell: bool
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class MentionedNames:
    """The names that one code object mentions; those of functions inside are in ``inner``.

    Attributes:
        loads: globals and closed-over names that it reads.
        attributes: names of attributes that it reads of any object.
        asked: names in strings that it asks objects for, which may not have them.
        elements: names and attributes of which it reads more than the metadata of an array.
        computed: the objects of which it reads attributes by computed names or all of them, as
            loads; None is an object that has no name.
        stored_names, stored_attributes: what it writes; a name with whether it is a cell.
        is_writing: it writes attributes or elements of something.
        modules: modules that it imports.
        inner: code objects of functions and classes inside.
    """

    loads: tuple[Load, ...]
    attributes: frozenset[str]
    asked: frozenset[str]
    elements: frozenset[str]
    computed: tuple[Load | None, ...]
    stored_names: tuple[tuple[str, bool], ...]
    stored_attributes: frozenset[str]
    is_writing: bool
    modules: tuple[str, ...]
    inner: tuple[CodeType, ...]


@lru_cache(maxsize=2048)
def names_of(code: CodeType) -> MentionedNames:
    """Return the names that a code object mentions."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in _IDLE]
    loads: dict[Load, None] = {}
    computed: dict[Load | None, None] = {}
    stored_names: dict[tuple[str, bool], None] = {}
    attributes, asked, elements, stored = set[str](), set[str](), set[str](), set[str]()
    modules: dict[str, None] = {}
    strings = [constant for constant in _constants(code) if isinstance(constant, str)]
    free = frozenset(code.co_freevars)
    for place, step in enumerate(steps):
        kind, name = step.opname, step.argval
        if kind in _LOADS_NAME or (kind in _LOADS_CELL and name in free):
            load = _load_at(steps, place)
            loads[load] = None
            read_last = name
            if name in _READS_BY_STRING:
                owner, attribute = _arguments_at(steps, place + 1, free)
                if attribute is None:
                    computed[owner] = None
                else:
                    asked.add(attribute)
            elif name == "globals":
                loads |= {
                    Load(string, False, ()): None for string in strings if string.isidentifier()
                }
            elif name in _READS_ALL:
                computed[_arguments_at(steps, place + 1, free)[0]] = None
        elif kind in _LOADS_ATTRIBUTE:
            attributes.add(name)
            read_last = name
            if name in _READS_ALL:
                computed[None] = None
        else:
            if kind == "STORE_ATTR":
                stored.add(name)
            elif kind == "STORE_GLOBAL" or (kind == "STORE_DEREF" and name in free):
                stored_names[name, kind == "STORE_DEREF"] = None
            elif kind == "IMPORT_NAME":
                modules[name] = None
            elif kind == "MATCH_CLASS":
                attributes.update(strings)
            continue
        if read_last in _TAKES_NAMES:
            asked.update(part for string in strings for part in string.split("."))
        if not _reads_metadata(steps, place):
            elements.add(read_last)
    return MentionedNames(
        tuple(loads),
        frozenset(attributes),
        frozenset(name for name in asked if name.isidentifier()),
        frozenset(elements),
        tuple(computed),
        tuple(stored_names),
        frozenset(stored),
        any(step.opname in _WRITES for step in steps),
        tuple(modules),
        tuple(constant for constant in code.co_consts if isinstance(constant, CodeType)),
    )


def _load_at(steps: Sequence[dis.Instruction], place: int) -> Load:
    """Return the name that is read at a place, with the attributes that are read of it at once."""
    attributes = []
    for step in steps[place + 1 :]:
        if step.opname not in _LOADS_ATTRIBUTE:
            break
        attributes.append(step.argval)
    return Load(steps[place].argval, steps[place].opname in _LOADS_CELL, tuple(attributes))


def _arguments_at(
    steps: Sequence[dis.Instruction], place: int, free: frozenset[str]
) -> tuple[Load | None, str | None]:
    """Return the first argument of a call, if it is a name outside, and the second, if a string.

    ``place`` is the first instruction behind that which loads the function.
    """
    depths: list[int] = []  # of the stack above the function, after each instruction
    for step in steps[place:]:
        depth = dis.stack_effect(step.opcode, step.arg, jump=False) + (depths[-1] if depths else 0)
        if depth <= 0:
            break
        depths.append(depth)
    if not depths:
        return None, None
    first = steps[place]
    is_outside = first.opname in _LOADS_NAME or (
        first.opname in _LOADS_CELL and first.argval in free
    )
    owner = _load_at(steps, place) if is_outside else None
    second = max((k for k, depth in enumerate(depths) if depth == 1), default=-1) + 1
    if second >= len(depths) or any(depth < 3 for depth in depths[second + 1 :]):
        return owner, None
    step = steps[place + second]
    is_string = step.opname == "LOAD_CONST" and isinstance(step.argval, str)
    return owner, step.argval if is_string else None


def _reads_metadata(steps: Sequence[dis.Instruction], place: int) -> bool:
    """Return whether code reads the metadata alone of what an instruction loads."""
    following = steps[place + 1] if place + 1 < len(steps) else None
    if following is None:
        return False
    if following.opname in _LOADS_ATTRIBUTE:
        return following.argval in _METADATA
    if following.opname not in ("CALL", "PRECALL"):
        return False
    while place and steps[place].opname in _LOADS_ATTRIBUTE:
        place -= 1  # len(self.data): from data to self
    function = next((s for s in reversed(steps[:place]) if s.opname != "PUSH_NULL"), None)
    return function is not None and function.opname in _LOADS_NAME and function.argval == "len"


def _constants(code: CodeType) -> Iterator[object]:
    for constant in code.co_consts:
        yield from constant if isinstance(constant, tuple) else (constant,)
