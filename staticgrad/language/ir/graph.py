"""Graphs: what to compute, forward and backward together.

A Graph is an ordered tuple of nodes (``nodes.py``) with inputs, parameters, named outputs and
simultaneous updates. The op of a node may run graphs of its own (``BodyOp``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar, cast

import staticgrad
from staticgrad.errors import ArgumentError, ImmutableError, UnknownNameError
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.values import no_graph_attribute
from staticgrad.errors.wording import did_you_mean, kind_of, list_names
from staticgrad.language.calls.arguments import public
from staticgrad.language.calls.functional import load
from staticgrad.language.calls.pickling import WRITER, WriterVersion, is_pickled_by_value
from staticgrad.language.ir.advances import advances
from staticgrad.language.ir.copies import rebuild, same_values
from staticgrad.language.ir.nodes import (
    Node as Node,
    Parameter as Parameter,
    Symbolic as Symbolic,
    ancestors as ancestors,
    constant as constant,
    describe,
    new_mark as new_mark,
    next_serial as next_serial,
)
from staticgrad.language.ir.op import (
    Array,
    Constant as Constant,
    Input as Input,
    Op,
    ParameterLeaf as ParameterLeaf,
    result_types,
)
from staticgrad.language.ir.pairs import SymbolicComplex, whole_type
from staticgrad.language.ir.printer import GraphParts, print_outline
from staticgrad.language.ir.roots import (
    check_from_outside,
    check_graph_name,
    check_names,
    check_roots,
    read_outputs,
    read_updates,
    real_roots,
    sizes_of,
)
from staticgrad.language.ir.value import Value
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Dim, Guard, Named, collecting_guards
from staticgrad.support.building import within
from staticgrad.support.caches import collection_paused
from staticgrad.support.deprecations import deprecated_attribute
from staticgrad.support.pictures.texts import PrintedText
from staticgrad.support.source import Origin
from staticgrad.support.upward import up

_Kind = TypeVar("_Kind", bound=Op)
#: What builds the outputs of a graph over arguments; the functions of values register it.
_CALL: Final[list[Callable[[Graph, tuple[Any, ...], dict[str, Any]], Any]]] = []
#: What a rewrite gives for a node: its results, or the one that it has, or None to keep it.
Results = Sequence[Symbolic] | Symbolic | None


def register_call(call: Callable[[Graph, tuple[Any, ...], dict[str, Any]], Any]) -> None:
    """Let ``call(graph, args, kwargs)`` give the results of ``graph(*args, **kwargs)``."""
    _CALL[:] = [call]


#: What a graph has from its making on; other attributes are results that are computed once.
_FIXED: Final = frozenset(
    ("complex_outputs", "inputs", "name", "nodes", "outputs", "parameters", "updates")
)


@boundary
def _refuse_write(*_: object, **__: object) -> NoReturn:
    raise ImmutableError(
        "a graph never changes",
        hint="sg.Graph(outputs, updates, name=...) makes another one: {**graph.outputs, 'y': y}",
    )


class _Outputs(dict[str, Symbolic]):
    """The outputs of a graph by name: a dict to read."""

    __setitem__ = __delitem__ = __ior__ = _refuse_write
    clear = pop = popitem = setdefault = update = _refuse_write

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


#: The analysis that has the new values of each node that was replaced or rebuilt.
_REPLACEMENTS: Final = "replacements"


class Graph(GraphParts):
    """Nodes in topological order, with inputs, outputs and updates. Immutable.

    ``analyses`` stores analysis results of passes by name, for later passes; it is not part of the
    graph.

    >>> import staticgrad as sg
    >>> x = sg.input("x", ("n",), "float64")
    >>> graph = Graph({"y": x * 2.0}, name="twice")
    >>> graph.outputs["y"].type, [node.op.name for node in graph.nodes]
    (f64[n], ['input', 'constant', 'mul'])
    """

    __slots__ = ("_computation", "_guards", "_kinds", "_sizes", "analyses")

    analyses: dict[str, object]
    found = deprecated_attribute("0.2", "analyses")

    @public
    @collection_paused()
    def __init__(
        self,
        outputs: Value | Mapping[str, Value] | Graph | None = None,
        updates: Mapping[Parameter, Value] | Iterable[tuple[Parameter, Value]] | Graph = (),
        *,
        name: str = "graph",
        inputs: Sequence[Value] = (),
    ) -> None:
        """The graph of everything that ``outputs`` and ``updates`` depend on.

        A graph with updates also advances the generators that it draws from, and the running
        statistics of the layers that it runs. A graph without updates changes nothing, so each of
        its runs draws the same numbers.

        Args:
            outputs: named values, or one value (then called ``"output"``); of a graph, its outputs
                and updates: ``Graph(opt.minimize(loss, [w]))``.
            updates: parameter -> its next value, of the same type; of a graph, its updates.
                ``{rng.step: rng.step}``, or that of another parameter, leaves it as it is.
            name: what the text form calls it.
            inputs: inputs that the graph shall have even if nothing reads them.

        Raises:
            GraphError: nothing to compute, a wrong kind of object, an update of another type.
            NameConflictError: two inputs, parameters or declarations of a size share a name.
        """
        named, pairs, inputs, complex_names = real_roots(*_read_graphs(outputs, updates), inputs)
        if isinstance(outputs, Graph):
            complex_names |= outputs.complex_outputs
        check_roots(named, pairs, inputs)
        check_graph_name(name)
        roots = [*named.values(), *(value for _, value in pairs), *(p for p, _ in pairs), *inputs]
        nodes = ancestors(roots)
        if pairs:
            added = advances(nodes, pairs)
            more = [root for pair in added for root in pair]
            nodes += ancestors(more, stop=dict.fromkeys(nodes))
            pairs = (*pairs, *added)
        nodes.sort(key=lambda node: node.serial)
        self._set_parts(
            nodes,
            [Symbolic(n) for n in nodes if isinstance(n.op, Input)],
            [Parameter(n) for n in nodes if isinstance(n.op, ParameterLeaf)],
            named,
            pairs,
            name,
            complex_names,
        )
        check_names(self.inputs, self.parameters, describe)
        check_from_outside(self.inputs, nodes)

    def _set_parts(
        self,
        nodes: Iterable[Node],
        inputs: Iterable[Symbolic],
        parameters: Iterable[Parameter],
        outputs: Mapping[str, Symbolic],
        updates: Iterable[tuple[Parameter, Symbolic]],
        name: str,
        complex_outputs: Iterable[str] = (),
    ) -> None:
        """Set the fields of a new graph: nodes, leaves, outputs, updates, and empty caches."""
        self.nodes, self.inputs, self.parameters = tuple(nodes), tuple(inputs), tuple(parameters)
        for parameter in self.parameters:
            parameter.store.in_graph = True
        self.outputs, self.updates, self.name = _Outputs(outputs), tuple(updates), name
        self.complex_outputs = frozenset(complex_outputs)
        self.analyses = {}
        self._guards: tuple[tuple[Guard, Node], ...] | None = None
        self._kinds: frozenset[type[Op]] | None = None
        self._sizes: dict[str, Named] | None = None
        self._digest = None
        self._computation: Computation | None = None

    def __setattr__(self, name: str, value: object) -> None:
        if name in _FIXED and hasattr(self, name):
            _refuse_write()
        super().__setattr__(name, value)

    @classmethod
    def of_parts(
        cls,
        *,
        nodes: Iterable[Node],
        inputs: Iterable[Symbolic],
        parameters: Iterable[Parameter],
        outputs: Mapping[str, Symbolic],
        updates: Iterable[tuple[Parameter, Symbolic]] = (),
        name: str = "graph",
        complex_outputs: Iterable[str] = (),
    ) -> Graph:
        """Make a graph of exactly these parts, dead nodes included: for passes and the parser.

        ``nodes`` must be in topological order; ``verify_graph`` checks what this does not.
        """
        graph = cls.__new__(cls)
        graph._set_parts(nodes, inputs, parameters, outputs, updates, name, complex_outputs)
        return graph

    def __getitem__(self, name: str) -> Value:
        if name not in self.outputs:
            raise UnknownNameError(
                f"the graph has no output {name!r}",
                hint=f"{did_you_mean(name, self.outputs)}"
                f"its outputs are {list_names([*self.outputs])}",
            )
        output = self.outputs[name]
        return SymbolicComplex.of(output) if name in self.complex_outputs else output

    @boundary
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The outputs over other values: the nodes of the graph become nodes of the caller.

        Named sizes of the inputs become those of the arguments, and must agree. Parameters are the
        graph's own, which all calls share: gradients by them are sums over the calls. Random draws
        keep their keys: each call draws the same numbers. Nodes of the call are in a scope of
        their own with the graph's name, the line of the call and, from the second call of a line
        on, its number; pictures, ``explain`` and profiles fold them by it.

        The updates of the graph are made under ``sg.function``, at each call, as those of
        ``parameter.update``: a second call in it reads the updated parameters. Elsewhere a graph
        with updates is not called. Statistics and generators that a graph advances by itself it
        advances wherever it is part of another one.

        Args:
            args: values for ``inputs``, in their order; tensors compute at once, and so do arrays
                alone. Beside values, arrays and numbers are constants.
            kwargs: values by the names of inputs.

        Returns:
            A dict of values by the names of outputs; of a graph of one value, that value.

        Raises:
            UnknownArgumentError: an input without a value, or a value without an input.
            DTypeError, RankError, ShapeError: a value of another type than its input's.
            SizeGuardError: a condition on sizes does not hold for those of the values.
            GraphError: the graph has updates, which a call here does not make.

        >>> import staticgrad as sg
        >>> x = sg.input("x", ("n",), "float64")
        >>> norm = sg.Graph(sg.sqrt((x * x).sum()), name="norm")
        >>> y = sg.input("y", (2,), "float64")
        >>> print(sg.evaluate(norm(y + 1.0) / norm(y), {"y": [3.0, 4.0]}).round(3))
        1.281
        """
        if not _CALL:
            load("replace")  # whose module registers it
        return _CALL[0](self, args, kwargs)

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        @boundary
        def __getattr__(self, name: str) -> Any:
            raise no_graph_attribute(name, dir(Graph))

    @property
    def roots(self) -> tuple[Symbolic, ...]:
        """Every value that must be computed: outputs, then updates."""
        return (*self.outputs.values(), *(value for _, value in self.updates))

    @property
    def input_types(self) -> dict[str, TensorType]:
        """The type of each input by name, as users feed it: complex where the input is."""
        ops = [op for value in self.inputs if isinstance(op := value.node.op, Input)]
        return {op.label: whole_type(op.type) if op.is_complex else op.type for op in ops}

    @property
    def output_types(self) -> dict[str, TensorType]:
        """The type of each output as users get it: complex where the value has both parts."""
        return {
            name: whole_type(value.type) if name in self.complex_outputs else value.type
            for name, value in self.outputs.items()
        }

    @property
    def guards(self) -> tuple[tuple[Guard, Node], ...]:
        """Conditions on named sizes, each with the node that needs it; derived by inference."""
        if self._guards is None:
            self._guards = tuple(guards_of(self.nodes)) if self.sizes else ()
        return self._guards

    @property
    def sizes(self) -> dict[str, Named]:
        """Every named size of a type or of an op, by name, in order of first appearance."""
        if self._sizes is None:
            self._sizes = sizes_of(self.nodes)
        return dict(self._sizes)

    @property
    def kinds(self) -> frozenset[type[Op]]:
        """The classes of its ops."""
        if self._kinds is None:
            self._kinds = frozenset([node.op.__class__ for node in self.nodes])
        return self._kinds

    def has(self, kind: type[Op] | tuple[type[Op], ...]) -> bool:
        """Return whether the op of a node is of a kind."""
        return any(issubclass(op_class, kind) for op_class in self.kinds)

    @property
    def computation(self) -> Computation:
        """The computation as a key, equal exactly if the digests are; few digests are computed."""
        if self._computation is None:
            self._computation = Computation(self)
        return self._computation

    def replace_nodes(self, rewrite: Callable[[Node, tuple[Symbolic, ...]], Results]) -> Graph:
        """Rebuild bottom-up: ``rewrite(node, new_args)`` gives new results, or None to keep it.

        The results are a sequence of one value for each result of the op; of an op with one result
        the value alone will do. A kept node is rebuilt only if an operand changed. Returns the same
        object if nothing did. Inputs, parameters, names and order of the outputs stay.

        Raises:
            ArgumentError: ``rewrite`` gives something else.
        """
        return self._replace_nodes(rewrite)[0]

    def _replace_nodes(
        self, rewrite: Callable[[Node, tuple[Symbolic, ...]], Results]
    ) -> tuple[Graph, dict[Node, Sequence[Symbolic]]]:
        """Rebuild bottom-up; return the graph and the new values of nodes."""
        new: dict[Node, Sequence[Symbolic]] = {}
        order: dict[Node, None] = {}
        for node in self.nodes:
            args = node.args
            operands_changed = bool(new) and reads_any(node, new)
            if operands_changed:
                args = tuple([new[a.node][a.index] if a.node in new else a for a in args])
                operands_changed = not same_values(args, node.args)
            replacement = rewrite(node, args)
            if replacement is None:
                kept_node = rebuild(node, args) if operands_changed else node
                order[kept_node] = None  # its operands are listed already
                if operands_changed:
                    new[node] = kept_node.values
                continue
            results = _results(rewrite, node, replacement)
            if not same_values(results, node.values):
                new[node] = results
            new_nodes = ancestors(results, stop=order)  # operands first
            order.update(dict.fromkeys(sorted(new_nodes, key=lambda node: node.serial)))
        nodes = tuple(order)
        if not new and len(nodes) == len(self.nodes):
            return self, new
        graph = self.with_nodes(
            nodes, {v.key: new[v.node][v.index] for v in self.roots if v.node in new}
        )
        return graph, new

    def replace_ops(
        self,
        kind: type[_Kind] | tuple[type[_Kind], ...],
        rewrite: Callable[[Node, _Kind, tuple[Symbolic, ...]], Results],
    ) -> Graph:
        """Rebuild a graph, rewriting nodes of one kind of op: ``rewrite(node, node.op, new_args)``.

        What it builds has the line and the place of the node.

        Raises:
            ArgumentError: as ``replace_nodes``.
        """
        if not self.has(kind):
            return self

        @wraps(rewrite)  # whose line an error has
        def of_kind(node: Node, args: tuple[Symbolic, ...]) -> Results:
            if not isinstance(node.op, kind):
                return None
            with within(node.origin, node.order):
                return rewrite(node, node.op, args)

        return self.replace_nodes(of_kind)

    def with_nodes(self, nodes: Iterable[Node], new: Mapping[tuple[Node, int], Symbolic]) -> Graph:
        """Return the graph with other nodes; outputs and updates are mapped through ``new``."""
        return Graph.of_parts(
            nodes=nodes,
            inputs=self.inputs,
            parameters=self.parameters,
            outputs={name: new.get(value.key, value) for name, value in self.outputs.items()},
            updates=tuple((p, new.get(value.key, value)) for p, value in self.updates),
            name=self.name,
            complex_outputs=self.complex_outputs,
        )

    def without_dead_nodes(self) -> Graph:
        """Return the graph without nodes that no output, update, input or parameter depends on.

        The order of the others stays. Returns the same object if no node is dead.
        """
        live = set(ancestors([*self.roots, *self.inputs, *self.parameters]))
        if len(live) == len(self.nodes):
            return self
        graph = self.with_nodes((node for node in self.nodes if node in live), {})
        if _REPLACEMENTS in self.analyses:
            graph.analyses[_REPLACEMENTS] = self.analyses[_REPLACEMENTS]
        return graph

    def __copy__(self) -> Graph:
        return self

    def _repr_html_(self) -> str:
        html: str = up("staticgrad.language.pictures").graph_html(self)
        return html

    def svg(self) -> str:
        """Return the graph's picture, as notebooks show it, as a self-contained SVG file.

        >>> import staticgrad as sg
        >>> sg.Graph(sg.tanh(sg.input("x", (3,)))).svg()[:4]
        '<svg'
        """
        picture: str = up("staticgrad.language.pictures").svg_file(self)
        return picture

    def outline(self) -> str:
        """Return the graph's text with the nodes of each called graph as one line.

        It is for reading: ``str(graph)`` is the text that reads back. ``%2, %5`` on the left are
        the values of the call that others read. Where others come in between, and for each order
        of derivative, the nodes of a call are lines of their own.

        >>> import staticgrad as sg
        >>> x, y = sg.input("x", (3,), "float32"), sg.input("y", (3,), "float32")
        >>> norm = sg.Graph(sg.sqrt((x * x).sum()), name="norm")
        >>> print(sg.Graph(norm(y) + 1.0, name="g").outline().partition("   #")[0])
        graph g(%y: f32[3]) {
          %2: f32[] = norm(%y)
        """
        return PrintedText(print_outline(self))

    def dot(self) -> str:
        """Return the graph in Graphviz's DOT language: a box per operation, with its result's type.

        >>> import staticgrad as sg
        >>> print(sg.Graph(sg.tanh(sg.input("x", (3,), "float32")), name="g").dot())
        digraph "g" {
          node [shape=box, fontname="sans-serif", fontsize=10];
          n0 [label="x\\nf32[3]", style=dashed];
          n1 [label="tanh\\nf32[3]"];
          n0 -> n1;
          out0 [label="output", shape=plaintext];
          n1 -> out0;
        }
        """
        text: str = up("staticgrad.language.pictures").dot(self)
        return text

    def __reduce__(self) -> tuple[object, ...]:
        inputs = {value.node.label: value.node for value in self.inputs}
        parameters = {value.node.label: value.node for value in self.parameters}
        arguments = (WRITER, str(self), inputs, parameters, self.constants)
        if is_pickled_by_value():
            definitions = [node.op.definition() for node in _all_nodes(self)]
            return restore_graph, (
                *arguments,
                [definition for definition in definitions if definition is not None],
            )
        return restore_graph, arguments


class BodyOp(Op):
    """An op that runs graphs, its bodies: closed ones, without parameters."""

    @property
    @abstractmethod
    def bodies(self) -> tuple[Graph, ...]:
        """The graphs that it runs."""

    @abstractmethod
    def with_bodies(self, bodies: Sequence[Graph]) -> Self:
        """The same op over other bodies, as many as it has."""

    def summed_in_blocks(self, share: Any) -> Any:
        """Return the cotangent of an operand of some op beside this one: where that is a sum over
        all iterations of this op's derivative, sums of blocks of iterations. Others unchanged."""
        return share

    @property
    def draws_by_rank(self) -> bool:
        """Return whether an op of its bodies draws numbers that differ between ranks."""
        return any(node.op.draws_by_rank for body in self.bodies for node in body.nodes)

    def sizes(self) -> Iterable[Dim]:
        """The symbolic sizes among the attributes, and the named ones of the bodies."""
        named = [size for body in self.bodies for size in body.sizes.values()]
        return [*super().sizes(), *(Dim({(size,): 1}) for size in named)]


def bodies_of(node: Node) -> tuple[Graph, ...]:
    """Return the graphs that the op of a node runs; most ops run none."""
    op = node.op
    return op.bodies if isinstance(op, BodyOp) else ()


def guards_of(nodes: Iterable[Node]) -> Iterator[tuple[Guard, Node]]:
    """Yield the guards on symbolic sizes that type inference of these nodes recorded, in order.

    Guards depend on an op and its operands' types only, so each such pair is inferred once.
    """
    guards_by_key: dict[tuple[object, ...], list[Guard]] = {}
    named: dict[int, bool] = {}  # shapes by identity: most are those of an operand
    for node in nodes:
        for body in bodies_of(node):
            yield from body.guards
        if node.is_leaf:
            continue
        types = [arg.type for arg in node.args]
        shapes = [kind.shape for kind in (*node.types, *types)]
        for shape in shapes:
            if id(shape) not in named:
                named[id(shape)] = any(not isinstance(extent, int) for extent in shape)
        if not any(named[id(shape)] for shape in shapes):
            continue
        key = (node.op, *types)
        guards = guards_by_key.get(key)
        if guards is None:
            with collecting_guards() as guards:
                result_types(node.op, types)
            guards_by_key[key] = guards
        for guard in guards:
            yield guard, node


def _all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph, and those of its bodies."""
    for node in graph.nodes:
        yield node
        for body in bodies_of(node):
            yield from _all_nodes(body)


def restore_graph(
    writer: WriterVersion,
    text: str,
    inputs: dict[str, Node],
    parameters: dict[str, Node],
    constants: dict[str, Array],
    definitions: Sequence[tuple[Any, ...]] = (),
) -> Graph:
    """Rebuild a graph from its pickle: text, leaves by name, constants by digest."""
    for define, *arguments in definitions:
        define(*arguments)
    graph: Graph = staticgrad.parse(
        text,
        inputs={name: Symbolic(node) for name, node in inputs.items()},
        parameters={name: Parameter(node) for name, node in parameters.items()},
        constants=constants,
        file="<pickle>",
    )
    return graph


class Computation:
    """The computation of a graph, to be compared and hashed.

    A digest takes the whole text of a graph, so it is made only for graphs that agree in their
    inputs' types and in their ops' names.
    """

    __slots__ = ("_graph", "_outline")

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        ops = tuple([node.op.name for node in graph.nodes if not node.is_leaf])
        self._outline = hash((ops, tuple([value.type for value in graph.inputs])))

    def __hash__(self) -> int:
        return self._outline

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Computation):
            return NotImplemented
        left, right = self._graph, other._graph
        return left is right or (self._outline == other._outline and left.digest == right.digest)


def _read_graphs(outputs: Any, updates: Any) -> tuple[dict[Any, Any], tuple[tuple[Any, Any], ...]]:
    """Read outputs and updates, of which both may be those of a graph."""
    pairs = updates.updates if isinstance(updates, Graph) else read_updates(updates)
    if not isinstance(outputs, Graph):
        return read_outputs(outputs), pairs
    further = dict(outputs.updates)
    return dict(outputs.outputs), (*(further | dict(pairs)).items(),)


def reads_any(node: Node, of: Mapping[Node, object]) -> bool:
    """Return whether an operand of ``node`` is a result of one of these nodes."""
    for arg in node.args:  # noqa: SIM110  # asked of every node: a generator takes twice as long
        if arg.node in of:
            return True
    return False


def _results(
    rewrite: Callable[[Node, tuple[Symbolic, ...]], Results], node: Node, replacement: Any
) -> tuple[Symbolic, ...]:
    """Return the replacement of a node as one value per result; check types and count."""
    results = tuple(replacement) if isinstance(replacement, Sequence) else (replacement,)
    count = len(node.types)
    if len(results) == count and all(isinstance(value, Symbolic) for value in results):
        return results
    from inspect import unwrap

    code = getattr(unwrap(rewrite), "__code__", None)
    expected = "a value" if count == 1 else f"a sequence of {count} values"
    listed = isinstance(replacement, tuple | list)
    values = replacement if listed else (replacement,)
    kinds = ", ".join(str(v.type) if isinstance(v, Value) else kind_of(v) for v in values)
    if listed:
        kinds = (
            f"a {type(replacement).__name__} of {len(replacement)}: {kinds}"
            if replacement
            else "no values"
        )
    raise ArgumentError(
        f"replace_nodes: the rewrite of {node.op.name} gives {kinds}, not {expected}",
        hint=f"return {expected}, or None to keep the node",
        at=None if code is None else Origin((code, 0, "")),
        related=[describe(value, 0, node.op.name) for value in node.values[:1]],
    )


def replace_traced(graph: Graph, rewrite: Callable[[Node, tuple[Symbolic, ...]], Results]) -> Graph:
    """Rebuild a graph as ``Graph.replace_nodes`` does, and store its ``replacements``."""
    rewritten, new = graph._replace_nodes(rewrite)
    if rewritten is not graph:
        rewritten.analyses[_REPLACEMENTS] = new
    return rewritten


def replacements(graph: Graph) -> Mapping[Node, Sequence[Symbolic]]:
    """Return the new values of nodes that were replaced or rebuilt; empty if not traced."""
    return cast("dict[Node, Sequence[Symbolic]]", graph.analyses.get(_REPLACEMENTS, {}))
