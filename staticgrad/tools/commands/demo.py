"""The demo: a digit classifier trained by a compiled step, and the facts that describe it.

An ordinary user's program with a stop-watch: 1797 images of 8x8 pixels that scikit-learn carries
(nothing is downloaded), a multilayer perceptron, Adam, mini-batches whose last is smaller. What it
finds is a ``DemoReport``; the command line shows it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import staticgrad as sg
from passes.base import Report as PassReport
from passes.pipelines import pipeline
from staticgrad import native, nn
from staticgrad.extend import dataclass
from staticgrad.extend.optional import sklearn
from staticgrad.optim import Adam

Array = npt.NDArray[Any]

LAYERS: Final = (64, 256, 128, 10)
BATCH: Final = 64
EPOCHS: Final = 30
LEARNING_RATE: Final = 3e-3
_TEST_SHARE: Final = 0.2
_PIPELINE: Final = "O1"


@dataclass(frozen=True)
class Digits:
    """Images as rows of 64 float32 in [0, 1], and their classes as int64; split in two."""

    train_images: Array
    train_classes: Array
    test_images: Array
    test_classes: Array


@dataclass(frozen=True)
class Progress:
    """``epoch`` of ``epochs`` is done (0: compiling), with the epoch's mean loss."""

    epoch: int
    epochs: int
    loss: float | None = None


@dataclass(frozen=True)
class NodeCount:
    """Nodes of the training step after ``stage``: the build, or a pass."""

    stage: str
    nodes: int


@dataclass(frozen=True)
class DemoReport:
    """The results of one run of the demo.

    ``kernels`` counts the distinct kernels of the training step and of the prediction together,
    ``kernels_compiled`` and ``kernels_from_disk`` where their code came from (the driver of the
    kernel table is not counted). ``peak_bytes`` maps a batch size to the bytes of the training
    step's arena, known before the first step. ``step_microseconds`` is the median over the full
    batches of one call of ``run``, feeds bound and results returned.
    """

    seed: int
    epochs: int
    layers: tuple[int, ...]
    train_images: int
    test_images: int
    batch_sizes: tuple[int, ...]
    parameters: int
    nodes: tuple[NodeCount, ...]
    kernels: int
    kernels_compiled: int
    kernels_from_disk: int
    kernels_compiled_after_first_step: int
    peak_bytes: Mapping[int, int]
    compile_seconds: float
    train_seconds: float
    steps: int
    step_microseconds: float
    final_loss: float
    test_accuracy: float

    def rows(self) -> list[tuple[str, str]]:
        """Return names and figures, for a table."""
        peaks = self.peak_bytes.items()
        return [
            ("network", "-".join(map(str, self.layers))),
            ("parameters", f"{self.parameters:,}"),
            ("images", f"{self.train_images} to train on, {self.test_images} to test on"),
            *((f"nodes after {count.stage}", str(count.nodes)) for count in self.nodes),
            ("kernels", str(self.kernels)),
            ("  compiled now", str(self.kernels_compiled)),
            ("  read from the disk cache", str(self.kernels_from_disk)),
            ("  compiled after the first step", str(self.kernels_compiled_after_first_step)),
            ("batch sizes", ", ".join(map(str, self.batch_sizes))),
            *((f"peak bytes, batch {size}", f"{peak:,}") for size, peak in peaks),
            ("compile", f"{self.compile_seconds:.2f} s"),
            ("training", f"{self.steps} steps in {self.train_seconds:.2f} s"),
            ("step (median)", f"{self.step_microseconds:.0f} µs"),
            ("loss, last epoch", f"{self.final_loss:.5f}"),
            ("test accuracy", f"{self.test_accuracy:.2%}"),
        ]

    def as_json(self) -> dict[str, Any]:
        """The report as JSON has it: names to numbers, lists and objects with text keys."""
        return {
            **asdict(self),
            "peak_bytes": {str(size): peak for size, peak in self.peak_bytes.items()},
        }


@dataclass(frozen=True)
class Network:
    """The perceptron's two graphs, over the same parameters."""

    step: sg.Graph
    predict: sg.Graph
    weights: tuple[sg.Parameter, ...]


def run(
    seed: int = 0, epochs: int = EPOCHS, watch: Callable[[Progress], None] | None = None
) -> DemoReport:
    """Train the demo's digit classifier, test it, and report."""
    notify = watch or (lambda progress: None)
    digits = load_digits()
    random = np.random.default_rng(seed)
    notify(Progress(0, epochs))
    network = build(random)
    start = time.perf_counter()
    step, predict = sg.compile(network.step, pipeline=_PIPELINE), sg.compile(network.predict)
    compile_seconds = time.perf_counter() - start
    full, last = BATCH, len(digits.train_images) % BATCH
    sizes = [full, *([last] if last else [])]
    peaks = {size: step.plan(batch=size).peak_bytes for size in sizes}
    begun, compiled_at_first, loss = time.perf_counter(), -1, 0.0
    times: dict[int, list[int]] = {size: [] for size in sizes}  # nanoseconds of each step
    for epoch in range(1, epochs + 1):
        total = 0.0
        order = random.permutation(len(digits.train_images))
        for first in range(0, len(order), BATCH):
            chosen = order[first : first + BATCH]
            feeds = {
                "images": digits.train_images[chosen], "classes": digits.train_classes[chosen]
            }  # fmt: skip
            start_ns = time.perf_counter_ns()
            loss_value = step.run(feeds)["loss"]
            times[len(chosen)].append(time.perf_counter_ns() - start_ns)
            total += float(loss_value) * len(chosen)
            if compiled_at_first < 0:
                compiled_at_first = native.statistics().compiled
        loss = total / len(digits.train_images)
        notify(Progress(epoch, epochs, loss))
    train_seconds = time.perf_counter() - begun
    logits = predict.run({"images": digits.test_images})["logits"]
    accuracy = float(np.mean(np.argmax(logits, axis=1) == digits.test_classes))
    programs = (step.stats, predict.stats)
    reports: tuple[PassReport, ...] = pipeline(_PIPELINE).run(network.step)[1]
    built = NodeCount("build", len(network.step.nodes))
    counts = (built, *(NodeCount(report.name, report.nodes_after) for report in reports))
    return DemoReport(
        seed=seed,
        epochs=epochs,
        layers=LAYERS,
        train_images=len(digits.train_images),
        test_images=len(digits.test_images),
        batch_sizes=(*sizes, len(digits.test_images)),
        parameters=sum(weight.value.size for weight in network.weights),
        nodes=counts,
        kernels=len({kernel.source for f in (step, predict) for kernel in f.kernels}),
        kernels_compiled=sum(stats.compiles for stats in programs),
        kernels_from_disk=sum(stats.disk_hits for stats in programs),
        kernels_compiled_after_first_step=native.statistics().compiled - compiled_at_first,
        peak_bytes=peaks,
        compile_seconds=compile_seconds,
        train_seconds=train_seconds,
        steps=sum(map(len, times.values())),
        step_microseconds=statistics.median(times[full][1:] or times[full]) / 1e3,
        final_loss=loss,
        test_accuracy=accuracy,
    )


def load_digits() -> Digits:
    """scikit-learn's digits, split 80 to 20 with every class in proportion."""
    images, classes = sklearn("datasets").load_digits(return_X_y=True)
    scaled = (images / 16.0).astype(np.float32)
    split = sklearn("model_selection").train_test_split(
        scaled, classes.astype(np.int64), test_size=_TEST_SHARE, stratify=classes, random_state=0
    )
    train_images, test_images, train_classes, test_classes = split
    return Digits(train_images, train_classes, test_images, test_classes)


def build(random: np.random.Generator) -> Network:
    """The graphs of an Adam step and of a prediction; weights drawn as by He et al. (ICCV 2015)."""
    images = sg.input("images", ("batch", LAYERS[0]), "float32")
    classes = sg.input("classes", ("batch",), "int64")
    weights: list[sg.Parameter] = []
    hidden: Any = images
    for depth, (width, next_width) in enumerate(pairwise(LAYERS), 1):
        initial = random.normal(0.0, np.sqrt(2.0 / width), (width, next_width)).astype(np.float32)
        w = sg.parameter(f"w{depth}", initial)
        b = sg.parameter(f"b{depth}", np.zeros(next_width, np.float32))
        weights += [w, b]
        hidden = hidden @ w + b
        if next_width != LAYERS[-1]:
            hidden = nn.relu(hidden)
    loss: Any = nn.cross_entropy(hidden, classes)
    updates = Adam(LEARNING_RATE).updates(loss, weights)
    return Network(
        sg.Graph(outputs={"loss": loss}, updates=updates, name="train"),
        sg.Graph(outputs={"logits": hidden}, name="predict"),
        tuple(weights),
    )
