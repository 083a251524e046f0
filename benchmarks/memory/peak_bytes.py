"""Bytes that one training step holds: the planned arena, PyTorch's tensors and the tape.

    python -m benchmarks peak_bytes [--into FILE] [--beside FILE] [--seconds 0] [NAME ...]

Twenty-one programs make a step of SGD each, written once in the vocabulary of the suite; four more
steps are those of ``peak_steps.py``, without a tape. The five contexts of ``gpt`` have equal
tokens, so that equal bytes mean bytes linear in the context. The arena
is ``plan().peak_bytes``. PyTorch is eager; its peak is the largest running sum of its profiler's
allocations in a step, that of the tape is what ``tracemalloc`` sees. Parameters, feeds and state
exist before a step in all three and are not counted. ``smallest`` is the smallest arena that a
budget can have; ``at 60 %`` and ``at 40 %`` the predicted time under budgets of these shares of the
arena, in times of the step without one. Where the arena is larger than PyTorch's peak, the largest
values that live at its peak follow, with their lines. With ``--seconds`` a program is also timed,
as the least time of a call on one thread. ``--beside`` shows the arenas of an earlier file.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.implementation import Settings
from benchmarks.harness.operations import Operations
from benchmarks.harness.rows import arguments, print_rows
from benchmarks.harness.workload import Data, Loss, Make, Workload
from benchmarks.implementations.with_eager import EagerProgram
from benchmarks.implementations.with_staticgrad import Staticgrad, StaticgradProgram, graph_of
from benchmarks.implementations.with_torch import TorchLoops, TorchProgram
from benchmarks.memory.peak_steps import STEPS
from benchmarks.workloads import cnn, gp, gpt, models, recurrent
from staticgrad.analysis.plan_check import largest_at_peak

_SETTINGS: Final = Settings(1, "")
_HEADS: Final = (
    "program", "arena, B", "before, B", "PyTorch, B", "tape, B", "arena / PyTorch",
    "tape / PyTorch", "smallest, %", "at 60 %", "at 40 %", "step, us",
)  # fmt: skip


class _UnrolledTorch(TorchProgram):
    operations = TorchLoops


class _Unrolled:
    """Operations of a library, with recurrent layers and solvers as Python loops."""

    def __init__(self, ops: Any) -> None:
        self._ops = ops

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ops, name)

    def recurrent(self, *arguments: Any) -> Any:
        return Operations.recurrent(self, *arguments)  # type: ignore[arg-type]

    def zero_state(self, x: Any, hidden: int) -> Any:
        return x[0, :, :1] * 0.0 + self._ops.constant(np.zeros(hidden, "float32"))

    def recurrent_cell(self, kind: str, hidden: int) -> Any:
        return Operations.recurrent_cell(self, kind, hidden)  # type: ignore[arg-type]

    def loop(self, *arguments: Any) -> Any:
        return Operations.repeat(self, *arguments)  # type: ignore[arg-type]


def unroll_loops(loss: Loss) -> Loss:
    """Write the loops of a loss as Python loops."""
    return lambda ops, v, sizes: loss(_Unrolled(ops), v, sizes)


def attending(context: int, layers: int = 2, width: int = 64, batch: int = 16) -> Make:
    """A GPT over a context."""
    return gpt.transformer(layers, width, context, batch, 65)


def make_images(channels: Sequence[int], side: int, batch: int) -> Make:
    """Convolutions with batch norm and ReLU behind each, and a linear layer."""

    def make(random: np.random.Generator) -> Data:
        shapes: dict[str, Sequence[int]] = {"w": (channels[-1], 10), "b": (10,)}
        for k, (c, d) in enumerate(zip((3, *channels), channels, strict=False)):
            shapes |= {f"k{k}": (d, c, 3, 3), f"g{k}": (d,), f"c{k}": (d,)}
        feeds = {"x": random.normal(size=(batch, 3, side, side)),
                 "y": random.integers(0, 10, batch)}  # fmt: skip
        sizes = {"channels": channels, "side": side, "batch": batch}
        return Data(models._drawn(random, shapes), feeds, sizes=sizes)

    return make


def _batch_norm_loss(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, Any]) -> Any:
    h, side, channels = v["x"], sizes["side"], 3
    for k, c in enumerate(sizes["channels"]):
        h = models._convolve(ops, h, v[f"k{k}"], (side, channels, c))
        h = ops.relu(ops.batch_norm(h, v[f"g{k}"], v[f"c{k}"], sizes["batch"] * side**2))
        channels = c
    pooled = ops.mean(ops.mean(h, axis=3), axis=2)
    return ops.cross_entropy(ops.linear(pooled, v["w"], v["b"]), v["y"]), {}


def make_highway(width: int, layers: int, batch: int) -> Make:
    """Layers of which a sigmoid gate lets a share through (arXiv 1505.00387)."""

    def make(random: np.random.Generator) -> Data:
        shapes: dict[str, Sequence[int]] = {}
        for k in range(layers):
            shapes |= {f"w{k}": (width, width), f"u{k}": (width, width), f"b{k}": (width,)}
        feeds = {name: random.normal(size=(batch, width)) for name in "xt"}
        return Data(models._drawn(random, shapes), feeds, sizes={"layers": layers})

    return make


def _highway_loss(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, Any]) -> Any:
    h = v["x"]
    for k in range(sizes["layers"]):
        gate = ops.sigmoid(ops.linear(h, v[f"u{k}"], v[f"b{k}"]))
        h = gate * ops.tanh(h @ v[f"w{k}"]) + (1.0 - gate) * h
    away = h - v["t"]
    return ops.mean(away * away), {}


_lstm, _gru = (partial(recurrent.loss, kind) for kind in ("lstm", "gru"))
_cells = partial(recurrent.sequence, "lstm", 1, 24, 32, 40, 64)
_images = partial(models.images, "residual", (16, 32), 16, 8)

#: Program -> its loss and what makes its arrays.
PROGRAMS: Final[Mapping[str, tuple[Loss, Make]]] = {
    "mlp": (models.classifier_loss, models.classifier((784, 512, 256, 128, 10), 128)),
    "cnn": (cnn.loss, cnn.network((1, 16, 32), 28, 32)),
    "batch norm": (_batch_norm_loss, make_images((16, 32), 16, 16)),
    "resnet": (models._image_loss, _images()),
    "mobilenet": (models._image_loss, models.images("separable", (16, 32, 64), 16, 8)),
    "unet": (models._unet_loss, models.segmenter((8, 16), 32, 4)),
    "lstm, scan": (_lstm, _cells()),
    "lstm, loop": (unroll_loops(_lstm), _cells()),
    "gru, loop": (unroll_loops(_gru), recurrent.sequence("gru", 1, 24, 32, 40, 64)),
    "highway": (_highway_loss, make_highway(128, 4, 64)),
    "gpt, 64": (gpt.loss, attending(64)),
    "gpt, 128": (gpt.loss, attending(128, batch=8)),
    "gpt, 256": (gpt.loss, attending(256, batch=4)),
    "gpt, 512": (gpt.loss, attending(512, batch=2)),
    "gpt, 1024": (gpt.loss, attending(1024, batch=1)),
    "vit": (models._patch_loss, models.patches("attention", 2, 64, 32, 4, 16)),
    "mixer": (models._patch_loss, models.patches("dense", 2, 64, 32, 4, 16)),
    "vae": (models._vae_loss, models.autoencoder(64, 128, 8, 64)),
    "recommender": (models._dlrm_loss, models.recommender(4, 2000, 32, 13, 128)),
    "ode, rk4": (unroll_loops(models._ode_loss), models.differential((4, 32, 4), 8, 32)),
    "gp": (gp.loss, gp.readings(200, 5)),
}


def workload_of(name: str) -> Workload:
    """The program of a name."""
    loss, make = PROGRAMS[name]
    dtype = "float64" if name == "gp" else "float32"
    return Workload(name, "sgd", loss, make, make, 1e-3, name, dtype, rate=1e-3)


def torch_bytes(name: str) -> int | None:
    """The peak of eager PyTorch's allocations in a step, or None without PyTorch."""
    if find_spec("torch") is None:
        return None
    import torch

    torch.set_num_threads(1)
    if name in STEPS:
        arrays, _, make = STEPS[name]
        variables = {n: torch.from_numpy(np.array(a)) for n, a in arrays().items()}
        step = make(torch, variables)
    else:
        workload = workload_of(name)
        kind = _UnrolledTorch if "loop" in name else TorchProgram
        program = kind(workload, workload.make(), _SETTINGS)
        program.build()
        variables, step = program.variables, program.step
    step()
    for tensor in variables.values():
        tensor.grad = None
    return profiled_bytes(step)


def profiled_bytes(step: Callable[[], object]) -> int:
    """Return the greatest sum of what PyTorch has allocated in a call, beyond what was there."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    allocated = most = 0
    recorded: Any = seen.profiler
    for event in recorded.kineto_results.events():
        if event.name() == "[memory]":
            allocated += event.nbytes()
            most = max(most, allocated)
    return most


def tape_bytes(workload: Workload, data: Data) -> int:
    """The peak of what a step in eager mode allocates."""
    program = EagerProgram(workload, data, _SETTINGS)
    program.build()
    program.step()
    for tensor in program.variables.values():
        tensor.grad = None
    tracemalloc.start()
    program.step()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def _least(step: Callable[[], Any], seconds: float) -> float:
    step()
    least, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        step()
        least = min(least, time.perf_counter() - start)
    return least


def measure_row(name: str, seconds: float, arena_only: bool = False) -> dict[str, Any]:
    """The row of a program."""
    tape: int | None = None
    if name in STEPS:
        arrays, make, _ = STEPS[name]
        inputs = arrays()
        graph = make(inputs)
        compiled = sg.compile(graph, threads=1)
        feeds = {value.node.label: inputs[value.node.label] for value in graph.inputs}
        arena, step = compiled.plan().peak_bytes, lambda: compiled.run(feeds)
    else:
        workload = workload_of(name)
        data = workload.make()
        program = StaticgradProgram(workload, data, _SETTINGS)
        program.build()
        program.compile()
        graph, step, planned = fix_sizes(workload, data), program.step, program.planned_bytes()
        assert planned is not None
        arena = planned
        tape = None if arena_only else tape_bytes(workload, data)
    row: dict[str, Any] = {"program": name, "arena": arena}
    if not arena_only:
        choices = sg.tradeoff(graph, threads=1).choices
        row["smallest"] = choices[-1].peak_bytes
        row["times"] = {share: _longer(choices, arena, share) for share in _SHARES}
        row |= {"torch": torch_bytes(name), "tape": tape}
        if row["torch"] is not None and arena > row["torch"]:
            row["at peak"] = largest_at_peak(choices[0].plan)
    if seconds:
        row["seconds"] = _least(step, seconds)
    return row


#: Shares of the arena, in percent, for which a row has the predicted time.
_SHARES: Final = (60, 40)


def _longer(choices: Sequence[Any], arena: int, share: int) -> float | None:
    """The least predicted time within a share of the arena, over that of the fastest plan."""
    within = [plan.seconds for plan in choices if plan.peak_bytes * 100 <= arena * share]
    return min(within) / choices[0].seconds if within else None


def fix_sizes(workload: Workload, data: Data) -> sg.Graph:
    """The graph of a program at its sizes."""
    return graph_of(workload, replace(data, batch={}), Staticgrad())


def builders() -> Builders:
    """Return what builds the steps, at their sizes."""

    def build_program(name: str) -> sg.Graph:
        workload = workload_of(name)
        return fix_sizes(workload, workload.make())

    def build_step(name: str) -> sg.Graph:
        arrays, make, _ = STEPS[name]
        return make(arrays())

    by_workload = {name: partial(build_program, name) for name in PROGRAMS}
    return by_workload | {name: partial(build_step, name) for name in STEPS}


def line(row: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    """A row of the table."""
    arena, torch, tape = row["arena"], row.get("torch"), row.get("tape")
    times = row.get("times", {})
    cells = [
        row["program"], f"{arena:,}", f"{earlier['arena']:,}" if earlier else "",
        f"{torch:,}" if torch else "", f"{tape:,}" if tape else "",
        f"{arena / torch:.2f}" if torch else "", f"{tape / torch:.2f}" if torch and tape else "",
        f"{100 * row['smallest'] / arena:.0f}" if "smallest" in row else "",
        *(f"{times[share]:.2f}" if times.get(share) else "" for share in _SHARES),
        f"{row['seconds'] * 1e6:.0f}" if "seconds" in row else "",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print a table; with ``--into`` write a file of JSON."""
    reader = arguments("Bytes of a training step.", [*PROGRAMS, *STEPS])
    reader.add_argument("--seconds", type=float, default=0.0)
    reader.add_argument("--arena-only", action="store_true")
    asked = reader.parse_args()
    rows = print_rows(
        asked, _HEADS, lambda name: measure_row(name, asked.seconds, asked.arena_only), line
    )
    for row in rows:
        if "at peak" in row:
            print(f"{row['program']}, at the peak of its arena: {'; '.join(row['at peak'])}")


if __name__ == "__main__":
    main()
