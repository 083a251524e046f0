"""A program's memory as one self-contained page: what is held when, and what less would cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from staticgrad.analysis.cost import plan_seconds
from staticgrad.analysis.plan_report import repeated_steps
from staticgrad.language.ir.plan import Placement, Plan, columns_with_repeats, plan_svg
from staticgrad.language.ir.schedule import Buffer
from staticgrad.support.pictures.arena import HeldBand, stacked
from staticgrad.support.pictures.ladder import Column
from staticgrad.support.pictures.markup import (
    STYLE,
    document,
    figure_boxes,
    nbytes,
    paragraph,
    seconds,
    table,
)

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
.sg .scroll > svg { min-width: 34rem; } .sg .chart svg { max-width: 40rem; }
.phases i, .bands i { display: inline-block; width: .8em; height: .8em; border-radius: 3px;
  margin-right: .4em; } .phases span { white-space: nowrap; margin-right: .7em; }
.bands { list-style: none; padding: 0; margin: .3rem 0 0; font-size: .9em; columns: 2 18rem; }
.bands li { overflow-wrap: anywhere; break-inside: avoid; }
@media (max-width: 40rem) { main { padding: .6rem .8rem 3rem; } h1 { font-size: 1.35rem; } }
"""


def memory_page(name: str, plan: Plan, front: Tradeoff) -> str:
    """The page as HTML text."""
    whole, time = front.everything.plan, plan_seconds(plan)
    unbroken = seconds(time).replace(" ", "\N{NO-BREAK SPACE}")
    more = time / front.everything.seconds - 1 if front.everything.seconds else 0.0
    figures = (
        (nbytes(plan.peak_bytes), "the arena of this plan"),
        (nbytes(whole.peak_bytes), "where everything is stored"),
        (nbytes(front.smallest.peak_bytes), "the smallest plan found"),
        (nbytes(front.lower_bound), "no plan of these kernels needs fewer"),
        (f"{more:+z.1%}", f"predicted time beside storing everything: {unbroken}"),
    )
    phases = " ".join(
        f'<span><i style="background:var(--{c})"></i>{said}</span>' for c, said in _PHASES.items()
    )
    at = ", ".join(f"{size}={value}" for size, value in plan.sizes)
    title = f"Memory of {name}" + (f" at {at}" if at else "")
    top = max(plan.peak_bytes, whole.peak_bytes)
    parts = [f"<h1>{escape(title)}</h1>{figure_boxes(figures)}"]
    if top:
        parts += [
            "<h2>What less memory costs</h2>",
            paragraph("A budget takes the quickest plan that it has room for.", "soft"),
            f"{front.svg(plan)}{front.html_table()}",
            f'<h2>What is held when</h2><p class="phases soft">{phases}</p>',
        ]
        different = str(plan) != str(whole)
        plans = [("This plan", plan)] + ([("Everything is stored", whole)] if different else [])
        for called, shown in plans:
            parts.append(_held(called, shown, top, whole))
        parts += [_again(plan), *(_at_peak(called, shown) for called, shown in plans)]
    else:
        parts.append(paragraph("Its kernels read feeds and write outputs; the arena is empty."))
    body = f'<div class="sg"><style>{STYLE}{_PAGE}</style><main>{"".join(parts)}</main></div>'
    return document(title, body)


# -- over time ------------------------------------------------------------------------------------


def _held(called: str, plan: Plan, top: int, whole: Plan) -> str:
    """One plan's bytes over time by scope and by line, and where its tensors lie.

    A part has the colour that it has where everything is stored.
    """
    columns, drawn = columns_with_repeats(plan), []
    for way, key in (("by scope", _scope), ("by source line", _line)):
        stored = held_bands(whole, key)
        stored.sort(key=lambda band: (-max(band.held, default=0), band.name))
        bands = {band.name: band for band in held_bands(plan, key)}
        nothing = [0] * len(plan.steps)
        ordered = [bands.pop(band.name, HeldBand(band.name, nothing)) for band in stored]
        if way == "by scope" and len(ordered) + len(bands) < 2:
            continue
        said = f"{called}: bytes held at each kernel, {way}"
        picture = stacked([*ordered, *bands.values()], columns, top, said)
        drawn.append(f'<h4 class="soft">{way}</h4><div class="scroll">{picture}</div>')
    if plan.placements:
        boxes = "by tensor, where it lies in the arena, coloured by what writes it"
        drawn.append(f'<h4 class="soft">{boxes}</h4><div class="scroll">{plan_svg(plan)}</div>')
    return f"<h3>{escape(called)}: {nbytes(plan.peak_bytes)}</h3>{''.join(drawn)}"


def held_bands(plan: Plan, key: Callable[[Buffer], str]) -> list[HeldBand]:
    """Bytes at each position by a key of the buffers; what lies over another counts once."""
    buffers, count = plan.schedule.by_name, len(plan.steps)
    changes: dict[str, list[int]] = {}
    for place, past in _own_lives(plan):
        first = place.first
        if place.nbytes and first < past:
            held = changes.setdefault(key(buffers[place.buffer]), [0] * (count + 1))
            held[first] += place.nbytes
            held[past] -= place.nbytes
    return [HeldBand(name, list(accumulate(held[:count]))) for name, held in changes.items()]


def _own_lives(plan: Plan) -> list[tuple[Placement, int]]:
    """Each placement with the position from which its bytes are no more its own."""
    begun = {(p.first, p.offset): p.buffer for p in plan.placements if p.nbytes}
    found = []
    for place in plan.placements:
        taken = begun.get((place.last, place.offset), place.buffer) != place.buffer
        found.append((place, place.last + (not taken)))
    return found


# -- tables ---------------------------------------------------------------------------------------


def _again(plan: Plan) -> str:
    """Return a table of the steps that run more than once."""
    rows = [
        (
            plan.schedule.steps[each.step].label,
            _lines(plan, each.step),
            f"{each.runs:,}",
            nbytes(each.nbytes),
            seconds(each.seconds * (each.runs - 1)),
        )
        for each in sorted(repeated_steps(plan), key=lambda each: -each.nbytes)
    ]
    if not rows:
        return ""
    heads = ("computes", "line", "runs", "need not be kept", "time again")
    shown = table(heads, rows[:_MOST_ROWS], (2, 3, 4))
    left = f"{len(rows) - _MOST_ROWS:,} more keep fewer bytes" if len(rows) > _MOST_ROWS else ""
    return f"<h2>What is computed again</h2>{shown}{paragraph(left, 'soft') if left else ''}"


def _lines(plan: Plan, step: int) -> str:
    origins = plan.schedule.steps[step].origins
    return ", ".join(dict.fromkeys(origin.resolve().labelled for origin in origins))


def _at_peak(called: str, plan: Plan) -> str:
    """The tensors that live where the plan is fullest."""
    totals = [
        sum(column) for column in zip(*(b.held for b in held_bands(plan, _tensor)), strict=True)
    ]
    if not totals:
        return ""
    at = totals.index(max(totals))
    columns, buffers = columns_with_repeats(plan), plan.schedule.by_name
    living = [p for p, past in _own_lives(plan) if p.first <= at < past and p.nbytes]
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
    said = f"Kernel {at + 1} of {len(plan.steps)} runs: {step.label}."
    if len(living) > len(rows):
        said += f" These tensors are the {len(rows)} largest of {len(living):,} that live then."
    heads = ("tensor", "line", "scope", "written", "bytes")
    return (
        f"<h2>{escape(called)}: at its peak</h2>{paragraph(said, 'soft')}{table(heads, rows, (4,))}"
    )


def _tensor(buffer: Buffer) -> str:
    return buffer.label or buffer.name


def _line(buffer: Buffer) -> str:
    return buffer.origin.resolve().short if buffer.origin else f"no line: {buffer.role}"


def _scope(buffer: Buffer) -> str:
    return (buffer.origin.resolve().scope if buffer.origin else "") or "outside of scopes"
