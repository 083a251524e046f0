"""A plan as a picture: what lies where in its arena, and for how long."""

from __future__ import annotations

from staticgrad.ir.plan import Plan
from staticgrad.ir.schedule import Buffer
from staticgrad.pictures.arena import Held, arena
from staticgrad.pictures.ladder import Column
from staticgrad.pictures.markup import fold, fragment, paragraph, preformatted


def plan_svg(plan: Plan) -> str:
    """The arena over the positions; a box has the colour of what writes it, at first or again."""
    by_name, columns = plan.schedule.by_name, columns_with_repeats(plan)
    held = [
        Held(
            _called(by_name[p.buffer]), p.offset, p.nbytes, p.first, p.last,
            columns[min(p.first, len(columns) - 1)] if columns else "f",
        )
        for p in plan.placements
        if p.nbytes
    ]  # fmt: skip
    return arena(held, len(plan.steps), plan.peak_bytes, columns)


def columns_of_steps(plan: Plan) -> list[Column]:
    """Return the column of each position: forward, backward, or writing a parameter."""
    roles = {buffer.name: buffer.role for buffer in plan.schedule.buffers}
    found: list[Column] = []
    for planned in plan.steps:
        step = plan.schedule.steps[planned.step]
        updates = any(roles[name] == "parameter" for name in step.writes())
        found.append("u" if updates else "b" if step.phase else "f")
    return found


def columns_with_repeats(plan: Plan) -> list[Column]:
    """The same; what a step computes again has a column of its own."""
    found, ran = columns_of_steps(plan), set[int]()
    for position, planned in enumerate(plan.steps):
        if planned.step in ran:
            found[position] = "k"
        ran.add(planned.step)
    return found


def plan_html(plan: Plan) -> str:
    """Return the HTML that a notebook shows for a plan."""
    drawn = f'<div class="scroll">{plan_svg(plan)}</div>' if plan.placements else ""
    return fragment(paragraph(repr(plan).strip("<>")), drawn, fold("text", preformatted(str(plan))))


def _called(buffer: Buffer) -> str:
    name = buffer.label or buffer.name
    return f"{name} ({buffer.origin.resolve().labelled})" if buffer.origin else name
