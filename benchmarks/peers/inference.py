"""Inference of four networks in three precisions, beside ONNX Runtime, OpenVINO, PyTorch, JAX.

    python -m benchmarks inference [--only mlp lstm] [--batch 1 8 32] [--threads 1] [--seconds 1]

Milliseconds of a call, the least of many (of processor time if there is one thread, so that other
programs may run beside), and the peak of resident bytes of a process that builds
and calls the network; ``planned``: bytes of our arena. Each network is written once, and its
weights do not change: ours is compiled with ``freeze=True``. Libraries run in processes of their
own, which take turns, so that all see the same machine. A result is compared with that of NumPy in
float64 before it is timed, within the digits of the precision.

``bfloat16``: ours by ``narrow{products=True}``, PyTorch's by ``autocast``, OpenVINO's by its hint.
``int8``: ours by ``sg.quantize`` without samples, ONNX Runtime's by ``quantize_dynamic``, which has
no form for LSTM and convolutions of every processor. ONNX Runtime and OpenVINO read the file that
``sg.onnx.export`` writes. Libraries that are not installed have no figures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from benchmarks.harness.operations import Operations
from benchmarks.harness.turns import Figures, Worker, answer_turns, measure_in_turns
from benchmarks.implementations.with_staticgrad import Staticgrad
from staticgrad.support.records import dataclass

#: Precision -> the largest error, relative to the largest element.
PRECISIONS: Final = {"float32": 1e-4, "bfloat16": 5e-2, "int8": 2e-1}
#: Precision -> the libraries that have it.
LIBRARIES: Final = {
    "float32": ("staticgrad", "onnxruntime", "openvino", "torch", "jax"),
    "bfloat16": ("staticgrad", "openvino", "torch"),
    "int8": ("staticgrad", "onnxruntime"),
}
BATCHES: Final = (1, 8, 32)
#: Turns of each process.
TURNS: Final = 5
Arrays = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]
Call = Callable[[], Any]


@dataclass(frozen=True)
class Network:
    """A network: from operations, weights by name and a batch to the result.

    ``weights`` and ``example`` are shapes; the batch is the axis ``axis`` of the example.
    """

    about: str
    call: Callable[[Any, Mapping[str, Any], Any], Any]
    weights: Mapping[str, tuple[int, ...]]
    example: tuple[int, ...]
    axis: int = 0

    def draw(self, batch: int) -> tuple[Arrays, Any]:
        """Return weights and a batch, in float64 that float32 represents."""
        random = np.random.default_rng(0)

        def normal(shape: tuple[int, ...], scale: float) -> Any:
            return (random.normal(size=shape) * scale).astype("float32").astype("float64")

        weights: Arrays = {}
        for name, shape in self.weights.items():
            terms = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
            weights[name] = normal(shape, 0.1 if len(shape) == 1 else terms**-0.5)
        extents = list(self.example)
        extents[self.axis] = batch
        return weights, normal(tuple(extents), 1.0)


def _mlp(layers: int) -> Callable[[Any, Mapping[str, Any], Any], Any]:
    def call(ops: Any, v: Mapping[str, Any], x: Any) -> Any:
        for k in range(layers):
            x = ops.linear(x, v[f"w{k}"], v[f"b{k}"])
            x = ops.relu(x) if k < layers - 1 else x
        return x

    return call


def _convnet(side: int, widths: Sequence[int]) -> Callable[[Any, Mapping[str, Any], Any], Any]:
    def call(ops: Any, v: Mapping[str, Any], x: Any) -> Any:
        size = side
        for k, (inner, outer) in enumerate(zip((3, *widths), widths, strict=False)):
            x = ops.relu(ops.conv2d(x, v[f"w{k}"], v[f"b{k}"], (inner, outer), size))
            x, size = ops.max_pool(x, outer, size), size // 2
        return ops.mean(ops.mean(x, axis=3), axis=2) @ v["head"]

    return call


def _block(width: int, heads: int, time: int) -> Callable[[Any, Mapping[str, Any], Any], Any]:
    size = width // heads

    def call(ops: Any, v: Mapping[str, Any], x: Any) -> Any:
        def part(name: str, h: Any) -> Any:
            return ops.transpose(ops.reshape(h @ v[name], (-1, time, heads, size)), (0, 2, 1, 3))

        h = ops.layer_norm(x, v["g0"], v["b0"])
        h = ops.attention(*(part(name, h) for name in "qkv"), size)
        x = x + ops.reshape(ops.transpose(h, (0, 2, 1, 3)), (-1, time, width)) @ v["out"]
        h = ops.relu(ops.layer_norm(x, v["g1"], v["b1"]) @ v["up"])
        return x + h @ v["down"]

    return call


def _lstm(hidden: int, time: int) -> Callable[[Any, Mapping[str, Any], Any], Any]:
    def call(ops: Any, v: Mapping[str, Any], x: Any) -> Any:
        return ops.recurrent("lstm", x, [(v["w"], v["u"], v["b"])], time, hidden) @ v["head"]

    return call


def networks(small: bool = False) -> dict[str, Network]:
    """Return the networks by name; ``small`` ones take no time."""
    width, layers = (12, 2) if small else (1024, 4)
    shapes: Shapes = {f"w{k}": (width, width) for k in range(layers)}
    dense: Shapes = {**shapes, **{f"b{k}": (width,) for k in range(layers)}}
    side, widths = (8, (4, 6)) if small else (32, (32, 64, 128))
    filters: Shapes = {
        f"w{k}": (outer, inner, 3, 3)
        for k, (inner, outer) in enumerate(zip((3, *widths), widths, strict=False))
    }
    filters |= {f"b{k}": (outer,) for k, outer in enumerate(widths)} | {"head": (widths[-1], 10)}
    inner, heads, tokens = (8, 2, 5) if small else (512, 8, 64)
    block: Shapes = dict.fromkeys(("q", "k", "v", "out"), (inner, inner))
    block |= {"up": (inner, 4 * inner), "down": (4 * inner, inner)}
    gains: Shapes = dict.fromkeys(("g0", "b0", "g1", "b1"), (inner,))
    block |= gains
    time, inputs, hidden = (4, 3, 5) if small else (50, 64, 128)
    cell = {"w": (inputs, 4 * hidden), "u": (hidden, 4 * hidden), "b": (4 * hidden,)}
    return {
        "mlp": Network(f"{layers} dense layers of {width}", _mlp(layers), dense, (1, width)),
        "convnet": Network(
            f"3x3 convolutions of {', '.join(map(str, widths))} channels, {side} x {side}",
            _convnet(side, widths), filters, (1, 3, side, side),
        ),
        "block": Network(
            f"transformer block of {inner}, {tokens} tokens", _block(inner, heads, tokens), block,
            (1, tokens, inner),
        ),
        "lstm": Network(
            f"LSTM of {hidden}, {time} steps", _lstm(hidden, time),
            {**cell, "head": (hidden, 10)}, (time, 1, inputs), 1,
        ),
    }  # fmt: skip


# -- libraries ------------------------------------------------------------------------------------


def graph_of(network: Network, weights: Mapping[str, Any], batch: Any) -> sg.Graph:
    """Return the graph of a network over a literal batch; its weights are parameters."""
    named = {name: sg.parameter(name, a.astype("float32")) for name, a in weights.items()}
    x = sg.input("x", batch.shape, "float32")
    return sg.Graph({"y": network.call(Staticgrad(), named, x)})


def _with_staticgrad(
    network: Network, weights: Arrays, batch: Any, precision: str, threads: int
) -> tuple[Call, int]:
    graph = graph_of(network, weights, batch)
    graph = sg.quantize(graph) if precision == "int8" else graph
    narrow = ",narrow{products=True, readers='all'}" if precision == "bfloat16" else ""
    compiled = sg.compile(graph, threads=threads, pipeline=f"O1{narrow}", freeze=True)
    feeds = {"x": batch.astype("float32")}
    compiled.run(feeds)
    compiled.wait()
    return lambda: compiled.run(feeds)["y"], compiled.plan().peak_bytes


def _with_onnxruntime(
    network: Network, weights: Arrays, batch: Any, precision: str, threads: int
) -> tuple[Call, int]:
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        sg.onnx.export(sg.compile(graph_of(network, weights, batch)), path)
        if precision == "int8":
            quantized = path.with_name("int8.onnx")
            import_module("onnxruntime.quantization").quantize_dynamic(path, quantized)
            path = quantized
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: batch.astype("float32")}
    return lambda: session.run(None, feeds)[0], 0


def _with_openvino(
    network: Network, weights: Arrays, batch: Any, precision: str, threads: int
) -> tuple[Call, int]:
    core = import_module("openvino").Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        sg.onnx.export(sg.compile(graph_of(network, weights, batch)), path)
        request = core.compile_model(str(path), "CPU", options).create_infer_request()
    x = batch.astype("float32")
    return lambda: request.infer([x], share_inputs=True)[0], 0


def _with_torch(
    network: Network, weights: Arrays, batch: Any, precision: str, threads: int
) -> tuple[Call, int]:
    torch = import_module("torch")
    torch.set_num_threads(threads)
    ops = import_module("benchmarks.implementations.with_torch").Torch(torch)
    named = {name: torch.from_numpy(a.astype("float32")) for name, a in weights.items()}
    x = torch.from_numpy(batch.astype("float32"))

    def call() -> Any:
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            return network.call(ops, named, x).float().numpy()

    return call, 0


def _with_jax(
    network: Network, weights: Arrays, batch: Any, precision: str, threads: int
) -> tuple[Call, int]:
    jax = import_module("jax")
    ops = import_module("benchmarks.implementations.with_jax").Jax(jax)
    named = {name: jax.numpy.asarray(a, "float32") for name, a in weights.items()}
    x, compiled = jax.numpy.asarray(batch, "float32"), jax.jit(partial(network.call, ops))
    return lambda: compiled(named, x).block_until_ready(), 0


BUILD: Final = {
    "staticgrad": _with_staticgrad, "onnxruntime": _with_onnxruntime,
    "openvino": _with_openvino, "torch": _with_torch, "jax": _with_jax,
}  # fmt: skip


def build(
    library: str, precision: str, name: str, batch: int, threads: int = 1, small: bool = False
) -> tuple[Call, int, float]:
    """Return the call of a network in a library, its planned bytes, and the error of its result.

    The error is relative to the largest element of NumPy's result in float64.
    """
    network = networks(small)[name]
    weights, x = network.draw(batch)
    exact = network.call(Operations(np), weights, x)
    call, planned = BUILD[library](network, weights, x, precision, threads)
    return call, planned, float(np.abs(np.asarray(call()) - exact).max() / np.abs(exact).max())


# -- processes that take turns --------------------------------------------------------------------


def _work(library: str, precision: str, name: str, batch: int, threads: int) -> None:
    """Build a network, and measure it in turns."""
    call, planned, error = build(library, precision, name, batch, threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    answer_turns(call, {"planned": planned, "error": error}, clock)


def measure(
    sides: Sequence[tuple[str, str]], name: str, batch: int, threads: int, seconds: float
) -> dict[tuple[str, str], Figures | str]:
    """Return the figures of a network by library and precision, or why there are none."""
    environment = {"STATICGRAD_THREADS": str(threads)}
    if threads == 1:
        environment["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )
    command, sizes = ("-m", "benchmarks", "inference", "--worker"), (str(batch), str(threads))
    workers = {side: Worker((*command, *side, name, *sizes), environment) for side in sides}
    return measure_in_turns(workers, lambda side: PRECISIONS[side[1]], TURNS, seconds)


def write_rows(name: str, batch: int, results: Mapping[tuple[str, str], Any]) -> list[str]:
    """Return the rows of the table: one for each precision of a network at a batch."""
    lines = []
    for precision, libraries in LIBRARIES.items():
        if not any((library, precision) in results for library in libraries):
            continue
        cells, peers, ours = [], list[float](), float("nan")
        for library in LIBRARIES["float32"]:
            figures = results.get((library, precision), "")
            if isinstance(figures, str):
                cells.append(figures or "-")
                continue
            peak = f", {figures['peak'] / 1e6:.0f} MB" if figures["peak"] else ""
            cells.append(f"{figures['seconds'] * 1e3:.3f} ms{peak}")
            if library == "staticgrad":
                ours = figures["seconds"]
                cells[-1] += f", planned {figures['planned'] / 1e6:.2f}"
            else:
                peers.append(figures["seconds"])
        ratio = f"{min(peers) / ours:.2f}" if peers else "-"
        lines.append(f"| {name} | {batch} | {precision} | {' | '.join(cells)} | {ratio} |")
    return lines


def builders() -> Builders:
    """Return what builds the networks, at a batch of one."""

    def build_graph(network: Network) -> sg.Graph:
        return graph_of(network, *network.draw(1))

    return {name: partial(build_graph, network) for name, network in networks().items()}


def main() -> int:
    """Print the table of Markdown; with ``--worker`` be one of its processes."""
    if sys.argv[1:2] == ["--worker"]:
        library, precision, name, batch, threads = sys.argv[2:]
        _work(library, precision, name, int(batch), int(threads))
        return 0
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks inference", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--only", nargs="+", choices=[*networks()], default=[*networks()], help="networks")
    add("--batch", nargs="+", type=int, default=BATCHES)
    add("--precision", nargs="+", choices=[*PRECISIONS], default=[*PRECISIONS])
    add("--threads", type=int, default=1, help="of each library")
    add("--seconds", type=float, default=1.0, help="measuring time of each cell")
    options = parser.parse_args()
    installed = [library for library in BUILD if find_spec(library)]
    machine = describe()
    print(f"{machine.processor}, {machine.cores} cores, threads: {options.threads}.\n")
    for name in options.only:
        print(f"- {name}: {networks()[name].about}")
    heads = ("network", "batch", "precision", *LIBRARIES["float32"], "best peer / ours")
    print(f"\n| {' | '.join(heads)} |\n|---|--:|---|{'--:|' * (len(heads) - 3)}")
    for name in options.only:
        for batch in options.batch:
            sides = [
                (library, precision)
                for precision in options.precision
                for library in LIBRARIES[precision]
                if library in installed
            ]
            results = measure(sides, name, batch, options.threads, options.seconds)
            print(*write_rows(name, batch, results), sep="\n", flush=True)
    return 0
