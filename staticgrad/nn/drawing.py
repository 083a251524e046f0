"""A module as text: its tree, with shapes and counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import Parameter as Argument, signature
from math import prod
from typing import Any

from staticgrad.functions.random import Generator
from staticgrad.functions.trees import is_module
from staticgrad.ir.nodes import Parameter


def drawn(module: Any, parameters: Sequence[Parameter], most: int | None = None) -> str:
    """Draw the module in a line, if it contains no module; else in a line for each, at ``most``."""
    lines = list(_lines("", module))
    if len(lines) == 1:
        return lines[0]
    count = sum(prod(map(int, p.shape)) for p in parameters)
    lines[0] = f"{lines[0]}: {count:,} parameter{'s'[: count != 1]}"
    if most is not None and len(lines) > most:
        lines[most - 1 :] = [f"  ... {len(lines) - most + 1} more lines, which print(module) shows"]
    return "\n".join(lines)


def _lines(name: str, module: Any) -> Iterator[str]:
    inner = [(path, each) for path, each in _entries("", module) if _has_line(each)]
    title = f"{name}: {_called(module)}" if name else _called(module)
    own = [f"{path} {p.type}" for path, p in _entries("", module) if isinstance(p, Parameter)]
    if not inner:
        yield title + (f": {', '.join(own)}" if own else "") + _mode(module)
        return
    yield title + _mode(module)
    for path, each in inner:
        if is_module(each):
            yield from (f"  {line}" for line in _lines(path, each))
        else:
            yield f"  {path}: {getattr(each, '__name__', each)}"
    yield from (f"  {line}" for line in own)


def _mode(module: Any) -> str:
    return "" if module.training else " (eval)"


def _has_line(each: Any) -> bool:
    return is_module(each) or (callable(each) and not isinstance(each, type | Generator))


def _entries(path: str, found: Any) -> Iterator[tuple[str, Any]]:
    """What a module holds, in containers as well, but not in modules."""
    for name, each in contents(found):
        inner = f"{path}.{name}" if path else str(name)
        yield inner, each
        if isinstance(each, list | tuple | dict):
            yield from _entries(inner, each)


def _called(module: Any) -> str:
    """The class with those arguments that the module keeps under their names."""
    own = vars(module)
    given = []
    for name, argument in signature(type(module)).parameters.items():
        default, value = argument.default, own.get(name)
        if default is True and name in own and value is None:
            value = False
        if not isinstance(value, bool | int | float | str | tuple) or value == default:
            continue
        required = default is Argument.empty and argument.kind is not Argument.KEYWORD_ONLY
        given.append(repr(value) if required else f"{name}={value!r}")
    return f"{type(module).__name__}({', '.join(given)})" if given else type(module).__name__


def contents(found: Any) -> list[tuple[Any, Any]]:
    """What is directly inside of a module or container, by name."""
    if is_module(found):
        return [*vars(found).items()]
    if isinstance(found, Generator):
        return [("key", found.key), ("step", found.step)]
    if isinstance(found, dict):
        return [*found.items()]
    return [*enumerate(found)] if isinstance(found, list | tuple) else []
