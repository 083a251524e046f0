"""Sizes of PyTorch that are open where it traces, as named sizes, and back."""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Mapping
from typing import Any, Final

from staticgrad.extend import Dim
from staticgrad.extend.optional import torch
from staticgrad.extend.sizes import dim, floordiv, maximum, minimum, named_sizes


class UnnamedSizeError(Exception):
    """A size that has no name here."""


def is_open(size: Any) -> bool:
    """Return whether an integer of PyTorch is not known where it traces."""
    return isinstance(size, torch.SymInt)


def name_size(size: Any, names: dict[str, Dim]) -> Any:
    """Return a size of PyTorch as a number or a named size, whose names are added to ``names``.

    Raises:
        UnnamedSizeError: it depends on values of tensors, or there is no such expression here.
    """
    return _of_expression(size.node.expr, size.node.shape_env, names) if is_open(size) else size


def typical(size: Any) -> int:
    """Return the number with which PyTorch traces an open size (its hint).

    Raises:
        UnnamedSizeError: it depends on values of tensors.
    """
    if not is_open(size):
        return int(size)
    if size.node.hint is None:
        raise UnnamedSizeError("a size is not known before it runs")
    return int(size.node.hint)


def open_sizes(sizes: Any, names: Mapping[str, Dim]) -> dict[str, Any]:
    """Convert named sizes back to PyTorch's symbolic integers."""
    integers: dict[str, Any] = {}
    for size in filter(is_open, sizes):
        for symbol in size.node.expr.free_symbols:
            (of_name,) = named_sizes(names[str(symbol)])
            make = size.node.shape_env.create_symintnode
            integers[str(symbol)] = make(symbol, hint=of_name.hint)
    return integers


def _of_expression(expression: Any, bounds: Any, names: dict[str, Dim]) -> Any:
    """Convert a SymPy expression of PyTorch over open sizes to a size of ours."""
    if expression.is_Integer:
        return int(expression)
    if expression.is_Symbol:
        name = str(expression)
        if name not in names:
            least = bounds.var_to_range[expression].lower
            hint = bounds.backed_var_to_val.get(expression)
            if hint is None:
                raise UnnamedSizeError("a size is not known before it runs")
            least = int(least) if least.is_Integer and int(least) > 0 else 0
            names[name] = dim(name, min=least, hint=int(hint))
        return names[name]
    make = _EXPRESSIONS.get(type(expression).__name__)
    if make is None:
        raise UnnamedSizeError(f"a size is {expression}")
    parts = [_of_expression(argument, bounds, names) for argument in expression.args]
    combined = parts[0]
    for part in parts[1:]:
        combined = make(combined, part)
    return combined


#: Classes of SymPy and PyTorch by name -> what computes sizes.
_EXPRESSIONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Add": python.add, "Mul": python.mul, "Pow": python.pow, "FloorDiv": floordiv,
    "CleanDiv": floordiv, "IntTrueDiv": floordiv, "Mod": python.mod, "PythonMod": python.mod,
    "Max": maximum, "Min": minimum,
}  # fmt: skip
