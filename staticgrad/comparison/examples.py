"""Example arguments of what is compared: their arrays by name, and the containers they come in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from staticgrad.comparison.model import Array
from staticgrad.comparison.training import in_containers
from staticgrad.functions.trees import Tree, flatten, paths, unflatten
from staticgrad.records import dataclass


@dataclass(frozen=True, eq=False)
class Examples:
    """The arguments that a function or module is called with.

    Attributes:
        arrays: all arrays in order, by the names of the arguments; an array in a container is named
            by the way to it, ``batch['x']`` as ``batch_x``.
        arguments: the containers of each argument.
    """

    arrays: dict[str, Array] = field(default_factory=dict)
    arguments: tuple[Tree, ...] = ()

    @classmethod
    def named(cls, names: Sequence[str], arguments: Sequence[Any]) -> Examples:
        """Those of these arguments."""
        found: dict[str, Array] = {}
        trees = []
        for name, argument in zip(names, arguments, strict=True):
            leaves, tree = ([argument], LEAF) if _is_array(argument) else flatten(argument)
            trees.append(tree)
            for path, leaf in zip(paths(tree, name), leaves, strict=True):
                found[_identifier(path, found)] = _array(leaf)
        return cls(found, tuple(trees))

    def in_a_row(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` as one of the arrays in their order."""
        if all(tree.kind is object for tree in self.arguments):
            return function

        def packed(arrays: Sequence[Any]) -> list[Any]:
            left = iter(arrays)
            return [unflatten(t, [next(left) for _ in range(t.count)]) for t in self.arguments]

        return in_containers(function, packed)


#: An argument that is one array.
LEAF = Tree(object)


def _is_array(argument: Any) -> bool:
    """Whether an argument is one array: lists of numbers are, dicts and lists of arrays are not."""
    leaves, tree = flatten(argument)
    if tree.kind in (list, tuple):
        return all(isinstance(leaf, (int, float, complex, np.generic)) for leaf in leaves)
    return tree.kind is object


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
