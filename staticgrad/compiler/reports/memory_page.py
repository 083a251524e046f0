"""A program's memory as one self-contained page: what is held when, and what less would cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from staticgrad.analysis.cost import plan_seconds
from staticgrad.analysis.plan_report import repeated_steps
from staticgrad.language.ir.plan import Placement, Plan, columns_with_repeats, plan_picture
from staticgrad.language.ir.schedule import Buffer
from staticgrad.support.pictures.arena import WIDTH, HeldBand, stack_bands
from staticgrad.support.pictures.ladder import Column
from staticgrad.support.pictures.markup import (
    STYLE,
    document,
    figure_boxes,
    nbytes,
    on_screens,
    paragraph,
    seconds,
    table,
)
from staticgrad.support.source import fold_call

if TYPE_CHECKING:
    from staticgrad.compiler.compiling.tradeoffs import Tradeoff

#: Rows of a table of tensors.
_MOST_ROWS: Final = 40
_PHASES: Final[Mapping[Column, str]] = {
    "f": "forward", "b": "backward", "u": "update", "q": "computed again",
}  # fmt: skip
_PAGE: Final = """
body { margin: 0; }
main { max-width: 60rem; margin: 0 auto; padding: 1.2rem 1.2rem 5rem; }
h1 { font-size: 1.7rem; margin: .8rem 0 .2rem; } h2 { font-size: 1.25rem; margin: 2.4rem 0 .4rem; }
h3 { font-size: 1.02rem; margin: 1.3rem 0 .3rem; overflow-wrap: anywhere; }
.sg .chart svg { max-width: 40rem; }
.phases i, .bands i { display: inline-block; width: .8em; height: .8em; border-radius: 3px;
  margin-right: .4em; } .phases span { white-space: nowrap; margin-right: .7em; }
.bands { list-style: none; padding: 0; margin: .3rem 0 0; font-size: .9em; columns: 2 18rem; }
.bands li { overflow-wrap: anywhere; break-inside: avoid; }
@media (max-width: 40rem) { main { padding: .6rem .8rem 3rem; } h1 { font-size: 1.35rem; } }
"""


def memory_page(name: str, plan: Plan, front: Tradeoff) -> str:
    """Return the memory report of a plan as an HTML page."""
    stored_plan, time = front.everything.plan, plan_seconds(plan)
    unbroken = seconds(time).replace(" ", "\N{NO-BREAK SPACE}")
    more = time / front.everything.seconds - 1 if front.everything.seconds else 0.0
    figures = (
        (nbytes(plan.peak_bytes), "the arena of this plan"),
        (nbytes(stored_plan.peak_bytes), "where everything is stored"),
        (nbytes(front.smallest.peak_bytes), "the smallest plan found"),
        (nbytes(front.lower_bound), "no plan of these kernels needs fewer"),
        (f"{more:+z.1%}", f"predicted time beside storing everything: {unbroken}"),
    )
    phases = " ".join(
        f'<span><i style="background:var(--{c})"></i>{phase}</span>' for c, phase in _PHASES.items()
    )
    at = ", ".join(f"{size}={value}" for size, value in plan.sizes)
    title = f"Memory of {name}" + (f" at {at}" if at else "")
    top = max(plan.peak_bytes, stored_plan.peak_bytes)
    parts = [f"<h1>{escape(title)}</h1>{figure_boxes(figures)}"]
    if top:
        parts += [
            "<h2>What less memory costs</h2>",
            paragraph("A budget takes the quickest plan that it has room for.", "soft"),
            f"{front.html_chart(plan)}{front.html_table()}",
            f'<h2>What is held when</h2><p class="phases soft">{phases}</p>',
        ]
        different = str(plan) != str(stored_plan)
        plans = [("This plan", plan)] + (
            [("Everything is stored", stored_plan)] if different else []
        )
        for called, shown in plans:
            parts.append(_bands_over_time(called, shown, top, stored_plan))
        parts += [_recomputed_table(plan), *(_peak_table(called, shown) for called, shown in plans)]
    else:
        parts.append(paragraph("Its kernels read feeds and write outputs; the arena is empty."))
    body = f'<div class="sg"><style>{STYLE}{_PAGE}</style><main>{"".join(parts)}</main></div>'
    return document(title, body)


# -- over time ------------------------------------------------------------------------------------


def _bands_over_time(called: str, plan: Plan, top: int, stored_plan: Plan) -> str:
    """Return pictures of a plan's live bytes over time, and of its tensors' offsets.

    A band has the same colour as in the plan that stores everything.
    """
    columns, drawn = columns_with_repeats(plan), []
    for way, key in (("by scope", _scope), ("by source line", _line)):
        stored = held_bands(stored_plan, key)
        stored.sort(key=lambda band: (-max(band.sizes, default=0), band.name))
        bands = {band.name: band for band in held_bands(plan, key)}
        nothing = [0] * len(plan.steps)
        ordered = [bands.pop(band.name, HeldBand(band.name, nothing)) for band in stored]
        if way == "by scope" and len(ordered) + len(bands) < 2:
            continue
        caption = f"{called}: bytes held at each kernel, {way}"
        draw = partial(stack_bands, [*ordered, *bands.values()], columns, top, caption)
        drawn.append(f'<h4 class="soft">{way}</h4>{on_screens(draw, WIDTH)}')
    if plan.placements:
        boxes = "by tensor, where it lies in the arena, coloured by what writes it"
        drawn.append(f'<h4 class="soft">{boxes}</h4>{plan_picture(plan)}')
    return f"<h3>{escape(called)}: {nbytes(plan.peak_bytes)}</h3>{''.join(drawn)}"


def held_bands(plan: Plan, key: Callable[[Buffer], str]) -> list[HeldBand]:
    """Return live bytes at each step by a key of the buffers; shared bytes count once."""
    buffers, count = plan.schedule.by_name, len(plan.steps)
    changes: dict[str, list[int]] = {}
    for place, past in _exclusive_lives(plan):
        first = place.first
        if place.nbytes and first < past:
            changes_of_band = changes.setdefault(key(buffers[place.buffer]), [0] * (count + 1))
            changes_of_band[first] += place.nbytes
            changes_of_band[past] -= place.nbytes
    return [
        HeldBand(name, list(accumulate(band_changes[:count])))
        for name, band_changes in changes.items()
    ]


def _exclusive_lives(plan: Plan) -> list[tuple[Placement, int]]:
    """Return each buffer's placement with the step from which another one has its bytes."""
    begun = {(p.first, p.offset): p.buffer for p in plan.placements if p.nbytes}
    lives = []
    for place in plan.placements:
        is_reused = begun.get((place.last, place.offset), place.buffer) != place.buffer
        lives.append((place, place.last + (not is_reused)))
    return lives


# -- tables ---------------------------------------------------------------------------------------


def _recomputed_table(plan: Plan) -> str:
    """Return an HTML table of the steps that a plan recomputes to save memory."""
    rows = [
        (
            plan.schedule.steps[repeated.step].label,
            _lines(plan, repeated.step),
            f"{repeated.runs:,}",
            nbytes(repeated.nbytes),
            seconds(repeated.seconds * (repeated.runs - 1)),
        )
        for repeated in sorted(repeated_steps(plan), key=lambda repeated: -repeated.nbytes)
    ]
    if not rows:
        return ""
    heads = ("computes", "line", "runs", "need not be kept", "time again")
    shown = table(heads, rows[:_MOST_ROWS], (2, 3, 4))
    left = f"{len(rows) - _MOST_ROWS:,} more keep fewer bytes" if len(rows) > _MOST_ROWS else ""
    return f"<h2>What is computed again</h2>{shown}{paragraph(left, 'soft') if left else ''}"


def _lines(plan: Plan, step: int) -> str:
    origins = plan.schedule.steps[step].origins
    return ", ".join(dict.fromkeys(origin.resolve().label for origin in origins))


def _peak_table(called: str, plan: Plan) -> str:
    """Return an HTML table of the tensors that are live at the memory peak."""
    totals = [
        sum(column) for column in zip(*(b.sizes for b in held_bands(plan, _tensor)), strict=True)
    ]
    if not totals:
        return ""
    at = totals.index(max(totals))
    columns, buffers = columns_with_repeats(plan), plan.schedule.by_name
    living = [p for p, past in _exclusive_lives(plan) if p.first <= at < past and p.nbytes]
    living.sort(key=lambda place: (-place.nbytes, place.buffer))
    rows = [
        (
            _tensor(buffers[p.buffer]),
            _line(buffers[p.buffer]),
            _scope(buffers[p.buffer]),
            _PHASES[columns[p.first]],
            f"{p.nbytes:,}",
        )
        for p in living[:_MOST_ROWS]
    ]
    step = plan.schedule.steps[plan.steps[at].step]
    text = f"Kernel {at + 1} of {len(plan.steps)} runs: {step.label}."
    if len(living) > len(rows):
        text += f" These tensors are the {len(rows)} largest of {len(living):,} that live then."
    heads = ("tensor", "line", "scope", "written", "bytes")
    return (
        f"<h2>{escape(called)}: at its peak</h2>{paragraph(text, 'soft')}{table(heads, rows, (4,))}"
    )


def _tensor(buffer: Buffer) -> str:
    return buffer.label or buffer.name


def _line(buffer: Buffer) -> str:
    return buffer.origin.resolve().short if buffer.origin else f"no line: {buffer.role}"


def _scope(buffer: Buffer) -> str:
    scope = fold_call(buffer.origin.resolve()).scope if buffer.origin else ""
    return scope or "outside of scopes"
