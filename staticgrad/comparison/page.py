"""A comparison as one self-contained page: tables and charts, the reason next to each figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import isfinite
from typing import Any, Final

import staticgrad as sg
from staticgrad.comparison import lesson
from staticgrad.comparison.page_style import SCRIPT, STYLE
from staticgrad.comparison.report import (
    EMPTY,
    TAPE,
    WARM,
    Bytes,
    Comparison,
    Pair,
    Refusal,
    TapeAlone,
)
from staticgrad.comparison.table import (
    PEER_HEADS,
    between,
    changes_rows,
    memory_rows,
    peer_rows,
    rows_of_times,
    timing,
    verdict,
)
from staticgrad.ir.plan_picture import plan_svg
from staticgrad.pictures import charts, markup
from staticgrad.pictures.charts import Line
from staticgrad.pictures.markup import fold, nbytes, number, preformatted, ratio, seconds, table

BY_RUN: Final = "define by run"
THEN_RUN: Final = "define then run"

_PARTS: Final = {
    "program": "program", "graph": "graph", "passes": "passes", "kernels": "kernels",
    "time": "time", "memory": "memory", "limits": "limits", "agreement": "agreement",
}  # fmt: skip


def page(found: Comparison | TapeAlone) -> str:
    """The page, as HTML text that needs nothing else."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(found.model)}: define by run, define then run</title>"
        f"</head><body>{body(found)}</body></html>\n"
    )


class _Shown:
    """A page that a notebook shows in a frame, so that their styles do not mix."""

    def _repr_html_(self: Any) -> str:
        return (
            f'<iframe srcdoc="{escape(page(self), quote=True)}" title="{escape(self.model)}"'
            ' style="width:100%;height:80vh;border:1px solid #8884;border-radius:8px"></iframe>'
        )


class ShownComparison(_Shown, Comparison):
    """A comparison as a notebook shows it."""


class ShownTape(_Shown, TapeAlone):
    """A program without a graph as a notebook shows it."""


def _tape_body(found: TapeAlone) -> str:
    """Return what the tape did, and why there is no graph."""
    about = (
        *([found.note] if found.note else []),
        f"{found.parameters:,} parameters, batch size {found.batch_size}", found.rule,
        f"staticgrad {sg.__version__} on {found.machine}",
    )  # fmt: skip
    low, high = min(found.operations), max(found.operations)
    count = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    figures = (
        (seconds(found.tape.cpu), "the processor time of a step on the tape"),
        (nbytes(found.nbytes), "the memory of a step on the tape, measured"),
        (count, f"operations that the tape recorded in {len(found.operations)} steps, each from the"
         " start values: where they differ, each step is another graph"),
    )  # fmt: skip
    steps = [Line("operations", [(float(k), float(n)) for k, n in enumerate(found.operations, 1)])]
    held = [(100 * k / len(found.timeline.nbytes), float(n))
            for k, n in enumerate(found.timeline.nbytes)]  # fmt: skip
    return (
        f"<main><h1>{escape(found.model)}</h1>"
        f'<p class="sub">{escape("; ".join(about))}.</p>'
        f'<p class="alarm">There is no graph of this program: only the tape is measured.</p>'
        f'<div class="figures">{_figures(figures)}</div>'
        f'<h2 id="limits">What the graph refuses</h2>{refused(found.refusal)}'
        '<p class="why">A tape follows Python: each step runs, and records, whatever operations its'
        " numbers lead to. A graph is built before there are numbers. It holds a choice with both"
        " its sides and a loop as one operation, if the program says so.</p>"
        '<h2 id="time">What the tape does</h2><div class="pair chart">'
        + charts.lines(
            steps,
            "step",
            "operations recorded",
            log_x=False,
            log_y=False,
            show_y=lambda n: f"{n:,.0f}",
        )
        + charts.lines(
            [Line("tape", held)],
            "percent of a step's operations",
            "bytes held, from its beginning to its end",
            show_y=nbytes,
            log_x=False,
            log_y=False,
        )
        + "</div></main>"
    )


def refused(refusal: Refusal) -> str:
    """A refusal: the message, the user's line, the cure."""
    where = f"{refusal.line}: {refusal.text}" if refusal.line else ""
    return (
        (preformatted(where) if where else "")
        + f'<p class="alarm">{escape(refusal.message)}</p>'
        + f"<p><b>Write</b> {'<br>'.join(map(escape, refusal.cure.splitlines()))}</p>"
    )


def _figures(figures: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<div class="figure"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in figures
    )


def body(found: Comparison | TapeAlone) -> str:
    """The page without its frame."""
    if isinstance(found, TapeAlone):
        return f'<div class="sg"><style>{markup.STYLE}{STYLE}</style>{_tape_body(found)}</div>'
    links = "".join(f'<a href="#{name}">{text}</a>' for name, text in _PARTS.items())
    parts = (
        _head(found),
        lesson.program(found),
        lesson.graph(found),
        lesson.passes(found) + _work(found),
        lesson.kernels(found.anatomy),
        _time(found),
        _first(found) if found.first else "",
        _memory(found),
        lesson.acts(found),
        _abilities(found),
        _agreement(found),
    )
    return (
        f'<div class="sg linked"><style>{markup.STYLE}{STYLE}</style><nav>{links}</nav>'
        f"<main>{''.join(parts)}</main><script>{SCRIPT}</script></div>"
    )


def _head(found: Comparison) -> str:
    usual, memory = found.usual, found.memory
    plans = [(size, memory.times[policy], policy) for policy, size in memory.arena.items()]
    plans += [(b.peak, b.time, b.name) for b in found.budgets]
    least, longer, plan = min(plans)
    kept = ""
    if found.checkpointed is not None:
        kept = f", with layers checkpointed {nbytes(found.checkpointed.nbytes)} in"
        kept += f" {ratio(found.checkpointed.time)} the time"
    figures = [
        (
            ratio(usual.ratio),
            "the processor time per step on the tape, relative to the compiled step"
            f" ({between(usual)} among parts of the measurement). {found.about_the_tape}",
        ),
        (
            nbytes(least),
            f"the least memory of a compiled step ({plan}, {ratio(longer)} the predicted time),"
            f" known beforehand; the tape, which keeps all, takes {nbytes(memory.tape)}{kept}",
        ),
        (
            f"{found.written.operations} to {found.work[-1].operations}",
            "from operations of the program and its gradient to kernels",
        ),
    ]
    if found.first:
        paid = _paid(found.break_even[WARM])
        figures.insert(1, (paid, "from here on compiling has paid for itself, kernels cached"))
    about = (
        *([found.note] if found.note else []),
        f"{found.parameters:,} parameters, batch size {found.batch_size}",
        found.rule,
        f"staticgrad {sg.__version__} on {found.machine}",
    )
    alarms = [] if found.agreement.holds else [verdict(found)]
    said = "".join(f'<p class="alarm">{escape(text)}</p>' for text in (*alarms, *found.warnings))
    return (
        f"<h1>{escape(found.model)}</h1>"
        f'<p class="sub">{escape("; ".join(about))}. Both ways run the same rules on the same data'
        f" from the same values, each on {found.threads} thread"
        f"{'s' * (found.threads > 1)}.</p>{said}"
        f'<div class="figures">{_figures(figures)}</div>{said_of_sizes(found)}{_against(found)}'
    )


def said_of_sizes(found: Comparison) -> str:
    """Describe why a graph serves fewer sizes, and the cost of sizes that change."""
    parts = [f"<h2>What one graph refuses</h2>{refused(found.refusal)}"] if found.refusal else []
    if found.changes is not None:
        rows = changes_rows(found.changes)
        parts.append("<h2>Sizes that change from step to step</h2>" + table(("", ""), rows))
    return "".join(parts)


def _against(found: Comparison) -> str:
    """Return the disadvantages of define-then-run."""
    items = "".join(f"<li>{escape(text)}</li>" for text in found.against)
    return f"<h3>Where define-then-run loses</h3><ul>{items}</ul>" if items else ""


def _time(found: Comparison) -> str:
    drawn = [_pair_chart(found.batches, "batch size")] if len(found.batches) > 1 else []
    if found.depths:
        drawn.append(_pair_chart(found.depths, "layers"))
    rows = [
        (what.strip(), *timing(p.by_run), *timing(p.then_run), ratio(p.ratio), between(p))
        for what, p in rows_of_times(found)
    ]
    heads = (
        "", f"{BY_RUN}: CPU", "wall", f"{THEN_RUN}: CPU", "wall", "ratio",
        "range",
    )  # fmt: skip
    return (
        '<h2 id="time">Time of a step</h2>'
        '<p class="why">The tape pays for every operation: a call into Python, an array for the '
        "result, a pass over memory. The compiled step pays once per step, and merged kernels pass "
        "over memory once for several operations. Small steps show the former, large ones both. "
        "CPU is the least processor time of a step, wall the quartiles of wall time; ratios are of "
        "processor time, their range is that among parts of the measurement.</p>"
        f'{_split(found)}<div class="pair chart">{"".join(drawn)}</div>'
        f"{table(heads, rows, numbers=range(1, 7))}{_peers(found)}"
    )


def _peers(found: Comparison) -> str:
    """The same steps in PyTorch, where it is installed."""
    if not found.peers:
        return ""
    shown = table(("", *PEER_HEADS), peer_rows(found), numbers=range(1, 1 + len(PEER_HEADS)))
    return f"<h3>The same in PyTorch</h3>{shown}"


def _split(found: Comparison) -> str:
    """Forward and what comes behind it, of both ways."""
    parts = {"f": 0.0, "b": 0.0}
    for cost in found.anatomy.costs:
        parts["b" if cost.phase else "f"] += cost.seconds
    whole = found.usual.then_run.cpu
    scale = whole / (sum(parts.values()) or 1.0)
    graph = [parts["f"] * scale, parts["b"] * scale]
    rows = [("compiled, forward kernels", graph[0]), ("compiled, backward and update", graph[1])]
    if found.forward is not None:
        tape = found.forward.by_run.cpu
        rest = max(found.usual.by_run.cpu - tape, 0.0)
        rows = [("tape, forward", tape), ("tape, backward and update", rest), *rows]
        factors = f"{ratio(rest / tape)} of it on the tape, " if tape else ""
    else:
        rows, factors = [("tape", found.usual.by_run.cpu), *rows], ""
    behind = ratio(graph[1] / graph[0]) if graph[0] else "-"
    return (
        f'<h3>Forward and backward</h3><p class="why">What follows the forward pass takes {factors}'
        f"{behind} of it compiled: a product has two derivatives of its own size. Compiled, the "
        "kernels of forward lines that the derivative asks for again count as backward.</p>"
        '<div class="chart">'
        + charts.bars(rows, seconds, "time of a step by part", "aabb" if len(rows) == 4 else "abb")
        + "</div>"
    )


def _pair_chart(pairs: Sequence[Pair], what: str) -> str:
    ways = ((BY_RUN, [p.by_run for p in pairs]), (THEN_RUN, [p.then_run for p in pairs]))
    series = [
        Line(
            name,
            [(p.at, t.cpu) for p, t in zip(pairs, times, strict=True)],
            [(min(t.cpu, t.lower), max(t.cpu, t.upper)) for t in times],
        )
        for name, times in ways
    ]
    return charts.lines(series, what, "time of a step", show_y=seconds)


def _first(found: Comparison) -> str:
    usual = found.usual
    horizon = max([100.0, *(2.0 * step for step in found.break_even.values() if step)])
    steps = [horizon * k / 40 for k in range(41)]
    series = [
        Line(name, [(n, found.first[state].cpu + n * each) for n in steps])
        for name, state, each in (
            (BY_RUN, TAPE, usual.by_run.cpu),
            ("compiled, cached", WARM, usual.then_run.cpu),
            ("compiled, first time", EMPTY, usual.then_run.cpu),
        )
    ]
    rows = [
        (
            state,
            *map(seconds, (t.imports, t.build, t.compile, t.step, t.total, t.cpu)),
            _even(found, state),
        )
        for state, t in found.first.items()
    ]
    heads = (
        "",
        "import",
        "build",
        "compile",
        "first step",
        "to the first loss",
        "CPU",
        "paid for at step",
    )
    chart = charts.lines(
        series,
        "steps",
        "processor time since the process began",
        show_y=seconds,
        log_x=False,
        log_y=False,
    )
    return (
        "<h3>First result, and when compiling has paid for itself</h3>"
        '<p class="why">A tape can start at once. The compiler builds the gradient, runs its '
        "passes and makes native code first; a second process finds the code on disk. In fresh "
        "processes, by the clock; CPU is processor time, as in the chart and the last column."
        f'</p><div class="chart">{chart}</div>'
        f"{table(heads, rows, numbers=range(1, 8))}"
    )


def _even(found: Comparison, state: str) -> str:
    if state == TAPE:
        return ""
    return _paid(found.break_even[state])


def _paid(step: float | None) -> str:
    """Return the step by which compiling has paid for itself."""
    if step is None:
        return "never"
    return f"step {step:,.0f}" if step >= 0.5 else "at once"


def _memory(found: Comparison) -> str:
    usual = found.memory
    values = [("tape, measured", float(usual.tape))]
    if found.checkpointed is not None:
        values.append(("tape, checkpointed", float(found.checkpointed.nbytes)))
    values += [(f"{policy}, planned", float(size)) for policy, size in usual.arena.items()]
    values += [(b.name, float(b.peak)) for b in found.budgets]
    bars = charts.bars(
        values,
        nbytes,
        "bytes of a step",
        "a" * (2 if found.checkpointed else 1) + "bbb" + "d" * len(found.budgets),
    )
    drawn = [_timeline(found), bars]
    grown = ((found.memories, "batch size"), (found.depth_memories, "layers"))
    drawn += [_growth(memories, what) for memories, what in grown if len(memories) > 1]
    drawn += [_budget_curve(found)] * bool(found.budgets)
    rows = memory_rows(found)
    heads = ("", *(f"batch size {m.at}" for m in found.memories), "predicted time")
    arena = plan_svg(found.anatomy.plan) if found.anatomy.plan.placements else ""
    return (
        '<h2 id="memory">Memory of a step</h2>'
        '<p class="why">The tape keeps what the rules of the backward pass will read, and lets go '
        "of it as the pass goes, as other tapes do. A graph shows beforehand when each value is "
        "used last: values share one arena, whose size is exact before the first run, "
        "at every batch size. A policy or a byte budget computes values again instead of keeping "
        "them; a tape does so where the program says it. Beside parameters, the optimizer's state "
        f'and the batch.</p><div class="pair chart">{"".join(drawn)}</div>'
        + table(heads, rows, numbers=range(1, len(heads)))
        + (
            f'<h3>The arena, as it was planned</h3><div class="scroll">{arena}</div>'
            if arena
            else ""
        )
    )


def _timeline(found: Comparison) -> str:
    """Draw the memory in use over a step, for the policies that differ."""
    shown, seen = [], set()
    for each in found.timelines:
        if each.nbytes and (each.name == TAPE or each.nbytes not in seen):
            seen.add(each.nbytes)
            count = len(each.nbytes)
            ends = ((k, size) for k, size in enumerate(each.nbytes) for _ in range(2))
            points = [(100 * (k + n % 2) / count, float(size)) for n, (k, size) in enumerate(ends)]
            shown.append(Line(each.name, points))
    return charts.lines(
        shown, "percent of a step's operations", "bytes held, from its beginning to its end",
        show_y=nbytes, log_x=False, log_y=False,
    )  # fmt: skip


def _growth(memories: Sequence[Bytes], what: str) -> str:
    """Bytes against batch size or depth."""
    names = ("tape", *memories[0].arena)
    series: list[Line] = []
    for name in names:
        points = [(float(m.at), float(max(_bytes(m, name), 1))) for m in memories]
        if not any(line.points == points for line in series):
            series.append(Line(name, points))
    return charts.lines(series, what, "bytes of a step", show_y=nbytes)


def _budget_curve(found: Comparison) -> str:
    """Draw the predicted time against the planned peak memory."""
    pairs = {(float(b.peak), b.time) for b in found.budgets}
    pairs |= {(float(found.memory.arena[p]), found.memory.times[p]) for p in found.memory.arena}
    best = [(size, time) for size, time in sorted(pairs) if not any(
        other < size and less <= time for other, less in pairs)]  # fmt: skip
    return charts.lines(
        [Line("within a budget", best)], "planned peak",
        "predicted time, relative to keeping all", show_x=nbytes, show_y=ratio, log_x=False,
        log_y=False, from_zero=False, class_of="d",
    )  # fmt: skip


def _bytes(memory: Bytes, name: str) -> int:
    return memory.arena.get(name, memory.tape)


def _work(found: Comparison) -> str:
    rows = [(w.name, f"{w.operations:,}", nbytes(w.nbytes), number(w.flops)) for w in found.work]
    return (
        "<h3>What one step executes</h3>"
        '<p class="why">A tape runs every operation that the program and its gradient name. In a '
        "graph equal expressions are computed once, what nobody reads goes, identities vanish, "
        "and neighbours become one kernel whose intermediate values never reach memory.</p>"
        + table(("", "operations", "results written", "FLOPs"), rows, numbers=(1, 2, 3))
    )


def _agreement(found: Comparison) -> str:
    both = found.agreement
    series = [
        Line(name, [(float(k), loss) for k, loss in enumerate(losses) if isfinite(loss)])
        for name, losses in ((BY_RUN, both.by_run), (THEN_RUN, both.then_run))
    ]
    chart = ""
    if all(line.points for line in series):
        chart = charts.lines(series, "step", "loss", log_x=False, log_y=False, from_zero=False)
    end = "." if not both.holds else ": sums are added up in another order."
    return (
        '<h2 id="agreement">Whether both ways agree</h2>'
        f'<p class="why">{escape(verdict(found))}{end}</p>'
        f'<div class="chart">{chart}</div>'
    )


def _abilities(found: Comparison) -> str:
    rows = [
        (a.wish, "yes" if a.by_run else "no", "yes" if a.then_run else "no", a.reason)
        for a in found.abilities
    ]
    return fold("what each way can do, in short", table(("", BY_RUN, THEN_RUN, "why"), rows))
