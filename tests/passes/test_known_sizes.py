"""What kernels rely on of their sizes: proven of every step, decided by all, and no bit depends."""

from dataclasses import replace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import VerifyError
from staticgrad.ir.execution import Known, known_of
from staticgrad.ir.schedule import KernelStep
from staticgrad.ir.schedule_text import parse_schedule
from staticgrad.ir.verify_schedule import verify_schedule
from staticgrad.lowering.fuse import fuse
from tests.diagonals import diagonals

RNG = np.random.default_rng(0)
BATCH = sg.dim("batch")


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


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ([128], Known("n", 64, True, True, uneven=True)),
        ([128, 48], Known("n", 16, True, True, uneven=True)),
        ([1], Known("n", 1, True, False, 1, uneven=True)),
        ([0], Known("n", 64, False, True, 1)),
        ([4097], Known("n", 1, False, True, uneven=True)),
        ([3, 2048], Known("n", 1, True, True)),
        ([64 * BATCH], Known("n", 64, False, True)),
        ([64 * BATCH + 32, 3], Known("n", 1, False, True)),
        ([BATCH], Known("n")),
        ([BATCH + 3], Known("n", many=True)),
        ([2 * BATCH], Known("n", 2)),
        ([sg.dim("rows", min=1, max=40)], Known("n", short=True, most=40)),
        ([9, 16], Known("n", 1, True, True, 16, uneven=True)),
        ([10, 65], Known("n", 1, True, True, uneven=True)),
    ],
)
def test_what_holds_of_sizes(sizes, wanted):
    assert known_of("n", sizes) == wanted
    for size in sizes:
        assert wanted.holds(size)


def products(*columns):
    """One product for each number of columns."""
    x = sg.input("x", (64, 32), "float32")
    weights = {f"w{n}": sg.input(f"w{n}", (32, n), "float32") for n in columns}
    return fuse(sg.Graph({f"y{name}": x @ w for name, w in weights.items()}))


def kernels_of(schedule):
    return [step for step in schedule.steps if isinstance(step, KernelStep)]


def test_all_steps_of_a_kernel_decide_together():
    alone, both = kernels_of(products(64)), kernels_of(products(64, 65))
    assert len({step.kernel for step in both}) == 1
    assert [known.multiple for known in alone[0].kernel.known] == [32, 64, 64]
    assert [known.multiple for known in both[0].kernel.known] == [32, 64, 1]


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
