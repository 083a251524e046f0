"""The NumPy oracle: a graph's values, node by node, through ``op.reference``.

Slow, simple and independent of every kernel. Compiled results are compared with it; with
``dtype="float64"`` it runs a float32 graph in higher precision. It writes nothing: updates are
returned, parameters keep their values. For one run an op gets whole numbers for its sizes, wherever
they stand in its attributes: the references in ``ops/`` see no named size.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (), "float64")
    >>> evaluate(x * x + 1.0, {"x": 3.0})
    array(10.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, Final, Literal, overload

import numpy as np

from staticgrad.analysis.binding import Feeds, bind_feeds, bind_sizes, concrete_shape
from staticgrad.analysis.liveness import last_uses
from staticgrad.errors import ArgumentError, IndexOutOfRange, OpDefinitionError, OutOfMemory
from staticgrad.errors.wording import Related, quote
from staticgrad.functions.creation import constant
from staticgrad.language.calls.arguments import public
from staticgrad.language.ir.bodies import is_body_input, role_of
from staticgrad.language.ir.graph import BodyOp, Graph, Input, Node, ParameterLeaf, Symbolic
from staticgrad.language.ir.op import Array, Op, map_attributes
from staticgrad.language.ir.pairs import SymbolicComplex
from staticgrad.language.ir.rounded import round_results
from staticgrad.language.ir.value import Value
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import ArrayData, TensorType, as_parts, of_parts
from staticgrad.language.types.dim import Dim
from staticgrad.language.types.dtype import F64, DType, as_dtype, kind_of_elements
from staticgrad.support import config
from staticgrad.support.building import within
from staticgrad.support.containers import fill_container


@overload
def evaluate(
    target: Value,
    feeds: Feeds | None = ...,
    *,
    sizes: Mapping[str, int] | None = ...,
    dtype: object = ...,
    updates: bool = ...,
) -> Array: ...
@overload
def evaluate(
    target: Graph | Mapping[str, Value],
    feeds: Feeds | None = ...,
    *,
    sizes: Mapping[str, int] | None = ...,
    dtype: object = ...,
    updates: Literal[False] = ...,
) -> dict[str, Array]: ...
@overload
def evaluate(
    target: Any,
    feeds: Feeds | None = ...,
    *,
    sizes: Mapping[str, int] | None = ...,
    dtype: object = ...,
    updates: bool = ...,
) -> Any: ...
@public
def evaluate(
    target: Any,
    feeds: Feeds | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
    dtype: object = None,
    updates: bool = False,
) -> Any:
    """Return the value of ``target`` on ``feeds``, computed by NumPy.

    Args:
        target: a Graph, a value, or a dict, list or tuple of values; an array is its own value.
        feeds: input name or input -> array, for every input the target depends on.
        sizes: values of named sizes that no feed determines.
        dtype: ``"float64"`` runs every floating value in float64: feeds, parameters and constants
            are widened, and so is every op that names a floating dtype (casts too). Integers and
            bools stay. Ops whose bits depend on the dtype (``keeps_dtype``) run as declared, their
            operands rounded and their results widened.
        updates: return the updates as well; a Graph only.

    Returns:
        One array for one value; a dict (list, tuple) of arrays for a dict (list, tuple); a dict of
        the outputs by name for a Graph. With ``updates``, a pair of that and a dict of the updated
        parameters by name. The arrays are the caller's own.

    Raises:
        FeedError: a missing, unknown or unfit feed; sizes or guards that do not hold.
        ArgumentError: a target or dtype that this cannot evaluate.
        OpDefinitionError: an op whose reference does not give the type that it infers.
        OutOfMemory: a result for which the system has no memory.

    >>> import staticgrad as sg
    >>> x = sg.input("x", ("n",), "float64")
    >>> sg.evaluate({"twice": 2.0 * x}, {"x": [1.0, 2.0]})
    {'twice': array([2., 4.])}
    """
    wide = _is_wide(dtype)
    graph = _as_graph(target)
    if updates and not isinstance(target, Graph):
        raise ArgumentError("only a Graph has updates", hint="evaluate(sg.Graph(...), ...)")
    if graph is None:
        return type(target)()
    values = _Run(graph, {} if feeds is None else feeds, sizes, wide).values()
    outputs = {name: _copy(value, values) for name, value in graph.outputs.items()}
    outputs |= {name: of_parts(outputs[name]) for name in graph.complex_outputs}
    if updates:
        written = {p.name: _copy(value, values) for p, value in graph.updates}
        complex_names = [p.name for p, _ in graph.updates if p.store.is_complex]
        return outputs, written | {name: of_parts(written[name]) for name in complex_names}
    return _like(target, outputs)


def _copy(value: Symbolic, values: Mapping[tuple[Node, int], Array]) -> Array:
    """An array of the caller's own."""
    try:
        return np.array(values[value.key])
    except MemoryError:
        raise _too_large(value.node) from None


def _too_large(node: Node) -> OutOfMemory:
    types = ", ".join(map(str, node.types))
    return OutOfMemory(f"{node.op.name}: {types} does not fit into memory", at=node.origin)


_VALUES: Final = (Symbolic, SymbolicComplex)
#: What functions of arrays alone give, beside values.
_ARRAYS: Final = (np.ndarray, np.generic)


class _Run:
    """One evaluation: bound feeds and sizes, and how a node is computed under them."""

    def __init__(
        self, graph: Graph, feeds: Feeds, sizes: Mapping[str, int] | None, wide: bool
    ) -> None:
        self.graph, self.wide = graph, wide
        self.feeds = bind_feeds(graph, feeds, F64 if wide else None)
        shapes = {name: array.shape for name, array in self.feeds.items()}
        self.sizes = bind_sizes(graph, shapes, sizes)
        self.dying: dict[Graph, dict[Node, list[Node]]] = {}

    def values(self) -> dict[tuple[Node, int], Array]:
        """Every root's array; values inside are dropped after their last use."""
        arrays: dict[tuple[Node, int], Array] = {}
        with np.errstate(all="ignore"), config.read_once(lazily=True):  # by LAPACK's routines
            self.compute(self.graph, arrays)
        return arrays

    def compute(self, graph: Graph, arrays: dict[tuple[Node, int], Array]) -> None:
        """Evaluate a graph's roots node by node, given arrays for the inputs of a body."""
        if graph not in self.dying:
            self.dying[graph] = last_uses(graph)
        dying = self.dying[graph]
        for node in graph.nodes:
            if (node, 0) not in arrays:
                args = [arrays[arg.key] for arg in node.args]
                for index, array in enumerate(self.results(node, args)):
                    arrays[node, index] = array
            for dead in dying[node]:
                for index in range(len(dead.types)):
                    del arrays[dead, index]

    def run_body(self, body: Graph, arrays: Sequence[Array]) -> list[Array]:
        """The outputs of a body under this run's sizes and precision."""
        arrays_by_key = dict(zip((value.key for value in body.inputs), arrays, strict=True))
        self.compute(body, arrays_by_key)
        return [arrays_by_key[value.key] for value in body.outputs.values()]

    def empty(self, of: TensorType, iterations: int) -> Array:
        """Room for a result of every iteration."""
        shape = (iterations, *concrete_shape(of.shape, self.sizes))
        return np.empty(shape, self.dtype_of(of.dtype).numpy)

    def results(self, node: Node, args: list[Array]) -> tuple[Array, ...]:
        """Evaluate one node by NumPy, and check the arrays against its types."""
        if isinstance(node.op, Input):
            result: Any = self.feeds[node.op.label]
            if node.op.is_complex and result.dtype.kind == "c":
                result = as_parts(result)
        elif isinstance(node.op, ParameterLeaf):
            result = node.op.store.read()
        else:
            result = self.run_reference(node, args)
        arrays = result if isinstance(result, tuple) else (result,)
        if len(arrays) != len(node.types):
            raise OpDefinitionError(
                f"{node.op.name}: reference gives {len(arrays)} results, infer {len(node.types)}",
                at=node.origin,
            )
        return tuple(self.check_array(node, i, np.asarray(array)) for i, array in enumerate(arrays))

    def run_reference(self, node: Node, args: list[Array]) -> Any:
        """Run an op's NumPy reference under this run's sizes and precision."""
        if self.wide and node.op.keeps_dtype:
            types = (arg.type for arg in node.args)
            args = [a.astype(t.dtype.numpy, copy=False) for a, t in zip(args, types, strict=True)]
        with within(node.origin):
            try:
                if any(self.nbytes(declared) > sys.maxsize for declared in node.types):
                    raise MemoryError  # NumPy has other words for it
                if isinstance(node.op, BodyOp):
                    return self.interpret_bodies(node, args)
                return self.run(node)(*args)
            except OutOfMemory:
                raise
            except MemoryError:
                raise _too_large(node) from None
            except IndexOutOfRange as error:
                raise error.with_related([*map(_as_feed, _feeds_behind(node))]) from None

    def interpret_bodies(self, node: Node, args: list[Array]) -> Any:
        """The results of an op that runs bodies."""
        op: Any = at_sizes(node.op, self.sizes)
        return op.interpret(_Bodies(self), *args)

    def run(self, node: Node) -> Callable[..., Any]:
        """Return the function that computes a node's results from its operands' arrays."""
        op = self.op(node.op)
        if self.wide:
            return op.reference
        return round_results(op.reference, op, [arg.type for arg in node.args], node.types)

    def nbytes(self, declared: TensorType) -> int:
        """Bytes of an array of a declared type; what it would have if no axis were empty."""
        shape = concrete_shape(declared.shape, self.sizes)
        return prod(max(extent, 1) for extent in shape) * declared.dtype.itemsize

    def op(self, op: Op) -> Op:
        """``op`` with integers for sizes, widened if this run is."""
        sized = at_sizes(op, self.sizes)
        return in_float64(sized) if self.wide and not op.keeps_dtype else sized

    def check_array(self, node: Node, index: int, array: Array) -> Array:
        """Return ``array`` if it has the value's declared type, in this run's precision."""
        declared = node.types[index]
        shape = concrete_shape(declared.shape, self.sizes)
        narrow = isinstance(node.op, ParameterLeaf) or node.op.keeps_dtype
        if self.wide and narrow and declared.dtype.is_float:
            array = array.astype(np.float64)
        dtype = self.dtype_of(declared.dtype)
        if array.dtype != dtype.numpy or array.shape != shape:
            raise OpDefinitionError(
                f"{node.op.name}: reference gives {array.dtype}{list(array.shape)},"
                f" infer {dtype.numpy.name}{list(shape)}",
                at=node.origin,
            )
        return array

    def dtype_of(self, declared: DType) -> DType:
        """The dtype that a value of dtype ``declared`` has in this run."""
        return F64 if self.wide and declared.is_float else declared


class _Bodies:
    """Runs the bodies of ops in one evaluation."""

    def __init__(self, run: _Run) -> None:
        self.run, self.empty = run.run_body, run.empty


def _is_wide(dtype: object) -> bool:
    """Return True if ``dtype`` asks to evaluate a graph in float64."""
    if dtype is None:
        return False
    try:
        if as_dtype(dtype) == F64:
            return True
    except TypeError:
        pass
    raise ArgumentError(f"dtype={dtype!r}: a graph is evaluated as declared, or in 'float64'")


def _as_graph(target: Any) -> Graph | None:
    """Return the graph that computes ``target``; None if there is nothing to compute."""
    if isinstance(target, Graph):
        return target
    if isinstance(target, _VALUES):
        return Graph(target)
    if isinstance(target, _ARRAYS):
        return Graph(constant(target))
    values = list(target.values()) if isinstance(target, dict) else target
    if isinstance(values, list | tuple):
        values = [constant(v) if isinstance(v, _ARRAYS) else v for v in values]
    if not isinstance(values, list | tuple) or not all(isinstance(v, _VALUES) for v in values):
        raise ArgumentError(
            "evaluate takes a Graph, a value, or a dict, list or tuple of values,"
            f" not {quote(target)}",
            hint="what is compiled runs: f.run(feeds)" if hasattr(target, "run") else "",
        )
    return Graph({str(i): value for i, value in enumerate(values)}) if values else None


def _like(target: Any, outputs: dict[str, Array]) -> Any:
    """Return the evaluated arrays in the structure of ``target``."""
    if isinstance(target, Graph):
        return outputs
    arrays = list(outputs.values())
    if isinstance(target, (*_VALUES, *_ARRAYS)):
        return arrays[0]
    return fill_container(target, arrays)


def _feeds_behind(node: Node) -> Iterator[Node]:
    """Return the inputs whose elements a node's integer operands are, for an index error."""
    for operand in node.args:
        node_behind = operand.node
        while operand.dtype.is_integer and len(node_behind.args) == 1:
            node_behind = node_behind.args[0].node
        if operand.dtype.is_integer and isinstance(node_behind.op, Input):
            yield node_behind


def _as_feed(node: Node) -> Related:
    role = role_of(node.label) if is_body_input(node) else f"feed {node.label!r}"
    return role, node.types[0].dtype.name, node.origin


def at_sizes(op: Op, sizes: Mapping[str, int]) -> Op:
    """``op`` with every symbolic size in its attributes replaced by its value."""
    return map_attributes(
        op, lambda leaf: dims.evaluate(leaf, sizes) if isinstance(leaf, Dim) else leaf
    )


def in_float64(op: Op) -> Op:
    """``op`` with every floating dtype and constant in its attributes widened to float64."""
    return map_attributes(op, _widen_leaf)


def _widen_leaf(leaf: Any) -> Any:
    if isinstance(leaf, DType):
        return F64 if leaf.is_float else leaf
    if isinstance(leaf, ArrayData) and leaf.dtype.is_float:
        return ArrayData(leaf.array, F64)
    return leaf


def same_bytes(actual: Array, expected: Array) -> bool:
    """Return True if two arrays are bitwise identical: dtype, shape, bits; any NaN equals any.

    >>> same_bytes(np.array([0.0, np.nan]), np.array([0.0, -np.nan]))
    True
    >>> same_bytes(np.array(0.0), np.array(-0.0))
    False
    """
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        return False
    if kind_of_elements(expected.dtype) != "f":
        return np.array_equal(actual, expected)
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        same = (actual == expected) & (np.signbit(actual) == np.signbit(expected))
        return bool(np.all(same | (np.isnan(actual) & np.isnan(expected))))
