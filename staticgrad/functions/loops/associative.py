"""Prefixes of an associative function, in a tree of logarithmic depth or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgrad.errors import ArgumentError, CarryError
from staticgrad.errors.wording import shown
from staticgrad.functions.loops.arguments import check_function
from staticgrad.functions.loops.loops import scan
from staticgrad.functions.operand_kinds import by_all_operands
from staticgrad.functions.tracing import check_structure, named_after
from staticgrad.functions.trees import flatten, unflatten
from staticgrad.ir.functional import functions
from staticgrad.ops.operands import as_value, axis_of
from staticgrad.types.dim import Dim


@by_all_operands
def associative_scan(
    fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """``fn`` combined along an axis: result i is elems[0] ... elems[i], in a tree of log depth.

    The tree depends on the length alone, and so do the bits of the result (G. E. Blelloch 1990:
    pairs are combined, then every second result is one of half the length). Along an axis of a
    named size there is no tree: a loop combines one element after the other.

    Args:
        fn: associative; takes two trees of arrays with any number of elements along ``axis`` and
            combines them element by element.
        elems: a tree of values with equal sizes along ``axis``, a named one at least 1 in a run.
        reverse: combine from the end: result i is elems[n - 1] ... elems[i].
        axis: along which.

    Returns:
        A tree like ``elems``.

    Raises:
        ArgumentError: sizes that differ.
        CarryError: the function gives another shape or other containers.
        SizeGuardError: in a run, a named size of 0.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (5,), "float64")
    >>> sg.evaluate(associative_scan(sg.maximum, x), {"x": [1.0, 3.0, 2.0, 5.0, 4.0]})
    array([1., 3., 3., 5., 5.])
    """
    check_function("associative_scan", "fn", fn, "left", "right")
    leaves, tree = flatten(elems)
    values = [as_value("associative_scan", leaf) for leaf in leaves]
    if not values:
        raise ArgumentError("associative_scan: there are no elements")
    axes = [axis_of("associative_scan", axis, value) for value in values]
    sizes = [value.shape[place] for value, place in zip(values, axes, strict=True)]
    if len(set(sizes)) != 1:
        raise ArgumentError(f"associative_scan: the sizes {', '.join(map(str, sizes))} differ")
    if reverse:
        values = [functions.flip(v, place) for v, place in zip(values, axes, strict=True)]

    def combine(left: list[Any], right: list[Any]) -> list[Any]:
        found, shape = flatten(fn(unflatten(tree, left), unflatten(tree, right)))
        check_structure("associative_scan", shape, tree)
        for value, like in zip(found, right, strict=True):
            if getattr(value, "shape", ()) != like.shape:
                raise CarryError(
                    f"associative_scan: the function gives {shown(value)} of two {shown(like)}",
                    hint="it combines element by element along the axis: shapes stay",
                )
        return found

    size = sizes[0]
    if isinstance(size, Dim):
        found = _one_by_one(named_after(fn, combine), values, axes)
    else:
        found = _prefixes(combine, values, axes, size)
    if reverse:
        found = [functions.flip(v, place) for v, place in zip(found, axes, strict=True)]
    return unflatten(tree, found)


def _one_by_one(
    combine: Callable[[list[Any], list[Any]], list[Any]], values: list[Any], axes: Sequence[int]
) -> list[Any]:
    """The combinations of all beginnings, each of the one before it and of one element."""

    def at(rows: list[Any]) -> list[Any]:
        return [functions.expand_dims(row, place) for row, place in zip(rows, axes, strict=True)]

    def further(so_far: list[Any], each: list[Any]) -> tuple[list[Any], list[Any]]:
        found = combine(at(so_far), at(each))
        rows = [functions.squeeze(v, place) for v, place in zip(found, axes, strict=True)]
        return rows, rows

    rows = [functions.moveaxis(v, place, 0) for v, place in zip(values, axes, strict=True)]
    first = [row[0] for row in rows]
    _, rest = scan(named_after(combine, further), first, [row[1:] for row in rows])
    both = (functions.concatenate([a[None], b]) for a, b in zip(first, rest, strict=True))
    return [  # the reshape notes that there is an element
        functions.moveaxis(functions.reshape(found, row.shape), 0, place)
        for found, row, place in zip(both, rows, axes, strict=True)
    ]


def _prefixes(
    combine: Callable[[list[Any], list[Any]], list[Any]],
    values: list[Any],
    axes: Sequence[int],
    size: int,
) -> list[Any]:
    """The combinations of all beginnings."""
    if size < 2:
        return values

    def every(parts: list[Any], start: int, stop: int | None, step: int) -> list[Any]:
        return [
            part[(slice(None),) * place + (slice(start, stop, step),)]
            for part, place in zip(parts, axes, strict=True)
        ]

    pairs = combine(every(values, 0, size - 1, 2), every(values, 1, None, 2))
    odd = _prefixes(combine, pairs, axes, size // 2)
    even = every(values, 0, 1, 1)
    if size > 2:
        rest = combine(every(odd, 0, (size - 1) // 2, 1), every(values, 2, None, 2))
        even = [
            functions.concatenate([first, more], place)
            for first, more, place in zip(even, rest, axes, strict=True)
        ]
    return [_woven(*each) for each in zip(even, odd, axes, strict=True)]


def _woven(even: Any, odd: Any, axis: int) -> Any:
    """The elements of two values in turn; the first may have one more."""
    count = odd.shape[axis]
    whole = (slice(None),) * axis
    both = functions.stack([even[(*whole, slice(0, count))], odd], axis + 1)
    shape = (*odd.shape[:axis], 2 * count, *odd.shape[axis + 1 :])
    found = functions.reshape(both, shape)
    if even.shape[axis] == count:
        return found
    return functions.concatenate([found, even[(*whole, slice(count, None))]], axis)
