"""Interleaved accesses of a nest, by runs (``ir/kernels/interleaving.py``).

A run is a group of elements that are adjacent in memory and go to different vectors, such as the
real and the imaginary part of complex numbers. Whole vectors are loaded, and their lanes are
exchanged::

    memory     r0 i0 r1 i1 r2 i2 r3 i3
    loads      [r0 i0 r1 i1]  [r2 i2 r3 i3]
    values     [r0 r1 r2 r3]  [i0 i1 i2 i3]
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any, Final

from staticgrad.compiler.nest.block_functions import element
from staticgrad.compiler.nest.records import (
    Builder,
    Function,
    Name,
    Offset,
    PerCopy,
    function,
    pick,
)
from staticgrad.compiler.nest.values import Values
from staticgrad.language.ir.kernels.interleaving import Run, StageRuns
from staticgrad.language.ir.kernels.stages import Statement, roots

#: Elements of a run from which on a function that kernels share deals it out: LLVM takes 0.15 ms
#: for a shuffle, of which there are 24 or more.
SHARED_RUN: Final = 8


def load_run(values: Values, run: Run) -> None:
    """Load a run of interleaved elements (like pairs of a complex array), each into a vector."""
    names_by_copy = [_load_vectors(values, run, copy) for copy in range(values.copies)]
    for number, alike in enumerate(run.loads):
        vectors = [names[number] for names in names_by_copy]
        for e in alike:
            values.names[e] = (
                vectors[0] if all(n is vectors[0] for n in vectors) else PerCopy(vectors)
            )
            values.moving.add(e)


def _dealt(values: Values, run: Run) -> tuple[int, ...]:
    if run.is_pair:
        return (2,)
    return run.factors if values.nest.machine.has_mask_registers else ()


def _vector_address(values: Values, run: Run, copy: int, number: int) -> tuple[Any, ...]:
    """Return the pointer, offset and mask of one of the whole vectors of a run."""
    nest, lanes = values.nest, values.lanes
    pointer, place = _start(values, run, copy)
    at = nest.b.pointer(pointer, Offset(place.terms, place.constant + number * lanes))
    if values.mask is None:
        return at
    count = values.left * run.step - number * lanes
    return (*at, nest.b.op(f"mask{lanes}", count))


def _start(values: Values, run: Run, copy: int) -> tuple[Name, Offset]:
    """The pointer and place of the first element of a run."""
    pointer = pick(values.nest.pointers[run.access.operand], copy)
    return pointer, values.place(run.access, (), copy)


def _count(values: Values, run: Run) -> Any:
    """The elements of a run that are there."""
    return values.lanes * run.step if values.mask is None else values.left * run.step


def _load_vectors(values: Values, run: Run, copy: int) -> list[Name]:
    """Deinterleave a run: load whole vectors and shuffle, or transpose it through local memory."""
    b, lanes, operand = values.nest.b, values.lanes, run.access.operand
    factors = _dealt(values, run)
    if factors and run.size < SHARED_RUN:
        word = f"load{lanes}" if values.mask is None else "load"
        rows = [
            b.load(operand, word, *_vector_address(values, run, copy, n)) for n in range(run.size)
        ]
        return _deinterleave(b, rows, factors)
    code = element(run.dtype)
    at = b.pointer(*_start(values, run, copy))
    if factors:
        tile = b.local(code, run.size * lanes)
        name = _deal_function_name(values.nest.functions, "dealt", lanes, code, factors)
        b.do(name, *at, _count(values, run), tile)
    else:
        tile = b.local(code, -(-run.size // lanes) * lanes * lanes)
        rows_left = lanes if values.mask is None else values.left
        for first in range(0, run.size, lanes):
            place = Offset(at[1].terms, at[1].constant + first)
            size = (run.step, rows_left, run.size - first, tile, first * lanes)
            if run.many:
                b.do(_transpose_function(values, code), at[0], place, *size)
            else:
                b.do(f"transpose{lanes}", at[0], place, *size, lanes)
    return [
        b.variable("x", f"load{lanes}", tile, Offset((), number * lanes))
        for number in range(run.size)
    ]


def _transpose_function(values: Values, code: str) -> str:
    """Return the name of the function that transposes a square of memory into another one."""
    lanes = values.lanes
    name = f"shared_square{lanes}_{code}"
    values.nest.functions[name] = f"""\
def {name}(p, at, stride, high, wide, q, to):
    transpose{lanes}(p, at, stride, high, wide, q, to, {lanes})"""
    return name


def _deal_function_name(
    functions: dict[str, Any], word: str, lanes: int, code: str, factors: tuple[int, ...]
) -> str:
    """Return the name of the function that deinterleaves a run into vectors, or interleaves it.

    Its arguments are the memory of the run, the elements that exist, and the local memory of the
    vectors. ``word`` is ``dealt`` or ``merged``.
    """
    name = f"shared_{word}{lanes}_{prod(factors)}_{code}"
    if name not in functions:
        functions[name] = _between_function(name, word, lanes, code, factors)
    return name


@cache
def _between_function(
    name: str, word: str, lanes: int, code: str, factors: tuple[int, ...]
) -> Function:
    """Build the function that moves a run between memory and vectors in local memory."""
    size = prod(factors)

    def write(b: Builder, p: Name, at: Name, count: Name, q: Name) -> None:
        """Write the body: deinterleave a run to vectors, or interleave vectors to a run."""

        def run_at(number: int) -> tuple[Name, Offset]:
            return p, Offset(((at, 1),), number * lanes)

        def room(number: int) -> tuple[Name, Offset]:
            return q, Offset((), number * lanes)

        def mask(number: int) -> Any:
            return b.op(f"mask{lanes}", count - number * lanes)

        if word == "dealt":
            rows = [b.variable("x", f"{code}x{lanes}", 0) for _ in range(size)]
            with b.branch("lt", count, size * lanes, rare=True):
                for number, row in enumerate(rows):
                    b.assign(row, "load", *run_at(number), mask(number))
            with b.otherwise():
                for number, row in enumerate(rows):
                    b.assign(row, f"load{lanes}", *run_at(number))
            for number, value in enumerate(_deinterleave(b, rows, factors)):
                b.do(f"store{lanes}", *room(number), value)
            return
        rows = [b.load("q", f"load{lanes}", *room(number)) for number in range(size)]
        merged = _interleave(b, rows, factors)
        with b.branch("lt", count, size * lanes, rare=True):
            for number, value in enumerate(merged):
                b.do("store", *run_at(number), value, mask(number))
        with b.otherwise():
            for number, value in enumerate(merged):
                b.do(f"store{lanes}", *run_at(number), value)

    return function(name, ("p", "at", "count", "q"), write)


def _deinterleave(b: Builder, vectors: Sequence[Name], factors: Sequence[int]) -> list[Name]:
    """Deinterleave vectors: return one vector per element of a row, by shuffles."""
    if not factors:
        return list(vectors)
    first, *later_factors = factors
    outputs: list[Any] = [None] * len(vectors)
    for number in range(first):
        stream = [
            b.op(f"every{number}", *vectors[at : at + first])
            for at in range(0, len(vectors), first)
        ]
        outputs[number::first] = _deinterleave(b, stream, later_factors)
    return outputs


def _interleave(b: Builder, vectors: Sequence[Name], factors: Sequence[int]) -> list[Name]:
    """Interleave vectors, one per element of a row, to all elements in memory order."""
    if not factors:
        return list(vectors)
    first, *later_factors = factors
    streams = [_interleave(b, vectors[number::first], later_factors) for number in range(first)]
    return [
        b.op(f"turn{number}", *together)
        for together in zip(*streams, strict=True)
        for number in range(first)
    ]


def store_run(values: Values, run: Run) -> None:
    """Store a run of interleaved elements, each from a vector."""
    b, lanes, operand = values.nest.b, values.lanes, run.access.operand
    vectors = [values.vec(store.value) for store in run.stores]
    factors = _dealt(values, run)
    for copy in range(values.copies):
        copy_vectors = [pick(vector, copy) for vector in vectors]
        if factors and run.size < SHARED_RUN:
            word = f"store{lanes}" if values.mask is None else "store"
            for number, value in enumerate(_interleave(b, copy_vectors, factors)):
                pointer, place, *mask = _vector_address(values, run, copy, number)
                b.do(word, pointer, place, value, *mask, stores=operand)
            continue
        code = element(run.dtype)
        tile = b.local(code, -(-run.size // lanes) * lanes * lanes)
        for number, value in enumerate(copy_vectors):
            b.do(f"store{lanes}", tile, Offset((), number * lanes), value)
        pointer, place = _start(values, run, copy)
        if factors:
            name = _deal_function_name(values.nest.functions, "merged", lanes, code, factors)
            b.do(name, *b.pointer(pointer, place), _count(values, run), tile, stores=operand)
            continue
        back = b.local(code, lanes * lanes)
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
    """Write all stores of an interleaved run with its last one; return True if ``s`` is one."""
    if id(s) not in runs.waiting:
        return False
    values.emit(roots(s))
    if id(s) in runs.last:
        store_run(values, runs.last[id(s)])
    return True
