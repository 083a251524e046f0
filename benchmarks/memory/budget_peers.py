"""The models of ``time_budgets``, and their rows in JAX and torch with less memory.

A model is written once, over the operations of a library, the mark of a block and a loop over time.
JAX marks a block with ``jax.checkpoint``: ``nothing`` is its default, ``dots`` the policy
``dots_saveable``; of a loop it marks an iteration, or ``segments`` of several, a scan each. torch
runs a block under ``torch.utils.checkpoint`` (``blocks``), or compiles the loss under an activation
memory budget (``budget 0.5``). ``plain`` has no mark. A step is one of SGD; JAX donates the
parameters. The losses are compared by the caller that runs the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.harness.memory import Growth
from benchmarks.workloads import gpt

#: Model -> the rate of SGD where 1e-3 diverges: its loss is a sum of large squares.
RATES: Final = {"deep100": 1e-8, "u-net": 1e-8}
#: Of weights in front of a GELU: values neither die out nor overflow in 100 layers.
GAIN: Final = 1.45
#: Peer -> the ways that it has, each a row.
WAYS: Final = {
    "jax": ("plain", "dots", "nothing", "segments"),
    "torch": ("plain", "blocks", "budget 0.5"),
}
#: Filters of the U-Net, in the order in which they are used.
KERNELS: Final = (
    (16, 4, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (32, 96, 3, 3),
    (16, 48, 3, 3),
)  # fmt: skip
#: Models that are loops -> iterations that JAX and torch run again at once.
SEGMENTS: Final = {
    "lstm by scan": 20, "long scan": 50, "lstm layer": 8, "two lstm layers": 8, "gru layer": 8
}  # fmt: skip
Arrays = Mapping[str, np.ndarray]
#: A loop over time of an iteration, from a first state, over the leading axis of an array: the last
#: state, and what the iterations give.
Loop = Callable[[Callable[[Any, Any], Any], Any, Any], Any]
#: Of weights and feeds.
Loss = Callable[[Any, Any], Any]
#: What is known of a row behind its first call, and one more call, which gives the loss; none where
#: the row was refused.
Prepared = tuple[dict[str, Any], Callable[[], Any] | None]


class Peer(NamedTuple):
    """The vocabulary of a model: operations, a GELU, the mark of a block, a loop over time."""

    ops: Any
    gelu: Callable[[Any], Any]
    wrap: Callable[[Any], Any]
    loop: Loop


def ways_of(model: str) -> tuple[tuple[str, str], ...]:
    """The rows of a model: peers, each with its ways.

    torch unrolls a loop to compile it, which takes more minutes than the row is worth.
    """
    without = "budget 0.5" if model in SEGMENTS else "segments"
    return tuple((peer, way) for peer, ways in WAYS.items() for way in ways if way != without)


def _drawn(shapes: Sequence[tuple[int, ...]], gain: float = 1.0) -> Arrays:
    """The first weights that a generator gives."""
    random = np.random.default_rng(0)
    drawn = (random.normal(0.0, gain * shape[0] ** -0.5, shape) for shape in shapes)
    return {f"w{k}": weight.astype("float32") for k, weight in enumerate(drawn)}


def _x(*shape: int) -> Arrays:
    return {"x": np.random.default_rng(1).normal(size=shape).astype("float32")}


def _deep(peer: Peer) -> tuple[Arrays, Arrays, Loss]:
    """100 layers of 128 over 512 rows."""
    layer = peer.wrap(lambda h, w: peer.gelu(h @ w))

    def loss(v: Any, at: Any) -> Any:
        h = at["x"]
        for k in range(100):
            h = layer(h, v[f"w{k}"])
        return (h * h).mean()

    return _drawn([(128, 128)] * 100, GAIN), _x(512, 128), loss


def _transformer(peer: Peer) -> tuple[Arrays, Arrays, Loss]:
    """The GPT of the benchmarks with 12 blocks."""
    data = gpt.transformer(12, 128, 64, 8, 65)(np.random.default_rng(0))
    variables = {name: array.astype("float32") for name, array in data.variables.items()}
    tokens = {name: array.astype("int64") for name, array in data.feeds.items()}
    return (
        variables, tokens,
        lambda v, at: gpt.loss(peer.ops, {**v, **at}, data.sizes, peer.wrap)[0],
    )  # fmt: skip


def _recurrent(peer: Peer) -> tuple[Arrays, Arrays, Loss]:
    """An LSTM of 64 over 200 steps of time and 32 rows."""
    ops = peer.ops

    def loss(v: Any, at: Any) -> Any:
        def iteration(state: Any, x: Any) -> Any:
            h, c = state
            gates = x @ v["w0"] + h @ v["w1"]
            keep, new, out, what = (gates[:, 64 * k : 64 * k + 64] for k in range(4))
            c = ops.sigmoid(keep) * c + ops.sigmoid(new) * ops.tanh(what)
            h = ops.sigmoid(out) * ops.tanh(c)
            return (h, c), h

        zeros = ops.zeros((32, 64))
        _, states = peer.loop(iteration, (zeros, zeros), at["x"])
        return (states * states).mean()

    return _drawn([(64, 256), (64, 256)]), _x(200, 32, 64), loss


def _layers(gates: int, layers: int, peer: Peer) -> tuple[Arrays, Arrays, Loss]:
    """LSTMs (four gates) or GRUs of 64 upon each other over 64 steps of time and 64 rows.

    The inputs of all steps are multiplied by a matrix in front of each loop.
    """
    ops = peer.ops

    def of_lstm(state: Any, part: Any, u: Any) -> tuple[Any, Any]:
        h, c = state
        gates = part + h @ u
        keep, new, out, what = (gates[:, 64 * k : 64 * k + 64] for k in range(4))
        c = ops.sigmoid(keep) * c + ops.sigmoid(new) * ops.tanh(what)
        h = ops.sigmoid(out) * ops.tanh(c)
        return (h, c), h

    def of_gru(h: Any, part: Any, u: Any) -> tuple[Any, Any]:
        of_state = h @ u
        reset, keep = (ops.sigmoid(part[:, k : k + 64] + of_state[:, k : k + 64]) for k in (0, 64))
        new = ops.tanh(part[:, 128:] + reset * of_state[:, 128:])
        h = new + keep * (h - new)
        return h, h

    def loss(v: Any, at: Any) -> Any:
        rows, zeros = at["x"], ops.zeros((64, 64))
        for k in range(layers):
            parts = rows @ v[f"w{2 * k}"]
            cell: Any = partial(of_lstm if gates == 4 else of_gru, u=v[f"w{2 * k + 1}"])
            _, rows = peer.loop(cell, (zeros, zeros) if gates == 4 else zeros, parts)
        return (rows[-1] * rows[-1]).mean()

    return _drawn([(64, 64 * gates)] * (2 * layers)), _x(64, 64, 64), loss


def _long(peer: Peer) -> tuple[Arrays, Arrays, Loss]:
    """A recurrent layer of 256 over 4,000 steps of time and 64 rows; the mean of all squares."""
    ops = peer.ops

    def loss(v: Any, at: Any) -> Any:
        def iteration(carry: Any, x: Any) -> Any:
            h, total = carry
            h = ops.tanh(x + h @ v["w0"])
            return (h, total + (h * h).mean()), x[:1]

        (_, total), _ = peer.loop(iteration, (ops.zeros((64, 256)), ops.zeros(())), at["x"])
        return total / 4000.0

    return _drawn([(256, 256)]), _x(4000, 256), loss


def _u_net(peer: Peer) -> tuple[Arrays, Arrays, Loss]:
    """Convolutions down and up again."""
    ops = peer.ops

    @peer.wrap
    def convolve(h: Any, *kernels: Any) -> Any:
        for w in kernels:
            h = ops.relu(ops.conv(h, w, {"taps": (3, 3)}))
        return h

    def upsample(h: Any) -> Any:
        n, c, rows, columns = h.shape
        wide = ops.broadcast_to(h[:, :, :, None, :, None], (n, c, rows, 2, columns, 2))
        return ops.reshape(wide, (n, c, 2 * rows, 2 * columns))

    def loss(v: Any, at: Any) -> Any:
        kernels = iter([v[f"w{k}"] for k in range(len(KERNELS))])
        h, skips = at["x"], []
        for side in (32, 16):
            h = convolve(h, next(kernels), next(kernels))
            skips.append(h)
            h = ops.max_pool(h, h.shape[1], side)
        h = convolve(h, next(kernels))
        for skip in reversed(skips):
            h = convolve(ops.concatenate([upsample(h), skip], 1), next(kernels))
        return (h * h).mean()

    return _drawn(KERNELS), _x(8, 4, 32, 32), loss


BUILT: Final[Mapping[str, Callable[[Peer], tuple[Arrays, Arrays, Loss]]]] = {
    "deep100": _deep,
    "gpt12": _transformer,
    "lstm by scan": _recurrent,
    "long scan": _long,
    "lstm layer": partial(_layers, 4, 1),
    "two lstm layers": partial(_layers, 4, 2),
    "gru layer": partial(_layers, 3, 1),
    "u-net": _u_net,
}


def jax_row(model: str, way: str) -> Prepared:
    """One row of JAX."""
    from benchmarks.implementations.with_jax import Jax

    jax, rate = import_module("jax"), RATES.get(model, 1e-3)
    policy = jax.checkpoint_policies.dots_saveable if way == "dots" else None
    wrap: Any = lambda f: jax.checkpoint(f, policy=policy)  # noqa: E731
    if way == "plain":
        wrap = lambda f: f  # noqa: E731
    ops = Jax(jax)

    def loop(iteration: Any, state: Any, x: Any) -> Any:
        if way != "segments":
            return ops.scan(wrap(iteration), state, x)
        parts = x.reshape(-1, SEGMENTS[model], *x.shape[1:])
        state, outs = ops.scan(wrap(lambda s, part: ops.scan(iteration, s, part)), state, parts)
        return state, outs.reshape(x.shape[0], *outs.shape[2:])

    weights, feeds, loss = BUILT[model](Peer(ops, ops.gelu, wrap, loop))

    def step(v: Any, at: Any) -> Any:
        value, slopes = jax.value_and_grad(loss)(v, at)
        return {name: w - rate * slopes[name] for name, w in v.items()}, value

    state, fed = jax.device_put(dict(weights)), jax.device_put(dict(feeds))
    run = jax.jit(step, donate_argnums=(0,)).lower(state, fed).compile()
    analysis = run.memory_analysis()

    def call() -> Any:
        nonlocal state
        state, value = jax.block_until_ready(run(state, fed))
        return value

    arena = None if analysis is None else int(analysis.temp_size_in_bytes)
    return first_called({"arena": arena}, call)


def torch_row(model: str, way: str) -> Prepared:
    """One row of torch."""
    from benchmarks.implementations.with_torch import Torch

    torch, rate = import_module("torch"), RATES.get(model, 1e-3)
    torch.set_num_threads(1)
    again = import_module("torch.utils.checkpoint").checkpoint
    if way == "blocks":
        wrap: Any = lambda f: lambda *args: again(f, *args, use_reentrant=False)  # noqa: E731
    else:
        wrap = lambda f: f  # noqa: E731
    ops = Torch(torch)
    loop = _in_segments(torch, wrap, SEGMENTS.get(model, 1))
    weights, feeds, loss = BUILT[model](Peer(ops, ops.gelu, wrap, loop))
    if way.startswith("budget"):
        config: Any = import_module("torch._functorch.config")
        config.activation_memory_budget = float(way.split()[1])
        loss = torch.compile(loss)
    state = {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}
    fed = {name: torch.tensor(array) for name, array in feeds.items()}

    def call() -> Any:
        value = loss(state, fed)
        value.backward()
        with torch.no_grad():
            for w in state.values():
                w -= rate * w.grad
                w.grad = None
        return value.detach()

    if not way.startswith("budget"):
        return first_called({"arena": None}, call)
    first = float(call())  # compiles
    row, call_again = first_called({"arena": None}, call)
    return {**row, "loss": first}, call_again


def _in_segments(torch: Any, wrap: Callable[[Any], Any], length: int) -> Loop:
    """A loop whose iterations are marked so many at a time."""

    def loop(iteration: Callable[[Any, Any], Any], state: Any, x: Any) -> Any:
        def segment(state: Any, part: Any) -> Any:
            outputs = []
            for at in part:
                state, out = iteration(state, at)
                outputs.append(out)
            return state, torch.stack(outputs)

        outputs = []
        for part in x.split(length):
            state, out = wrap(segment)(state, part)
            outputs.append(out)
        return state, torch.cat(outputs)

    return loop


def first_called(facts: dict[str, Any], call: Callable[[], Any]) -> Prepared:
    """A row with the growth of the process in a first call, and the loss that this gives."""
    growth = Growth()
    loss = float(call())
    return {**facts, "process": growth.bytes(), "loss": loss}, call


ROWS: Final = {"jax": jax_row, "torch": torch_row}
