"""Consecutive steps of a program from the start on, new batches and new sizes as they come.

Both ways run the same course: every step draws a batch, and training goes on. A program of fixed
sizes has a step with another batch size and an edit in its course.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.comparison.programs import Batch, ComparedProgram
from staticgrad.comparison.report import Course
from staticgrad.extend import NamedTuple

_LEAST: Final = 12  # steps of a course; twice as many of a program whose sizes change
_MOST: Final = 40  # the same
_SECONDS: Final = 1.5  # after which a course has no further step, beyond the least number
_NEW_SIZE: Final = 5  # the number of the step with another size
_EDIT: Final = 9  # and of the step with an edit
_SEED: Final = 11


class CoursePlan(NamedTuple):
    """Plan of a course: the usual size, another one that some step has, whether an edit."""

    size: int
    other_size: int | None = None
    edited: bool = True


class CourseStep(NamedTuple):
    """The batch of a step, its number of examples, and what is new in it."""

    batch: Batch
    size: int
    event: str


def steps(chosen: ComparedProgram, plan: CoursePlan) -> Iterator[CourseStep]:
    """Yield the batches of a training course, the same ones each time."""
    draw = np.random.default_rng(_SEED)
    for k in range(1, _MOST + 1):
        size, event = plan.size, ""
        if not chosen.changes and k == _NEW_SIZE and plan.other_size is not None:
            size, event = plan.other_size, f"{plan.other_size} examples"
        if not chosen.changes and k == _EDIT and plan.edited:
            event = "an edit"
        yield CourseStep(chosen.fresh(size, draw), size, event)


def run(chosen: ComparedProgram, way: str, plan: CoursePlan, imports: float = 0.0) -> Course:
    """Run a training course on the tape or compiled, and record time and memory of each step."""
    chosen.restore()
    course = steps(chosen, plan)
    first = next(course)
    arrays = first.batch.values()
    begun, marks = time.process_time(), [time.perf_counter()]
    function = chosen.new_function()
    call: Callable[..., Any] = function.eagerly
    if way != "tape":
        call = function
        function.graph(*arrays)
    marks.append(time.perf_counter())
    if way == "tape":
        marks.append(marks[-1])
    else:
        function.compile(*arrays)
        marks.append(time.perf_counter())
    call(*arrays)
    marks.append(time.perf_counter())
    cpu, graphs = time.process_time() - begun, function
    least = _LEAST * (1 + chosen.changes)
    spent, events = [marks[3] - marks[2]], []
    for k, step in enumerate(course, 2):
        if k > least and marks[-1] - marks[2] > _SECONDS:
            break
        arrays = step.batch.values()
        begin = time.perf_counter()
        if step.event == "an edit" and way != "tape":
            call = chosen.new_function(lambda loss: loss * 1.5)
        call(*arrays)
        marks.append(time.perf_counter())
        spent.append(marks[-1] - begin)
        events += [(k, step.event)] if step.event else []
    chosen.restore()
    return Course(
        imports, marks[1] - marks[0], marks[2] - marks[1], spent[0], cpu, tuple(spent),
        tuple(events), graphs.stats.traces if way != "tape" else 0,
    )  # fmt: skip


def distinct(
    chosen: ComparedProgram, plan: CoursePlan, count: int
) -> tuple[Sequence[Batch], list[int]]:
    """Return the batches of a course that have new shapes, and how often each shape comes."""
    numbers_by_shapes: dict[Any, int] = {}
    batches: list[Batch] = []
    numbers: list[int] = []
    for step, _ in zip(steps(chosen, plan), range(count), strict=False):
        shapes = tuple(array.shape for array in step.batch.values())
        if shapes not in numbers_by_shapes:
            numbers_by_shapes[shapes] = len(batches)
            batches.append(step.batch)
        numbers.append(numbers_by_shapes[shapes])
    return batches, numbers
