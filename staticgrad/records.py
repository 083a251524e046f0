"""``dataclass`` as the standard library has it, with one method that is compiled.

The standard library writes up to six methods of every class as text and compiles them each time a
process starts: a third of a millisecond for each of more than 150 classes. Here all but
``__init__`` are closures over the names of the fields. ``fields``, ``replace``, ``is_dataclass``
and type checkers see what they know. Other options (slots, order) are left to the standard library.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, repr=True, eq=True, frozen=False, **others):
        """The decorator; options as in the standard library."""

        def made(cls):
            if others:
                return dataclasses.dataclass(repr=repr, eq=eq, frozen=frozen, **others)(cls)
            return _record(cls, repr, eq, frozen)

        return made if cls is None else made(cls)


class _Made:
    """Stands in signatures for what a ``default_factory`` makes."""

    def __repr__(self) -> str:
        return "<factory>"


_MADE: Final = _Made()
Fields = Mapping[str, dataclasses.Field[Any]]


@dataclasses.dataclass(init=False, repr=False, eq=False)
class _OpenRecord:
    """Its options are those of every class that is not frozen."""


@dataclasses.dataclass(init=False, repr=False, eq=False, frozen=True)
class _FrozenRecord:
    """Its options are those of every frozen class: the standard library looks there."""


def _record(cls: type[Any], show: bool, compare: bool, frozen: bool) -> type[Any]:
    fields = _fields(cls)
    kind: Any = _FrozenRecord if frozen else _OpenRecord
    cls.__dataclass_fields__, cls.__dataclass_params__ = fields, kind.__dataclass_params__
    if "__init__" not in cls.__dict__:
        cls.__init__ = _init(cls, fields, frozen)
    _define(cls, "__match_args__", tuple(f.name for f in fields.values() if f.init))
    if show:
        _define(cls, "__repr__", _repr([f.name for f in fields.values() if f.repr]))
    if compare:
        values = _values([f.name for f in fields.values() if f.compare])
        if cls.__dict__.get("__hash__") is None:
            type.__setattr__(cls, "__hash__", _hash(values) if frozen else None)
        _define(cls, "__eq__", _eq(values))
    if frozen:
        _define(cls, "__setattr__", _setattr(cls, fields))
        _define(cls, "__delattr__", _delattr(cls, fields))
    return cls


def _define(cls: type[Any], name: str, attribute: object) -> None:
    if name not in cls.__dict__:
        setattr(cls, name, attribute)


def _fields(cls: type[Any]) -> Fields:
    """The fields of the bases, then those that the class itself declares."""
    found: dict[str, dataclasses.Field[Any]] = {}
    for base in reversed(cls.__mro__[1:]):
        found.update(getattr(base, "__dataclass_fields__", {}))
    declared = {
        name: kind
        for name, kind in inspect.get_annotations(cls).items()
        if not str(kind).startswith(("ClassVar", "typing.ClassVar"))
    }
    own = {name: cls.__dict__[name] for name in declared if name in cls.__dict__}
    bare = type(cls.__name__, (), {**own, "__doc__": "Fields.", "__annotations__": declared})
    bare.__annotations__ = dict.fromkeys(declared, object)  # no text to be read
    made: type[Any] = dataclasses.dataclass(init=False, repr=False, eq=False)(bare)
    for field in dataclasses.fields(made):
        field.type = declared[field.name]
        found[field.name] = field
        if isinstance(own.get(field.name), dataclasses.Field):
            if field.name in made.__dict__:
                setattr(cls, field.name, made.__dict__[field.name])
            else:
                delattr(cls, field.name)
    return found


def _init(cls: type[Any], fields: Fields, frozen: bool) -> Callable[..., None]:
    """The one method that is written as text: a closure would take three times as long to run."""
    namespace: dict[str, Any] = {
        "_record_put": object.__setattr__,
        "_record_missing": _MADE,
    }
    parameters, lines = ["self"], []
    for field in fields.values():
        name, value = field.name, field.name
        if field.default_factory is not dataclasses.MISSING:
            namespace[f"_record_make_{name}"] = field.default_factory
            value = f"_record_make_{name}()"
            if field.init:
                value = f"{value} if {name} is _record_missing else {name}"
                parameters.append(f"{name}=_record_missing")
        elif field.init and field.default is not dataclasses.MISSING:
            namespace[f"_record_default_{name}"] = field.default
            parameters.append(f"{name}=_record_default_{name}")
        elif field.init:
            parameters.append(name)
        else:
            continue
        lines.append(
            f"_record_put(self, {name!r}, {value})" if frozen else f"self.{name} = {value}"
        )
    lines += ["self.__post_init__()"] if hasattr(cls, "__post_init__") else []
    exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines or ["pass"]), namespace)
    made: Callable[..., None] = namespace["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__annotations__ = {f.name: f.type for f in fields.values() if f.init} | {"return": None}
    return made


def _values(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What reads these attributes, as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple([getattr(self, name) for name in names])


def _repr(names: Sequence[str]) -> Callable[[Any], str]:
    def shown(self: Any) -> str:
        inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({inner})"

    return shown


def _eq(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, object], Any]:
    def equal(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    return equal


def _hash(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], int]:
    def hashed(self: Any) -> int:
        return hash(values(self))

    return hashed


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
