"""One trace of a function: the graph that it builds, and what else it does.

Beside its results a function may update parameters, draw from generators (whose steps go on at each
call), read arrays around it (which become constants) and change what lies around it (which happens
once, and is warned of).
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from decimal import Decimal
from fractions import Fraction
from math import inf
from typing import Any, Final

import numpy as np

from staticgrad.compiler.compiling.compiler import Compiled, compile as compile_graph
from staticgrad.errors import (
    ArgumentError,
    GraphError,
    SizeGuardError,
    StaticgradError,
    SymbolicValueError,
    TracingWarning,
    warn,
)
from staticgrad.errors.wording import kind_of
from staticgrad.functions.creation import input as graph_input
from staticgrad.functions.streams import draws_from_0
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.ir.advances import next_steps
from staticgrad.language.ir.bodies import is_body_input
from staticgrad.language.ir.graph import Graph, Input, Parameter, Symbolic, ancestors
from staticgrad.language.ir.nodes import Session, traced_in
from staticgrad.language.ir.op import as_array
from staticgrad.language.ir.pairs import SymbolicComplex
from staticgrad.language.ir.python_numbers import Arithmetic, Number, PythonNumber
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.elementwise import number_array
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.trees import Tree, flatten, paths, statics_of, unflatten
from staticgrad.language.types.arrays import (
    ArrayData,
    convert_array,
    have_same_elements,
    is_constant,
    product,
    reference_to,
)
from staticgrad.language.types.dim import evaluate, named_sizes
from staticgrad.programs.arguments import CallArguments, Spec, shapes_of
from staticgrad.programs.captured import MOST_BYTES, Captured
from staticgrad.programs.effects import Snapshot, differences, random_states
from staticgrad.programs.watched import Frozen
from staticgrad.support.config import in_blocks
from staticgrad.support.records import NamedTuple

#: A named size this many times its hint is worth another graph, if the values of a call have so
#: many elements that it takes about a millisecond: what is stored, fused, or divided in chunks was
#: decided for arrays in a cache. k-means of 10,000 points and 1,000 centroids takes 17.1 ms by a
#: program for a tenth of both, and 10.1 by one of its own (Emerald Rapids, one thread).
_OUTGROWN: Final = 8
_LONG_WORK: Final = 1 << 21
#: Bytes of small arrays, which are copied to be compared.
_LARGE: Final = 1 << 13
_STATIC_HINT: Final = (
    "in a traced function arrays have no numbers yet; an argument that is a Python number, bool or"
    " string is static, and so are those named in static=(...)"
)


class Out(str):
    """A result that the graph gives: its name there."""

    __slots__ = ()


class TracedProgram:
    """One graph of a function: what it takes, where its results go, for which captured values.

    ``names`` are those of all arrays that it is given, in order; ``arithmetic`` has the Python
    numbers that are inputs; ``hints`` the sizes by name for which decisions were made;
    ``frozen_values`` those of parameters that ``freeze=True`` makes constants, by their stores.
    """

    def __init__(
        self,
        spec: Spec,
        names: Sequence[str],
        graph: Graph | None,
        leaves: list[Any],
        tree: Tree,
        arithmetic: Arithmetic | None = None,
    ) -> None:
        self.names, self.arithmetic = names, arithmetic
        self.hints: Mapping[str, int] = {}
        self.frozen_values: dict[ParameterStore, Any] = {}
        self._work: dict[tuple[int, ...], int] = {}  # elements of all values, by the sizes of calls
        self.spec, self.graph, self.leaves, self._tree = spec, graph, leaves, tree
        self._read = {value.node.label for value in graph.inputs} if graph else set()
        self._reads_all = arithmetic is None and self._read.issuperset(names)
        self._is_single = tree.kind is object and type(leaves[0]) is Out
        self._compiled: dict[Any, Compiled] = {}  # by the settings of ``options`` blocks
        self._frozen: Frozen | None = None
        self._arrays: list[_ReadArray] = []  # that became constants
        #: Arrays that Python may have read: what gives them, shape, dtype, bytes, label.
        self._elements: list[tuple[Any, tuple[int, ...], np.dtype[Any], bytes, str]] = []

    def is_outgrown(self, sizes: Sequence[int]) -> bool:
        """Return whether sizes are worth decisions of their own: far larger ones, and long work."""
        named = zip(self.spec, sizes, strict=True)
        values = {name: size for name, size in named if isinstance(name, str)}
        if self.graph is None or all(
            size <= _OUTGROWN * self.hints.get(name, size) for name, size in values.items()
        ):
            return False
        work = self._work.get((*sizes,))
        if work is None:
            kinds = [kind for node in self.graph.nodes for kind in node.types]
            work = sum(evaluate(product(kind.shape), values) for kind in kinds)
            self._work[*sizes,] = work
        return work >= _LONG_WORK

    def freeze(self, frozen: Frozen, around: Captured, noted: Session) -> list[str]:
        """Record the outside values that a trace depends on, to detect changes.

        Return the labels of arrays of which Python may have read elements, and that are too large
        to be compared; those that became constants are compared whatever their size.
        """
        self._frozen = None if frozen.is_empty else frozen
        constants = [source() for source, _ in noted.arrays]
        self._arrays = [
            _ReadArray(
                source,
                data,
                data.array.dtype,
                data.array.tobytes() if data.array.nbytes < _LARGE else None,
            )
            for (source, data), array in zip(noted.arrays, constants, strict=True)
            if array is not None and not is_constant(array)
        ]
        self._elements, large = [], list[str]()
        for owner, label in around.arrays:
            array = _numbers_of(owner)
            if array is None or is_constant(array) or any(array is c for c in constants):
                continue
            if array.nbytes <= MOST_BYTES:
                source = reference_to(owner, _numbers_of)
                self._elements.append((source, array.shape, array.dtype, array.tobytes(), label))
            elif around.reads_elements(label) and not any(
                c is not None and np.may_share_memory(array, c) for c in constants
            ):
                large.append(f"{label!r}, an array of {array.nbytes} bytes")
        return large

    @property
    def gives_patterns(self) -> bool:
        """Return whether a result is a sparse matrix whose pattern is an input."""
        return any(getattr(part, "is_of_run", False) for part in statics_of(self._tree))

    @property
    def never_changes(self) -> bool:
        """Return whether it depends on nothing around the function."""
        return not self._arrays and not self._elements and self._frozen is None

    def describe_change(self) -> str:
        """Describe what has changed outside since tracing; empty if the trace is still valid."""
        changed = None if self._frozen is None else self._frozen.find_change()
        if changed is not None:
            return f"{changed} is another"
        for source, constant, dtype, numbers in self._arrays:
            array = source()
            if array is None:
                continue
            if numbers is None or array.dtype is not dtype:
                is_same = _same_numbers(array, constant)
            else:
                is_same = array.tobytes() == numbers
            if not is_same:
                return "an array that it reads was written to"
        for source, shape, dtype, elements, label in self._elements:
            array = source()
            if array is not None and (
                array.dtype != dtype or array.shape != shape or array.tobytes() != elements
            ):
                return f"{label} was written to"
        return ""

    def program(self, options: Mapping[str, Any]) -> Compiled:
        """Compile the traced graph, once for each set of settings."""
        around = in_blocks()
        compiled = self._compiled.get(around)
        if compiled is None:
            if self.graph is None:
                raise GraphError("there is nothing to compute: no result depends on an array")
            graph = self.graph
            if options.get("freeze") is True:
                from staticgrad.compiler.compiling.constant_part import freeze_parameters

                graph = freeze_parameters(graph, self.frozen_values)
            compiled = self._compiled[around] = compile_graph(graph, **options)
        return compiled

    def numbers(self, numbers: Mapping[str, Number]) -> tuple[dict[str, Any], list[Number]] | None:
        """Return the number inputs of a trace as feeds, and all numbers by index.

        None: with these numbers Python or NumPy do something else, an error or another type.
        """
        if self.arithmetic is None:
            return {}, []
        try:
            values = self.arithmetic.values(numbers)
            pairs = self.arithmetic.inputs
            return {v.name: number_array(values[k], v.dtype) for v, k in pairs}, values
        except (TypeError, ValueError, ArithmeticError):
            return None

    def takes_all(self, names: Collection[str]) -> bool:
        """Return whether all Python numbers of these names are inputs."""
        return self.arithmetic is not None and all(
            name in self.arithmetic.call_numbers for name in names
        )

    def run(self, feeds: Mapping[str, Any], values: Sequence[Number], options: Any) -> Any:
        """Return the results in their containers: arrays, or NumPy's scalars for no axes.

        ``feeds`` are those of the graph, ``values`` all Python numbers by index.
        """
        outputs = self.program(options).run(feeds) if self.graph else {}
        return self.results(outputs, values)

    def feeds(
        self, arrays: Mapping[str, Any], numbers: Mapping[str, Number]
    ) -> tuple[dict[str, Any], list[Number]]:
        """Return the feeds of the graph, and all Python numbers by index."""
        number_feeds, values = self.numbers(numbers) or ({}, [])
        return self.read_of({**arrays, **number_feeds}), values

    def feeds_of(self, arrays: Sequence[Any]) -> dict[str, Any]:
        """Return the arrays of a call by name; written for calls of a microsecond."""
        feeds = {}
        place = 0
        for name in self.names:
            feeds[name] = arrays[place]
            place += 1  # noqa: SIM113 - enumerate and zip take longer
        return feeds

    def read_of(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """Return those feeds that the graph reads."""
        if self._reads_all:
            return feeds
        return {name: feed for name, feed in feeds.items() if name in self._read}

    def results(self, outputs: Mapping[str, Any], values: Sequence[Number]) -> Any:
        """Put the outputs of a traced graph into the containers of the function's result."""
        if self._is_single:
            return as_result(outputs[self.leaves[0]])
        leaves = []
        for leaf in self.leaves:
            if isinstance(leaf, Out):
                leaf = as_result(outputs[leaf])
            elif type(leaf) is PythonNumber:
                leaf = values[leaf.place]
            leaves.append(leaf)
        return unflatten(self._tree, leaves)


def as_result(array: Any) -> Any:
    """Return an array as NumPy's functions give it, a scalar where it has no axis."""
    return array[()] if isinstance(array, np.ndarray) and not array.ndim else array


class Tracer:
    """Traces one function, for one signature after the other."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function, self._name = function, name
        self._new_parameters: list[Parameter] = []
        self._warned: set[str] = set()
        #: Of all programs: a frozen parameter has the value of its first use.
        self._frozen_values: dict[ParameterStore, Any] = {}

    def trace(
        self,
        arguments: CallArguments,
        spec: Spec,
        numbers: Collection[str] = (),
        hints: Mapping[str, int] | None = None,
    ) -> TracedProgram:
        """Trace a function over inputs of these sizes and these Python ``numbers``.

        ``hints``: typical values of named sizes.
        """
        hints = hints or {}
        around = Captured(self._function, arguments.objects)
        snapshot, states, frozen = Snapshot(around), random_states(around), Frozen(around)
        noted = Session()
        traced = self._once(arguments, spec, noted, numbers, hints)
        changes = [*snapshot.changes()]
        if around.is_open or frozen.find_change() is not None:  # by the trace
            around = Captured(self._function, arguments.objects)
            frozen = Frozen(around)
        for what in [*around.unwatched, *traced.freeze(frozen, around, noted)]:
            self._warn(
                f"reads {what}",
                "a later change of it is not seen, because that takes too long at each call: pass"
                " what it reads as an argument, or keep it in a parameter",
            )
        for label in around.iterators:
            self._warn(
                f"reads the iterator {label!r}",
                "its elements are taken when it is traced, not at each call: pass"
                f" next({label}) as an argument",
            )
        if noted.drawn:
            self._warn(
                "makes parameters when it is traced",
                f"each trace draws other first values, of {noted.drawn[0].name!r} for one:"
                " make the module outside of the function",
            )
        for label, done in changes:
            self._warn(
                f"{done} {label!r}",
                "this happens when it is traced, not at each call: return what it makes, or keep"
                " it in a parameter, p.update(value)",
            )
        if around.asks_time or states != random_states(around):
            again = self._once(arguments, spec, Session(), numbers, hints)
            leaf_pairs = list(zip(traced.leaves, again.leaves, strict=False))
            for place in differences(traced.graph, again.graph, leaf_pairs):
                self._warn(
                    f"freezes a number that differs from time to time, {place}",
                    "each call has the one of the trace: pass it as an argument, or draw from"
                    " sg.random.Generator(seed)",
                )
        return traced

    def _once(
        self,
        arguments: CallArguments,
        spec: Spec,
        noted: Session,
        numbers: Collection[str],
        hints: Mapping[str, int],
    ) -> TracedProgram:
        """Trace a function once on symbolic inputs, and collect its updates and outside names."""
        shapes = shapes_of(spec, [len(shape) for shape in arguments.shapes], hints)
        inputs: list[Any] = [
            graph_input(name, shape, dtype)
            for name, shape, dtype in zip(arguments.arrays, shapes, arguments.dtypes, strict=True)
        ]
        noted.inputs = inputs
        first = _real_input(inputs[0]).node.serial if inputs else inf
        chosen = {name: number for name, number in arguments.numbers.items() if name in numbers}
        arithmetic = Arithmetic(chosen, arguments.arrays)
        try:
            with traced_in(noted), in_graphs(), draws_from_0():
                result, changed = arguments.call(self._function, inputs, arithmetic.call_numbers)
        except SymbolicValueError as error:
            error.hint = f"{error.hint}\n{_STATIC_HINT}" if error.hint else _STATIC_HINT
            raise
        except Exception as error:
            if isinstance(error.__cause__, SymbolicValueError):  # NumPy's words hide ours
                raise error.__cause__ from None
            if arithmetic.latest_refusal is not None:
                raise arithmetic.latest_refusal from None
            if not isinstance(error, StaticgradError):
                error.add_note(f"while sg.function traced {self._name}")
            if isinstance(error, AttributeError) and isinstance(error.obj, list | tuple):
                error.add_note("a list is a tree of arrays; np.array(list) is one array")
            if isinstance(error, AttributeError | TypeError) and not getattr(error, "hint", ""):
                for name, value in arguments.statics.items():
                    if write := _numbers_of_static(name, value):
                        error.add_note(f"{name} is {kind_of(value)}, and static: {write}")
            raise
        for name in changed:
            self._warn(f"changes its argument {name}", "its caller does not see that: return it")
        traced = self._program(result, spec, noted, inputs, arithmetic)
        traced.hints, traced.frozen_values = hints, self._frozen_values
        # Refuse a graph whose named sizes are not those of the call.
        named = zip(traced.spec, arguments.sizes, strict=True)
        values = {name: size for name, size in named if isinstance(name, str)}
        for guard, node in traced.graph.guards if traced.graph and values else ():
            if not guard.holds(values):
                raise SizeGuardError(guard.text, at=node.origin)
        # Refuse what another trace would begin anew; what was there before may keep what is
        # made.
        updates = traced.graph.updates if traced.graph else ()
        updated = [p for p, _ in updates if p.node not in noted.state_nodes]
        new_parameters = [parameter for parameter in updated if parameter.node.serial > first]
        if new_parameters and self._new_parameters:
            raise GraphError(
                f"{self._name} makes the parameter {new_parameters[0].name!r} when it is traced: in"
                " another trace its values would begin again",
                hint="make it outside of the function; opt.minimize(loss) keeps what it makes\n"
                'or name the sizes that differ at first: sg.function(sizes={"x": ("batch", None)})',
            )
        self._new_parameters += new_parameters
        return traced

    def _program(
        self,
        result: Any,
        spec: Spec,
        noted: Session,
        inputs: Sequence[Symbolic],
        arithmetic: Arithmetic,
    ) -> TracedProgram:
        """Build the traced program from a function's result: graph and output containers."""
        stored = [_real_input(value) for value in inputs]
        names = [value.node.label for value in stored]
        argument_nodes = {
            value.node for value in (*stored, *(value for value, _ in arithmetic.inputs))
        }
        if isinstance(result, Graph):
            outputs: dict[str, Any] = {name: result[name] for name in result.outputs}
            updates = result.updates
            outs: Any = {name: Out(name) for name in outputs}
            leaves, tree = flatten(outs["output"] if [*outputs] == ["output"] else outs)
        else:
            result_leaves, tree = flatten(result, keep_complex=True)
            result_leaves = [
                noted.read(leaf) if isinstance(leaf, Parameter) else leaf for leaf in result_leaves
            ]
            self._check_results(result_leaves)
            named = list(zip(paths(tree, "result"), result_leaves, strict=True))
            values = (Symbolic, SymbolicComplex)
            outputs = {name: leaf for name, leaf in named if isinstance(leaf, values)}
            leaves = [Out(name) if name in outputs else leaf for name, leaf in named]
            updates = ()
        pairs: list[tuple[Parameter, Any]] = [*updates, *noted.updates]
        nodes = ancestors(flatten([*outputs.values(), *(value for _, value in pairs)])[0])
        for node in nodes:
            if (
                isinstance(node.op, Input)
                and node not in argument_nodes
                and not is_body_input(node)
            ):
                raise GraphError(
                    f"{self._name} reads {node.label!r}, {node.types[0]}, which is not one of its"
                    " arguments",
                    hint="pass it as an argument; a value that was kept from another trace has no"
                    " number",
                    related=[(node.label, str(node.types[0]), node.origin)],
                )
        updated_nodes = {parameter.node for parameter, _ in pairs}
        pairs += [(p, v) for p, v in next_steps(nodes) if p.node not in updated_nodes]
        if result is None and not pairs:
            self._warn("returns nothing and updates nothing", "return what it computes")
        name = self._name.rpartition(".")[2]
        graph = Graph(outputs, pairs, name=name) if outputs or pairs else None
        if graph:  # inputs that nothing reads but for their sizes, which no other tells
            sized, size_names = [], {name for value in graph.inputs for name in _names(value)}
            for value in inputs:
                if (_names(value) & graph.sizes.keys()) - size_names:
                    sized.append(value)
                    size_names |= _names(value)
            if sized:
                graph = Graph(outputs, pairs, inputs=sized, name=name)
        return TracedProgram(
            spec, names, graph, leaves, tree, arithmetic if arithmetic.call_numbers else None
        )

    def _check_results(self, leaves: Sequence[Any]) -> None:
        """Refuse results of a traced function that hide graph values or are computed lazily."""
        for leaf in leaves:
            hides = isinstance(leaf, set | frozenset) and any(isinstance(x, Value) for x in leaf)
            if hides or isinstance(leaf, Iterator | Awaitable | AsyncIterator):
                raise ArgumentError(
                    f"{self._name} gives {kind_of(leaf)}: its results are arrays in dicts, lists,"
                    " tuples and dataclasses",
                    hint="return what is computed: def, not async def; return, not yield",
                )

    def _warn(self, what: str, cure: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            warn(TracingWarning, f"{self._name} {what}: {cure}")


def _names(value: Symbolic) -> set[str]:
    return {named.name for size in value.shape for named in named_sizes(size)}


class _ReadArray(NamedTuple):
    """An array around a function, with the constant that a trace made of it.

    ``numbers`` are the bytes of a small one.
    """

    array: Callable[[], Any]
    constant: ArrayData
    dtype: np.dtype[Any]
    numbers: bytes | None


def _same_numbers(source: Any, constant: ArrayData) -> bool:
    """Return whether a constant still equals its array, in the dtype that it took."""
    if source.dtype != constant.array.dtype:
        source = convert_array(source.astype(source.dtype.newbyteorder("=")), constant.dtype)
    return have_same_elements(source, constant.array)


def _numbers_of(value: Any) -> Any:
    """Return the elements of an array, also of another library; None if these are no numbers."""
    if not isinstance(value, np.ndarray):
        try:
            value = as_array(value)
        except (StaticgradError, TypeError, ValueError):
            return None
    return value


def _real_input(value: Any) -> Any:
    """Return the real input that a complex one is stored as; another as it is."""
    return value.stored if isinstance(value, SymbolicComplex) else value


def _numbers_of_static(name: str, value: Any) -> str:
    """Return how to pass the numbers that a static argument contains as an array; else empty."""
    if isinstance(value, range):
        return f"np.array({name}) is an array"
    if isinstance(value, Iterator):
        return f"np.array(list({name})) is an array of its numbers"
    if isinstance(value, Decimal | Fraction):
        return "float(number) is a number, np.array(numbers, float) an array"
    return ""
