"""Programs whose products and convolutions by parameters are of 8-bit integers.

The parameters become constants: signed integers with a scale for each column of a matrix, or output
channel of a filter, by the largest number of it. What they are multiplied by becomes unsigned
integers, whose scale and zero point follow from its range: in each run, or once, by sample feeds.
Sums are exact, and scaled once; all else is computed in float32 as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from staticgrad.analysis.evaluate import evaluate
from staticgrad.analysis.liveness import ValueKey
from staticgrad.compiler.compiling.arguments import read_program
from staticgrad.compiler.compiling.compiler import compile
from staticgrad.errors import ArgumentError
from staticgrad.functions.quantized import (
    choose_scale,
    convolve_integers,
    multiply_integers,
    quantize_by_range,
    round_to_integers,
)
from staticgrad.language.calls.arguments import public
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.ir.graph import Graph, Input, Node, Symbolic, constant
from staticgrad.language.ir.op import Array
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.convolution import Conv
from staticgrad.language.ops.movement import swapaxes
from staticgrad.language.types.dim import maximum
from staticgrad.language.types.dtype import F32

if TYPE_CHECKING:
    from staticgrad.compiler.compiling.arguments import Compilable

#: The largest signed integer of 8 bits; the least one is not used, so that a scale has no offset.
_LARGEST: Final = 127


@public
@in_graphs()
def quantize(
    program: Compilable, samples: Mapping[Any, Any] | Iterable[Mapping[Any, Any]] | None = None
) -> Graph:
    """Return a program that multiplies parameters as 8-bit integers, for inference.

    Matrices ``w`` of ``x @ w``, and filters of convolutions without groups, in float32, become
    constants of ``int8``, a quarter of the bytes, with a scale for each column or output channel:
    later changes of these parameters do not count. What they are multiplied by is rounded to 256
    integers over its range. With AVX512-VNNI or AVX-VNNI such products are three to five times as
    fast. Derivatives of the result are zero nearly everywhere; quantize after training.

    Args:
        program: a Graph, a Value or a dict of Values, without updates.
        samples: feeds of the program, as ``run`` takes them, or several: ranges of what is
            multiplied are those that occur with them. Without samples ranges are found in each run.

    Returns:
        A Graph with the same inputs and outputs.

    Raises:
        ArgumentError: ``program`` is not a program, or writes to parameters, or no feeds are in
            ``samples``.
        FeedError: samples that ``run`` refuses.

    >>> import numpy as np, staticgrad as sg
    >>> x, w = sg.input("x", ("n", 64), "float32"), sg.parameter("w", np.eye(64, dtype="float32"))
    >>> f = sg.compile(sg.quantize({"y": x @ w}))
    >>> y = f.run({"x": np.linspace(-1, 1, 128, dtype="float32").reshape(2, 64)})["y"]
    >>> float(abs(y[1, -1] - 1.0)) < 0.01
    True
    """
    graph, _ = read_program(program)
    if graph.updates:
        raise ArgumentError(
            "quantize takes a program without updates", hint="sg.quantize(graph.outputs)"
        )
    products = [node for node in graph.nodes if _is_quantized(node)]
    ranges: dict[ValueKey, tuple[Any, Any]] = {}
    if samples is not None:
        feeds = [samples] if isinstance(samples, Mapping) else samples
        ranges = _find_ranges(graph, [node.args[0] for node in products], feeds)
    chosen = set(products)

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite a product of float32 numbers as one of integers, or return None."""
        if node not in chosen:
            return None
        x: Any = args[0]
        if isinstance(node.op, MatMul) and node.op.transpose_a:
            x = swapaxes(x, -1, -2)
        scale_and_zero = ranges.get(node.args[0].key)
        if scale_and_zero is None:
            integers, scale, zero = quantize_by_range(x)
        else:
            scale, zero = map(constant, scale_and_zero)
            integers = round_to_integers(x / scale, zero, "uint8")
        result: Any = _multiply(node, (integers, scale, zero))
        return (result,)

    rewritten = graph.replace_nodes(rewrite)
    return Graph(rewritten.outputs, name=graph.name, inputs=rewritten.inputs)


def _is_quantized(node: Node) -> bool:
    """Return True if a node multiplies float32 numbers by parameters, a matrix or a filter."""
    if not isinstance(node.op, MatMul | Conv) or node.types[0].dtype is not F32:
        return False
    weights = node.args[1]
    if isinstance(node.op, Conv):
        is_one_group = node.op.groups == 1 and weights.shape[1] != 1
        return is_one_group and _is_fixed(weights) and not _is_fixed(node.args[0])
    return weights.ndim == 2 and _is_fixed(weights) and not _is_fixed(node.args[0])


def _is_fixed(value: Symbolic) -> bool:
    """Return True if a value depends on parameters and constants alone, of known sizes."""
    waiting, seen = [value.node], set[Node]()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        has_sizes = all(isinstance(kind.size, int) for kind in node.types)
        if isinstance(node.op, Input) or not has_sizes or [*node.op.sizes()]:
            return False
        waiting += [arg.node for arg in node.args]
    return True


def _find_ranges(
    graph: Graph, values: Sequence[Symbolic], samples: Iterable[Mapping[Any, Any]]
) -> dict[ValueKey, tuple[Array, Array]]:
    """Return scale and zero point of each value by the least and largest numbers in samples."""
    by_key = {value.key: value for value in values}
    outputs = {
        f"{end}{number}": getattr(value, end)()
        for number, value in enumerate(by_key.values())
        for end in ("min", "max")
    }
    program = compile(Graph(outputs, inputs=graph.inputs)) if outputs else None
    results: dict[str, list[Any]] = {name: [] for name in outputs}
    count = 0
    for feeds in samples:
        count += 1
        for name, array in (program.run(feeds) if program else {}).items():
            results[name].append(np.array(array))
    if count == 0:
        raise ArgumentError(
            "quantize: there are no feeds in samples",
            hint="leave samples out to find ranges in each run",
        )
    ranges = {}
    for number, key in enumerate(by_key):
        least, most = np.min(results[f"min{number}"]), np.max(results[f"max{number}"])
        scale, zero = choose_scale(constant(np.float32(least)), constant(np.float32(most)))
        ranges[key] = evaluate(scale), evaluate(zero)
    return ranges


def _multiply(node: Node, quantized: tuple[Any, Any, Any]) -> Any:
    """Return the product of integers, with their scale and zero, by a node's parameters."""
    (integers, scale, zero), op = quantized, node.op
    weights = evaluate(node.args[1])
    if isinstance(op, MatMul):
        matrix = weights.T if op.transpose_b else weights
        rounded, scales = _round_columns(matrix, 0)
        total = multiply_integers(integers, zero, constant(rounded), None)
        return astype(total, F32) * (scale * constant(scales))
    assert isinstance(op, Conv)
    rounded, scales = _round_columns(weights, tuple(range(1, weights.ndim)))
    filters = astype(constant(rounded), "int32")
    shapes = op.before, op.extents, op.strides, op.dilation, integers.shape[2:], filters.shape[2:]
    borders = [
        (pad_before, maximum((windows - 1) * step + (taps - 1) * gap + 1 - pad_before - size, 0))
        for pad_before, windows, step, gap, size, taps in zip(*shapes, strict=True)
    ]

    def convolve(x: Any, w: Any, borders: Any) -> Any:
        return replace(op, before=tuple(pad_before for pad_before, _ in borders))(x, w)

    total = convolve_integers(convolve, integers, zero, filters, borders)
    return astype(total, F32) * (scale * constant(scales.reshape(-1, *(1,) * (weights.ndim - 2))))


def _round_columns(weights: Array, axes: int | tuple[int, ...]) -> tuple[Array, Array]:
    """Return signed integers of 8 bits, and the scale of each column over some axes."""
    largest = np.abs(weights).max(axes, keepdims=True, initial=0.0)
    scales = np.where(largest > 0, largest / np.float32(_LARGEST), np.float32(1)).astype("f4")
    return np.rint(weights / scales).astype("i1"), scales.squeeze(axes)
