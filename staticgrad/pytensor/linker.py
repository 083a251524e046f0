"""A Linker and a Mode of PyTensor: its graphs run compiled by staticgrad.

A graph is one program. A node whose Op has no row, or whose result has a size that its row does not
count, is computed by PyTensor: then there are several programs, and such nodes between them
(``staticgrad/bridges/fallback.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from time import process_time
from typing import Any, Final

from staticgrad.bridges.fallback import RunCall, SplitProgram, warn_of_fallback
from staticgrad.extend.optional import pytensor
from staticgrad.pytensor.reading import is_number, program_between

#: The names of the mode; PyTensor looks names up in upper case.
NAMES: Final = ("STATICGRAD", "staticgrad")
#: Rewrites of PyTensor that serve other linkers, that write over operands, or whose work is done
#: here again: they fold, fuse and spell formulas, and change no formula that could overflow.
_EXCLUDED: Final = (
    "cxx_only", "BlasOpt", "local_careduce_fusion", "scan_reduce_trace_prealloc", "inplace",
    "fusion", "reuse_decomposition_multiple_solves",
    "scan_split_non_sequence_decomposition_and_solve",
    "add_mul_fusion", "uncanonicalize", "local_mul_specialize", "local_mul_to_sqr",
    "local_sum_prod_all_to_none", "local_upcast_elemwise_constant_inputs",
)  # fmt: skip
#: Rewrites of PyTensor by their tags: also the one by which a scan stores only the elements that
#: are read, in the form without a buffer that is written over.
_INCLUDED: Final = ("fast_run", "scan_save_mem_no_prealloc")


def split_graph(graph: Any, options: Mapping[str, Any]) -> SplitProgram:
    """Return a graph of PyTensor as compiled programs, and thunks of PyTensor between them."""
    start = process_time()
    nodes = [*dict.fromkeys(graph.toposort())]
    variables = [*graph.inputs, *[variable for node in nodes for variable in node.outputs]]
    program = program_between(graph.inputs, nodes, graph.outputs)
    read_seconds = process_time() - start

    def warn(fallbacks: Mapping[int, str]) -> None:
        copies = pytensor("compile.ops").DeepCopyOp  # of what is no array: nothing is computed
        reasons = [
            why
            for k, why in fallbacks.items()
            if not (hasattr(nodes[k].op, "rng_param") or isinstance(nodes[k].op, copies))
        ]
        if reasons:
            text = "; ".join(dict.fromkeys(reasons))
            warn_of_fallback(f"pytensor: PyTensor computes a part of the graph in Python: {text}")

    split = SplitProgram(
        program,
        lambda k: _run_node(nodes[k]),
        options,
        [place for place, variable in enumerate(variables) if is_number(variable)],
        warn,
    )
    split.seconds["reading"] += read_seconds
    return split


def _run_node(node: Any) -> RunCall:
    """Return the thunk of a node's Op in Python as a function of arrays."""
    storage: dict[Any, list[Any]] = {variable: [None] for variable in [*node.inputs, *node.outputs]}
    constant = pytensor("graph.basic").Constant
    for variable in node.inputs:
        if isinstance(variable, constant):
            storage[variable][0] = variable.data
    computed = {variable: [True] for variable in storage}
    op = node.op
    if hasattr(op, "link_mode"):  # a Scan's loop writes into arrays of PyTensor's own thunks
        op = copy(op)
        op.mode = "FAST_COMPILE"
    thunk = op.make_thunk(node, storage, computed, [], impl="py")

    def run(operands: Sequence[Any]) -> list[Any]:
        for variable, operand in zip(node.inputs, operands, strict=True):
            if not isinstance(variable, constant):
                storage[variable][0] = operand
        for variable in node.outputs:
            storage[variable][0] = None
        thunk()
        return [storage[variable][0] for variable in node.outputs]

    return run


def _make_thunk(
    split: SplitProgram, graph: Any, storage: Mapping[Any, list[Any]]
) -> Callable[[], Any]:
    """Return the function that PyTensor calls for a run: it reads cells, writes cells, and returns.

    Functions of PyTensor take the arrays that it returns, loops of PyTensor those in the cells. One
    program that computes all results is called without a detour, and a value with its gradient by
    one vector, as samplers call it, without a loop.
    """
    inputs = [storage[variable] for variable in graph.inputs]
    outputs = [storage[variable] for variable in graph.outputs]
    part = split.alone
    if part is None or part.compiled is None:

        def run_parts() -> list[Any]:
            results = split.run([cell[0] for cell in inputs])
            for cell, result in zip(outputs, results, strict=True):
                cell[0] = result
            return results

        return run_parts
    run = part.compiled.run
    cells = [(name, inputs[place]) for name, place in part.inputs.items()]
    if len(cells) == 1 and len(outputs) == 2:
        ((name, cell),), (first, second) = cells, outputs

        def run_on_vector() -> list[Any]:
            results = first[0], second[0] = [*run({name: cell[0]}).values()]
            return results

        return run_on_vector

    def run_alone() -> list[Any]:
        results = [*run({name: cell[0] for name, cell in cells}).values()]
        for cell, result in zip(outputs, results):  # noqa: B905  # as many: a check takes time
            cell[0] = result
        return results

    return run_alone


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
                return split_graph(fgraph, self.options)

            def jit_compile(self, fn: Any) -> Any:
                return fn

            def create_thunk_inputs(self, storage_map: Any) -> list[Any]:
                return [storage_map[variable] for variable in self.fgraph.inputs]

            def create_jitable_thunk(
                self, compute_map: Any, order: Any, input_storage: Any, output_storage: Any,
                storage_map: Any,
            ) -> Any:  # fmt: skip
                split = split_graph(self.fgraph, self.options)
                thunk: Any = _make_thunk(split, self.fgraph, storage_map)
                thunk.inputs = self.create_thunk_inputs(storage_map)
                thunk.outputs = [storage_map[variable] for variable in self.fgraph.outputs]
                thunk.lazy = False
                nodes = [v.owner for v in self.fgraph.outputs if v.owner is not None]
                return [thunk], nodes[:1], split

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
