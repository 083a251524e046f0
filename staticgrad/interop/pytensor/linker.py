"""A Linker and a Mode of PyTensor: its graphs run compiled by staticgrad.

A graph is one program. Sizes that PyTensor does not know are named sizes, so that it is compiled
once for all shapes. Integers of a run that are sizes (``arange(n)``, the number of steps of a scan,
also the one at which a scan with until ends) are named sizes, too: those of inputs at once, those
that are computed in the program after the one that computes them.

A node whose Op has no row, or whose result has a size that its row does not count, is computed by
PyTensor: then there are several programs, and such nodes between them. That is also done with all
sizes of a run if one of them is below 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from copy import copy, deepcopy
from math import prod
from typing import Any, Final, NamedTuple, cast

import numpy as np

from staticgrad.extend import Graph, Size, Value
from staticgrad.extend.functions import input as graph_input
from staticgrad.extend.optional import pytensor
from staticgrad.extend.programs import Compiled, compile
from staticgrad.interop.engine.operands import (
    ForeignType,
    UncountedResultError,
    UnknownSizeError,
    is_known,
    value,
)
from staticgrad.interop.engine.programs import RefusedCallError
from staticgrad.interop.pytensor.operators.registry import row_of
from staticgrad.interop.pytensor.program import PyTensorProgram
from staticgrad.interop.pytensor.reading import (
    is_number,
    read_call,
    read_constant,
    read_op,
    read_type,
)
from staticgrad.interop.pytensor.sizes import computes_sizes
from staticgrad.support.errors import ExportError, StaticgradWarning

#: The names of the mode; PyTensor looks names up in upper case.
NAMES: Final = ("STATICGRAD", "staticgrad")
#: Rewrites of PyTensor that serve other linkers, or that write over operands.
_EXCLUDED: Final = (
    "cxx_only", "BlasOpt", "local_careduce_fusion", "scan_reduce_trace_prealloc", "inplace",
    "fusion", "reuse_decomposition_multiple_solves",
    "scan_split_non_sequence_decomposition_and_solve",
)  # fmt: skip
#: Rewrites of PyTensor by their tags: also the one by which a scan stores only the elements that
#: are read, in the form without a buffer that is written over.
_INCLUDED: Final = ("fast_run", "scan_save_mem_no_prealloc")
#: Texts of warnings that were given.
_warned: set[str] = set()


class _RefusalError(Exception):
    """A row refuses a node.

    Attributes:
        sources: operands that are to be named sizes.
        count: how many elements a result has; the row takes it if it is known.
    """

    def __init__(
        self, node: Any, reason: str, sources: Sequence[Any] = (), count: Value | None = None
    ) -> None:
        self.node, self.reason, self.sources, self.count = node, reason, sources, count


class _NegativeSizeError(Exception):
    """An integer of a run that is to be a size is below 0."""


class RunSize(NamedTuple):
    """An input of a program that names a size: an array of as many elements.

    Attributes:
        source: the variable, or the node, that gives integers.
        place: of the size among them.
    """

    source: Any
    place: int

    def make_array(self, arrays: Mapping[Any, Any]) -> np.ndarray[Any, Any]:
        """Return an array of the size for a run.

        Raises:
            _NegativeSizeError: the integer is below 0.
        """
        count = int(np.ravel(arrays[self.source])[self.place])
        if count < 0:
            raise _NegativeSizeError
        return np.empty(count, np.bool_)


class ProgramPart:
    """Nodes that one program computes.

    Attributes:
        inputs: variable by the name of the program's input.
        sizes: inputs that name sizes, by name.
        results: variables that the program computes, in the order of its outputs; nodes, where it
            counts the elements of their results.
        constants: data of variables that are known before a run: arrays, generators, matrices.
        numbers: results that are numbers of NumPy, not arrays without axes.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        sizes: Mapping[str, RunSize],
        values: Sequence[Value],
        results: Mapping[Any, Value],
        counts: Mapping[Any, Value],
        constants: Mapping[Any, Any],
    ) -> None:
        self.inputs, self.sizes, self.constants = dict(inputs), dict(sizes), dict(constants)
        self.results = [*results, *counts]
        self.numbers = [variable for variable in results if is_number(variable)]
        self._graph: Graph | None = None
        if self.results:
            computed = [*results.values(), *counts.values()]
            outputs = {f"y{k}": result for k, result in enumerate(computed)}
            self._graph = Graph(outputs, inputs=[*values], name="pytensor")
        self.compiled: Compiled[dict[str, Any]] | None = None

    def compile(self, options: Mapping[str, Any]) -> None:
        """Compile the program."""
        if self._graph is not None:
            self.compiled = compile(self._graph, **options)

    def run(self, arrays: dict[Any, Any]) -> None:
        """Run the program on arrays by variable, and add its results to them."""
        for variable, array in self.constants.items():
            arrays[variable] = deepcopy(array)
        if self.compiled is not None:
            feeds = {name: arrays[v] for name, v in self.inputs.items()}
            feeds |= {name: size.make_array(arrays) for name, size in self.sizes.items()}
            results = self.compiled.run(feeds)
            arrays.update(zip(self.results, results.values(), strict=True))
            for variable in self.numbers:
                arrays[variable] = arrays[variable][()]


class NodePart:
    """A node that PyTensor computes, by the thunk of its Op in Python."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.results = [*node.outputs]
        self._storage = {variable: [None] for variable in [*node.inputs, *node.outputs]}
        for variable in node.inputs:
            if _is_constant(variable):
                self._storage[variable][0] = variable.data
        computed = {variable: [True] for variable in self._storage}
        op = node.op
        if hasattr(op, "link_mode"):  # a Scan's loop writes into arrays of PyTensor's own thunks
            op = copy(op)
            op.mode = "FAST_COMPILE"
        self._thunk = op.make_thunk(node, self._storage, computed, [], impl="py")

    def compile(self, options: Mapping[str, Any]) -> None:
        """Do nothing: PyTensor has its thunk."""

    def run(self, arrays: dict[Any, Any]) -> None:
        """Compute the node's results of arrays by variable, and add them."""
        for variable in self.node.inputs:
            if not _is_constant(variable):
                self._storage[variable][0] = arrays[variable]
        for variable in self.node.outputs:
            self._storage[variable][0] = None
        self._thunk()
        for variable in self.node.outputs:
            arrays[variable] = self._storage[variable][0]


class LoweredGraph:
    """A graph of PyTensor as programs, and nodes that PyTensor computes between them.

    Attributes:
        parts: in order.
        fallbacks: the nodes that PyTensor computes -> why.
    """

    def __init__(
        self, graph: Any, options: Mapping[str, Any], names_sizes_of_runs: bool = True
    ) -> None:
        """Lower a graph.

        Args:
            graph: a ``FunctionGraph``.
            options: as ``sg.compile`` takes them.
            names_sizes_of_runs: integers that only a run computes may be named sizes; or PyTensor
                computes the nodes that read them.
        """
        self._graph, self._options = graph, options
        self._nodes = graph.toposort()
        self._names_sizes_of_runs = names_sizes_of_runs
        #: Variables that are named sizes where they are read -> the nodes that need it.
        self._sizes: dict[Any, Any] = {}
        #: Nodes whose results have sizes that the program before counts.
        self._counted: set[Any] = set()
        self._without_sizes: LoweredGraph | None = None
        self.fallbacks: dict[Any, str] = {}
        while True:
            try:
                self.parts = self._lower()
                break
            except _RefusalError as refusal:
                self._resolve_refusal(refusal)
        self._warn()
        for part in self.parts:
            part.compile(options)

    @property
    def programs(self) -> list[Compiled[dict[str, Any]]]:
        """The compiled programs, in order."""
        programs = [part.compiled for part in self.parts if isinstance(part, ProgramPart)]
        return [program for program in programs if program is not None]

    def _resolve_refusal(self, refusal: _RefusalError) -> None:
        """Name the sizes that a node needs, count them, or leave the node to PyTensor."""
        node = refusal.node
        new = [source for source in refusal.sources if source not in self._sizes]
        if self._names_sizes_of_runs and new:
            self._sizes |= dict.fromkeys(new, node)
        elif self._names_sizes_of_runs and refusal.count is not None and node not in self._counted:
            self._counted.add(node)
        else:
            self.fallbacks[node] = refusal.reason
            self._counted.discard(node)
            self._sizes = {v: reader for v, reader in self._sizes.items() if reader is not node}

    def _levels(self) -> dict[Any, int]:
        """Return for each node how many programs come before the one that computes it."""
        levels: dict[Any, int] = {}
        for node in self._nodes:
            operands = [variable for variable in node.inputs if variable.owner is not None]
            levels_before = [
                levels[v.owner] + (v.owner in self.fallbacks or v in self._sizes) for v in operands
            ]
            levels[node] = max(levels_before, default=0) + (node in self._counted)
        return levels

    def _lower(self) -> list[ProgramPart | NodePart]:
        """Build the programs.

        Raises:
            _RefusalError: a row refuses a node.
        """
        levels = self._levels()
        #: The level of the last reader.
        last: dict[Any, float] = dict.fromkeys(self._graph.outputs, len(self._nodes))
        for node in self._nodes:
            for variable in node.inputs:
                level = levels[node] + (node in self.fallbacks) / 2
                last[variable] = max(last.get(variable, -1), level)
        parts: list[ProgramPart | NodePart] = []
        constants: dict[Any, Any] = {}
        inputs = {v for v in self._graph.inputs if read_type(v.type) is not None}
        order = {variable: k for k, variable in enumerate(self._graph.outputs)}
        for level in range(max(levels.values(), default=0) + 1):
            nodes = [node for node in self._nodes if levels[node] == level]
            builder = _Builder(constants, self._sizes)
            results: dict[Any, int] = {}
            for node in nodes:
                if node not in self.fallbacks:
                    builder.compute(node, node in self._counted)
                    results |= {v: level for v in node.outputs if last.get(v, -1) > level}
            for node in self._counted:
                if levels[node] == level + 1:
                    builder.count(node)
            if level == 0:
                results |= {v: 0 for v in self._graph.outputs if _is_constant(v) or v in inputs}
            # the graph's own results first, in its order: then a run of one program returns them
            variables = sorted(results, key=lambda variable: order.get(variable, len(order)))
            parts.append(builder.part(variables))
            constants.update(builder.constants)
            parts += [NodePart(node) for node in nodes if node in self.fallbacks]
        return parts

    def _warn(self) -> None:
        """Warn, once for the same nodes, that PyTensor computes them."""
        reasons = [
            reason for node, reason in self.fallbacks.items() if not hasattr(node.op, "rng_param")
        ]
        text = "; ".join(dict.fromkeys(reasons))
        if text and text not in _warned:
            _warned.add(text)
            warnings.warn(
                f"pytensor: PyTensor computes a part of the graph in Python: {text}",
                StaticgradWarning,
                stacklevel=2,
            )

    def run(self, arrays: dict[Any, Any]) -> list[Any]:
        """Return the results for arrays of the graph's inputs, by variable."""
        results = dict(arrays)
        try:
            for part in self.parts:
                part.run(results)
        except _NegativeSizeError:
            if self._without_sizes is None:
                self._without_sizes = LoweredGraph(self._graph, self._options, False)
            return self._without_sizes.run(arrays)
        return [results[variable] for variable in self._graph.outputs]


class _Builder:
    """Values of the variables of one program, which become its inputs when a node reads them."""

    def __init__(self, constants_before: Mapping[Any, Any], sizes: Container[Any]) -> None:
        self._constants_before, self._named = constants_before, sizes
        self._values: dict[Any, Any] = {}
        self._inputs: dict[str, Any] = {}
        self._sizes: dict[str, RunSize] = {}
        self._counts: dict[Any, Value] = {}
        self._values_of_sizes: list[Value] = []

    @property
    def constants(self) -> dict[Any, Any]:
        """Arrays of integers and sizes that are known before a run, by variable."""
        return {variable: x for variable, x in self._values.items() if is_known(x)}

    def compute(self, node: Any, is_counted: bool = False) -> None:
        """Compute the results of a node.

        Args:
            node: an Apply node.
            is_counted: the program before counts the elements of its results.

        Raises:
            _RefusalError: its row refuses it.
        """
        facts = {"count": self._name_size(RunSize(node, 0), "count")} if is_counted else {}
        results = self._call(node, facts)
        self._values.update(zip(node.outputs, results, strict=True))

    def count(self, node: Any) -> None:
        """Compute how many elements the results of a node have.

        Raises:
            _RefusalError: its row refuses it.
        """
        try:
            self._call(node, {})
        except _RefusalError as refusal:
            if refusal.count is None:
                raise
            self._counts[node] = value(refusal.count, "int64")

    def _call(self, node: Any, facts: Mapping[str, Any]) -> list[Any]:
        """Return the results of a node.

        Raises:
            _RefusalError: its row refuses it.
        """
        call = read_call(node)
        operands: list[Any] = []
        try:
            operands += [self._read(variable) for variable in node.inputs]
            return PyTensorProgram.compute(call, operands, facts)
        except RefusedCallError as error:
            cause, count, sources = error.__cause__, None, []
            if isinstance(cause, UncountedResultError):
                row = row_of(call.operator)
                if error.place is None and row is not None and "count" in row.arguments:
                    count = cause.value
            elif isinstance(cause, UnknownSizeError):
                for variable, x in zip(node.inputs, operands, strict=True):
                    if x is cause.value:
                        sources += self._find_sources(variable)
            raise _RefusalError(node, error.headline, sources, count) from None
        except ExportError as error:
            raise _RefusalError(node, f"{call.operator}: {error.headline}") from None

    def _find_sources(self, variable: Any) -> list[Any]:
        """Return the integers of which those of a variable are computed, as arithmetic of sizes.

        Returns:
            Variables that may be named sizes: none if the variable is none, and only itself if all
            others are named already.
        """
        if not _may_be_sizes(variable):
            return []
        sources: list[Any] = []
        stack = [variable]
        while stack:
            v = stack.pop()
            operands = [] if v.owner is None or v in self._named else [*v.owner.inputs]
            is_here = all(_is_constant(x) or x in self._values for x in operands)
            unknown = [x for x in operands if x in self._values and not is_known(self._values[x])]
            is_arithmetic = operands and is_here and computes_sizes(read_op(v.owner.op))
            if is_arithmetic and all(map(_may_be_sizes, unknown)):
                stack += unknown
            else:
                sources.append(v)
        new = [source for source in sources if source not in self._named]
        return new or [variable]

    def _read(self, variable: Any) -> Any:
        """Return a variable's value; one of another program becomes an input."""
        if _is_constant(variable):
            return read_constant(variable)
        if variable not in self._values:
            constant = self._constants_before.get(variable)
            if variable in self._named:
                self._values[variable] = self._name_sizes_of(variable)
            elif constant is None:
                self._values[variable] = self._add_input(variable)
            elif isinstance(constant, np.ndarray) and constant.dtype != object:
                self._values[variable] = constant
            else:  # sizes have other names here
                self.compute(variable.owner)
        return self._values[variable]

    def _name_sizes_of(self, variable: Any) -> np.ndarray[Any, Any]:
        """Return the integers of a variable as named sizes."""
        kind = read_type(variable.type)
        shape = () if kind is None else cast("tuple[int, ...]", kind.shape)
        places = range(prod(shape))
        name = variable.name or "size"
        sizes = np.empty(len(places), object)
        sizes[:] = [self._name_size(RunSize(variable, place), name) for place in places]
        return sizes.reshape(shape)

    def _name_size(self, size: RunSize, name: str) -> Size:
        """Make an input of which a size is the length, and return the size."""
        name = self._unique_name(name)
        self._sizes[name] = size
        x = graph_input(name, (f"{name}_size",), "bool")
        self._values_of_sizes.append(x)
        return x.shape[0]

    def _unique_name(self, name: str) -> str:
        while name in self._inputs or name in self._sizes:
            name += "_"
        return name

    def _add_input(self, variable: Any) -> Value:
        """Make a variable an input, with a name for each size that PyTensor does not know.

        Raises:
            ExportError: it is neither a tensor nor a number.
        """
        kind = read_type(variable.type)
        if kind is None:
            raise ExportError(f"an operand is a {variable.type}")
        name = self._unique_name(variable.name or f"x{len(self._inputs)}")
        self._inputs[name] = variable
        return graph_input(name, _name_sizes(name, kind), kind.dtype)

    def part(self, variables: Sequence[Any]) -> ProgramPart:
        """Return the program that computes the variables."""
        results, constants = {}, {}
        for variable in variables:
            x = self._read(variable)
            kind = read_type(variable.type)
            if kind is None:
                constants[variable] = x
            elif isinstance(x, np.ndarray) and x.dtype != object:
                array = x.astype(kind.dtype)
                constants[variable] = array[()] if is_number(variable) else array
            else:
                results[variable] = value(x, kind.dtype)
        values = [self._values[variable] for variable in self._inputs.values()]
        values += self._values_of_sizes
        return ProgramPart(self._inputs, self._sizes, values, results, self._counts, constants)


def _may_be_sizes(variable: Any) -> bool:
    """Return whether a variable has integers, and PyTensor knows how many."""
    kind = read_type(variable.type)
    return kind is not None and np.dtype(kind.dtype).kind in "iu" and None not in kind.shape


def _name_sizes(name: str, kind: ForeignType) -> tuple[int | str, ...]:
    """Return the shape of an input; a size that PyTensor does not know has a name."""
    return tuple([f"{name}_{axis}" if n is None else n for axis, n in enumerate(kind.shape)])


def _is_constant(variable: Any) -> bool:
    return isinstance(variable, pytensor("graph.basic").Constant)


def _make_thunk(
    lowered: LoweredGraph, graph: Any, storage: Mapping[Any, list[Any]]
) -> Callable[[], Any]:
    """Return the function that PyTensor calls for a run: it reads cells, and returns arrays.

    One program that computes all results is called without a detour.
    """
    part = lowered.parts[0]
    is_alone = len(lowered.parts) == 1 and part.results == [*graph.outputs]
    has_numbers = any(map(is_number, graph.outputs))
    if (
        is_alone
        and isinstance(part, ProgramPart)
        and part.compiled
        and not has_numbers
        and not part.sizes
    ):
        run = part.compiled.run
        cells = [(name, storage[variable]) for name, variable in part.inputs.items()]
        if len(cells) == 1:
            ((name, cell),) = cells
            return lambda: [*run({name: cell[0]}).values()]
        return lambda: [*run({name: cell[0] for name, cell in cells}).values()]
    inputs = [(variable, storage[variable]) for variable in graph.inputs]
    return lambda: lowered.run({variable: cell[0] for variable, cell in inputs})


def make_linker(**options: Any) -> Any:
    """Return a Linker of PyTensor that compiles graphs by ``sg.compile`` with these options."""
    return _linker_class()(options=options)


def _make_linker_with(options: Mapping[str, Any]) -> Any:
    """Return the linker with these options; what a pickled one calls."""
    return make_linker(**options)


def _linker_class() -> Any:
    """Return the class of linkers, which derives from one of PyTensor's."""
    global _class
    if _class is None:
        base: Any = pytensor("link.basic").JITLinker

        class StaticgradLinker(base):  # type: ignore[misc]
            """Runs a graph as programs of staticgrad; ``mode="STATICGRAD"`` has it."""

            required_rewrites = ("minimum_compile",)
            incompatible_rewrites = _EXCLUDED

            def __init__(
                self, *args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any
            ) -> None:
                super().__init__(*args, **kwargs)
                self.options = dict(options or {})

            def __reduce__(self) -> Any:
                return _make_linker_with, (self.options,), self.__dict__.copy()

            def fgraph_convert(self, fgraph: Any, **_: Any) -> Any:
                return LoweredGraph(fgraph, self.options)

            def jit_compile(self, fn: Any) -> Any:
                return fn

            def create_thunk_inputs(self, storage_map: Any) -> list[Any]:
                return [storage_map[variable] for variable in self.fgraph.inputs]

            def create_jitable_thunk(
                self, compute_map: Any, order: Any, input_storage: Any, output_storage: Any,
                storage_map: Any,
            ) -> Any:  # fmt: skip
                lowered = LoweredGraph(self.fgraph, self.options)
                thunk: Any = _make_thunk(lowered, self.fgraph, storage_map)
                thunk.inputs = self.create_thunk_inputs(storage_map)
                thunk.outputs = [storage_map[variable] for variable in self.fgraph.outputs]
                thunk.lazy = False
                nodes = [v.owner for v in self.fgraph.outputs if v.owner is not None]
                return [thunk], nodes[:1], lowered

        _class = StaticgradLinker
    return _class


_class: Any = None


def make_mode(**options: Any) -> Any:
    """Return a Mode of PyTensor that runs graphs compiled by staticgrad.

    Args:
        options: as ``sg.compile`` takes them.
    """
    query = pytensor("graph.rewriting.db").RewriteDatabaseQuery(include=_INCLUDED)
    return pytensor("compile.mode").Mode(make_linker(**options), query)


def register() -> None:
    """Register the linker and the mode by their names, once."""
    modes = pytensor("compile.mode")
    mode = make_mode()
    modes.predefined_linkers.setdefault("staticgrad", mode.linker)
    for name in NAMES:
        modes.predefined_modes.setdefault(name, mode)
