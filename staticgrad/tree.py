"""Trees: dicts, lists, tuples, dataclasses and modules of values, as functions take and give them.

A function of one value becomes one of a whole tree: a step of all parameters of a module, say, as a
module. None holds no value; a complex value is one leaf. Names are those of ``jax.tree``. Public as
``sg.tree``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.extend import (
    Value,
    kind_of,
    namespace,
    trees,
)
from staticgrad.extend.trees import Tree

_TreeOf = TypeVar("_TreeOf")

__all__ = ["flatten", "flatten_func", "leaves", "map", "ravel_pytree", "unflatten"]

_AS_THEY_ARE: Final = "dataclasses, named tuples and modules are trees as they are"
#: Further functions of ``jax.tree`` and ``jax.tree_util`` -> what to write here.
_INSTEAD: Final = {
    "reduce": "functools.reduce(f, sg.tree.leaves(tree)); a total: sum(sg.tree.leaves(tree))",
    "all": "all(sg.tree.leaves(tree))",
    "structure": "sg.tree.flatten(tree)[1]",
    **dict.fromkeys(
        ("map_with_path", "leaves_with_path", "flatten_with_path"),
        "of a module: model.named_parameters(); of a dict its items",
    ),
    **dict.fromkeys(
        ("register", "register_dataclass", "register_pytree_node", "register_pytree_node_class"),
        _AS_THEY_ARE,
    ),
}


def map(f: Callable[..., Any], tree: _TreeOf, *others: Any) -> _TreeOf:
    """Apply ``f`` to each leaf of a tree.

    Args:
        f: takes a leaf of each tree.
        tree: a tree of any leaves, a module too: the result is one of its class.
        others: trees built alike.

    >>> sg.tree.map(lambda x, y: x + y, {"a": 1, "b": (2, None)}, {"a": 10, "b": (20, None)})
    {'a': 11, 'b': (22, None)}
    >>> layer = sg.nn.Linear(3, 2)
    >>> nothing = sg.tree.map(lambda p: np.zeros(p.shape), layer)
    >>> type(nothing).__name__, nothing.weight.shape
    ('Linear', (3, 2))
    """

    leaves, shape = trees.flatten(tree, keep_complex=True)
    columns = [leaves]
    for extra_tree in others:
        extra_leaves, built = trees.flatten(extra_tree, keep_complex=True)
        if str(built) != str(shape):
            raise ArgumentError(
                "tree.map: the trees are built differently", details=[f"{shape}", f"{built}"]
            )
        columns.append(extra_leaves)
    results = [f(*args) for args in zip(*columns, strict=True)]
    mapped: _TreeOf = trees.unflatten(shape, results)
    return mapped


def leaves(tree: Any) -> list[Any]:
    """The leaves of a tree of dicts, lists, tuples, dataclasses and modules, in order.

    None has no leaf.

    >>> leaves({"a": 1, "b": [2, (3,)]})
    [1, 2, 3]
    """
    return trees.flatten(tree, keep_complex=True)[0]


def flatten(tree: Any) -> tuple[list[Any], Tree]:
    """The leaves of a tree, and its containers, which ``unflatten`` takes.

    >>> print(flatten({"a": 1, "b": [2, (3,)]})[1])
    {'a': ?, 'b': [?, (?,)]}
    """
    return trees.flatten(tree, keep_complex=True)


def unflatten(tree: Any, leaves: Sequence[Any]) -> Any:
    """The tree of these leaves, with the containers that ``flatten`` gives.

    >>> unflatten(flatten({"a": 1, "b": 2})[1], "xy")
    {'a': 'x', 'b': 'y'}
    """
    if not isinstance(tree, Tree):
        raise ArgumentError(
            f"tree.unflatten: tree is {kind_of(tree)}", hint="leaves, tree = sg.tree.flatten(x)"
        )
    if len(leaves) != tree.count:
        raise ArgumentError(f"tree.unflatten: {tree} takes {tree.count} leaves, not {len(leaves)}")
    return trees.unflatten(tree, leaves)


def ravel_pytree(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The leaves of a tree as one vector, and the function that makes the tree of such a vector.

    Leaves are in the order of ``leaves``: those of a dict as they stand in it.

    Args:
        tree: a tree of arrays, numbers or values.

    Returns:
        The vector, in the dtype that the leaves have together, and a function of vectors of its
        size, whose leaves have the shapes and dtypes that they had.

    Raises:
        ShapeError: of the function, a vector of another size.

    >>> vector, unravel = ravel_pytree({"w": np.ones((2, 1)), "b": 3.0})
    >>> vector
    array([1., 1., 3.])
    >>> unravel(2.0 * vector)["w"].shape
    (2, 1)
    """
    leaves, built = trees.flatten(tree, keep_complex=True)
    parts: list[Any] = [leaf if isinstance(leaf, Value) else np.asarray(leaf) for leaf in leaves]
    vector: Any = np.concatenate([np.ravel(part) for part in parts]) if parts else np.zeros(0)
    sizes = [math.prod(part.shape) for part in parts]

    def unravel(vector: Any) -> Any:
        """Split a vector into the leaves of the tree that was raveled."""
        if np.shape(vector) != (sum(sizes),):
            raise ShapeError(
                f"unravel: a vector of {sum(sizes)} elements makes this tree, not"
                f" {np.shape(vector)}"
            )
        results, start = [], 0
        for part, size in zip(parts, sizes, strict=True):
            entries = vector[start : start + size]
            results.append(entries.reshape(part.shape).astype(part.dtype))
            start += size
        return trees.unflatten(built, results)

    return vector, unravel


def flatten_func(
    f: Callable[..., Any], example: Any
) -> tuple[Callable[..., Any], Callable[[Any], Any], Any]:
    """Return a function of trees as one of vectors, for optimizers that take a vector.

    Args:
        f: takes a tree built like ``example``, then whatever else, and gives a tree or a number.
        example: a tree of arrays, numbers or values.

    Returns:
        The function of vectors, whose result is a vector too (of a number, one of one element);
        the function that makes the tree of a vector; and ``example`` as a vector. The last two are
        those of ``ravel_pytree``.

    Raises:
        ShapeError: of both functions, a vector of another size.

    >>> loss, unravel, vector = flatten_func(
    ...     lambda tree, scale: scale * (tree["w"] ** 2).sum(), {"w": np.array([1.0, 2.0])}
    ... )
    >>> vector, loss(vector, 10.0), unravel(vector)
    (array([1., 2.]), array([50.]), {'w': array([1., 2.])})
    """
    vector, unravel = ravel_pytree(example)

    def of_vectors(vector: Any, *args: Any, **kwargs: Any) -> Any:
        return ravel_pytree(f(unravel(vector), *args, **kwargs))[0]

    return of_vectors, unravel, vector


namespace(globals(), instead=_INSTEAD)
