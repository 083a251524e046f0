"""Programs whose nodes share kernels: which do, and that results are those of single kernels.

A row is a program: its inputs, what is computed of them, and the most kernels that it may have.
Every row is run fused, with a kernel for each node, and on three threads, at each of its sizes and
dtypes: the same bytes, those of the evaluator where all operations are exact, and near float64
where they are not.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.fusion.merging import CHUNK
from staticgrad.language.ir.schedule import Schedule
from staticgrad.language.types.arrays import hint_value
from staticgrad.support.limits import CompilerLimits
from tests.compiled.ways import check, drawn, schedule_of

FLOATS = ("float16", "float32", "float64")
LONG_ROW = CompilerLimits.long_row
LENGTH = sg.dim("length", hint=LONG_ROW)


class Program(NamedTuple):
    """A row of the table.

    Attributes:
        inputs: shapes by name, or inputs of a dtype of their own.
        build: the outputs, or one, of the inputs.
        kernels: how many there are at most: to share more of them changes no row.
        holds: what else is true of the schedule.
        at: values of the named sizes.
        dtypes: of the inputs that are given as shapes.
    """

    inputs: dict[str, Any]
    build: Callable[..., Any]
    kernels: int | None = None
    holds: Callable[[Schedule], object] | None = None
    at: tuple[dict[str, int], ...] = ({"n": 17, "m": 5},)
    dtypes: tuple[str, ...] = ("float32",)


def readers(schedule, name="x"):
    """Count the kernels that read an input."""
    return sum(any(b.buffer == f"in.{name}" for b in step.operands) for step in schedule.steps)


def count_stored(schedule):
    """Count the large arrays that are neither fed nor results."""
    sizes = [hint_value(b.size) for b in schedule.buffers if b.role == "temp"]
    return sum(size >= 8192 for size in sizes)


def no_arena(schedule):
    return not any(buffer.in_arena for buffer in schedule.buffers)


def totals(schedule):
    """Return the iterations of each step, which workers share."""
    return [str(step.total) for step in schedule.steps]


def slopes(value, *sources):
    """A value, and the gradient of its sum by each source."""
    gradients = sg.grad(value.sum(), [*sources])
    return {"value": value, **{f"slope{n}": slope for n, slope in enumerate(gradients)}}


def read_shared(x, addend):
    """Two nodes read ``other`` by way of what they share, one before the other is made."""
    base = sg.tanh(addend)
    return x * (base + 1.0) * sg.exp(-(base * base))


def batch_norm(x, u, gain, bias):
    away = x - x.mean(0)
    y = away / sg.sqrt((away * away).mean(0) + 1e-5) * gain + bias
    dx, dgain, dbias = sg.grad((y * u).sum(), [x, gain, bias])
    return {"y": y, "dx": dx, "dgain": dgain, "dbias": dbias}


def layer_norm(x, u, gain, bias):
    loss = (sg.nn.layer_norm(x, gain, bias) * u).sum()
    return dict(zip("xgb", sg.grad(loss, [x, gain, bias]), strict=True))


def of_rows(rows, columns):
    """The inputs of a norm."""
    return {"x": (rows, columns), "u": (rows, columns), "gain": (columns,), "bias": (columns,)}


def variance(x):
    """Columns without their mean, and the mean of their squares."""
    away = x - x.mean(0)
    return {"away": away, "variance": (away * away).mean(0)}


def scaled_product(x, u, m):
    """An array that a product and a sum read, and products of it that one of them reads alone."""
    y = sg.tanh(x)
    return {"y": y, "product": y @ m + y * u[:, None, :], "sum": (-(y * x)).sum(1)}


def logistic(x, w, v):
    """Loss, gradient and Hessian-vector product of a logistic regression."""
    loss = sg.nn.softplus(x @ w).sum()
    return {"loss": loss, "dw": sg.grad(loss, w), "hvp": sg.hvp(loss, w, v)}


def rotate(x, c, s, w, way):
    """Both parts of a rotation, each of four arrays, and where they go."""
    a, b = (x[:, ::2], x[:, 1::2]) if way == "pairs" else (x[:, :256], x[:, 256:])
    real, imaginary = a * c - b * s, a * s + b * c
    if way == "apart":
        return {"one": real, "other": imaginary}
    if way == "far":  # one is read, and gone, before the other is
        return {"y": sg.cumsum(real, 1)[:, -1] * sg.cumsum(imaginary, 1)[:, -1]}
    if way == "pairs":
        return {"z": sg.reshape(sg.stack([real, imaginary], axis=-1), x.shape)}
    joined_parts = sg.concatenate([real, imaginary], axis=1)
    return {"z": joined_parts} if way == "halves" else {"g": sg.grad((joined_parts * w).sum(), x)}


def rotation(way, rows):
    half, full = (rows, 256), (rows, 512)
    inputs = {"x": full, "c": half, "s": half, "w": full}
    expected_readers = 2 if way == "far" else 1
    build = functools.partial(rotate, way=way)
    return Program(inputs, build, holds=lambda s: readers(s, "c") == expected_readers)


def tangents(x):
    """Elements that take long to compute."""
    return functools.reduce(operator.add, [sg.tanh(k * x) for k in range(1, 7)])


def masked_columns(x, h, w):
    slope = sg.where(h > 0.0, x, 0.5 * x)
    return {"product": slope @ w, "bias": slope.sum(0), "weights": slope.T @ h}


def cross_entropy(x, t):
    loss = sg.nn.cross_entropy(x * 2.0, t)
    return {"loss": loss, "dx": sg.grad(loss, x)}


def valley(x):
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def gate(z, w, gap):
    """Parts of a row, with nothing read between them."""
    a, b, c = (z[:, k * (20 + gap) : k * (20 + gap) + 20] for k in range(3))
    y = (sg.tanh(a) * b + sg.exp(c)) * b
    dz = sg.grad((y * y).sum(), z)
    return {"dw": dz @ w, "bias": dz.sum(0)}


def labels(name, *shape):
    return sg.input(name, shape, "int64")


JOINS = {
    "rows": ([(17, 20), (17, 33), (17, 16)], lambda *x: sg.concatenate(x, 1)),
    "channels": ([(16, 3, 4, 7), (16, 9, 4, 7)], lambda x, y: sg.concatenate([x, y, x], 1)),
    "inside": ([(5, 4, 30), (5, 4, 17)], lambda *x: sg.concatenate(x, 2)),
    "parts": ([(40, 70), (20, 70)], lambda x, y: sg.concatenate([x[3:23, 1:60:2], y], 1)),
    "planes": ([(30, 6, 20), (30, 6, 20)], lambda x, y: sg.concatenate([x[:, ::2], y], 1)),
    "named": ([("n", 20), ("n", "m"), ("n", 40)], lambda *x: sg.concatenate(x, 1)),
    "one part again": ([("n", 20)], lambda x: sg.concatenate([x, x, x], 1)),
    "zeros": (
        [("n", 20)],
        lambda x: sg.concatenate([x, sg.zeros((x.shape[0], 16), x.dtype), x], 1),
    ),
    "repeated": (
        [(1, 50), (30, 20)],
        lambda x, y: sg.concatenate(
            [sg.broadcast_to(x, (30, 50)), y, sg.zeros((30, 16), y.dtype)], 1
        ),
    ),
}
STENCILS = {
    "difference": lambda x: ((x[1:] - x[:-1]) ** 2).sum(),
    "second difference": lambda x: ((x[2:] - 2.0 * x[1:-1] + x[:-2]) ** 2).mean(),
    "valley": valley,
    "absolute": lambda x: sg.abs(x[3:] - x[:-3]).sum(),
}
LONG = {
    "a sum with its terms": lambda x: {"s": (x * x).sum(), "terms": x * x},
    "several of one row": lambda x: {"s": x.sum(), "m": x.max(), "l": (x + x).min()},
    "a mean and its slope": lambda x: {"v": (v := (x * x).mean()), "d": sg.grad(v, x)},
    "every third element": lambda x: {"s": x[::3].sum(), "back": x[::-1].max()},
}
N = ("n",)
FULL = (700, 100)
ENDS = (1, 15, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 4097)

PROGRAMS = {
    # -- elements
    "a chain with two results": Program(
        {"x": ("n", 10)},
        lambda x: {"y": (y := (t := sg.sin(x)) / (1 + t)), "d": y * (1 - y)},
        1,
    ),
    "movement is no kernel": Program({"x": ("n", 10)}, lambda x: sg.tanh(x.T[2:5, ::-1]), 1),
    "two operands that share a value, a product": Program(
        {"x": ("n", 8), "addend": ("n", 4)},
        lambda x, addend: read_shared(sg.sin(x) @ np.eye(8, 4, dtype="f4"), addend),
        2,
    ),
    "two operands that share a value, elements": Program(
        {"x": ("n", 4, 2), "addend": ("n", 2, 4)},
        lambda x, addend: read_shared(sg.cumsum(x, axis=1).transpose((0, 2, 1)), addend),
        2,
    ),
    "what others read as well stays": Program(
        {"x": ("n", 8), "addend": ("n", 4)},
        lambda x, addend: {
            "y": read_shared(sg.sin(x) @ np.eye(8, 4, dtype="f4"), addend),
            "sums": sg.cumsum(sg.tanh(addend), axis=0),
        },
        holds=lambda s: len(s.steps) == 4,  # the sine, the product, what is shared, the sums
    ),
    "equal outputs": Program(
        {"x": ("n",)},
        lambda x: {"a": sg.exp(x), "b": sg.exp(x), "x": x, "k": sg.constant(2.0)},
        holds=no_arena,
    ),
    "maps that differ in one array": Program(
        dict.fromkeys("xyz", (300, 256)),
        lambda x, y, z: {"one": x * y, "other": x + y * z},
        holds=lambda s: readers(s) == 2,
    ),
    **{
        f"a rotation, {way}, {rows} rows": rotation(way, rows)
        for way in ("apart", "halves", "pairs", "slopes", "far")
        for rows in (300, "n")
    },
    # -- values beside their gradients
    "a sum and its gradients": Program(
        {"x": N, "y": N},
        lambda x, y: slopes((sg.exp(x * y) * sg.sin(x)).sum(), x, y),
        1,
        no_arena,
        dtypes=("float64",),
    ),
    "second derivatives": Program(
        {"x": N, "y": N},
        lambda x, y: {
            **slopes(loss := (sg.exp(x) * x).sum(), x), "hvp": sg.hvp(loss, x, y)
        },
        1,
        dtypes=("float64",),
    ),
    "a gradient that waits for the total": Program(
        {"x": N}, lambda x: slopes(sg.log(sg.exp(x).sum()), x), holds=lambda s: len(s.steps) > 1
    ),
    "a slope behind a product": Program(
        {"x": ("n", 8), "y": (8, 8)},
        lambda x, y: slopes(sg.square(sg.tanh(x) @ y).sum(), x),
        holds=lambda s: [
            sum(operand.mode == "out" for operand in step.kernel.operands)
            for step in s.steps if "tanh" in step.label
        ][:1] == [1],
    ),
    "neighbours are no elements": Program(
        {"x": N}, lambda x: slopes((sg.tanh(x) * sg.tanh(x)[::-1]).sum(), x),
        holds=lambda s: len(s.steps) > 1,
    ),
    **{
        f"a mean over {shape} and its gradients": Program(
            {"x": shape, "y": shape},
            lambda x, y: slopes(
                (sg.tanh(x * y) + sg.where(x > y, sg.exp(x), y * y)).mean(), x, y
            ) | {"h": x * y},
            dtypes=("float64",),
        )
        for shape in (("n",), ("n", 3), (4, "n", 2))
    },
    # -- products
    "a layer": Program(
        {"x": ("n", 10), "w": (10, 5), "b": (5,)},
        lambda x, w, b: sg.nn.relu(x @ w + b),
        1,
    ),
    "two products of a cell": Program(
        {"x": (7, 10), "w": (10, 5), "h": (7, 4), "u": (4, 5), "b": (5,)},
        lambda x, w, h, u, b: sg.tanh(x @ w + b + h @ u),
        3,
    ),
    "a product that is read before the other": Program(
        {"x": (7, 10), "w": (10, 5), "h": (7, 4), "u": (4, 5), "b": (5,)},
        lambda x, w, h, u, b: {
            "rows": sg.sin((first := x @ w + b).sum(axis=1)), "both": first + h @ u
        },
        5,
    ),
    "gradients of two products": Program(
        {"x": (7, 10), "w": (10, 5), "h": (7, 4), "u": (4, 5), "b": (5,)},
        lambda x, w, h, u, b: slopes(sg.square(x @ w + b + h @ u).sum(), w, u),
    ),
    **{
        f"a product read transposed, {flags}, {'beside' if beside else 'alone'}": Program(
            {"x": (9, 64) if flags[0] else (64, 9), "y": (70, 9) if flags[1] else (9, 70)},
            lambda x, y, flags=flags, beside=beside: {
                "t": (p := (x.T if flags[0] else x) @ (y.T if flags[1] else y)).T,
                **({"p": p} if beside else {}),
            },
            1 if any(flags) and not beside else 2,
        )
        for flags in ((True, False), (False, True), (True, True), (False, False))
        for beside in (False, True)
    },
    "an epilogue that reads an operand twice": Program(
        {"x": (6, 8), "p": (8, 4)},
        lambda x, p: sg.where(x[0, 0] > 100.0, p - x.T @ (x @ p), p),
        dtypes=("float64",),
    ),
    **{
        f"a residual layer over {shape}": Program(
            {"x": shape, "skip": shape, "w": (32, 32), "b": (32,)},
            lambda x, skip, w, b: slopes(sg.tanh(skip + sg.nn.silu(x @ w + b)).max(), w, b, x),
        )
        for shape in ((4, 6, 32), (2, 3, 4, 32), ("n", 6, 32), (7, 1, 32))
    },
    "what differs between matrices of a batch": Program(
        {"x": (3, 20, 8), "w": (8, 24), "place": (20, 24)},
        lambda x, w, place: sg.tanh(x @ w + place),
        1,
    ),
    "matrices by themselves": Program(
        {"x": (3, 5, 4), "y": (6, 1, 4), "w": (4, 7)},
        lambda x, y, w: {"square": x @ x.transpose(0, 2, 1), "held": y @ w + y[..., :1]},
        dtypes=("float64",),
    ),
    "two shapes of one copy": Program(
        {"x": (3, 4, 5, 8), "w": (32, 32)},
        lambda x, w: {
            "one": (t := x.transpose(0, 2, 1, 3)).reshape(3, 5, 32) @ w,
            "other": t.reshape(15, 32).T @ t.reshape(15, 32),
        },
        holds=lambda s: sum(step.label == "reshape" for step in s.steps) == 1,
    ),
    "columns times rows, added to a table": Program(
        {"x": ("n", 3, 1), "y": ("n", 1, 40), "i": labels("i", "n")},
        lambda x, y, i: sg.scatter_add(sg.swapaxes(x @ y, 1, 2), i, 7),
        holds=lambda s: [len(k.axes) for st in s.steps for k in st.kernels() if k.serial] == [1],
    ),
    "columns times rows, a result as well": Program(
        {"x": ("n", 3, 1), "y": ("n", 1, 40), "i": labels("i", "n")},
        lambda x, y, i: {"t": sg.scatter_add(sg.swapaxes(p := x @ y, 1, 2), i, 7), "p": p},
        holds=lambda s: [len(k.axes) for st in s.steps for k in st.kernels() if k.serial] == [2],
    ),
    # -- rows
    "a row sum beside its elements": Program(
        {"x": ("n", 10)}, lambda x: {"e": sg.exp(x), "s": sg.exp(x).sum(axis=1)}, 1
    ),
    "softmax and its gradient": Program(
        {"x": ("n", 100), "ct": ("n", 100)},
        lambda x, ct: {"y": (y := sg.nn.softmax(x)), "dx": sg.vjp(y, x, ct)},
        1,
    ),
    "a row in scratch": Program(
        {"x": ("n", 100)},
        lambda x: sg.sum(sg.tanh((e := sg.exp(x)) - e.sum(1, keepdims=True)), 1),
        1,
        lambda s: s.steps[0].kernel.text.count("exp") == 1,
    ),
    "two values of a row in one result": Program(
        {"x": ("n", 100)},
        lambda x: (
            (second := sg.tanh((e := sg.exp(x - sg.max(x, 1, keepdims=True)))
                               / e.sum(1, keepdims=True)))
            / sg.sum(second, 1, keepdims=True)
        ),
        1,
        lambda s: [operand.mode for operand in s.steps[0].kernel.operands] == ["in", "out"],
    ),
    "what is read behind a store is not written over": Program(
        {"x": ("n", 100)},
        lambda x: (e := sg.exp(x - sg.max(x, 1, keepdims=True))) / e.sum(1, keepdims=True) + x,
        1,
        lambda s: s.steps[0].kernel.in_place == frozenset(),
    ),
    "log softmax of a residual sum": Program(
        {"x": ("n", 600), "r": ("n", 600)}, lambda x, r: sg.nn.log_softmax(x + r) * 2.0, 1
    ),
    "rows of several axes": Program(
        {"x": ("n", 30, 20)}, lambda x: sg.nn.softmax(x, (1, 2)), 1,
        lambda s: len(s.steps[0].kernel.axes) == 1,
    ),
    "rows across memory": Program(
        {"x": ("n", 100)}, lambda x: sg.nn.softmax(x, 0), holds=lambda s: len(s.steps) > 1
    ),
    "rows by their own sums": Program({"x": (40, 40)}, lambda x: x * x.sum(1)[:, None], 1),
    "rows by sums along columns": Program({"x": (40, 40)}, lambda x: x * x.sum(1), 2),
    "rows by sums of other rows": Program(
        {"x": (40, 40)}, lambda x: x * x.sum(1)[::-1][:, None], 2
    ),
    "a path by way of another kernel": Program(
        {"x": ("n", 32), "w": (32, 32)},
        lambda x, w: sg.nn.softmax((y := sg.nn.softmax(x)) @ w) + y,
        3,
    ),
    **{
        f"cross entropy of {rows} rows": Program(
            {"x": (rows, 100), "t": labels("t", rows)}, cross_entropy, 2,
            lambda s: s.steps[0].kernel.text.count("exp") == 1,
            at=({"n": 1}, {"n": 7}, {"n": 130}) if rows == "n" else ({},), dtypes=FLOATS,
        )
        for rows in (300, "n")
    },
    "an element picked of each row": Program(
        {"x": ("n", 50), "t": labels("t", "n")},
        lambda x, t: sg.grad(sg.take_along_axis(sg.tanh(x), t[:, None], -1).sum(), x),
        1,
        lambda s: "serial" not in s.steps[0].kernel.text,
    ),
    "sums over other rows": Program(
        {"x": (100, 80, 40)},
        lambda x: {"a": (e := sg.nn.softmax(x)).sum(0), "b": e.sum((0, 1)), "e": e},
        holds=lambda s: sorted(k.grouped for step in s.steps for k in step.kernels())[-2] == 0,
    ),
    "sums of what a row adds up to": Program(
        {"x": (16, 10, 32), "w": (16, 1, 32), "b": (16, 10, 1)},
        lambda x, w, b: {
            "y": (y := 2.0 * (sg.sum(x * w, -1, keepdims=True) + b)), "total": y.sum((0, 1))
        },
        dtypes=("float64",),
    ),
    "a row in several runs": Program(
        {"x": ("n", 5, 8)},
        lambda x: (sg.sqrt(sg.abs(t := x.transpose(0, 2, 1))) + (t - 1.0) * t).sum((1, 2)),
        holds=lambda s: sum("copy" in step.label for step in s.steps) == 1,
        dtypes=("float64",),
    ),
    "several stages of rows in two runs": Program(
        {"x": (40, 3, 4), "y": (40, 1, 4)},
        lambda x, y: sg.nn.softmax(sg.transpose(x * y, (0, 2, 1)), (1, 2)),
    ),
    # -- columns
    "a column sum takes in what it reads alone": Program(
        {"x": ("n", 10)}, lambda x: sg.exp(x).sum(axis=0), 1
    ),
    "columns of few terms": Program(
        {"x": (40, 40), "g": (40,)},
        lambda x, g: sg.grad(sg.sum(sg.nn.softmax(x * g) * x), g),
        holds=lambda s: not any(k.grouped for step in s.steps for k in step.kernels()),
    ),
    **{
        f"a batch norm and its gradient, {rows} x {columns}": Program(
            of_rows(rows, columns), batch_norm, holds=lambda s: count_stored(s) == 0, dtypes=FLOATS
        )
        for rows, columns in ((257, 300), (4500, 17), (130, 64), (700, 100))
    },
    "a batch norm of named rows": Program(
        of_rows("n", 48), batch_norm, holds=lambda s: count_stored(s) == 0,
        at=({"n": 1}, {"n": 33}, {"n": 4097}),
    ),
    "the gradient of a layer norm": Program(
        of_rows(700, 100), layer_norm, holds=lambda s: len(s.steps) <= 3
    ),
    "what is in memory anyway is read there": Program(
        {"x": FULL, "h": FULL, "w": (100, 100)}, masked_columns,
        holds=lambda s: count_stored(s) == 1
    ),
    "columns of a result": Program(
        {"x": FULL, "h": FULL},
        lambda x, h: {
            "slope": (slope := sg.where(h > 0.0, x, 0.5 * x)),
            "bias": (slope * 2.0).sum(0),
            "again": sg.tanh(slope),
        },
    ),
    **{
        f"a variance, {rows} x {columns}": Program(
            {"x": (rows, columns)}, variance, holds=lambda s: count_stored(s) == 0, dtypes=FLOATS,
            at=({"n": 1}, {"n": 33}, {"n": 4097}) if rows == "n" else ({},),
        )
        for rows, columns in ((257, 300), (4500, 17), (900, 64), ("n", 100))
    },
    **{
        f"products that one kernel reads, {rows} x {columns}": Program(
            {"x": (3, rows, columns), "u": (3, columns), "m": (3, columns, columns)},
            scaled_product, holds=lambda s: count_stored(s) == 0, dtypes=FLOATS,
            at=({"n": 0}, {"n": 1}, {"n": 33}, {"n": 4097}) if rows == "n" else ({},),
        )
        for rows, columns in ((300, 40), (4500, 17), ("n", 40))
    },
    "squares that are a result": Program(
        {"x": FULL},
        lambda x: variance(x) | {"squares": (x - x.mean(0)) * (x - x.mean(0))},
    ),
    "squares that a product reads": Program(
        {"x": FULL, "w": (100, 20)},
        lambda x, w: variance(x) | {"rows": ((a := x - x.mean(0)) * a) @ w},
        holds=lambda s: count_stored(s) == 1,
    ),
    "a chain moves as far as that spares bytes": Program(
        {"x": FULL},
        lambda x: {"y": (y := sg.tanh(x)), "sum": (y * y * 2.0 + 1.0).sum(0)},
        holds=lambda s: count_stored(s) == 0,
    ),
    "a chain of more operands": Program(
        {"x": FULL, "z": FULL, "v": FULL},
        lambda x, z, v: {"y": (y := sg.tanh(x)), "sum": (y * z * sg.exp(z) * v).sum(0)},
    ),
    # -- reductions of one array
    **{
        f"a logistic regression, {rows} x {columns}": Program(
            {"x": (rows, columns), "w": (columns,), "v": (columns,)}, logistic,
            holds=lambda s: readers(s) == 1, dtypes=("float32", "float64"),
        )
        for rows, columns in ((4500, 37), (700, 100), (257, 300))
    },
    **{
        f"a logistic regression across memory, {rows} x {columns}": Program(
            {"x": (columns, rows), "w": (columns,), "v": (columns,)},
            lambda x, w, v: logistic(x.T, w, v),
            holds=lambda s: readers(s) == 2, dtypes=("float32", "float64"),
        )
        for rows, columns in ((4500, 37), (700, 100), (257, 300))
    },
    "a logistic regression of named rows": Program(
        {"x": ("n", 100), "w": (100,), "v": (100,)}, logistic, holds=lambda s: readers(s) == 1,
        at=tuple({"n": n} for n in (0, 1, 15, 64, 65, 4097)),
    ),
    **{
        f"a reduction that reads another, {size}": Program(
            {"x": (size,), "a": (size,)},
            lambda x, a: {
                "least": (least := x.min()), "rest": sg.where(x > least, 0.0, a).sum()
            },
            holds=lambda s: readers(s) == 2, at=({"n": 300},),
        )
        for size in ("n", 70_000)
    },
    "sums that wait for another": Program(
        {"x": (400, 400), "w": (400,)},
        lambda x, w: {"y": sg.tanh(x @ w) @ x, "z": x @ (x @ w)},
        holds=lambda s: readers(s) == 3,
    ),
    "chained sums": Program(
        {"x": (400, 400), "w": (400,)},
        lambda x, w: x @ sg.tanh(x @ sg.tanh(x @ w)),
        holds=lambda s: readers(s) == 3,
    ),
    "nine sums of one matrix": Program(
        {"x": (300, 300), **{f"v{k}": (300,) for k in range(9)}},
        lambda x, **v: {f"y{name}": vector @ x for name, vector in v.items()},
        holds=lambda s: readers(s) == 3,  # of each sum there are accumulators
    ),
    "sums of several dtypes": Program(
        {"x": (500, 200), "u": (500,)},
        lambda x, u: {
            "a": u @ x, "b": ((wide := x.astype("float64")) * wide).sum(0), "c": x.sum(1),
            "d": wide.sum(1),
        },
    ),
    # -- long rows, in pieces
    "a long row": Program({"x": (LONG_ROW,)}, lambda x: tangents(x).sum(), 2),
    "a long row and its gradient": Program(
        {"x": (LONG_ROW,)}, lambda x: slopes(tangents(x).sum(), x), 2,
        lambda s: totals(s) == [str(LONG_ROW // CHUNK), "1"],
    ),
    **{
        f"a row that is taken whole, {shape}": Program(
            {"x": shape}, lambda x: sg.exp(x).sum(-1),
            holds=lambda s: not any("of blocks" in k.text for st in s.steps for k in st.kernels()),
        )
        for shape in ((LONG_ROW - 1,), (8, LONG_ROW), (LONG_ROW, 3))
    },
    **{
        name: Program(
            {"x": (LENGTH,)}, build, at=tuple({"length": n} for n in ENDS), dtypes=FLOATS
        )
        for name, build in LONG.items()
    },
    **{
        f"{rows} rows over all axes": Program(
            {"x": (rows, LENGTH), "k": sg.input("k", (rows, LENGTH), "int32")},
            lambda x, k: {
                "all": (x * x).sum(), "rows": x.T.sum(0), "k": (k << 30).sum(1), "m": k.max()
            },
            at=({"length": 1}, {"length": 3 * CHUNK + 17}),
        )
        for rows in (1, 3)
    },
    "a sum of no elements": Program({"x": (LENGTH,)}, lambda x: x.sum(), at=({"length": 0},)),
    # -- stencils
    **{
        f"{name} of few and its gradient": Program(
            {"x": (5000,)}, lambda x, form=form: slopes(form(x), x),
            holds=lambda s: {*totals(s)} == {"1"},
        )
        for name, form in STENCILS.items()
    },
    **{
        f"{name} of many and its gradient": Program(
            {"x": (LENGTH,)}, lambda x, form=form: slopes(form(x), x), dtypes=FLOATS,
            at=tuple({"length": n} for n in (3, 17, 4097, 4098, CHUNK + 3, 3 * CHUNK + 40)),
        )
        for name, form in STENCILS.items()
    },
    "a difference of no terms": Program(
        {"x": (LENGTH,)}, lambda x: slopes(STENCILS["difference"](x), x), at=({"length": 1},)
    ),
    "pieces of a stencil": Program(
        {"x": (4 * LONG_ROW,)}, lambda x: slopes(STENCILS["difference"](x), x),
        holds=lambda s: totals(s)[0] == str(4 * LONG_ROW // CHUNK) and {*totals(s)[1:]} <= {"1"},
    ),
    "differences along two axes": Program(
        {"x": (60, 50)},
        lambda x: slopes(((x[1:] - x[:-1]) ** 2).sum() + ((x[:, 1:] - x[:, :-1]) ** 2).sum(), x),
        2,
    ),
    "a stencil whose gradient waits": Program(
        {"x": (5000,)},
        lambda x: slopes(sg.log(STENCILS["difference"](x) + 1.0), x),
        holds=lambda s: not any("-0.0" in str(step.kernel) for step in s.steps),
    ),
    **{
        f"differences along {along} of a cube, summed over {axes}": Program(
            {"x": (5, 9, 33)},
            lambda x, along=along, axes=axes: slopes(
                ((x[(slice(None),) * along + (slice(1, None),)]
                  - x[(slice(None),) * along + (slice(None, -1),)]) ** 2).sum(axis=axes), x
            ),
            dtypes=("float64",),
        )
        for along in (0, 1, 2)
        for axes in (None, (1, 2), (0, 2), 0, -1)
    },
    **{
        f"a filter of {taps} taps": Program(
            {"x": (64, 64)},
            lambda x, taps=taps: slopes(
                (sum(x[:, k : k + 65 - taps] * (0.1 * (k + 1)) for k in range(taps)) ** 2).sum(), x
            ),
            holds=lambda s, taps=taps: (
                (max(str(st.kernel).count("load") for st in s.steps) >= taps * taps) == (taps == 3)
            ),
        )
        for taps in (3, 7)
    },
    # -- joins and parts
    **{
        f"a join of {name}": Program(
            {f"x{n}": shape for n, shape in enumerate(shapes)},
            lambda build=build, **x: build(*x.values()),
            1,
            dtypes=("float32", "int64", "bool", "float16"),
        )
        for name, (shapes, build) in JOINS.items()
    },
    "a join of nine parts": Program(
        {"x": ("n", 20)}, lambda x: sg.concatenate([x] * 9, 1), 2  # eight loops at most
    ),
    "parts one behind the other": Program(
        {"x": ("n", 20), "y": ("n", 20)}, lambda x, y: sg.concatenate([x, y], 0), 2
    ),
    "parts across memory": Program({"x": (30, 30)}, lambda x: sg.concatenate([x, x.T], 1), 2),
    "parts of few rows": Program({"x": (4, 30)}, lambda x: sg.concatenate([x, x], 1), 2),
    "a part of less than a vector": Program(
        {"x": ("n", 20), "y": ("n", 20)}, lambda x, y: sg.concatenate([x[:, :3], y], 1), 2
    ),
    "a part of what is computed": Program(
        {"x": ("n", 20), "y": ("n", 20)},
        lambda x, y: {"y": sg.concatenate([(e := sg.exp(x))[:, ::-1], y], 1), "e": e},
        3,
    ),
    "two joins over one shape": Program(
        {"x": (30, 20), "y": (30, 20)},
        lambda x, y: {"a": sg.concatenate([x, y], 1), "b": sg.concatenate([x, y, x], 1)},
        holds=lambda s: len({step.kernel.text for step in s.steps}) == 2,
    ),
    "the gradient of a slice": Program(
        {"x": (40,), "y": (20,)}, lambda x, y: sg.grad((x[10:30] * y).sum(), x), 1
    ),
    **{
        f"differences of {size} neighbours": Program(
            {"x": (size,)}, lambda x: sg.grad(sg.exp(sg.sin(x[1:] - x[:-1])).sum(), x), 2
        )  # one for what is padded, one that reads it at two places
        for size in (40, "n")
    },
    **{
        f"a valley of {size} numbers": Program(
            {"x": (size,)}, lambda x: slopes(valley(x), x), 1 if size == 1000 else 2,
            dtypes=("float32", "float64"),
            at=tuple({"n": n} for n in (1, 2, 16, 17, 18, 33, 1000)) if size == "n" else ({},),
        )
        for size in (1000, "n")
    },
    "a plate": Program(
        {"x": (30, 40)},
        lambda x: sg.grad(
            ((4.0 * x[1:-1, 1:-1] - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:]) ** 2)
            .sum(), x,
        ),
        holds=lambda s: len(s.steps) == 2,  # one alone computes what it reads five times
    ),
    "what is dear is computed once": Program(
        {"x": (1000,)}, lambda x: sg.grad(sg.sin(sg.exp(x[1:] * x[:-1])).sum(), x),
        holds=lambda s: len(s.steps) == 2,
    ),
    "what is stored anyway is computed once": Program(
        {"x": (1000,)}, lambda x: {"y": (y := x[1:] * x[:-1]), "pad": sg.pad(y, ((1, 1),))},
        holds=lambda s: len(s.steps) == 2,
    ),
    "a roll": Program({"x": (40,)}, lambda x: sg.roll(x, 3) * x, 1),
    "a shift": Program({"x": (40,)}, lambda x: sg.concatenate([x[:1], x[:-1]]) - x, 1),
    "many parts": Program(
        {"x": (6, 40)},
        lambda x: (j := sg.concatenate([sg.sin(x[k]) for k in range(6)])) * j,
        holds=lambda s: all("in n" not in str(step.kernel) for step in s.steps),
    ),
    "padded rows in short steps": Program(
        {"x": ("n", 60)}, lambda x: sg.pad(x[:, ::2], ((1, 1), (1, 1))), 1,
        lambda s: "]*2]" in s.steps[0].kernel.text,
    ),
    **{
        f"a pad of what is broadcast from {shape}": Program(
            {"x": (3, 4), "y": shape},
            lambda x, y: sg.pad(x * y + 1.0, ((2, 0), (0, 3))) * 2.0,
        )
        for shape in ((3, 1), (1, 4), (1, 1), (4,), (1,))
    },
    **{
        f"positions of {shape} in a join": Program(
            {"x": shape},
            lambda x: {
                "part": (p := x + sg.iota(x.shape, x.ndim - 1, x.dtype)),
                "joined": sg.concatenate([p, p * 2.0, x], 0),
            },
        )
        for shape in (("n", 1), (1, "n"), (1, "n", 1))
    },
    **{
        f"gates of {batch} rows, {gap} apart": Program(
            {"z": (batch, 3 * (20 + gap)), "w": (3 * (20 + gap), 9)},
            functools.partial(gate, gap=gap),
            holds=lambda s, gap=gap: (
                sum("concat" in step.label for step in s.steps) == (3 if gap else 0)
            ),
        )
        for batch in (24, "n")
        for gap in (0, 3)
    },
    **{
        f"a part that is its own gradient's, {shape}, {lone}": Program(
            {"x": shape, "y": (1,)},
            lambda x, y, lone=lone: {
                "loss": (loss := sg.tanh(x[4:10:2] * 0.5).sum()
                         + (0.0 if lone else sg.tanh(y * 0.5).sum())),
                "of x": sg.grad(loss, x),
                "part": x[4:10:2] + y * 0.0,
            },
            dtypes=("float64",),
        )
        for shape in ((17, 3), (17, 17, 17))
        for lone in (False, True)
    },
    # -- positions
    **{
        f"positions along {axis} of {shape}, summed over {over}": Program(
            {"x": ()}, lambda x, a=(shape, axis, over): x + sg.iota(*a[:2], "float64").sum(a[2])
        )
        for shape, axis, over in (
            ((1, 18), 1, 0), ((1, 18), 0, 0), ((18, 1), 0, 1), ((3, 18), 1, 0), ((3, 18), 0, 1),
            ((2, 3, 18), 2, (0, 1)), ((2, 3, 18), 1, (1, 2)), ((1, 1, 18), 2, (0, 1)),
            ((1, 4, 5), 1, 0), ((4, 1, 5), 2, (1, 2)), ((4, 5, 1), 0, (0, 2)), ((2, 3), 1, (0, 1)),
        )
    },
    # -- what differs in one thing
    "formulas of one size, constant or operand each": Program(
        {"x": ("n", 4), "y": ("n", 5)},
        lambda x, y: {
            "a": sg.tanh(x) + 1.0, "b": sg.tanh(x) + 2.0, "c": sg.tanh(y) + 1.0,
            "d": sg.tanh(x) + x, "e": sg.tanh(x) + x[::-1], "zero": x * 0.0,
            "minus zero": x * -0.0,
        },
        dtypes=("float64",),
    ),
    "differences of columns, both ways": Program(
        {"x": (5, 6)}, lambda x: {"there": x[:, 2] - x[:, 1], "back": x[:, 1] - x[:, 2]}
    ),
    "one place of one array, two of another": Program(
        {"x": (6, 4), "y": (6, 4)},
        lambda x, y: {"apart": sg.exp(x[1:]) * x[:-1], "together": sg.exp(y[1:]) * y[1:]},
    ),
    "parts of a row in other places": Program(
        {"x": (64, 16), "y": (64, 16)},
        lambda x, y: {
            name: sg.concat(
                [x, sg.broadcast_to(s := x.sum(axis=1, keepdims=True), (64, n)), y,
                 sg.broadcast_to(s, (64, 3 - n))], axis=1)
            for n, name in ((1, "near"), (2, "far"))
        },
    ),
    "one value beside its neighbours": Program(
        {"x": ("n", 40), "w": (40, 7)},
        lambda x, w: {
            "sum": ((h := sg.tanh(x @ w)) * h).sum(0), "soft": sg.nn.softmax(h, 1),
            "norm": sg.nn.layer_norm(h), "slope": sg.grad(sg.exp(h).sum(), x), "mean": h.mean(),
        },
    ),
    "positions inside a column reduction": Program(
        {"x": ("n", 4), "i": labels("i", "n")},
        lambda x, i: {
            "triangle": sg.tril(x).sum(0), "upper": sg.maximum(sg.triu(x, 1), 0).max(0),
            "counts": sg.one_hot(i, 9, dtype="float32").sum(0),
            "places": (x * sg.iota(x.shape, 0, x.dtype) + sg.iota(x.shape, 1, x.dtype)).sum(0),
            "largest": sg.argmax(x, 0),
        },
    ),
    "lookups beside products and inside column reductions": Program(
        {"x": ("n", 4), "w": (4, 5), "table": (7, 5), "i": labels("i", "n")},
        lambda x, w, table, i: {
            "sum": x @ w + (rows := sg.take(table, i, 0)), "columns": rows.sum(0),
            "most": (rows * 2).max(0),
        },
    ),
    "an empty constant under a named size": Program(
        {"x": N}, lambda x: sg.broadcast_to(np.zeros((0, 1), "f4"), (0, x.shape[0])) + x
    ),
    # -- operands of one shape
    "rows and columns of a square": Program(
        {"a": ("n", "n"), "d": N},
        lambda a, d: slopes((a * d[:, None] * d[None, :]).sum(), d),
        at=tuple({"n": n} for n in (40, 64, 100, 300)), dtypes=("float64",),
    ),
    "a sum of row sums and column sums": Program(
        {"x": (100, 100)}, lambda x: x.sum(axis=0) + x.sum(axis=1), dtypes=("float64",)
    ),
}  # fmt: skip


def built(row, dtype):
    inputs = {
        name: shape if isinstance(shape, sg.Value) else sg.input(name, shape, dtype)
        for name, shape in row.inputs.items()
    }
    return sg.Graph(row.build(**inputs))


@pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name, row in PROGRAMS.items() for dtype in row.dtypes]
)
def test_kernels_are_shared(name, dtype):
    row = PROGRAMS[name]
    schedule = schedule_of(built(row, dtype))
    if row.kernels is not None:
        assert len(schedule.steps) <= row.kernels
    if row.holds is not None and dtype == ("float32" if "float32" in row.dtypes else "float64"):
        assert row.holds(schedule)


@pytest.mark.thinned(4)
@pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name, row in PROGRAMS.items() for dtype in row.dtypes]
)
def test_results_are_those_of_single_kernels(name, dtype):
    row = PROGRAMS[name]
    graph = built(row, dtype)
    check(graph, *(drawn(graph, seed, **sizes) for seed, sizes in enumerate(row.at)))


POLICIES = {
    "a batch norm that is read deeper": Program(
        of_rows(600, 70),
        lambda **inputs: (
            (results := batch_norm(**inputs))
            | {"deeper": sg.tanh(results["y"] * results["dx"]).sum(0)}
        ),
    ),
    "a chain behind a product": Program(
        {"x": FULL, "w": (100,), "v": (100,)},
        lambda x, w, v: (
            slopes(loss := (sg.tanh(sg.tanh(x @ w) ** 2) ** 2).sum(), w)
            | {"hvp": sg.hvp(loss, w, v)}
        ),
    ),
}


@pytest.mark.thinned(2)
@pytest.mark.parametrize("name", POLICIES)
def test_policies_change_no_byte(name):
    """Merged kernels run in the first possible phase: policies may run them again."""
    graph = built(POLICIES[name], "float32")
    policies = [{"checkpoint": "recompute"}, {"checkpoint": "sqrt"}]
    f = check(graph, drawn(graph), ways=({"fuse": False}, *policies))
    assert f.peak_bytes == f.plan().peak_bytes


def test_an_element_of_a_row_that_depends_on_positions_is_computed_at_its_index():
    """The row is not stored: what its label selects is computed again, at the label's position."""
    x, labels = sg.input("x", (5, 37), "float64"), sg.input("labels", (5,), "int64")
    bias = sg.arange(5)[:, None] * sg.arange(37) * 0.01
    program = sg.compile({"loss": sg.nn.cross_entropy(x + bias, labels)})
    random = np.random.default_rng(0)
    logits, places = random.normal(size=(5, 37)), random.integers(0, 37, 5)
    z = logits + np.arange(5)[:, None] * np.arange(37) * 0.01
    expected = np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(5), places])
    loss = program.run({"x": logits, "labels": places})["loss"]
    np.testing.assert_allclose(loss, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("outer", "rows", "width"), [((4,), 300, 24), ((2, 3), 700, 9), ((), 600, 24)]
)
def test_sums_of_columns_beside_rows_for_each_index_of_outer_axes(outer, rows, width):
    """Groups of rows do not go on over the end of a matrix."""
    x = sg.input("x", (*outer, rows, width), "float64")
    y = sg.nn.softmax(x)
    program = sg.compile({"y": y, "sums": (y * x).sum(-2), "most": (y * x).max(-2)})
    array = np.random.default_rng(0).normal(size=x.shape)
    powers = np.exp(array - array.max(-1, keepdims=True))
    expected = powers / powers.sum(-1, keepdims=True)
    results = program.run({"x": array})
    np.testing.assert_allclose(results["y"], expected, rtol=1e-12)
    np.testing.assert_allclose(results["sums"], (expected * array).sum(-2), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(results["most"], (expected * array).max(-2), rtol=1e-12)
