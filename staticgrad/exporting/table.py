"""The arrays that a library for C reads and writes, as rows that its header and wrappers print."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

from staticgrad.language.ir.graph import Graph
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType
from staticgrad.support.identifiers import C, identifiers
from staticgrad.support.records import dataclass

Kind = Literal["input", "parameter", "state", "output"]
#: Kinds in the order of a library's table, each with the struct that has its pointers.
STRUCTS: Final[Mapping[Kind, str]] = {
    "input": "inputs", "parameter": "params", "state": "params", "output": "outputs",
}  # fmt: skip
_C_TYPES: Final = {"float32": "float", "float64": "double", "bool": "uint8_t"}
#: Element types without a name in C, declared as integers with the same bits.
_AS_BITS: Final = frozenset({"float16", "bfloat16"})


@dataclass(frozen=True)
class ArrayRow:
    """One array: its name in the program, and ``field``, its name in C, in the struct of its kind.

    ``shape`` is that of the elements, of complex numbers with a last axis of 2. ``updated``: a run
    writes it.
    """

    name: str
    field: str
    kind: Kind
    dtype: DType
    shape: tuple[Size, ...]
    updated: bool

    @property
    def c_type(self) -> str:
        """The type of an element in C; narrow floats are integers of their bits."""
        name = str(self.dtype)
        return _C_TYPES.get(name) or ("uint16_t" if name in _AS_BITS else f"{name}_t")

    @property
    def size(self) -> Size:
        """The number of elements."""
        count: Size = 1
        for size in self.shape:
            count = count * size
        return count


def rows_of(
    graph: Graph, stores: Mapping[str, ParameterStore], macros: Collection[str] = ()
) -> tuple[ArrayRow, ...]:
    """Return the arrays of an exported C program: inputs, parameters, outputs, in struct order.

    No field is one of the header's ``macros``.

    A parameter is ``state`` if it belongs to another one, like the moments of an optimizer, or is
    not floating, like a number of steps.
    """
    states = {id(state) for store in stores.values() for state in store.states()}
    written = {parameter.name for parameter, _ in graph.updates}
    inputs = [(v.node.label, v.dtype, v.shape) for v in graph.inputs]
    params = [(p.name, p.type.dtype, p.type.shape) for p in graph.parameters]
    outputs = [(name, value.dtype, value.shape) for name, value in graph.outputs.items()]
    rows: list[ArrayRow] = []
    for kind, arrays in (("input", inputs), ("parameter", params), ("output", outputs)):
        fields = identifiers((name for name, _, _ in arrays), C, macros)
        for name, dtype, shape in arrays:
            is_state = kind == "parameter" and (
                not dtype.is_float or id(stores.get(name)) in states
            )
            row_kind: Kind = "state" if is_state else kind  # type: ignore[assignment]
            updated = kind == "output" or name in written
            rows.append(ArrayRow(name, fields[name], row_kind, dtype, tuple(shape), updated))
    return tuple(rows)


def rows_of_struct(rows: Sequence[ArrayRow], struct: str) -> list[ArrayRow]:
    """Return the rows whose pointers a struct contains, in its order."""
    return [row for row in rows if STRUCTS[row.kind] == struct]
