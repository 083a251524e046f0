"""The arguments of one call of a traced function: arrays by name, and what is static.

Arrays become inputs of the graph, named from their positions: ``x``, ``batch.image``, ``pair.0``.
Everything else (numbers, strings, bools, None, functions, objects) is part of the signature; a
number that only arithmetic uses is an input from its second value on (``ir/python_numbers.py``).

At first every size is literal. An axis that comes with a second size has a name from then on, and
axes whose sizes changed together share one, so that further sizes compile nothing, but for far
larger ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from inspect import BoundArguments, Parameter as Argument, Signature, signature
from operator import is_
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import kind_of, quote
from staticgrad.language.ir.graph import Parameter
from staticgrad.language.ir.op import as_array
from staticgrad.language.ir.python_numbers import Number
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.operands import dtype_of
from staticgrad.language.trees import Tree, flatten, has_patterns, opened_tree, unflatten
from staticgrad.language.types.arrays import Shape, is_array_like
from staticgrad.language.types.dim import dim
from staticgrad.language.types.dtype import DType, as_dtype

#: The size of each axis of all arguments, one after the other: a number or a name.
Spec = tuple[int | str, ...]


class _Optional:
    """The default of an argument that stays away where it is not given."""

    def __repr__(self) -> str:
        return "..."


_OPTIONAL: Final = _Optional()
#: What is set on functions for which it matters whether an argument was given by name.
TELLS_NAMES: Final = "__staticgrad_tells_names__"
#: Larger ints are static.
_LARGEST_INT: Final = 2**63 - 1


class CallArguments:
    """The arguments of one call.

    Attributes:
        arrays: the arrays by name, in order.
        key: what another call must have alike to be of the same signature: containers, element
            types, ranks, and whatever is static.
        dtypes: the element types of the arrays.
        sizes: the sizes of all arrays, one after the other.
        statics: the numbers, strings and so on by name.
        numbers: those of them that may be inputs: ints and floats of Python, by name.
        objects: the arguments that are static as a whole.
        is_open: patterns of sparse matrices are arrays of it, and not static.
        has_values: there is a value or a tensor among them; nothing else is known then, but
            ``kind``: that of the tensor, None of a value of a graph.
    """

    def __init__(
        self, bound: BoundArguments, static: Sequence[str], by_name: Sequence[str] = (),
        is_open: bool = False,
    ) -> None:  # fmt: skip
        """Store the arguments of a call; some mean something else when given by name."""
        self._takes, self.is_open = bound.signature, is_open
        self._made_of = bound, static, by_name
        static_arguments = {
            name: argument for name, argument in bound.arguments.items() if name in static
        }
        free = {name: argument for name, argument in bound.arguments.items() if name not in static}
        self._order, self._static_arguments = tuple(bound.arguments), static_arguments
        self.leaves, self._tree = flatten(free)
        if is_open:
            self.leaves, self._tree = opened_tree(self._tree, self.leaves)
        self.arrays: dict[str, Any] = {}
        self.statics: dict[str, Any] = dict(static_arguments)
        self.dtypes: list[DType] = []
        self.shapes: list[tuple[int, ...]] = []
        self.numbers: dict[str, Number] = {}
        self._places: dict[str, tuple[int, int]] = {}  # of numbers: in leaves and in the key
        key: list[Any] = [
            self._tree,
            by_name,
            *map(_hashable, static_arguments, static_arguments.values()),
        ]
        self.has_values = False
        for place, name in enumerate(_names(self._tree, "")):
            leaf = self.leaves[place]
            if is_value(leaf):
                self.has_values, self.kind = True, leaf.kind if leaf.computes else None
                return
            if is_array(leaf):
                is_one = hasattr(leaf, "shape") and hasattr(leaf, "dtype")
                array = leaf if is_one else as_array(leaf, name)  # a table of pandas has no dtype
                if name in self.arrays:
                    raise ArgumentError(
                        f"two arrays are called {name!r} from their positions",
                        hint="a key with a point in it is written as a key inside of another dict",
                    )
                self.arrays[name] = leaf
                try:
                    self.dtypes.append(as_dtype(array.dtype))
                except TypeError:  # of another library, or none of ours
                    self.dtypes.append(dtype_of(as_array(array, name).dtype, of=name))
                self.shapes.append(tuple(map(int, array.shape)))
                key.append((name, self.dtypes[-1].name, len(array.shape)))
            else:
                if is_number(leaf):
                    self.numbers[name], self._places[name] = leaf, (place, len(key))
                self.statics[name] = leaf
                key.append(_hashable(name, leaf))
        self.key = tuple(key)
        self.objects = {n: argument for n, argument in bound.arguments.items() if n in self.statics}
        self.sizes = tuple(size for shape in self.shapes for size in shape)

    @property
    def ranks(self) -> tuple[tuple[str, int], ...]:
        """Return the number of axes of each array, by name."""
        return tuple((n, len(s)) for n, s in zip(self.arrays, self.shapes, strict=True))

    @property
    def has_patterns(self) -> bool:
        """Return whether there are sparse matrices whose patterns are static."""
        return has_patterns(self._tree)

    def open_patterns(self) -> CallArguments:
        """Return the arguments with the patterns of sparse matrices as arrays."""
        return CallArguments(*self._made_of, is_open=True)

    def key_with(self, inputs: Collection[str]) -> tuple[Any, ...]:
        """Return the key of calls with any values of these numbers."""
        key = list(self.key)
        for name in inputs:
            key[self._places[name][1]] = (name, type(self.numbers[name]))
        return tuple(key)

    def call(
        self,
        function: Callable[..., Any],
        values: Sequence[Any],
        numbers: Mapping[str, Any] = MappingProxyType({}),
    ) -> tuple[Any, list[str]]:
        """Return the function's result for these arguments, with ``values`` in place of the arrays.

        ``numbers`` replace those of their names. Also return the names of those arguments whose
        containers it changes.
        """
        replacements = iter(values)
        leaves = [next(replacements) if is_array(leaf) else leaf for leaf in self.leaves]
        for name, number in numbers.items():
            leaves[self._places[name][0]] = number
        free = {**unflatten(self._tree, leaves), **self._static_arguments}
        bound = BoundArguments(self._takes, {name: free[name] for name in self._order})
        flat_arguments = {name: flatten(free[name], keep_complex=True) for name in self._tree.keys}
        result = function(*bound.args, **bound.kwargs)
        changed = []
        for name, (leaves_before, tree_before) in flat_arguments.items():
            again, tree = flatten(free[name], keep_complex=True)
            if tree != tree_before or not all(map(is_, again, leaves_before)):
                changed.append(name)
        return result, changed


def tells_names(f: Any) -> bool:
    """Return whether a function treats an argument by name differently from one by position."""
    return bool(getattr(f, TELLS_NAMES, False))


def with_names(takes: Signature, names: Iterable[str]) -> Signature:
    """Make parameters of these names keyword-only in a signature."""
    keyword_names = {*names}
    parameters = [
        parameter.replace(kind=parameter.KEYWORD_ONLY)
        if parameter.name in keyword_names and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        else parameter
        for parameter in takes.parameters.values()
    ]
    return takes.replace(parameters=sorted(parameters, key=lambda parameter: parameter.kind))


def bound_to(takes: Signature, name: str, args: Any, kwargs: Any) -> BoundArguments:
    """Bind the arguments of a call to a signature, with defaults filled in."""
    try:
        bound = takes.bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"{name}{takes}: {error}") from None
    bound.apply_defaults()
    away = (_OPTIONAL, np._NoValue)  # the default of NumPy's functions
    for unset in [n for n, value in bound.arguments.items() if any(value is x for x in away)]:
        del bound.arguments[unset]
    return bound


def signature_of(f: Callable[..., Any]) -> Signature:
    """Return the signature of a function; that of a ufunc has its operands."""
    if not isinstance(f, np.ufunc):
        return signature(f)
    names = [f"x{k + 1}" for k in range(f.nin)] if f.nin > 1 else ["x"]
    return Signature([Argument(name, Argument.POSITIONAL_ONLY) for name in names])


def without_defaults(f: Callable[..., Any]) -> Signature | None:
    """Return the signature without default values, for ``bound_to``; None if it is unavailable.

    For callers that distinguish an omitted argument from its default: a default of ``vmap``'s
    function has no batch axis.
    """
    try:
        signature = signature_of(f)
    except (TypeError, ValueError):
        return None
    parameters = [
        parameter if parameter.default is Signature.empty else parameter.replace(default=_OPTIONAL)
        for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters)


def is_array(leaf: Any) -> bool:
    """Return whether a leaf becomes an input of the graph."""
    kind = type(leaf)
    if kind is np.ndarray:
        return True
    if kind in (float, int, bool, str):  # mostly the others, and no search for protocols
        return False
    return not isinstance(leaf, Value) and is_array_like(leaf)


def is_number(leaf: Any) -> bool:
    """Return whether a leaf is a Python number that may become an input of the graph."""
    return type(leaf) is float or (type(leaf) is int and abs(leaf) <= _LARGEST_INT)


def is_value(leaf: Any) -> bool:
    """Return whether a leaf is a value or a tensor; parameters count as closed over."""
    return isinstance(leaf, Value) and not isinstance(leaf, Parameter)


def static_key(name: str, leaf: Any) -> Any:
    """Return what two calls have in common that have equal static arguments.

    Raises:
        TypeError: it has no hash.
    """
    if isinstance(leaf, Parameter):
        return (name, id(leaf.store))
    if isinstance(leaf, float):
        return (name, float, repr(leaf))
    hash(leaf)
    return (name, type(leaf), leaf)


def _hashable(name: str, leaf: Any) -> Any:
    """Return the cache key of a static argument; raise an error if it has no hash."""
    try:
        return static_key(name, leaf)
    except TypeError:
        neither = "it cannot be static" if is_array(leaf) else "neither an array nor static"
        raise ArgumentError(
            f"{name} is {quote(leaf)}, {kind_of(leaf)}: {neither}, because it has no hash",
            hint=f"a Python number is: {name}=int({name}); an array is always an input"
            if is_array(leaf)
            else f"f(sg.sparse.csr({name}), ...): its elements are then the input; or close over it"
            if hasattr(leaf, "tocsr")
            else "arrays in dicts, lists and tuples are inputs; what is static is compared by hash"
            + ("\nlist(x) or dict(x) of another container" if isinstance(leaf, Iterable) else ""),
        ) from None


def _names(tree: Tree, name: str) -> list[str]:
    """Return the names of inputs: ``batch.image``."""
    if tree.kind is object:
        return [name]
    parts = zip(tree.keys, tree.parts, strict=True)
    inner = [(f"{name}.{key}" if name else str(key), part) for key, part in parts]
    return [leaf for path, part in inner for leaf in _names(part, path)]


def spec_of(
    seen: Sequence[Sequence[int]], labels: Sequence[str], user_names: Mapping[int, str]
) -> Spec:
    """Choose literal or named sizes for a trace: sizes that differ among the calls get names."""
    names: dict[tuple[int, ...], str] = {}
    spec: list[int | str] = []
    for place, column in enumerate(zip(*seen, strict=True)):
        if place in user_names:
            spec.append(user_names[place])
        elif len(set(column)) == 1:
            spec.append(column[0])
        else:
            spec.append(names.setdefault(column, labels[place]))
    return tuple(spec)


def fits(spec: Spec, sizes: Sequence[int]) -> bool:
    """Test whether a traced program with literal and named sizes accepts these sizes."""
    sizes_by_name: dict[str, int] = {}
    return len(spec) == len(sizes) and all(
        sizes_by_name.setdefault(expected, size) == size
        if isinstance(expected, str)
        else expected == size
        for expected, size in zip(spec, sizes, strict=True)
    )


def largest_sizes(spec: Spec, seen: Sequence[Sequence[int]]) -> dict[str, int]:
    """Return the largest size among the calls by each name of a spec."""
    largest: dict[str, int] = {}
    for sizes in seen:
        for name, size in zip(spec, sizes, strict=True):
            if isinstance(name, str):
                largest[name] = max(size, largest.get(name, 0))
    return largest


def shapes_of(spec: Spec, ranks: Sequence[int], hints: Mapping[str, int]) -> list[Shape]:
    """Return the shapes of the arguments. Named sizes have these hints."""
    sizes = [dim(size, hint=hints.get(size)) if isinstance(size, str) else size for size in spec]
    shapes, start = list[Shape](), 0
    for rank in ranks:
        shapes.append(tuple(sizes[start : start + rank]))
        start += rank
    return shapes
