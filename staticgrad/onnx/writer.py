"""A graph as a model of ONNX: a writer for each of our ops.

Ops of the same meaning are in ``operators.SAME``; others are written by a function, or as ops that
ONNX has. A body of a loop or a branch has a writer of its own. It sees the values of those around
it, so that constants and sizes are written once, outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import Any, Final

import numpy as np

from staticgrad.errors import ExportError
from staticgrad.extend import (
    BodyOp,
    Constant,
    DType,
    Graph,
    Input,
    Node,
    Size,
    Symbolic,
    TensorType,
)
from staticgrad.extend.loops import body_input, body_of, inline_body
from staticgrad.extend.optional import onnx
from staticgrad.extend.sizes import FloorDiv, Named, is_at_least, maximum, minimum
from staticgrad.language.ops.marks import FirstOperand, Mark, StopGradient
from staticgrad.onnx.decompositions import BY_OTHERS
from staticgrad.onnx.operators import SAME, STATISTICS

#: The version of the operators that is written, and of the file format that goes with it.
OPSET, IR_VERSION = 18, 8
_DRAWS_HINT: Final = "model.eval() first: dropout draws in training alone"
_LOWEST: Final = -(2**63) + 1  # the end of a slice that runs backwards to the first element
#: Our op -> the operator of ONNX of the same meaning.
_NAMES: Final = {ours: theirs for theirs, ours in SAME.items()} | {
    "div": "Div", "pow": "Pow", "int_pow": "Pow", "maximum": "Max", "at_least": "Max",
    "minimum": "Min", "at_most": "Min",
}  # fmt: skip


class Writer:
    """Nodes of ONNX for the nodes of a graph, and the names of their results."""

    def __init__(self, root: Writer | None = None, prefix: str = "") -> None:
        self.root, self.prefix, self.scope = root or self, prefix, ""
        self.nodes: list[Any] = []
        self.names: dict[tuple[Node, int], str] = {}
        if root is None:
            self.constants: dict[Any, Any] = {}
            self.sizes: dict[Any, str] = {}  # of sizes, and of the names in them
            self.used_names: set[str] = set()

    # -- names, constants, sizes ------------------------------------------------------------------

    def fresh(self, name: str) -> str:
        """Make a name that nothing in the ONNX model has."""
        used_names, base, number = self.root.used_names, name, 0
        while name in used_names:
            number += 1
            name = f"{base}_{number}"
        used_names.add(name)
        return name

    def __call__(self, operator: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        """Write a node; the name of its result, or the names of all ``count``."""
        name = self.fresh(f"{self.prefix}{self.scope}{operator}")
        outputs = [name, *(self.fresh(f"{name}.{k}") for k in range(1, count))]
        self.nodes.append(onnx.helper.make_node(operator, inputs, outputs, name, **attributes))
        return name if count == 1 else outputs

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Write a constant into the ONNX model, once for equal values, and return its name."""
        array = np.array(value, dtype, order="C")
        constants, key = self.root.constants, (array.dtype, array.shape, array.tobytes())
        if key not in constants:
            name = self.fresh("constant")
            constants[key] = onnx.numpy_helper.from_array(array, name)
        return str(constants[key].name)

    def size(self, size: Size) -> str:
        """Write ONNX nodes that compute a size as an array of one element; return its name."""
        root = self.root
        if isinstance(size, int):
            return self.constant([size], np.int64)
        if size not in root.sizes:
            terms = []
            for atoms, factor in size.terms:
                parts = [*map(root.atom, atoms)]
                parts += [] if factor == 1 and parts else [self.size(factor)]
                terms.append(reduce(lambda a, b: root("Mul", a, b), parts))
            root.sizes[size] = reduce(lambda a, b: root("Add", a, b), terms)
        return root.sizes[size]

    def atom(self, atom: Any) -> str:
        """Write a named size, or a quotient or maximum of sizes, as ONNX nodes; return its name."""
        if atom not in self.sizes:
            if isinstance(atom, Named):
                raise ExportError(
                    f"the size {atom} is not the size of an axis of an input",
                    hint="a model of ONNX computes sizes of the shapes of its inputs",
                )
            if isinstance(atom, FloorDiv):
                self.sizes[atom] = self.quotient(*atom.parts)
            else:
                self.sizes[atom] = self("Max", *map(self.size, atom.parts))
        return self.sizes[atom]

    def quotient(self, numerator: Size, denominator: Size) -> str:
        """Write a floor division of sizes; a quotient by 0 is 0 (``evaluate``).

        ONNX rounds quotients of integers towards 0, so that only numbers from 0 on are divided.
        """
        if is_at_least(numerator, 0) and is_at_least(denominator, 1):
            return str(self("Div", self.size(numerator), self.size(denominator)))
        sign = minimum(maximum(denominator, -1), 1)
        numerator, denominator = numerator * sign, maximum(denominator * sign, 1)
        parts = maximum(numerator, 0), maximum(-numerator, 0) + denominator - 1
        divisor = self.size(denominator)
        return str(self("Sub", *(self("Div", self.size(part), divisor) for part in parts)))

    def scalar(self, size: Size) -> str:
        """The name of a size without an axis."""
        if isinstance(size, int):
            return self.constant(size, np.int64)
        return str(self.root("Reshape", self.size(size), self.constant([], np.int64)))

    def shape(self, sizes: Sequence[Size]) -> str:
        """The name of sizes as one array."""
        if all(isinstance(size, int) for size in sizes):
            return self.constant(sizes, np.int64)
        return str(self.root("Concat", *map(self.size, sizes), axis=0))

    def write_reshape(self, x: str, shape: Sequence[Size]) -> str:
        """Write a reshape; a single size that is not literal is computed of the others.

        ONNX reads a 0 as the operand's size of that axis unless ``allowzero`` is set.
        """
        literal = [size if isinstance(size, int) else -1 for size in shape]
        if literal.count(-1) == 1 and 0 not in literal:
            return str(self("Reshape", x, self.constant(literal, np.int64)))
        may_be_zero = not all(is_at_least(size, 1) for size in shape)
        options = {"allowzero": 1} if may_be_zero else {}
        return str(self("Reshape", x, self.shape(shape), **options))

    def write_flip(self, x: str, *axes: int) -> str:
        """Write ``x`` with axes from their last slice to their first."""
        first, end, steps = ([k] * len(axes) for k in (-1, _LOWEST, -1))
        rows = (self.constant(row, np.int64) for row in (first, end, axes, steps))
        return str(self("Slice", x, *rows))

    # -- graphs -----------------------------------------------------------------------------------

    def write(self, graph: Graph) -> list[str]:
        """Write the nodes of a graph to ONNX from named inputs; return the outputs' names."""
        for node in graph.nodes:
            if (node, 0) in self.names or isinstance(node.op, Input):
                continue
            self.scope = f"{node.origin.scope}/" if node.origin.scope else ""
            operands = [self.names[arg.node, arg.index] for arg in node.args]
            begin = len(self.nodes)
            results = self.write_node(node, operands)
            types = {name: arg.dtype for name, arg in zip(operands, node.args, strict=True)}
            for proto in self.nodes[begin:]:
                _check_types(proto, types, node)
            for k, name in enumerate([results] if isinstance(results, str) else results):
                self.names[node, k] = name
        return [self.names[value.node, value.index] for value in graph.outputs.values()]

    def write_node(self, node: Node, operands: list[str]) -> Any:
        """Write a node as ONNX operators, and return the names of its results."""
        name = node.op.name
        if isinstance(node.op, Constant):
            return self.constant(node.op.data.array)
        if isinstance(node.op, Mark | FirstOperand):
            return operands[0]
        if name in _NAMES:
            return self(_NAMES[name], *operands)
        if name not in _WRITERS:
            raise ExportError(
                f"{name} has no operator in version {OPSET} of ONNX's operators",
                hint=_DRAWS_HINT * (name == "random_bits"),
                at=node.origin,
            )
        return _WRITERS[name](self, node, *operands)

    def begin_body(self) -> tuple[str, Writer]:
        """Return a new name for an ONNX subgraph, and the writer of its nodes."""
        name = self.fresh(f"{self.prefix}{self.scope}body")
        return name, Writer(self.root, f"{name}/")

    def body(
        self, graph: Graph, input_names: dict[Symbolic, str], inputs: Sequence[Symbolic]
    ) -> Any:
        """Write the body of a loop or branch as an ONNX subgraph.

        Args:
            graph: the body.
            given: names of its inputs: of inputs of the graph that is written, or values around it.
            inputs: those that are inputs of the graph that is written, in order.
        """
        name, inner = self.begin_body()
        inner.names = {(value.node, value.index): label for value, label in input_names.items()}
        results = [inner("Identity", result_name) for result_name in inner.write(graph)]
        outputs = map(_info, results, (value.type for value in graph.outputs.values()))
        infos = [_info(input_names[value], value.type) for value in inputs]
        return onnx.helper.make_graph(inner.nodes, name, infos, [*outputs])


def _check_types(proto: Any, types: dict[str, DType], node: Node) -> None:
    """Refuse to write an ONNX node whose operator does not take the element types."""
    schema = onnx.defs.get_schema(proto.op_type, OPSET)
    allowed = {
        constraint.type_param_str: constraint.allowed_type_strs
        for constraint in schema.type_constraints
    }
    for place, name in enumerate(proto.input):
        formal = schema.inputs[min(place, len(schema.inputs) - 1)]
        takes = allowed.get(formal.type_str, (formal.type_str,))
        if name in types and f"tensor({_element_name(types[name])})" not in takes:
            raise ExportError(
                f"{node.op.name}: {proto.op_type} of ONNX takes no {types[name].name}",
                at=node.origin,
                hint="another element type: x.astype('float32')",
            )


def model_of(graph: Graph) -> Any:
    """Convert a graph to an ONNX ``ModelProto``.

    Raises:
        ExportError: an op that ONNX does not have, with its line; updates of parameters.
    """
    if graph.updates:
        raise ExportError(
            "a model of ONNX has no updates of parameters",
            hint="sg.onnx.export(sg.Graph(graph.outputs), path), or a module",
        )
    graph = _rewrite_by_other_ops(graph)
    writer = Writer()
    helper = onnx.helper
    for value in (*graph.inputs, *graph.parameters):
        writer.names[value.node, 0] = writer.fresh(value.node.label)
    named = {name: value.type for name, value in graph.outputs.items()}
    outputs = [writer.fresh(name) for name in named]
    for value in graph.inputs:
        for axis, size in enumerate(value.shape):
            name = _name_of(size)
            if name is not None and name not in writer.sizes:
                source = writer.names[value.node, 0]
                writer.sizes[name] = writer("Shape", source, start=axis, end=axis + 1)
    for result, label in zip(writer.write(graph), outputs, strict=True):
        writer.nodes.append(helper.make_node("Identity", [result], [label]))
    weights = {writer.names[p.node, 0]: np.array(p.value) for p in graph.parameters}
    graph_proto = helper.make_graph(
        _needed_nodes(writer.nodes, outputs),
        graph.name,
        [_info(writer.names[value.node, 0], value.type) for value in graph.inputs],
        [*map(_info, outputs, named.values())],
        [
            *(onnx.numpy_helper.from_array(array, name) for name, array in weights.items()),
            *writer.constants.values(),
        ],
    )
    model = helper.make_model(
        graph_proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="staticgrad",
    )  # fmt: skip
    # Running statistics are those parameters that no gradient reaches.
    others = (node for node in graph.nodes if not isinstance(node.op, StopGradient))
    trained = {arg.node for node in others for arg in node.args}
    if statistics := [writer.names[p.node, 0] for p in graph.parameters if p.node not in trained]:
        helper.set_model_props(model, {STATISTICS: "\n".join(statistics)})
    return model


def _rewrite_by_other_ops(graph: Graph) -> Graph:
    """Rewrite ops that have no ONNX writer by other ops."""

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Any:
        op: Any = node.op
        if op.name in BY_OTHERS:
            return BY_OTHERS[op.name](*args, **dict(op.attributes()))
        if not isinstance(op, BodyOp):
            return None
        return op.with_bodies([*map(_rewrite_by_other_ops, op.bodies)])(*args)

    return graph.replace_nodes(rewrite)


def _name_of(size: Size) -> Named | None:
    """The name that a size is, alone."""
    terms = () if isinstance(size, int) else size.terms
    atoms = terms[0][0] if len(terms) == 1 and terms[0][1] == 1 else ()
    return atoms[0] if len(atoms) == 1 and isinstance(atoms[0], Named) else None


def _needed_nodes(nodes: list[Any], outputs: Sequence[str]) -> list[Any]:
    """Select the ONNX nodes that outputs depend on, in order."""
    read_names, needed = {*outputs}, []
    for node in reversed(nodes):
        if read_names.intersection(node.output):
            needed.append(node)
            read_names |= _reads(node)
    return needed[::-1]


def _reads(node: Any) -> set[str]:
    inner = (inner_node for attribute in node.attribute for inner_node in attribute.g.node)
    return {*node.input}.union(*map(_reads, inner))


def _info(name: str, kind: TensorType) -> Any:
    shape = [size if isinstance(size, int) else str(size) for size in kind.shape]
    return onnx.helper.make_tensor_value_info(name, _element(kind), shape)


def _element(kind: TensorType) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind.dtype.numpy)))


def _element_name(dtype: DType) -> str:
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype.numpy))
    return str(onnx.TensorProto.DataType.Name(element)).lower()


# -- ops with attributes --------------------------------------------------------------------------


def _reduction(operator: str) -> Callable[..., Any]:
    def write(w: Writer, node: Any, x: str) -> Any:
        if not node.op.axes:
            return x
        axes = w.constant(node.op.axes, np.int64)
        if not node.types[0].dtype.is_bool:
            return w(operator, x, axes, keepdims=0)
        numbers = w(operator, w("Cast", x, to=onnx.TensorProto.INT32), axes, keepdims=0)
        return w("Cast", numbers, to=onnx.TensorProto.BOOL)

    return write


def _remainder(w: Writer, node: Any, x: str, y: str) -> Any:
    """Write a remainder of y's sign: of floats C's, plus y where it has the other sign."""
    dtype = node.types[0].dtype
    if not dtype.is_float:
        return w("Mod", x, y)
    remainder, zero = w("Mod", x, y, fmod=1), w.constant(0, dtype.numpy)
    differs = w("Less", w("Mul", w("Sign", remainder), w("Sign", y)), zero)
    return w("Where", differs, w("Add", remainder, y), remainder)


def _floor_divide(w: Writer, node: Any, x: str, y: str) -> Any:
    """Write a floor division: of integers an exact one, less 1 where it left a remainder of a sign
    that is not y's. No difference on the way exceeds the operands."""
    dtype = node.types[0].dtype
    if dtype.is_float:
        return w("Floor", w("Div", x, y))
    remainder = w("Mod", x, y, fmod=1)
    quotient = w("Div", w("Sub", x, remainder), y)
    if dtype.kind == "u":
        return quotient
    zero = w.constant(0, dtype.numpy)
    differs = w("Xor", w("Less", remainder, zero), w("Less", y, zero))
    is_below = w("And", differs, w("Not", w("Equal", remainder, zero)))
    return w("Sub", quotient, w("Cast", is_below, to=_element(node.types[0])))


def _broadcast(w: Writer, node: Any, x: str) -> Any:
    op, (value,) = node.op, node.args
    operand_sizes = dict(zip(op.axes, value.shape, strict=True))
    if any(axis < len(op.shape) - value.ndim for axis in op.axes):  # leading axes come by itself
        x = w.write_reshape(x, [operand_sizes.get(k, 1) for k in range(len(op.shape))])
    return w("Expand", x, w.shape(op.shape))


def _write_slice(w: Writer, node: Any, x: str) -> Any:
    """Write a slice as an ONNX Slice node, with rows for the axes that it cuts.

    ONNX counts bounds below 0 from the back. Where a bound of a slice that runs backwards may be
    below 0 in some runs only, the axis is reversed first: then all bounds count from 0.
    """
    op, (value,) = node.op, node.args
    rows: list[tuple[Size, Size, int, int]] = []
    reversed_axes: list[int] = []
    parts = zip(value.shape, op.starts, op.lengths, op.steps, strict=True)
    for axis, (size, start, length, step) in enumerate(parts):
        if (start, length, step) == (0, size, 1):
            continue
        end = start + length * step
        if step < 0:
            is_inside = start == size - 1 or is_at_least(start, 0)
            if is_inside and isinstance(end, int):
                end = _LOWEST if end < 0 else end
            elif not (is_inside and is_at_least(end, 0)):
                reversed_axes.append(axis)
                start, step = size - 1 - start, -step
                end = start + length * step
        rows.append((start, end, axis, step))
    if reversed_axes:
        x = w.write_flip(x, *reversed_axes)
    return w("Slice", x, *map(w.shape, zip(*rows, strict=True))) if rows else x


def _pad(w: Writer, node: Any, x: str) -> Any:
    """Write a pad; zeros between elements are those of a further axis behind theirs."""
    op, (value,) = node.op, node.args
    starts, sizes, steps = [*op.starts], [*value.shape], [*op.steps]
    if backwards := [axis for axis, step in enumerate(steps) if step < 0]:
        x = w.write_flip(x, *backwards)
        for axis in backwards:
            starts[axis] += steps[axis] * (sizes[axis] - 1)
            steps[axis] = -steps[axis]
    if apart := [axis for axis, step in enumerate(steps) if step > 1]:
        pairs = [size for axis in range(len(sizes)) for size in (sizes[axis], 1)]
        zeros = [count for step in steps for count in (0, step - 1)]
        x = w.write_reshape(x, pairs)
        x = w("Pad", x, w.shape([0] * len(pairs) + zeros))
        x = w.write_reshape(x, [size * step for size, step in zip(sizes, steps, strict=True)])
        for axis in apart:
            sizes[axis] = maximum((sizes[axis] - 1) * steps[axis] + 1, 0)
        none, ends = [0] * len(apart), [sizes[axis] for axis in apart]
        x = w("Slice", x, *map(w.shape, (none, ends, apart)))
    end_padding = [
        extent - start - size for extent, start, size in zip(op.shape, starts, sizes, strict=True)
    ]
    return w("Pad", x, w.shape((*starts, *end_padding)))


def _write_zeros(w: Writer, node: Any, shape: Sequence[Size]) -> str:
    zero = w.constant(np.zeros((), node.types[0].dtype.numpy))
    return str(w("Expand", zero, w.shape(shape)))


def _write_scatter(w: Writer, node: Any, x: str, places: str) -> Any:
    """Write a sum by places onto zeros as ScatterND, whose axis is the first one."""
    op, (addends, indices) = node.op, node.args
    if op.parts != 1:
        raise ExportError("sums by places in parts have no operator", at=node.origin)
    axis, count = op.axis, prod(indices.shape)
    leading, trailing = addends.shape[:axis], addends.shape[axis + indices.ndim :]
    x = w.write_reshape(x, [*leading, count, *trailing])
    to_front = [axis, *(k for k in range(len(leading) + 1 + len(trailing)) if k != axis)]
    x = w("Transpose", x, perm=to_front) if axis else x
    base = _write_zeros(w, node, [op.size, *leading, *trailing])
    places = w("Cast", places, to=onnx.TensorProto.INT64)
    out = w("ScatterND", base, w.write_reshape(places, [count, 1]), x, reduction="add")
    back = [to_front.index(k) for k in range(len(to_front))]
    return w("Transpose", out, perm=back) if axis else out


def _write_scatter_along(w: Writer, node: Any, x: str, places: str) -> Any:
    base = _write_zeros(w, node, node.types[0].shape)
    return w("ScatterElements", base, places, x, axis=node.op.axis, reduction="add")


def _iota(w: Writer, node: Any) -> Any:
    op, zero, unit = node.op, w.constant(0, np.int64), w.constant(1, np.int64)
    x = w("Cast", w("Range", zero, w.scalar(op.shape[op.axis]), unit), to=_element(node.types[0]))
    if len(op.shape) == 1:
        return x
    x = w.write_reshape(x, [size if k == op.axis else 1 for k, size in enumerate(op.shape)])
    return w("Expand", x, w.shape(op.shape))


def _write_entries(w: Writer, node: Any, x: str, places: str, base: str) -> Any:
    """Write entries onto a base as ScatterND, whose axis is the first one."""
    op, (entries, indices, target) = node.op, node.args
    if not op.has_distinct_places(indices):
        raise ExportError("entries whose places may be equal have no operator", at=node.origin)
    axis, count = op.axis, prod(indices.shape)
    to_front = [axis, *(k for k in range(target.ndim) if k != axis)]
    back = [to_front.index(k) for k in range(target.ndim)]
    trailing = entries.shape[axis + indices.ndim :]
    x = w.write_reshape(x, [*entries.shape[:axis], count, *trailing])
    x, base = (w("Transpose", name, perm=to_front) if axis else name for name in (x, base))
    places = w("Cast", places, to=onnx.TensorProto.INT64)
    written = w("ScatterND", base, w.write_reshape(places, [count, 1]), x)
    return w("Transpose", written, perm=back) if axis else written


def _matmul(w: Writer, node: Any, *operands: str) -> Any:
    sides, transposed = [], (node.op.transpose_a, node.op.transpose_b)
    for name, value, is_transposed in zip(operands, node.args, transposed, strict=True):
        perm = [*range(value.ndim - 2), value.ndim - 1, value.ndim - 2]
        sides.append(w("Transpose", name, perm=perm) if is_transposed else name)
    return w("MatMul", *sides)


def _largest(w: Writer, node: Any, x: str, count: Size, largest: bool) -> Any:
    return w("TopK", x, w.size(count), count=2, axis=node.op.axis, largest=int(largest))


def _write_order_statistic(w: Writer, node: Any, x: str, places: str) -> Any:
    axis, count = node.op.axis, node.args[0].shape[node.op.axis]
    results = _largest(w, node, x, count, False)
    last = w("Sub", w.size(count), w.constant(np.array([1], np.int64)))
    inside = w("Min", w("Max", places, w.constant(np.array([0], np.int64))), last)
    return tuple(w("GatherElements", result, inside, axis=axis) for result in results)


def _window_attributes(node: Any, taps: Sequence[Size], sizes: Sequence[Size]) -> dict[str, Any]:
    """Return ONNX's attributes of windows; padding at the ends is what gives these sizes."""
    op, pads = node.op, [*node.op.before]
    for k, (tap, size, extent) in enumerate(zip(taps, sizes, op.extents, strict=True)):
        reach = (tap - 1) * op.dilation[k] + 1
        widths = (op.before[k], *range(reach + op.strides[k])) if isinstance(reach, int) else ()
        last_start = size + op.before[k] - reach
        fits = [end for end in widths if (last_start + end) // op.strides[k] + 1 == extent]
        pads += fits[:1]
    if len(pads) != 2 * len(taps) or not all(isinstance(pad, int) for pad in pads):
        raise ExportError(f"{op.name}: the border depends on sizes", at=node.origin)
    return {
        "kernel_shape": [*taps], "strides": [*op.strides], "dilations": [*op.dilation],
        "pads": pads,
    }  # fmt: skip


def _conv(w: Writer, node: Any, x: str, filters: str) -> Any:
    image, kernel = node.args
    words = _window_attributes(node, kernel.shape[2:], image.shape[2:])
    return w("Conv", x, filters, group=node.op.groups, **words)


def _write_conv_image(w: Writer, node: Any, x: str, filters: str) -> Any:
    """Write the gradient of a convolution by its images as an ONNX ConvTranspose."""
    op, (image, kernel) = node.op, node.args
    taps, left = kernel.shape[2:], []
    for k, extent in enumerate(op.extents):
        reach = (taps[k] - 1) * op.dilation[k] + 1
        left.append((image.shape[2 + k] - 1) * op.strides[k] + reach - op.before[k] - extent)
    if not all(isinstance(size, int) for size in (*taps, *op.before, *left)):
        raise ExportError("conv_transpose: the border depends on sizes", at=node.origin)
    return w(
        "ConvTranspose", x, filters, group=op.groups, kernel_shape=[*taps],
        strides=[*op.strides], dilations=[*op.dilation],
        pads=[*op.before, *(max(size, 0) for size in left)],
        output_padding=[max(-size, 0) for size in left],
    )  # fmt: skip


def _write_conv_filter(w: Writer, node: Any, x: str, y: str) -> Any:
    """Write the gradient of a convolution by its filter as a Conv of images by results.

    Batches take the place of channels, and steps of windows that of the distances of taps.
    """
    op, (image, result) = node.op, node.args
    if op.groups != 1 or op.parts:
        raise ExportError("the gradient of a filter in groups has no operator", at=node.origin)
    sizes = (*image.shape[2:], *result.shape[2:], *op.before)
    if not all(isinstance(size, int) for size in sizes):
        raise ExportError("conv_filter: the border depends on sizes", at=node.origin)
    ends = []
    for k, extent in enumerate(op.extents):
        reach = (result.shape[2 + k] - 1) * op.strides[k] + (extent - 1) * op.dilation[k] + 1
        ends.append(max(reach - image.shape[2 + k] - op.before[k], 0))
    by_channel = [1, 0, *range(2, image.ndim)]
    x, y = (w("Transpose", name, perm=by_channel) for name in (x, y))
    filters = w(
        "Conv", x, y, kernel_shape=[*result.shape[2:]], strides=[*op.dilation],
        dilations=[*op.strides], pads=[*op.before, *ends],
    )  # fmt: skip
    axes = [*range(2, image.ndim)]
    filters = w("Slice", filters, *map(w.shape, ([0] * len(axes), op.extents, axes)))
    return w("Transpose", filters, perm=by_channel)


def _write_window(w: Writer, node: Any, x: str) -> Any:
    """Write windows as an ONNX MaxPool, or as AveragePool times the number of taps."""
    op, (value,) = node.op, node.args
    first = value.ndim - len(op.taps)
    spatial, source = value.shape[first:], x
    if op.name == "window_sum" and not value.dtype.is_float:
        raise ExportError("a sum of windows of integers has no operator", at=node.origin)
    words = _window_attributes(node, op.taps, spatial)
    if first != 2:
        x = w.write_reshape(x, (prod(value.shape[:first]), 1, *spatial))
    if op.name == "window_max":
        out = w("MaxPool", x, **words)
    elif set(words.pop("dilations")) == {1}:
        count = w.constant(prod(op.taps), value.dtype.numpy)
        out = w("Mul", w("AveragePool", x, count_include_pad=1, **words), count)
    else:
        raise ExportError("a sum of windows with a dilation has no operator", at=node.origin)
    return out if x == source else w.write_reshape(out, node.types[0].shape)


def _write_fft(w: Writer, node: Any, x: str) -> Any:
    """Write a Fourier transform as an ONNX DFT of each axis, times what its norm says."""
    op, kind, value = node.op, node.op.kind, node.args[0]
    shape, dtype = (value.shape, value.dtype.numpy)
    rank = value.ndim if kind == "r2c" else value.ndim - 1
    *others, last = (axis % rank for axis in op.axes)
    sizes = [shape[axis] for axis in others] + [op.last if kind == "c2r" else shape[last]]
    inverse, signs = int(not op.forward), w.constant([1, -1], dtype)
    if kind == "r2c":  # backwards it is the conjugate
        x = w("DFT", w("Unsqueeze", x, w.constant([-1], np.int64)), axis=last, onesided=1)
        x = x if op.forward else w("Mul", x, signs)
    for axis in others if kind == "r2c" else [*others, last]:
        if kind == "c2r" and axis == last:
            x = _whole_spectrum(w, x, signs, last, shape[last], op.last)
        x = w("DFT", x, axis=axis, inverse=inverse)
    if kind == "c2r":
        x = w("Gather", x, w.constant(0, np.int64), axis=-1)
    count = w("Cast", w.scalar(prod(sizes)), to=_element(value.type))
    divisor = [None, w("Sqrt", count), count][op.norm]
    x = x if divisor is None else w("Div", x, divisor)
    divided = 1 if op.forward else prod(sizes[: -1 if kind == "r2c" else None])
    return w("Mul", x, w("Cast", w.scalar(divided), to=_element(value.type)))


def _whole_spectrum(w: Writer, x: str, signs: str, axis: int, half: Size, size: Size) -> Any:
    """Write the other half of the spectrum of real values behind the first: its conjugates."""
    begin, end = w.constant([1], np.int64), w.size(size - half + 1)
    others = w("Slice", x, begin, end, w.constant([axis], np.int64))
    conjugate = w("Mul", w.write_flip(others, axis), signs)
    return w("Concat", x, conjugate, axis=axis)


def _write_loop(w: Writer, node: Any, *operands: str) -> Any:
    """Write a loop as an ONNX Scan; a reverse loop flips what is read and stacked."""
    op, (number, *inputs) = node.op, node.op.body.inputs
    first, last = op.carries, op.carries + op.slices
    if op.iterations == 0:  # onnxruntime's Scan refuses a loop of none
        stacked = node.types[first:]
        return [*operands[:first], *(w.constant(np.zeros(t.shape), t.dtype.numpy) for t in stacked)]
    named = {value: w.fresh(f"{w.prefix}{value.node.label}") for value in (number, *inputs[:last])}
    input_names = named | dict(zip(inputs[last:], operands[last:], strict=True))
    body = w.body(op.body, input_names, [*inputs[:first], number, *inputs[first:last]])
    zero, unit = w.constant(0, np.int64), w.constant(1, np.int64)
    numbers = w("Range", zero, w.scalar(op.iterations), unit)
    # ONNX's own evaluator does not scan backwards: what is read and written is turned instead.
    flip = (lambda name: w.write_flip(name, 0)) if op.reverse else lambda name: name
    sliced = [flip(name) for name in (numbers, *operands[first:last])]
    results = w(
        "Scan", *operands[:first], *sliced, count=len(node.types), body=body,
        num_scan_inputs=len(sliced),
    )  # fmt: skip
    results = [results] if isinstance(results, str) else results
    return [*results[:first], *map(flip, results[first:])]


def _write_while(w: Writer, node: Any, *operands: str) -> Any:
    """Write a while loop as an ONNX Loop, whose test for the first iteration stands before it.

    The number of iterations is a carry in front of the others.
    """
    op, first = node.op, node.op.carries
    zero = w.constant(0, np.int64)
    w.names |= {
        (value.node, value.index): name
        for value, name in zip(op.test.inputs, (zero, *operands), strict=True)
    }
    (begins,) = w.write(op.test)
    number, *inputs = op.body.inputs
    following = number + 1
    carries = inline_body(op.body, [number, *inputs])
    (goes_on,) = inline_body(op.test, [following, *carries, *inputs[first:]])
    going, count = (
        body_input(label, value.type, node.origin)
        for label, value in (("going", goes_on), ("count", following))
    )
    results = {f"{k}": value for k, value in enumerate((goes_on, following, *carries))}
    body = body_of([number, going, count, *inputs], results)
    read_values = body.inputs[: first + 3]
    names = {value: w.fresh(f"{w.prefix}{value.node.label}") for value in read_values}
    names |= dict(zip(inputs[first:], operands[first:], strict=True))
    most = "" if op.most is None else w.scalar(op.most)
    proto = w.body(body, names, read_values)
    total, *last = w("Loop", most, begins, zero, *operands[:first], count=first + 1, body=proto)
    return [*last, total]


def _write_branch(w: Writer, node: Any, index: str, *operands: str) -> Any:
    """Write a branch as an ONNX If for each case but the last, one inside of the other."""
    bodies = [
        w.body(case, dict(zip(case.inputs, operands, strict=True)), []) for case in node.op.cases
    ]

    def write_if(writer: Writer, place: int) -> list[str]:
        is_later = writer("Greater", index, w.constant(place, np.int64))
        results = writer(
            "If", is_later, count=len(node.types), then_branch=cases_from(place + 1),
            else_branch=bodies[place],
        )  # fmt: skip
        return [results] if isinstance(results, str) else results

    def cases_from(place: int) -> Any:
        if place == len(bodies) - 1:
            return bodies[place]
        name, inner = w.begin_body()
        results = write_if(inner, place)
        return onnx.helper.make_graph(inner.nodes, name, [], [*map(_info, results, node.types)])

    return write_if(w, 0)


#: Our op -> what writes a node of it: the names of its results, given those of its operands.
_WRITERS: Final[dict[str, Callable[..., Any]]] = {
    "branch": _write_branch,
    "broadcast": _broadcast,
    "cast": lambda w, node, x: w("Cast", x, to=_element(node.types[0])),
    "concat": lambda w, node, *x: w("Concat", *x, axis=node.op.axis),
    "conv": _conv,
    "conv_filter": _write_conv_filter,
    "conv_image": _write_conv_image,
    "cumsum": lambda w, node, x: w("CumSum", x, w.constant(node.op.axis, np.int64)),
    "fft": _write_fft,
    "floor_divide": _floor_divide,
    "fmod": lambda w, node, x, y: w("Mod", x, y, fmod=1),
    "index_copy": _write_entries,
    "integer_pow": lambda w, node, x: w(
        "Pow", x, w.constant(node.op.exponent, node.types[0].dtype.numpy)
    ),
    "iota": _iota,
    "loop": _write_loop,
    "matmul": _matmul,
    "max": _reduction("ReduceMax"),
    "min": _reduction("ReduceMin"),
    "order_statistic": _write_order_statistic,
    "pad": _pad,
    "remainder": _remainder,
    "reshape": lambda w, node, x: w.write_reshape(x, node.op.shape),
    "scatter_add": _write_scatter,
    "scatter_along": _write_scatter_along,
    "size": lambda w, node: w("Cast", w.scalar(node.op.dim), to=_element(node.types[0])),
    "slice": _write_slice,
    "sort": lambda w, node, x: _largest(
        w, node, x, node.args[0].shape[node.op.axis], node.op.descending
    ),
    "sum": _reduction("ReduceSum"),
    "take": lambda w, node, x, places: w("Gather", x, places, axis=node.op.axis),
    "take_along": lambda w, node, x, places: w("GatherElements", x, places, axis=node.op.axis),
    "topk": lambda w, node, x: _largest(w, node, x, node.op.k, not node.op.smallest),
    "transpose": lambda w, node, x: w("Transpose", x, perm=[*node.op.perm]),
    "while": _write_while,
    "window_max": _write_window,
    "window_sum": _write_window,
}
