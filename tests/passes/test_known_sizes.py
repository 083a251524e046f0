"""What kernels rely on of their sizes: proven of every step, decided by all, and no bit depends."""

from dataclasses import replace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import VerifyError
from staticgrad.ir.execution import Known
from staticgrad.ir.schedule import KernelStep
from staticgrad.ir.schedule_text import parse_schedule
from staticgrad.ir.verify_schedule import verify_schedule
from staticgrad.lowering.fuse import fuse
from tests.diagonals import diagonals

RNG = np.random.default_rng(0)


def norm_of_product(m, k, n):
    """Products both ways, rows that are reduced twice, sums over rows, and gradients of all."""
    a, b = sg.input("a", (m, k), "float32"), sg.input("b", (k, n), "float32")
    z = sg.tanh(a @ b)
    rows = (z - z.mean(1, keepdims=True)) / sg.sqrt((z * z).sum(1, keepdims=True) + 1.0)
    loss = (sg.nn.softmax(rows) * z).sum()
    da, db = sg.grad(loss, [a, b])
    return sg.Graph({"rows": rows, "loss": loss, "da": da, "db": db}, name="norm")


@pytest.mark.slow
@diagonals(
    2,
    (
        "shape",
        [(64, 32, 128), (3, 128, 64), (2, 3, 96), (4, 4096, 48), (5, 4100, 16), (33, 65, 4160)],
    ),
    ("threads", [1, 2]),
)
def test_named_and_literal_sizes_have_the_same_bytes(shape, threads):
    m, k, n = shape
    feeds = {"a": RNG.normal(size=(m, k)).astype("f4"), "b": RNG.normal(size=(k, n)).astype("f4")}
    literal = sg.compile(norm_of_product(m, k, n), threads=threads).run(feeds)
    named = sg.compile(norm_of_product("m", "k", "n"), threads=threads).run(feeds)
    half = sg.compile(norm_of_product("m", k, n), threads=threads).run(feeds)
    for name, wanted in named.items():
        np.testing.assert_array_equal(literal[name], wanted, strict=True)
        np.testing.assert_array_equal(half[name], wanted, strict=True)


def products(*columns):
    """One product for each number of columns."""
    x = sg.input("x", (64, 32), "float32")
    weights = {f"w{n}": sg.input(f"w{n}", (32, n), "float32") for n in columns}
    return fuse(sg.Graph({f"y{name}": x @ w for name, w in weights.items()}))


def kernels_of(schedule):
    return [step for step in schedule.steps if isinstance(step, KernelStep)]


def test_a_step_of_other_sizes_is_refused():
    schedule = products(1024)
    assert parse_schedule(str(schedule)) == schedule
    step = kernels_of(schedule)[0]
    (known,) = (each for each in step.kernel.known if each.multiple == 32)
    assert known.uneven  # tiles read rows of so many elements
    columns = step.kernel.known[2]
    for right, wrong in (
        (known, replace(known, multiple=64)),
        (known, replace(known, most=16)),
        (columns, replace(columns, uneven=True)),
        (known, Known("n9", 2)),
    ):
        told = tuple(wrong if each is right else each for each in step.kernel.known)
        changed = replace(step, kernel=replace(step.kernel, known=told))
        with pytest.raises(VerifyError):
            verify_schedule(replace(schedule, steps=(changed,)))
