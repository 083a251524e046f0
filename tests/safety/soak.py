"""Child process: programs run from several threads, at sizes that change, for minutes on end.

    python -m tests.safety.soak <seconds> [seed]

Three Python threads share two programs of pure functions and train one program each. Results of a
size must have the same bytes whenever, and whichever thread, runs it; the most that the process
holds must not grow once every size has been met; a minute without a result prints where every
thread is, and ends the process. 1,200 seconds are the whole test.
"""

import faulthandler
import hashlib
import os
import random
import resource
import sys
import threading
import time
from pathlib import Path

import numpy as np

import staticgrad as sg
from tests.safety.child import say

SIZES = (1, 2, 3, 7, 16, 33, 64, 100, 257, 512, 1000, 3000)
THREADS = 3
HANGS = 60  # seconds
GROWTH = 1.05  # of the most resident bytes, from the second third to the last


def rows():
    """Layer norm, GELU and a sum with its gradients: memory decides."""
    x = sg.input("x", ("n", 300), "float32")
    gain = sg.input("gain", (300,), "float32")
    loss = (sg.nn.gelu(sg.nn.layer_norm(x, gain, gain)) ** 2).sum()
    return sg.compile(sg.Graph({"loss": loss, **_slopes(loss, {"x": x, "gain": gain})}))


def products():
    """A network of three layers with its gradients: products decide."""
    x = sg.input("x", ("n", 300), "float32")
    gain = sg.input("gain", (300,), "float32")
    wide = sg.constant(np.linspace(-0.1, 0.1, 300 * 200, dtype="f4").reshape(300, 200))
    loss = sg.nn.relu(sg.tanh((x * gain) @ wide) @ wide.T).mean()
    return sg.compile(sg.Graph({"loss": loss, **_slopes(loss, {"x": x, "gain": gain})}))


def _slopes(loss, inputs):
    return dict(zip(inputs, sg.grad(loss, list(inputs.values())), strict=True))


class Training:
    """Adam on a network of its own."""

    def __init__(self, name):
        x = sg.input("x", ("n", 300), "float32")
        weights = [
            sg.parameter(f"{name}.{k}", np.full(shape, 0.01, "f4"))
            for k, shape in enumerate([(300, 64), (64,), (64, 10)])
        ]
        loss = (sg.tanh(x @ weights[0] + weights[1]) @ weights[2]).mean()
        slopes = dict(zip(weights, sg.grad(loss, weights), strict=True))
        self.step = sg.compile(sg.Graph({"loss": loss}, sg.optim.Adam(1e-3).apply(slopes)))

    def run(self, feeds):
        if not np.isfinite(self.step.run({"x": feeds["x"]})["loss"]):
            fail("a loss is not finite")


class Soak:
    """What the threads share."""

    def __init__(self, seed):
        make = np.random.default_rng(seed)
        self.seed = seed
        self.feeds = {
            size: {
                "x": make.normal(size=(size, 300)).astype("f4"),
                "gain": make.normal(size=300).astype("f4"),
            }
            for size in SIZES
        }
        self.pure = [rows(), products()]
        self.trainings = [Training(f"t{number}") for number in range(THREADS)]
        self.found = {}
        self.runs = [0] * THREADS
        self.end = False

    def work(self, number):
        """One thread's share, until the end."""
        draw, training = random.Random(self.seed + number), self.trainings[number]
        while not self.end:
            size, which = draw.choice(SIZES), draw.randrange(3)
            if which == 2:
                training.run(self.feeds[size])
            else:
                results = self.pure[which].run(self.feeds[size])
                text = b"".join(np.asarray(results[name]).tobytes() for name in sorted(results))
                digest = hashlib.sha1(text).hexdigest()
                if self.found.setdefault((which, size), digest) != digest:
                    fail(f"program {which} at size {size} gave other bytes")
            self.runs[number] += 1


def resident():
    """Resident bytes now."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def fail(why):
    """Say why and end the process, from any thread."""
    sys.stderr.write(f"{why}\n")
    faulthandler.dump_traceback()
    os._exit(1)


def main(seconds, seed=0):
    """Start the threads, watch them, stop them."""
    soak = Soak(seed)
    threads = [threading.Thread(target=soak.work, args=(k,)) for k in range(THREADS)]
    for thread in threads:
        thread.start()
    start = time.monotonic()
    most = [0, 0, 0]  # resident bytes in each third: results in flight come and go
    seen = dict.fromkeys(range(THREADS), (0, start))  # runs, and when there were so many
    while (spent := time.monotonic() - start) < seconds:
        time.sleep(min(HANGS, seconds / 6))
        third = min(2, int(3 * spent / seconds))
        most[third] = max(most[third], resident())
        for number, runs in enumerate(soak.runs):
            if runs != seen[number][0]:
                seen[number] = runs, time.monotonic()
            elif time.monotonic() - seen[number][1] > HANGS:
                fail(f"thread {number} hangs after {runs} runs")
        say(f"{spent:6.0f} s: {sum(soak.runs)} runs, {resident() / 1e6:.0f} MB resident")
    soak.end = True
    for thread in threads:
        thread.join(HANGS)
        if thread.is_alive():
            fail("a thread does not end")
    if seconds >= HANGS and most[2] > GROWTH * most[1]:  # below, not every size has been met
        fail(f"resident bytes grew from {most[1]} to {most[2]}")
    say(f"{sum(soak.runs)} runs, {len(soak.found)} sets of results, each with one set of bytes")


if __name__ == "__main__":
    main(float(sys.argv[1]), *map(int, sys.argv[2:]))
