"""Kernels with loops of stages by their text, ``loop_kernels/*.txt``: what they compute, by every
reader, beside NumPy in float64.

A time loop inside the kernel over groups of batch rows, forward and backward; numbers carried from
step to step of an integrator, and its gradient; scans; recurrences that solve systems; the tiles of
attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.codegen.kernels_on_file import assert_close, kernel_of, run
from tests.diagonals import diagonals
from tests.native.support import LONG_BY_NUMBA, MODES, Array, Mode, assert_same

RNG = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype("f4")


def made(name: str, sizes: Sequence[int], mode: Mode, **given: Array) -> dict[str, Array]:
    return run(kernel_of("loop_kernels", name), sizes, mode, given)


# -- time loops -----------------------------------------------------------------------------------

#: Iterations, batch rows, units, batch rows of a group.
TIMES = [(1, 1, 1, 1), (3, 5, 7, 2), (4, 9, 17, 8), (0, 2, 3, 2)]


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def lstm(z: Array, h: Array, c: Array, u: Array) -> tuple[Array, Array, list[Array]]:
    """Stacked hidden and cell states in float64, and the gates (i, f, g, o) of each iteration."""
    hidden, cells, gates = [h.astype("f8")], [c.astype("f8")], []
    for before in z:
        parts = np.split(before + hidden[-1] @ u, 4, 1)
        i, f, o = (sigmoid(parts[n]) for n in (0, 1, 3))
        g = np.tanh(parts[2])
        gates.append(np.concatenate([i, f, g, o], 1))
        cells.append(f * cells[-1] + i * g)
        hidden.append(o * np.tanh(cells[-1]))
    return np.stack(hidden), np.stack(cells), gates


def lstm_sizes(iterations: int, batch: int, units: int, rows: int) -> list[int]:
    groups = -(-batch // rows)
    wide = 4 * units
    return [
        groups,
        iterations,
        rows,
        wide,
        units,
        batch * units,
        batch,
        batch * wide,
        2 * units,
        3 * units,
    ]


@pytest.mark.parametrize(("iterations", "batch", "units", "rows"), TIMES)
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_lstm_and_its_gradient(
    iterations: int, batch: int, units: int, rows: int, mode: Mode
) -> None:
    z, u = normal(iterations, batch, 4 * units), normal(units, 4 * units) / np.float32(units**0.5)
    h, c = normal(iterations + 1, batch, units), normal(iterations + 1, batch, units)
    hidden, cells, gates = lstm(z.astype("f8"), h[0], c[0], u.astype("f8"))
    sizes = lstm_sizes(iterations, batch, units, rows)
    made("lstm", sizes, mode, p0=z, p1=h, p2=c, p3=u)
    assert_close(h, hidden)
    assert_close(c, cells)
    dh, dc = normal(batch, units), normal(batch, units)
    true_dh, true_dc, true_dz = dh.astype("f8"), dc.astype("f8"), []
    for iteration in reversed(range(iterations)):
        i, f, g, o = np.split(gates[iteration], 4, 1)
        s = np.tanh(cells[iteration + 1])
        e = true_dc + true_dh * o * (1 - s * s)
        d = [
            e * g * i * (1 - i),
            e * cells[iteration] * f * (1 - f),
            e * i * (1 - g * g),
            true_dh * s * o * (1 - o),
        ]
        true_dz.insert(0, np.concatenate(d, 1))
        true_dh, true_dc = true_dz[0] @ u.astype("f8").T, e * f
    made(
        "lstm_gradient", [*sizes, iterations - 1, iterations], mode, p0=z, p1=c, p2=dh, p3=dc, p4=u
    )
    assert_close(dh, true_dh, 1e-5)
    assert_close(dc, true_dc, 1e-5)
    assert_close(z, np.array(true_dz), 1e-5)


@pytest.mark.parametrize(("iterations", "batch", "units", "rows"), TIMES)
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_recurrent_network(iterations: int, batch: int, units: int, rows: int, mode: Mode) -> None:
    z, u = normal(iterations, batch, units), normal(units, units) / np.float32(units**0.5)
    h = normal(iterations + 1, batch, units)
    true = [h[0].astype("f8")]
    for before in z.astype("f8"):
        true.append(np.tanh(before + true[-1] @ u))
    sizes = [-(-batch // rows), iterations, rows, 0, units, batch * units, batch]
    made("rnn", sizes, mode, p0=z, p1=h, p2=u)
    assert_close(h, np.stack(true))


# -- numbers that are carried ---------------------------------------------------------------------


def lorenz(parameters: Array, state: Array, iterations: int) -> Array:
    """Every state of the fourth-order Runge-Kutta method, in long double."""
    s, r, b, h = parameters.astype("g")

    def slope(q: Array) -> Array:
        x, y, z = q
        return np.array([s * (y - x), x * (r - z) - y, x * y - b * z])

    found = [state.astype("g")]
    for _ in range(iterations):
        q = found[-1]
        k1 = slope(q)
        k2 = slope(q + h / 2 * k1)
        k3 = slope(q + h / 2 * k2)
        k4 = slope(q + h * k3)
        found.append(q + h / 6 * (k1 + 2 * (k2 + k3) + k4))
    return np.stack(found)


@diagonals(2, ("mode", MODES), ("iterations", [0, 1, 40]), daily="vector")
def test_an_integrator_and_its_gradient(iterations: int, mode: Mode) -> None:
    parameters = np.array([10, 28, 8 / 3, 0.01])
    states = RNG.normal(size=(2, iterations + 1, 3)) + np.array([1, 1.5, 20])
    true = [lorenz(parameters, state[0], iterations) for state in states]
    sizes = [2, iterations, 3 * (iterations + 1)]
    made("lorenz", sizes, mode, p0=parameters, p1=states)
    for state, stack in zip(states, true, strict=True):
        assert_close(state, stack.astype("f8"), 1e-12)
    slopes = np.zeros((2, 6))
    slopes[:, :3] = 1
    last = 3 * (iterations - 1)
    made(
        "lorenz_gradient",
        [*sizes, last, last + 1, last + 2],
        mode,
        p0=parameters,
        p1=states,
        p2=slopes,
    )
    for state, found in zip(states, slopes, strict=True):
        assert_close(
            found,
            np.array([difference(parameters, state[0], iterations, n) for n in range(6)]),
            1e-7,
        )


def difference(parameters: Array, state: Array, iterations: int, at: int) -> float:
    """The slope of the sum of the last state by a number of the first one, or by a parameter."""
    ends = []
    for step in (1e-7, -1e-7):
        moved = [state.astype("g"), parameters.astype("g")]
        moved[at // 3][at % 3] += step
        ends.append(lorenz(moved[1], moved[0], iterations)[-1].sum())
    return float((ends[0] - ends[1]) / 2e-7)


@pytest.mark.parametrize(("rows", "iterations"), [(1, 0), (1, 3), (7, 1), (33, 4), (150, 2)])
@pytest.mark.parametrize("mode", MODES)
def test_rows_in_lanes(rows: int, iterations: int, mode: Mode) -> None:
    """h = a * h + x[t], t falling, in each row; a number that only the first row stores."""
    a, first, x = np.float32([0.75]), normal(rows, 3), normal(iterations, rows)
    h, stack = first[:, 1].copy(), np.full((iterations, rows), np.nan, "f4")
    last = np.full(2 * rows, np.nan, "f4")
    sizes = [rows, iterations, iterations - 1, rows]
    made("decay", sizes, mode, p0=a, p1=first, p2=x, p3=stack, p4=last)
    true = []
    for t in reversed(range(iterations)):
        h = a * h + x[t]
        true.append(h)
    assert_same(stack, np.array(true, "f4").reshape(iterations, rows), "stack")
    assert_same(last[::2], h, "last")
    assert last[1] == np.float32(0.5) ** iterations
    assert np.isnan(last[3::2]).all()


# -- scans ----------------------------------------------------------------------------------------


@diagonals(
    2,
    ("mode", MODES),
    ("name", ["running_sum", "running_maximum"]),
    ("rows,columns", [(0, 3), (1, 1), (5, 33), (70, 16)]),
    daily="vector",
)
def test_running_totals(rows: int, columns: int, name: str, mode: Mode) -> None:
    x, y = normal(2, rows, columns), normal(2, rows, columns)
    made(name, [2, rows, rows * columns, columns], mode, p0=x, p1=y)
    if name == "running_sum":
        assert_same(y, np.cumsum(x, 1, dtype="f4"), name)
    else:
        assert_same(y, np.maximum.accumulate(x, 1), name)


@pytest.mark.parametrize("length", [0, 1, 50])
@pytest.mark.parametrize("mode", MODES)
def test_a_linear_recurrence(length: int, mode: Mode) -> None:
    a, x, y = (normal(3, length) for _ in range(3))
    made("linear_recurrence", [3, length], mode, p0=a, p1=x, p2=y)
    true = np.zeros((3, length))
    state = np.zeros(3)
    for at in range(length):
        state = a[:, at] * state + x[:, at]
        true[:, at] = state
    assert_close(y, true)


# -- systems --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "systems", "group"), [(1, 1, 1), (5, 4, 2), (30, 40, 20)])
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_tridiagonal_systems(size: int, systems: int, group: int, mode: Mode) -> None:
    below, above, right = (RNG.normal(size=(size, systems)) for _ in range(3))
    diagonal = 4 + RNG.normal(size=(size, systems)) / 4
    wanted = []
    for n in range(systems):
        whole = np.diag(diagonal[:, n]) + np.diag(above[:-1, n], 1) + np.diag(below[1:, n], -1)
        wanted.append(np.linalg.solve(whole, right[:, n]))
    sizes = [systems // group, size, group, systems, size - 1]
    made("tridiagonal", sizes, mode, p0=below, p1=diagonal, p2=above, p3=right)
    assert_close(right, np.stack(wanted, 1), 1e-12)


@diagonals(2, ("mode", MODES), ("size", [1, 7, 40]), daily="vector")
def test_triangular_systems(size: int, mode: Mode) -> None:
    lower = np.tril(RNG.normal(size=(3, size, size)) / size) + np.eye(size)
    right = RNG.normal(size=(3, size))
    true = np.linalg.solve(lower, right[:, :, None])[:, :, 0]
    made("triangular", [3, size, size * size, size + 1], mode, p0=lower, p1=right)
    assert_close(right, true, 1e-12)


# -- attention ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 8, 37])
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_causal_attention_by_tiles(length: int, mode: Mode) -> None:
    q, k, v, out = (normal(2, length, 5) for _ in range(4))
    scale = np.float32(5**-0.5)
    made("attention", [2, -(-length // 32), length, 5, 5 * length], mode,
         p0=q, p1=k, p2=v, p4=out, p5=np.full(1, scale))  # fmt: skip
    scores = scale * q.astype("f8") @ k.swapaxes(1, 2)
    scores[:, ~np.tri(length, dtype=bool)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    assert_close(out, weights / weights.sum(-1, keepdims=True) @ v)
