"""Source of products: lines at an indentation, places, loops, what a kernel shares.

The target language is the kernel vocabulary of ``staticgrad.native``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Final

from staticgrad.ir.execution import Known, known_of
from staticgrad.ir.expr import Access, Position
from staticgrad.ir.kernels.stages import Axis
from staticgrad.native.machine import Machine
from staticgrad.records import NamedTuple, dataclass

#: The axis along vectors.
VECTOR: Final = "j"
#: Bytes that come together from memory.
LINE: Final = 64
#: Lines of a set of the nearest cache that are few: those of a tile's rows, and what passes beside.
FEW_WAYS: Final = 8


class Lines:
    """Source lines under construction, at one indentation."""

    def __init__(self, indent: int = 0) -> None:
        self.indent = indent
        self.lines: list[str] = []

    def add(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def extend(self, other: Lines, deeper: int = 0) -> None:
        """Append another block, shifted by ``deeper`` levels."""
        shift = "    " * (self.indent + deeper)
        self.lines += [shift + line for line in other.lines]


class Fragment(NamedTuple):
    """Source of vectors: lines before the loops around them, lines inside, and their names."""

    before: list[str]
    body: list[str]
    names: list[str]


_NO_LINES: Final = Fragment([], [], [])


@dataclass
class Unit:
    """State shared by all stages of one kernel's source: helper functions and the name counter.

    ``helpers`` are the functions that the kernel calls, in order of need; ``once`` are lines before
    the loop over iterations. ``machine`` is what the code is written for; no result depends on it.
    ``known`` is what holds of integer arguments. ``write_vectors`` is the nest's writer of stores
    and expressions. No two values of a kernel have one name, for a name has one type in the
    language of the backends.
    """

    helpers: dict[str, str] = field(default_factory=dict)
    named: int = 0
    machine: Machine = Machine()
    once: Lines = field(default_factory=lambda: Lines(1))
    known: Mapping[str, Known] = field(default_factory=dict)
    write_vectors: Callable[..., Fragment] = field(repr=False, default=lambda *_: _NO_LINES)

    @property
    def vector_bits(self) -> int:
        """The width of a register."""
        return self.machine.vector_bits

    def told(self, extent: str | int) -> Known:
        """Return the known facts about a number given as source (an argument or a literal)."""
        text = str(extent)
        if text.isdecimal():
            return known_of(text, [int(text)])
        return self.known.get(text, Known(text))

    def fresh(self, prefix: str) -> str:
        """A name that no other value of the kernel has."""
        self.named += 1
        return f"{prefix}{self.named - 1}"


def work(body: Lines, unit: Unit) -> int:
    """The lines of a body, with those of the helpers that it calls."""
    called = sum(
        source.count("\n")
        for name, source in unit.helpers.items()
        for line in body.lines
        if f"{name}(" in line
    )
    return len(body.lines) + called


def has_small_sets(unit: Unit) -> bool:
    """Whether a set of the nearest cache has no lines but those that loops read at a time."""
    return unit.machine.ways <= FEW_WAYS


def scaled(position: str, stride: str | int) -> str:
    """position * stride, as source."""
    return "0" if stride == 0 else position if stride == 1 else f"{position} * {stride}"


def total(*terms: str) -> str:
    """The sum of int64 terms, as source."""
    return " + ".join(term for term in terms if term != "0") or "0"


def position_source(position: Position, skip: frozenset[str] = frozenset()) -> str:
    """A position as source, without what the loops of ``skip`` add."""
    steps = (scaled(axis, step) for axis, step in position.terms if axis not in skip)
    return total(*steps, str(position.start))


def base_text(access: Access, skip: frozenset[str] = frozenset({VECTOR})) -> str:
    """The element offset of an access from the loops around the vector axis."""
    strides = (scaled(axis, s) for axis, s in access.strides if axis not in skip)
    return total(*strides, *(_moved(position, skip) for position in access.positions))


def _moved(position: Position, skip: frozenset[str]) -> str:
    """The elements that a position moves an access by."""
    place = position_source(position, skip)
    alone = place.isidentifier() or place.isdecimal() or position.stride in (0, 1)
    return "0" if place == "0" else scaled(place if alone else f"({place})", position.stride)


def of_row(name: str, row: int) -> str:
    """A name for the row of a number."""
    return f"{name}_{row}" if row else name


def write_decode(out: Lines, flat: str, axes: Sequence[Axis]) -> None:
    """The positions along ``axes`` from their flat C-order number."""
    rest = flat
    for axis in reversed(axes[1:]):
        out.add(f"{axis.name} = {rest} % {axis.extent}")
        out.add(f"rest_{axis.name} = {rest} // {axis.extent}")
        rest = f"rest_{axis.name}"
    if axes:
        out.add(f"{axes[0].name} = {rest}")


def write_iterations(
    out: Lines, name: str, span: tuple[str, str, int | str], body: Lines, once: bool
) -> None:
    """``body`` for ``name`` from the first of ``span`` up to the second, by the third, or once."""
    start, stop, step = span
    if once:
        out.add(f"{name} = {start}")
    else:
        out.add(f"for {name} in range({start}, {stop}, {step}):")
    out.extend(body, int(not once))


def write_vector_loop(
    out: Lines, start: str, stop: str, lanes: int, body: Lines, whole: bool = False
) -> None:
    """All vectors from ``start`` to ``stop``, under a mask ``m``.

    ``whole``: those that fill their lanes run apart, so that the mask is a constant there.
    """
    if not whole or (start == "0" and stop.isdecimal() and int(stop) < lanes):
        out.add(f"for {VECTOR} in range({start}, {stop}, {lanes}):")
    else:
        out.add(f"m = mask{lanes}({lanes})")
        out.add(f"{VECTOR} = {start}")
        out.add(f"while {VECTOR} + {lanes} <= {stop}:")
        out.extend(body, 1)
        out.add(f"    {VECTOR} = {VECTOR} + {lanes}")
        if start == "0" and stop.isdecimal() and int(stop) % lanes == 0:
            return
        out.add(f"if {VECTOR} < {stop}:")
    out.add(f"    m = mask{lanes}({stop} - {VECTOR})")
    out.extend(body, 1)
