"""Accesses that lie between each other to source: rows of a few elements, with a row in each lane.

Loads of every second element from two places are two loads of whole vectors, of which the even and
the odd lanes are taken; of every s-th element from several places, a square of memory transposed in
registers. Stores are the same the other way round. Gathered lane by lane, each would touch as many
lines of memory as there are lanes. Where rows follow each other without a gap, and all lanes are
on, whole vectors are read, and their lanes dealt out: in turn to two, three, five or seven vectors,
and those of each again, until a vector has one element of every row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial

from staticgrad.codegen.expressions import Lines, Scope, element, total
from staticgrad.ir.expr import Expr
from staticgrad.ir.kernels.interleaving import Run, runs_of
from staticgrad.ir.kernels.stages import Map
from staticgrad.records import dataclass


@dataclass(frozen=True)
class Interleaved:
    """The runs of a stage.

    ``loads`` write lines for all loads of a run when the first is needed, by each of them;
    ``waiting`` are the stores of runs, by identity, ``last`` those with which a run is complete.
    """

    loads: Mapping[Expr, Callable[[Scope], None]] = field(default_factory=dict)
    waiting: frozenset[int] = frozenset()
    last: Mapping[int, Callable[[Scope], None]] = field(default_factory=dict)


def interleaved(stage: Map) -> Interleaved:
    """The runs of a stage's loads and stores."""
    found = runs_of(stage)
    return Interleaved(
        {e: partial(_write_loads, run) for e, run in found.loads.items()},
        found.waiting,
        {store: partial(_write_stores, run) for store, run in found.last.items()},
    )


def _is_dealt(run: Run, scope: Scope) -> bool:
    """Return whether whole vectors are read or written; this needs mask registers."""
    return bool(run.factors and scope.unit.has_masks)


def _on(run: Run, lanes: int, number: int) -> str:
    """The mask of one of the vectors that have all elements of some rows."""
    return f"mask{lanes}({run.step} * left{f' - {number * lanes}' if number else ''})"


def _write_loads(run: Run, scope: Scope) -> None:
    """Lines that load all places of a run, each into a vector."""
    lines, access, lanes = scope.body, scope.access(run.access), scope.lanes
    place = scope.place(access, (), vector=True)
    names = [scope.unit.fresh("v") for _ in run.loads]
    lines.counted = True
    if _is_dealt(run, scope):
        rows = [scope.unit.fresh("v") for _ in names]
        for number, name in enumerate(rows):
            there = total(place, str(number * lanes))
            lines.add(f"{name} = load({access.operand}, {there}, {_on(run, lanes, number)})")
        names = _dealt(scope, rows, run.factors)
    elif run.is_pair:
        halves = [scope.unit.fresh("v") for _ in names]
        for number, name in enumerate(halves):
            there = total(place, str(number * lanes))
            lines.add(f"{name} = load({access.operand}, {there}, {_on(run, lanes, number)})")
        for word, name in zip(("even", "odd"), names, strict=True):
            lines.add(f"{name} = {word}({', '.join(halves)})")
    else:
        _write_squares(run, run.loads[0][0], names, scope)
    for name, alike in zip(names, run.loads, strict=True):
        scope.names |= dict.fromkeys(alike, name)


def _write_squares(run: Run, model: Expr, names: list[str], scope: Scope) -> None:
    """Lines that load the places of a run by squares of memory, which are transposed."""
    lines, access, lanes = scope.body, scope.access(run.access), scope.lanes
    place = scope.place(access, (), vector=True)
    tile = _tile(scope, model, -(-len(names) // lanes))
    for first in range(0, len(names), lanes):
        size = f"{run.step}, left, {len(names) - first}"
        there, to = total(place, str(first)), f"{tile}, {first * lanes}"
        if run.many:
            name = _square(scope, model)
            lines.add(f"{name}({access.operand}, {there}, {size}, {to})")
        else:
            lines.add(f"transpose{lanes}({access.operand}, {there}, {size}, {to}, {lanes})")
    for number, name in enumerate(names):
        lines.add(f"{name} = load{lanes}({tile}, {number * lanes})")


def _write_stores(run: Run, scope: Scope) -> None:
    """Lines that store all places of a run, each from a vector."""
    lines, access, lanes = scope.body, scope.access(run.access), scope.lanes
    place = scope.place(access, (), vector=True)
    values = [scope.vector(store.value) for store in run.stores]
    lines.counted = True
    if _is_dealt(run, scope):
        for number, value in enumerate(_in_turn(scope, values, run.factors)):
            there, on = total(place, str(number * lanes)), _on(run, lanes, number)
            lines.add(f"store({access.operand}, {there}, {value}, {on})")
        return
    if run.is_pair:
        for number, word in enumerate(("zip_low", "zip_high")):
            there, value = total(place, str(number * lanes)), f"{word}({', '.join(values)})"
            lines.add(f"store({access.operand}, {there}, {value}, {_on(run, lanes, number)})")
        return
    tile, back = (_tile(scope, run.stores[0].value, n) for n in (-(-len(values) // lanes), 1))
    for number, value in enumerate(values):
        lines.add(f"store{lanes}({tile}, {number * lanes}, {value})")
    row = f"{tile}_r"
    for first in range(0, len(values), lanes):
        size = f"{lanes}, {min(lanes, len(values) - first)}, {lanes}"
        lines.add(f"transpose{lanes}({tile}, {first * lanes}, {size}, {back}, 0, {lanes})")
        lines.add(f"for {row} in range(0, {lanes} if left > {lanes} else left):")
        there, value = total(place, str(first), f"{row} * {run.step}"), f"{row} * {lanes}"
        mask = f"mask{lanes}({len(values) - first})"
        lines.add(f"    store({access.operand}, {there}, load{lanes}({back}, {value}), {mask})")


def _dealt(scope: Scope, vectors: Sequence[str], factors: Sequence[int]) -> list[str]:
    """Vectors of one element of each row, from all elements one behind the other."""
    if not factors:
        return list(vectors)
    first, *rest = factors
    found = [""] * len(vectors)
    for number in range(first):
        stream = []
        for at in range(0, len(vectors), first):
            stream.append(scope.unit.fresh("v"))
            taken = ", ".join(vectors[at : at + first])
            scope.body.add(f"{stream[-1]} = every{number}({taken})")
        found[number::first] = _dealt(scope, stream, rest)
    return found


def _in_turn(scope: Scope, vectors: Sequence[str], factors: Sequence[int]) -> list[str]:
    """The inverse: all elements one behind the other, from vectors of one of each row."""
    if not factors:
        return list(vectors)
    first, *rest = factors
    streams = [_in_turn(scope, vectors[number::first], rest) for number in range(first)]
    found = []
    for together in zip(*streams, strict=True):
        for number in range(first):
            found.append(scope.unit.fresh("v"))
            scope.body.add(f"{found[-1]} = turn{number}({', '.join(together)})")
    return found


def _square(scope: Scope, model: Expr) -> str:
    """The name of the function that transposes a square of memory into another one."""
    lanes = scope.lanes
    name = f"shared_square{lanes}_{element(model.dtype)}"
    scope.unit.helpers[name] = f"""\
def {name}(p, at, stride, high, wide, q, to):
    transpose{lanes}(p, at, stride, high, wide, q, to, {lanes})"""
    return name


def _tile(scope: Scope, model: Expr, squares: int) -> str:
    """Local memory for squares of elements."""
    name = scope.unit.fresh("f")
    size = squares * scope.lanes * scope.lanes
    scope.before.add(f"{name} = local_{element(model.dtype)}({size})")
    return name


def write_left(out: Lines, body: Lines, count: str, deeper: int) -> None:
    """Write the number of active lanes, for bodies that read it."""
    if body.counted:
        out.add(f"{'    ' * deeper}left = {count}")
