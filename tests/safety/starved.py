"""Child process: kernels that Numba compiled get no memory for their scratch.

    python -m tests.safety.starved

Each run ends in one coded error that leaves results of former runs and all parameters as they were,
before the native entry takes part and behind it; with more memory the program runs on.
"""

import resource
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


def refused(run):
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
    assert refused(lambda: f.run({"x": BIG}, out=out))
    f.run({"x": BIG}, out=out)
    assert np.array_equal(out["y"], np.sort(BIG))
    bound = f.bind({"x": BIG}, out=out)
    for _ in range(3):
        bound()
    assert refused(bound)
    assert np.array_equal(bound()["y"], np.sort(BIG))


def updating():
    """The kernel of the second update fails, behind the first one."""
    w = sg.parameter("w", np.zeros(3, "float32"))
    v = sg.parameter("v", BIG)
    f = sg.compile(sg.Graph({}, {w: w + 1.0, v: sg.sort(v)}), backend="numba")
    f.run({})
    w.value, v.value = np.zeros(3, "float32"), BIG
    for _ in range(2):
        assert refused(lambda: f.run({}))
        assert w.value.tolist() == [0.0, 0.0, 0.0]
        assert np.array_equal(v.value, BIG)
    f.run({})
    assert w.value.tolist() == [1.0, 1.0, 1.0]
    assert np.array_equal(v.value, np.sort(BIG))


def main():
    sorting()
    updating()
    say("done")


if __name__ == "__main__":
    main()
