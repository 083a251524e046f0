"""A program of JAX as a callable of values in containers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from staticgrad.bridges.operands import ForeignType, fit_argument
from staticgrad.errors import ArgumentError
from staticgrad.extend import kind_of
from staticgrad.extend.trees import (
    fill_container,
    is_named_tuple,
    items_of,
    parts_in,
    registered_parts,
)
from staticgrad.jax.lax.program import LaxProgram


def plain_tree(tree: Any) -> Any:
    """Replace the leaves of JAX containers by their positions.

    Raises:
        ArgumentError: containers of other classes.
    """
    if tree is None or isinstance(tree, int):
        return tree
    if type(tree) in (dict, tuple, list) or is_named_tuple(type(tree)):
        return fill_container(tree, [plain_tree(part) for part in parts_in(tree) or ()])
    registered = registered_parts(tree)
    if registered is not None:
        parts, structure = registered
        return structure.rebuilt([plain_tree(part) for part in parts.values()])
    raise ArgumentError(
        f"jax.trace: arguments and results in {kind_of(tree)} are not supported",
        hint="dicts, lists and tuples: jax.tree_util.tree_leaves(tree) is a list",
    )


class JaxProgram:
    """A traced function: its program, and the containers of arguments and results."""

    def __init__(self, program: LaxProgram, arguments: Any, results: Any, name: str) -> None:
        self.program, self.arguments, self.results = program, arguments, results
        self.__name__ = self.__qualname__ = name

    def __call__(self, *args: Any) -> Any:
        """Return the results for values in the containers of the example.

        Raises:
            ArgumentError: other containers, shapes or element types.
        """
        arrays_by_place: dict[int, Any] = {}
        _match_leaves(self.arguments, args, arrays_by_place, self.__name__, "the arguments")
        operands = [
            _check_operand(self.__name__, arrays_by_place[place], kind)
            for place, kind in enumerate(self.program.inputs)
        ]
        return _fill_containers(self.results, self.program.values(operands))


def _match_leaves(expected: Any, actual: Any, into: dict[int, Any], name: str, where: str) -> None:
    """Match the arguments of a traced JAX program with the example's containers; collect leaves."""
    if isinstance(expected, int):
        into[expected] = actual
        return
    if expected is None:
        if actual is not None:
            raise ArgumentError(f"{name}: {where} is {kind_of(actual)}, the example has None there")
        return
    registered = registered_parts(expected) if items_of(expected) is None else None
    if registered is not None:
        items, expected_structure = registered
        parts: dict[Any, Any]
        parts, actual_structure = (type(actual) is type(expected) and registered_parts(actual)) or (
            {},
            None,
        )
        same = expected_structure == actual_structure
    else:
        items, parts = dict(items_of(expected) or ()), dict(items_of(actual) or ())
        is_mapping = isinstance(expected, Mapping)
        same = (
            isinstance(actual, Mapping | list | tuple) and isinstance(actual, Mapping) is is_mapping
        )
    if same and parts.keys() == items.keys():
        for key, expected_part in items.items():
            _match_leaves(expected_part, parts[key], into, name, f"{where}[{key!r}]")
        return
    raise ArgumentError(
        f"{name}: {where} has other containers than the example that it was traced with",
        hint="sg.jax.trace(f, *example) for these arguments",
    )


def _fill_containers(tree: Any, values: Any) -> Any:
    """Fill containers of a JAX program's output with its results."""
    if isinstance(tree, int):
        return values[tree]
    if type(tree) in (dict, tuple, list) or is_named_tuple(type(tree)):
        parts = parts_in(tree) or ()
        return fill_container(tree, [_fill_containers(part, values) for part in parts])
    registered = registered_parts(tree)
    if registered is None:
        return None
    by_name, structure = registered
    return structure.rebuilt([_fill_containers(part, values) for part in by_name.values()])


def _check_operand(name: str, argument: Any, kind: ForeignType) -> Any:
    """Check an argument of a JAX program against the example's type; 64 bits count as 32."""
    is_number = isinstance(argument, bool | int | float | complex)
    return fit_argument(
        f"{name}: an argument",
        argument,
        kind,
        "the example",
        lambda dtype, expected: is_number or _NARROW.get(dtype) == expected,
        hint="sg.jax.trace(f, *example) for these arguments",
    )


#: Element types of 64 bits -> those that JAX has in their places.
_NARROW: Final = {
    "float64": "float32", "int64": "int32", "uint64": "uint32", "complex128": "complex64",
}  # fmt: skip
