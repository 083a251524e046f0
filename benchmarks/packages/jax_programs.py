"""Programs of JAX packages, as `jax.jit` compiles them and as they run here by `sg.jax.trace`.

    python -m benchmarks jax_programs [--only flax] [--threads 2] [--seconds 2]

Some programs are written with Equinox, Flax, Optax and JAX alone, others with the packages of
``benchmarks.packages.jax_packages``; a package that is not installed leaves its programs out. Of
each the results are compared with JAX's, in float32: the values, JAX's gradient traced
(``jax.grad`` before), and our gradient of the traced value (``sg.grad`` after). Seconds are those
of processor time to the first value. Times are the least of a call, in turns, of the value and of
the gradient.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from benchmarks.harness.turns import least_times
from benchmarks.packages.jax_packages import PACKAGES, Case, normal
from staticgrad.support.optional import jax


def _equinox_mlp() -> Case:
    eqx = import_module("equinox")
    model = eqx.nn.MLP(16, 4, 64, 2, jax.nn.gelu, key=jax.random.key(0))
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)

    def loss(leaves: Any, x: Any, y: Any) -> Any:
        net = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        return ((jax.vmap(net)(x) - y) ** 2).mean()

    return Case("equinox", loss, (leaves, normal(64, 16), normal(64, 4, seed=1)))


def _flax_cnn() -> Case:
    nn = import_module("flax.linen")

    class Net(nn.Module):  # type: ignore[misc,name-defined]
        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            x = nn.relu(nn.Conv(16, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
            x = nn.GroupNorm(4)(nn.Conv(32, (3, 3), strides=(2, 2))(x))
            x = nn.silu(x).mean((1, 2))
            return nn.Dense(10)(nn.LayerNorm()(x))

    net, x = Net(), normal(8, 16, 16, 3)
    params = jax.tree.map(np.asarray, net.init(jax.random.key(0), x))
    y = np.arange(8) % 10

    def loss(params: Any, x: Any) -> Any:
        return -jax.nn.log_softmax(net.apply(params, x))[np.arange(8), y].mean()

    return Case("flax", loss, (params, x))


def _flax_transformer() -> Case:
    nn = import_module("flax.linen")

    class Block(nn.Module):  # type: ignore[misc,name-defined]
        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            mask = nn.make_causal_mask(x[..., 0])
            x = x + nn.MultiHeadDotProductAttention(4)(nn.LayerNorm()(x), mask=mask)
            y = nn.gelu(nn.Dense(4 * x.shape[-1])(nn.LayerNorm()(x)))
            return x + nn.Dense(x.shape[-1])(y)

    net, x = Block(), normal(4, 32, 64)
    params = jax.tree.map(np.asarray, net.init(jax.random.key(0), x))
    return Case("flax", lambda params, x: (net.apply(params, x) ** 2).mean(), (params, x))


def _gru() -> Case:
    w = {"x": normal(8, 96) * 0.3, "h": normal(32, 96, seed=1) * 0.2, "b": np.zeros(96, "float32")}

    def loss(w: Any, xs: Any) -> Any:
        def cell(h: Any, x: Any) -> Any:
            rx, zx, nx = jax.numpy.split(x @ w["x"] + w["b"], 3, -1)
            rh, zh, nh = jax.numpy.split(h @ w["h"], 3, -1)
            r, z = jax.nn.sigmoid(rx + rh), jax.nn.sigmoid(zx + zh)
            h = (1 - z) * jax.numpy.tanh(nx + r * nh) + z * h
            return h, h.mean()

        h, means = jax.lax.scan(cell, jax.numpy.zeros((xs.shape[1], 32)), xs)
        return (h**2).sum() + means.sum()

    return Case("jax", loss, (w, normal(40, 16, 8)))


def _odeint() -> Case:
    ode = import_module("jax.experimental.ode")

    def end(w: Any, y0: Any) -> Any:
        f = lambda y, t: jax.numpy.tanh(w @ y) - 0.1 * y  # noqa: E731
        return ode.odeint(f, y0, np.array([0.0, 1.0, 2.0], "float32"), rtol=1e-5, atol=1e-5)

    w = normal(8, 8) * 0.5
    return Case("jax", end, (w, normal(8, seed=1)), smooth=False, tolerance=1e-3)


def _neural_ode() -> Case:
    """Steps of Runge-Kutta in a `while_loop`: a value, without a gradient."""

    def end(w: Any, y: Any) -> Any:
        def f(y: Any) -> Any:
            return jax.numpy.tanh(y @ w["in"]) @ w["out"]

        def step(state: Any) -> Any:
            t, y = state
            a = f(y)
            b = f(y + 0.05 * a)
            c = f(y + 0.05 * b)
            return t + 1, y + 0.1 / 6 * (a + 2 * b + 2 * c + f(y + 0.1 * c))

        return jax.lax.while_loop(lambda s: s[0] < 20, step, (0, y))[1]

    w = {"in": normal(4, 32) * 0.4, "out": normal(32, 4, seed=1) * 0.3}
    return Case("jax", end, (w, normal(64, 4)), smooth=False)


def _hmc() -> Case:
    def density(q: Any, a: Any) -> Any:
        return -0.5 * q @ a @ q - 0.25 * (q**4).sum()

    def chain(q: Any, a: Any, key: Any) -> Any:
        slope = jax.grad(density)

        def draw(state: Any, key: Any) -> Any:
            q = state
            first, second = jax.random.split(key)
            p = jax.random.normal(first, q.shape)

            def leap(_: Any, qp: Any) -> Any:
                q, p = qp
                p = p + 0.05 * slope(q, a)
                q = q + 0.1 * p
                return q, p + 0.05 * slope(q, a)

            proposal, end = jax.lax.fori_loop(0, 8, leap, (q, p))
            change = density(proposal, a) - density(q, a) - 0.5 * (end @ end - p @ p)
            accepted = jax.numpy.log(jax.random.uniform(second)) < change
            q = jax.numpy.where(accepted, proposal, q)
            return q, q

        return jax.lax.scan(draw, q, jax.random.split(key, 20))[1]

    a = np.eye(6, dtype="float32") + 0.1 * normal(6, 6) @ normal(6, 6).T
    return Case("jax", chain, (normal(6), a, np.array([0, 7], "uint32")), smooth=False)


def _gp() -> Case:
    def loss(p: Any, x: Any, y: Any) -> Any:
        apart = ((x[:, None] - x[None]) ** 2).sum(-1)
        k = jax.numpy.exp(p["scale"] - 0.5 * apart * jax.numpy.exp(-2 * p["length"]))
        k = k + jax.numpy.exp(p["noise"]) * jax.numpy.eye(len(x))
        factor = jax.scipy.linalg.cho_factor(k, lower=True)
        fit = y @ jax.scipy.linalg.cho_solve(factor, y)
        return 0.5 * fit + jax.numpy.log(jax.numpy.diag(factor[0])).sum()

    p = {name: np.float32(value) for name, value in
         (("scale", 0.1), ("length", 0.2), ("noise", -1.0))}  # fmt: skip
    return Case("jax", loss, (p, normal(60, 2), normal(60, seed=1)), tolerance=1e-3)


def _kalman() -> Case:
    def loss(p: Any, ys: Any) -> Any:
        a, q = p["a"], p["q"] @ p["q"].T + 0.1 * jax.numpy.eye(3)

        def step(state: Any, y: Any) -> Any:
            m, v = state
            m, v = a @ m, a @ v @ a.T + q
            s = v[:2, :2] + 0.5 * jax.numpy.eye(2)
            gain = jax.numpy.linalg.solve(s, v[:2]).T
            residual = y - m[:2]
            fit = residual @ jax.numpy.linalg.solve(s, residual) + jax.numpy.linalg.slogdet(s)[1]
            return (m + gain @ residual, v - gain @ v[:2]), fit

        return jax.lax.scan(step, (jax.numpy.zeros(3), jax.numpy.eye(3)), ys)[1].sum()

    p = {"a": np.eye(3, dtype="float32") * 0.9 + 0.05 * normal(3, 3), "q": normal(3, 3) * 0.3}
    return Case("jax", loss, (p, normal(50, 2)), tolerance=1e-3)


def _molecules() -> Case:
    """A Lennard-Jones gas: steps of velocity Verlet with JAX's forces."""

    def energy(r: Any) -> Any:
        apart = r[:, None] - r[None]
        squares = (apart**2).sum(-1) + jax.numpy.eye(len(r)) * 1e3
        inverse = 1 / squares**3
        return 2 * (inverse**2 - inverse).sum()

    def run(r: Any, v: Any) -> Any:
        def force(r: Any) -> Any:
            return -jax.grad(energy)(r)

        def step(state: Any, _: Any) -> Any:
            r, v, f = state
            r = r + 0.002 * v + 2e-6 * f
            g = force(r)
            return (r, v + 0.001 * (f + g), g), energy(r)

        (r, v, _), energies = jax.lax.scan(step, (r, v, force(r)), length=40)
        return (v**2).sum() + energies[-1] / len(r)

    grid = np.stack(np.meshgrid(*[np.arange(3.0)] * 3), -1).reshape(-1, 3) * 1.3
    r = (grid + 0.05 * normal(27, 3)).astype("float32")
    return Case("jax", run, (r, normal(27, 3, seed=1)), tolerance=2e-3)


def _optax() -> Case:
    optax = import_module("optax")
    schedule = optax.cosine_decay_schedule(1e-2, 20)
    opt = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))

    def train(w: Any, x: Any, y: Any) -> Any:
        def loss(w: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(
                jax.nn.relu(x @ w["in"]) @ w["out"], y
            ).mean()

        def step(state: Any, _: Any) -> Any:
            w, s = state
            value, slopes = jax.value_and_grad(loss)(w)
            updates, s = opt.update(slopes, s, w)
            return (optax.apply_updates(w, updates), s), value

        (w, _), losses = jax.lax.scan(step, (w, opt.init(w)), length=20)
        return w, losses

    w = {"in": normal(12, 32) * 0.3, "out": normal(32, 5, seed=1) * 0.3}
    args = (w, normal(64, 12, seed=2), (np.arange(64) % 5).astype("int32"))
    return Case("optax", train, args, smooth=False)


def _denoise() -> Case:
    def loss(gain: Any, x: Any) -> Any:
        spectrum = jax.numpy.fft.rfft(x, axis=-1) * jax.nn.sigmoid(gain)
        back = jax.numpy.fft.irfft(spectrum, axis=-1)
        rough = jax.numpy.abs(jax.numpy.fft.fft2(back)) ** 2
        return ((back - x) ** 2).mean() + 1e-4 * rough.mean()

    return Case("jax", loss, (normal(65), normal(32, 128)))


def _matrices() -> Case:
    def loss(x: Any) -> Any:
        s = x @ x.T + jax.numpy.eye(len(x))
        low = jax.numpy.linalg.cholesky(s)
        u, d, vt = jax.numpy.linalg.svd(x, full_matrices=False)
        q, r = jax.numpy.linalg.qr(x)
        w = jax.numpy.linalg.eigvals(x)
        e = jax.scipy.linalg.expm(0.1 * x)
        total = low.sum() + (d**3).sum() + jax.numpy.abs(r).sum() + jax.numpy.abs(w).sum()
        return total + e.sum() + (u @ vt).sum() + (q**4).sum()

    return Case("jax", loss, (normal(12, 12),), tolerance=2e-3)


def _make_solver(**options: Any) -> Callable[..., Any]:
    """Return a solver of diffrax, of adaptive steps."""
    dfx = import_module("diffrax")
    steps = dfx.PIDController(rtol=1e-3, atol=1e-5)

    def solve(f: Callable[..., Any], end: float, y: Any, w: Any) -> Any:
        term = dfx.ODETerm(lambda t, y, w: f(y, w))
        return dfx.diffeqsolve(
            term, dfx.Tsit5(), 0.0, end, 0.1, y, w, stepsize_controller=steps, **options
        ).ys

    return solve


def _oscillator() -> Case:
    dfx = import_module("diffrax")
    solve = _make_solver(saveat=dfx.SaveAt(ts=np.linspace(0, 5, 7, dtype="float32")))

    def path(y: Any, a: Any) -> Any:
        f = lambda y, a: jax.numpy.stack([y[1], a * (1 - y[0] ** 2) * y[1] - y[0]])  # noqa: E731
        return solve(f, 5.0, y, a)

    args = np.array([2.0, 0.0], "float32"), np.float32(1.0)
    return Case("diffrax", path, args, smooth=False, tolerance=1e-3)


def _noise() -> Case:
    dfx = import_module("diffrax")

    def end(y: Any, key: Any) -> Any:
        noise = dfx.VirtualBrownianTree(0.0, 1.0, tol=1e-3, shape=(3,), key=key)
        drift = dfx.ODETerm(lambda t, y, args: -y)
        terms = dfx.MultiTerm(drift, dfx.ControlTerm(lambda t, y, args: jax.numpy.diag(y), noise))
        return dfx.diffeqsolve(terms, dfx.Heun(), 0.0, 1.0, 0.05, y).ys

    return Case("diffrax", end, (normal(3), jax.random.key(3)), smooth=False)


def _adjoint(name: str) -> Callable[[], Case]:
    def make() -> Case:
        solve = _make_solver(adjoint=getattr(import_module("diffrax"), name)())

        def loss(w: Any, y: Any) -> Any:
            f = lambda y, w: jax.numpy.tanh(y @ w["in"]) @ w["out"]  # noqa: E731
            return (solve(f, 1.0, y, w) ** 2).mean()

        w = {"in": normal(4, 32) * 0.4, "out": normal(32, 4, seed=1) * 0.3}
        return Case("diffrax", loss, (w, normal(8, 4)), tolerance=1e-3)

    return make


def _bits() -> Case:
    """Random bits, which are equal to JAX's."""

    def draw(key: Any) -> Any:
        first, second = jax.random.split(key)
        return jax.random.bits(first, (1000,)), jax.random.randint(second, (100,), 0, 10)

    return Case("jax", draw, (jax.random.key(7),), smooth=False, tolerance=0.0)


PROGRAMS: Final[dict[str, Callable[[], Case]]] = {
    "mlp": _equinox_mlp,
    "cnn": _flax_cnn,
    "transformer": _flax_transformer,
    "gru": _gru,
    "odeint": _odeint,
    "neural ode": _neural_ode,
    "hmc": _hmc,
    "gp": _gp,
    "kalman": _kalman,
    "molecules": _molecules,
    "optax": _optax,
    "fourier": _denoise,
    "matrices": _matrices,
    "oscillator": _oscillator,
    "noise": _noise,
    "checkpointed adjoint": _adjoint("RecursiveCheckpointAdjoint"),
    "adjoint by backsolve": _adjoint("BacksolveAdjoint"),
    "random bits": _bits,
    **PACKAGES,
}


def builders() -> Builders:
    """Return what traces the programs."""

    def build(make: Callable[[], Case]) -> object:
        case = make()
        return sg.jax.trace(case.f, *case.args)

    return {name: partial(build, make) for name, make in PROGRAMS.items()}


def difference(actual: Any, expected: Any) -> float:
    """The greatest difference of arrays in containers, each relative to its largest number."""
    if jax.tree.structure(actual) != jax.tree.structure(expected):
        return float("inf")
    worst = 0.0
    for array, reference in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        array, reference = np.asarray(array), np.asarray(reference)
        if (array.shape, array.dtype) != (reference.shape, reference.dtype):
            return float("inf")
        if reference.size:
            scale = max(float(np.abs(reference).max()), 1e-3)
            apart = np.abs(array.astype("complex128") - reference).max()
            worst = max(worst, float(apart) / scale)
    return worst


class Compared(NamedTuple):
    """One program: what is called in each way, and the greatest differences.

    ``first`` are seconds of processor time to the first value, here and by ``jax.jit``.
    """

    calls: dict[str, Callable[[], Any]]
    differences: dict[str, float]
    first: tuple[float, float]


def compare_case(case: Case) -> Compared:
    """Trace a program and compare its results with those of `jax.jit`."""
    begin = time.process_time()
    f = sg.jax.trace(case.f, *case.args)
    outputs = f(*case.args)
    middle = time.process_time()
    of_jax = jax.jit(case.f)
    expected = jax.block_until_ready(of_jax(*case.args))
    first = middle - begin, time.process_time() - middle
    differences = {"value": difference(outputs, expected)}
    calls: dict[str, Callable[[], Any]] = {
        "here": lambda: f(*case.args),
        "jax.jit": lambda: jax.block_until_ready(of_jax(*case.args)),
    }
    if case.smooth:
        slopes = jax.jit(jax.grad(case.f))
        expected = slopes(*case.args)
        gradient_before, gradient_after = sg.jax.trace(jax.grad(case.f), *case.args), sg.grad(f)
        differences["grad before"] = difference(gradient_before(*case.args), expected)
        differences["grad after"] = difference(gradient_after(*case.args), expected)
        calls |= {
            "before": lambda: gradient_before(*case.args),
            "after": lambda: gradient_after(*case.args),
            "jax.grad": lambda: jax.block_until_ready(slopes(*case.args)),
        }
    return Compared(calls, differences, first)


def row(name: str, seconds: float) -> list[str]:
    """The cells of one program."""
    case = PROGRAMS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        comparison = compare_case(case)
        times = least_times(comparison.calls, seconds)
    columns = ("value", "grad before", "grad after")
    cells = [name, case.package]
    cells += [
        f"{comparison.differences[c]:.0e}" if c in comparison.differences else "-" for c in columns
    ]
    cells += [f"{seconds:.1f}" for seconds in comparison.first]
    cells += [f"{times[way] * 1e3:.3f}" if way in times else "-"
              for way in ("here", "jax.jit", "before", "after", "jax.grad")]  # fmt: skip
    worst = max(comparison.differences.values())
    cells.append("yes" if worst <= case.tolerance else f"no: {worst:.0e}")
    return cells


def main() -> int:
    """Print the table; 1 if a result differs from JAX's."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks jax_programs", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--only", nargs="*", default=[*PROGRAMS], choices=[*PROGRAMS])
    add("--threads", type=int, default=2)
    add("--seconds", type=float, default=1.0, help="measuring time of each way")
    add("--traceback", action="store_true", help="print the tracebacks of failures")
    options = parser.parse_args()
    machine = describe()
    columns = ["program", "package", "value", "grad before", "grad after", "first s", "jax.jit s",
               "value ms", "jax.jit ms", "grad before ms", "grad after ms", "jax.grad ms",
               "agrees"]  # fmt: skip
    sys.stdout.write(
        "# Programs of JAX\n\n`python -m benchmarks jax_programs`: differences from `jax.jit`"
        " relative to the largest number, and least times, float32.\n"
        f"{machine.processor}, {machine.cores} cores, threads: {options.threads},"
        f" JAX {import_module('jax').__version__}.\n\n| {' | '.join(columns)} |\n"
        f"|---|---|{'--:|' * (len(columns) - 3)}---|\n"
    )
    failed = 0
    with sg.options(threads=options.threads):
        for name in options.only:
            try:
                cells = row(name, options.seconds)
            except ImportError as error:
                cells = [name, f"{error.name} is not installed", *["-"] * (len(columns) - 2)]
            except Exception as error:
                if options.traceback:
                    traceback.print_exc()
                what = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                cells = [name, *["-"] * (len(columns) - 2), f"no: {what}"]
            failed += cells[-1].startswith("no")
            sys.stdout.write(f"| {' | '.join(cells)} |\n")
            sys.stdout.flush()
    return int(failed > 0)
