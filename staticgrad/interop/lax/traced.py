"""A program of JAX as a callable of values in containers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from staticgrad.interop.lax.primitives import LaxType, cast
from staticgrad.interop.lax.program import LaxProgram
from staticgrad.language.functions.trees import registered_parts
from staticgrad.language.ops.operands import as_value
from staticgrad.support.containers import filled, is_named_tuple, items_of, parts_in
from staticgrad.support.errors import ArgumentError
from staticgrad.support.errors.wording import kind_of


def plain_tree(tree: Any) -> Any:
    """Return containers whose leaves are places.

    Raises:
        ArgumentError: containers of other classes.
    """
    if tree is None or isinstance(tree, int):
        return tree
    if isinstance(tree, dict) or type(tree) in (tuple, list) or is_named_tuple(type(tree)):
        return filled(tree, [plain_tree(each) for each in parts_in(tree) or ()])
    registered = registered_parts(tree)
    if registered is not None:
        parts, rest = registered
        return rest.rebuilt([plain_tree(each) for each in parts.values()])
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
    registered = registered_parts(wanted) if items_of(wanted) is None else None
    if registered is not None:
        items, rest = registered
        parts: dict[Any, Any]
        parts, other = (type(given) is type(wanted) and registered_parts(given)) or ({}, None)
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
    parts = parts_in(tree)
    if parts is not None:
        return filled(tree, [_filled(each, values) for each in parts])
    registered = registered_parts(tree)
    if registered is None:
        return None
    by_name, rest = registered
    return rest.rebuilt([_filled(each, values) for each in by_name.values()])


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
