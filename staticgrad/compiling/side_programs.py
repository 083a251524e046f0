"""Programs that run beside another one while it is debugged: one kernel for each operation."""

from __future__ import annotations

from collections.abc import Callable

from staticgrad import native
from staticgrad.compiling.artifacts import first_steps, machine_code
from staticgrad.ir.graph import Graph
from staticgrad.ir.schedule import Schedule, routines
from staticgrad.memory.planner import Planner
from staticgrad.native.libraries import routines as native_routines
from staticgrad.runtime.side_run import SideProgram
from staticgrad.runtime.step import Program


def side_program(
    backend: str | None, scheduled: Callable[[Graph, bool], Schedule], graph: Graph
) -> SideProgram:
    """A graph compiled by a backend, unfused; ``scheduled`` makes the schedule."""
    schedule = scheduled(graph, False)
    steps = first_steps(schedule)
    addresses = {k: machine_code(k, step, backend).address for k, step in steps.items()}
    stores = {parameter.name: parameter.store for parameter in graph.parameters}
    codes = {each: native_routines.code(each.name) for each in routines(schedule)}
    program = Program(schedule, addresses, stores, native.driver(), routines=codes)
    return SideProgram(graph, program, Planner(schedule).plan)
