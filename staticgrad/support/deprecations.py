"""Old names of public functions, attributes and arguments: they still work, and warn.

An old name is declared where the present one is defined, and is a row of ``DEPRECATIONS``::

    class Graph:
        found = deprecated_attribute("0.2", "analyses")

        @deprecated("0.2", "Graph.with_nodes")
        def rebuilt(self, nodes): ...

    @deprecated_arguments("0.2", iterations="steps")
    def fit(steps): ...

    __getattr__ = deprecated_members(__name__, "0.2", Found="staticgrad.analysis.search.Solution")

The warning has the line of the user's program. Old names stay for two minor versions
(``Deprecation.removal``); stubs and the reference do not have them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar

from staticgrad.errors import DeprecatedNameWarning, UnknownArgumentError, warn
from staticgrad.support.records import NamedTuple

if TYPE_CHECKING:
    import typing_extensions

P = ParamSpec("P")
T = TypeVar("T")

#: Minor versions in which an old name still works.
VERSIONS: Final = 2


class Deprecation(NamedTuple):
    """An old name, its replacement, and the version that deprecated it.

    ``place`` is ``module:name``, with the class or function in front: ``a.b:Graph.found``,
    ``a.b:fit(iterations)``.
    """

    kind: Literal["function", "attribute", "argument", "member"]
    place: str
    instead: str
    since: str

    @property
    def name(self) -> str:
        """The old name without its module."""
        return self.place.partition(":")[2]

    @property
    def removal(self) -> str:
        """The first version without the old name."""
        major, minor = map(int, self.since.split("."))
        return f"{major}.{minor + VERSIONS}"

    def warn(self, name: str = "") -> None:
        """Warn at the user's line; ``name`` is the old name as the user wrote it."""
        warn(
            DeprecatedNameWarning,
            f"{name or self.name} is deprecated since version {self.since}: use {self.instead};"
            f" version {self.removal} removes the old name",
        )


#: Place -> the deprecation. Complete once all modules are imported.
DEPRECATIONS: Final[dict[str, Deprecation]] = {}
#: Old names of attributes, by which overrides of methods are looked for.
_OLD_ATTRIBUTES: Final[set[str]] = set()


def _register(
    kind: Literal["function", "attribute", "argument", "member"],
    place: str,
    instead: str,
    since: str,
) -> Deprecation:
    """Register a deprecation of a function, attribute, argument or member."""
    DEPRECATIONS[place] = Deprecation(kind, place, instead, since)
    return DEPRECATIONS[place]


def deprecated(since: str, instead: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Mark a function, a method or the getter of a property as deprecated; calls warn."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        place = f"{function.__module__}:{function.__qualname__}"
        deprecation = _register("function", place, instead, since)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            deprecation.warn()
            return function(*args, **kwargs)

        return call

    return decorate


class deprecated_attribute:  # noqa: N801 - written as a decorator is
    """The old name of an attribute, property or method, in the body of its class.

    Reads and assignments warn and use the present name. A subclass that defines the old name of a
    method is adapted by ``adopt_overrides``.
    """

    def __init__(self, since: str, instead: str) -> None:
        self.since, self.instead = since, instead

    def __set_name__(self, owner: type[Any], name: str) -> None:
        if hasattr(self, "deprecation"):  # that of a base, in the body of a subclass
            return
        _OLD_ATTRIBUTES.add(name)
        self.deprecation = _register(
            "attribute",
            f"{owner.__module__}:{owner.__qualname__}.{name}",
            f"{owner.__qualname__}.{self.instead}",
            self.since,
        )

    if TYPE_CHECKING:

        @typing_extensions.deprecated("an old name; the warning at run time names the present one")
        def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any: ...

    else:

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            self.deprecation.warn()
            return getattr(instance, self.instead)

    def __set__(self, instance: Any, value: object) -> None:
        self.deprecation.warn()
        setattr(instance, self.instead, value)


def adopt_overrides(subclass: type[Any]) -> None:
    """Rename methods that a subclass defines by a deprecated name, with a warning at its line.

    For ``__init_subclass__`` of classes whose users override methods.
    """
    for name in sorted(vars(subclass).keys() & _OLD_ATTRIBUTES):
        attribute = vars(subclass)[name]
        for base in subclass.__mro__[1:]:
            alias = vars(base).get(name)
            if isinstance(alias, deprecated_attribute):
                alias.deprecation.warn(f"{subclass.__qualname__}.{name}")
                if attribute is alias:  # ``old = Base.old``
                    attribute = getattr(base, alias.instead)
                setattr(subclass, alias.instead, attribute)
                delattr(subclass, name)
                break


def deprecated_arguments(
    since: str, **present_names: str
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Let a function take keyword arguments by their old names: ``old="present"``."""

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        deprecations = {
            old: _register(
                "argument",
                f"{function.__module__}:{function.__qualname__}({old})",
                f"{function.__qualname__}({present}=...)",
                since,
            )
            for old, present in present_names.items()
        }

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> T:
            for old in deprecations.keys() & kwargs.keys():
                present = present_names[old]
                if present in kwargs:
                    raise UnknownArgumentError(
                        f"{function.__name__} is given {present}= and its old name {old}=",
                        hint=f"leave out {old}=",
                    )
                deprecations[old].warn()
                kwargs[present] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


def deprecated_members(module: str, since: str, **present_names: str) -> Callable[[str], Any]:
    """Return ``__getattr__`` of a module whose members moved: ``old="module.of.member"``.

    A present name without a dot is another member of the same module. A module that moved as a
    whole has a file with nothing but this.
    """
    deprecations = {
        old: _register("member", f"{module}:{old}", present, since)
        for old, present in present_names.items()
    }

    def find_member(name: str) -> Any:
        if name not in deprecations:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        deprecations[name].warn(f"{module}.{name}")
        home, _, present = present_names[name].rpartition(".")
        return getattr(import_module(home or module), present)

    return find_member
