"""Models x optimizers x policies and budgets x debug modes: what must hold of each training step.

Of several steps, outputs and parameters have the bytes of store_all; the planned peak is the
highest byte that was touched; a budget is kept. ``python -m tests.memory.sweep`` runs everything
and prints how many combinations there were, and which of them failed; ``--part 1/4`` a quarter.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from dataclasses import dataclass

import numpy as np

import staticgrad as sg
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.errors import BudgetInfeasible
from tests.memory.models import MODELS, Model
from tests.optimizers import mixed_cases, plain_cases

STEPS = 3
#: Fractions of the peak of store_all; the smallest peak that is found is tried as well.
FRACTIONS = (0.9, 0.7, 0.5)
POLICIES = ("store_all", "sqrt", "recompute")


@dataclass
class Subject:
    """A training step, and what it does under store_all."""

    graph: sg.Graph
    model: Model
    fuse: bool = True

    def __post_init__(self):
        """Run it under store_all, and find the smallest peak."""
        self._start = {p.name: p.value for p in self.graph.parameters}
        program = self.compiled()
        self.expected = self.states(program)
        self.peak = program.peak_bytes
        try:
            self.states(self.compiled(memory_budget=0))
            self.smallest = 0
        except BudgetInfeasible as error:
            self.smallest = error.smallest_peak

    def compiled(self, **options):
        """The step, compiled."""
        return sg.compile(self.graph, fuse=self.fuse, **options)

    def states(self, program):
        """Bytes of all outputs and parameters after each of some steps from the same start."""
        for parameter in self.graph.parameters:
            parameter.value = self._start[parameter.name]
        found = []
        for _ in range(STEPS):
            outputs = program.run(self.model.feeds)
            state = {name: np.asarray(array).tobytes() for name, array in outputs.items()}
            state |= {f"@{p.name}": p.value.tobytes() for p in self.graph.parameters}
            found.append(state)
        return found

    def options(self, case):
        """Policies, budgets down to the smallest peak, and debug modes; fewer of mixed cases."""
        if case.rate or case.extras:
            yield {"checkpoint": "recompute", "debug": False}
            yield {"memory_budget": self.smallest, "debug": True}
            return
        yield {"checkpoint": "recompute", "debug": "nan"}
        budgets = [int(self.peak * fraction) for fraction in FRACTIONS]
        fitting = {budget for budget in budgets if budget >= self.smallest}
        for debug in (False, True):
            yield from ({"checkpoint": policy, "debug": debug} for policy in POLICIES)
            for budget in sorted({*fitting, self.smallest}, reverse=True):
                yield {"memory_budget": budget, "debug": debug}

    def check(self, debug, **options):
        """Compare one way to run the step with store_all; whether kernels ran again."""
        plan = self.checked(debug, **options)
        return len(plan.steps) > len(plan.schedule.steps)

    def checked(self, debug, **options):
        """Compare one way to run the step with store_all; its plan."""
        program = self.compiled(debug=debug, **options)
        found = self.states(program)
        for number, (state, expected) in enumerate(zip(found, self.expected, strict=True)):
            wrong = [name for name in expected if state[name] != expected[name]]
            assert not wrong, f"step {number}: other bytes of {wrong}"
        plan = program._executor.latest
        assert plan is not None
        assert plan.peak_bytes == program.peak_bytes
        verify_plan(plan)
        if debug is True:
            assert program.highest_touched == plan.peak_bytes
        assert plan.peak_bytes <= options.get("memory_budget", self.peak)
        return plan


def subject(name, case, fuse=True):
    """A model trained in some way."""
    model = MODELS[name]()
    graph = case.step(model.loss, model.params, model.outputs)
    updates = {**dict(graph.updates), **model.updates}
    return Subject(sg.Graph(graph.outputs, updates, name=f"{name}-{case}"), model, fuse)


def combinations():
    """All cases with all models, the plain ones first."""
    for case in (*plain_cases(), *mixed_cases()):
        yield from ((name, case) for name in MODELS)


def main(part, parts):
    """Run a part of everything; 1 if something failed."""
    subjects = checked = repeated = 0
    failures = []
    for number, (name, case) in enumerate(combinations()):
        if number % parts != part:
            continue
        subjects += 1
        fuse = bool(number % 5)
        what = "store_all"
        try:
            made = subject(name, case, fuse)
            for options in made.options(case):
                what = {**options, "fuse": fuse}
                checked += 1
                repeated += made.check(**options)
        except Exception:
            failures.append(f"{name} {case} {what}")
            _say(failures[-1], traceback.format_exc(limit=-2))
        _say(f"{subjects} training steps, {checked} combinations, {repeated} with kernels that run")
        _say(f"again, {len(failures)} failed {failures}")
    return bool(failures)


def _say(*texts):
    sys.stdout.writelines(f"{text}\n" for text in texts)
    sys.stdout.flush()


if __name__ == "__main__":
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--part", default="1/1", help="1/4: the first of four parts")
    first, of = map(int, reader.parse_args().part.split("/"))
    sys.exit(main(first - 1, of))
