"""Text read back: graphs here, by a recursive descent whose depth does not grow with the graph;
schedules, plans and kernels by ``schedule_text`` and ``kernels.parser``.

Types in the text are checked against those that inference gives, so a text cannot lie. Arrays and
parameter values are bound from outside, by digest and by name. Every mistake in the text is a
ParseError with its line, column and caret. See ``printer`` for the form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import signature
from typing import Any, Final

import numpy.typing as npt

from staticgrad.errors import ArgumentError, OutOfMemory, StaticgradError, UnknownNameError
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.wording import kind_of
from staticgrad.language.ir.discovery import AttributeMistake, broken, build_op, find_op
from staticgrad.language.ir.graph import (
    Constant,
    Graph,
    Input,
    Node,
    Parameter,
    ParameterLeaf,
    Symbolic,
)
from staticgrad.language.ir.nodes import leaf_node
from staticgrad.language.ir.op import Op, as_array, registered_ops, result_types
from staticgrad.language.ir.text import NO_FILE, DocumentReader, bound_constants, suggestion
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.arrays import ArrayData, TensorType, as_parts
from staticgrad.language.types.dtype import F32, F64
from staticgrad.language.types.lexis import Tokens, name_text
from staticgrad.support.caches import collection_paused
from staticgrad.support.source import Location, SourceLine

_LEAVES: Final = ("input", "parameter")


@boundary
@collection_paused()
def parse(
    text: str,
    *,
    parameters: Mapping[str, Parameter | npt.ArrayLike] | None = None,
    constants: Mapping[str, npt.ArrayLike] | None = None,
    inputs: Mapping[str, Symbolic] | None = None,
    file: str = "<text>",
) -> Any:
    """Parse the text of a graph, schedule, memory plan or kernel; its first line says which.

    Args:
        text: what ``print(graph)``, ``print(f.schedule)``, ``print(f.plan())`` or
            ``print(f.schedule.kernels[0])`` wrote, or what somebody wrote like it.
        parameters: name -> the Parameter to use, or the initial value of a new one. A parameter
            that is not named here starts at zero. Graphs only.
        constants: digest -> array, for the constants of more than 16 elements: ``constants`` of
            what was printed.
        inputs: name -> the input to use instead of a new one. Graphs only.
        file: what messages call the text.

    Returns:
        The value that prints as this text.

    Raises:
        ParseError: the text is none of these; with the line, the column and the reason.
        UnknownNameError: a name bound here that the text does not have.
        ArgumentError: no text; an array whose content is not that of its digest.

    >>> import staticgrad as sg
    >>> x = sg.input("x", ("n",), "float64")
    >>> graph = sg.Graph({"y": sg.tanh(x)})
    >>> sg.same_graph(parse(str(graph)), graph)
    True
    >>> f = sg.compile(graph)
    >>> parse(str(f.schedule)) == f.schedule
    True
    """
    if not isinstance(text, str):
        raise ArgumentError(
            f"parse takes a text, not {kind_of(text)}",
            hint="what print(graph) writes: sg.parse(str(graph)); bytes are decoded first",
        )
    form = _find_form(text)
    if form == "ir":
        return _parse_graph(text, constants, parameters or {}, inputs or {}, file)
    if parameters or inputs:
        raise ArgumentError(
            f"parameters and inputs are those of a graph; this is the text of a {form}",
            hint="leave them out: a schedule names buffers, which are bound in each run",
        )
    if form == "kernel":
        from staticgrad.language.ir.kernels.parser import parse_kernel

        return parse_kernel(text, file=file)
    from staticgrad.language.ir import schedule_text  # readers of kernels, which few texts need

    read = schedule_text.parse_plan if form == "plan" else schedule_text.parse_schedule
    return read(text, constants=constants, file=file)


#: What the first words of a text say that it is. Any other text is read as a graph, and refused.
_FORM: Final = re.compile(
    r"(?:\s|#[^\n]*\n)*(?:staticgrad-(schedule|plan)\b|(?:serial\s+)?(kernel)\b)"
)


def _find_form(text: str) -> str:
    """Return ``schedule``, ``plan`` or ``kernel`` if the text begins as one, else ``ir``."""
    match = _FORM.match(text)
    return "ir" if match is None else match[1] or match[2]


def _parse_graph(
    text: str,
    constants: Mapping[str, npt.ArrayLike] | None,
    parameters: Mapping[str, Parameter | npt.ArrayLike],
    inputs: Mapping[str, Symbolic],
    file: str,
) -> Graph:
    bound = bound_constants(constants)
    reader = _GraphReader(Tokens(text, file), bound, parameters, inputs)
    reader.header("ir", "graph")
    reader.size_declarations()
    graph = reader.graph()
    reader.expect_end("graph")
    return graph


def _labels(leaf: Symbolic) -> tuple[str, ...]:
    """The name of an input or parameter; of one that was renamed when it was copied (it may be part
    of the copy of a graph), those before, too."""
    op = leaf.node.op
    return (op.label, *op.store.former) if isinstance(op, ParameterLeaf) else (leaf.node.label,)


class _GraphReader(DocumentReader):
    """Reads one graph. ``values`` maps names as the text writes them to values."""

    def __init__(
        self,
        tokens: Tokens,
        constants: dict[str, ArrayData],
        parameters: Mapping[str, Parameter | npt.ArrayLike],
        inputs: Mapping[str, Symbolic],
    ) -> None:
        super().__init__(tokens, constants)
        self.bound_parameters, self.bound_inputs = parameters, inputs
        self.values: dict[str, Symbolic] = {}
        self.nodes: list[Node] = []
        self.inputs: list[Symbolic] = []
        self.parameters: list[Parameter] = []
        self.outputs: dict[str, Symbolic] = {}
        self.complex_outputs: set[str] = set()
        self.updates: dict[Node, tuple[Parameter, Symbolic]] = {}

    def graph(self) -> Graph:
        """Parse a printed graph after the document's header, or as the attribute of a node."""
        self.expect("graph")
        name = self.name("the graph's name")
        self.expect("(", "the graph's name")
        self.sequence(self._parse_input, ")")
        if self.accept("params"):
            self.expect("(", "params")
            self.sequence(self._parameter, ")")
        self._refuse_unknown_bindings()
        self.expect("{", "the graph's signature")
        while self.kinds[self.at] == "value":
            self._node()
        if self.accept("return"):
            self.comma_list(self._parse_output)
        while self.accept("update"):
            self._update()
        if not self.accept("}"):
            self.fail(f"expected a node, 'return', 'update' or '}}', found {self.token_text}")
        if not self.outputs and not self.updates:
            self.fail("a graph needs at least one output or update", self.at - 1)
        return Graph.of_parts(
            nodes=self.nodes,
            inputs=self.inputs,
            parameters=self.parameters,
            outputs=self.outputs,
            updates=self.updates.values(),
            name=name,
            complex_outputs=self.complex_outputs,
        )

    def value(self) -> Any:
        """Any attribute value; a graph is one, the body of a loop or branch."""
        at = self.at
        if self.texts[at] == "graph" and self.kinds[at + 1] in ("name", "string"):
            return self.read_nested(self._inner)
        return super().value()

    def _inner(self) -> Graph:
        """Parse the body graph of a loop or branch: it reads no outer values."""
        outer = (self.values, self.nodes, self.inputs, self.parameters, self.outputs, self.updates)
        bound = (self.bound_parameters, self.bound_inputs)
        self.values, self.nodes, self.inputs, self.parameters = {}, [], [], []
        self.outputs, self.updates, self.bound_parameters, self.bound_inputs = {}, {}, {}, {}
        start = self.at
        inner = self.graph()
        if inner.parameters or inner.updates:
            self.fail("a body has no parameters and no updates", start)
        self.values, self.nodes, self.inputs, self.parameters, self.outputs, self.updates = outer
        self.bound_parameters, self.bound_inputs = bound
        return inner

    # header

    def _parse_input(self) -> None:
        """Parse an input of a printed graph: ``%x: f32[n]``."""
        start = self.at
        label = self.marked_name("%", "an input (%name)")
        self.expect(":", "the input")
        declared = self.type()
        op = Input(label, declared, self._is_complex(declared))
        value = self.bound_inputs.get(label)
        value = getattr(value, "stored", value)
        if value is None:
            value = Symbolic(leaf_node(op, self._origin(start)))
        self._check_bound(value, label, declared, start)
        self.inputs.append(value)
        self._define(start, value)
        self.nodes.append(value.node)

    def _is_complex(self, declared: TensorType) -> bool:
        """Read whether the last axis has real and imaginary parts."""
        if not self.accept("complex"):
            return False
        if declared.dtype not in (F32, F64) or declared.shape[-1:] != (2,):
            self.fail("what is complex is f32 or f64 and has a last axis of 2", self.at - 1)
        return True

    def _parameter(self) -> None:
        """Parse a parameter of a printed graph, bound to the caller's array or to zeros."""
        start = self.at
        label = self.marked_name("@", "a parameter (@name)")
        self.expect(":", "the parameter")
        declared = self.type()
        is_complex = self._is_complex(declared)
        value: Any = self.bound_parameters.get(label)
        value = getattr(value, "stored", value)
        if not isinstance(value, Parameter):
            self._literal_shape(declared, start)
            try:
                if value is None:
                    store = ParameterStore.zeros(label, declared)
                else:
                    array = as_array(value, f"parameter {label!r}")
                    if is_complex and array.dtype.kind == "c":
                        array = as_parts(array)
                    if array.dtype != declared.dtype.numpy or array.shape != declared.shape:
                        array_text = f"{array.dtype}{list(array.shape)}"
                        self.fail(f"the parameter is {declared}, its array {array_text}", start)
                    store = ParameterStore(label, array)
            except OutOfMemory as error:
                self.fail(error.headline, start, error.hint)
            store.is_complex = is_complex
            value = Parameter(leaf_node(ParameterLeaf(store), self._origin(start)))
        self._check_bound(value, label, declared, start)
        self.parameters.append(value)
        self._define(start, value)
        self.nodes.append(value.node)

    def _check_bound(self, value: Symbolic, label: str, declared: TensorType, start: int) -> None:
        if value.type != declared or label not in _labels(value):
            bound = f"bound to {getattr(value.node.op, 'label', None)!r}, {value.type}"
            self.fail(f"{bound}; the text says {declared}", start)

    def _refuse_unknown_bindings(self) -> None:
        """Refuse bindings for inputs or parameters that the parsed graph does not have."""
        pairs = (self.bound_inputs, self.inputs), (self.bound_parameters, self.parameters)
        for bound, values in pairs:
            labels = {label for value in values for label in _labels(value)}
            for name in bound:
                if name not in labels:
                    unknown = f"the text has no input or parameter {name!r}"
                    raise UnknownNameError(unknown, hint=suggestion(name, labels))

    # body

    def _define(self, at: int, value: Symbolic) -> None:
        key = self._key(self.texts[at], at)
        if key in self.values:
            self.fail(f"{self.texts[at]} is defined twice", at)
        self.values[key] = value

    def _key(self, token: str, at: int) -> str:
        """The one spelling of a value's name: quoted only where it must be."""
        if token[1] != '"':
            return token
        return token[0] + name_text(self.unquote(token[1:], at))

    def _operand(self) -> Symbolic:
        """Parse an operand of a printed node: ``%3`` or ``@w``, defined before this line."""
        token = self.take("value", "a value (%name or @name)")
        value = self.values.get(token)
        if value is None:
            value = self.values.get(self._key(token, self.at - 1))
        if value is None:
            self.fail(
                f"{token} is not defined before this line",
                self.at - 1,
                suggestion(token, self.values),
            )
        return value

    def _node(self) -> None:
        """Parse a node of a printed graph, and check its types against the op's inference."""
        start = self.at
        results = self.comma_list(self._result)
        self.expect(":", "the name of a result")
        types_at = self.at
        types = tuple(self.comma_list(self.type))
        order = self.integer("the derivative order") if self.accept("^") else 0
        self.expect("=", "the type")
        op_at = self.at
        op = self._op(types)
        args = tuple(self.sequence(self._operand, ")")) if self.accept("(") else ()
        try:
            signature(op.infer).bind(*args)
        except TypeError:
            takes = len(signature(op.infer).parameters)
            operands = f"{takes} operand{'s' * (takes != 1)}"
            self.fail(f"{op.name} takes {operands}, {len(args)} are given", op_at)
        try:
            inferred = result_types(op, [arg.type for arg in args])
        except Exception as error:  # inference is the op's own code, over types it may not expect
            self.fail(_reason(error, op.name), op_at, getattr(error, "hint", ""))
        inferred = (inferred,) if isinstance(inferred, TensorType) else tuple(inferred)
        if inferred != types:
            inferred_text = ", ".join(map(str, inferred))
            self.fail(
                f"{op.name} gives {inferred_text}, the text says {', '.join(map(str, types))}",
                types_at,
            )
        if len(results) != len(types):
            self.fail(f"{op.name} has {len(types)} results, {len(results)} are named", start)
        node = Node(op, args, types, self.named_line() or self._origin(start), order)
        self.nodes.append(node)
        for index, at in enumerate(results):
            self._define(at, Symbolic(node, index))

    def _result(self) -> int:
        token = self.take("value", "the name of a result (%0)")
        if token[0] != "%":
            self.fail(
                "a node cannot define a parameter; parameters stand in the header", self.at - 1
            )
        return self.at - 1

    def _op(self, types: tuple[TensorType, ...]) -> Op:
        """Parse an op and its attributes in a printed graph: ``sum{axes=(0,)}``."""
        at = self.at
        name = self.name("the name of an op")
        cls = None if name in _LEAVES else find_op(name)
        if cls is None:
            names = registered_ops()
            wrong = "stands in the header only" if name in _LEAVES else "is not the name of an op"
            hints = [suggestion(name, names), *broken]
            self.fail(f"{name_text(name)} {wrong}", at, "\n".join(filter(None, hints)))
        places: dict[str, int] = {}
        attributes = (
            dict(self.sequence(lambda: self._attribute(places), "}")) if self.accept("{") else {}
        )
        if cls is Constant:
            return self._constant(attributes, types[0], at)
        for key, value in attributes.items():
            if isinstance(value, list):
                self.fail("a list can only be the value of a constant", places[key])
        try:
            return build_op(cls, attributes)
        except AttributeMistake as mistake:
            self.fail(str(mistake), places.get(mistake.name, at), mistake.hint)
        except Exception as error:  # the op's own check of its attributes; it may raise anything
            self.fail(_reason(error, name), at, getattr(error, "hint", ""))

    def _attribute(self, places: dict[str, int]) -> tuple[str, Any]:
        at = self.at
        name = self.take("name", "an attribute")
        if name in places:
            self.fail(f"the attribute {name} is given twice", at)
        places[name] = at
        return name, self.value() if self.accept("=") else True

    def _constant(self, attributes: Mapping[str, Any], declared: TensorType, at: int) -> Op:
        """Make the constant of a printed graph, from its value or a bound digest."""
        if len(attributes) != 1 or not attributes.keys() <= {"value", "digest"}:
            self.fail("a constant has either a value or a digest", at)
        if "value" in attributes:
            return Constant(self.array(attributes["value"], declared, at))
        if not isinstance(attributes["digest"], str):
            self.fail("a digest is written in quotes", at)
        return Constant(self.bound_array(attributes["digest"], declared, at))

    def _origin(self, at: int) -> Location:
        number, line = self.tokens.line_of(at)
        return SourceLine(NO_FILE, number, text=line)

    # roots

    def _parse_output(self) -> None:
        """Parse an output of a printed graph: ``loss = %7``."""
        at = self.at
        label = self.name("the name of an output")
        if label in self.outputs:
            self.fail(f"the output {self.texts[at]} is returned twice", at)
        self.expect("=", "the name of the output")
        self.outputs[label] = self._operand()
        if self._is_complex(self.outputs[label].type):
            self.complex_outputs.add(label)

    def _update(self) -> None:
        """Parse an update of a printed graph: ``@w = %9``."""
        at = self.at
        target = self._operand()
        if not isinstance(target, Parameter):
            self.fail("only a parameter (@name) can be updated", at)
        if target.node in self.updates:
            self.fail(f"{self.texts[at]} is updated twice", at)
        self.expect("=", "the parameter")
        value = self._operand()
        if value.type != target.type:
            self.fail(f"{self.texts[at]} is {target.type}, its update {value.type}", self.at - 1)
        self.updates[target.node] = (target, value)


def _reason(error: Exception, name: str) -> str:
    headline = (
        error.headline if isinstance(error, StaticgradError) else str(error) or type(error).__name__
    )
    return headline if name in headline else f"{name}: {headline}"
