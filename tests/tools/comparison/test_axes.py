"""The axis that counts examples: of each kind of program the one that is known by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from staticgrad.comparison import compare
from staticgrad.comparison.axes import ADDS, ANY_ORDER, ASKED, ASSUMED, BatchAxes
from staticgrad.comparison.loading import subject
from staticgrad.comparison.programs import ComparedProgram, program
from staticgrad.errors import ArgumentError
from staticgrad.tools.commands.cli import main

DRAW = np.random.default_rng(0)
TIME, COUNT, WIDTH = 6, 10, 3
SEQUENCES = DRAW.normal(size=(TIME, COUNT, WIDTH)).astype("float32")
CLASSES = DRAW.integers(0, 4, COUNT)
ROWS = DRAW.normal(size=(COUNT, WIDTH)).astype("float32")
SUMS = ROWS.sum(1, keepdims=True)
W = sg.parameter("w", DRAW.normal(size=(WIDTH, 4)).astype("float32"))
V = sg.parameter("v", DRAW.normal(size=(WIDTH, 1)).astype("float32"))
U = sg.parameter("u", DRAW.normal(size=(4, 4)).astype("float32"))


def unroll(x: Any, y: Any) -> Any:
    h = sg.zeros((x.shape[1], 4), "float32")
    for k in range(TIME):
        h = sg.tanh(x[k] @ W + h @ U)
    return sg.nn.cross_entropy(h, y)


def scan_rows(x: Any, y: Any) -> Any:
    start = sg.zeros((x.shape[1], 4), "float32")
    h, _ = sg.scan(lambda h, row: (sg.tanh(row @ W + h @ U), None), start, x)
    return sg.nn.cross_entropy(h, y)


def attention(x: Any) -> Any:
    """Time first, without positions: the loss is the same in any order of either axis."""
    h = sg.transpose(x, (1, 0, 2)) @ W
    scores = sg.nn.softmax(h @ sg.transpose(h, (0, 2, 1)))
    return ((scores @ h) ** 2).mean()


def regression(x: Any, y: Any) -> Any:
    return ((sg.tanh(x @ V) - y) ** 2).mean()


def masked_loss(x: Any, y: Any, mask: Any) -> Any:
    return (((x @ V - y) ** 2) * mask).sum() / mask.sum()


def scores(tokens: Any) -> Any:
    table = sg.take(W, tokens % WIDTH, axis=0)
    return (sg.tanh(table.sum(axis=1)) ** 2).mean()


def several_updates(x: Any, y: Any) -> Any:
    for _ in range(2):
        loss = regression(x, y)
        (slope,) = sg.grad(loss, [V])
        V.update(V - 0.5 * slope)
    return loss


def in_parts(x: Any, y: Any) -> Any:
    """Two parts of examples, however many there are: further ones would not be read."""
    return sum(regression(x[k], y[k]) for k in range(2)) / 2


def branch(x: Any, y: Any) -> Any:
    loss = regression(x, y)
    return loss * 2 if loss > 100.0 else loss


def normalizing_net() -> Any:
    return sg.nn.Sequential(
        sg.nn.Conv1d(WIDTH, 5, 3, padding=1), sg.nn.BatchNorm1d(5), sg.nn.ReLU(), sg.nn.Flatten(),
        sg.nn.Linear(5 * TIME, 4),
    )  # fmt: skip


def dropout_net() -> Any:
    return sg.nn.Sequential(sg.nn.Linear(WIDTH, 8), sg.nn.Dropout(0.5), sg.nn.Linear(8, 1))


BY_HAND: list[tuple[Any, tuple[Any, ...], dict[str, int], str]] = [
    (regression, (ROWS, SUMS), {"x": 0, "y": 0}, ADDS),
    (lambda x, y: regression(x.T, y), (ROWS.T.copy(), SUMS), {"x": 1, "y": 0}, ADDS),
    (unroll, (SEQUENCES, CLASSES), {"x": 1, "y": 0}, ADDS),
    (scan_rows, (SEQUENCES, CLASSES), {"x": 1, "y": 0}, ADDS),
    (attention, (SEQUENCES,), {"x": 1}, ADDS),
    (attention, (SEQUENCES[:, :TIME],), {"x": 1}, ADDS),  # both axes are of one size
    (masked_loss, (ROWS, SUMS, np.arange(COUNT) % 3 > 0), {"x": 0, "y": 0, "mask": 0}, ADDS),
    (scores, (DRAW.integers(0, 3, (TIME, 5)),), {"tokens": 0}, ADDS),
    (several_updates, (ROWS, SUMS), {"x": 0, "y": 0}, ANY_ORDER),
    (in_parts, (ROWS.reshape(2, 5, 3), SUMS.reshape(2, 5, 1)), {"x": 1, "y": 1}, ADDS),
    (branch, (ROWS, SUMS), {"x": 0, "y": 0}, ADDS),  # on the tape alone
    (lambda x: ((x[1:] - x[:-1] ** 2) ** 2).sum(), (ROWS[:, 0],), {"x": 0}, ASSUMED),
    (lambda x: x * x, (np.float32(3.0),), {}, ASSUMED),
]


@pytest.mark.parametrize("number", range(len(BY_HAND)))
def test_the_axis_of_each_kind_of_program(number: int) -> None:
    function, arrays, axes, reason = BY_HAND[number]
    value_before = V.value.copy()
    compared = program(function, arrays)
    assert compared.batch == BatchAxes(axes, reason)
    np.testing.assert_array_equal(V.value, value_before)
    sizes = {array.shape[axes[n]] for n, array in zip(axes, arrays, strict=False)}
    assert {compared.batch_size} == (sizes or {1})


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        pytest.param(normalizing_net, ANY_ORDER, id=f"normed-{ANY_ORDER}"),
        pytest.param(dropout_net, ADDS, id=f"dropped-{ADDS}"),
    ],
)
def test_the_axis_of_a_module(net: Any, reason: str) -> None:
    arrays = (
        (SEQUENCES.transpose(1, 2, 0).copy(), CLASSES) if net is normalizing_net else (ROWS, SUMS)
    )
    compared = program(net(), arrays)
    assert compared.batch.reason == reason
    assert {*compared.batch.axes.values()} == {0}


def test_batches_are_drawn_along_the_axis() -> None:
    compared = program(unroll, (SEQUENCES, CLASSES))
    drawn = compared.draw(4, np.random.default_rng(3))
    rows = np.random.default_rng(3).integers(0, COUNT, 4)
    np.testing.assert_array_equal(drawn["x"], SEQUENCES[:, rows])
    np.testing.assert_array_equal(drawn["y"], CLASSES[rows])
    assert [str(size) for size in compared.graph.inputs[0].type.shape] == ["6", "batch", "3"]


def test_the_axis_that_is_asked_for() -> None:
    x = SEQUENCES[:, :TIME]
    for axis, expected in ((0, {"x": 0}), (-2, {"x": 1}), ({"x": 2}, {"x": 2})):
        assert program(attention, (x,), batch_axis=axis).batch == BatchAxes(expected, ASKED)
    compared = program(unroll, (SEQUENCES, CLASSES), batch_axis={"x": 1, "y": 0})
    assert compared.batch_size == COUNT


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        (5, "no array has it: x [10, 3], y [10, 1]"),
        ("x", "not a number or a dict"),
        (True, "not a number or a dict"),
        ({"z": 0}, "names 'z', which is no array"),
        ({"x": 2}, "x has 2 axes"),
        ({"x": 1, "y": 1}, "axes of one size"),
    ],
)
def test_an_axis_that_is_none(axis: Any, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        program(regression, (ROWS, SUMS), batch_axis=axis)
    assert says in str(caught.value)


def test_sizes_that_are_drawn_have_no_axis() -> None:
    def drawn(random: np.random.Generator) -> Any:
        count = int(random.integers(3, 9))
        return random.normal(size=(count, WIDTH)), np.zeros((count, 1))

    assert program(regression, (drawn,)).batch.reason == "sizes change from step to step"
    with pytest.raises(ArgumentError, match="a function draws"):
        program(regression, (drawn,), batch_axis=0)


def test_the_axis_that_the_program_names() -> None:
    sizes = {"x": ("time", "batch", None), "y": ("batch",)}
    compared = program(sg.function(scan_rows, sizes=sizes), (SEQUENCES, CLASSES))
    assert compared.batch == BatchAxes({"x": 1, "y": 0}, "which the program names batch")
    only = program(sg.function(regression, sizes={"x": ("rows", None)}), (ROWS, SUMS))
    assert only.batch == BatchAxes({"x": 0}, "which the program names rows")


FILE = """
import numpy as np
import staticgrad as sg

w = sg.parameter("w", np.ones((3, 1)))

def loss(x):
    return ((x @ w) ** 2).mean()

example = loss, np.arange(24.0).reshape(2, 4, 3)
"""


def test_a_file_has_an_axis(tmp_path: Path) -> None:
    file = tmp_path / "axis_of_a_file.py"

    def compare_file(more: str = "", **options: Any) -> ComparedProgram:
        file.write_text(FILE + more)
        return subject(f"{file}:example", **options)

    assert compare_file().batch == BatchAxes({"x": 0}, ADDS)
    assert compare_file("batch_axis = 1\n").batch == BatchAxes({"x": 1}, ASKED)
    assert compare_file("batch_axis = 1\n", batch_axis=0).batch == BatchAxes({"x": 0}, ASKED)
    done = CliRunner().invoke(main, ["compare", "--model", str(file), "--batch-axis", "x=y"])
    assert done.exit_code == 2
    assert "neither an axis" in done.output


@pytest.mark.slow
def test_the_report_says_which_axis() -> None:
    actual = compare(unroll, SEQUENCES, CLASSES, batches=[4], seconds=0.0, torch=False)
    assert [pair.at for pair in actual.batches] == [4, COUNT]
    description = "batch size 10 (axis 1 of x, axis 0 of y: the loss adds up over it)"
    assert actual.about_batch == description
    assert actual.as_json()["batch_axes"] in description
    assert description in actual._repr_html_()


@pytest.mark.slow
def test_batches_of_a_program_that_serves_one_size_are_refused() -> None:
    def literal(x: Any, y: Any) -> Any:
        return sg.nn.cross_entropy(x.reshape((COUNT, WIDTH)) @ W, y)

    with pytest.raises(ArgumentError, match="the graph serves 10 examples alone"):
        compare(literal, ROWS, CLASSES, batches=[4], seconds=0.0, torch=False)
