"""Parts of rows that one kernel copies: which, and that they come to lie where NumPy has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.lowering.fuse import fuse

Build = Callable[..., sg.Value]


def inputs(*shapes: Sequence[int | str], dtype: str = "float32") -> list[sg.Value]:
    return [sg.input(f"x{n}", shape, dtype) for n, shape in enumerate(shapes)]


def steps(value: sg.Value) -> int:
    return len(fuse(sg.Graph(value)).steps)


def test_parts_of_rows_are_one_kernel() -> None:
    x, y, z = inputs(("n", 20), ("n", "m"), ("n", 40))
    assert steps(sg.concatenate([x, y, z], 1)) == 1
    assert steps(sg.concatenate([x, x, x], 1)) == 1
    assert steps(sg.concatenate([x, sg.zeros((x.shape[0], 16)), x], 1)) == 1
    assert steps(sg.concatenate([x] * 9, 1)) == 2  # eight loops at most


def test_other_parts_are_kernels_of_their_own() -> None:
    x, y, square, few = inputs(("n", 20), ("n", 20), (30, 30), (4, 30))
    assert steps(sg.concatenate([x, y], 0)) == 2  # one behind the other
    assert steps(sg.concatenate([square, square.T], 1)) == 2  # across memory
    assert steps(sg.concatenate([few, few], 1)) == 2  # few rows
    assert steps(sg.concatenate([x[:, :3], y], 1)) == 2  # less than a vector
    computed = sg.exp(x)
    graph = sg.Graph({"y": sg.concatenate([computed[:, ::-1], y], 1), "e": computed})
    assert len(fuse(graph).steps) == 3  # a value that the program computes ends before that


PROGRAMS: dict[str, tuple[Sequence[tuple[int, ...]], Build]] = {
    "rows": ([(17, 20), (17, 33), (17, 16)], lambda *x: sg.concatenate(x, 1)),
    "channels": ([(16, 3, 4, 7), (16, 9, 4, 7)], lambda x, y: sg.concatenate([x, y, x], 1)),
    "inside": ([(5, 4, 30), (5, 4, 17)], lambda *x: sg.concatenate(x, 2)),
    "parts": ([(40, 70), (20, 70)], lambda x, y: sg.concatenate([x[3:23, 1:60:2], y], 1)),
    "planes": ([(30, 6, 20), (30, 6, 20)], lambda x, y: sg.concatenate([x[:, ::2], y], 1)),
    "repeated": (
        [(1, 50), (30, 20)],
        lambda x, y: sg.concatenate(
            [sg.broadcast_to(x, (30, 50)), y, sg.zeros((30, 16), y.dtype)], 1
        ),
    ),
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "float16"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_parts_lie_where_they_belong(name: str, dtype: str, rng: np.random.Generator) -> None:
    shapes, build = PROGRAMS[name]
    values = inputs(*shapes, dtype=dtype)
    feeds = {f"x{n}": rng.integers(0, 2, s).astype(dtype) for n, s in enumerate(shapes)}
    graph = sg.Graph({"y": build(*values)})
    assert len(fuse(graph).steps) == 1
    found, wanted = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    np.testing.assert_array_equal(found["y"], wanted["y"])


def test_kernels_of_equal_parts_are_told_from_others() -> None:
    """Two joins over one shape, of which one has another part, are two kernels."""
    x, y = inputs((30, 20), (30, 20))
    joins = {"a": sg.concatenate([x, y], 1), "b": sg.concatenate([x, y, x], 1)}
    assert len({step.kernels()[0].text for step in fuse(sg.Graph(joins)).steps}) == 2
