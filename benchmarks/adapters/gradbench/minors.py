"""Determinants by minors: those of all sets of columns of the last rows, a row more at a time."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

import staticgrad as sg


def determinant(a: Any) -> Any:
    """The determinant by expansion along the first row; each minor is computed once."""
    size = a.shape[0]
    sets: list[tuple[int, ...]] = [(column,) for column in range(size)]
    minors = a[size - 1]
    for row in reversed(range(size - 1)):
        places = {columns: place for place, columns in enumerate(sets)}
        sets = [*combinations(range(size), len(sets[0]) + 1)]
        smaller = [[places[c[:k] + c[k + 1 :]] for k in range(len(c))] for c in sets]
        signs = (-1.0) ** np.arange(len(sets[0]))
        minors = (signs * a[row][np.array(sets)] * minors[np.array(smaller)]).sum(axis=1)
    return minors[0]


def gradient(a: Any) -> Any:
    return sg.grad(determinant)(a).reshape(-1)


def read(inputs: dict[str, Any]) -> tuple[Any, ...]:
    return (np.array(inputs["A"], "float64").reshape(inputs["ell"], inputs["ell"]),)
