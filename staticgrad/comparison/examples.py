"""Example arguments of what is compared: their arrays by name, and the containers they come in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from staticgrad.comparison.model import Array
from staticgrad.comparison.training import in_containers
from staticgrad.functions.trees import Tree, flatten, paths, unflatten
from staticgrad.records import dataclass


@dataclass(frozen=True, eq=False)
class Argument:
    """The containers of one argument, and its leaves: True for an array, else what stands there."""

    containers: Tree
    leaves: tuple[Any, ...]

    def of(self, arrays: Iterator[Any]) -> Any:
        """The argument with the next arrays in it."""
        found = [next(arrays) if each is True else each[0] for each in self.leaves]
        return unflatten(self.containers, found)


@dataclass(frozen=True, eq=False)
class Examples:
    """The arguments that a function or module is called with.

    Attributes:
        arrays: all arrays in order, by the names of the arguments; an array in a container is named
            by the way to it, ``batch['x']`` as ``batch_x``.
        arguments: how each argument is made of them. Texts in containers are part of it.
    """

    arrays: dict[str, Array] = field(default_factory=dict)
    arguments: tuple[Argument, ...] = ()

    @classmethod
    def named(cls, names: Sequence[str], arguments: Sequence[Any]) -> Examples:
        """Those of these arguments."""
        found: dict[str, Array] = {}
        made = []
        for name, argument in zip(names, arguments, strict=True):
            leaves, tree = flatten(_with_arrays(argument))
            kept: list[Any] = []
            for path, leaf in zip(paths(tree, name), leaves, strict=True):
                is_static = isinstance(leaf, str | bytes) and tree.kind is not object
                kept.append((leaf,) if is_static else True)
                if not is_static:
                    found[_identifier(path, found)] = _array(leaf)
            made.append(Argument(tree, tuple(kept)))
        return cls(found, tuple(made))

    def in_a_row(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` as one of the arrays in their order."""
        if all(each.containers.kind is object for each in self.arguments):
            return function

        def packed(arrays: Sequence[Any]) -> list[Any]:
            left = iter(arrays)
            return [each.of(left) for each in self.arguments]

        return in_containers(function, packed)


def _with_arrays(tree: Any) -> Any:
    """The tree with arrays in the place of lists of numbers."""
    if isinstance(tree, dict):
        return {key: _with_arrays(each) for key, each in tree.items()}
    if not isinstance(tree, list | tuple) or hasattr(tree, "_fields"):
        return tree
    leaves, _ = flatten(tree)
    if leaves and all(isinstance(leaf, int | float | np.generic) for leaf in leaves):
        return np.asarray(tree)
    return type(tree)(_with_arrays(each) for each in tree)


def _array(leaf: Any) -> Array:
    return leaf if isinstance(leaf, np.ndarray) else np.asarray(getattr(leaf, "data", leaf))


def _identifier(path: str, taken: dict[str, Array]) -> str:
    """The name of a parameter of a function; with a number behind it where it is taken."""
    name = re.sub(r"\W+", "_", path).strip("_") or "x"
    tried, k = name, 1
    while tried in taken:
        k += 1
        tried = f"{name}_{k}"
    return tried
