"""Functions in PyTorch and JAX beside the same program run by itself: value and gradients.

    python -m benchmarks bridges [--seconds 1] [--threads 1] > benchmarks/results/bridges.md

Two functions of x [n, k] and two weights [k, k] in float32: a loss, whose value and gradients are
one program, and a layer, whose forward and backward are two. Times are the least of many calls,
those of all columns in turns.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.peers import least_times, opened

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
    given = arrays if is_loss else [*arrays, ct]
    function: Any = sg.function(joint)
    program = function.compile(*given)
    names = [value.node.label for value in program.graph.inputs]
    feeds = dict(zip(names, given, strict=True))

    tensors = [torch.from_numpy(each) for each in arrays]
    wanted = [each.requires_grad_() for each in tensors[1:]]
    seed = torch.from_numpy(ct)

    def by_torch(f: Callable[..., Any]) -> Callable[[], Any]:
        def call() -> Any:
            y = f(*tensors)
            return y, torch.autograd.grad(y, wanted, seed)

        return call

    def by_jax(f: Callable[..., Any]) -> Callable[[], Any]:
        def pulled(x: Any, w: Any, v: Any, ct: Any) -> Any:
            y, pull = jax.vjp(lambda w, v: f(x, w, v), w, v)
            return y, pull(ct)

        compiled, given = jax.jit(pulled), [jax.numpy.asarray(each) for each in [*arrays, ct]]
        return lambda: jax.block_until_ready(compiled(*given))

    return {
        "f.run": lambda: program.run(feeds),
        "sg.function": lambda: function(*given),
        "sg.torch": by_torch(sg.torch.function(make(sg))),
        "PyTorch": by_torch(make(torch)),
        "sg.jax": by_jax(sg.jax.function(make(sg))),
        "JAX": by_jax(make(jax.numpy)),
    }


def checked(measured: dict[str, Callable[[], Any]]) -> None:
    """Refuse columns whose results differ."""
    expected = sg.tree.leaves(measured["PyTorch"]())
    for name in COLUMNS[1:]:
        for one, other in zip(sg.tree.leaves(measured[name]()), expected, strict=True):
            own = one.detach() if hasattr(one, "detach") else one
            np.testing.assert_allclose(own, other.detach(), rtol=2e-4, atol=2e-4, err_msg=name)


def main() -> int:
    """Print the page."""
    options, _, line = opened("bridges", __doc__, 1.0)
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
                checked(measured)
                found = least_times(measured, options.seconds)
                cells = " | ".join(f"{found[name] * 1e6:,.1f}" for name in COLUMNS)
                print(f"| {make.__name__} | {n}, {k} | {cells} |", flush=True)
    return 0
