"""A program of JAX as a callable of values in containers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from staticgrad.interop.lax.primitives import LaxType, cast
from staticgrad.interop.lax.program import LaxProgram
from staticgrad.language.functions.trees import ARRAYS, REGISTERED, Rebuilt
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.operands import as_value
from staticgrad.support.containers import filled, is_named_tuple, items_of, parts_in
from staticgrad.support.errors import ArgumentError
from staticgrad.support.errors.wording import kind_of
from staticgrad.support.optional import jax


class Registered(Rebuilt):
    """The structure of an object of a class that is registered with JAX, without its parts."""

    def __init__(self, structure: Any) -> None:
        super().__init__({}, {})
        self.structure = structure

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Registered) and bool(self.structure == other.structure)

    def __hash__(self) -> int:
        return hash(self.structure)

    def rebuilt(self, parts: Any) -> Any:
        """Return the object of these parts, as its class makes it for JAX."""
        return jax.tree_util.tree_unflatten(self.structure, list(parts))


def _taken_apart(tree: Any) -> tuple[dict[Any, Any], Registered]:
    """Return parts by name, and the structure."""
    found, structure = jax.tree_util.tree_flatten_with_path(tree, lambda each: each is not tree)
    return {_name(path[0]): part for path, part in found}, Registered(structure)


def _name(key: Any) -> Any:
    """Return the name of a part, or its number."""
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return str(key)


def register_class(kind: type) -> None:
    """Let objects of a class that is registered with JAX be containers here, too."""
    REGISTERED[kind] = _taken_apart


def register_keys(tree: Any) -> None:
    """Let typed keys of random numbers, of the classes in a tree, be arrays of their words."""
    for leaf in jax.tree_util.tree_leaves(tree):
        dtype = getattr(leaf, "dtype", None)
        if dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
            ARRAYS[type(leaf)] = lambda key: np.asarray(jax.random.key_data(key))


def register_classes(tree: Any) -> None:
    """Let objects in a tree whose classes are registered with JAX be containers here, too."""
    if isinstance(tree, Value) or jax.tree_util.all_leaves([tree]):
        return
    plain = isinstance(tree, dict) or type(tree) in (tuple, list) or is_named_tuple(type(tree))
    if tree is not None and not plain:
        register_class(type(tree))
    for part in jax.tree_util.tree_leaves(tree, is_leaf=lambda each: each is not tree):
        register_classes(part)


def plain_tree(tree: Any, classes: set[type]) -> Any:
    """Return containers whose leaves are places, and note the classes that are registered with JAX.

    Raises:
        ArgumentError: containers of other classes.
    """
    if tree is None or isinstance(tree, int):
        return tree
    if isinstance(tree, dict) or type(tree) in (tuple, list) or is_named_tuple(type(tree)):
        return filled(tree, [plain_tree(each, classes) for each in parts_in(tree) or ()])
    if not jax.tree_util.all_leaves([tree]):
        classes.add(type(tree))
        register_class(type(tree))
        parts, rest = _taken_apart(tree)
        return rest.rebuilt([plain_tree(each, classes) for each in parts.values()])
    raise ArgumentError(
        f"jax.trace: arguments and results in {kind_of(tree)} are not supported",
        hint="dicts, lists and tuples: jax.tree_util.tree_leaves(tree) is a list",
    )


class JaxProgram:
    """A traced function: its program, and the containers of arguments and results."""

    def __init__(
        self, program: LaxProgram, arguments: Any, results: Any, name: str, classes: Iterable[type]
    ) -> None:
        self.program, self.arguments, self.results = program, arguments, results
        self.classes = tuple(classes)
        self.__name__ = self.__qualname__ = name

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for each in self.classes:
            register_class(each)

    def __call__(self, *args: Any) -> Any:
        """Return the results for values in the containers of the example.

        Raises:
            ArgumentError: other containers, shapes or element types.
        """
        given: dict[int, Any] = {}
        _match(self.arguments, args, given, self.__name__, "the arguments")
        operands = [
            _operand(self.__name__, given[place], kind)
            for place, kind in enumerate(self.program.inputs)
        ]
        return _filled(self.results, self.program.run(operands))


def _match(wanted: Any, given: Any, into: dict[int, Any], name: str, where: str) -> None:
    if isinstance(wanted, int):
        into[wanted] = given
        return
    if wanted is None:
        if given is not None:
            raise ArgumentError(f"{name}: {where} is {kind_of(given)}, the example has None there")
        return
    if type(wanted) in REGISTERED:
        items, rest = _taken_apart(wanted)
        parts: dict[Any, Any]
        parts, other = _taken_apart(given) if type(given) is type(wanted) else ({}, None)
        same = rest == other
    else:
        items, parts = dict(items_of(wanted) or ()), dict(items_of(given) or ())
        is_mapping = isinstance(wanted, Mapping)
        same = (
            isinstance(given, Mapping | list | tuple) and isinstance(given, Mapping) is is_mapping
        )
    if same and parts.keys() == items.keys():
        for key, each in items.items():
            _match(each, parts[key], into, name, f"{where}[{key!r}]")
        return
    raise ArgumentError(
        f"{name}: {where} has other containers than the example that it was traced with",
        hint="sg.jax.trace(f, *example) for these arguments",
    )


def _filled(tree: Any, values: Any) -> Any:
    if isinstance(tree, int):
        return values[tree]
    if type(tree) in REGISTERED:
        of_name, rest = _taken_apart(tree)
        return rest.rebuilt([_filled(each, values) for each in of_name.values()])
    parts = parts_in(tree)
    return None if parts is None else filled(tree, [_filled(each, values) for each in parts])


def _operand(name: str, given: Any, kind: LaxType) -> Any:
    """An argument in the type of the example; 64 bits count as 32, as JAX counts them."""
    is_number = isinstance(given, bool | int | float | complex)
    value = as_value(given)
    shape = (*kind.shape, 2) if kind.is_key else tuple(kind.shape)
    narrow = value.dtype.name.replace("128", "64x").replace("64", "32", 1)
    narrow = "complex64" if value.dtype.name == "complex128" else narrow
    if value.dtype.name != kind.dtype and (narrow == kind.dtype or is_number):
        value = cast(value, kind.dtype)
    if value.dtype.name != kind.dtype or tuple(value.shape) != shape:
        wanted = f"{kind.dtype}[{', '.join(map(str, shape))}]"
        raise ArgumentError(
            f"{name}: an argument is {value.type}, it was traced with {wanted}",
            hint="sg.jax.trace(f, *example) for these arguments",
        )
    return value
