"""Child process: what 100 further warm steps leave allocated, in Python and in the C heap.

    python -m tests.safety.steady

One line per way to use a program: its name, bytes that Python's allocators hold more, bytes that
the C library's hold more.
"""

import ctypes
import gc
import tracemalloc
from collections import deque

import numpy as np

import staticgrad as sg
from staticgrad.errors import FeedShapeError, IndexOutOfRange
from tests.safety.child import say

WARM, STEPS = 20, 100
WIDTH = 40


class _Heap(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def heap_bytes():
    """Return what is allocated of the C heap, large blocks of their own included."""
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Heap
    heap = libc.mallinfo2()
    return int(heap.uordblks + heap.hblkhd)


def training():
    rng = np.random.default_rng(0)
    x, y = sg.input("x", ("b", WIDTH), "float32"), sg.input("y", ("b",), "int64")
    w = sg.parameter("w", rng.normal(size=(WIDTH, 30)).astype("f4"))
    v = sg.parameter("v", rng.normal(size=(30, 5)).astype("f4"))
    h = sg.tanh(x @ w)
    loss = sg.nn.cross_entropy(h @ v, y)
    updates = {p: p - 0.1 * g for p, g in zip((w, v), sg.grad(loss, [w, v]), strict=True)}
    rows = sg.take(w, y, 0).sum()
    return sg.compile(sg.Graph({"loss": loss, "h": h, "rows": rows}, updates))


def feeds_at(batch):
    rng = np.random.default_rng(batch)
    return {"x": rng.normal(size=(batch, WIDTH)).astype("f4"), "y": np.arange(batch) % 5}


def ways():
    f, feeds = training(), feeds_at(64)
    yield "dropped", lambda step: f.run(feeds)
    last_results = deque(maxlen=5)
    yield "kept", lambda step: last_results.append(f.run(feeds))
    out = {"h": np.empty((64, 30), np.float32)}
    yield "given", lambda step: f.run(feeds, out=out)
    batches = [feeds_at(n) for n in (1, 64, 17, 100, 3)]
    yield "sizes", lambda step: f.run(batches[step % 5])
    yield "fresh feeds", lambda step: f.run(feeds_at(33))
    staged = [{**batch, "x": np.asfortranarray(batch["x"])} for batch in batches[1:]]
    yield "staged", lambda step: f.run(staged[step % 4])
    lists = {"x": np.ones((2, WIDTH)).tolist(), "y": [0, 1]}
    yield "lists", lambda step: f.run(lists)

    def fail(step):
        bad = feeds_at(20)
        bad["y"][step % 20] = 99
        try:
            f.run(bad)
        except IndexOutOfRange:
            return
        raise AssertionError

    def refuse(step):
        try:
            f.run({**feeds_at(20), "y": np.zeros(21, np.int64)})
        except FeedShapeError:
            return
        raise AssertionError

    yield "failing", fail
    yield "refused", refuse
    w = f.program_graph.parameters[0]
    value = w.value

    def assign(step):
        w.value = value
        f.run(batches[0])

    yield "assigned", assign


def growth(use, read_bytes):
    """By how much ``held`` grows in 100 steps; of two times 100, the smaller one."""
    growths = []
    for _ in range(2):
        gc.collect()
        bytes_before = read_bytes()
        for step in range(STEPS):
            use(step)
        gc.collect()
        growths.append(read_bytes() - bytes_before)
    return min(growths)


def main():
    for name, use in ways():
        for step in range(WARM):
            use(step)
        heap = growth(use, heap_bytes)
        tracemalloc.start()
        for step in range(WARM):
            use(step)
        traced = growth(use, lambda: tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        say(f"{name}: {traced} {heap}")


if __name__ == "__main__":
    main()
