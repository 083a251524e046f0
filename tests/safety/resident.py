"""Child process: by how much one large step raises the process's resident peak.

    python -m tests.safety.resident store_all|sqrt|recompute [megabytes of arena]

Everything is loaded and run before, at a small size. Prints the arena's peak, the output arrays'
bytes, and the rise of the high-water mark over what was resident before the step, all in bytes.
The feeds and parameters are resident before; what is staged is copied into the arena.
"""

import gc
import sys
from pathlib import Path

import numpy as np

import staticgrad as sg
from tests.memory.test_deep_mlp import deep
from tests.safety.child import say

WIDTH = 32


def kilobytes(name):
    """A field of /proc/self/status, in kB."""
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name + ":"))


def feeds_at(batch):
    numbers = np.random.default_rng(batch)
    return {name: numbers.standard_normal((batch, WIDTH), np.float32) for name in "xy"}


def main():
    policy, megabytes, layout = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    graph = deep(24, "tanh", width=WIDTH)
    h = sg.input("z", ("batch", WIDTH), "float32")
    graph = sg.Graph({**graph.outputs, "copy": h * 2.0}, graph.updates)
    f = sg.compile(graph, checkpoint=policy)
    for batch in (3, 64):
        small = feeds_at(batch)
        f.run({**small, "z": small["x"]})
        f.run({name: np.asfortranarray(a) for name, a in {**small, "z": small["x"]}.items()})
    low, high = 1, 2
    while f.plan(batch=high).peak_bytes < megabytes << 20:
        low, high = high, 2 * high
    while high - low > 16:
        middle = (low + high) // 2
        if f.plan(batch=middle).peak_bytes < megabytes << 20:
            low = middle
        else:
            high = middle
    feeds = feeds_at(high)
    feeds["z"] = feeds["x"]
    if layout == "staged":
        feeds = {name: np.asfortranarray(array) for name, array in feeds.items()}
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before = kilobytes("VmRSS")
    found = f.run(feeds)
    rise = (kilobytes("VmHWM") - before) * 1024
    outputs = sum(array.nbytes for array in found.values())
    say(f.peak_bytes, outputs, rise, high)


if __name__ == "__main__":
    main()
