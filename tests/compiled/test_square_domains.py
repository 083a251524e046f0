"""Rows as many as columns: what belongs to a row and what to a column have one shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from tests.limits import finfo


def differing(graph: sg.Graph, size: int, seed: int) -> list[str]:
    """The results whose bytes are not the evaluator's, where axes named ``n`` have a size."""
    random = np.random.default_rng(seed)
    feeds = {
        value.node.op.label: random.normal(
            size=[dim if isinstance(dim, int) else size for dim in value.shape]
        )
        for value in graph.inputs
    }
    found, wanted = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    return [name for name, array in wanted.items() if not same_bytes(found[name], array)]


@pytest.mark.parametrize("size", [40, 64, 100, 300])
def test_sums_over_columns_are_no_values_of_rows(size: int) -> None:
    """The gradient of a vector that scales rows and columns adds up one of each."""
    a, d = sg.input("a", ("n", "n"), "float64"), sg.input("d", ("n",), "float64")
    loss = (a * d[:, None] * d[None, :]).sum()
    assert differing(sg.Graph({"loss": loss, "slope": sg.grad(loss, d)}), size, 0) == []


def test_the_sum_of_row_sums_and_column_sums() -> None:
    """Worked by hand: element i has i times the columns, and n (n - 1) / 2 from the rows."""
    size = 100
    x = sg.input("x", (size, size), "float64")
    f = sg.compile(sg.Graph({"y": x.sum(axis=0) + x.sum(axis=1)}))
    found = f.run({"x": np.repeat(np.arange(size, dtype="float64"), size).reshape(size, size)})["y"]
    assert found.tolist() == [size * i + size * (size - 1) / 2 for i in range(size)]
    assert finfo(found.dtype).nmant == 52


@pytest.mark.slow
@settings(max_examples=24, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([64, 70, 96, 130]), st.booleans())
def test_random_programs_over_squares(seed: int, size: int, differentiate: bool) -> None:
    """Matrices and vectors that are broadcast and reduced along either axis, and transposed."""
    random = np.random.default_rng(seed)
    matrices = [sg.input("a", ("n", "n"), "float64"), sg.input("b", ("n", "n"), "float64")]
    vectors = [sg.input("d", ("n",), "float64")]
    inputs = [*matrices, *vectors]

    def one(values: list[sg.Value]) -> sg.Value:
        return values[random.integers(max(0, len(values) - 4), len(values))]

    for _ in range(random.integers(4, 10)):
        kind = random.integers(9)
        if kind <= 3:
            reduce = (sg.sum, sg.sum, sg.max, sg.mean)[random.integers(4)]
            vectors.append(reduce(one(matrices), axis=int(random.integers(2))))
        elif kind <= 5:
            vector = one(vectors)
            wide = vector[:, None] if random.integers(2) else vector[None, :]
            matrices.append(one(matrices) * wide if kind == 4 else one(matrices) - wide)
        elif kind == 6:
            vectors.append(one(vectors) + one(vectors))
        elif kind == 7:
            matrices.append(one(matrices) + one(matrices).T)
        else:
            matrices.append(sg.maximum(one(matrices), one(matrices)))
    outputs = {"v": vectors[-1], "m": matrices[-1]}
    if differentiate:
        loss = vectors[-1].sum() + matrices[-1].sum()
        read = [value for value in inputs if value.node in sg.Graph({"loss": loss}).nodes]
        for number, slope in enumerate(sg.grad(loss, read)):
            outputs[f"slope{number}"] = slope
    assert differing(sg.Graph(outputs), size, seed) == []
