"""A model that was read from a file of ONNX: a module that computes its graph.

Computing a node is binding its row of ``operators.OPERATORS``. What is computed of shapes alone is
computed at once, so that shapes and axes are known while a graph is built, and named sizes stay
named: values are ordinary values, arrays that are known, lists of both (sequences), and None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, ClassVar, Final

import numpy as np

from staticgrad.bridges.operands import as_operand
from staticgrad.bridges.programs import ForeignCall, explain_refusal
from staticgrad.bridges.sizes import compute_known
from staticgrad.bridges.tables import ForeignOperator, OperatorRow
from staticgrad.errors import (
    ArgumentError,
    ExportError,
    MissingPackageError,
    SavedFileError,
    StaticgradError,
    StaticgradWarning,
)
from staticgrad.extend import Graph, Value, list_names, warn
from staticgrad.extend.optional import onnx
from staticgrad.extend.parameters import stored_of
from staticgrad.extend.programs import evaluate
from staticgrad.functions import input as new_input, parameter, reshape, stop_gradient
from staticgrad.nn import Module
from staticgrad.onnx import learners  # noqa: F401  # its rows
from staticgrad.onnx.operators import (
    OF_SIZES,
    OPERATORS,
    STATIC,
    STATISTICS,
)
from staticgrad.onnx.quantized import DEQUANTIZE
from staticgrad.onnx.texts import number_texts, read_tables

#: The names of the operators of ONNX itself.
_STANDARD: Final = ("", "ai.onnx")
#: Operator -> its inputs that are statistics: state, which optimizers leave unchanged.
_STATISTICS: Final = {"BatchNormalization": (3, 4)}
#: Operator that ONNX defines for each type apart -> its inputs that must be known.
_STATIC: Final = {"CenterCropPad": (1,)}


def _row_name(node: Any) -> str:
    """Return the name of the row of an ONNX node: with its domain, unless that is ONNX itself."""
    return node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}"


class OnnxModel(Module):
    """A model of ONNX: a function of its inputs, whose floating arrays are parameters.

    ``sg.onnx.load`` makes it. Arrays of integers, numbers without an axis, and what must be known
    while a graph is built (shapes, axes) are constants.

    Attributes:
        weights: the parameters, by their names in the file.
        statistics: running means and variances: kept with the model, unchanged by optimizers.
        source: the model without these arrays, as bytes of ONNX.
    """

    states: ClassVar[tuple[str, ...]] = ("statistics",)
    _file = ""  # the path that it was read from

    def __init__(self, proto: Any, file: str = "") -> None:
        self._file = file
        original, proto = proto, type(proto)()
        proto.CopyFrom(original)
        number_texts(proto)
        source_proto = type(proto)()
        source_proto.CopyFrom(proto)
        if proto.ir_version < 4:  # every array was an input, too
            initializer_names = {initializer.name for initializer in proto.graph.initializer}
            inputs = [
                value_info
                for value_info in proto.graph.input
                if value_info.name not in initializer_names
            ]
            del source_proto.graph.input[:]
            source_proto.graph.input.extend(inputs)
        if proto.graph.sparse_initializer:
            name = proto.graph.sparse_initializer[0].values.name
            raise ArgumentError(
                f"load: the initializer {name!r} is sparse",
                hint="write it into the file as a dense one",
            )
        program = _Program(source_proto)
        self.weights: dict[str, Any] = {}
        self.statistics: dict[str, Any] = {}
        constants = []
        for initializer in proto.graph.initializer:
            array = onnx.numpy_helper.to_array(initializer)
            if array.dtype.kind in "iub" or not array.ndim or initializer.name in program.fixed:
                constants.append(initializer)
                continue
            into = self.statistics if initializer.name in program.statistics else self.weights
            into[initializer.name] = created = parameter(initializer.name, array)
            stored_of(
                created
            ).store.in_graph = True  # no path takes the place of its name in the file
        del source_proto.graph.initializer[:]
        source_proto.graph.initializer.extend(constants)
        program.check_names(self.weights.keys() | self.statistics.keys())
        self.source = source_proto.SerializeToString()

    @property
    def inputs(self) -> dict[str, tuple[tuple[Any, ...], Any]]:
        """Shape and element type of each input, by name; sizes without a value are named."""
        return {
            value_info.name: _shape_and_dtype(value_info.name, value_info.type)
            for value_info in _program(self.source).inputs
        }

    @property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """The texts of results that are indices of texts, by name: labels of a classifier."""
        return read_tables(_program(self.source).proto)

    @property
    def static_inputs(self) -> set[str]:
        """The inputs that must be known while a graph is built: shapes, axes and the like."""
        program = _program(self.source)
        return program.static & {value_info.name for value_info in program.inputs}

    def forward(self, *operands: Any, **named: Any) -> Any:
        """Compute the graph of an ONNX model: one output, or a tuple.

        Args:
            operands: values in the order of the inputs in the file. An array of NumPy stays known
                while the graph is built: that is how shapes and axes are given.
            named: further ones by name.
        """
        program = _program(self.source)
        names = [value_info.name for value_info in program.inputs]
        operand_by_name = dict(zip(names, operands, strict=False)) | named
        if len(operands) > len(names) or not program.required <= operand_by_name.keys() <= set(
            names
        ):
            raise ArgumentError(
                f"the model takes {len(names)} inputs,"
                f" got {list_names([*operand_by_name]) or 'none'}",
                hint=f"its inputs are {list_names(names)}",
            )
        statistics = {name: stop_gradient(value) for name, value in self.statistics.items()}
        with _explain_damage(self._file):
            results = program.run({**self.weights, **statistics, **operand_by_name})
        return results[0] if len(results) == 1 else tuple(results)

    def graph(self) -> Graph:
        """Build the ONNX model as a graph, with inputs and outputs of the names in the file."""
        program = _program(self.source)
        if self.static_inputs:
            name = min(self.static_inputs)
            raise ArgumentError(
                f"the input {name!r} must be known while the graph is built",
                hint=f"model(..., **{{{name!r}: array}})",
            )
        with _explain_damage(self._file):
            operands = {
                name: new_input(name, *shape_and_dtype)
                for name, shape_and_dtype in self.inputs.items()
            }
            results = self(**operands)
            results = results if isinstance(results, tuple) else (results,)
            outputs = dict(zip(program.outputs, map(as_operand, results), strict=True))
            name = _word(program.proto.graph.name, "model")
            return Graph(outputs, name=name, inputs=[*operands.values()])


def model_from(read: Callable[[], Any], file: str) -> OnnxModel:
    """Make a module of what ``read`` returns: an ONNX model from a file of this name.

    Raises:
        SavedFileError: it is damaged, empty or something else than a model of ONNX.
    """
    with _explain_damage(file):
        model = OnnxModel(read(), file)
    for name, table in model.texts.items():
        warn(
            StaticgradWarning,
            f"the result {name!r} of {file or 'the model'} is a text there, and the index of"
            f" one here, as there are no arrays of texts: model.texts[{name!r}][index], of"
            f" {list_names([*map(repr, table[:3])])}{', ...' * (len(table) > 3)}",
        )
    return model


@contextmanager
def _explain_damage(file: str) -> Iterator[None]:
    """Turn any error of a damaged ONNX file into one error that names the file."""
    name = file or "the model"
    try:
        yield
    except StaticgradError as error:
        if not file or error.headline.startswith(name) or isinstance(error, MissingPackageError):
            raise
        error.headline = f"{name}: {error.headline}"
        raise
    except OSError:
        raise
    except Exception as error:  # of protobuf, onnx and NumPy, by what the bytes say
        reason = str(error).strip().partition("\n")[0] or "unknown"
        raise SavedFileError(
            f"{name} is not a model of ONNX, or is damaged: {type(error).__name__}: {reason}",
            hint="write it again; onnx.checker.check_model(path, full_check=True) says more",
        ) from error


def _word(text: str, instead: str) -> str:
    return re.sub(r"\W", "_", text) or instead


def _shape_and_dtype(name: str, kind: Any) -> tuple[tuple[Any, ...], Any]:
    """Return shape and dtype of an input in an ONNX file; unnamed sizes get names."""
    if not kind.HasField("tensor_type"):
        raise ExportError(f"the input {name!r} is a sequence, map or optional, not a tensor")
    shape = tuple(
        axis.dim_value
        if axis.HasField("dim_value")
        else _word(axis.dim_param, f"{_word(name, 'x')}_{k}")
        for k, axis in enumerate(kind.tensor_type.shape.dim)
    )
    return shape, onnx.helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)


@lru_cache(maxsize=8)
def _program(source: bytes) -> _Program:
    return _Program(onnx.load_model_from_string(source))


class _Program:
    """The nodes of a model, and what is known of its names.

    Attributes:
        inputs: those of the graph.
        required: the names of the inputs that have no value in the file.
        static: the names that must be known while a graph is built.
        fixed: these, and inputs: what is no parameter.
        statistics: the names of running means and variances.
    """

    def __init__(self, proto: Any) -> None:
        self.proto, graph = proto, proto.graph
        self.opsets = {opset.domain: opset.version for opset in proto.opset_import}
        self.functions = {
            (function.domain, function.name): function for function in proto.functions
        }
        self.inputs, self.outputs = [*graph.input], [value_info.name for value_info in graph.output]
        self.required = {value_info.name for value_info in graph.input}
        self.required -= {initializer.name for initializer in graph.initializer}
        self.statistics = {
            node.input[place]
            for node in _nodes(graph)
            for place in _STATISTICS.get(node.op_type, ())
            if place < len(node.input)
        }
        for prop in proto.metadata_props:
            self.statistics |= {*prop.value.split("\n")} if prop.key == STATISTICS else set()
        self.static = self._static_of(graph, self.opsets)
        self.fixed = self.static | {value_info.name for value_info in self.inputs}

    def check_names(self, arrays: Iterable[str]) -> None:
        """Check that the graph has results, and that each name it reads is defined before."""
        if not self.outputs:
            raise SavedFileError("there is no graph with results in it")
        if not self.opsets and self.proto.ir_version >= 3:
            raise SavedFileError("the version of the operators is missing")
        self._check_names(self.proto.graph, {"", *arrays})

    def _check_names(self, graph: Any, defined: set[str]) -> None:
        """Refuse an ONNX graph in which a node reads a name that nothing before it defines."""
        defined |= {value_info.name for value_info in (*graph.input, *graph.initializer)}
        defined |= {initializer.values.name for initializer in graph.sparse_initializer}
        for node in graph.node:
            missing = [name for name in node.input if name not in defined]
            if missing:
                raise SavedFileError(
                    f"node {node.name or [*node.output]!r}, {node.op_type}, reads {missing[0]!r},"
                    " which nothing before it defines"
                )
            for attribute in node.attribute:
                for body in (attribute.g, *attribute.graphs) if attribute.HasField("g") else ():
                    self._check_names(body, set(defined))
            defined.update(node.output)
        for result in graph.output:
            if result.name not in defined:
                raise SavedFileError(f"nothing defines the result {result.name!r}")

    # -- what must be known -----------------------------------------------------------------------

    def _static_of(self, graph: Any, opsets: Mapping[str, int]) -> set[str]:
        """Find the names of ONNX operands that must be constants, backwards through the graph."""
        static, nodes, count = set[str](), [*_nodes(graph)], -1
        while count < len(static):  # twice, unless graphs inside of nodes have static results
            count = len(static)
            for node in reversed(nodes):
                static.update(self._static_inputs(node, static, opsets))
        return static - {""}

    def _static_inputs(
        self, node: Any, static: set[str], opsets: Mapping[str, int]
    ) -> Iterable[str]:
        """Return the inputs of an ONNX node that must be constants."""
        if static.intersection(node.output):
            if node.op_type in ("Shape", "Size"):
                return ()
            bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
            static_results = [k for k, name in enumerate(node.output) if name in static]
            return (*node.input, *(body.output[k].name for body in bodies for k in static_results))
        if row := self._row_of(node):
            inputs = zip(node.input, row.positional(len(node.input)), strict=False)
            return [name for name, argument in inputs if argument.name in STATIC]
        if function := self._function_of(node, opsets):
            inside = self._static_of(function, _opsets(function))
            return [n for n, i in zip(node.input, function.input, strict=False) if i in inside]
        return [n for k, n in enumerate(node.input) if k in _STATIC.get(node.op_type, ())]

    def _row_of(self, node: Any) -> OperatorRow | None:
        if (node.domain, node.op_type) in self.functions:
            return None
        return OPERATORS.get(_row_name(node))

    def _function_of(self, node: Any, opsets: Mapping[str, int]) -> Any:
        """The function that the model or ONNX defines an operator by, for all types."""
        if (node.domain, node.op_type) in self.functions:
            return self.functions[node.domain, node.op_type]
        schema = _schema(node, opsets)
        return schema.function_body if schema is not None and schema.has_function else None

    # -- computing --------------------------------------------------------------------------------

    def run(self, values: Mapping[str, Any]) -> list[Any]:
        """The outputs, given inputs and arrays."""
        return self._graph(self.proto.graph, values)

    def _graph(self, graph: Any, values: Mapping[str, Any]) -> list[Any]:
        """Evaluate an ONNX graph on values, with its initializers, and return the outputs."""
        to_array = onnx.numpy_helper.to_array
        arrays = {
            initializer.name: np.asarray(to_array(initializer)) for initializer in graph.initializer
        }
        env = {**arrays, **values, "": None}
        self._compute(graph.node, env, self.opsets)
        return [env[value_info.name] for value_info in graph.output]

    def _compute(self, nodes: Any, env: dict[str, Any], opsets: Mapping[str, int]) -> None:
        """Evaluate ONNX nodes in order and add results to ``env``; errors name the node."""
        for node in nodes:
            operands = [env[name] for name in node.input]
            call = ForeignCall(ForeignOperator(node.op_type), (), label=node.name or node.output[0])
            named = {name: env[name] for name in node.input if name}
            with explain_refusal(call, named, scope=node.name or node.op_type):
                results = self._results(node, operands, env, opsets)
            env.update(zip(node.output, results, strict=False))

    def _results(
        self, node: Any, operands: list[Any], env: Mapping[str, Any], opsets: Mapping[str, int]
    ) -> Sequence[Any]:
        """Compute the results of an ONNX node: by its row, as a constant, or by its definition."""
        attributes = {
            attribute.name: self._attribute(attribute, env) for attribute in node.attribute
        }
        if node.op_type == "Constant" and node.domain in _STANDARD:
            (value,) = attributes.values()
            return [np.asarray(value, "float32" if isinstance(value, float) else None)]
        if row := self._row_of(node):
            return _apply_row(row, node, operands, attributes, opsets.get(node.domain, 1))
        function, schema = self._function_of(node, opsets), _schema(node, opsets)
        if function is None:
            function = _function_of_types(schema, node, operands, opsets)
        if schema is not None:
            every = (
                (name, attribute.default_value) for name, attribute in schema.attributes.items()
            )
            defaults = {name: self._attribute(value, env) for name, value in every if value.name}
            attributes = defaults | attributes
        return self._function(function, operands, attributes)

    def _function(
        self, function: Any, operands: list[Any], attributes: dict[str, Any]
    ) -> list[Any]:
        """Evaluate an ONNX operator that the file or the standard defines by other nodes."""
        make = onnx.helper.make_attribute
        env: dict[str, Any] = dict.fromkeys(function.input)
        env |= {"": None, **dict(zip(function.input, operands, strict=False))}
        defaults = {
            attribute.name: self._attribute(attribute, env)
            for attribute in function.attribute_proto
        }
        attributes, nodes = defaults | attributes, []
        for template in function.node:
            node = type(template)()
            node.CopyFrom(template)
            for attribute in [*node.attribute]:
                if reference := attribute.ref_attr_name:
                    node.attribute.remove(attribute)
                    if reference in attributes:
                        node.attribute.append(make(attribute.name, _plain(attributes[reference])))
            nodes.append(node)
        self._compute(nodes, env, _opsets(function))
        return [env.get(name) for name in function.output]

    def _attribute(self, attribute: Any, env: Mapping[str, Any]) -> Any:
        """Convert an attribute of an ONNX node: arrays, functions for graphs, dtypes for types."""
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.TENSOR:
            return onnx.numpy_helper.to_array(value)
        if attribute.type == onnx.AttributeProto.GRAPH:
            return self._body(value, dict(env))
        if attribute.name in ("to", "dtype", "output_dtype") and value:
            return onnx.helper.tensor_dtype_to_np_dtype(value)
        if isinstance(value, list):
            return [v.decode() if isinstance(v, bytes) else v for v in value]
        return value.decode() if isinstance(value, bytes) else value

    def _body(self, graph: Any, outer: dict[str, Any]) -> Callable[..., list[Any]]:
        """Return the body of an ONNX If, Loop or Scan as a function that reads outer values too."""

        def run(*operands: Any) -> list[Any]:
            named = dict(
                zip((value_info.name for value_info in graph.input), operands, strict=True)
            )
            return self._graph(graph, {**outer, **named})

        return run


def _opsets(function: Any) -> dict[str, int]:
    return {opset.domain: opset.version for opset in function.opset_import}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return onnx.numpy_helper.from_array(value)
    is_dtype = isinstance(value, np.dtype)
    return onnx.helper.np_dtype_to_tensor_dtype(value) if is_dtype else value


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of those inside of it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


# -- a node by its row ----------------------------------------------------------------------------


def _apply_row(
    row: OperatorRow, node: Any, operands: list[Any], attributes: dict[str, Any], opset: int
) -> Sequence[Any]:
    """Compute the results of an ONNX operator: of shapes at once, else by its row."""
    inputs = {argument.name for argument in row.positional(len(operands))}
    if "broadcast" in attributes and node.op_type != "Gemm":  # before version 7
        operands, attributes = _broadcast(*operands, **attributes), {}
    options = {}
    for theirs, value in attributes.items():
        name = re.sub(r"(?<=[a-z])[A-Z]", lambda m: "_" + m[0].lower(), theirs)
        kind = "float32" if isinstance(value, float) else None
        options[name] = np.asarray(value, kind) if name in inputs else value
    arrays = [operand for operand in operands if operand is not None]
    is_known = bool(arrays) and all(isinstance(array, np.ndarray) for array in arrays)
    is_known = is_known and not any(map(callable, attributes.values()))  # graphs see values around
    is_number = is_known and all(array.dtype != object for array in arrays)
    if is_known and not is_number and node.op_type in OF_SIZES:
        compute = partial(OF_SIZES[node.op_type], **options)
        integers = compute_known(compute, operands)
        if integers is not None:
            return (integers,)
    facts = {"opset": opset, "outputs": len([*filter(None, node.output)])}
    op = ForeignOperator(_row_name(node), options)
    results = OPERATORS.apply(op, operands, (None,) * len(node.output), facts)
    # A dequantized constant stays one of integers, until it is multiplied or computed once.
    keeps_integers = _row_name(node) in DEQUANTIZE
    return _fold_constants(results) if is_number and not keeps_integers else results


def _broadcast(x: Any, y: Any, broadcast: int = 1, axis: int | None = None) -> list[Any]:
    """Operands of which the second has the axes of the first from ``axis`` on."""
    x, y = as_operand(x), as_operand(y)
    trailing_axes = 0 if axis is None else x.ndim - axis % x.ndim - y.ndim
    return [x, reshape(y, (*y.shape, *(1,) * trailing_axes))]


def _fold_constants(results: Any) -> Any:
    """Results as arrays: what was computed of known arrays is known."""
    if isinstance(results, tuple | list):
        return type(results)(map(_fold_constants, results))
    return np.asarray(evaluate(results)) if isinstance(results, Value) else results


# -- operators that others define -----------------------------------------------------------------


def _schema(node: Any, opsets: Mapping[str, int]) -> Any:
    defs = onnx.defs
    try:
        return defs.get_schema(node.op_type, opsets.get(node.domain, 1), node.domain)
    except defs.SchemaError:
        return None


def _function_of_types(
    schema: Any, node: Any, operands: list[Any], opsets: Mapping[str, int]
) -> Any:
    """Find the function by which the standard defines an ONNX operator for these operand types.

    Raises:
        ExportError: there is none.
    """
    if schema is not None and schema.has_context_dependent_function:
        types = [_make_onnx_type(operand).SerializeToString() for operand in operands]
        text = schema.get_context_dependent_function(node.SerializeToString(), types)
        function = onnx.FunctionProto()
        function.ParseFromString(text)
        return function
    name, version = f"{node.domain}.{node.op_type}".lstrip("."), opsets.get(node.domain, 1)
    what = "has no function here" if schema is not None else "does not exist"
    raise ExportError(
        f"the operator {name} {what}, version {version} of the operators",
        hint=OPERATORS.hint,
    )


def _make_onnx_type(operand: Any) -> Any:
    """Return the ONNX type of an operand: a tensor, a sequence or nothing."""
    if operand is None:
        return onnx.TypeProto()
    if isinstance(operand, list):
        return onnx.helper.make_sequence_type_proto(_make_onnx_type(operand[0]))
    dtype = np.dtype("int64") if operand.dtype == object else operand.dtype
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shape = [size if isinstance(size, int) else str(size) for size in operand.shape]
    return onnx.helper.make_tensor_type_proto(kind, shape)
