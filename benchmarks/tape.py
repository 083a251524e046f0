"""The tape of ``staticgrad.eager`` beside PyTorch's: peak and time of the same training step.

    python -m benchmarks tape [--runs 5] [--seconds 2] [MODEL ...]

Each model of ``staticgrad compare`` is written once more with PyTorch's own functions
(``torch.nn.functional``: fused normalisation, attention, activations), with the same values, data
and plain gradient descent; losses have to agree. The peak of PyTorch is the running sum of its
profiler's allocation events, that of the tape what ``tracemalloc`` sees; parameters and batch stand
before in both. Both run on one thread, in turns; times are the least processor time of a step. The
model ``graph_network`` is also an example of a file of one's own:

    staticgrad compare --model benchmarks/tape.py:graph_network

PyTorch comes with the extra ``bench-torch``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import staticgrad as sg
from staticgrad.comparison import Model, model
from staticgrad.comparison.memory import tape_peak
from staticgrad.comparison.models import CONTEXT, HEADS, WIDTH
from staticgrad.comparison.stopwatch import one_thread
from staticgrad.comparison.ways import DefineByRun, DefineThenRun

Values = Mapping[str, Any]
NODES, FEATURES, HIDDEN = 24, 16, 32


def graph_network() -> Model:
    """A network over a fixed graph: two rounds of messages, then a sum over all nodes."""
    random = np.random.default_rng(0)
    linked = random.random((NODES, NODES)) < 0.2
    adjacency = (linked / np.maximum(linked.sum(1, keepdims=True), 1)).astype("float32")

    def drawn(*shape: int) -> Any:
        return random.normal(0.0, shape[0] ** -0.5, shape).astype("float32")

    def batch(size: int, draw: np.random.Generator) -> Mapping[str, Any]:
        x = draw.normal(size=(size, NODES, FEATURES)).astype("float32")
        return {"x": x, "adjacency": adjacency, "y": np.sin(x.sum((1, 2))).astype("float32")}

    def loss(p: Values, b: Values) -> Any:
        hidden = b["x"]
        for number in "12":
            own, sent = hidden @ p["own" + number], b["adjacency"] @ (hidden @ p["sent" + number])
            hidden = sg.tanh(own + sent + p["bias" + number])
        out = (hidden @ p["out"]).sum((1, 2)) / NODES
        return ((out - b["y"]) ** 2).mean()

    start = {"out": drawn(HIDDEN, 1)}
    for number, width in (("1", FEATURES), ("2", HIDDEN)):
        start |= {"own" + number: drawn(width, HIDDEN), "sent" + number: drawn(width, HIDDEN)}
        start["bias" + number] = np.zeros(HIDDEN, "float32")
    return Model("graph network", start, loss, batch, 64, note="drawn from a seed")


# -- the same losses, with PyTorch ----------------------------------------------------------------


def _perceptron(activation: str) -> Callable[[Values, Values], Any]:
    def loss(p: Values, b: Values) -> Any:
        import torch

        hidden = b["images"] if "images" in b else b["x"]
        layers = len(p) // 2
        for layer in range(1, layers + 1):
            hidden = hidden @ p[f"w{layer}"] + p[f"b{layer}"]
            hidden = getattr(torch, activation)(hidden) if layer < layers else hidden
        return torch.nn.functional.cross_entropy(hidden, b["classes"])

    return loss


def _transformer(p: Values, b: Values) -> Any:
    import torch.nn.functional as nn

    def heads(x: Any) -> Any:
        return x.reshape(-1, CONTEXT, HEADS, WIDTH // HEADS).transpose(1, 2)

    def normal(x: Any, number: str) -> Any:
        return nn.layer_norm(x, (WIDTH,), p[f"{at}gain{number}"], p[f"{at}bias{number}"])

    hidden = nn.embedding(b["before"], p["tokens"]) + p["places"]
    for at in ("0.", "1."):
        before = normal(hidden, "1")
        read = [heads(before @ p[at + name]) for name in ("query", "key", "value")]
        attend: Any = nn.scaled_dot_product_attention
        mixed = attend(*read, is_causal=True)
        hidden = hidden + mixed.transpose(1, 2).reshape(-1, CONTEXT, WIDTH) @ p[at + "mix"]
        up = normal(hidden, "2") @ p[at + "up"] + p[at + "up_bias"]
        hidden = hidden + nn.gelu(up) @ p[at + "down"]
    at = ""
    logits = normal(hidden, "") @ p["out"]
    return nn.cross_entropy(logits.flatten(0, -2), b["after"].flatten())


def _messages(p: Values, b: Values) -> Any:
    import torch

    hidden = b["x"]
    for number in "12":
        own, sent = hidden @ p["own" + number], b["adjacency"] @ (hidden @ p["sent" + number])
        hidden = torch.tanh(own + sent + p["bias" + number])
    return (((hidden @ p["out"]).sum((1, 2)) / NODES - b["y"]) ** 2).mean()


LOSSES: Mapping[str, Callable[[Values, Values], Any]] = {
    "deep": _perceptron("tanh"),
    "mlp": _perceptron("relu"),
    "chars": _transformer,
    "graph_network": _messages,
}


class Torch:
    """A model trained by PyTorch."""

    def __init__(self, chosen: Model, loss: Callable[[Values, Values], Any]) -> None:
        import torch

        self.rate, self.loss = chosen.learning_rate, loss
        self.parameters = {
            name: torch.from_numpy(np.array(array)).requires_grad_()
            for name, array in chosen.parameters.items()
        }

    def step(self, batch: Mapping[str, Any]) -> float:
        """Forward, backward, update."""
        import torch

        found = self.loss(self.parameters, batch)
        found.backward()
        with torch.no_grad():
            for parameter in self.parameters.values():
                slope: Any = parameter.grad
                parameter.add_(slope, alpha=-self.rate)
                parameter.grad = None
        return float(found.detach())

    def peak(self, batch: Mapping[str, Any]) -> int:
        """The most bytes that a step holds, by the profiler's events."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            self.step(batch)
        held = most = 0
        recorded: Any = seen.profiler
        for event in recorded.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                most = max(most, held)
        return most


def compared(name: str, seconds: float) -> str:
    """One line: peaks, times, ratios."""
    import torch

    chosen = graph_network() if name == "graph_network" else model(name)
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    given = {key: torch.from_numpy(array) for key, array in batch.items()}
    peer = Torch(chosen, LOSSES[name])
    tape, graph = DefineByRun(chosen), DefineThenRun(chosen)
    runs: list[Callable[[], float]] = [
        lambda: tape.step(batch), lambda: peer.step(given), lambda: graph.step(batch)
    ]  # fmt: skip
    for _ in range(3):
        losses = [run() for run in runs]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-4)
    least = [float("inf")] * 3
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for number, run in enumerate(runs):
            begun = time.process_time()
            run()
            least[number] = min(least[number], time.process_time() - begun)
    peaks = tape_peak(chosen, batch), peer.peak(given), graph.plan(chosen.batch_size).peak_bytes
    a, b, c = (1e3 * value for value in least)
    return (
        f"| {name} | {peaks[0]:,} | {peaks[1]:,} | {peaks[0] / peaks[1]:.2f} | {peaks[2]:,}"
        f" | {a:.2f} | {b:.2f} | {a / b:.2f} | {c:.3f} | {a / c:.2f} |"
    )


def main() -> None:
    """Print a table per run."""
    reader = argparse.ArgumentParser(description="The tape beside PyTorch's.")
    reader.add_argument("models", nargs="*", default=list(LOSSES))
    reader.add_argument("--runs", type=int, default=1)
    reader.add_argument("--seconds", type=float, default=2.0)
    asked = reader.parse_args()
    import torch

    torch.set_num_threads(1)
    print(
        "| model | tape: peak, B | PyTorch | ratio | compiled | tape: CPU, ms | PyTorch | ratio"
        " | compiled | tape / compiled |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    with one_thread():
        for _ in range(asked.runs):
            for name in asked.models:
                print(compared(name, asked.seconds), flush=True)
