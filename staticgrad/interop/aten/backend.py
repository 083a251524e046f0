"""A backend of ``torch.compile``: forward and backward graphs of ATen operators as programs.

AOTAutograd traces both and chooses what the forward pass saves. Each graph is one program if all
of its operators have rows and draw no random numbers; else PyTorch runs the others between
programs, so that random numbers are PyTorch's.
"""

from __future__ import annotations

import operator as python
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from staticgrad.compiler.compiling.compiler import compile as compile_graph
from staticgrad.interop.aten.program import AtenCall, ResultOf, draws, has_row
from staticgrad.interop.aten.reading import dtype_name, program_of
from staticgrad.interop.torch_arrays import array_of, tensor_of
from staticgrad.language.functions import input as graph_input
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.value import Value
from staticgrad.support.errors import StaticgradError, StaticgradWarning
from staticgrad.support.optional import torch

#: Operators that a warning has named.
_named: Final[set[str]] = set()


def compiled(graph: Any, example: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Return what runs a graph of Dynamo and its gradient."""
    aot = torch._dynamo.backends.common.aot_autograd

    def each(graph: Any, example: Sequence[Any]) -> Callable[..., Any]:
        return _of_aten(graph, example, options)

    run: Callable[..., Any] = aot(
        fw_compiler=each,
        bw_compiler=each,
        inference_compiler=each,
        decompositions=torch._decomp.core_aten_decompositions(),
        partition_fn=torch._functorch.partitioners.min_cut_rematerialization_partition,
    )(graph, example)
    return run


def _of_aten(graph: Any, example: Sequence[Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """Return what runs one graph of ATen operators, called with a list of arguments."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    runs = _Runs(graph, options)
    reasons = map(_reason, nodes, runs.program.nodes)
    outside = {node: reason for node, reason in zip(nodes, reasons, strict=True) if reason}
    if not outside:
        kinds = [_kind_of(each) for each in example]
        try:
            if all(kind is not None for kind in kinds):
                runs.build(kinds)
            return _boxed(runs)
        except StaticgradError as error:
            place = getattr(error, "place", None)
            chosen = nodes if place is None else [nodes[place]]
            outside = dict.fromkeys(chosen, error.headline)
    for reason in outside.values():
        _warn(reason)
    return _in_parts(graph, outside, options)


def _kind_of(example: Any) -> Any:
    """The shape and element type of a tensor with known sizes; None of anything else."""
    if not isinstance(example, torch.Tensor):
        return None
    shape = tuple(example.shape)
    return (shape, _NAMES[example.dtype]) if all(type(n) is int for n in shape) else None


def _reason(node: Any, call: AtenCall) -> str:
    """Why PyTorch runs a node; empty if a program may."""
    if not has_row(call):
        return f"{call.operator} has no row in the table of operators"
    if draws(call):
        return f"random {call.operator}"
    values = node.meta.get("val")
    for each in values if isinstance(values, list | tuple) else [values]:
        if isinstance(each, torch.Tensor) and (
            each.device.type != "cpu" or each.layout is not torch.strided
        ):
            return f"{call.operator} on {each.device.type}"
    return ""


def _warn(reason: str) -> None:
    if reason.startswith("random ") or reason in _named:
        return
    _named.add(reason)
    warnings.warn(
        f"torch.compile: PyTorch runs a part of the graph: {reason}",
        StaticgradWarning,
        stacklevel=2,
    )


def _in_parts(
    graph: Any, outside: Mapping[Any, str], options: Mapping[str, Any]
) -> Callable[..., Any]:
    """Return what runs programs for parts of a graph, and PyTorch between them."""
    from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
    from torch.fx.passes.operator_support import OperatorSupportBase

    base: Any = OperatorSupportBase  # of no known type where PyTorch is not installed

    class Support(base):  # type: ignore[misc]
        """The nodes that programs may run."""

        def is_node_supported(self, submodules: Any, node: Any) -> bool:
            return node.op == "call_function" and node not in outside

    partitioner = CapabilityBasedPartitioner(graph, Support(), allows_single_node_partition=False)
    whole = partitioner.partition_and_fuse()
    for name, part in [*whole.named_children()]:
        if isinstance(part, torch.fx.GraphModule):
            setattr(whole, name, _Part(_Runs(part, options), part))

    def run(args: list[Any]) -> Any:
        given = [*args]
        args.clear()
        return whole(*given)

    return _boxed(run)


def _boxed(run: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    """Return a function that PyTorch calls with a list of arguments, which it may empty."""

    def boxed(args: list[Any]) -> Any:
        return run(args)

    boxed._boxed_call = True  # type: ignore[attr-defined]
    return boxed


def _Part(runs: _Runs, graph: Any) -> Any:  # noqa: N802 - makes a module
    """Return a module that runs a part of a graph by its program, or by PyTorch if it refuses."""

    class Part(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *args: Any) -> Any:
            try:
                results = runs([*args])
            except StaticgradError as error:
                if runs.ran:
                    raise
                _warn(error.headline)
                return graph(*args)
            return results if runs.several else results[0]

    return Part()


class _Runs:
    """One graph: a program for each set of sizes, called with a list of tensors and numbers."""

    def __init__(self, graph: Any, options: Mapping[str, Any]) -> None:
        self.graph, self.options = graph, options
        output = next(node for node in graph.graph.nodes if node.op == "output").args[0]
        self.several = isinstance(output, list | tuple)
        self.ran = False
        self._made: dict[Any, Any] = {}
        outputs = [*output] if self.several else [output]
        self._views = _views_of(outputs)
        bases = [each if view is None else view[0]
                 for each, view in zip(outputs, self._views, strict=True)]  # fmt: skip
        sizes = [size for view in self._views if view for size in view[2]]
        self._strides = [_stride(each) for each in bases]
        self._sizes = sizes
        self.program = program_of(graph, results=[*bases, *sizes])

    def build(self, kinds: Sequence[Any]) -> Any:
        """Return what runs arguments of these kinds: (shape, dtype) of tensors, or numbers."""
        key = tuple(kinds)
        if key in self._made:
            return self._made[key]
        operands: list[Any] = []
        inputs: list[Any] = []
        feeds: list[int] = []
        for k, kind in enumerate(kinds):
            if isinstance(kind, tuple):
                inputs.append(graph_input(f"x{k}", *kind))
                operands.append(inputs[-1])
                feeds.append(k)
            else:
                operands.append(kind)
        count = len(operands)
        operands += [None] * (len(self.program.inputs) - count)
        results = self.program.run(operands)
        outputs: dict[str, Any] = {}
        plan: list[Any] = []  # for each result: an argument's place, an output's name, or a value
        known = dict(zip(self._sizes, results[len(self._views) :], strict=True))
        refs = self.program.results[: len(self._views)]
        first: dict[Any, str] = {}  # of a result that is the base of several views
        for k, (ref, value) in enumerate(zip(refs, results, strict=False)):
            if isinstance(ref, ResultOf) and ref.place < count:
                plan.append(ref.place)
            elif isinstance(value, Value):
                name = first.setdefault(ref, f"y{k}")
                outputs[name] = value
                plan.append(name)
            else:
                plan.append((value,))
        run = None
        if outputs:
            graph = Graph(outputs, inputs=inputs, name="torch")
            run = compile_graph(graph, **self.options).run
        narrow = {k for k in feeds if kinds[k][1] in ("bfloat16", "complex64", "complex128")}
        replays = [
            None if view is None else [_replayed(node, known) for node in view[1]]
            for view in self._views
        ]
        made = self._made[key] = (run, plan, feeds, narrow, replays)
        return made

    def __call__(self, args: list[Any]) -> list[Any]:
        kinds = [
            (tuple(each.shape), _NAMES[each.dtype]) if isinstance(each, torch.Tensor) else each
            for each in args
        ]
        run, plan, feeds, narrow, replays = self.build(kinds)
        given = {
            f"x{k}": array_of(args[k]) if k in narrow else args[k].detach().numpy() for k in feeds
        }
        arguments = [*args]
        args.clear()
        found = {} if run is None else run(given)
        self.ran = True
        results: list[Any] = []
        made: dict[str, Any] = {}
        for each, stride, replay in zip(plan, self._strides, replays, strict=True):
            if isinstance(each, int):
                result = arguments[each]
            elif isinstance(each, tuple):
                result = each[0]
            else:
                if each not in made:
                    made[each] = _placed(tensor_of(found[each]), stride)
                result = made[each]
            for view in replay or ():
                result = view(result)
            results.append(result)
        return results


def _views_of(outputs: Sequence[Any]) -> list[Any]:
    """For each output that shares memory with another or an input: (base, views, sizes)."""
    chains = [_chain(each) for each in outputs]
    bases = [base for base, _ in chains]
    found: list[Any] = []
    for base, views in chains:
        if base is None or (bases.count(base) == 1 and base.op != "placeholder") or not views:
            found.append(None)
            continue
        sizes = [each for view in views for each in view.all_input_nodes[1:]]
        found.append((base, views, sizes))
    return found


def _chain(node: Any) -> tuple[Any, list[Any]]:
    """The tensor that a result is a view of, and the views on the way."""
    views: list[Any] = []
    while isinstance(node, torch.fx.Node) and node.op == "call_function":
        schema = getattr(node.target, "_schema", None)
        is_view = schema is not None and any(
            each.alias_info is not None and not each.alias_info.is_write for each in schema.returns
        )
        if not (is_view or (node.target is python.getitem and _is_split(node.args[0]))):
            break
        views.insert(0, node)
        node = node.args[0]
    return (node if isinstance(node, torch.fx.Node) else None), views


def _is_split(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(each.alias_info is not None for each in schema.returns)


def _replayed(node: Any, known: Mapping[Any, int]) -> Callable[[Any], Any]:
    """Return what makes the view of a tensor, with numbers in the place of sizes."""
    rest = torch.fx.map_arg(node.args[1:], lambda each: known[each])
    named = torch.fx.map_arg(node.kwargs, lambda each: known[each])
    return lambda x: node.target(x, *rest, **named)


def _stride(node: Any) -> tuple[int, ...] | None:
    """The strides that PyTorch has for a result, of the traced sizes; None of C order."""
    value = getattr(node, "meta", {}).get("val")
    if not isinstance(value, torch.Tensor) or value.is_contiguous():
        return None
    return tuple(n if isinstance(n, int) else n.node.hint for n in value.stride())


def _placed(tensor: Any, stride: tuple[int, ...] | None) -> Any:
    """A tensor with its axes in the order in memory that PyTorch has, which views rely on."""
    if stride is None:
        return tensor
    order = sorted(range(len(stride)), key=lambda axis: (-stride[axis], axis))
    back = sorted(range(len(order)), key=order.__getitem__)
    return tensor.permute(order).contiguous().permute(back)


class _Names(dict[Any, str]):
    """Element type of PyTorch -> its name."""

    def __missing__(self, dtype: Any) -> str:
        self[dtype] = name = dtype_name(dtype)
        return name


_NAMES: Final = _Names()
