"""Tables: the operators of another library as functions of staticgrad, a row each.

A row is a function, which the table registers by the operator's name:

    TOY = OperatorTable("Toy", silent=("layout",), refused={"print": "it calls Python in each run"})

    @TOY.row("cumulate")
    def _cumulate(x, *, axis):
        return sg.cumsum(x, axis)

**Operands** are positional, or have names where the library calls operators by names; a row takes
each of these. **Attributes** are keyword arguments by the library's names, as plain data. An
attribute that a row does not take must say nothing (None, False, 0, ()) or be in ``silent``, or
the row refuses the call. Three arguments are not the library's: ``out``, the type of the result
(``ForeignType``; of several results a tuple), ``op``, the record of the operator, and the
operator's name, as ``name_argument`` says.

**Results** are values, or what is known while the program is built; several are a tuple. They are
cast to the element types of ``out``, and shapes are compared. ``raise unsupported_variant(what)``
refuses a variant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from inspect import Parameter as Argument, signature
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from staticgrad.bridges.operands import as_operand, cast, common_dtype
from staticgrad.errors import ExportError
from staticgrad.extend import Value

F = TypeVar("F", bound=Callable[..., Any])

#: Attributes with one of these values say nothing.
EMPTY: Final = (None, False, ())


class ForeignOperator(NamedTuple):
    """An operator of another library, as plain data.

    Attributes:
        name: the library's.
        attributes: by the library's names; operators and programs may be among them.
        bases: further names by which it has a row, nearest first: those of its base classes, or
            that without its overload.
        is_scalar: it is a function of numbers, and is computed of whole arrays.
    """

    name: str
    attributes: Mapping[str, Any] = MappingProxyType({})
    bases: tuple[str, ...] = ()
    is_scalar: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes as a dict: a read-only view of one is not pickled."""
        return type(self), (self.name, dict(self.attributes), self.bases, self.is_scalar)

    def __str__(self) -> str:
        """Return the name, and that of the operator which it applies."""
        inner = [part for part in self.attributes.values() if isinstance(part, ForeignOperator)]
        return f"{self.name} of {inner[0].name}" if len(inner) == 1 else self.name


class OperatorRow(NamedTuple):
    """An operator's function.

    Attributes:
        function: its signature is the row.
        operands: the element type that operands are cast to: ``result``'s, the ``common`` one, or
            their own, "".
        is_batched: it takes further axes in front.
    """

    function: Callable[..., Any]
    operands: str = ""
    is_batched: bool = False

    @property
    def arguments(self) -> Mapping[str, Argument]:
        """The arguments that the function takes, by name."""
        return _arguments_of(self.function)

    @property
    def takes_any(self) -> bool:
        """The function takes attributes of any name."""
        return any(argument.kind is Argument.VAR_KEYWORD for argument in self.arguments.values())

    def positional(self, count: int) -> list[Argument]:
        """Return the arguments of ``count`` operands; a variadic one is repeated."""
        inputs: list[Argument] = []
        for argument in self.arguments.values():
            if argument.kind is Argument.VAR_POSITIONAL:
                inputs += [argument] * (count - len(inputs))
            elif argument.kind not in (Argument.KEYWORD_ONLY, Argument.VAR_KEYWORD):
                inputs.append(argument)
        return inputs


@cache
def _arguments_of(function: Callable[..., Any]) -> Mapping[str, Argument]:
    return signature(function).parameters


class OperatorTable(dict[str, OperatorRow]):
    """The rows of a library by the names of its operators.

    Attributes:
        library: its name, for errors.
        refused: operators that have no row -> why.
    """

    def __init__(
        self,
        library: str,
        rows: Mapping[str, OperatorRow] = MappingProxyType({}),
        *,
        decorator: str = "",
        word: str = "attribute",
        silent: Iterable[str] = (),
        refused: Mapping[str, str] = MappingProxyType({}),
        empty: Sequence[Any] = EMPTY,
        takes_known: Iterable[str] | bool = False,
        static: Iterable[str] = (),
        name_argument: str = "op_name",
        short_name: Callable[[str], str] = str,
        common: Callable[[Sequence[Any]], str] = common_dtype,
        cast_operand: Callable[[Any, str], Any] = cast,
    ) -> None:
        """Make a table.

        Args:
            library: its name, for errors.
            rows: by name.
            decorator: what makes a function a row, for a hint: ``package.module.operator``.
            word: the library's word for an attribute.
            silent: attributes that say how or where something is computed, never what.
            refused: operators that have no row -> why.
            empty: attributes with one of these values say nothing.
            takes_known: names of arguments that may be known while a program is built, True of all;
                other operands are values.
            static: names of arguments that must be known.
            name_argument: the argument by which rows take the operator's name.
            short_name: returns the name that rows take, for that in a program.
            common: returns the element type of operands together.
            cast_operand: returns an operand in an element type.
        """
        super().__init__(rows)
        self.library, self.refused, self._decorator, self._word = library, refused, decorator, word
        self._silent, self._empty = frozenset(silent), empty
        self._static = frozenset(static)
        self._takes_known = takes_known is True
        names = () if isinstance(takes_known, bool) else takes_known
        self._names_of_known = frozenset(names) | self._static
        self._name_argument, self._short_name = name_argument, short_name
        self._common, self._cast = common, cast_operand

    def row(self, *names: str, operands: str = "", batched: bool = False) -> Callable[[F], F]:
        """Register a function as the row of operators of these names.

        Args:
            names: of operators.
            operands: the element type that operands are cast to, as ``OperatorRow`` has it.
            batched: the function takes further axes in front.
        """

        def register_row(function: F) -> F:
            self.update(dict.fromkeys(names, OperatorRow(function, operands, batched)))
            return function

        return register_row

    def find(self, op: ForeignOperator) -> OperatorRow | None:
        """Return the row of an operator, or of the nearest further name that has one."""
        for name in (op.name, *op.bases):
            if name in self:
                return self[name]
        return None

    def find_reason(self, op: ForeignOperator) -> str:
        """Return why an operator has no row; empty if nothing says it.

        A reason may be that of a whole package: ``sparse`` has that of ``sparse.Dot``.
        """
        names = (op.name, *op.bases, op.name.partition(".")[0])
        return next((self.refused[name] for name in names if name in self.refused), "")

    @property
    def hint(self) -> str:
        """The line that adds a row, for errors."""
        return f"{self._decorator}(name) makes a function its row" if self._decorator else ""

    def apply(
        self,
        op: ForeignOperator,
        operands: Sequence[Any] | Mapping[str, Any],
        out: tuple[Any, ...],
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> tuple[Any, ...]:
        """Compute the results of an operator by its row.

        Args:
            op: the operator.
            operands: values, and what is known; by name where the library has names for them.
            out: the types of the results.
            facts: further arguments, for rows that take them.

        Raises:
            ExportError: the operator has no row, or the row refuses it.
        """
        row = self.find(op)
        if row is None:
            reason = self.find_reason(op)
            raise ExportError(
                f"{op.name} has no row" + (f": {reason}" if reason else ""), hint=self.hint
            )
        takes, takes_any = row.arguments, row.takes_any
        named = {}
        for name, attribute in op.attributes.items():
            if name in takes or takes_any:
                named[name] = attribute
            elif name not in self._silent and not self._is_empty(attribute):
                raise unsupported_variant(f"the {self._word} {name}={attribute!r}")
        if isinstance(operands, Mapping):
            for name, operand in operands.items():
                if name not in takes and not takes_any:
                    raise unsupported_variant(f"the {self._word} {name}={operand!r}")
            operands = dict(
                zip(operands, self._convert(row, [*operands.values()], out), strict=True)
            )
            named |= operands
            operands = ()
        facts = {
            "out": out[0] if len(out) == 1 else out, "op": op,
            self._name_argument: self._short_name(op.name), **facts,
        }  # fmt: skip
        named |= {name: fact for name, fact in facts.items() if name in takes}
        results = row.function(*self._convert(row, operands, out), **named)
        if len(out) == 1 and type(out[0]) is tuple:
            return (results,)  # a sequence
        return results if isinstance(results, tuple) else (results,)

    def _convert(
        self, row: OperatorRow, operands: Sequence[Any], out: tuple[Any, ...]
    ) -> Sequence[Any]:
        """Return operands as a row takes them: as values, in an element type.

        Raises:
            ExportError: one is computed in the run, and must be known; or there are too many.
        """
        if not self._takes_known and not self._names_of_known:
            operands = [*map(as_operand, operands)]
        elif not self._takes_known:
            inputs = row.positional(len(operands))
            if len(inputs) < len(operands):
                raise ExportError(f"{len(operands)} operands, and the row takes {len(inputs)}")
            operands = [*map(self._prepare, inputs, operands)]
        if row.operands:
            dtype = out[0].dtype if row.operands == "result" else self._common(operands)
            operands = [self._cast(operand, dtype) for operand in operands]
        return operands

    def _prepare(self, argument: Argument, operand: Any) -> Any:
        if argument.name in self._static and isinstance(operand, Value):
            raise ExportError(
                f"the input {argument.name!r} must be known while the graph is built",
                hint="an array of NumPy in the call of the model, or of the file, is known",
            )
        return operand if argument.name in self._names_of_known else as_operand(operand)

    def _is_empty(self, attribute: Any) -> bool:
        """Return whether an attribute says nothing; arrays always say something."""
        is_plain = attribute is None or isinstance(attribute, bool | int | float | tuple)
        return is_plain and attribute in self._empty


def unsupported_variant(what: str) -> ExportError:
    """Return the error of a row that refuses a variant of its operator."""
    return ExportError(f"{what} is not supported")
