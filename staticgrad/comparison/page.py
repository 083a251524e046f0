"""A comparison as one self-contained page: tables and charts, the reason next to each figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import isfinite
from typing import Final

import staticgrad as sg
from staticgrad.comparison import charts
from staticgrad.comparison.charts import Line
from staticgrad.comparison.report import (
    EMPTY,
    TAPE,
    WARM,
    Bytes,
    Comparison,
    Pair,
    nbytes,
    number,
    ratio,
    seconds,
)
from staticgrad.comparison.table import between, memory_rows, rows_of_times, timing, verdict

BY_RUN: Final = "define by run"
THEN_RUN: Final = "define then run"

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #667; --rule: #dde; --page: #fff;
  --a: #c2571a; --b: #1f6fb5; --c: #3c8a4e; --d: #8a4fb0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6ea; --soft: #9aa; --rule: #334;
  --page: #15171b; --a: #f0935a; --b: #6db3f2; --c: #7fca90; --d: #c79be6; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p.why, p.sub { color: var(--soft); margin: .2rem 0 .8rem; max-width: 46rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; }
.figure b { display: block; font-size: 1.6rem; } .figure { border-top: 3px solid var(--b);
  padding-top: .4rem; } .figure span { color: var(--soft); font-size: .9rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
svg { width: 100%; max-width: 40rem; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg text.axis { fill: var(--soft); } svg .end, svg .label
  { text-anchor: end; } svg .middle { text-anchor: middle; } svg .grid { stroke: var(--rule); }
svg polyline { fill: none; stroke-width: 2; } svg .band { opacity: .15; stroke: none; }
svg polyline.a { stroke: var(--a); } svg polyline.b { stroke: var(--b); }
svg polyline.c { stroke: var(--c); } svg polyline.d { stroke: var(--d); }
svg .a:not(polyline) { fill: var(--a); } svg .b:not(polyline) { fill: var(--b); }
svg .c:not(polyline) { fill: var(--c); } svg .d:not(polyline) { fill: var(--d); }
code, pre { font-size: .85em; } pre { overflow-x: auto; } summary { cursor: pointer; }
p.alarm { border-left: 4px solid var(--a); padding-left: .8rem; max-width: 46rem; }
"""


def page(found: Comparison) -> str:
    """The page, as HTML text."""
    body = "".join(
        (
            _head(found),
            _time(found),
            _first(found) if found.first else "",
            _memory(found),
            _work(found),
            _agreement(found),
            _program(found),
            _abilities(found),
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(found.model)}: define by run, define then run</title>"
        f"<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _head(found: Comparison) -> str:
    usual, memory = found.usual, found.memory
    policy = min(memory.arena, key=lambda name: (memory.arena[name], memory.times[name]))
    figures = [
        (
            ratio(usual.ratio),
            "the processor time per step on the tape, relative to the compiled step"
            f" ({between(usual)} among parts of the measurement)",
        ),
        (
            nbytes(memory.arena[policy]),
            f"the least memory of a compiled step ({policy}, {ratio(memory.times[policy])} the"
            f" time), known beforehand; on the tape {nbytes(memory.tape)}",
        ),
        (
            f"{found.work[0].operations} to {found.work[-1].operations}",
            "from operations of the program and its gradient to kernels",
        ),
    ]
    if found.first:
        paid = _paid(found.break_even[WARM])
        figures.insert(1, (paid, "from here on compiling has paid for itself, kernels cached"))
    shown = "".join(
        f'<div class="figure"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in figures
    )
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
        f'<div class="figures">{shown}</div>'
    )


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
    forward, usual = found.forward, found.usual
    parts = [
        seconds(max(whole.cpu - part.cpu, 0.0))
        for whole, part in (
            (usual.by_run, forward.by_run),
            (usual.then_run, forward.then_run),
        )
    ]
    return (
        "<h2>Time of a step</h2>"
        '<p class="why">The tape pays for every operation: a call into Python, an array for the '
        "result, a pass over memory. The compiled step pays once per step, and merged kernels pass "
        "over memory once for several operations. Small steps show the former, large ones both. "
        "CPU is the least processor time of a step, wall the quartiles of wall time; ratios are of "
        "processor time, their range is that among parts of the measurement. "
        f"Beyond the forward pass, backward and update take {parts[0]} on the tape, {parts[1]} "
        f'compiled.</p><div class="pair">{"".join(drawn)}</div>'
        f"{_table(heads, rows, numbers=range(1, 7))}"
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
        "<h2>First result, and when compiling has paid for itself</h2>"
        '<p class="why">A tape can start at once. The compiler builds the gradient, runs its '
        "passes and makes native code first; a second process finds the code on disk. In fresh "
        "processes, by the clock; CPU is processor time, as in the chart and the last column."
        f"</p>{chart}{_table(heads, rows, numbers=range(1, 8))}"
    )


def _even(found: Comparison, state: str) -> str:
    if state == TAPE:
        return ""
    return _paid(found.break_even[state])


def _paid(step: float | None) -> str:
    """When compiling has paid for itself."""
    if step is None:
        return "never"
    return f"step {step:,.0f}" if step >= 0.5 else "at once"


def _memory(found: Comparison) -> str:
    usual = found.memory
    values = [("tape, measured", float(usual.tape))]
    values += [(f"{policy}, planned", float(size)) for policy, size in usual.arena.items()]
    values += [(f"budget {nbytes(b.budget)}", float(b.peak)) for b in found.budgets]
    drawn = [charts.bars(values, nbytes, "bytes of a step")]
    if len(found.memories) > 1:
        names = ("tape", *usual.arena)
        series = [
            Line(name, [(float(m.at), float(_bytes(m, name))) for m in found.memories])
            for name in names
        ]
        drawn.append(charts.lines(series, "batch size", "bytes of a step", show_y=nbytes))
    rows = memory_rows(found)
    heads = ("", *(f"batch size {m.at}" for m in found.memories), "predicted time")
    return (
        "<h2>Memory of a step</h2>"
        '<p class="why">The tape keeps what the rules of the backward pass will read, and lets go '
        "of it as the pass goes, as other tapes do. A graph shows beforehand when each value is "
        "used last: values share one arena, whose size is exact before the first run, "
        "at every batch size. A policy or a byte budget computes values again instead of keeping "
        "them; a tape does so where the program says it. Beside parameters, the optimizer's state "
        f'and the batch.</p><div class="pair">{"".join(drawn)}</div>'
        + _table(heads, rows, numbers=range(1, len(heads)))
    )


def _bytes(memory: Bytes, name: str) -> int:
    return memory.arena.get(name, memory.tape)


def _work(found: Comparison) -> str:
    rows = [(w.name, f"{w.operations:,}", nbytes(w.nbytes), number(w.flops)) for w in found.work]
    return (
        "<h2>What one step executes</h2>"
        '<p class="why">A tape runs every operation that the program and its gradient name. In a '
        "graph equal expressions are computed once, what nobody reads goes, identities vanish, "
        "and neighbours become one kernel whose intermediate values never reach memory.</p>"
        + _table(("", "operations", "results written", "FLOPs"), rows, numbers=(1, 2, 3))
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
        f'<h2>Whether both ways agree</h2><p class="why">{escape(verdict(found))}{end}</p>{chart}'
    )


def _program(found: Comparison) -> str:
    lines = len(found.program.splitlines())
    return (
        "<h2>The program</h2>"
        '<p class="why">What is compiled: loss, gradients and updates as one graph, each node with '
        "its type and the line of the model that it comes from; ^1 marks what differentiation made."
        f"</p><details><summary>{lines} lines</summary><pre>{escape(found.program)}</pre></details>"
    )


def _abilities(found: Comparison) -> str:
    rows = [
        (a.wish, "yes" if a.by_run else "no", "yes" if a.then_run else "no", a.reason)
        for a in found.abilities
    ]
    return "<h2>What each way can do</h2>" + _table(("", BY_RUN, THEN_RUN, "why"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    right = set(numbers)

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if k in right else ''}>{escape(cell)}</{tag}>"
            for k, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table>"
