"""Child process: compilations that fail at the n-th call of a function on their way, for every n.

    python -m tests.safety.failing_compiles <folder for caches> <largest n>

With 0 for n, some of the failures of first calls; with 1, the others of them. First calls fail
before their work and after it, later ones before and after in turn. After each failure parameters
are as they were, another thread can compile and gets the right results, the cache holds whole
entries only and no temporary file. Where only the disk fails, the compilation does not.
"""

import errno
import os
import sys
import tempfile
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np

import staticgrad as sg
from staticgrad import native
from staticgrad.native import cache, jit, loader, target
from tests.safety.child import entry_at, say
from tests.safety.failing_steps import in_another_thread

#: What a compilation goes through, by owner and name.
DOORS = (
    (jit, "compile_ir"), (jit.Compiler, "emit"),
    (jit.Compiler, "module"), (jit.Compiler, "optimise"), (loader, "load"), (loader, "check"),
    (cache, "key"), (cache, "read"), (cache, "write"), (cache, "_encode"), (cache, "_decode"),
    (loader, "is_sound"), (target, "machine"), (native, "_load"),
)  # fmt: skip
DISK = (
    (tempfile, "mkstemp"), (os, "fdopen"), (Path, "replace"), (cache, "read_private"),
)  # fmt: skip


class FailureError(Exception):
    """The error of an injected failure where no real one has a name."""


@contextmanager
def failing(owner, name, n, error, fails_late):
    """The n-th call raises ``error``, before its work or after it; yields the calls so far."""
    honest = getattr(owner, name)
    calls = [0]

    def call(*args, **options):
        calls[0] += 1
        if calls[0] == n and not fails_late:
            raise error
        result = honest(*args, **options)
        if calls[0] == n:
            if name == "mkstemp":
                os.close(result[0])
                os.unlink(result[1])  # noqa: PTH108 - what mkstemp gives is a text
            raise error
        return result

    setattr(owner, name, call)
    try:
        yield calls
    finally:
        setattr(owner, name, honest)


def forget(folder):
    """An empty cache in ``folder``, and a process that remembers nothing of what it compiled."""
    os.environ["STATICGRAD_CACHE_DIR"] = str(folder)
    native._process.loaded.clear()
    native._process.drivers.clear()
    loader._functions.clear()
    loader._chosen.clear()


def check_cache(folder, what):
    for path in (folder / "kernels").glob("*[!s]"):  # all but the digest of the sources
        if path.suffix != cache.SUFFIX or entry_at(path) is None:
            sys.exit(f"{what}: the cache holds {path.name}")


class Program:
    """Two kernels, one of which updates a parameter."""

    def __init__(self):
        self.x = np.arange(5, dtype=np.float32)
        x = sg.input("x", ("n",), "float32")
        self.w = sg.parameter("w", np.zeros(3, np.float32))
        self.graph = sg.Graph({"y": sg.exp(x) * 2}, updates={self.w: self.w + 1.0})

    def results(self):
        """The bytes of a run of the program, compiled anew."""
        self.w.value = np.zeros(3, np.float32)
        y = sg.compile(self.graph).run({"x": self.x})["y"]
        results = [y.tobytes(), self.w.value.tobytes()]
        self.w.value = np.zeros(3, np.float32)
        return results


def trial(program, door, n, error, fails_late):
    """One compilation with a failure at the n-th call; whether there was an n-th call."""
    harmless = isinstance(error, OSError)
    with failing(*door, n, error, fails_late) as calls:
        try:
            sg.compile(program.graph)
        except sg.StaticgradError:  # of a MemoryError, OutOfMemory is made, which is one
            if harmless:
                raise
        except type(error) as raised:
            if raised is not error or harmless:
                raise
    if program.w.value.any():
        sys.exit("a compilation changed a parameter")
    return calls[0] >= n


def trials():
    for door in DOORS:
        yield door, FailureError("injected")
    for door in DOORS[:6]:
        yield door, MemoryError()
    for door in (*DOORS, *DISK):
        yield door, KeyboardInterrupt()
    for door in DISK:
        yield door, OSError(errno.ENOSPC, "no space left on device")


def main():
    root, most = Path(sys.argv[1]), int(sys.argv[2])
    program = Program()
    expected = program.results()
    number = 0
    chosen = list(product(trials(), (False, True)))
    some = {0: chosen[::4], 1: [one_trial for k, one_trial in enumerate(chosen) if k % 4]}
    for (door, error), fails_late in some.get(most, chosen):
        for n in (1, *range(2 + fails_late, most + 1, 2)):
            number += 1
            what = f"{door[1]} {n} {'after' if fails_late else 'before'} {type(error).__name__}"
            say(what)
            folder = root / str(number)
            forget(folder)
            was_reached = trial(program, door, n, error, fails_late)
            check_cache(folder, what)
            if in_another_thread(program.results) != expected:
                sys.exit(f"other results after {what}")
            check_cache(folder, "compiling again")
            if not was_reached:
                break
    say("done", number)


if __name__ == "__main__":
    main()
