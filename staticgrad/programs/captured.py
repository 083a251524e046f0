"""The values around a traced function that it can reach by the names in its code.

A function is traced once. The globals, closures and attributes that it reads become part of its
graph, so a graph is valid as long as they are unchanged. The bytecode of the function, of the
functions that it names and of the methods of objects that it names, as far as they are the user's,
mentions names. All objects that can be reached by these names are followed, however deep, and of
an object those attributes count that any of this code mentions: also those that the object does not
have yet, and those of its class that it may come to hide.
"""

from __future__ import annotations

import builtins
import gc
import os
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from contextvars import ContextVar
from enum import Enum
from functools import cached_property, lru_cache, partial, partialmethod
from operator import attrgetter, methodcaller
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any, Final
from weakref import ProxyType, ReferenceType

import numpy as np

from staticgrad.language.ir.value import Value
from staticgrad.language.types.arrays import is_array_like
from staticgrad.programs.bytecode import Load, names_of
from staticgrad.support.building import is_user_file
from staticgrad.support.records import NamedTuple, dataclass

MISSING: Final = object()
#: Bounds of what is followed; a warning names what lies beyond. 4096 elements are compared in 60
#: microseconds (Zen 4, 2026-11).
_MOST_FUNCTIONS: Final = 500
_MOST_OBJECTS: Final = 1000
_MOST_ELEMENTS: Final = 4096
#: Numbers and strings: they are compared by value.
PLAIN: Final = (int, float, complex, bool, str, bytes, type(None), Enum, np.generic)
_PLAIN_TYPES: Final = frozenset({int, float, complex, bool, str, bytes, type(None)})
CONTAINERS: Final = (list, dict, set, deque, MappingProxyType)
_FIXED: Final = (tuple, frozenset)
_VIEWS: Final = (Mapping, Sequence, AbstractSet)
#: Modules that give something else each time.
_CLOCKS: Final = frozenset({"time", "datetime", "uuid", "secrets"})
#: Methods that no instruction calls on an object which is there already.
_NOT_CALLED: Final = frozenset(
    {
        "__init__",
        "__new__",
        "__post_init__",
        "__init_subclass__",
        "__class_getitem__",
        "__set_name__",
        "__del__",
        "__repr__",
        "__getstate__",
        "__setstate__",
        "__reduce__",
        "__reduce_ex__",
        "__copy__",
        "__deepcopy__",
        "__setattr__",
        "__delattr__",
        "__dir__",
    }
)
_PACKAGE: Final = __name__.partition(".")[0]
#: Memory that is compared at each call; more of it takes longer than short programs run.
MOST_BYTES: Final = 1 << 16
_NO_HASH: Final[tuple[Any, ...]] = (None, object.__hash__)
_WRAPPERS: Final = (property, staticmethod, classmethod, cached_property)
#: A method of objects of this package that read values of other libraries at each call. It returns
#: numbers by which their graph depends on these values.
_OUTSIDE: Final = "__staticgrad_outside__"
_Cache: Final = type(lru_cache(len))
_MAKES: Final = ("__new__", "__init__", "__post_init__")


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
                return MISSING
        return self.holder.get(self.name, MISSING)


class OuterReading(NamedTuple):
    """A value outside of a function that a call gives: of a slot, or of a context variable."""

    read: Any
    label: str

    @property
    def value(self) -> Any:
        """The current value."""
        return self.read()


class OuterContainer(NamedTuple):
    """A container outside of a function; ``is_users`` is False inside objects of libraries."""

    container: Any
    label: str
    is_users: bool
    is_watched: bool


class AttributeOwner:
    """An object whose attributes are read by name: an instance, a class, a module, a function.

    Attributes:
        value: the object. attributes: its dict.
        label: how the user writes it.
        seen: how many of the mentioned names have been looked up.
        hidden: names of attributes that code of a library reads.
        is_whole: every attribute counts.
        is_users: it is not inside an object of a library.
    """

    __slots__ = ("attributes", "hidden", "is_users", "is_whole", "label", "seen", "value")

    def __init__(self, value: Any, attributes: Any, label: str, is_users: bool) -> None:
        self.value, self.attributes, self.label, self.is_users = value, attributes, label, is_users
        self.seen, self.is_whole = 0, False
        self.hidden: dict[str, None] = {}


class Captured:
    """Everything outside of a function that it reads or writes, as far as names reach.

    Attributes:
        places: names, slots and context variables, each once.
        contents: containers by identity.
        objects: objects whose attributes are read.
        functions: the user's functions that it may call, with their labels.
        names: the attributes that count; of every object.
        arrays: arrays and where they are reached.
        sources: random generators of NumPy and Python that it reads.
        iterators: the labels of iterators, whose elements a trace takes.
        unwatched: descriptions of what lies beyond a bound.
        asks_time: it names something of a module that gives another answer each time.
        is_open: a trace adds to it: it imports modules, or fills a cache of results.
    """

    def __init__(self, function: Any, objects: Mapping[str, Any]) -> None:
        """Analyse a function, some of whose arguments are known objects."""
        self.places: dict[tuple[int, str], OuterName | OuterReading] = {}
        self.contents: dict[int, OuterContainer] = {}
        self.objects: list[AttributeOwner] = []
        self.functions: list[tuple[FunctionType, str]] = []
        self.names: dict[str, None] = {}
        self.arrays: list[tuple[Any, str]] = []
        self.elements: set[str] = set()
        self.sources: list[Any] = []
        self.iterators: list[str] = []
        self.unwatched: dict[str, None] = {}
        self.asks_time = self.is_open = False
        self._order: list[str] = []  # of the names, as they come up
        self._asked: dict[str, None] = {}
        self._stored_names: dict[tuple[int, str], OuterName] = {}
        self._stored: dict[str, None] = {}
        self._reads_all = False
        self._whole_modules: dict[int, ModuleType] = {}
        self._tables: dict[type, _ClassTable] = {}
        self._classes: dict[int, type] = {}
        self._waiting: deque[tuple[Any, str, bool]] = deque()
        self._visited: dict[int, Any] = {}
        self._room = _MOST_ELEMENTS
        self._reach(function, getattr(function, "__name__", "function"))
        for name, value in objects.items():
            self._reach(value, name)
        while self._waiting or self._look_up_names():
            while self._waiting:
                self._visit(*self._waiting.popleft())

    @property
    def writes(self) -> list[OuterName]:
        """The names that the code writes, of the objects that it can reach."""
        attributes = [
            OuterName(owner.attributes, name, f"{owner.label}.{name}")
            for owner in self.objects
            if owner.is_users
            for name in self._stored
        ]
        return [*self._stored_names.values(), *attributes]

    def reads_elements(self, label: str) -> bool:
        """Return whether code reads more of what is reached there than the metadata of an array."""
        return label.partition("[")[0].rpartition(".")[2] in self.elements

    # -- names ------------------------------------------------------------------------------------

    def _look_up_names(self) -> bool:
        """Look up new names in all objects; return whether there are new values."""
        names = [*self._order]
        for owner in self.objects:
            is_whole = id(owner.value) in self._whole_modules or (
                self._reads_all and not issubclass(type(owner.value), ModuleType | FunctionType)
            )
            if is_whole and not owner.is_whole:
                owner.is_whole = True
                self._look_up(owner, [n for n in owner.attributes if not _is_special(n)])
            if owner.seen < len(names):
                new, owner.seen = names[owner.seen :], len(names)
                self._look_up(owner, new)
        return bool(self._waiting)

    def _look_up(self, owner: AttributeOwner, names: Iterable[str]) -> None:
        """Record the attributes of an object that have one of these names, and their absence."""
        value, attributes = owner.value, owner.attributes
        is_instance = not issubclass(type(value), type | ModuleType | FunctionType)
        table = self._table_of(type(value)) if is_instance else _NO_CLASS
        for name in names:
            if name in table.slots:
                self._read_slot(value, table.slots[name], f"{owner.label}.{name}")
            elif name in attributes:
                self._read(owner, name)
            elif name in table.defaults or name in self._asked:
                self._place(value, OuterName(attributes, name, f"{owner.label}.{name}"))
            self._read_hidden(owner, table.hidden.get(name, ()))

    def _read_hidden(self, owner: AttributeOwner, names: Iterable[str]) -> None:
        """Record attributes that code of a library reads."""
        for name in names:
            if name not in owner.hidden:
                owner.hidden[name] = None
                if name in owner.attributes:
                    self._read(owner, name, is_users=False)
                self._read_hidden(owner, self._table_of(type(owner.value)).hidden.get(name, ()))

    def _read(self, owner: AttributeOwner, name: str, is_users: bool = True) -> None:
        """Record an attribute that an object has, and follow its value."""
        place = OuterName(owner.attributes, name, f"{owner.label}.{name}")
        value = place.value
        if not (issubclass(type(value), ModuleType) and _is_library(value)):
            self._place(owner.value, place)
        self._reach(value, place.label, owner.is_users and is_users)

    def _read_slot(self, owner: Any, descriptor: Any, label: str) -> None:
        """Record an attribute that a descriptor of C gives, unless it makes another one each time.

        Such attributes have no dict: those of ``__slots__``, and of classes written in C.
        """

        def read() -> Any:
            try:
                return descriptor.__get__(owner, type(owner))
            except Exception:  # nothing is assigned, or C refuses
                return MISSING

        value = read()
        if is_same(read(), value):
            self._place(owner, OuterReading(read, label))
            self._reach(value, label)

    def _place(self, owner: Any, place: OuterName | OuterReading) -> None:
        self._visited.setdefault(id(owner), owner)  # its id stands for it
        self.places.setdefault((id(owner), place.label.rpartition(".")[2]), place)

    def _table_of(self, kind: type) -> _ClassTable:
        table = self._tables.get(kind)
        if table is None:
            table = self._tables[kind] = _table_of(kind)
        return table

    # -- values -----------------------------------------------------------------------------------

    def _reach(self, value: Any, label: str, is_users: bool = True) -> None:
        """Follow a value, once."""
        if type(value) in _PLAIN_TYPES or value is MISSING or id(value) in self._visited:
            return
        self._visited[id(value)] = value
        self._waiting.append((value, label, is_users))

    def _visit(self, value: Any, label: str, is_users: bool) -> None:
        """Record what can change of a value, and reach what it refers to.

        Its class is asked what it is, for ``isinstance`` may run code of the user's.
        """
        kind = type(value)
        if issubclass(kind, Enum):
            self._reach(value.value, f"{label}.value", is_users)
        elif issubclass(kind, Value) or (issubclass(kind, PLAIN) and not _is_users(kind)):
            return
        if hasattr(kind, "__call__") and _module_of(value) in _CLOCKS:  # noqa: B004
            self.asks_time = True
        if kind is FunctionType:
            self._visit_function(value, label, is_users)
        elif issubclass(kind, ModuleType):
            if not _is_library(value):
                self._add_object(value, vars(value), label, is_users)
                self._reach(vars(value).get("__getattr__"), f"{label}.__getattr__")
        elif issubclass(kind, type):
            self._visit_class(value)
            for name in _MAKES:
                self._reach_method(_class_attribute(value, name), f"{value.__name__}.{name}")
        elif issubclass(kind, np.ndarray):
            self._visit_array(value, label, is_users)
        elif issubclass(kind, (*CONTAINERS, *_FIXED)):
            self._visit_container(value, label, is_users)
            if kind.__module__ not in ("builtins", "collections"):
                self._visit_instance(value, label, is_users)
            if issubclass(kind, defaultdict):
                self._reach(value.default_factory, f"{label}.default_factory")
        elif not self._visit_reference(value, label, is_users):
            self._visit_instance(value, label, is_users)

    def _visit_reference(self, value: Any, label: str, is_users: bool) -> bool:
        """Reach what an object of the standard library refers to; False for other objects."""
        kind = type(value)
        if kind is MethodType:
            self._reach(value.__self__, label.rpartition(".")[0] or "self", is_users)
            self._reach(value.__func__, label, is_users)
        elif issubclass(kind, partial | partialmethod):
            self._reach(value.func, label, is_users)
            self._reach(value.args, f"{label}.args", is_users)
            self._reach(value.keywords, f"{label}.keywords", is_users)
        elif issubclass(kind, _WRAPPERS):
            self._reach_method(value, label)
        elif issubclass(kind, ReferenceType):
            self._place(value, OuterReading(value, f"{label}()"))
            self._reach(value(), f"{label}()", is_users)
        elif kind is ProxyType:
            self._reach(value.__repr__.__self__, label, is_users)
        elif kind is ContextVar:
            self._place(value, OuterReading(partial(value.get, MISSING), f"{label}.get()"))
            self._reach(value.get(MISSING), f"{label}.get()", is_users)
        elif kind is _Cache:
            self.is_open = True
            self._reach(value.__wrapped__, label, is_users)
            for result in _cached_results(value):
                self._reach(result, f"{label}()", is_users)
        elif kind is attrgetter or kind is methodcaller:
            names = [name for name in value.__reduce__()[1] if issubclass(type(name), str)]
            self._ask(part for name in names for part in name.split("."))
        elif issubclass(kind, BuiltinFunctionType | MethodWrapperType):
            if not issubclass(type(value.__self__), ModuleType | type):
                self._reach(value.__self__, label.rpartition(".")[0] or label, is_users)
        else:
            return False
        return True

    def _visit_function(self, function: FunctionType, label: str, is_users: bool) -> None:
        """Scan the code of a user's function; of another one follow the functions inside."""
        code, cells = function.__code__, function.__closure__ or ()
        self._reach(vars(function).get("__wrapped__"), label, is_users)
        if function is os.getenv:
            self._reach(os.environ, "os.environ")
        if not is_user_file(code.co_filename):
            inner = [_value_of_cell(cell) for cell in cells]
            self._reach_functions(inner, label, is_users)
            for value in inner:  # methods of this package close over objects that hold functions
                if _is_package(type(value)):
                    self._reach(value, label, is_users)
                elif type(value) is dict or type(value) is MappingProxyType:  # singledispatch
                    self._reach_functions(value.values(), label, is_users)
            return
        if len(self.functions) >= _MOST_FUNCTIONS:
            self.unwatched[f"more than {_MOST_FUNCTIONS} functions"] = None
            return
        self.functions.append((function, label))
        if vars(function):
            self._add_object(function, vars(function), label, is_users)
        for default in (function.__defaults__, function.__kwdefaults__):
            self._reach(default, f"{label}.__defaults__", is_users)
        self._scan(code, function.__globals__, dict(zip(code.co_freevars, cells, strict=True)))

    def _scan(self, code: CodeType, names: dict[str, Any], cells: Mapping[str, CellType]) -> None:
        """Reach the outside names that code reads, and note the attributes that it mentions."""
        mentioned = names_of(code)
        for load in mentioned.loads:
            if load.is_cell and load.name not in cells:
                continue  # of the function around it
            holder: Any = cells[load.name] if load.is_cell else names
            place = OuterName(holder, load.name, load.name)
            value = place.value
            if issubclass(type(value), ModuleType) and _is_library(value):
                self._follow_library(value, load)
            elif value is not MISSING or not hasattr(builtins, load.name):
                self._place(holder, place)
                self._reach(value, load.name)
        for name in sorted(mentioned.attributes - self.names.keys()):
            self._mention(name)
        self._ask(sorted(mentioned.asked))
        self.elements |= mentioned.elements
        for owner in mentioned.computed:
            self._note_computed(owner, names, cells)
        for name, is_cell in mentioned.stored_names:
            if not is_cell or name in cells:
                holder = cells[name] if is_cell else names
                self._stored_names[id(holder), name] = OuterName(holder, name, name)
        self._stored |= dict.fromkeys(sorted(mentioned.stored_attributes))
        for name in mentioned.modules:
            self._follow_import(name, names.get("__package__") or "")
        for inner in mentioned.inner:
            self._scan(inner, names, cells)

    def _ask(self, names: Iterable[str]) -> None:
        """Note names of attributes that objects may not have."""
        for name in names:
            if name not in self._asked:
                self._asked[name] = None
                self._mention(name)

    def _mention(self, name: str) -> None:
        self.names[name] = None
        self._order.append(name)

    def _note_computed(
        self, load: Load | None, names: dict[str, Any], cells: Mapping[str, CellType]
    ) -> None:
        """Let all attributes count where code reads attributes by names that it computes."""
        owner: Any = None
        if load is not None:
            holder: Any = cells.get(load.name) if load.is_cell else names
            owner = None if holder is None else OuterName(holder, load.name, load.name).value
        if not issubclass(type(owner), ModuleType):
            self._reads_all = True
        elif not _is_library(owner):
            self._whole_modules[id(owner)] = owner

    def _follow_library(self, module: ModuleType, load: Load) -> None:
        """Follow the attributes that code reads of a module of a library, ``os.environ``."""
        label = load.name
        for name in load.attributes:
            self.asks_time |= module.__name__ in _CLOCKS
            label = f"{label}.{name}"
            value = vars(module).get(name, MISSING)
            if issubclass(type(value), ModuleType) and _is_library(value):
                module = value
                continue
            is_data = value is os.environ or issubclass(type(value), ModuleType)
            if is_data or value is os.getenv or not (callable(value) or _is_package(type(value))):
                self._reach(value, label, is_data)
            return

    def _follow_import(self, name: str, package: str) -> None:
        """Follow a module that code imports where it runs."""
        names = name, f"{package}.{name}".rstrip("."), name.partition(".")[0]
        loaded = {
            full_name: sys.modules[full_name] for full_name in names if full_name in sys.modules
        }
        self.is_open |= not loaded
        for full_name, module in loaded.items():
            if not _is_library(module):
                self._reach(module, full_name)

    def _visit_array(self, array: Any, label: str, is_users: bool) -> None:
        if array.dtype.hasobject and array.size <= self._room:
            self._room -= array.size
            for place, element in enumerate(array.flat):
                self._reach(element, f"{label}[{place}]", is_users)
        if is_users:
            self.arrays.append((array, label))

    def _visit_container(self, container: Any, label: str, is_users: bool) -> None:
        """Record what a container holds, and reach its elements."""
        views = views_of(container)
        size, is_fixed = len(views[0]), issubclass(type(container), _FIXED)
        has_plain = all(_PLAIN_TYPES.issuperset(map(type, view)) for view in views)
        is_watched = size <= self._room
        if not (is_fixed and has_plain):
            if is_watched:
                self._room -= size
            elif is_users:
                self._note_unwatched(label, f"a {type(container).__name__} of {size} elements")
        if not is_fixed:
            self.contents[id(container)] = OuterContainer(container, label, is_users, is_watched)
        if is_watched and not has_plain:
            keys = list(views[0]) if len(views) > 1 else range(size)
            for key, element in zip(keys, views[-1], strict=False):
                self._reach(element, f"{label}[{key!r}]", is_users)
                self._reach(key, label, is_users)

    def _visit_instance(self, value: Any, label: str, is_users: bool) -> None:
        """Reach the class of an object, and let its attributes be looked up by name."""
        kind = type(value)
        attributes = _dict_of(value)
        if _is_module(value):
            self._add_object(value, attributes, label, is_users).is_whole = True
            self._visit_class(kind)
            for name, attribute in attributes.items():
                self._place(value, OuterName(attributes, name, f"{label}.{name}"))
                self._reach(attribute, f"{label}.{name}", is_users)
            self._place(value, OuterName(attributes, "training", f"{label}.training"))
            return
        if _is_package(kind):
            read = getattr(kind, _OUTSIDE, None)
            if read is not None:
                self._place(value, OuterReading(partial(read, value), f"what {label} reads"))
            self._reach_functions(attributes.values(), label, is_users)
            return
        is_library = not _is_users(kind)
        module = kind.__module__
        if (module == "random" and hasattr(kind, "getstate")) or module.startswith("numpy.random"):
            self.sources.append(value)
        elif is_library and is_array_like(value):
            if is_users:
                self.arrays.append((value, label))
        elif is_library and _is_iterator(value):
            if is_users:
                self.iterators.append(label)
        elif issubclass(kind, threading.local):
            self._add_object(value, _AttributesOfThread(value), label, is_users)
            self._visit_class(kind)
        elif (content := _buffer_of(value)) is not None:
            if len(content()) <= MOST_BYTES:
                self._place(value, OuterReading(content, label))
            elif is_users:
                self._note_unwatched(label, f"{len(content())} bytes")
        elif len(self.objects) >= _MOST_OBJECTS:
            self.unwatched[f"more than {_MOST_OBJECTS} objects"] = None
        else:
            table = self._table_of(kind)
            if is_library:
                self._reach_functions(attributes.values(), label, is_users)
            if attributes or table.slots or kind.__dictoffset__:
                owner = self._add_object(value, attributes, label, is_users)
                if issubclass(kind, _VIEWS):
                    for names in (*table.hidden.values(), table.of_views):
                        self._read_hidden(owner, names)
            elif is_library and hasattr(kind, "__getitem__") and kind.__hash__ in _NO_HASH:
                self._note_unwatched(label, f"a {kind.__name__}")
            self._visit_class(kind)

    def _visit_class(self, kind: type) -> None:
        """Let the attributes of a user's class and its bases be looked up, and scan its operators.

        So are methods that a library may call: those that override one of a library's class.
        """
        libraries = [base for base in kind.__mro__ if base is not object and not _is_users(base)]
        for base in kind.__mro__:
            if id(base) in self._classes or not _is_users(base):
                continue
            self._classes[id(base)] = base
            self._add_object(base, vars(base), base.__name__, True)
            for name, attribute in list(vars(base).items()):
                is_operator = _is_special(name) and name not in _NOT_CALLED
                overrides = any(name in vars(library) for library in libraries)
                if (is_operator or (overrides and not _is_special(name))) and not _is_generated(
                    attribute
                ):
                    self._reach_method(attribute, f"{base.__name__}.{name}")
            if type(base) is not type:
                self._visit_class(type(base))

    def _reach_method(self, attribute: Any, label: str) -> None:
        """Follow the function of a method, property, class method or cached property."""
        if issubclass(type(attribute), property):
            attribute = attribute.fget
        elif issubclass(type(attribute), staticmethod | classmethod):
            attribute = attribute.__func__
        elif issubclass(type(attribute), cached_property):
            attribute = attribute.func
        self._reach(attribute, label)

    def _reach_functions(self, values: Iterable[Any], label: str, is_users: bool) -> None:
        """Follow those of a library's values that are functions, which it may call."""
        for value in values:
            kind = type(value)
            if issubclass(type(value), FunctionType | MethodType | partial) or (
                callable(value) and (_is_users(kind) or _is_package(kind))
            ):
                self._reach(value, label, is_users)

    def _add_object(
        self, value: Any, attributes: Any, label: str, is_users: bool
    ) -> AttributeOwner:
        owner = AttributeOwner(value, attributes, label, is_users)
        self.objects.append(owner)
        return owner

    def _note_unwatched(self, label: str, what: str) -> None:
        self.unwatched[f"{label!r}, {what}"] = None


class _ClassTable(NamedTuple):
    """The attributes that instances of a class read beside their dicts.

    Attributes:
        defaults: names that a user's class has values for, which an instance may hide.
        slots: descriptors of C.
        hidden: property or method of a library's class that only reads -> the names that it
            mentions.
        of_views: the names that operators of a library's class mention.
    """

    defaults: frozenset[str]
    slots: Mapping[str, Any]
    hidden: Mapping[str, tuple[str, ...]]
    of_views: tuple[str, ...]


_NO_CLASS: Final = _ClassTable(frozenset(), {}, {}, ())


def _table_of(kind: type) -> _ClassTable:
    defaults: set[str] = set()
    slots: dict[str, Any] = {}
    hidden: dict[str, tuple[str, ...]] = {}
    of_views: dict[str, None] = {}
    for base in kind.__mro__:
        is_users = _is_users(base)
        for name, attribute in vars(base).items():
            if issubclass(type(attribute), MemberDescriptorType | GetSetDescriptorType):
                if not _is_special(name):
                    slots.setdefault(name, attribute)
            elif is_users:
                if not (_is_special(name) or hasattr(type(attribute), "__get__")):
                    defaults.add(name)
                continue
            code = getattr(getattr(attribute, "fget", attribute), "__code__", None)
            if isinstance(code, CodeType):
                if _is_special(name) or name in ("get", "items", "keys", "values"):
                    of_views |= dict.fromkeys(code.co_names)
                elif not names_of(code).is_writing:
                    hidden.setdefault(name, code.co_names)
    return _ClassTable(frozenset(defaults), slots, hidden, tuple(of_views))


class _AttributesOfThread(Mapping[str, Any]):
    """The attributes of a ``threading.local`` in the running thread."""

    def __init__(self, owner: threading.local) -> None:
        self._owner = owner

    def __getitem__(self, name: str) -> Any:
        return self._owner.__dict__[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner.__dict__)

    def __len__(self) -> int:
        return len(self._owner.__dict__)


def _dict_of(value: Any) -> dict[str, Any]:
    """Return the dict of an object's attributes, empty if it has none."""
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return attributes if issubclass(type(attributes), dict) else {}


def _cached_results(cache: Any) -> Iterator[Any]:
    """Yield the results that ``functools.cache`` or ``lru_cache`` has."""
    for referent in gc.get_referents(cache):  # results and keys of lru_cache, the dict of cache
        yield from referent.values() if type(referent) is dict else (referent,)


def _is_iterator(value: Any) -> bool:
    """Return whether an object of a library is an iterator, and no file that is written to."""
    kind = type(value)
    if not hasattr(kind, "__next__") or (hasattr(kind, "readable") and not value.readable()):
        return False
    try:
        return iter(value) is value
    except Exception:  # an imitation
        return False


def _module_of(value: Any) -> Any:
    """Return the module that a function or class says it is of."""
    try:
        return getattr(value, "__module__", None)
    except Exception:  # code of the user's, which has no such attribute
        return None


def _value_of_cell(cell: CellType) -> Any:
    return OuterName(cell, "", "").value


def _buffer_of(value: Any) -> Callable[[], bytes] | None:
    """Return a function that copies the memory of an object, if this can be written."""
    try:
        with memoryview(value) as view:
            if view.readonly:
                return None
    except (TypeError, ValueError, BufferError):
        return None

    def copy() -> bytes:
        try:
            return memoryview(value).tobytes()
        except (TypeError, ValueError, BufferError):  # it has been closed
            return b""

    return copy


def _class_attribute(kind: type, name: str) -> Any:
    """Return an attribute of a user's class or of its bases, as the class has it."""
    where = next((base for base in kind.__mro__ if name in vars(base)), None)
    return vars(where)[name] if where is not None and _is_users(where) else None


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_generated(attribute: Any) -> bool:
    """Return whether a method was written by ``dataclass`` or attrs: it mentions all fields."""
    code = getattr(attribute, "__code__", None)
    return code is not None and (
        code.co_qualname.startswith("__create_fn__") or code.co_filename.startswith("<attrs ")
    )


def _is_library(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if file is None:
        return getattr(getattr(module, "__spec__", None), "origin", None) in ("built-in", "frozen")
    return not is_user_file(file)


def _is_users(kind: type) -> bool:
    if kind.__module__ == "builtins":
        return False
    module = sys.modules.get(kind.__module__)
    return not (isinstance(module, ModuleType) and _is_library(module))


def _is_package(kind: type) -> bool:
    """Return whether a class is of this package."""
    return kind.__module__.partition(".")[0] == _PACKAGE


def _is_module(value: Any) -> bool:
    loaded = sys.modules.get("staticgrad.nn.module")  # by whoever has modules
    return loaded is not None and issubclass(type(value), loaded.Module)


def is_same(first: Any, second: Any) -> bool:
    """Return whether two values are identical, or equal numbers or strings."""
    if first is second:
        return True
    kind = type(first)
    if kind is not type(second):
        return False
    if issubclass(kind, tuple):
        return len(first) == len(second) and all(map(is_same, first, second))
    return issubclass(kind, PLAIN) and bool(
        first == second or (first != first and second != second)
    )


def views_of(container: Any) -> list[Any]:
    """Return iterables over what a container holds, as its class of Python gives it.

    Of a dict these are its keys and its values. A user's class may have methods of its own.
    """
    kind = type(container)
    if kind is MappingProxyType:
        return [container.keys(), container.values()]
    base = next(base for base in (*CONTAINERS, *_FIXED) if issubclass(kind, base))
    if base is dict:
        return [dict.keys(container), dict.values(container)]
    is_plain = kind.__iter__ is base.__iter__ and kind.__len__ is base.__len__
    return [container if is_plain else _BaseView(container, base)]


class _BaseView:
    """The elements of a container whose class has its own ``__iter__`` or ``__len__``."""

    def __init__(self, container: Any, base: Any) -> None:
        self._container, self._base = container, base

    def __iter__(self) -> Iterator[Any]:
        iterator: Iterator[Any] = self._base.__iter__(self._container)
        return iterator

    def __len__(self) -> int:
        size: int = self._base.__len__(self._container)
        return size


def elements_of(container: Any) -> list[Any]:
    """Return what a container holds: keys and values of a dict, the elements of a set by id."""
    elements = [element for view in views_of(container) for element in view]
    return sorted(elements, key=id) if issubclass(type(container), set) else elements
