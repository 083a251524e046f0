"""A training step on several ranks, and a model of its time: run it by ``mpiexec -n N``.

    mpiexec -n 4 python -m benchmarks ranks

Each rank has one thread and the same number of rows, whatever the number of ranks (weak scaling).
The model of a mean over R ranks of n bytes, after LogGP: P + (log2 R + 2 (R - 1)) L for the calls
and the messages (tags, then parts of the sum out and back), 2 (R - 1) / R n G for the bytes, and
n C for copies and sums. L and G are measured with messages between two ranks, C with arrays of one,
P with the mean of one number. Times are minima over the runs, of the slowest rank.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from staticgrad.support import ranks

SIZES: Final = (1_000, 30_000, 1_000_000, 4_000_000)
Step = Callable[[], Any]


def fastest(job: sg.distributed.Job, run: Step, runs: int) -> float:
    """The least time of a run, of the slowest rank, in seconds."""
    times = []
    for _ in range(runs):
        job.any(False)
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return float(max(job.gather(min(times))))


def digits() -> tuple[Any, Any, Any]:
    """A network of the size that 8x8 images of digits need, 64 rows."""
    model = sg.nn.Sequential(sg.nn.Linear(64, 64), sg.nn.Tanh(), sg.nn.Linear(64, 10))
    random = np.random.default_rng(0)
    x, y = random.normal(size=(64, 64)).astype("float32"), random.integers(0, 10, 64)
    return [model], lambda x, y: sg.nn.cross_entropy(model(x), y), (x, y)


def gpt(width: int = 128, layers: int = 4, times: int = 64, letters: int = 96) -> Any:
    """A small GPT, 8 rows of 64 letters."""
    blocks = [sg.nn.TransformerBlock(width, 4, causal=True) for _ in range(layers)]
    head = sg.nn.Sequential(*blocks, sg.nn.Linear(width, letters))
    table, places = sg.nn.Embedding(letters, width), sg.nn.Embedding(times, width)
    data = np.random.default_rng(0).integers(0, letters, (8, times + 1))

    def loss(x: Any, y: Any) -> Any:
        logits = head(table(x) + places(np.arange(times)))
        return sg.nn.cross_entropy(logits.reshape(-1, letters), y.reshape(-1))

    return [table, places, head], loss, (data[:, :-1].copy(), data[:, 1:].copy())


def builders() -> Builders:
    """Return what builds the loss of each model."""

    def build(make: Callable[[], tuple[Any, Any, Any]]) -> object:
        _, loss_of, batch = make()
        return sg.function(loss_of).graph(*batch)

    return {make.__name__: partial(build, make) for make in (digits, gpt)}


def training(make: Callable[[], tuple[Any, Any, Any]], **options: bool) -> tuple[Step, int, int]:
    """A step of Adam, the bytes of the gradients, and those of parameters and state of a rank."""
    models, loss_of, batch = make()
    opt = sg.optim.Adam(1e-3)

    @sg.function(threads=1)
    def step(x: Any, y: Any) -> Any:
        loss = loss_of(x, y)
        opt.minimize(loss, **options)
        return loss

    step(*batch)
    stored = sum(p.value.nbytes for p in step.graph(*batch).parameters)
    gradients = sum(p.value.nbytes for model in models for p in model.parameters())
    return lambda: step(*batch), gradients, stored


def mean_of(job: sg.distributed.Job, size: int) -> Step:
    """A mean of so many numbers."""
    x = np.full(size, job.rank, np.float32)
    work = np.empty(ranks.work_bytes([x.nbytes], job.ranks), np.uint8)
    return ranks.Exchange(job, "mean", [x], [np.empty_like(x)], work).run


class Model:
    """The parameters of LogGP on this machine, in seconds."""

    def __init__(self, job: sg.distributed.Job) -> None:
        self.job = job
        small, large = (fastest(job, self._exchange(n), 300) for n in (8, 4_000_000))
        self.latency = small
        self.per_byte = max(0.0, large - small) / 4_000_000
        array, target = (np.ones(1_000_000, np.float32) for _ in range(2))
        self.copy = fastest(job, lambda: np.copyto(target, array), 100) / array.nbytes
        self.add = fastest(job, lambda: np.add(target, array, out=target), 100) / array.nbytes
        self.calls = 0.0
        if job.ranks > 1:
            self.calls = fastest(job, mean_of(job, 1), 300) - self.mean(4, job.ranks)

    def _exchange(self, nbytes: int) -> Step:
        """A message from each of two ranks to the other."""
        from mpi4py import MPI

        outgoing, got = (np.zeros(nbytes, np.uint8) for _ in range(2))
        partner = self.job.rank ^ 1
        if partner >= self.job.ranks:
            return lambda: None

        def run() -> None:
            requests = [
                MPI.COMM_WORLD.Irecv(got, partner, 7),
                MPI.COMM_WORLD.Isend(outgoing, partner, 7),
            ]
            while not MPI.Request.Testall(requests):
                pass

        return run

    def mean(self, nbytes: int, count: int) -> float:
        """The time of a mean over so many ranks."""
        if count == 1:
            return 0.0
        messages = (np.log2(count) + 2 * (count - 1)) * self.latency
        transfer = 2 * (count - 1) / count * nbytes * self.per_byte
        return float(self.calls + messages + transfer + nbytes * (2 * self.copy + self.add))


def rows(job: sg.distributed.Job) -> Iterator[str]:
    model = Model(job)
    speeds = [1e-9 / max(cost, 1e-15) for cost in (model.per_byte, model.copy, model.add)]
    yield (
        f"{job.ranks} ranks: calls {model.calls * 1e6:.0f} us, small messages"
        f" {model.latency * 1e6:.1f} us, GB/s: {speeds[0]:.2f} between two ranks,"
        f" {speeds[1]:.1f} of copies, {speeds[2]:.1f} of sums"
    )
    for size in SIZES if job.ranks > 1 else ():
        seconds, expected = fastest(job, mean_of(job, size), 50), model.mean(4 * size, job.ranks)
        times = f"{seconds * 1e6:9.0f} us, model {expected * 1e6:9.0f} us"
        yield f"mean of {4 * size:>11,} bytes: {times}"
    for make in (digits, gpt):
        alone, nbytes, _ = training(make)
        single = fastest(job, alone, 30)
        yield f"{make.__name__}: {nbytes:,} bytes of gradients, step alone {single * 1e3:.3f} ms"
        for options in ({}, {"shard_state": True}):
            step, _, stored = training(make, data_parallel=True, **options)
            sent, calls = job.sent, job.calls
            step()
            sent, calls = job.sent - sent, job.calls - calls
            parallel = fastest(job, step, 30)
            predicted = single + model.mean(nbytes, job.ranks)
            yield (
                f"    {'parts' if options else 'whole'}: {parallel * 1e3:.3f} ms, model"
                f" {predicted * 1e3:.3f} ms; {sent:,} bytes sent by a rank in {calls} exchanges;"
                f" {stored:,} bytes of parameters and state"
            )


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    job = sg.distributed.start()
    for row in rows(job):
        if job.rank == 0:
            print(row, flush=True)
