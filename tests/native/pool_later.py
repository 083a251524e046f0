"""Child process: a program of two threads whose pool has no code yet, then has.

python -m tests.native.pool_later
"""

import numpy as np

import staticgrad as sg
from staticgrad.native import tiers
from staticgrad.native.table import pool
from tests.safety.child import say

tiers.DELAY = 60.0  # the background begins when somebody waits for it


def main():
    x = sg.input("x", (512, 512), "float32")
    f = sg.compile(sg.Graph({"y": sg.tanh(x @ x), "s": sg.exp(x).sum()}), threads=2)
    feeds = {"x": np.linspace(-1, 1, 512 * 512, dtype="float32").reshape(512, 512)}
    first = {name: array.tobytes() for name, array in f.run(feeds).items()}
    worker_pool = pool.present()
    assert worker_pool is not None
    say(worker_pool.get("run") == 0, worker_pool.state.sections == 0)
    f.wait()
    for _ in range(20):
        assert {name: array.tobytes() for name, array in f.run(feeds).items()} == first
    say(worker_pool.get("run") != 0, worker_pool.state.sections > 0)


if __name__ == "__main__":
    main()
