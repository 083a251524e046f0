"""The tape of ``staticgrad.eager`` beside PyTorch's: peak and time of the same training step.

    python -m benchmarks tape [--repeats 5] [--seconds 1] [NAME ...]

Models of ``staticgrad compare`` and modules under three optimizers, each compared as that command
does it (``staticgrad.comparison.torch_peer`` trains it by PyTorch). The peak of PyTorch is
the running sum of its profiler's allocation events, that of the tape what ``tracemalloc`` sees;
parameters, state and batch stand before in both. All run on one thread, in turns; times are the
least processor time of a step. PyTorch comes with the extra ``bench-torch``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

import staticgrad as sg
from staticgrad.comparison import Comparison, compare

_RULES: Final[dict[str, Callable[[], Any]]] = {
    "SGD": lambda: sg.optim.SGD(0.05),
    "momentum": lambda: sg.optim.SGD(0.05, momentum=0.9),
    "Adam": lambda: sg.optim.Adam(1e-3),
}
_HEADS: Final = (
    "program", "tape, B", "PyTorch, B", "ratio", "compiled, B", "tape, us", "PyTorch, us", "ratio",
    "compiled, us", "tape / compiled", "least to most",
)  # fmt: skip


def _perceptron(random: np.random.Generator) -> tuple[Any, list[Any]]:
    nn = sg.nn
    net = nn.Sequential(
        nn.Linear(100, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    return net, [random.normal(size=(64, 100)).astype("float32"), random.integers(0, 10, 64)]


def _convolutions(random: np.random.Generator) -> tuple[Any, list[Any]]:
    nn = sg.nn
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32 * 49, 10),
    )  # fmt: skip
    return net, [random.normal(size=(32, 1, 28, 28)).astype("float32"), random.integers(0, 10, 32)]


def _recommender(random: np.random.Generator) -> tuple[Any, list[Any]]:
    nn = sg.nn
    net = nn.Sequential(
        nn.Embedding(5000, 32), nn.Flatten(), nn.Linear(320, 64), nn.ReLU(), nn.Linear(64, 2)
    )
    return net, [random.integers(0, 5000, (64, 10)), random.integers(0, 2, 64)]


_MODULES: Final = {"MLP": _perceptron, "CNN": _convolutions, "recommender": _recommender}
NAMES: Final = (
    "mlp", "deep", *(f"{module}, {rule}" for module in _MODULES for rule in _RULES)
)  # fmt: skip


def compare_program(name: str, seconds: float) -> Comparison:
    """One program, compared once."""
    module, _, rule = name.partition(", ")
    if not rule:
        comparison = compare(name, seconds=seconds)
    else:
        net, arrays = _MODULES[module](np.random.default_rng(0))
        comparison = compare(net, *arrays, optimizer=_RULES[rule](), seconds=seconds)
    assert isinstance(comparison, Comparison)
    return comparison


def line(name: str, repeats: Sequence[Comparison]) -> str:
    """Peaks, times and ratios of one program: the least of several comparisons."""
    comparison = repeats[0]
    peer = comparison.peer
    if peer is None or peer.pair is None:
        return f"| {name} | {peer.reason if peer else 'PyTorch is not installed'} |"
    pairs = [(repeat.usual, repeat.peer.pair if repeat.peer else None) for repeat in repeats]
    tape, graph = (
        min(getattr(usual, way).cpu for usual, _ in pairs) for way in ("by_run", "then_run")
    )
    torch = min(pair.by_run.cpu for _, pair in pairs if pair is not None)
    ratios = [usual.ratio for usual, _ in pairs]
    peak = comparison.memory
    cells = [
        name, f"{peak.tape:,}", f"{peer.tape:,}", f"{peak.tape / peer.tape:.2f}",
        f"{peak.arena['store_all']:,}", f"{tape * 1e6:.0f}", f"{torch * 1e6:.0f}",
        f"{tape / torch:.1f}", f"{graph * 1e6:.0f}", f"{tape / graph:.1f}",
        f"{min(ratios):.1f} to {max(ratios):.1f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print a table."""
    reader = argparse.ArgumentParser(description="The tape beside PyTorch's.")
    reader.add_argument("names", nargs="*", default=list(NAMES), help=f"of {'; '.join(NAMES)}")
    reader.add_argument("--repeats", type=int, default=1)
    reader.add_argument("--seconds", type=float, default=1.0)
    asked = reader.parse_args()
    print(f"| {' | '.join(_HEADS)} |\n|---|{'--:|' * (len(_HEADS) - 1)}")
    for name in asked.names:
        repeats = [compare_program(name, asked.seconds) for _ in range(asked.repeats)]
        print(line(name, repeats), flush=True)


if __name__ == "__main__":
    main()
