"""Child process: kernels that Numba compiled get no memory for their scratch, and results none.

    python -m tests.safety.starved

Each run ends in one coded error that leaves results of former runs and all parameters as they were,
before the native entry takes part and behind it; with more memory the program runs on.
"""

import resource
import traceback
from pathlib import Path

import numpy as np

import staticgrad as sg
from tests.safety.child import say

ELEMENTS = 5 << 20  # their order is 40 MiB, which malloc never keeps
ENDLESS = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
BIG = np.random.default_rng(0).normal(size=ELEMENTS).astype("float32")


def limit(spare):
    """No more address space than so many bytes beyond what there is."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + spare
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def is_refused(run):
    """Return whether a run without memory raises the error, and is right once there is some."""
    limit(8 << 20)
    try:
        run()
    except sg.errors.OutOfMemory as error:
        return "[SG410] a kernel that Numba compiled got no memory" in str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, ENDLESS)
    return False


def sorting():
    """A program without updates, before and behind its native entry."""
    x = sg.input("x", ("n",), "float32")
    out = {"y": np.zeros(ELEMENTS, "float32")}
    f = sg.compile({"y": sg.sort(x)}, backend="numba")
    f.run({"x": BIG}, out=out)  # the arena is there
    assert is_refused(lambda: f.run({"x": BIG}, out=out))
    f.run({"x": BIG}, out=out)
    assert np.array_equal(out["y"], np.sort(BIG))
    bound = f.bind({"x": BIG}, out=out)
    for _ in range(3):
        bound()
    assert is_refused(bound)
    assert np.array_equal(bound()["y"], np.sort(BIG))


def updating():
    """The kernel of the second update fails, behind the first one."""
    w = sg.parameter("w", np.zeros(3, "float32"))
    v = sg.parameter("v", BIG)
    f = sg.compile(sg.Graph({}, {w: w + 1.0, v: sg.sort(v)}), backend="numba")
    f.run({})
    w.value, v.value = np.zeros(3, "float32"), BIG
    for _ in range(2):
        assert is_refused(lambda: f.run({}))
        assert w.value.tolist() == [0.0, 0.0, 0.0]
        assert np.array_equal(v.value, BIG)
    f.run({})
    assert w.value.tolist() == [1.0, 1.0, 1.0]
    assert np.array_equal(v.value, np.sort(BIG))


def holding():
    """The caller holds results of native runs until there is no memory for another."""
    w, x = sg.parameter("w", np.zeros(3, "float32")), sg.input("x", ("n",), "float32")
    f = sg.compile(sg.Graph({"small": w + 0.0, "y": x * 2.0}, {w: w + 1.0}))
    feeds = {"x": np.ones(1 << 20, "float32")}
    outputs = [f.run(feeds) for _ in range(24)]
    natively = f._executor.native_entry.runs
    assert natively > 3
    text, line = "", None
    limit(100 << 20)
    try:
        while True:
            outputs.append(f.run(feeds))
    except sg.errors.OutOfMemory as error:
        text, line = str(error), traceback.extract_tb(error.__traceback__)[0].line
    finally:
        resource.setrlimit(resource.RLIMIT_AS, ENDLESS)
    assert "output 'y' of shape (1048576,) does not fit into memory" in text
    assert line == "held.append(f.run(feeds))"
    assert f._executor.native_entry.runs > natively
    assert f.stats.runs == len(outputs)
    assert w.value.tolist() == [len(outputs)] * 3
    for number, results in enumerate(outputs):
        assert results["small"].tolist() == [number] * 3
        assert (results["y"] == 2.0).all()
    outputs.clear()
    for _ in range(3):
        assert (f.run(feeds)["y"] == 2.0).all()


def main():
    holding()
    sorting()
    updating()
    say("done")


if __name__ == "__main__":
    main()
