"""Losses of data-parallel steps that are no mean over the rows of a rank are refused."""

from types import SimpleNamespace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.optim import data_parallel, lbfgs
from tests.helpers.processes import pretend_ranks

ROWS, WIDTH = 32, 3


@pytest.fixture(autouse=True)
def two_ranks(monkeypatch):
    job = SimpleNamespace(ranks=2, rank=0, rows=None)
    pretend_ranks(monkeypatch, job=lambda: job, running=lambda: job)
    monkeypatch.setattr(data_parallel, "synchronize", lambda *_: None)


def values(rows):
    x, y = sg.input("x", (rows, WIDTH), "float32"), sg.input("y", (rows,), "float32")
    k, w = sg.input("k", (rows,), "int64"), sg.parameter("w", np.ones((WIDTH, WIDTH), "float32"))
    return SimpleNamespace(x=x, y=y, k=k, w=w, z=x @ w, e=((x @ w)[:, 0] - y) ** 2)


SUMS = {
    "sum": lambda v: v.e.sum(),
    "half": lambda v: 0.5 * v.e.sum() + 0.1,
    "over rows and columns": lambda v: (v.z**2).sum(),
    "cross entropy": lambda v: sg.nn.cross_entropy(v.z, v.k, reduction="sum"),
    "squares": lambda v: sg.nn.mse_loss(v.z[:, 0], v.y, reduction="sum"),
    "with decay": lambda v: v.e.sum() + (v.w**2).sum() / 3,
    "beside a mean": lambda v: v.e.mean() - sg.tanh(v.z).sum(),
    "of rows of sums": lambda v: (v.z**2).sum(axis=1).sum(),
    "by another number": lambda v: v.e.sum() / 100.0,
}
MASKS = {
    "mask": lambda v: sg.where(v.y > 0, v.e, 0.0).sum() / (v.y > 0).sum(),
    "weights": lambda v: (v.e * v.y).sum() / v.y.sum(),
    "average": lambda v: sg.average(v.e, weights=abs(v.y)),
    "ignored class": lambda v: sg.nn.cross_entropy(v.z, v.k, ignore_index=0),
    "beside a mean": lambda v: v.e.mean() + 0.5 * (v.e * v.y).sum() / (v.y.sum() + 1.0),
}
MEANS = {
    "mean": lambda v: v.e.mean(),
    "sum by rows": lambda v: v.e.sum() / v.x.shape[0],
    "over rows and columns": lambda v: (v.z**2).mean() * 2.0,
    "over rows of sums": lambda v: (v.z**2).sum(axis=1).mean(),
    "sums of sums by all": lambda v: (v.z**2).sum(axis=1).sum() / (v.x.shape[0] * WIDTH),
    "with decay": lambda v: v.e.mean() + 0.1 * (v.w**2).sum(),
    "cross entropy": lambda v: sg.nn.cross_entropy(v.z, v.k),
    "root": lambda v: sg.sqrt(v.e.mean()),
    "variance": lambda v: sg.var(v.z[:, 0]),
    "maximum": lambda v: v.e.max(),
    "of weights alone": lambda v: (v.w**2).sum() + v.e.mean(),
    "gram matrix": lambda v: ((v.x.T @ v.z) / v.x.shape[0]).sum(),
}


def minimize(loss, v, **options):
    return sg.optim.SGD(0.1).minimize(loss, [v.w], data_parallel=True, **options)


@pytest.mark.parametrize("rows", [ROWS, "n"])
@pytest.mark.parametrize("name", SUMS)
def test_sums_over_rows_are_refused(name, rows):
    v = values(rows)
    loss = SUMS[name](v)
    with pytest.raises(sg.errors.ArgumentError, match="is a sum over the rows of a rank") as caught:
        minimize(loss, v)
    assert ".mean()" in caught.value.hint
    assert minimize(loss, v, rows=1) is not None


def test_the_whole_batch_is_no_count_of_the_rows_of_a_rank():
    v = values(ROWS)
    with pytest.raises(sg.errors.ArgumentError, match="is a sum over the rows of a rank"):
        minimize(v.e.sum() / (2 * ROWS), v)


@pytest.mark.parametrize("rows", [ROWS, "n"])
@pytest.mark.parametrize("name", MASKS)
def test_means_over_a_mask_ask_for_its_rows(name, rows):
    v = values(rows)
    loss = MASKS[name](v)
    with pytest.raises(sg.errors.ArgumentError, match="divided by a computed number") as caught:
        minimize(loss, v)
    assert "rows=mask.sum()" in caught.value.hint
    assert minimize(loss, v, rows=(v.y > 0).sum()) is not None


def test_a_search_refuses_sums_over_rows_too(monkeypatch):
    monkeypatch.setattr(lbfgs, "synchronize", lambda *_, **options: None)
    w = sg.parameter("w", np.ones(WIDTH))

    @sg.function
    def search(x):
        sg.optim.LBFGS().minimize(lambda w: ((x @ w) ** 2).sum(), w, data_parallel=True)

    with pytest.raises(sg.errors.ArgumentError, match="a sum over the rows of a rank"):
        search(np.ones((ROWS, WIDTH)))


@pytest.mark.parametrize("rows", [ROWS, "n"])
@pytest.mark.parametrize("name", MEANS)
def test_means_over_rows_are_taken(name, rows):
    v = values(rows)
    assert minimize(MEANS[name](v), v) is not None


@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("name", ["mean", "cross entropy", "over rows of sums"])
def test_means_over_few_rows_are_taken(name, rows):
    v = values(rows)
    assert minimize(MEANS[name](v), v) is not None


def test_a_sum_times_the_reciprocal_of_the_rows_is_taken():
    v = values(ROWS)
    assert minimize(v.e.sum() * (1.0 / ROWS), v) is not None


def test_one_rank_takes_any_loss(monkeypatch):
    job = SimpleNamespace(ranks=1, rank=0, rows=None)
    pretend_ranks(monkeypatch, job=lambda: job, running=lambda: job)
    v = values(ROWS)
    assert minimize(v.e.sum(), v) is not None
