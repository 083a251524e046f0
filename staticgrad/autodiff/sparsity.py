"""Sparsity patterns of Jacobians from the forms of nodes, and colourings of their columns.

The pattern contains every element of the Jacobian that may be nonzero for some input. It is found
by a walk over a graph that is linear in the input, such as a tangent's; rules of users, conditions
and conventions at kinks are in that graph already. A pattern is a sparse matrix of ones, with a row
for each element of the value and a column for each element of the input.

Loops are walked iteration by iteration. For anything unknown (routines, sorts, scattering windows,
loops with an unknown number of iterations) every element of the result counts as depending on every
element of the operands. So the pattern may have more elements than the derivative.

A colouring says which columns one product with the matrix computes together. Columns without a
common row may share a product: each row of the product shows one of them (Curtis, Powell and Reid,
1974). An element of a symmetric matrix may be read in its row or in its column, which takes fewer
products: a star colouring (Coleman and More, 1984). Both are greedy, as in Gebremedhin, Manne and
Pothen, "What color is your Jacobian?" (SIAM Review, 2005), algorithms 3.1 and 4.1, larger degrees
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, Final

import numpy as np

from staticgrad.language.ir.forms import (
    Assemble,
    BodyForm,
    Contract,
    Gather,
    GatherAlong,
    Identity,
    Pointwise,
    Reduce,
    ReshapeForm,
    Scan,
    Scatter,
    ScatterAlong,
    ScatterOnto,
    View,
    WindowProduct,
    WindowReduce,
)
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic, bodies_of
from staticgrad.language.ir.op import Array

#: A sparse matrix of SciPy's, which has no types.
Pattern = Any
#: Share of a constant matrix above which its zeros are not looked at.
_MOSTLY_FULL: Final = 0.5
#: Paths over three vertices of a pattern, up to which it gets a star colouring: about 10 s.
_MOST_PATHS: Final = 5e7
#: Nodes of a loop's body times its iterations, up to which it is walked iteration by iteration.
_MOST_STEPS: Final = 20_000


def dependence(graph: Graph, of: Symbolic, by: Symbolic) -> Pattern:
    """Return the Jacobian's sparsity pattern of one value by an input, for a graph of literal
    sizes.
    """
    count = _count(by.shape)
    pattern_by_key: dict[Any, Pattern] = {
        by.key: _sparse().eye_array(count, dtype=np.int8, format="csr")
    }
    _propagate_patterns(graph, pattern_by_key)
    if of.key not in pattern_by_key:
        return _sparse().csr_array((_count(of.shape), count), dtype=np.int8)
    return pattern_by_key[of.key]


def _propagate_patterns(graph: Graph, pattern_by_key: dict[Any, Pattern]) -> None:
    """Propagate the sparsity patterns of Jacobians through the nodes of a graph."""
    for node in graph.nodes:
        patterns = [pattern_by_key.get(arg.key) for arg in node.args]
        if any(pattern is not None for pattern in patterns):
            result_patterns = _through(node, patterns)
            if result_patterns is None:
                # One row: the columns on which anything depends.
                every = [p.astype(np.int32) for p in patterns if p is not None]
                columns = np.asarray(sum(np.asarray(p.sum(axis=0)).ravel() for p in every))
                rows = _sparse().csr_array((columns[None] > 0).astype(np.int8))
                result_patterns = [
                    _rows(rows, np.zeros(_count(t.shape), np.intp)) for t in node.types
                ]
            pattern_by_key.update(
                zip((value.key for value in node.values), result_patterns, strict=True)
            )


def _sparse() -> Any:
    """Import ``scipy.sparse`` late: it is slow to load."""
    from scipy import sparse

    return sparse


# -- matrices of ones -----------------------------------------------------------------------------


def _ones(matrix: Pattern) -> Pattern:
    matrix = matrix.tocsr()
    matrix.sum_duplicates()
    matrix.data = np.ones_like(matrix.data, np.int8)
    return matrix


def _plus(a: Pattern, b: Pattern) -> Pattern:
    return _ones(a + b)


def _rows(pattern: Pattern, places: Any) -> Pattern:
    """The rows at these places, one after the other."""
    return pattern[np.ravel(places)]


def _link_elements(pattern: Pattern, out: Any, operand: Any, count: int) -> Pattern:
    """The pattern of ``count`` elements, of which those at ``out`` read those at ``operand``."""
    out, operand = np.ravel(out), np.ravel(operand)
    shape = (count, pattern.shape[0])
    links = _sparse().csr_array((np.ones(len(out), np.int32), (out, operand)), shape=shape)
    return _ones(links @ pattern.astype(np.int32))


def _count(shape: Any) -> int:
    """Return the number of elements, of literal sizes."""
    return int(np.prod(shape, dtype=np.int64))


def _element_numbers(shape: Any) -> Any:
    return np.arange(_count(shape)).reshape(tuple(shape))


# -- forms ----------------------------------------------------------------------------------------


def _through(node: Node, patterns: Sequence[Pattern | None]) -> list[Pattern] | None:
    """Return the sparsity patterns of a node's results, given its operands'; None: unknown."""
    form: Any = node.form
    if isinstance(form, BodyForm):
        return _through_iterations(node, form, patterns)
    if len(node.types) != 1:
        return None
    out: Any = node.types[0].shape
    places = [k for k, pattern in enumerate(patterns) if pattern is not None]
    shapes: list[Any] = [arg.shape for arg in node.args]
    if isinstance(form, Pointwise):
        read = [
            _rows(patterns[k], np.broadcast_to(_element_numbers(shapes[k]), out)) for k in places
        ]
        return [reduce(_plus, read)]
    if isinstance(form, Assemble):
        numbers = _element_numbers(out)
        parts = []
        for k in places:
            region = form.regions[k]
            axes = [
                start + step * np.arange(size)
                for start, step, size in zip(region.starts, region.steps, shapes[k], strict=True)
            ]
            landed = numbers[np.ix_(*axes)]
            parts.append(
                _link_elements(patterns[k], landed, _element_numbers(shapes[k]), _count(out))
            )
        return [reduce(_plus, parts)]
    if isinstance(form, Identity):
        return [patterns[0]] if places == [0] else None
    if len(places) != 1:
        return None
    result_pattern = _through_operand(node, form, places[0], patterns[places[0]])
    return None if result_pattern is None else [result_pattern]


def _through_iterations(
    node: Node, form: BodyForm, patterns: Sequence[Pattern | None]
) -> list[Pattern] | None:
    """Propagate sparsity patterns through a loop, iteration by iteration; None if there are too
    many.
    """
    bodies, iterations = bodies_of(node), form.iterations
    if form.kind != "loop" or form.logged or not isinstance(iterations, int):
        return None
    if iterations * len(bodies[0].nodes) > _MOST_STEPS:
        return None
    columns = next(p.shape[1] for p in patterns if p is not None)
    inputs, outputs = bodies[0].inputs[1:], [*bodies[0].outputs.values()]
    now, stacks = (
        [*patterns],
        [[_nothing(v, columns)] * iterations for v in outputs[form.carries :]],
    )
    for iteration in reversed(range(iterations)) if form.reverse else range(iterations):
        for place in range(form.carries, form.carries + form.slices):
            stacked, size = patterns[place], _count(inputs[place].shape)
            if stacked is not None:
                now[place] = stacked[iteration * size : (iteration + 1) * size]
        pattern_by_key = {
            x.key: p for x, p in zip(inputs, now, strict=True) if p is not None and p.nnz
        }
        _propagate_patterns(bodies[0], pattern_by_key)
        now[: form.carries] = [pattern_by_key.get(value.key) for value in outputs[: form.carries]]
        for stack, value in zip(stacks, outputs[form.carries :], strict=True):
            stack[iteration] = pattern_by_key.get(value.key, stack[iteration])
    carried = zip(now[: form.carries], node.values, strict=False)
    last = [_nothing(value, columns) if p is None else p for p, value in carried]
    together = [_sparse().vstack(s, format="csr") if s else None for s in stacks]
    empty = [_nothing(value, columns) for value in node.values[form.carries :]]
    return [*last, *(e if p is None else p for p, e in zip(together, empty, strict=True))]


def _nothing(value: Symbolic, columns: int) -> Pattern:
    return _sparse().csr_array((_count(value.shape), columns), dtype=np.int8)


def _through_operand(node: Node, form: Any, place: int, pattern: Pattern) -> Pattern | None:
    """Return the sparsity pattern that one operand of a node gives its result, by the op's form."""
    out: Any = node.types[0].shape
    shape: Any = node.args[place].shape
    numbers, count = _element_numbers(shape), _count(out)
    if isinstance(form, ReshapeForm):
        return pattern
    if isinstance(form, View):
        along = np.ogrid[tuple(slice(size) for size in out)]
        axes = [
            axis.start + (axis.step * along[axis.source] if axis.source is not None else 0)
            for axis in form.axes
        ]
        return _rows(pattern, np.broadcast_to(numbers[tuple(axes)], out))
    if isinstance(form, Reduce):
        reduced_shape = tuple(1 if k in form.axes else size for k, size in enumerate(shape))
        return _link_elements(
            pattern, np.broadcast_to(_element_numbers(reduced_shape), shape), numbers, count
        )
    if isinstance(form, Scan):
        is_in_prefix = np.tril(np.ones((shape[form.axis],) * 2, bool))
        at, of = np.nonzero(is_in_prefix)
        front = np.moveaxis(numbers, form.axis, 0)
        return _link_elements(pattern, front[at], front[of], count)
    if isinstance(form, Contract):
        return _through_product(node, form, place, pattern)
    if isinstance(form, Gather | GatherAlong | Scatter | ScatterAlong) and place == 0:
        return _through_indices(node, form, pattern)
    if isinstance(form, ScatterOnto):
        return _through_entries(node, form, place, pattern)
    if isinstance(form, WindowProduct | WindowReduce):
        return _through_windows(node, form, place, pattern)
    return None


def _through_indices(node: Node, form: Any, pattern: Pattern) -> Pattern | None:
    """Return the sparsity pattern of a gather or scatter; None if its indices are not constant."""
    op = node.args[1].node.op
    out: Any = node.types[0].shape
    shape: Any = node.args[0].shape
    if not isinstance(op, Constant):
        return None
    take: Any = np.take if isinstance(form, Gather | Scatter) else np.take_along_axis
    places: Any = np.asarray(op.data.array)
    if isinstance(form, Gather | GatherAlong):
        return _rows(pattern, take(_element_numbers(shape), places, form.axis))
    landed = take(_element_numbers(out), places, form.axis)
    return _link_elements(pattern, landed, _element_numbers(shape), _count(out))


def _through_entries(node: Node, form: ScatterOnto, place: int, pattern: Pattern) -> Pattern | None:
    """Return the sparsity pattern of written entries: of these, or of what they leave of a base."""
    op = node.args[1].node.op
    if not isinstance(op, Constant) or place == 1:
        return None
    out: Any = node.types[0].shape
    numbers = _element_numbers(out)
    landed = np.take(numbers, np.asarray(op.data.array), form.axis)
    if place == 0:
        return _link_elements(pattern, landed, _element_numbers(landed.shape), _count(out))
    left = np.setdiff1d(numbers, landed)
    return _link_elements(pattern, left, left, _count(out))


def _through_product(node: Node, form: Contract, place: int, pattern: Pattern) -> Pattern:
    """Return the sparsity pattern of a matrix product; zeros of a constant factor are skipped."""
    out = _element_numbers(node.types[0].shape)
    numbers = _element_numbers(node.args[place].shape)
    factor, transposed = node.args[1 - place], (form.transpose_b, form.transpose_a)[place]
    if (form.transpose_a, form.transpose_b)[place]:
        numbers = np.swapaxes(numbers, -1, -2)
    if place == 1:  # the transposed product: [j, k] by [k, i]
        out, numbers = np.swapaxes(out, -1, -2), np.swapaxes(numbers, -1, -2)
    batch, (rows, inner) = out.shape[:-2], numbers.shape[-2:]
    numbers = np.broadcast_to(numbers, (*batch, rows, inner))
    op = factor.node.op
    if isinstance(op, Constant):
        matrix = np.asarray(op.data.array) != 0
        matrix = np.swapaxes(matrix, -1, -2) if transposed else matrix
        matrix = np.swapaxes(matrix, -1, -2) if place == 1 else matrix
        if matrix.mean() <= _MOSTLY_FULL:
            *at, k, j = np.nonzero(np.broadcast_to(matrix, (*batch, inner, out.shape[-1])))
            all_rows: Any = slice(None)
            read, landed = numbers[(*at, all_rows, k)], out[(*at, all_rows, j)]
            return _link_elements(pattern, landed, read, out.size)
    row_numbers = _element_numbers((*batch, rows, 1))
    any_inner = _link_elements(
        pattern, np.broadcast_to(row_numbers, numbers.shape), numbers, row_numbers.size
    )
    row_of_element = np.empty(out.size, np.intp)
    row_of_element[out.ravel()] = np.broadcast_to(row_numbers, out.shape).ravel()
    return _rows(any_inner, row_of_element)


def _through_windows(node: Node, form: Any, place: int, pattern: Pattern) -> Pattern | None:
    """Return the sparsity pattern of windows over an image: a Kronecker product over axes."""
    sparse = _sparse()
    shape: Any = node.args[place].shape
    out: Any = node.types[0].shape
    if place != 0 or (isinstance(form, WindowProduct) and form.result == "filter"):
        return None
    if isinstance(form, WindowReduce):
        if form.kind not in ("sum", "max", "take"):
            return None
        links = sparse.eye_array(_count(shape[: len(shape) - len(form.axes)]), dtype=np.int32)
    else:
        groups, (in_channels, out_channels) = form.groups, (shape[1], out[1])
        block = np.ones((out_channels // groups, in_channels // groups), np.int32)
        links = sparse.kron(
            sparse.eye_array(shape[0], dtype=np.int32),
            sparse.kron(sparse.eye_array(groups, dtype=np.int32), block),
        )
    back = isinstance(form, WindowProduct) and form.result == "image"
    for axis in form.axes:
        # a 0-1 matrix along one axis: a row for each window, ones at the elements that it reads
        windows, taps = np.meshgrid(np.arange(axis.windows), np.arange(axis.taps), indexing="ij")
        at = axis.step * windows + axis.dilation * taps - axis.before
        inside = (at >= 0) & (at < axis.image)
        ones = np.ones(int(inside.sum()), np.int32)
        shape = (axis.windows, axis.image)
        link = _sparse().csr_array((ones, (windows[inside], at[inside])), shape=shape)
        links = sparse.kron(links, link.T if back else link)
    return _ones(links.tocsr() @ pattern.astype(np.int32))


def is_mostly_full(pattern: Pattern) -> bool:
    """Return whether a pattern has more than half of all elements."""
    return bool(pattern.nnz > 0.5 * pattern.shape[0] * pattern.shape[1])


def column_colours(pattern: Any) -> Array:
    """Colour the columns of a sparse Jacobian: columns of one colour have no row in common."""
    columns = pattern.tocsc()
    starts, rows = columns.indptr, columns.indices
    row_colours = [0] * pattern.shape[0]  # of each row a bit for each colour among its columns
    colours: Array = np.zeros(pattern.shape[1], np.intp)
    for column in np.argsort(-np.diff(starts), kind="stable"):
        column_rows = rows[starts[column] : starts[column + 1]].tolist()
        forbidden = 0
        for row in column_rows:
            forbidden |= row_colours[row]
        bit = ~forbidden & (forbidden + 1)
        for row in column_rows:
            row_colours[row] |= bit
        colours[column] = bit.bit_length() - 1
    return colours


def star_colours(pattern: Any) -> Array:
    """Star-colour a sparse symmetric Hessian: neighbours differ, and so do paths of four vertices.

    No path over four vertices has two colours alone, so that of the two places of an element one
    is the only one of its colour in the other's row. Takes time for every path over three vertices;
    of patterns that are mostly full, or have too many of those, ``column_colours`` are the result.
    """
    rows = pattern.tocsr()
    degrees = np.diff(rows.indptr).astype(np.float64)
    if is_mostly_full(rows) or (degrees**2).sum() > _MOST_PATHS:
        return column_colours(rows)
    around = [
        [w for w in rows.indices[start:end].tolist() if w != v]
        for v, (start, end) in enumerate(zip(rows.indptr[:-1], rows.indptr[1:], strict=True))
    ]
    colours = [-1] * len(around)
    #: Of each vertex the number of its neighbours by colour.
    neighbour_colours: list[dict[int, int]] = [{} for _ in around]
    for v in sorted(range(len(around)), key=lambda v: -len(around[v])):
        forbidden = {colours[w] for w in around[v]}
        for w in around[v]:
            for x in around[w]:
                if x == v or colours[x] < 0:
                    continue
                if colours[w] < 0 or neighbour_colours[x][colours[w]] > 1:  # w, and another one
                    forbidden.add(colours[x])
        colour = 0
        while colour in forbidden:
            colour += 1
        colours[v] = colour
        for w in around[v]:
            neighbour_colours[w][colour] = neighbour_colours[w].get(colour, 0) + 1
    return np.array(colours, np.intp)


def units(colours: Array, like: Any) -> Array:
    """For each colour the sum of its unit vectors, of the type of a value ``like``."""
    seeds: Array = np.zeros((int(colours.max(initial=-1)) + 1, len(colours)), like.dtype.numpy)
    seeds[colours, np.arange(len(colours))] = 1
    return seeds.reshape(len(seeds), *like.shape)


def read_columns(pattern: Any, colours: Array, products: Array) -> Array:
    """The elements of a matrix in the order of its pattern (CSR), from [colour, row]."""
    elements: Array = products[colours[pattern.indices], _rows_of(pattern)]
    return elements


def read_rows(pattern: Any, colours: Array, products: Array) -> Array:
    """The same from [colour, column], by a colour for each row."""
    elements: Array = products[colours[_rows_of(pattern)], pattern.indices]
    return elements


def read_symmetric(pattern: Any, colours: Array, products: Array) -> Array:
    """Recover a sparse symmetric Hessian from compressed products by its star colouring."""
    rows, columns = _rows_of(pattern), pattern.indices
    colour_counts = np.zeros((pattern.shape[0], int(colours.max(initial=-1)) + 1), np.intp)
    np.add.at(colour_counts, (rows, colours[columns]), 1)
    alone = colour_counts[rows, colours[columns]] == 1
    in_row, in_column = products[colours[columns], rows], products[colours[rows], columns]
    elements: Array = np.where(alone, in_row, in_column)
    return elements


def _rows_of(pattern: Any) -> Array:
    rows: Array = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    return rows
