"""Reports with made-up times, and implementations that misbehave, for the tests of the suite."""

import os
import time

import numpy as np

from benchmarks.harness.implementation import Implementation, Program, UnsupportedError
from benchmarks.harness.schema import Limits, Machine, Memory, Phases, Report, Round, Row, Steady
from benchmarks.implementations.with_staticgrad import StaticgradProgram


def row(name, medians, width=0.02, **changes):
    """A row that passed, with these medians per round and quartiles ``width`` apart."""
    rounds = tuple(
        Round(
            Phases(0.1, 0.02, 1.0 if i == 0 else 0.1, 0.01),
            Steady(m, m * (1 - width / 2), m * (1 + width / 2), 100, mean=m),
            Steady(m * 1.1, m, m * 1.2, 50),
            1.0,
            i == 0,
        )
        for i, m in enumerate(medians)
    )
    fields = {
        "error": 1e-7,
        "tolerance": 1e-4,
        "memory": Memory(10**8, 2 * 10**8, 4096),
        "flops": 1e8,
        "nbytes": 5e6,
        "overhead": 2e-5,
        "peer": name != "staticgrad",
    }
    return Row("mlp", name, status="ok", rounds=rounds, **{"threads": 1, **fields, **changes})


def report(*rows):
    """A report of these rows on a made-up machine."""
    machine = Machine("a processor", 2, 2**34, "Linux x86_64", "3.11", "2.0", "openblas")
    limits = (Limits(1, 1e11, 5e10, 1e10), Limits(2, 2e11, 1e11, 1.2e10))
    return Report(machine, limits, rows, 3, 10.0, 0, {}, ("a note",))


class WrongProgram(Program):
    """Results of the right shapes, off by a thousandth in one element of one gradient."""

    def build(self):
        inner = StaticgradProgram(self.workload, self.data, self.settings)
        inner.build()
        inner.compile()
        self.inner, self.step = inner, inner.step

    def results(self, returned):
        arrays = {name: np.array(value) for name, value in returned.items()}
        name = next(n for n in arrays if n.startswith("gradient:"))
        arrays[name].flat[-1] += 1e-3 * np.max(np.abs(arrays[name]))
        return arrays

    def parameters(self):
        return {}


class Wrong(Implementation):
    """Gives wrong gradients."""

    name = "wrong"
    package = "staticgrad"
    threads = 1

    def load(self, settings):
        return {}

    def program(self, workload, data, settings):
        return WrongProgram(workload, data, settings)


class Crashing(Wrong):
    """Ends the process without a word."""

    name = "crashing"

    def load(self, settings):
        os._exit(3)


class Raising(Wrong):
    """Raises while it builds."""

    name = "raising"

    def program(self, workload, data, settings):
        raise RuntimeError("no such thing")


class Hanging(Wrong):
    """Never comes back."""

    name = "hanging"

    def load(self, settings):
        while True:
            time.sleep(1)


class Declining(Wrong):
    """Says that it cannot."""

    name = "declining"

    def program(self, workload, data, settings):
        raise UnsupportedError("double backward")
