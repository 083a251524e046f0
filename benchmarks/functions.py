"""Functions of arrays beside JAX: the time to the first result, and batches beside Python loops.

    PYTHONPATH=<folder of jax> python -m benchmarks functions [--repeat 3] [--part first]

``first``: in a fresh process each, wall seconds of the import, of the first call (traced and
compiled), of a call with another batch size, and of the third call; value and gradient of a
perceptron with three layers. Ours with an empty and with a filled cache of kernels. ``batches``: a
gradient for every sample, many small solves and an ensemble, as one program over a batch, as a
Python loop over the compiled function of one, and by ``jax.vmap``, in one process and in turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import staticgrad as sg

ROOT = Path(__file__).parent.parent
FIRST = """
import time
t0 = time.perf_counter()
import numpy as np
{imports}
t1 = time.perf_counter()
def loss(p, x, y):
    for w, b in p[:-1]:
        x = m.tanh(x @ w + b)
    w, b = p[-1]
    return ((x @ w + b - y) ** 2).mean()
rng = np.random.default_rng(0)
s = [20, 64, 64, 1]
p = [(rng.normal(size=(i, o)).astype("float32"), np.zeros(o, "float32"))
     for i, o in zip(s[:-1], s[1:])]
def data(n):
    return rng.normal(size=(n, 20)).astype("float32"), rng.normal(size=(n, 1)).astype("float32")
f = {made}
def timed(n):
    x, y = data(n)
    t = time.perf_counter()
    value, slopes = f(p, x, y)
    np.asarray(value)
    return time.perf_counter() - t
print(t1 - t0, timed(64), timed(48), timed(32))
"""
OURS = {
    "imports": "import staticgrad as sg; m = sg",
    "made": "sg.function(sg.value_and_grad(loss))",
}
THEIRS = {
    "imports": "import jax; import jax.numpy as m",
    "made": "jax.jit(jax.value_and_grad(loss))",
}


def first(repeat: int) -> None:
    """Print a row for each way."""
    with tempfile.TemporaryDirectory() as folder:
        rows: dict[str, list[list[float]]] = {"jax": [], "empty cache": [], "filled cache": []}
        for turn in range(repeat):
            ours = {"STATICGRAD_CACHE_DIR": f"{folder}/{turn}"}
            rows["jax"].append(_fresh(FIRST.format(**THEIRS), {"JAX_PLATFORMS": "cpu"}))
            rows["empty cache"].append(_fresh(FIRST.format(**OURS), ours))
            rows["filled cache"].append(_fresh(FIRST.format(**OURS), ours))
    print(f"{'s':>14}{'import':>10}{'first':>10}{'other size':>12}{'third':>10}{'all':>8}")
    for name, times in rows.items():
        found = [statistics.median(column) for column in zip(*times, strict=True)]
        cells = "".join(f"{each:>{w}.4f}" for each, w in zip(found, (10, 10, 12, 10), strict=True))
        print(f"{name:>14}{cells}{sum(found):8.3f}")


def _fresh(program: str, settings: dict[str, str]) -> list[float]:
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(each) for each in run.stdout.split()]


def _slopes(m: Any, grad: Any) -> Any:
    """The gradient of one sample's loss."""
    return grad(lambda w, out, x, y: (m.tanh(x @ w) @ out - y) ** 2, (0, 1))


def _ridge(m: Any) -> Callable[..., Any]:
    """The coefficients of one regression."""
    return lambda a, b: m.linalg.solve(a.T @ a + 0.1 * np.eye(4), a.T @ b)


def _member(m: Any) -> Callable[..., Any]:
    """What one network of an ensemble gives."""
    return lambda w, v, x: m.tanh(m.tanh(x @ w) @ v)


def batches(repeat: int) -> None:
    """Print a row for each problem: us of a call."""
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(0)

    shared = (rng.normal(size=(20, 16)), rng.normal(size=16))
    samples = (rng.normal(size=(256, 20)), rng.normal(size=256))
    sets = (rng.normal(size=(2000, 30, 4)), rng.normal(size=(2000, 30)))
    weights = (rng.normal(size=(16, 20, 32)), rng.normal(size=(16, 32, 8)))
    points = rng.normal(size=(128, 20))
    none: tuple[Any, ...] = ()
    slopes = (_slopes(sg, sg.grad), _slopes(jnp, jax.grad))
    problems = {
        "gradients of 256 samples": (*slopes, shared, samples, none),
        "2,000 ridge regressions": (_ridge(sg), _ridge(jnp), none, sets, none),
        "16 networks of 128 points": (_member(sg), _member(jnp), none, weights, (points,)),
    }
    print(f"{'us':>28}{'batch':>10}{'loop':>12}{'jax':>10}{'loop/batch':>12}{'jax/batch':>11}")
    for name, (ours, theirs, before, over, after) in problems.items():
        axes = (*(None for _ in before), *(0 for _ in over), *(None for _ in after))
        args = (*before, *over, *after)
        batch, one = sg.function(sg.vmap(ours, axes)), sg.function(ours)
        peer = jax.jit(jax.vmap(theirs, axes))

        def loop(one: Any = one, parts: Any = (before, over, after)) -> Any:
            before, over, after = parts
            return [one(*before, *each, *after) for each in zip(*over, strict=True)]

        def there(peer: Any = peer, args: Any = args) -> Any:
            return jax.block_until_ready(peer(*args))

        def here(batch: Any = batch, args: Any = args) -> Any:
            return batch(*args)

        ways: tuple[Callable[[], Any], ...] = (here, loop, there)
        for way in ways:
            way()
        turns = [[_once(way) for way in ways] for _ in range(repeat * 7)]
        times = [min(column) for column in zip(*turns, strict=True)]
        cells = f"{times[0]:>10.0f}{times[1]:>12.0f}{times[2]:>10.0f}"
        print(f"{name:>28}{cells}{times[1] / times[0]:>12.1f}{times[2] / times[0]:>11.2f}")


def _once(way: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    way()
    return (time.perf_counter() - begin) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--part", choices=["first", "batches"])
    given = parser.parse_args()
    for part in (first, batches):
        if given.part in (None, part.__name__):
            part(given.repeat)
