"""Colourings: columns of a sparse matrix that one product finds together.

Columns without a common row may share a product with the matrix: each row of it shows one of them
(Curtis, Powell and Reid, 1974). Of a symmetric matrix an element may be read in its row or in its
column, which takes fewer products: a star colouring (Coleman and More, 1984). Both are greedy, as
in Gebremedhin, Manne and Pothen, "What color is your Jacobian?" (SIAM Review, 2005), algorithms
3.1 and 4.1, larger degrees first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.ir.op import Array


def column_colours(pattern: Any) -> Array:
    """A colour for each column, from 0 on: those of one colour have no row in common."""
    columns = pattern.tocsc()
    starts, rows = columns.indptr, columns.indices
    taken = [0] * pattern.shape[0]  # of each row a bit for each colour among its columns
    colours: Array = np.zeros(pattern.shape[1], np.intp)
    for column in np.argsort(-np.diff(starts), kind="stable"):
        met = rows[starts[column] : starts[column + 1]].tolist()
        forbidden = 0
        for row in met:
            forbidden |= taken[row]
        bit = ~forbidden & (forbidden + 1)
        for row in met:
            taken[row] |= bit
        colours[column] = bit.bit_length() - 1
    return colours


def star_colours(pattern: Any) -> Array:
    """A colour for each row of a symmetric pattern: neighbours differ, and so do paths of four.

    No path over four vertices has two colours alone, so that of the two places of an element one
    is the only one of its colour in the other's row.
    """
    rows = pattern.tocsr()
    around = [
        [w for w in rows.indices[start:end].tolist() if w != v]
        for v, (start, end) in enumerate(zip(rows.indptr[:-1], rows.indptr[1:], strict=True))
    ]
    colours = [-1] * len(around)
    for v in sorted(range(len(around)), key=lambda v: -len(around[v])):
        forbidden = {colours[w] for w in around[v]}
        for w in around[v]:
            for x in around[w]:
                if x == v or colours[x] < 0:
                    continue
                if colours[w] < 0 or any(y != w and colours[y] == colours[w] for y in around[x]):
                    forbidden.add(colours[x])
        colour = 0
        while colour in forbidden:
            colour += 1
        colours[v] = colour
    return np.array(colours, np.intp)


def units(colours: Array, like: Any) -> Array:
    """For each colour the sum of its unit vectors, of the type of a value ``like``."""
    found: Array = np.zeros((int(colours.max(initial=-1)) + 1, len(colours)), like.dtype.numpy)
    found[colours, np.arange(len(colours))] = 1
    return found.reshape(len(found), *like.shape)


def read_columns(pattern: Any, colours: Array, products: Array) -> Array:
    """The elements of a matrix in the order of its pattern (CSR), from [colour, row]."""
    found: Array = products[colours[pattern.indices], _rows_of(pattern)]
    return found


def read_rows(pattern: Any, colours: Array, products: Array) -> Array:
    """The same from [colour, column], by a colour for each row."""
    found: Array = products[colours[_rows_of(pattern)], pattern.indices]
    return found


def read_symmetric(pattern: Any, colours: Array, products: Array) -> Array:
    """The same of a symmetric matrix by a star colouring: where the element stands alone."""
    rows, columns = _rows_of(pattern), pattern.indices
    met = np.zeros((pattern.shape[0], int(colours.max(initial=-1)) + 1), np.intp)
    np.add.at(met, (rows, colours[columns]), 1)
    alone = met[rows, colours[columns]] == 1
    here, there = products[colours[columns], rows], products[colours[rows], columns]
    found: Array = np.where(alone, here, there)
    return found


def _rows_of(pattern: Any) -> Array:
    """The row of each element that is written down."""
    rows: Array = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    return rows
