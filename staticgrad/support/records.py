"""``dataclass`` as the standard library has it, without compiling methods of each class.

The standard library writes up to six methods of every class as text and compiles them each time a
process starts: a third of a millisecond for each of more than 250 classes. Here all but
``__init__`` are closures over the names of the fields, and classes whose fields are of one form
share the code of ``__init__``, in which their names are put.
``fields``, ``replace``, ``is_dataclass`` and type checkers see what they know. Other options
(order, kw_only) are left to the standard library.

``NamedTuple`` is that of ``typing`` in the same way: that one compiles the ``__new__`` of each
class, and each annotation by itself, in a fifth of a millisecond.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass, replace as replace
    from typing import NamedTuple as NamedTuple
else:

    def replace(record, /, **changes):
        """Return the record with other values in some fields, as ``dataclasses.replace`` does.

        That takes several times as long, for it asks each field what it is.
        """
        names = record.__class__.__dict__.get(_PLAIN)
        if names is None or not changes.keys() <= names:
            return dataclasses.replace(record, **changes)
        fields = record.__dict__
        copy = object.__new__(record.__class__)
        object.__setattr__(copy, "__dict__", {**{name: fields[name] for name in names}, **changes})
        return copy

    def dataclass(cls=None, /, *, repr=True, eq=True, frozen=False, slots=False, **others):
        """Make a class a dataclass without compiling its methods; options as in the stdlib."""

        def decorate(cls):
            if others:
                options = {"repr": repr, "eq": eq, "frozen": frozen, "slots": slots, **others}
                return dataclasses.dataclass(**options)(cls)
            fields = _fields(cls)
            if slots:
                cls = _add_slots(cls, fields, frozen)
            kind: Any = _FrozenRecord if frozen else _OpenRecord
            cls.__dataclass_fields__, cls.__dataclass_params__ = fields, kind.__dataclass_params__
            if "__init__" not in cls.__dict__:
                cls.__init__ = _make_init(cls, fields, frozen)
                if frozen and _is_plain(cls) and all(field.init for field in fields.values()):
                    setattr(cls, _PLAIN, fields.keys())
            _define(cls, "__match_args__", tuple(f.name for f in fields.values() if f.init))
            if repr:
                _define(cls, "__repr__", _repr([f.name for f in fields.values() if f.repr]))
            if eq:
                values = _values([f.name for f in fields.values() if f.compare])
                if cls.__dict__.get("__hash__") is None:
                    type.__setattr__(cls, "__hash__", _hash(values) if frozen else None)
                _define(cls, "__eq__", _eq(values))
            if frozen and not issubclass(cls, Immutable):
                _define(cls, "__setattr__", _setattr(cls, fields))
                _define(cls, "__delattr__", _delattr(cls, fields))
            return cls

        return decorate if cls is None else decorate(cls)

    class _NamedTupleMaker(type):
        """Makes the classes whose base is ``NamedTuple``, which are tuples alone."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            return _named_tuple(name, body)

    class NamedTuple(metaclass=_NamedTupleMaker):
        """The base; fields are annotated names, with defaults, as in ``typing.NamedTuple``."""


class Immutable:
    """Refuses assignment, whatever the attribute: a base of classes that make frozen records of
    their subclasses, above which users may still write the standard library's decorator.
    """

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


class Settings:
    """Base of public records that are settings, as of an optimizer: not containers of values."""

    __slots__ = ()


def fields_alone(record: Any) -> dict[str, Any]:
    """``__getstate__`` of records that keep what follows from their fields beside them."""
    values: dict[str, Any] = record.__dict__
    return {name: values[name] for name in record.__dataclass_fields__}


class _FactoryDefault:
    """Stands in signatures for what a ``default_factory`` makes."""

    def __repr__(self) -> str:
        return "<factory>"


_MADE: Final = _FactoryDefault()
#: The attribute of frozen classes, whose records have nothing but fields, that names these.
_PLAIN: Final = "_record_names"
Fields = Mapping[str, dataclasses.Field[Any]]


@dataclasses.dataclass(init=False, repr=False, eq=False)
class _OpenRecord:
    """Its options are those of every class that is not frozen."""

    example: int


@dataclasses.dataclass(init=False, repr=False, eq=False, frozen=True)
class _FrozenRecord:
    """Its options are those of every frozen class: the standard library looks there."""


#: What marks a field that is neither of the class nor of ``__init__`` alone.
_ORDINARY: Final[Any] = dataclasses.fields(_OpenRecord)[0]._field_type  # type: ignore[attr-defined]


def _is_plain(cls: type[Any]) -> bool:
    """Return whether an instance is made only from a dictionary of its fields."""
    new: object = cls.__new__
    is_default = type(cls).__call__ is type.__call__ and new is object.__new__
    return is_default and cls.__dictoffset__ != 0 and not hasattr(cls, "__post_init__")


def _define(cls: type[Any], name: str, attribute: object) -> None:
    if name not in cls.__dict__:
        setattr(cls, name, attribute)


def _fields(cls: type[Any]) -> Fields:
    """Return the fields of a dataclass: those of its bases, then its own."""
    fields: dict[str, dataclasses.Field[Any]] = {}
    for base in reversed(cls.__mro__[1:]):
        fields.update(getattr(base, "__dataclass_fields__", {}))
    for name, kind in inspect.get_annotations(cls).items():
        if not str(kind).startswith(("ClassVar", "typing.ClassVar")):
            fields[name] = _read_field(cls, name, kind)
    return fields


def _read_field(cls: type[Any], name: str, kind: Any) -> dataclasses.Field[Any]:
    """Return a field that a dataclass declares; the class keeps its default."""
    declared = cls.__dict__.get(name, dataclasses.MISSING)
    field: dataclasses.Field[Any] = (
        declared if isinstance(declared, dataclasses.Field) else _plain(declared)
    )
    default = field.default
    if default.__class__.__hash__ is None:
        shared = f"mutable default {type(default)} for field {name} is not allowed"
        raise ValueError(f"{shared}: use default_factory")
    if field is declared and default is dataclasses.MISSING:
        delattr(cls, name)
    elif field is declared:
        setattr(cls, name, default)
    field.name, field.type, field.kw_only = name, kind, False
    field._field_type = _ORDINARY  # type: ignore[attr-defined]
    return field


def _plain(default: object) -> dataclasses.Field[Any]:
    """A field of a class that says its default, or none, as a value."""
    field: Any = dataclasses.field(default=default)
    return field  # type: ignore[no-any-return]


def _add_slots(cls: type[Any], fields: Fields, frozen: bool) -> type[Any]:
    """Rebuild a dataclass with a slot for each field that it declares."""
    inherited = {name for base in cls.__mro__[1:] for name in base.__dict__.get("__slots__", ())}
    body = dict(cls.__dict__)
    for name in (*fields, "__dict__", "__weakref__"):
        body.pop(name, None)
    body["__slots__"] = tuple(name for name in fields if name not in inherited)
    metaclass: Any = type(cls)
    slotted: type[Any] = metaclass(cls.__name__, cls.__bases__, body)
    slotted.__qualname__ = cls.__qualname__
    if frozen:  # what unpickles and copies may not assign
        names = tuple(fields)
        _define(slotted, "__getstate__", lambda self: [getattr(self, name) for name in names])
        _define(slotted, "__setstate__", _fill(names))
    return slotted


def _fill(names: Sequence[str]) -> Callable[[Any, Sequence[Any]], None]:
    def fill(self: Any, state: Sequence[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return fill


#: Forms of fields: an argument; one that is made where it is not given; always made.
_GIVEN, _OR_MADE, _ALWAYS_MADE = "given", "or made", "always made"
#: The file of code that no user has written.
_FILE: Final = "<staticgrad record>"


def _make_init(cls: type[Any], fields: Fields, frozen: bool) -> Callable[..., None]:
    """Make a dataclass' ``__init__`` from generated code: a closure takes three times as long."""
    namespace: dict[str, Any] = {"_record_put": object.__setattr__, "_record_missing": _MADE}
    forms: list[str] = []
    defaults: list[Any] = []
    renamed: dict[str, str] = {}
    for field in fields.values():
        place = len(forms)
        if field.default_factory is not dataclasses.MISSING:
            namespace[f"_record_make_{place}"] = field.default_factory
            forms.append(_OR_MADE if field.init else _ALWAYS_MADE)
            defaults += [_MADE] if field.init else []
        elif field.init:
            if field.default is not dataclasses.MISSING:
                defaults.append(field.default)
            elif defaults:
                raise TypeError(f"non-default argument {field.name!r} follows default argument")
            forms.append(_GIVEN)
        else:
            continue
        renamed[f"_record_{place}"] = field.name
    form = "slots" if frozen and not cls.__dictoffset__ else "frozen" if frozen else "open"
    code = _code(tuple(forms), form, hasattr(cls, "__post_init__"))

    def rename_variables(
        names: tuple[Any, ...],
    ) -> tuple[Any, ...]:  # keys of one dictionary are a tuple
        return tuple(
            [rename_variables(n) if isinstance(n, tuple) else renamed.get(n, n) for n in names]
        )

    code = code.replace(
        co_varnames=rename_variables(code.co_varnames),
        co_names=rename_variables(code.co_names),
        co_consts=rename_variables(code.co_consts),
    )
    function = FunctionType(code, namespace, "__init__", tuple(defaults))
    function.__qualname__ = f"{cls.__qualname__}.__init__"
    function.__annotations__ = {f.name: f.type for f in fields.values() if f.init} | {
        "return": None
    }
    return function


@functools.cache
def _code(forms: tuple[str, ...], kind: str, followed: bool) -> CodeType:
    """The code of ``__init__`` over fields of these forms, which ``_init`` names."""
    namespace: dict[str, Any] = {}
    exec(compile(_init_text(forms, kind, followed), _FILE, "exec"), namespace)
    code: CodeType = namespace["__init__"].__code__
    return code


def _init_text(forms: Sequence[str], kind: str, followed: bool) -> str:
    """Write the source of a dataclass' ``__init__`` for fields of these forms.

    ``kind``: ``open`` instances are assigned to; ``frozen`` ones get all their attributes at once,
    which takes a quarter of the time of a call for each; those with ``slots`` have no dictionary.
    ``followed`` says whether the class has a ``__post_init__``.
    """
    parameters, values = ["self"], {}
    for place, form in enumerate(forms):
        field = value = f"_record_{place}"
        if form in (_OR_MADE, _ALWAYS_MADE):
            value = f"_record_make_{place}()"
        if form == _OR_MADE:
            value = f"{value} if {field} is _record_missing else {field}"
        if form != _ALWAYS_MADE:
            parameters.append(field)
        values[field] = value
    if kind == "frozen":
        pairs = ", ".join(f"{field!r}: {value}" for field, value in values.items())
        lines = [f"_record_put(self, '__dict__', {{{pairs}}})"]
    elif kind == "slots":
        lines = [f"_record_put(self, {field!r}, {value})" for field, value in values.items()]
    else:
        lines = [f"self.{field} = {value}" for field, value in values.items()]
    lines += ["self.__post_init__()"] if followed else []
    return f"def __init__({', '.join(parameters)}):\n    " + "\n    ".join(lines or ["pass"]) + "\n"


def _values(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that reads these attributes as a tuple, for eq and hash."""
    if len(names) > 1:
        return attrgetter(*names)
    if names:
        only = attrgetter(names[0])
        return lambda self: (only(self),)
    return lambda self: ()


#: Characters of fields in the ``repr`` of a record: half of a terminal's screen.
_ROOM: Final = 960
_BRACKETS: Final[Mapping[type, Sequence[str]]] = {
    tuple: "()",
    list: "[]",
    dict: "{}",
    set: "{}",
    frozenset: ("frozenset({", "})"),
}


def _repr(names: Sequence[str]) -> Callable[[Any], str]:
    values = _values(names)

    def represent(self: Any) -> str:
        return f"{type(self).__qualname__}({_fields_text(names, values(self))})"

    return represent


def _fields_text(names: Sequence[str], values: Sequence[Any]) -> str:
    """Print fields as ``a=1, b=2``; long values are cut unless all is short.

    Values that are shorter than an equal part of the room are whole.
    """
    texts = [brief(value) for value in values]
    if sum(map(len, texts)) > _ROOM:
        room, count = _ROOM, len(texts)
        for place in sorted(range(len(texts)), key=lambda k: len(texts[k])):
            part = room // count
            if len(texts[place]) > part:
                texts[place] = brief(values[place], part)
            room, count = max(room - len(texts[place]), 0), count - 1
    return ", ".join([f"{name}={text}" for name, text in zip(names, texts, strict=True)])


def brief(value: Any, room: int = _ROOM) -> str:
    """Return ``repr(value)``, cut to about ``room`` characters.

    Containers are read only as far as there is room: not ``repr`` of a thousand records.
    """
    kind = type(value)
    if kind is str or kind is bytes:
        return repr(value) if len(value) <= room else f"{value[: max(room - 3, 0)]!r}..."
    if kind not in _BRACKETS or not value:
        text = repr(value)
        return text if len(text) <= room else f"{text[: max(room - 3, 0)]}..."
    begin, end = _BRACKETS[kind]
    if room <= 2:  # also the end of a list that contains itself
        return f"{begin}...{end}"
    parts: list[str] = []
    used = 0
    for element in value:
        text = brief(element, room - used - 2)
        if kind is dict:
            text += f": {brief(value[element], max(room - used - len(text), 0))}"
        used += len(text) + 2
        if used > room:
            parts.append(f"... {len(value) - len(parts)} more")
            break
        parts.append(text)
    comma = "," if kind is tuple and len(value) == 1 else ""
    return f"{begin}{', '.join(parts)}{comma}{end}"


def _eq(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, object], Any]:
    def equal(self: Any, value: object) -> Any:
        if value.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(value)

    return equal


def _hash(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], int]:
    def compute_hash(self: Any) -> int:
        return hash(values(self))

    return compute_hash


def _setattr(cls: type[Any], fields: Fields) -> Callable[[Any, str, Any], None]:
    def refuse_to_set(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in fields:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    return refuse_to_set


def _delattr(cls: type[Any], fields: Fields) -> Callable[[Any, str], None]:
    def refuse_to_delete(self: Any, name: str) -> None:
        if type(self) is cls or name in fields:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return refuse_to_delete


# -- named tuples ---------------------------------------------------------------------------------


def _named_tuple(name: str, body: dict[str, Any]) -> type[Any]:
    """Make the tuple class of a NamedTuple declaration, whose fields ``body`` annotates."""
    kinds = body.get("__annotations__", {})
    names = tuple(kinds)
    defaults = {field: body.pop(field) for field in names if field in body}
    if tuple(defaults) != names[len(names) - len(defaults) :]:
        raise TypeError(f"a field of {name} without a default follows one with a default")
    members = {key: value for key, value in body.items() if key != "__new__"}
    if len(members) < len(body) or not _SHARED.keys().isdisjoint(members):
        raise AttributeError(f"{name} replaces a method that named tuples have")
    code = _tuple_code(len(names)).replace(co_varnames=("_cls", *names))
    make = FunctionType(code, {"_tuple": tuple.__new__}, "__new__", tuple(defaults.values()))
    make.__qualname__, make.__annotations__ = f"{name}.__new__", kinds
    getters = {field: _GETTER(at, f"Alias for field number {at}") for at, field in enumerate(names)}
    listed = {"_fields": names, "_field_defaults": defaults, "__match_args__": names}
    shown = {"__doc__": f"{name}({', '.join(names)})", "__slots__": ()}
    tuple_class: type[Any] = type(
        name, (tuple,), {**shown, **_SHARED, **listed, "__new__": make, **getters, **members}
    )
    return tuple_class


#: What reads one field: as quick as an index.
_GETTER: Final[Any] = collections._tuplegetter  # type: ignore[attr-defined]


@functools.cache
def _tuple_code(count: int) -> CodeType:
    """The code of ``__new__`` over so many fields, which ``_named_tuple`` names."""
    fields = "".join([f"_{place}, " for place in range(count)])
    namespace: dict[str, Any] = {}
    exec(f"def __new__(_cls, {fields}):\n return _tuple(_cls, ({fields}))", namespace)
    code: CodeType = namespace["__new__"].__code__
    return code


def _from_values(cls: Any, values: Iterable[Any]) -> Any:
    """A tuple of this class of as many values as it has fields."""
    result = tuple.__new__(cls, values)
    if len(result) != len(cls._fields):
        raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(result)}")
    return result


def _replace_fields(self: Any, /, **values: Any) -> Any:
    """The same with other values in some fields."""
    result = self._make(map(values.pop, self._fields, self))
    if values:
        raise ValueError(f"Got unexpected field names: {[*values]!r}")
    return result


def _as_dictionary(self: Any) -> dict[str, Any]:
    """The values by the names of their fields."""
    return dict(zip(self._fields, self, strict=True))


def _represent(self: Any) -> str:
    return f"{type(self).__name__}({_fields_text(self._fields, self)})"


def _plain_tuple(self: Any) -> tuple[Any, ...]:
    """The values, for copies and pickles."""
    return tuple(self)


#: The methods that named tuples have in common.
_SHARED: Final[Mapping[str, Any]] = {
    "_make": classmethod(_from_values),
    "_replace": _replace_fields,
    "_asdict": _as_dictionary,
    "__repr__": _represent,
    "__getnewargs__": _plain_tuple,
}
