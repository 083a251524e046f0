"""The models of ``time_budgets`` in JAX and torch, with what they have for less memory.

JAX marks a block with ``jax.checkpoint``: ``nothing`` is its default, ``dots`` the policy
``dots_saveable``; torch runs a block under ``torch.utils.checkpoint`` (``blocks``), or compiles the
loss under an activation memory budget (``budget 0.5``). ``plain`` has no mark. A step is one of
SGD; JAX donates the parameters. Weights are drawn as ours are, the losses are compared by who runs
the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

import numpy as np

from benchmarks.memory_of_process import Growth
from benchmarks.workloads import gpt

RATE: Final = 1e-3
#: Of weights in front of a GELU: values neither die out nor overflow in 100 layers.
GAIN: Final = 1.45
#: Peer -> the ways that it has, each a row.
WAYS: Final = {
    "jax": ("plain", "dots", "nothing"),
    "torch": ("plain", "blocks", "budget 0.5"),
}
#: Models that peers run, by the names that they have in ``time_budgets``.
PEER_MODELS: Final = ("deep100", "gpt12")
Arrays = Mapping[str, np.ndarray]


def _deep() -> tuple[Arrays, Arrays]:
    """The weights of 100 layers of 128, and 512 rows."""
    random = np.random.default_rng(0)
    drawn = {f"w{k}": random.normal(0.0, GAIN * 128**-0.5, (128, 128)) for k in range(100)}
    x = np.random.default_rng(1).normal(size=(512, 128)).astype("float32")
    return {name: w.astype("float32") for name, w in drawn.items()}, {"x": x}


def _transformer() -> tuple[Arrays, Arrays, Mapping[str, int]]:
    data = gpt.transformer(12, 128, 64, 8, 65)(np.random.default_rng(0))
    variables = {name: each.astype("float32") for name, each in data.variables.items()}
    return variables, {name: t.astype("int64") for name, t in data.feeds.items()}, data.sizes


def _loss(model: str, ops: Any, gelu: Callable[[Any], Any], wrap: Callable[[Any], Any]) -> Any:
    """The arrays of a model, and its loss of weights and feeds, each block under ``wrap``."""
    if model == "deep100":
        weights, feeds = _deep()
        layer = wrap(lambda h, w: gelu(h @ w))

        def deep(v: Any, at: Any) -> Any:
            h = at["x"]
            for k in range(100):
                h = layer(h, v[f"w{k}"])
            return (h * h).mean()

        return weights, feeds, deep
    weights, feeds, sizes = _transformer()
    return weights, feeds, lambda v, at: gpt.loss(ops, {**v, **at}, sizes, wrap)[0]


def jax_row(model: str, way: str, calls: int) -> dict[str, Any]:
    """One row of JAX."""
    from benchmarks.implementations.with_jax import Jax

    jax = import_module("jax")
    policies = {"dots": jax.checkpoint_policies.dots_saveable, "nothing": None}
    wrap = (lambda f: f) if way == "plain" else lambda f: jax.checkpoint(f, policy=policies[way])
    ops = Jax(jax)
    weights, feeds, loss = _loss(model, ops, ops.gelu, wrap)

    def step(v: Any, at: Any) -> Any:
        value, slopes = jax.value_and_grad(loss)(v, at)
        return {name: w - RATE * slopes[name] for name, w in v.items()}, value

    state, fed = jax.device_put(dict(weights)), jax.device_put(dict(feeds))
    run = jax.jit(step, donate_argnums=(0,)).lower(state, fed).compile()
    analysis = run.memory_analysis()

    def call() -> Any:
        nonlocal state
        state, value = jax.block_until_ready(run(state, fed))
        return value

    row = _timed(call, calls)
    return {"arena": None if analysis is None else int(analysis.temp_size_in_bytes), **row}


def torch_row(model: str, way: str, calls: int) -> dict[str, Any]:
    """One row of torch."""
    from benchmarks.implementations.with_torch import Torch

    torch = import_module("torch")
    torch.set_num_threads(1)
    again = import_module("torch.utils.checkpoint").checkpoint
    if way == "blocks":
        wrap: Any = lambda f: lambda *args: again(f, *args, use_reentrant=False)  # noqa: E731
    else:
        wrap = lambda f: f  # noqa: E731
    ops = Torch(torch)
    weights, feeds, loss = _loss(model, ops, ops.gelu, wrap)
    if way.startswith("budget"):
        config: Any = import_module("torch._functorch.config")
        config.activation_memory_budget = float(way.split()[1])
        loss = torch.compile(loss)
    state = {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}
    fed = {name: torch.tensor(each) for name, each in feeds.items()}

    def call() -> Any:
        value = loss(state, fed)
        value.backward()
        with torch.no_grad():
            for w in state.values():
                w -= RATE * w.grad
                w.grad = None
        return value.detach()

    if way.startswith("budget"):
        call()  # compiles
    return {"arena": None, **_timed(call, calls)}


def _timed(call: Callable[[], Any], calls: int) -> dict[str, Any]:
    """Growth of the process in a first call, the least of later ones, and the first loss."""
    growth = Growth()
    first = float(call())
    grown = growth.bytes()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return {"process": grown, "seconds": min(times), "loss": first}


ROWS: Final = {"jax": jax_row, "torch": torch_row}
