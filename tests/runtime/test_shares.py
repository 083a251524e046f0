"""Workers keep the same rows of every step of a loop, whatever batch there is; no byte depends on
it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.ir.expr import Expr
from staticgrad.ir.kernel import Kernel
from staticgrad.runtime.shares import NEAR, RowShare, shares
from staticgrad.types.dtype import I64
from tests.runtime.several_workers import check_equal_bytes

TRIPS = 9


def recurrent(hidden: int) -> sg.Graph:
    """A recurrent layer along time and its gradients, for any batch: a product and a map a trip."""
    x = sg.input("x", (TRIPS, "batch", hidden))
    u = sg.input("u", (hidden, hidden))
    start = sg.zeros((x.shape[1], hidden), "float32")
    last, every = sg.scan(lambda h, row: (sg.tanh(row + h @ u),) * 2, start, x)
    loss = (last * last).sum() + every.mean()
    return sg.Graph({"loss": loss, "slopes": sg.grad(loss, u), "last": last})


def feeds(hidden: int, batch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(batch)
    x = random.normal(0, 0.3, (TRIPS, batch, hidden)).astype("float32")
    return {"x": x, "u": random.normal(0, hidden**-0.5, (hidden, hidden)).astype("float32")}


def product(expression: Any, rows: int, terms: int, columns: int, **inputs: Any) -> Any:
    """The kernel of a program that is one product, and the arguments of its step."""
    graph = sg.Graph({"y": expression(**{n: sg.input(n, shape) for n, shape in inputs.items()})})
    plan = sg.compile(graph).plan(r=rows, k=terms, n=columns)
    for planned in plan.steps:
        (kernel,) = plan.schedule.steps[planned.step].kernels()
        if isinstance(kernel, Kernel) and kernel.outer == "tiles":
            return kernel, planned.arguments
    raise AssertionError("no product")


def plain(rows: int, terms: int = 64, columns: int = 96) -> Any:
    return product(
        lambda a, b, c: a @ b + c,
        rows, terms, columns, a=("r", "k"), b=("k", "n"), c=("r", "n"),
    )  # fmt: skip


@pytest.mark.parametrize("batch", [1, 25, 32, 33, 64, 130])
@pytest.mark.parametrize("workers", [2, 3])
def test_trips_have_equal_bytes(batch: int, workers: int) -> None:
    f = sg.compile(recurrent(96), threads=1)
    for seed in range(3):
        check_equal_bytes(f, feeds(96, batch), workers, seed)


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_a_trip_has_a_row_of_the_table_for_each_share_of_a_product(workers: int) -> None:
    """A product of each loop, and no more: those outside of loops are one row."""
    f = sg.compile(recurrent(96), threads=1)
    whole = check_equal_bytes(f, feeds(96, 8), workers, 0)
    shared = check_equal_bytes(f, feeds(96, 16 * workers), workers, 0)
    assert len(shared.rows) - len(whole.rows) == 2 * (workers - 1)


@pytest.mark.parametrize(("rows", "workers"), [(26, 2), (32, 2), (33, 2), (64, 3), (200, 6)])
def test_shares_are_all_rows_once(rows: int, workers: int) -> None:
    kernel, arguments = plain(rows)
    found = shares(kernel, arguments, workers)
    number = kernel.arguments.index(kernel.stages[0].i[0].extent)
    assert len(found) == workers
    first = 0
    bytes_of_a_row = {"in": {64 * 4, 96 * 4, 0}, "out": {96 * 4}}
    for share in found:
        assert isinstance(share, RowShare)
        assert share.total == kernel.iterations(share.arguments) > 0
        for operand, moved in zip(kernel.operands, share.moved, strict=True):
            steps = bytes_of_a_row[operand.mode]
            assert moved in {first * step for step in steps}
        same = [*share.arguments]
        same[number] = rows
        assert tuple(same) == tuple(arguments)
        first += share.arguments[number]
    assert first == rows


def test_a_product_keeps_its_columns_where_shares_are_of_no_use() -> None:
    kernel, arguments = plain(32)
    assert shares(kernel, arguments, 2)
    assert not shares(kernel, arguments, 1)
    assert not shares(kernel, arguments, 4), "eight rows fill no tile"
    assert not shares(*plain(22), 2), "nor do the ten of the second share"
    large = plain(32, 1024, NEAR // 4096 + 1)
    assert not shares(*large, 2), "no cache holds the second factor"


def test_products_whose_rows_stand_elsewhere_are_left_whole() -> None:
    """Of a transposed factor rows are as far apart as there are rows of the product."""
    turned = product(
        lambda a, b: sg.sin(a.T @ b), 32, 64, 96, a=("k", "r"), b=("k", "n")
    )  # fmt: skip
    assert not shares(*turned, 2)
    kernel, arguments = plain(32)
    (stage,) = kernel.stages
    numbered = replace(stage.stores[0], value=Expr("index", I64, (), "i"))
    stage = replace(stage, stores=(*stage.stores, numbered))
    assert not shares(replace(kernel, stages=(stage,)), arguments, 2), "a row has another number"
