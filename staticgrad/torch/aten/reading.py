"""Graphs of PyTorch (``torch.fx``) as programs of plain data."""

from __future__ import annotations

import operator as python
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.bridges.operands import ForeignType
from staticgrad.bridges.programs import ForeignCall, ResultOf
from staticgrad.bridges.tables import ForeignOperator
from staticgrad.errors import ExportError
from staticgrad.extend.building import SourceLine
from staticgrad.extend.optional import torch
from staticgrad.torch.arrays import array_of
from staticgrad.torch.aten.program import AtenProgram, aten_operator

#: Arguments that say where and how a result is stored.
_STORAGE: Final = frozenset((
    "layout", "device", "pin_memory", "memory_format", "non_blocking", "implicit", "generator",
    "sparse", "sparse_grad", "allow_tf32", "physical_layout",
))  # fmt: skip
_LINE: Final = re.compile(r'File "(?P<file>.*)", line (?P<line>\d+), in (?P<function>.*)')
#: PyTorch's names of arguments -> those of rows.
_NAMES: Final = {"self": "x", "input": "x", "other": "y", "out": "out_"}
#: Operators of which PyTorch 2.14 has another name of an argument -> that before, and its own.
_RENAMED: Final = {
    "_cdist_backward": ("grad", "grad_output"),
    "_pdist_backward": ("grad", "grad_output"),
}
_OF_SIZES: Final = ("sym_size", "sym_numel")
#: Operators whose results depend on how the first operand is stored.
_OF_MEMORY: Final = frozenset((
    "as_strided", "as_strided_copy", "as_strided_scatter", "_linalg_det", "_linalg_slogdet",
))  # fmt: skip
#: Functions of PyTorch whose decomposition loses what gradients need, or the order in memory that
#: views of the result rely on, or draws other random numbers.
_WHOLE: Final = (
    "bernoulli", "detach", "_safe_softmax", "_scaled_dot_product_flash_attention_for_cpu",
)  # fmt: skip


def program_of(
    graph: Any,
    names: Sequence[str] | None = None,
    constants: Mapping[int, Any] | None = None,
    results: Sequence[Any] | None = None,
) -> AtenProgram:
    """Return a functional graph of ATen operators as a program.

    Args:
        graph: a ``torch.fx.GraphModule`` whose nodes have values in ``meta``.
        names: of its inputs, for errors.
        constants: tensors by the places of inputs that are fixed.
        results: nodes to return instead of the graph's.

    Raises:
        ExportError: the graph has something else than inputs, calls of operators and constants.
    """
    inputs: list[str] = []
    types: list[ForeignType | None] = []
    calls: list[ForeignCall] = []
    chosen: list[Any] = []
    places: dict[Any, ResultOf] = {}
    fixed = {k: as_array(tensor) for k, tensor in (constants or {}).items()}
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    attributes = [node for node in graph.graph.nodes if node.op == "get_attr"]
    for k, node in enumerate([*placeholders, *attributes]):
        places[node] = ResultOf(k)
        inputs.append(names[k] if names is not None and k < len(names) else str(node.target))
        value = node.meta.get("val")
        if node.op == "get_attr":
            value = _attribute(graph, node)
            if isinstance(value, torch.Tensor):
                fixed[k] = as_array(value)
        types.append(_type(value))
    for node in graph.graph.nodes:
        if node.op in ("placeholder", "get_attr"):
            continue
        if node.op == "output":
            outputs = node.args[0]
            outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
            outputs = outputs if results is None else results
            chosen = [_read_argument(output, places) for output in outputs]
            continue
        if node.op != "call_function":
            raise ExportError(
                f"{node.target}: {node.op} is not an operator", at=_find_user_line(node)
            )
        places[node] = ResultOf(len(inputs) + len(calls))
        calls.append(_read_node(node, places))
    return AtenProgram(types, calls, chosen, constants=fixed, names=inputs)


def _attribute(graph: Any, node: Any) -> Any:
    """Return the tensor or graph module that a ``get_attr`` node of torch.fx names."""
    value = graph
    for name in node.target.split("."):
        value = getattr(value, name)
    if not isinstance(value, torch.Tensor | torch.fx.GraphModule):
        raise ExportError(
            f"{node.target} is {type(value).__name__}, not a tensor", at=_find_user_line(node)
        )
    return value


def _read_node(node: Any, places: Mapping[Any, ResultOf]) -> ForeignCall:
    """Convert a node of ``torch.fx`` to a call in plain data."""
    target, line = node.target, _find_user_line(node)
    if target is python.getitem:
        source, place = node.args
        return ForeignCall(ForeignOperator("getitem"), (places[source], place), line=line)
    if not isinstance(target, torch._ops.OpOverload):
        name = getattr(target, "__name__", str(target))
        is_call = isinstance(target, torch._ops.HigherOrderOperator) and name != "with_effects"
        name = f"higher_order.{name}" if is_call else f"size.{name}"
        operands = [_read_argument(argument, places) for argument in node.args]
        out = (None, None) if name == "size.with_effects" else None
        return ForeignCall(ForeignOperator(name), operands, (out,), line)
    arguments = _named_arguments(target, node.args, node.kwargs, places)
    packet = target.overloadpacket.__name__
    if packet in _OF_SIZES:
        return ForeignCall(ForeignOperator(f"size.{packet}"), [*arguments.values()], line=line)
    if packet in _OF_MEMORY:
        strides = _find_strides(node.args[0], packet.startswith("as_strided"))
        if strides and _views_whole_tensor(node.args[0], arguments):
            strides = "all"
        arguments |= {} if strides is None else {"strides": strides}
    op = aten_operator(str(target).removesuffix(".default"))
    return ForeignCall(op, arguments, (_type(node.meta.get("val")),), line)


def _find_strides(node: Any, needs_whole: bool) -> list[int] | str | None:
    """Return the strides of a torch.fx node's tensor; None if it is contiguous.

    ``whole``: its memory has nothing else; text if it has.
    """
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return None
    extent = value.untyped_storage().nbytes() // value.element_size()
    if needs_whole and (value.storage_offset() != 0 or extent != value.numel()):
        return "a part"
    return None if value.is_contiguous() else [*value.stride()]


def _views_whole_tensor(node: Any, arguments: Mapping[str, Any]) -> bool:
    """Return whether ``as_strided`` views a whole tensor, each element where it is."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or "stride" not in arguments:
        return False
    view = zip(arguments["size"], arguments["stride"], value.stride(), strict=False)
    return (
        tuple(arguments["size"]) == tuple(value.shape)
        and arguments.get("storage_offset") in (None, value.storage_offset())
        and all(n == 1 or step == tensor_step for n, step, tensor_step in view)
    )


def _named_arguments(
    target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], places: Mapping[Any, ResultOf]
) -> dict[str, Any]:
    """Name the arguments of an ATen call by its schema, without those that have their defaults."""
    arguments = {}
    old_name, new_name = _RENAMED.get(target.overloadpacket.__name__, ("", ""))
    for k, argument in enumerate(target._schema.arguments):
        if argument.name in _STORAGE:
            continue
        if k < len(args):
            value = args[k]
        elif argument.name in kwargs:
            value = kwargs[argument.name]
        else:
            continue
        if argument.has_default_value() and _same(value, argument.default_value):
            continue
        if argument.name == "dtype" and target.overloadpacket.__name__ != "_to_copy":
            continue  # the type of the result says it
        name = new_name if argument.name == old_name else _NAMES.get(argument.name, argument.name)
        arguments[name] = _read_argument(value, places)
    return arguments


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and value == default


def _read_argument(value: Any, places: Mapping[Any, ResultOf]) -> Any:
    """Convert an argument of a torch.fx node to plain data."""
    if isinstance(value, torch.fx.Node):
        return places[value]
    if isinstance(value, list | tuple):
        return [_read_argument(element, places) for element in value]
    if isinstance(value, torch.dtype):
        return dtype_name(value)
    if value is None or isinstance(value, bool | int | float | complex | str):
        return value
    return str(value)


def _type(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        shape = tuple([size if isinstance(size, int) else None for size in value.shape])
        return ForeignType(dtype_name(value.dtype), shape)
    if isinstance(value, list | tuple):
        return tuple(map(_type, value))
    return None


def dtype_name(dtype: Any) -> str:
    """Return the name of an element type of PyTorch, which NumPy and staticgrad have, too."""
    return str(dtype).removeprefix("torch.")


def _find_user_line(node: Any) -> SourceLine | None:
    """Find the user's line in the stack of a torch.fx node: the innermost one outside PyTorch."""
    trace = (node.meta.get("stack_trace") or "").strip().splitlines()
    innermost = None
    for k, text in enumerate(trace):
        match = _LINE.match(text.strip())
        if match and not re.search(r"[/\\](?:site|dist)-packages[/\\]torch[/\\]", match["file"]):
            source = trace[k + 1].strip() if k + 1 < len(trace) else ""
            source = "" if _LINE.match(source) else source
            innermost = match["file"], int(match["line"]), source, match["function"]
    if innermost is None:
        return None
    file, line, source, function = innermost
    stack = node.meta.get("nn_module_stack") or {}
    scope = [*stack.values()][-1][0] if stack else ""
    scope = scope.removeprefix("L['self'].").removeprefix("L['self']").removeprefix("self.")
    return SourceLine(file, line, text=source, function=function, scope=scope)


def drop_lossy_decompositions(table: Any) -> Any:
    """Return a table of decompositions without those that lose what we need."""
    for name in [*table]:
        if name.overloadpacket.__name__ in _WHOLE:
            del table[name]
    return table


def as_array(tensor: Any) -> np.ndarray[Any, Any]:
    """Return a copy of a tensor as an array, also where PyTorch traces."""
    with torch.utils._python_dispatch._disable_current_modes():
        array: np.ndarray[Any, Any] = array_of(tensor).copy()
    return array
