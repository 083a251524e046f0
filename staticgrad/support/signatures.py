"""Signatures of public functions as ``help`` and notebooks show them: types in plain words.

Annotations say what a type checker reads (``ArrayLike[AnyValue]``) and what the boundary checks
(``PositiveInt``). Shown are ``ArrayLike``, ``Value``, ``int``.
"""

from __future__ import annotations

import re
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature, unwrap
from types import GenericAlias, UnionType
from typing import Any, Final, Literal, get_origin

#: Names of types whose operands decide what a call gives, and of what they bind.
_KINDS: Final = re.compile(r"\bOf\[\w+\]|\b(?:AnyValue|V)\b")
_ARRAYS: Final = re.compile(r"\bArrayLike\[\w+\]")
#: A text, which stays, or a name.
_NAMES: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\b[A-Za-z_]\w*\b(?!\.)")
_MODULES: Final = re.compile(r"\b(?:\w+\.)+(?=\w)")
_LONGEST: Final = 64  # characters that a name of a type is replaced by


class ShownSignature(Signature):
    """The signature of ``function`` in plain words, computed when it is looked at."""

    __slots__ = ("_function", "_shown")

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._shown: Signature | None = None

    @property
    def plain(self) -> Signature:
        """Return it as a ``Signature``."""
        if self._shown is None:
            function = self._function
            declared, names = signature(function), _names_in(unwrap(function))
            parameters = [
                parameter.replace(annotation=_in_words(parameter.annotation, names))
                for parameter in declared.parameters.values()
            ]
            self._shown = Signature(
                parameters, return_annotation=_in_words(declared.return_annotation, names)
            )
        return self._shown

    @property
    def parameters(self) -> Mapping[str, Parameter]:  # type: ignore[override]
        return self.plain.parameters

    @property
    def return_annotation(self) -> Any:
        return self.plain.return_annotation

    def replace(self, **changes: Any) -> Signature:  # type: ignore[override]
        """Return a signature in which some of it is other."""
        return self.plain.replace(**changes)

    def __reduce__(self) -> Any:
        return self.plain.__reduce__()


def _names_in(function: Any) -> Mapping[str, Any]:
    """Return the names of a function's module; of a method those of the bases' modules, too."""
    home = sys.modules.get(function.__module__)
    owner = getattr(home, function.__qualname__.partition(".")[0], None)
    bases = owner.__mro__ if isinstance(owner, type) else ()
    modules = [home, *(sys.modules.get(base.__module__) for base in bases)]
    return ChainMap(*(vars(module) for module in modules if module is not None))


class _Words(str):
    """An annotation, written without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _in_words(annotation: Any, names: Mapping[str, Any]) -> Any:
    if not isinstance(annotation, str) or isinstance(annotation, _Words):
        return annotation
    text = _ARRAYS.sub("ArrayLike", _KINDS.sub("Value", annotation))
    return _Words(_NAMES.sub(lambda match: _word(match[0], names), text))


def _word(name: str, names: Mapping[str, Any]) -> str:
    """Return the plain word for a type's name in signatures, or the name."""
    kind = names.get(name)
    origin = getattr(kind, "__origin__", None) if hasattr(kind, "__metadata__") else None
    if origin is Any:
        return name
    if isinstance(origin, type):
        return origin.__name__
    kind = origin or kind
    if not isinstance(kind, UnionType | GenericAlias) and get_origin(kind) is not Literal:
        return name
    text = _MODULES.sub("", str(kind))
    return text if len(text) <= _LONGEST and "~" not in text else name
