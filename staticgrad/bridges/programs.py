"""Programs of other libraries as plain data, and the loop that computes them call by call.

A reader makes them of the graphs of a library. They do not mention it, so a function of a program
is pickled and loaded where the library is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeAlias

import numpy as np

import staticgrad.functions as sg
from staticgrad.bridges.operands import (
    ForeignType,
    cast,
    dtype_of,
    fits_shape,
    shape_of,
    value,
)
from staticgrad.bridges.tables import ForeignOperator, OperatorTable
from staticgrad.errors import ExportError, StaticgradError
from staticgrad.extend import Value, cached_property
from staticgrad.extend.building import SourceLine, within

#: Further arguments of rows.
Facts: TypeAlias = Mapping[str, Any]
NO_FACTS: Final[Facts] = MappingProxyType({})
#: Exceptions by which Python and NumPy refuse operands.
_PYTHON_ERRORS: Final = (TypeError, ValueError, KeyError, IndexError, AttributeError)


class ResultOf(NamedTuple):
    """The result of a call, or an input: its place among all of them in a program."""

    place: int


class ForeignCall(NamedTuple):
    """One node of a program.

    Attributes:
        operator: what is called.
        operands: ``ResultOf``, and the data of constants; lists of them; by name where the library
            has names for them.
        out: the type of each result: ``ForeignType``; None if it is no array; a tuple of types if
            the result is a sequence.
        line: the user's.
        label: the name of the node in its file.
    """

    operator: ForeignOperator
    operands: Sequence[Any] | Mapping[str, Any]
    out: tuple[Any, ...] = (None,)
    line: SourceLine | None = None
    label: str = ""


class RefusedCallError(ExportError):
    """An error of a call: it names the operator, the line and the types of the operands.

    Attributes:
        place: of the call in the program; None of a call outside of one.
    """

    place: int | None = None


class ForeignProgram:
    """Inputs, calls and results of a graph of another library.

    Attributes:
        table: the rows that compute it.
        picks: the operators that pick one of several results of a call.
        inputs: the type of each; None of what is no array.
        calls: in order; their results have the places behind the inputs and constants.
        results: ``ResultOf``, and the data of constants.
        result_types: the type of each result; empty if nothing says them.
        constants: arrays by their places, of inputs that have a fixed value or behind the inputs.
        names: of the inputs, for errors.
    """

    table: ClassVar[OperatorTable]
    picks: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        inputs: Sequence[Any],
        calls: Sequence[ForeignCall],
        results: Sequence[Any],
        result_types: Sequence[Any] = (),
        constants: Mapping[int, Any] = MappingProxyType({}),
        names: Sequence[str] = (),
    ) -> None:
        self.inputs, self.calls, self.names = tuple(inputs), tuple(calls), tuple(names)
        self.results, self.result_types = tuple(results), tuple(result_types)
        self.constants = dict(constants)

    def __deepcopy__(self, memo: Any) -> ForeignProgram:
        return self  # nothing changes it

    # -- places ---------------------------------------------------------------------------------

    @cached_property
    def places(self) -> list[tuple[int, ...]]:
        """The places of each call's results: behind the inputs and constants, in order."""
        places, count = [], self._count_leaves()
        for call in self.calls:
            places.append(tuple(range(count, count + len(call.out))))
            count += len(call.out)
        return places

    def _count_leaves(self) -> int:
        """Return the number of inputs and constants."""
        return max([len(self.inputs) - 1, *self.constants]) + 1

    @cached_property
    def types(self) -> dict[int, Any]:
        """The types of inputs, constants and results by place."""
        types = dict(enumerate(self.inputs))
        for place, array in self.constants.items():
            types[place] = ForeignType(dtype_of(array), np.shape(array))
        for call, places in zip(self.calls, self.places, strict=True):
            types.update(zip(places, call.out, strict=True))
        return types

    @cached_property
    def makers(self) -> dict[int, int]:
        """The numbers of the calls that compute results, by place."""
        return {place: k for k, places in enumerate(self.places) for place in places}

    # -- what a front end may change --------------------------------------------------------------

    @classmethod
    def table_of(cls, op: ForeignOperator) -> OperatorTable:
        """Return the table that has the row of an operator."""
        return cls.table

    @classmethod
    def computes_sizes(cls, op: ForeignOperator) -> bool:
        """Return whether an operator is arithmetic of sizes if its operands are known."""
        return False

    @classmethod
    def apply(cls, op: ForeignOperator, operands: Any, out: Any, facts: Facts = NO_FACTS) -> Any:
        """Compute the results of an operator, a tuple, before they are cast.

        Args:
            op: the operator.
            operands: a list; or by name where the library has names for them.
            out: the types of the results, a tuple.
            facts: further arguments, for rows that take them.

        Raises:
            ExportError: the operator has no row, or the row refuses it.
        """
        return cls.table_of(op).apply(op, operands, out, facts)

    # -- computing --------------------------------------------------------------------------------

    def run(self, operands: Sequence[Any], **facts: Any) -> list[Any]:
        """Compute the results for operands, one for each input.

        Args:
            operands: values, and what is known; None for inputs that have a fixed value.
            facts: further arguments of rows, as a generator of random numbers.

        Returns:
            Values, and arrays and numbers that are known while the program is built.

        Raises:
            RefusedCallError: an operator has no row, or its row refuses it.
        """
        env: list[Any] = [*operands, *[None] * (self._count_leaves() - len(operands))]
        for place, array in self.constants.items():
            env[place] = sg.constant(array)
        for place, call in enumerate(self.calls):
            try:
                env += self.compute(call, read_operands(call.operands, env), facts)
            except RefusedCallError as error:
                error.place = place
                raise
        return [*read_operands(self.results, env)]

    def values(self, operands: Sequence[Any], **facts: Any) -> list[Value]:
        """Compute the results as values, in the element types of the library."""
        results = self.run(operands, **facts)
        kinds = self.result_types or [None] * len(results)
        return [
            value(result, None if kind is None else kind.dtype)
            for result, kind in zip(results, kinds, strict=True)
        ]

    @classmethod
    def compute(cls, call: ForeignCall, operands: Any, facts: Facts = NO_FACTS) -> list[Any]:
        """Compute the results of a call.

        Raises:
            RefusedCallError: the operator has no row, or its row refuses it.
        """
        with explain_refusal(call, operands):
            results = cls.apply(call.operator, operands, call.out, facts)
            return [
                cast_result(result, kind, cls.table.library, call.operator.is_scalar)
                for result, kind in zip(results, call.out, strict=True)
            ]

    # -- what has no row --------------------------------------------------------------------------

    def missing(self) -> list[ForeignCall]:
        """Return the calls of operators without a row, also in programs among the attributes."""
        calls = []
        for call in self.calls:
            row = self.table_of(call.operator).find(call.operator)
            if row is None:
                calls.append(call)
                continue
            for name, attribute in call.operator.attributes.items():
                if row.takes_any or name in row.arguments:
                    for program in programs_in(attribute):
                        calls += program.missing()
        return calls

    def check_rows(self, hint: str = "") -> None:
        """Check that each operator has a row.

        Args:
            hint: what to write instead, for the error; by default what adds a row.

        Raises:
            ExportError: some have none; it names all, why, and the first one's line.
        """
        missing = {call.operator.name: call for call in self.missing()}
        if missing:
            table = self.table
            reasons = {name: table.find_reason(call.operator) for name, call in missing.items()}
            raise ExportError(
                f"{', '.join(missing)}: no row in the table of {table.library}",
                details=[f"{name}: {reason}" for name, reason in reasons.items() if reason],
                hint=hint or table.hint,
                at=next(iter(missing.values())).line,
            )


class OperandsByPlace(Protocol):
    """Values, or arrays, at the places of a program."""

    def __getitem__(self, place: int, /) -> Any: ...


def read_operands(operands: Any, env: OperandsByPlace) -> Any:
    """Return operands with the results of calls in their places."""
    if isinstance(operands, ResultOf):
        return env[operands.place]
    if isinstance(operands, Mapping):
        return {name: read_operands(operand, env) for name, operand in operands.items()}
    if isinstance(operands, list) or type(operands) is tuple:
        return [read_operands(operand, env) for operand in operands]
    return operands


def programs_in(attribute: Any) -> list[ForeignProgram]:
    """Return the programs in an attribute: in lists and mappings, and those of operators."""
    if isinstance(attribute, ForeignProgram):
        return [attribute]
    if isinstance(attribute, ForeignOperator):
        attribute = attribute.attributes
    if isinstance(attribute, Mapping):
        attribute = [*attribute.values()]
    if isinstance(attribute, list | tuple):
        return [program for part in attribute for program in programs_in(part)]
    return []


@contextmanager
def explain_refusal(call: ForeignCall, operands: Any, scope: str = "") -> Iterator[None]:
    """Compute at the call's line, and name the call in an error.

    Args:
        call: its label is the scope unless one is given.
        operands: for the error.
        scope: of the values that are computed.

    Raises:
        RefusedCallError: what is computed inside is refused.
    """
    scope = scope or call.label or (call.line.scope if call.line is not None else "")
    try:
        with within(origin=call.line, scope=scope):
            yield
    except RefusedCallError:
        raise
    except StaticgradError as error:
        raise make_refusal(call, operands, error.headline, error.hint) from error
    except _PYTHON_ERRORS as error:
        raise make_refusal(call, operands, f"{type(error).__name__}: {error}", "") from error


def make_refusal(call: ForeignCall, operands: Any, what: str, hint: str) -> RefusedCallError:
    """Return the error of a call: its operator, the user's line, and what is wrong."""
    named = operands if isinstance(operands, Mapping) else dict.fromkeys(range(0))
    types = [f"{name} {x.type}" for name, x in named.items() if isinstance(x, Value)]
    if not isinstance(operands, Mapping):
        types = [str(operand.type) for operand in operands if isinstance(operand, Value)]
    name = str(call.operator)
    headline = what if what.startswith(name) else f"{name}: {what}"
    return RefusedCallError(
        f"node {call.label!r}, {headline}" if call.label else headline,
        details=[f"operands: {', '.join(types)}"] if types else [],
        hint=hint,
        at=call.line,
    )


def cast_result(result: Any, kind: Any, library: str, is_scalar: bool = False) -> Any:
    """Return a result in the element type of the library, and of its shape.

    Args:
        result: a value, or what is known; sequences have a tuple of types.
        kind: its type; None if it is no array.
        library: its name, for the error.
        is_scalar: the operator is one of numbers, and was computed of whole arrays.

    Raises:
        ExportError: it has another shape.
    """
    if type(kind) is tuple:
        pairs = zip(result, kind, strict=False)
        return tuple([cast_result(part, of_part, library) for part, of_part in pairs])
    if kind is None:
        return result
    if isinstance(result, Value):
        result = cast(result, kind.dtype)
    elif isinstance(result, np.ndarray):
        result = result if result.dtype == object else result.astype(kind.dtype)
    else:
        return result
    if not is_scalar and not fits_shape(shape_of(result), kind.shape):
        raise ExportError(f"the shape is {shape_of(result)} where {library} has {kind.shape}")
    return result
