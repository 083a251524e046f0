"""Child process: compilations with ever less address space end in a result or in one error.

    python -m tests.safety.scarce <numba|vector|import>

Each trial is a process of its own, forked when all that ``import`` does not mean to measure is
loaded, with a limit of some MiB beyond what it has.
"""

import os
import resource
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

import staticgrad as sg
from staticgrad import native
from tests.safety.child import say

MIB = 1 << 20


def limit(mib):
    """No more address space than this many MiB beyond what there is."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + mib * MIB
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def compile_and_run(mib, factor):
    x, w = sg.input("x", ("n",), "float32"), sg.parameter("w", np.zeros(3, "f4"))
    graph = sg.Graph({"y": sg.tanh(x) * factor + w.sum()}, {w: w + 1.0})
    limit(mib)
    try:
        f = sg.compile(graph)
    except sg.errors.OutOfMemory as error:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sys.exit(3 if "SG410" in str(error) else 1)
    if f.run({"x": np.zeros(2, "f4")})["y"].tolist() != [0, 0] or w.value.tolist() != [1, 1, 1]:
        sys.exit(1)


def trial(mib, number):
    """The exit status of a child with so many MiB."""
    child = os.fork()
    if not child:
        try:
            compile_and_run(mib, number + 0.5)
            os._exit(0)
        except SystemExit as end:
            os._exit(int(end.code or 0))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main():
    kind = sys.argv[1]
    amounts = [*range(0, 96, 6), 150] if kind == "vector" else [0, 30, 150]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STATICGRAD_CACHE_DIR"] = folder
        if kind == "import":
            from staticgrad.compiler.compiling import compiler  # noqa: F401

            amounts = [40, 100, 150, 165, 180, 200, 230, 500]
        else:
            os.environ["STATICGRAD_BACKEND"] = kind
            native.driver()
            sg.compile(sg.exp(sg.input("x", (2,))))
        endings = Counter(trial(mib, n) for n, mib in enumerate(amounts))
    names = {0: "compiled", 3: "refused"}
    if endings.keys() != names.keys():
        sys.exit(f"other ends than {names}: {endings}")
    say({names[code]: times for code, times in endings.items()})


if __name__ == "__main__":
    main()
