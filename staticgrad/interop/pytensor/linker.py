"""A Linker and a Mode of PyTensor: its graphs run compiled by staticgrad.

A graph is one program. Sizes that PyTensor does not know are named sizes, so that it is compiled
once for all shapes. A node whose Op has no row, or whose result has a size that only a run
computes, is computed by PyTensor: then there are several programs, and such nodes between them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from typing import Any, Final

import numpy as np

from staticgrad.extend import Graph, Value
from staticgrad.extend.functions import input as graph_input
from staticgrad.extend.optional import pytensor
from staticgrad.extend.programs import Compiled, compile
from staticgrad.interop.engine.operands import ForeignType, is_known, value
from staticgrad.interop.engine.programs import RefusedCallError
from staticgrad.interop.pytensor.program import PyTensorProgram
from staticgrad.interop.pytensor.reading import is_number, read_call, read_constant, read_type
from staticgrad.support.errors import ExportError, StaticgradWarning

#: The names of the mode; PyTensor looks names up in upper case.
NAMES: Final = ("STATICGRAD", "staticgrad")
#: Rewrites of PyTensor that serve other linkers, or that write over operands.
_EXCLUDED: Final = (
    "cxx_only", "BlasOpt", "local_careduce_fusion", "scan_reduce_trace_prealloc", "inplace",
    "fusion", "reuse_decomposition_multiple_solves",
    "scan_split_non_sequence_decomposition_and_solve",
)  # fmt: skip
#: Texts of warnings that were given.
_warned: set[str] = set()


class _RefusalError(Exception):
    """A row refuses a node."""

    def __init__(self, node: Any, reason: str) -> None:
        self.node, self.reason = node, reason


class ProgramPart:
    """Nodes that one program computes.

    Attributes:
        inputs: variable by the name of the program's input.
        results: variables that the program computes, in the order of its outputs.
        constants: data of variables that are known before a run: arrays, generators, matrices.
        numbers: results that are numbers of NumPy, not arrays without axes.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        values: Sequence[Value],
        results: Mapping[Any, Value],
        constants: Mapping[Any, Any],
    ) -> None:
        self.inputs, self.results, self.constants = dict(inputs), [*results], dict(constants)
        self.numbers = [variable for variable in results if is_number(variable)]
        self._graph: Graph | None = None
        if results:
            outputs = {f"y{k}": result for k, result in enumerate(results.values())}
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
            results = self.compiled.run({name: arrays[v] for name, v in self.inputs.items()})
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

    def __init__(self, graph: Any, options: Mapping[str, Any]) -> None:
        self._graph = graph
        self._nodes = graph.toposort()
        self.fallbacks: dict[Any, str] = {}
        while True:
            try:
                self.parts = self._lower()
                break
            except _RefusalError as refusal:
                self.fallbacks[refusal.node] = refusal.reason
        self._warn()
        for part in self.parts:
            part.compile(options)

    @property
    def programs(self) -> list[Compiled[dict[str, Any]]]:
        """The compiled programs, in order."""
        programs = [part.compiled for part in self.parts if isinstance(part, ProgramPart)]
        return [program for program in programs if program is not None]

    def _levels(self) -> dict[Any, int]:
        """Return for each node how many nodes of PyTensor are on the longest path to it."""
        levels: dict[Any, int] = {}
        for node in self._nodes:
            owners = [variable.owner for variable in node.inputs if variable.owner is not None]
            levels[node] = max(
                [levels[owner] + (owner in self.fallbacks) for owner in owners], default=0
            )
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
            builder = _Builder(constants)
            results: dict[Any, int] = {}
            for node in nodes:
                if node not in self.fallbacks:
                    builder.compute(node)
                    results |= {v: level for v in node.outputs if last.get(v, -1) > level}
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
        for part in self.parts:
            part.run(arrays)
        return [arrays[variable] for variable in self._graph.outputs]


class _Builder:
    """Values of the variables of one program, which become its inputs when a node reads them."""

    def __init__(self, constants_before: Mapping[Any, Any]) -> None:
        self._constants_before = constants_before
        self._values: dict[Any, Any] = {}
        self._inputs: dict[str, Any] = {}

    @property
    def constants(self) -> dict[Any, Any]:
        """Arrays of integers and sizes that are known before a run, by variable."""
        return {variable: x for variable, x in self._values.items() if is_known(x)}

    def compute(self, node: Any) -> None:
        """Compute the results of a node.

        Raises:
            _RefusalError: its row refuses it.
        """
        call = read_call(node)
        try:
            operands = [self._read(variable) for variable in node.inputs]
            results = PyTensorProgram.compute(call, operands)
        except RefusedCallError as error:
            raise _RefusalError(node, error.headline) from None
        except ExportError as error:
            raise _RefusalError(node, f"{call.operator}: {error.headline}") from None
        self._values.update(zip(node.outputs, results, strict=True))

    def _read(self, variable: Any) -> Any:
        """Return a variable's value; one of another program becomes an input."""
        if _is_constant(variable):
            return read_constant(variable)
        if variable not in self._values:
            constant = self._constants_before.get(variable)
            if constant is None:
                self._values[variable] = self._add_input(variable)
            elif isinstance(constant, np.ndarray) and constant.dtype != object:
                self._values[variable] = constant
            else:  # sizes have other names here
                self.compute(variable.owner)
        return self._values[variable]

    def _add_input(self, variable: Any) -> Value:
        """Make a variable an input, with a name for each size that PyTensor does not know.

        Raises:
            ExportError: it is neither a tensor nor a number.
        """
        kind = read_type(variable.type)
        if kind is None:
            raise ExportError(f"an operand is a {variable.type}")
        name = variable.name or f"x{len(self._inputs)}"
        while name in self._inputs:
            name += "_"
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
        return ProgramPart(self._inputs, values, results, constants)


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
    if is_alone and isinstance(part, ProgramPart) and part.compiled and not has_numbers:
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
    query = pytensor("graph.rewriting.db").RewriteDatabaseQuery(include=["fast_run"])
    return pytensor("compile.mode").Mode(make_linker(**options), query)


def register() -> None:
    """Register the linker and the mode by their names, once."""
    modes = pytensor("compile.mode")
    mode = make_mode()
    modes.predefined_linkers.setdefault("staticgrad", mode.linker)
    for name in NAMES:
        modes.predefined_modes.setdefault(name, mode)
