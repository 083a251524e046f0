"""Interleaved accesses of a nest, by runs (``ir/kernels/interleaving.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.compiler.nest.block_functions import element
from staticgrad.compiler.nest.records import Each, Name, Offset, pick
from staticgrad.compiler.nest.values import Values
from staticgrad.language.ir.kernels.interleaving import Run, StageRuns
from staticgrad.language.ir.kernels.stages import Statement, roots


def load_run(values: Values, run: Run) -> None:
    """Load all places of a run, each into a vector."""
    found = [_loaded(values, run, copy) for copy in range(values.copies)]
    for number, alike in enumerate(run.loads):
        each = [names[number] for names in found]
        for e in alike:
            values.names[e] = each[0] if all(n is each[0] for n in each) else Each(each)
            values.moving.add(e)


def _dealt(values: Values, run: Run) -> tuple[int, ...]:
    if run.is_pair:
        return (2,)
    return run.factors if values.nest.machine.has_mask_registers else ()


def _vector(values: Values, run: Run, copy: int, number: int) -> tuple[Any, ...]:
    """The pointer and place of one of the whole vectors of a run, and its mask if it has one."""
    nest, lanes = values.nest, values.lanes
    pointer = pick(nest.pointers[run.access.operand], copy)
    place = values.place(run.access, (), copy)
    at = nest.b.pointer(pointer, Offset(place.terms, place.constant + number * lanes))
    if values.mask is None:
        return at
    count = values.left * run.step - number * lanes
    return (*at, nest.b.op(f"mask{lanes}", count))


def _loaded(values: Values, run: Run, copy: int) -> list[Name]:
    b, lanes, operand = values.nest.b, values.lanes, run.access.operand
    factors = _dealt(values, run)
    if factors:
        word = f"load{lanes}" if values.mask is None else "load"
        rows = [b.load(operand, word, *_vector(values, run, copy, n)) for n in range(run.size)]
        return _deal(values, rows, factors)
    code = element(run.loads[0][0].dtype)
    tile = b.local(code, -(-run.size // lanes) * lanes * lanes)
    pointer, place = values.nest.pointers[operand], values.place(run.access, (), copy)
    rows_left = lanes if values.mask is None else values.left
    for first in range(0, run.size, lanes):
        at = b.pointer(pick(pointer, copy), Offset(place.terms, place.constant + first))
        size = (run.step, rows_left, run.size - first, tile, first * lanes)
        if run.many:
            b.do(_square(values, code), *at, *size)
        else:
            b.do(f"transpose{lanes}", *at, *size, lanes)
    return [
        b.variable("x", f"load{lanes}", tile, Offset((), number * lanes))
        for number in range(run.size)
    ]


def _square(values: Values, code: str) -> str:
    """The function that transposes a square of memory into another one."""
    lanes = values.lanes
    name = f"shared_square{lanes}_{code}"
    values.nest.functions[name] = f"""\
def {name}(p, at, stride, high, wide, q, to):
    transpose{lanes}(p, at, stride, high, wide, q, to, {lanes})"""
    return name


def _deal(values: Values, vectors: Sequence[Name], factors: Sequence[int]) -> list[Name]:
    """Vectors of one element of each row, from all elements one behind the other."""
    if not factors:
        return list(vectors)
    first, *rest = factors
    found: list[Any] = [None] * len(vectors)
    for number in range(first):
        stream = [
            values.nest.b.op(f"every{number}", *vectors[at : at + first])
            for at in range(0, len(vectors), first)
        ]
        found[number::first] = _deal(values, stream, rest)
    return found


def _merge(values: Values, vectors: Sequence[Name], factors: Sequence[int]) -> list[Name]:
    """The inverse: all elements one behind the other, from vectors of one of each row."""
    if not factors:
        return list(vectors)
    first, *rest = factors
    streams = [_merge(values, vectors[number::first], rest) for number in range(first)]
    return [
        values.nest.b.op(f"turn{number}", *together)
        for together in zip(*streams, strict=True)
        for number in range(first)
    ]


def store_run(values: Values, run: Run) -> None:
    """Store all places of a run, each from a vector."""
    b, lanes, operand = values.nest.b, values.lanes, run.access.operand
    vectors = [values.vec(store.value) for store in run.stores]
    factors = _dealt(values, run)
    for copy in range(values.copies):
        own = [pick(vector, copy) for vector in vectors]
        if factors:
            word = f"store{lanes}" if values.mask is None else "store"
            for number, value in enumerate(_merge(values, own, factors)):
                pointer, place, *mask = _vector(values, run, copy, number)
                b.do(word, pointer, place, value, *mask, stores=operand)
            continue
        code = element(run.stores[0].value.dtype)
        tile, back = (b.local(code, n * lanes * lanes) for n in (-(-run.size // lanes), 1))
        for number, value in enumerate(own):
            b.do(f"store{lanes}", tile, Offset((), number * lanes), value)
        pointer, place = (
            pick(values.nest.pointers[operand], copy),
            values.place(run.access, (), copy),
        )
        rows = lanes if values.mask is None else b.least(values.left, lanes)
        for first in range(0, run.size, lanes):
            size = (lanes, min(lanes, run.size - first), lanes, back, 0, lanes)
            b.do(f"transpose{lanes}", tile, Offset((), first * lanes), *size)
            with b.loop(0, rows, stored=frozenset({operand})) as row:
                terms = (*place.terms, (row, run.step))
                at = b.pointer(pointer, Offset(terms, place.constant + first))
                value = b.variable("x", f"load{lanes}", back, Offset(((row, lanes),)))
                mask = b.op(f"mask{lanes}", run.size - first)
                b.do("store", *at, value, mask, stores=operand)


def store_at_last(values: Values, runs: StageRuns, s: Statement) -> bool:
    """Write a store of a run, all of them with the last one; return whether it is one."""
    if id(s) not in runs.waiting:
        return False
    values.emit(roots(s))
    if id(s) in runs.last:
        store_run(values, runs.last[id(s)])
    return True
