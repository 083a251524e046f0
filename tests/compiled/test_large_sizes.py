"""Sizes whose product 64 bits do not count: one coded error, and sums of very long rows."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.fusion import merging
from staticgrad.errors import ShapeError, SizeGuardError

LARGE = 2**40


def row(size):
    return sg.broadcast_to(sg.input("x", (), "float32"), (size,))


PROGRAMS = {
    "broadcast_to": lambda: sg.broadcast_to(row(1), (LARGE, LARGE)),
    "zeros": lambda: sg.zeros((LARGE, LARGE)),
    "full": lambda: sg.full((LARGE, LARGE), 2.0),
    "eye": lambda: sg.eye(LARGE),
    "tri": lambda: sg.tri(LARGE),
    "pad": lambda: sg.pad(sg.broadcast_to(row(1), (2**22, LARGE)), ((LARGE, 0), (0, 0))),
    "repeat": lambda: sg.repeat(row(LARGE)[None], LARGE, 0),
    "tile": lambda: sg.tile(row(3), (LARGE, LARGE)),
    "outer": lambda: sg.outer(row(LARGE), row(LARGE)),
    "add": lambda: row(LARGE)[:, None] + row(LARGE),
    "matmul": lambda: sg.broadcast_to(row(1), (LARGE, 3)) @ sg.broadcast_to(row(1), (3, LARGE)),
    "one_hot": lambda: sg.nn.one_hot(row(LARGE).astype("int64"), LARGE),
    "stack": lambda: sg.stack([row(2**62)] * 3),
    "meshgrid": lambda: sg.meshgrid(row(LARGE), row(LARGE)),
    "scan": lambda: sg.scan(lambda c, _: (c, c), row(2**33), length=2**33)[1],
    "normal": lambda: sg.random.Generator(0).normal(shape=(LARGE, LARGE)),
    "input": lambda: sg.input("y", (LARGE, LARGE)),
    "four axes": lambda: sg.broadcast_to(row(1), (2**20,) * 4),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_more_elements_than_64_bits_count_are_an_error_where_they_are_written(name):
    with pytest.raises(ShapeError, match=r"elements: a value has less than 2\*\*63") as caught:
        PROGRAMS[name]()
    assert caught.value.at.resolve().file == __file__


def test_no_elements_are_never_too_many():
    assert sg.zeros((0, LARGE, LARGE)).shape == (0, LARGE, LARGE)


def test_the_error_of_literal_sizes_names_no_sizes():
    y = sg.cumsum(sg.input("x", (), "float32") + sg.arange(2**50, dtype="float32"), 0)
    with pytest.raises(SizeGuardError, match="a value has 4,503,599,627,370,496 bytes") as caught:
        sg.compile(y)
    assert caught.value.headline.startswith("a value has")


@pytest.mark.parametrize("size", [2**32, 2**33 + 5, 2**47])
def test_rows_of_any_length_are_summed_by_two_kernels(size):
    y = (sg.arange(size) + sg.input("x", (), "float32")).sum()
    assert len(sg.compile(y).schedule.steps) == 2


def test_the_results_of_pieces_are_no_row_of_pieces_again():
    """A shorter bound stands for a row of 2**31 elements, which takes seconds."""
    x = sg.input("x", (4 * merging.CHUNK + 77,), "float64")
    values = np.random.default_rng(0).normal(size=x.shape)
    with sg.options(limits="long_row=4"):
        f = sg.compile((x * 3.0).sum())
    np.testing.assert_allclose(f.run({"x": values}), 3 * values.sum())
