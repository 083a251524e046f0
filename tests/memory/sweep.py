"""Models x optimizers x policies and budgets x debug modes: what must hold of each training step.

Of several steps, outputs and parameters have the bytes of store_all; the planned peak is the
highest byte that was touched; a budget is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import staticgrad as sg
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.errors import BudgetInfeasible
from tests.memory.models import MODELS, Model

STEPS = 3


@dataclass
class Subject:
    """A training step, and what it does under store_all."""

    graph: sg.Graph
    model: Model
    fuse: bool = True

    def __post_init__(self):
        """Run it under store_all, and find the smallest peak."""
        self._start = {p.name: p.value for p in self.graph.parameters}
        program = self.compile()
        self.expected = self.states(program)
        self.peak = program.peak_bytes
        try:
            self.states(self.compile(memory_budget=0))
            self.smallest = 0
        except BudgetInfeasible as error:
            self.smallest = error.smallest_peak

    def compile(self, **options):
        """The step, compiled."""
        return sg.compile(self.graph, fuse=self.fuse, **options)

    def states(self, program):
        """Bytes of all outputs and parameters after each of some steps from the same start."""
        for parameter in self.graph.parameters:
            parameter.value = self._start[parameter.name]
        states = []
        for _ in range(STEPS):
            outputs = program.run(self.model.feeds)
            state = {name: np.asarray(array).tobytes() for name, array in outputs.items()}
            state |= {f"@{p.name}": p.value.tobytes() for p in self.graph.parameters}
            states.append(state)
        return states

    def check(self, debug, **options):
        """Compare one way to run the step with store_all; whether kernels ran again."""
        plan = self.compare(debug, **options)
        return len(plan.steps) > len(plan.schedule.steps)

    def compare(self, debug, **options):
        """Compare one way to run the step with store_all; its plan."""
        program = self.compile(debug=debug, **options)
        states = self.states(program)
        for number, (state, expected) in enumerate(zip(states, self.expected, strict=True)):
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
    return Subject(sg.Graph(graph.outputs, graph.updates, name=f"{name}-{case}"), model, fuse)
