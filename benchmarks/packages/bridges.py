"""Functions in PyTorch and JAX beside the same program run by itself: value and gradients.

    python -m benchmarks bridges [--seconds 1] [--threads 1] > FILE
    python -m benchmarks bridges --before PATH    # one call, beside the staticgrad of another tree

Two functions of x [n, k] and two weights [k, k] in float32: a loss, whose value and gradients are
one program, and a layer, whose forward and backward are two. Times are the least of many calls,
those of all columns in turns. With ``--before`` a second table has the time of one call with small
arrays, here and in another tree: the least of processes in turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.turns import least_times, start_page

if TYPE_CHECKING:
    from benchmarks.harness.builders import Builders

#: Rows and columns of x.
SIZES: Final = ((4, 8), (64, 256), (512, 1024))
COLUMNS: Final = ("f.run", "sg.function", "sg.torch", "PyTorch", "sg.jax", "JAX")


def layer(np: Any) -> Callable[..., Any]:
    """Two dense layers, in the library ``np``."""
    return lambda x, w, v: np.tanh(np.tanh(x @ w) @ v)


def loss(np: Any) -> Callable[..., Any]:
    return lambda x, w, v: ((np.tanh(x @ w) @ v - 1.0) ** 2).mean()


def calls(make: Callable[[Any], Any], arrays: list[Any]) -> dict[str, Callable[[], Any]]:
    """Calls that give the value of a function and its gradients by both weights."""
    is_loss = make is loss
    torch, jax = map(import_module, ("torch", "jax"))
    ct = np.ones(() if is_loss else arrays[0].shape, "float32")

    def together(x: Any, w: Any, v: Any, ct: Any) -> Any:
        return sg.vjp(make(sg), (x, w, v), ct, argnums=(1, 2))

    joint = sg.value_and_grad(make(sg), (1, 2)) if is_loss else together
    operands = arrays if is_loss else [*arrays, ct]
    function: Any = sg.function(joint)
    program = function.compile(*operands)
    names = [value.node.label for value in program.graph.inputs]
    feeds = dict(zip(names, operands, strict=True))

    tensors = [torch.from_numpy(array) for array in arrays]
    weights = [tensor.requires_grad_() for tensor in tensors[1:]]
    seed = torch.from_numpy(ct)

    def by_torch(f: Callable[..., Any]) -> Callable[[], Any]:
        def call() -> Any:
            y = f(*tensors)
            return y, torch.autograd.grad(y, weights, seed)

        return call

    def by_jax(f: Callable[..., Any]) -> Callable[[], Any]:
        def pull_back(x: Any, w: Any, v: Any, ct: Any) -> Any:
            y, pull = jax.vjp(lambda w, v: f(x, w, v), w, v)
            return y, pull(ct)

        compiled, jax_arrays = (
            jax.jit(pull_back),
            [jax.numpy.asarray(array) for array in [*arrays, ct]],
        )
        return lambda: jax.block_until_ready(compiled(*jax_arrays))

    return {
        "f.run": lambda: program.run(feeds),
        "sg.function": lambda: function(*operands),
        "sg.torch": by_torch(sg.torch.function(make(sg))),
        "PyTorch": by_torch(make(torch)),
        "sg.jax": by_jax(sg.jax.function(make(sg))),
        "JAX": by_jax(make(jax.numpy)),
    }


def builders() -> Builders:
    """Return what makes the calls of both functions, of few rows and columns."""
    arrays = [np.ones((2, 2), "float32")] * 3
    return {make.__name__: partial(calls, make, arrays) for make in (loss, layer)}


def check_columns(measured: dict[str, Callable[[], Any]]) -> None:
    """Refuse columns whose results differ."""
    expected = sg.tree.leaves(measured["PyTorch"]())
    for name in COLUMNS[1:]:
        for leaf, reference in zip(sg.tree.leaves(measured[name]()), expected, strict=True):
            actual = leaf.detach() if hasattr(leaf, "detach") else leaf
            np.testing.assert_allclose(
                actual, reference.detach(), rtol=2e-4, atol=2e-4, err_msg=name
            )


def descent(np: Any) -> Callable[..., Any]:
    """A function with a Python number."""
    return lambda x, rate: x - rate * np.sin(x)


def one_call() -> dict[str, Callable[[], Any]]:
    """Calls with small arrays, by ``bridge: what``; those of the libraries alone come after."""
    torch, jax = map(import_module, ("torch", "jax"))
    random = np.random.default_rng(0)
    arrays = [random.normal(size=shape).astype("float32") for shape in ((4, 8), (8, 8), (8, 8))]
    x, w, v = map(torch.from_numpy, arrays)
    by_name: dict[str, Callable[[], Any]] = {}
    rates = [0.1 * k for k in range(20)]
    for name, of_torch in (("torch", True), ("jax", False)):
        library = torch if of_torch else jax.numpy
        bridge = getattr(sg, name).function
        for whose, f, step in (
            ("sg", bridge(loss(sg)), bridge(descent(sg))),
            (name, loss(library), descent(library)),
        ):
            if of_torch:
                weight = w.clone().requires_grad_()
                by_name |= {
                    f"torch, value: {whose}": partial(f, x, w, v),
                    f"torch, value and gradient: {whose}": partial(torch_gradient, f, x, weight, v),
                    f"torch, a number: {whose}": partial(step, x, 0.5),
                    f"torch, 20 numbers: {whose}": partial(each_of, step, x, rates),
                }
                continue
            jax_arrays = [*map(jax.numpy.asarray, arrays)]
            kinds = {"value": f, "value and gradient": jax.value_and_grad(f, 1)}
            for what, g in (*kinds.items(), *((f"jit, {k}", jax.jit(g)) for k, g in kinds.items())):
                by_name[f"jax, {what}: {whose}"] = partial(ready, g, *jax_arrays)
            by_name[f"jax, 20 numbers: {whose}"] = partial(each_of, step, jax_arrays[0], rates)
    return by_name


def torch_gradient(f: Callable[..., Any], x: Any, w: Any, v: Any) -> Any:
    """Return PyTorch's gradient of f by ``w``."""
    return import_module("torch").autograd.grad(f(x, w, v), w)


def ready(f: Callable[..., Any], *arrays: Any) -> Any:
    """Return JAX's results when they are there."""
    return import_module("jax").block_until_ready(f(*arrays))


def each_of(step: Callable[..., Any], x: Any, rates: list[float]) -> list[Any]:
    """Return the results of a step at each rate."""
    return [step(x, rate) for rate in rates]


def measured_here(seconds: float) -> dict[str, float]:
    """Return the least time of each of them, and the first time of 20 numbers, in seconds."""
    calls, times = one_call(), {}
    warnings.simplefilter("ignore")  # of a version that compiles for each number
    torch = import_module("torch")
    torch.set_num_threads(1)
    with sg.options(threads=1):
        for name in calls:
            if "20 numbers" in name:
                start = time.perf_counter()
                calls[name]()
                times[f"first {name}"] = time.perf_counter() - start
        return times | least_times(calls, seconds)


def table_of_calls(other_tree: str, seconds: float) -> None:
    """Print the time of one call in this tree and in another, and by the library alone."""
    this_tree = str(Path(__file__).parents[2])
    least: dict[str, dict[str, float]] = {other_tree: {}, this_tree: {}}
    for _ in range(3):
        for tree, times in least.items():
            line = [sys.executable, "-P", __file__, str(seconds)]  # numba.py here is not Numba
            environment = os.environ | {"PYTHONPATH": os.pathsep.join((tree, this_tree))}
            done = subprocess.run(line, env=environment, check=True, capture_output=True, text=True)
            for name, value in json.loads(done.stdout.splitlines()[-1]).items():
                times[name] = min(value, times.get(name, value))
    print("\n| one call, µs | before | now | the library |\n|---|--:|--:|--:|")
    for name in (key for key in least[this_tree] if key.endswith(": sg")):
        what = name.removesuffix(": sg")
        library = what.removeprefix("first ").partition(",")[0]
        cells = (
            least[other_tree][name],
            least[this_tree][name],
            least[this_tree][f"{what}: {library}"],
        )
        print(f"| {what} | {' | '.join(f'{cell * 1e6:,.1f}' for cell in cells)} |")


def main() -> int:
    """Print the page."""
    other_tree = ""
    if "--before" in sys.argv:
        place = sys.argv.index("--before")
        _, other_tree = sys.argv[place : place + 2]
        del sys.argv[place : place + 2]
    options, _, line = start_page("bridges", __doc__, 1.0)
    print(
        "# Functions in PyTorch and JAX\n\n"
        "`python -m benchmarks bridges`: a function's value and its gradients by two weights, µs a"
        f" call, the least of many.\n{line}\n\n"
        "`f.run` and `sg.function` are the program by itself; `sg.torch` and `sg.jax` the bridges;"
        " `PyTorch` and `JAX` the\nsame function written there (JAX under `jit` in both columns)."
        " Results are checked first.\n"
    )
    print("| function | n, k | " + " | ".join(f"`{name}`" for name in COLUMNS) + " |")
    print("|---|---|" + "--:|" * len(COLUMNS))
    with sg.options(threads=options.threads):
        for make in (loss, layer):
            for n, k in SIZES:
                random = np.random.default_rng(0)
                shapes = ((n, k), (k, k), (k, k))
                arrays = [
                    random.normal(size=shape).astype("float32") / np.float32(k**0.5)
                    for shape in shapes
                ]
                measured = calls(make, arrays)
                check_columns(measured)
                times = least_times(measured, options.seconds)
                cells = " | ".join(f"{times[name] * 1e6:,.1f}" for name in COLUMNS)
                print(f"| {make.__name__} | {n}, {k} | {cells} |", flush=True)
    if other_tree:
        table_of_calls(other_tree, options.seconds)
    return 0


if __name__ == "__main__":  # of one tree, by its path
    print(json.dumps(measured_here(float(sys.argv[1]))))
