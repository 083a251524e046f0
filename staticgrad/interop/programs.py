"""Compiled programs of a function of arrays and of its gradient, as other libraries call them.

A library that differentiates by its own tape calls ``forward``, keeps what it gives, and later
calls ``backward`` with cotangents. Both are compiled once for each signature.

    forward(arrays)                     results, saved
    backward(arrays, saved, cotangents) gradients
    pullback(arrays, cotangents)        gradients; the function is computed once more

For one result without axes, as a loss, ``saved`` are the gradients: one program computes both. For
other results ``saved`` are the results of products, reductions, loops and other ops that the
gradient reads; elementwise ops and movements are computed again, which costs less than memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, Final

from staticgrad.autodiff import reverse
from staticgrad.language.functions.creation import input as graph_input
from staticgrad.language.functions.streams import steps_of
from staticgrad.language.functions.trees import Tree, flatten, unflatten
from staticgrad.language.ir.calls import pickled
from staticgrad.language.ir.execution import in_graphs
from staticgrad.language.ir.graph import Graph, Symbolic, ancestors
from staticgrad.language.ir.nodes import Session, running_session, traced_in
from staticgrad.language.ir.pairs import Complex, joined
from staticgrad.language.ops.arithmetic import conj
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.operands import as_value
from staticgrad.programs.function import Function
from staticgrad.programs.transformed import vmap
from staticgrad.support.errors import ArgumentError
from staticgrad.support.errors.wording import kind_of, shown


class Programs:
    """A function that takes ``count`` arrays and gives values in containers, and its gradients."""

    def __init__(
        self, f: Callable[..., Any], name: str, count: int, conjugate: bool = False
    ) -> None:
        self._f, self.name, self.count, self._conjugate = f, name, count, conjugate
        self._made: dict[Any, Programs] = {}
        self._types: dict[Any, tuple[list[Any], Tree]] = {}
        self.bridge: Any = None  # the function of the other library

        def call(*arrays: Any) -> Any:
            return self.values(*arrays)

        call.__name__ = call.__qualname__ = name
        self._key = ""
        self.run: Function[..., Any] = Function(call, (), {}, {})

    @property
    def key(self) -> str:
        """A name that ``keyed`` finds these programs by, in this process."""
        if not self._key:
            self._key = f"{self.name}:{len(_BY_KEY)}"
            _BY_KEY[self._key] = self
        return self._key

    def values(self, *arrays: Any) -> Any:
        """Call the function with values of a graph.

        Raises:
            ArgumentError: it updates parameters, or draws random numbers.
        """
        leaves, tree = flatten(self._f(*arrays), whole=True)
        results = unflatten(tree, [as_value(leaf) for leaf in leaves])
        session = running_session()
        read = ancestors(flatten(results)[0])
        if (session and session.updates) or steps_of(read):
            raise ArgumentError(
                f"{self.name} updates parameters or draws random numbers: a library that calls it"
                " more or less often than once a step would change its results",
                hint="model.eval(); or state and random numbers as arguments and results",
            )
        return results

    def forward(self, wrt: tuple[int, ...]) -> Programs:
        """The results, and a list of what ``backward`` needs."""

        def forward(*arrays: Any) -> Any:
            results, saved, _, _ = self._joint(wrt, arrays)
            return results, saved

        return self._once("forward", forward, self.count, wrt)

    def backward(self, wrt: tuple[int, ...], count: int) -> Programs:
        """Gradients from ``count`` arrays: those of the function, saved ones, and cotangents."""

        def backward(*given: Any) -> list[Any]:
            _, saved, cotangents, slopes = self._joint(wrt, given[: self.count])
            values = [joined(value) for value in (*saved, *cotangents)]
            known = [
                astype(joined(each), value.dtype)
                for value, each in zip(values, given[self.count :], strict=True)
            ]
            pairs = zip(values, known, strict=True)
            leaves, tree = flatten(slopes)
            over = _over(leaves, {value.key: each for value, each in pairs})
            gradients: list[Any] = unflatten(tree, over)
            return gradients

        return self._once("backward", backward, count, wrt)

    def pullback(self, wrt: tuple[int, ...], count: int) -> Programs:
        """Gradients from ``count`` arrays: those of the function, and cotangents."""

        def pullback(*given: Any) -> list[Any]:
            arrays, cotangents = given[: self.count], given[self.count :]
            results, chosen = self.values(*arrays), [arrays[place] for place in wrt]
            return self._pulled(floating(results), chosen, cotangents)

        return self._once("pullback", pullback, count, wrt)

    def mapped(self, axes: tuple[tuple[int | None, ...], ...]) -> Programs:
        """The function over batches: for each batch axis, the outer first, ``in_axes`` of vmap."""

        def mapped(*arrays: Any) -> Any:
            f: Callable[..., Any] = self.values
            for each in reversed(axes):
                f = vmap(f, each)
            return f(*arrays)

        return self._once("mapped", mapped, self.count, axes)

    def types(self, kinds: tuple[tuple[tuple[int, ...], Any], ...]) -> tuple[list[Any], Tree]:
        """Return the results for arrays of these shapes and dtypes, as values, and containers."""
        if kinds not in self._types:
            with traced_in(Session()), in_graphs():
                inputs = [graph_input(f"x{k}", *kind) for k, kind in enumerate(kinds)]
                self._types[kinds] = flatten(self.values(*inputs), whole=True)
        return self._types[kinds]

    def _joint(self, wrt: tuple[int, ...], arrays: Sequence[Any]) -> tuple[Any, ...]:
        """The results, what is saved, cotangents, and gradients that depend on them."""
        arrays = [_stored(each) for each in arrays]
        results, chosen = self.values(*arrays), [arrays[place] for place in wrt]
        floats = floating(results)
        cotangents = [
            graph_input(f"cotangent{place}", value.shape, value.dtype)
            for place, value in enumerate(floats)
        ]
        if len(floats) == 1 and isinstance(floats[0], Symbolic) and not floats[0].shape:
            (ct,) = cotangents
            saved, tree = flatten(self._turned(reverse.grad(floats[0], chosen, None, True)))
            slopes = unflatten(tree, [slope * ct.astype(slope.dtype) for slope in saved])
        else:
            slopes = self._pulled(floats, chosen, cotangents)
            saved = _saved(flatten(slopes)[0], list(map(joined, cotangents)), arrays)
        return results, saved, cotangents, slopes

    def _pulled(self, ys: Sequence[Any], by: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """Pull cotangents of the other library back to gradients of the other library."""
        return self._turned(reverse.vjp(list(ys), list(by), self._turned(cotangents), True))

    def _turned(self, slopes: Sequence[Any]) -> list[Any]:
        """Turn derivatives from this library's convention to the other's, or back."""
        return [conj(each) for each in slopes] if self._conjugate else list(slopes)

    def _once(self, kind: str, f: Callable[..., Any], count: int, wrt: Any) -> Programs:
        key = kind, wrt, count
        if key not in self._made:
            self._made[key] = Programs(f, f"{self.name}.{kind}", count, self._conjugate)
        return self._made[key]


_BY_KEY: Final[dict[str, Programs]] = {}


def keyed(key: str) -> Programs:
    """Return the programs that have this key.

    Raises:
        ArgumentError: they are another process's.
    """
    if key not in _BY_KEY:
        raise ArgumentError(
            f"{key.partition(':')[0]}: a graph of another process calls this function",
            hint="export the graph again where the function is made",
        )
    return _BY_KEY[key]


class Bridged:
    """A function of arrays as one of another library, which travels as what it was made of."""

    __wrapped__: Callable[..., Any]

    def __init__(
        self, make: Callable[..., Any], f: Callable[..., Any], run: Callable[..., Any]
    ) -> None:
        """Wrap ``f``, of which the public function ``make`` makes this again; ``run`` calls it."""
        functools.update_wrapper(self, f, updated=())
        self._make, self._run = make, run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results, as arrays of the other library."""
        return self._run(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """The method, where it stands in a class."""
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> Any:
        name = getattr(self.__wrapped__, "__qualname__", "")
        return pickled(self, name, (self._make, (self.__wrapped__,)))

    def __repr__(self) -> str:
        return f"<{self._make.__module__.rpartition('.')[2]}.function {self.__wrapped__!r}>"


def caller(
    api: str,
    f: Callable[..., Any],
    is_array: Callable[[Any], bool],
    call: Callable[[Programs, list[Any]], Any],
    conjugate: bool = False,
) -> Callable[..., Any]:
    """Return what calls f, with arrays in containers that are those of another library.

    Everything else in its arguments is static: ``call`` is given the programs of the function for
    these containers and static arguments, and the arrays. ``conjugate``: the library's derivatives
    by complex numbers are the conjugates of those here.
    """
    if not callable(f):
        raise ArgumentError(f"{api}: f is {kind_of(f)}, not a function")
    name = getattr(f, "__name__", type(f).__name__)
    known: dict[Any, Programs] = {}

    def bridged(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = flatten((args, kwargs))
        arrays, static, places = [], [*leaves], []
        for place, leaf in enumerate(leaves):
            if is_array(leaf):
                arrays.append(leaf)
                places.append(place)
                static[place] = None
        key = tree, tuple(places), tuple(static)
        try:
            programs = known.get(key)
        except TypeError:
            raise ArgumentError(
                f"{name}: arguments that are not arrays are static and must be hashable:"
                f" {shown([leaf for leaf in static if leaf is not None])}"
            ) from None
        if programs is None:

            def of_arrays(*arrays: Any) -> Any:
                filled = [*static]
                for place, array in zip(places, arrays, strict=True):
                    filled[place] = array
                given, named = unflatten(tree, filled)
                return f(*given, **named)

            programs = known[key] = Programs(of_arrays, name, len(places), conjugate)
        return call(programs, arrays)

    return bridged


def floating(results: Any) -> list[Any]:
    """Return the differentiable values in containers, in order: those that have cotangents."""
    return [leaf for leaf in flatten(results, whole=True)[0] if leaf.dtype.is_float]


def _stored(array: Any) -> Any:
    """Return a complex argument as parts of one value, so that each trace saves the same values."""
    return array.of(joined(array)) if isinstance(array, Complex) else array


def _saved(
    slopes: Sequence[Any], cotangents: Sequence[Any], arrays: Sequence[Any]
) -> list[Symbolic]:
    """Return the values that the gradients read beside cotangents and arguments, each once."""
    nodes = sorted(ancestors([*slopes, *cotangents]), key=lambda node: node.serial)
    behind = {value.node for value in cotangents}
    for node in nodes:
        if any(value.node in behind for value in node.args):
            behind.add(node)
    pending = [value for node in nodes if node in behind for value in node.args]
    pending += slopes
    saved: dict[Any, Symbolic] = {}
    seen = {value.key for value in (*flatten(arrays)[0], *map(joined, arrays))}
    while pending:
        value = pending.pop()
        if value.node in behind or value.key in seen:
            continue
        seen.add(value.key)
        if value.node.op.elementwise or value.node.op.copies:
            pending += value.node.args
        elif value.node.args:
            saved[value.key] = value
    return list(saved.values())


def _over(values: Sequence[Symbolic], known: dict[Any, Any]) -> list[Any]:
    """Return values with some of those that they depend on replaced."""
    by_node: dict[Any, list[Any]] = {}
    for (node, index), value in known.items():
        by_node.setdefault(node, list(node.values))[index] = value
    nodes = sorted(ancestors(values), key=lambda node: node.serial)
    outputs = {str(place): value for place, value in enumerate(values)}
    graph = Graph.of_parts(nodes=nodes, inputs=(), parameters=(), outputs=outputs, name="gradients")
    return list(graph.replace_nodes(lambda node, _: by_node.get(node)).outputs.values())
