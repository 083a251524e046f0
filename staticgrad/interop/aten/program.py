"""A program of PyTorch as plain data, and what computes it: each node by its row.

``reading.py`` makes it of PyTorch's graphs. It does not mention PyTorch, so a module of it is saved
and loaded where PyTorch is not installed.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter as Argument
from math import ceil, floor
from typing import Any, Final, NamedTuple

import numpy as np

import staticgrad.language.functions as sg
from staticgrad.extend import Dim, Value
from staticgrad.extend.building import SourceLine, within
from staticgrad.extend.sizes import maximum, minimum
from staticgrad.interop.aten.operators import (
    OPERATORS,
    AtenType,
    cast,
)
from staticgrad.interop.engine.programs import ResultOf
from staticgrad.interop.engine.tables import OperatorRow, unsupported_variant
from staticgrad.support.errors import ExportError, StaticgradError


class AtenCall(NamedTuple):
    """One call of an operator.

    Attributes:
        operator: ``aten.add.Tensor``; of sizes ``size.mul``; ``getitem`` picks one of the results.
        arguments: by PyTorch's names; values are numbers, text, lists, and ``ResultOf``.
        out: the type of the result, or of several a tuple with None where there is no tensor.
        line: the user's, in PyTorch's program.
    """

    operator: str
    arguments: Mapping[str, Any]
    out: Any
    line: SourceLine | None


class AtenProgram:
    """Inputs, nodes and results of one graph.

    Attributes:
        inputs: what each input is called, for errors.
        types: the type of each input; None of a size.
        nodes: in order.
        results: numbers, None and ``ResultOf``.
        constants: arrays by the places of inputs that have a fixed value.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        types: Sequence[AtenType | None],
        nodes: Sequence[AtenCall],
        results: Sequence[Any],
        constants: Mapping[int, np.ndarray[Any, Any]],
    ) -> None:
        self.inputs, self.types = tuple(inputs), tuple(types)
        self.nodes, self.results = tuple(nodes), tuple(results)
        self.constants = dict(constants)

    def __deepcopy__(self, memo: Any) -> AtenProgram:
        return self  # nothing changes it

    @property
    def draws(self) -> bool:
        """Return whether it draws random numbers."""
        return any(map(draws, self.nodes))

    def missing(self) -> list[AtenCall]:
        """Return the nodes whose operator has no row."""
        return [node for node in self.nodes if not has_row(node)]

    def run(self, operands: Sequence[Any], random: Any = None) -> list[Any]:
        """Evaluate an ATen program on values, one for each input, and return the results.

        Args:
            operands: values and sizes; None for inputs that have a fixed value.
            random: the generator of operators that draw.

        Raises:
            ExportError: an operator has no row, or refuses a variant; it names the user's line.
        """
        env: list[Any] = [
            sg.constant(self.constants[k]) if k in self.constants else operand
            for k, operand in enumerate(operands)
        ]
        for place, node in enumerate(self.nodes):
            try:
                env.append(_compute_node(node, env, random))
            except _CallError as error:
                error.place = place
                raise
        return [self._at(result, env) for result in self.results]

    def _at(self, result: Any, env: list[Any]) -> Any:
        return env[result.place] if isinstance(result, ResultOf) else result


def has_row(call: AtenCall) -> bool:
    """Return whether the operator is in the table."""
    return _named_row(call.operator) is not None


def draws(call: AtenCall) -> bool:
    """Return whether the operator draws random numbers."""
    row = _named_row(call.operator)
    return row is not None and draws_of(row)


def draws_of(row: OperatorRow) -> bool:
    """Return whether a row takes a generator of random numbers."""
    return "random" in row.arguments


def _named_row(name: str) -> OperatorRow | None:
    """Return the table's row of an ATen operator; that of the overload comes first."""
    if name == "getitem" or name.startswith("size."):
        return _SIZES
    library, _, name_in_library = name.partition(".")
    packet, _, _ = name_in_library.partition(".")
    if library != "aten":
        return OPERATORS.get(name)
    return OPERATORS.get(name_in_library) or OPERATORS.get(packet)


#: What computes sizes, by the name of Python's operator.
OF_SIZES: Final[dict[str, Callable[..., Any]]] = {
    "add": python.add, "sub": python.sub, "mul": python.mul, "floordiv": python.floordiv,
    "mod": python.mod, "neg": python.neg, "abs": lambda a: a if isinstance(a, Dim) else abs(a),
    "truediv": lambda a, b: _divide_sizes(a, b),
    "sym_max": maximum, "sym_min": minimum, "sym_float": lambda a: a, "sym_int": lambda a: a,
    "trunc": lambda a: a, "floor": lambda a: a if isinstance(a, Dim) else floor(a),
    "ceil": lambda a: a if isinstance(a, Dim) else ceil(a), "pow": lambda a, b: a**b,
    "eq": lambda a, b: True, "ne": lambda a, b: True, "ge": lambda a, b: True,
    "le": lambda a, b: True, "gt": lambda a, b: True, "lt": lambda a, b: True,
    "and_": lambda a, b: True, "or_": lambda a, b: True, "sym_not": lambda a: True,
}  # fmt: skip
_SIZES: Final = OperatorRow(lambda: None)


def _divide_sizes(a: Any, b: Any) -> Any:
    """A quotient of sizes, which is whole where a size is needed."""
    return a / b if not isinstance(a, Dim) and not isinstance(b, Dim) else a // b


def _compute_node(node: AtenCall, env: list[Any], random: Any) -> Any:
    """Compute the result of an ATen node by its row; several results are a tuple."""
    if node.operator == "getitem":
        results, place = (_value(argument, env) for argument in node.arguments.values())
        return results[place]
    scope = node.line.scope if node.line is not None else ""
    try:
        with within(origin=node.line, scope=scope):
            arguments = {name: _value(argument, env) for name, argument in node.arguments.items()}
            if node.operator.startswith("size."):
                name = node.operator.removeprefix("size.")
                operands = [*arguments.values()]
                if name == "sym_size":
                    return operands[0].shape[operands[1]]
                if name == "sym_numel":
                    return operands[0].size
                if name == "with_effects" and "_linalg_check_errors" in str(operands[1]):
                    return operands[0], None  # functions of matrices check their results in the run
                if name not in OF_SIZES:
                    raise unsupported_variant(f"{name} of sizes")
                return OF_SIZES[name](*operands)
            return _cast_results(node, _apply_row(node, arguments, random))
    except StaticgradError as error:
        if isinstance(error, _CallError):
            raise
        raise _make_node_error(node, env, error.headline, error.hint) from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise _make_node_error(node, env, f"{type(error).__name__}: {error}", "") from error


def _value(argument: Any, env: list[Any]) -> Any:
    """An argument with the results of other nodes in their places."""
    if isinstance(argument, ResultOf):
        return env[argument.place]
    if isinstance(argument, list):
        return [_value(element, env) for element in argument]
    return argument


def _apply_row(node: AtenCall, arguments: dict[str, Any], random: Any) -> Any:
    """Call the table's function of an ATen operator on promoted arguments."""
    row = _named_row(node.operator)
    if row is None:
        raise ExportError(
            f"{node.operator} has no row",
            hint="staticgrad.interop.aten.operators.operator(name) makes a function its row",
        )
    takes = row.arguments
    facts = {
        "out": node.out, "operator": node.operator.removeprefix("aten.").partition(".")[0],
        "random": random,
    }  # fmt: skip
    anything = any(parameter.kind is Argument.VAR_KEYWORD for parameter in takes.values())
    for name in arguments:
        if name not in takes and not anything:
            raise unsupported_variant(f"the argument {name}={arguments[name]!r}")
    facts = {name: fact for name, fact in facts.items() if name in takes or anything}
    if row.operands == "result":
        arguments = {name: _cast(operand, node.out.dtype) for name, operand in arguments.items()}
    elif row.operands == "common":
        dtype = common([*arguments.values()])
        arguments = {name: cast(operand, dtype) for name, operand in arguments.items()}
    return row.function(**arguments, **facts)


def _cast(x: Any, dtype: str) -> Any:
    """An operand in the element type of the result; of a complex one the result may be real."""
    if not isinstance(x, Value) or (x.dtype.is_complex and not dtype.startswith("complex")):
        return x
    return cast(x, dtype)


def common(operands: Sequence[Any]) -> str:
    """Return the element type of operands together, as PyTorch promotes them.

    Tensors with axes come before those without, these before numbers, unless the kind of number
    (bool, integer, real, complex) is a higher one.
    """
    ranks = ["", "", ""]
    for operand in operands:
        if isinstance(operand, Value):
            rank, name = (0 if operand.ndim else 1), operand.dtype.name
        elif isinstance(operand, bool | int | float | complex | Dim):
            rank, name = 2, _NUMBERS.get(type(operand), "int64")
        else:
            continue
        ranks[rank] = _promote_dtypes(ranks[rank], name)
    result = ""
    for name in filter(None, ranks):
        if not result or _kind(name) > _kind(result):
            result = (
                _promote_dtypes(name, result) if name.startswith("complex") and result else name
            )
    return result


#: The element type of numbers that meet no tensor of their kind.
_NUMBERS: Final = {bool: "bool", float: "float32", complex: "complex64"}


def _promote_dtypes(a: str, b: str) -> str:
    """Promote two dtypes by PyTorch's rules."""
    if not a or not b or a == b:
        return a or b
    if _kind(a) != _kind(b) and "complex" not in a + b:
        return a if _kind(a) > _kind(b) else b
    if "bfloat16" in (a, b):
        partner = b if a == "bfloat16" else a
        return "float32" if partner == "float16" else partner
    return np.promote_types(a, b).name


def _kind(dtype: str) -> int:
    if dtype == "bool":
        return 0
    return 1 if "int" in dtype else 3 if dtype.startswith("complex") else 2


def _cast_results(node: AtenCall, results: Any) -> Any:
    """Results in PyTorch's element types, whose shapes are PyTorch's."""
    if not isinstance(results, tuple):
        return _cast_result(results, node.out)
    kinds = node.out if _is_several(node.out) else [node.out]
    return tuple(_cast_result(value, kind) for value, kind in zip(results, kinds, strict=False))


def _is_several(out: Any) -> bool:
    return isinstance(out, tuple) and not isinstance(out, AtenType)


def _cast_result(value: Any, kind: AtenType | None) -> Any:
    """Cast the result of an ATen node to PyTorch's dtype, and check its shape."""
    if not isinstance(value, Value) or not isinstance(kind, AtenType):
        return value
    value = cast(value, kind.dtype)
    pairs = zip(value.shape, kind.shape, strict=False)
    if value.ndim != len(kind.shape) or any(
        isinstance(size, int) and theirs is not None and size != theirs for size, theirs in pairs
    ):
        raise ExportError(f"the shape is {tuple(value.shape)} where PyTorch has {kind.shape}")
    return value


class _CallError(ExportError):
    """An error that names its operator and line; ``place``: of the call in the program."""

    place: int | None = None


def _make_node_error(node: AtenCall, env: list[Any], what: str, hint: str) -> ExportError:
    """Build the error for an ATen node: its operator, the user's line, and what is wrong."""
    types = [
        f"{name} {env[argument.place].type}"
        for name, argument in node.arguments.items()
        if isinstance(argument, ResultOf) and isinstance(env[argument.place], Value)
    ]
    headline = what if what.startswith(node.operator) else f"{node.operator}: {what}"
    return _CallError(
        headline,
        details=[f"operands: {', '.join(types)}"] if types else [],
        hint=hint,
        at=node.line,
    )
