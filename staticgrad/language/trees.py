"""Values in the user's containers: flattened to a list, and put back.

A tree is a value, or a dict, list, tuple, named tuple, dataclass or module of trees, an object of a
class of attrs or one that is registered with JAX, or None, which holds none. A dataclass is put
back with its fields as they are: neither ``__init__`` nor ``__post_init__`` runs, for what they do
has been done; so is a module with its attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache, singledispatch
from itertools import islice
from operator import is_
from sys import modules
from typing import Any

import numpy as np

from staticgrad.errors import GradientError, RankError
from staticgrad.errors.tracebacks import called_name
from staticgrad.language.calls.execution import as_graph_value
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.kinds import binding_kind
from staticgrad.language.ir.pairs import Complex, ComplexParameter, is_complex_data
from staticgrad.language.ir.value import Value
from staticgrad.language.types.arrays import of_parts
from staticgrad.support.containers import is_named_tuple, items_of
from staticgrad.support.optional import jax
from staticgrad.support.records import NamedTuple, Settings, dataclass

_PART = "?"  # how a leaf is written in messages
_FUNCTION = "function"


class Contents:
    """The contents of an object of another class (a module): trees by name, and static parts.

    Classes say it by a method ``tree_contents``. Two are equal whose static parts are: of one type
    each and equal, or, where they cannot be compared, the same object.
    """

    def __init__(self, parts: dict[str, Any], static: dict[str, Any]) -> None:
        self.parts, self.static = parts, static

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Contents) or [*self.static] != [*other.static]:
            return False
        pairs = zip(self.static.values(), other.static.values(), strict=True)
        return all(a is b or _equal(a, b) for a, b in pairs)

    def __hash__(self) -> int:
        return hash(tuple(self.static))


def _equal(a: Any, b: Any) -> bool:
    try:
        return type(a) is type(b) and bool(a == b)
    except Exception:
        return False


@dataclass(frozen=True)
class Tree:
    """The containers of a tree without its leaves.

    ``kind`` is dict, list, a class of tuples, a dataclass, None for no value, or ``object`` for a
    leaf; ``keys`` name the parts. Of a module ``static`` has what is no part; functions in its
    lists are no leaves, but parts that hold none, and ``static`` has them.
    """

    kind: Any
    keys: tuple[Any, ...] = ()
    parts: tuple[Tree, ...] = ()
    static: Contents | None = None

    @property
    def count(self) -> int:
        """The number of leaves."""
        return 1 if self.kind is object else sum(part.count for part in self.parts)

    @property
    def is_record(self) -> bool:
        """Return whether its parts are the fields of a dataclass, or the attributes of a module."""
        return _has_fields(self.kind) or (self.static is not None and self.kind is not None)

    def __str__(self) -> str:
        if self.kind is object:
            return _PART
        if self.kind is None:
            return "None" if self.static is None else _FUNCTION
        parts = [str(part) for part in self.parts]
        if self.kind is dict:
            items = zip(self.keys, parts, strict=True)
            return "{" + ", ".join(f"{key!r}: {part}" for key, part in items) + "}"
        if self.kind in (BothParts, StoredParts):
            return f"complex({', '.join(parts)})"
        if self.is_record:
            items = zip(self.keys, parts, strict=True)
            return f"{self.kind.__name__}({', '.join(f'{key}={part}' for key, part in items)})"
        inner = ", ".join(parts)
        return f"[{inner}]" if self.kind is list else f"({inner}{',' * (len(parts) == 1)})"


class BothParts(tuple[Any, ...]):
    """Stands in trees for a complex value, of real and imaginary part."""

    __slots__ = ()

    def __new__(cls, parts: Sequence[Any]) -> Any:
        """The complex value, or array, of both parts."""
        re, im = parts
        if isinstance(re, Value):
            return re.kind.complex_kind(re, im)  # type: ignore[attr-defined]
        if hasattr(re, "dtype"):
            return re + 1j * im
        return super().__new__(cls, parts)


class StoredParts(BothParts):
    """The same of a parameter, of what stores both parts."""

    __slots__ = ()

    def __new__(cls, parts: Sequence[Any]) -> Any:
        """The complex value, or array, whose parts lie along the last axis."""
        (stored,) = parts
        if not isinstance(stored, Value):
            return of_parts(stored)
        kind: Any = stored.complex_kind if stored.computes else ComplexParameter
        return kind.of(stored)


class Registered(Contents):
    """The structure of an object of a class that is registered with JAX, without its parts."""

    def __init__(self, structure: Any) -> None:
        super().__init__({}, {})
        self.structure = structure
        #: The structure down to the leaves; None: not known yet, or JAX has no such one (False).
        self._nested: Any = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Registered) and bool(self.structure == other.structure)

    def __hash__(self) -> int:
        return hash(self.structure)

    def rebuilt(self, parts: Sequence[Any]) -> Any:
        """Return the object of these parts, as its class makes it for JAX."""
        return jax.tree_util.tree_unflatten(self.structure, list(parts))

    def rebuild_nested(self, tree: Tree, leaves: Iterator[Any], conjugate: bool) -> Any:
        """Return the object of the leaves of ``tree``, whose structure this is, in one step."""
        if self._nested is None:
            self._nested = self._find_nested(tree)
        if self._nested is False:
            return self.rebuilt([_build_tree(part, leaves, conjugate) for part in tree.parts])
        return jax.tree_util.tree_unflatten(self._nested, [*islice(leaves, tree.count)])

    def _find_nested(self, tree: Tree) -> Any:
        """Return the structure of the whole object; False if JAX has other leaves or orders them.

        JAX sorts the keys of dicts, and does not contain complex values as two parts.
        """
        places = [_Place() for _ in range(tree.count)]
        remaining = iter(places)
        try:
            numbered = self.rebuilt([_build_tree(part, remaining, False) for part in tree.parts])
            leaves, structure = jax.tree_util.tree_flatten(numbered)
        except Exception:  # a class may refuse leaves that are no arrays
            return False
        same = len(leaves) == len(places) and all(map(is_, leaves, places))
        return structure if same else False


class _Place:
    """Stands for a leaf."""


def registered_parts(tree: Any) -> tuple[dict[Any, Any], Registered] | None:
    """Return the parts of an object of a class that is registered with JAX, by name, and the rest.

    Return None for any other object, and for all while JAX is not imported.
    """
    if "jax.tree_util" not in modules or isinstance(tree, np.ndarray | Value):
        return None
    if jax.tree_util.all_leaves([tree]):
        return None
    path_parts, structure = jax.tree_util.tree_flatten_with_path(
        tree, lambda node: node is not tree
    )
    return {_part_name(path[0]): part for path, part in path_parts}, Registered(structure)


def registered_leaves(tree: Any) -> tuple[list[Any], Any] | None:
    """Return the leaves of an object of a class that is registered with JAX, and its structure.

    Return None for any other object, for one whose structure has no hash, and for all while JAX is
    not imported.
    """
    if "jax.tree_util" not in modules or isinstance(tree, Value):
        return None
    if jax.tree_util.all_leaves([tree]):  # to flatten an iterator warns
        return None
    leaves, structure = jax.tree_util.tree_flatten(tree)
    try:
        hash(structure)
    except TypeError:
        return None
    return leaves, structure


def _part_name(key: Any) -> Any:
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return str(key)


def words_of_key(leaf: Any) -> Any:
    """Return the words of a typed key of JAX as an array, any other leaf unchanged."""
    if "jax.random" not in modules or not isinstance(leaf, jax.Array):
        return leaf
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return _compiled_key_data()(leaf) if is_key else leaf


@cache
def _compiled_key_data() -> Callable[[Any], Any]:
    """Return ``jax.random.key_data`` as a compiled function, whose calls take a third as long."""
    compiled: Callable[[Any], Any] = jax.jit(jax.random.key_data)
    return compiled


_PARTS = ("real", "imag")
_LEAF = Tree(object)


def flatten(tree: Any, keep_complex: bool = False) -> tuple[list[Any], Tree]:
    """The leaves of a tree in order, and its containers.

    A complex value is a container of its parts, so that who takes leaves takes real values; where
    it stays (``keep_complex``) it is a leaf.
    """
    leaves: list[Any] = []
    return leaves, _flatten_tree(tree, leaves, False, keep_complex)


def _flatten_tree(tree: Any, leaves: list[Any], in_module: bool, keep_complex: bool) -> Tree:
    if tree is None:
        return Tree(None)
    if isinstance(tree, Complex) and not keep_complex:
        parts = [tree.stored] if tree.is_stored else [tree.real, tree.imag]
        leaves += parts
        return Tree(
            StoredParts if tree.is_stored else BothParts,
            _PARTS[: len(parts)],
            (_LEAF,) * len(parts),
        )
    if is_module(tree):
        contents = tree.tree_contents()
        parts = [
            _flatten_tree(part, leaves, True, keep_complex) for part in contents.parts.values()
        ]
        return Tree(type(tree), tuple(contents.parts), tuple(parts), Contents({}, contents.static))
    is_subclass = isinstance(tree, dict | list) and type(tree) not in (dict, list)
    registered = registered_parts(tree) if is_subclass else None
    if registered is None and isinstance(tree, dict):
        keys, items, kind = tuple(tree), [*tree.values()], dict
    elif registered is None and isinstance(tree, list | tuple):
        keys, items, kind = tuple(range(len(tree))), [*tree], type(tree)  # type: ignore[assignment]
        if isinstance(tree, list):
            kind = list  # type: ignore[assignment]
    elif (registered := registered or registered_parts(tree)) is not None:
        by_name, registration = registered
        children = [
            _flatten_tree(part, leaves, in_module, keep_complex) for part in by_name.values()
        ]
        return Tree(type(tree), tuple(by_name), tuple(children), registration)
    elif is_record(tree):
        keys, kind = fields_of(tree), type(tree)
        items = [getattr(tree, name) for name in keys]
    elif in_module and callable(tree):
        return Tree(None, static=Contents({}, {_FUNCTION: tree}))
    else:
        leaves.append(words_of_key(tree))
        return Tree(object)
    return Tree(
        kind, keys, tuple([_flatten_tree(item, leaves, in_module, keep_complex) for item in items])
    )


def check_slices(tree: Tree) -> None:
    """Refuse a tree with a container whose leaves have no slices (``has_slices`` of its class)."""
    if not getattr(tree.kind, "has_slices", True):
        raise RankError(
            f"{called_name()}: a {tree.kind.__name__} has one pattern of elements,"
            " and no axis of slices",
            hint="let the function read it from around it, or pass its data",
        )
    for part in tree.parts:
        check_slices(part)


def is_module(tree: Any) -> bool:
    """Return whether ``tree`` is an object that says what it holds (``Contents``)."""
    return hasattr(type(tree), "tree_contents")


def is_record(tree: Any) -> bool:
    """Return whether ``tree`` is a user's dataclass. Settings (an optimizer) are no containers."""
    return _has_fields(type(tree)) and not isinstance(tree, Value | Settings | type)


def _has_fields(kind: Any) -> bool:
    """Return whether a class is a dataclass or one of attrs."""
    return hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__attrs_attrs__")


def fields_of(record: Any) -> tuple[str, ...]:
    """The names of the fields that a dataclass, or an object of a class of attrs, has."""
    of_attrs = getattr(type(record), "__attrs_attrs__", None)
    declared = fields(record) if of_attrs is None else of_attrs
    return tuple([field.name for field in declared if hasattr(record, field.name)])


class ObjectParts(NamedTuple):
    """The parts of an object by key, and how a saved state gets back into them.

    Attributes:
        by_key: returns the parts by key.
        restore: sets all parts to a saved state. None: each part is written by itself.
        paths: returns the parameters by their paths from the object. None: they are in the parts.
        are_names: keys begin with names of parameters, which another process may number otherwise.
        stored: returns, by the same keys, the parameters and stores whose arrays ``by_key`` copies.
            None: it copies none.
    """

    by_key: Callable[[], Mapping[Any, Any]]
    restore: Callable[[Mapping[str, Any]], object] | None = None
    paths: Callable[[], Mapping[str, Any]] | None = None
    are_names: bool = False
    stored: Callable[[], Mapping[Any, Any]] | None = None


@singledispatch
def parts(tree: Any) -> ObjectParts | None:
    """Return the parts of a container, or of an object that holds parameters; None for a leaf.

    Each class registers its parts where it is defined. An object of any other class has parts if
    it is a dataclass, or has the methods of a module or of a loader of data.
    """
    state, restore = getattr(tree, "state_dict", None), getattr(tree, "load_state_dict", None)
    if callable(state) and callable(restore):
        named = getattr(tree, "named_parameters", None)
        paths = (lambda: dict(named())) if callable(named) else None
        return ObjectParts(state, restore, paths, are_names=paths is None)
    if has_parameters(tree):
        return parts_by_name(tree.parameters)
    if is_record(tree):
        return ObjectParts(lambda: {name: getattr(tree, name) for name in fields_of(tree)})
    return None


def parts_by_name(parameters: Callable[[], Sequence[Any]]) -> ObjectParts:
    """Return the parts of an object that has no other keys for its parameters."""
    return ObjectParts(lambda: {p.name: p for p in parameters()}, are_names=True)


for _leaf in (Value, type):
    parts.register(_leaf, lambda leaf: None)
for _container in (Mapping, list, tuple):
    parts.register(
        _container, lambda container: ObjectParts(lambda: dict(items_of(container) or ()))
    )
parts.register(Graph, lambda graph: parts_by_name(lambda: graph.parameters))


def has_parameters(tree: Any) -> bool:
    """Return whether ``tree`` has a method ``parameters()``, as modules and averages do."""
    return callable(getattr(tree, "parameters", None))


def unflatten(tree: Tree, leaves: Sequence[Any], conjugate: bool = False) -> Any:
    """The tree of these leaves; ``conjugate``: complex values are made of their conjugates."""
    return _build_tree(tree, iter(leaves), conjugate)


def _build_tree(tree: Tree, leaves: Iterator[Any], conjugate: bool) -> Any:
    if tree.kind is object:
        return next(leaves)
    if tree.kind is None:
        return None if tree.static is None else tree.static.static[_FUNCTION]
    if isinstance(tree.static, Registered):
        return tree.static.rebuild_nested(tree, leaves, conjugate)
    parts = [_build_tree(part, leaves, conjugate) for part in tree.parts]
    if tree.kind is dict:
        return dict(zip(tree.keys, parts, strict=True))
    if tree.kind is list:
        return parts
    if tree.is_record:
        record = object.__new__(tree.kind)
        static = {} if tree.static is None else tree.static.static
        for key, part in (*static.items(), *zip(tree.keys, parts, strict=True)):
            object.__setattr__(record, key, part)
        return record
    if tree.kind in (BothParts, StoredParts):
        value = tree.kind(parts)
        return value.conj() if conjugate else value
    return tree.kind(*parts) if is_named_tuple(tree.kind) else tuple(parts)


def has_patterns(tree: Tree) -> bool:
    """Return whether a part of the tree is a sparse matrix, whose pattern is static."""
    return hasattr(tree.kind, "open_pattern") or any(map(has_patterns, tree.parts))


def opened_tree(tree: Tree, leaves: Sequence[Any]) -> tuple[list[Any], Tree]:
    """Return leaves and containers with the patterns of sparse matrices as leaves, too."""
    if hasattr(tree.kind, "open_pattern"):
        opened = unflatten(tree, leaves).open_pattern()
        opened_leaves, inner = flatten(opened)
        return opened_leaves, Tree(inner.kind, opened._fields, inner.parts)
    if tree.kind is object:
        return [*leaves], tree
    parts, all_leaves, first = [], list[Any](), 0
    for part in tree.parts:
        part_leaves, opened_part = opened_tree(part, leaves[first : first + part.count])
        first += part.count
        parts.append(opened_part)
        all_leaves += part_leaves
    return all_leaves, Tree(tree.kind, tree.keys, tuple(parts), tree.static)


def statics_of(tree: Tree) -> Iterator[Any]:
    """Yield the static parts of the modules in a tree."""
    if tree.static is not None:
        yield from tree.static.static.values()
    for part in tree.parts:
        yield from statics_of(part)


def paths(tree: Tree, name: str) -> list[str]:
    """Return how to write each leaf of ``name``: ``carry[0]``, ``carry['h']``."""
    if tree.kind is object:
        return [name]
    named = zip(tree.keys, tree.parts, strict=True)
    template = "{}.{}" if tree.is_record or tree.kind in (BothParts, StoredParts) else "{}[{!r}]"
    return [path for key, part in named for path in paths(part, template.format(name, key))]


def map_leaves(
    function: Callable[..., Any], tree: Any, *others: Any, conjugate: bool = False
) -> Any:
    """Apply ``function`` to each leaf, together with the leaves of trees of the same structure."""
    leaves, shape = flatten(tree)
    extra_leaves = [flatten(extra_tree)[0] for extra_tree in others]
    results = [function(*args) for args in zip(leaves, *extra_leaves, strict=True)]
    return unflatten(shape, results, conjugate)


def pairs_in(tree: Tree, leaves: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Real and imaginary part of each complex value among the leaves of a tree."""
    pairs: list[tuple[Any, Any]] = []
    first = 0
    for part in (tree,) if tree.kind is BothParts else tree.parts:
        if part.kind is BothParts:
            pairs.append((leaves[first], leaves[first + 1]))
        else:
            pairs += pairs_in(part, leaves[first : first + part.count])
        first += part.count
    return pairs


def check_whole(tree: Any, of: str = "") -> None:
    """Refuse to differentiate by a complex value of which one part is exactly zero.

    What was computed of it has left that part out, so that no derivative by it is known.
    """
    for leaf in flatten(tree, keep_complex=True)[0]:
        if isinstance(leaf, Complex) and (leaf.re is None or leaf.im is None):
            part = "real" if leaf.re is None else "imaginary"
            raise GradientError(
                f"{of or called_name()}: a value {leaf.type} was made without {part} part: what was"
                " computed of it has no derivative by that",
                hint="differentiate by what it was made of\n"
                "or give it both parts before it is used: sg.complex(z.real, z.imag)",
            )


def check_real(*trees: Any, of: str = "") -> None:
    """Refuse complex values, of which a matrix of derivatives is not defined here."""
    if any(isinstance(leaf, Complex) for leaf in flatten(trees, keep_complex=True)[0]):
        raise GradientError(
            f"{of or called_name()}: takes real values and functions, not complex ones",
            hint="of the parts: f(sg.complex(x, y)).real by x and y",
        )


def with_complex_values(tree: Any, kind: Any = None) -> Any:
    """A tree with constants for complex arrays and numbers, which then have parts."""
    leaves, shape = flatten(tree)
    if not any(map(is_complex_data, leaves)):
        return tree
    kind = binding_kind(tuple(leaves)) if kind is None else kind
    return unflatten(shape, [kind.lift(x) if is_complex_data(x) else x for x in leaves])


def match_leaves(what: str, directions: Any, tree: Tree, kind: Any = None) -> list[Any]:
    """Return the leaves of cotangents or tangents, which have the containers of their values.

    In a function that is mapped over tensors, tensors are replaced by placeholders, so that they
    receive gradients.
    """
    leaves, structure = flatten(with_complex_values(directions, kind))
    if what == "cotangent" and pairs_in(structure, leaves):
        leaves, structure = flatten(unflatten(structure, leaves, conjugate=True))
    if structure != tree:
        raise GradientError(
            f"{called_name()}: the {what}s are {structure}, expected {tree} (? stands for a value)",
            hint=f"one {what} for each value, in the same containers",
        )
    return [as_graph_value(leaf) for leaf in leaves]
