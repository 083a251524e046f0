"""A comparison as one self-contained page: tables and charts, the reason next to each figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import staticgrad as sg
from staticgrad.comparison import charts
from staticgrad.comparison.charts import Line
from staticgrad.comparison.report import EMPTY, TAPE, WARM, Comparison, Pair
from staticgrad.comparison.wording import nbytes, number, ratio, seconds

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
code { font-size: .9em; }
"""


def page(found: Comparison) -> str:
    """The page, as HTML text."""
    body = "".join(
        (
            _head(found),
            _time(found),
            _first(found),
            _memory(found),
            _work(found),
            _losses(found),
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
    usual, even = found.usual, found.break_even[WARM]
    figures = (
        (ratio(usual.ratio), "as long takes a step of the tape"),
        (_paid(even), "compiling has paid for itself, its kernels cached"),
        (
            nbytes(found.memory.arena["store_all"]),
            f"for a step; the tape takes {nbytes(found.memory.tape)}",
        ),
        (f"{found.work[0].operations} to {found.work[-1].operations}", "operations become kernels"),
    )
    shown = "".join(
        f'<div class="figure"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in figures
    )
    return (
        f"<h1>{escape(found.model)}</h1>"
        f'<p class="sub">{escape(found.note)}; {found.parameters:,} parameters, batch size '
        f"{found.batch_size}; plain gradient descent; staticgrad {sg.__version__} on "
        f"{escape(found.machine)}. Both ways run the same rules on the same data from the same "
        f'values.</p><div class="figures">{shown}</div>'
    )


def _time(found: Comparison) -> str:
    drawn = [_pair_chart(found.batches, "batch size")]
    if found.depths:
        drawn.append(_pair_chart(found.depths, "layers"))
    rows = [
        (what, str(p.at), _spread(p, True), _spread(p, False), ratio(p.ratio))
        for what, pairs in (("batch size", found.batches), ("layers", found.depths))
        for p in pairs
    ]
    heads = ("", "", f"{BY_RUN}: a step", THEN_RUN, "ratio")
    return (
        "<h2>Time of a step</h2>"
        '<p class="why">The tape pays for every operation: a call into Python, an array for the '
        "result, a pass over memory. The compiled step pays once per step, and merged kernels pass "
        "over memory once for several operations. Small steps show the former, large ones both."
        f'</p><div class="pair">{"".join(drawn)}</div>{_table(heads, rows, numbers=(1, 2, 3, 4))}'
    )


def _pair_chart(pairs: Sequence[Pair], what: str) -> str:
    ways = ((BY_RUN, [p.by_run for p in pairs]), (THEN_RUN, [p.then_run for p in pairs]))
    series = [
        Line(
            name,
            [(p.at, t.median) for p, t in zip(pairs, times, strict=True)],
            [(t.lower, t.upper) for t in times],
        )
        for name, times in ways
    ]
    return charts.lines(series, what, "time of a step", show_y=seconds)


def _spread(pair: Pair, by_run: bool) -> str:
    timing = pair.by_run if by_run else pair.then_run
    return f"{seconds(timing.median)} ({seconds(timing.lower)} to {seconds(timing.upper)})"


def _first(found: Comparison) -> str:
    usual = found.usual
    horizon = max([100.0, *(2.0 * step for step in found.break_even.values() if step)])
    steps = [horizon * k / 40 for k in range(41)]
    series = [
        Line(name, [(n, found.first[state].total + n * each) for n in steps])
        for name, state, each in (
            (BY_RUN, TAPE, usual.by_run.median),
            ("compiled, cached", WARM, usual.then_run.median),
            ("compiled, first time", EMPTY, usual.then_run.median),
        )
    ]
    rows = [
        (
            state,
            *map(seconds, (t.imports, t.build, t.compile, t.step, t.total)),
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
        "paid for at step",
    )
    chart = charts.lines(
        series, "steps", "time since the process began", show_y=seconds, log_x=False, log_y=False
    )
    return (
        "<h2>First result, and when compiling has paid for itself</h2>"
        '<p class="why">A tape can start at once. The compiler builds the gradient, runs its '
        "passes and makes native code first; a second process finds the code on disk. In fresh "
        f"processes.</p>{chart}{_table(heads, rows, numbers=range(1, 7))}"
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
    values = [("tape, measured", float(found.memory.tape))]
    values += [(f"{policy}, planned", float(size)) for policy, size in found.memory.arena.items()]
    rows = [
        (policy, nbytes(size), ratio(found.memory.times[policy]))
        for policy, size in found.memory.arena.items()
    ]
    return (
        "<h2>Memory of a step</h2>"
        '<p class="why">A tape holds every operand until the backward pass has used it, and frees '
        "what it can as it meets it. A graph shows beforehand when each value is used last: values "
        "share one arena, whose size is exact before the first run. A policy may compute values "
        "again instead of keeping them. Beside parameters and batch.</p>"
        + charts.bars(values, nbytes, "bytes of a step")
        + _table(("policy", "peak", "predicted time"), rows, numbers=(1, 2))
    )


def _work(found: Comparison) -> str:
    rows = [(w.name, f"{w.operations:,}", nbytes(w.nbytes), number(w.flops)) for w in found.work]
    return (
        "<h2>What one step executes</h2>"
        '<p class="why">A tape runs every operation that the program and its gradient name. In a '
        "graph equal expressions are computed once, what nobody reads goes, identities vanish, "
        "and neighbours become one kernel whose intermediate values never reach memory.</p>"
        + _table(("", "operations", "results written", "FLOPs"), rows, numbers=(1, 2, 3))
    )


def _losses(found: Comparison) -> str:
    both = found.agreement
    series = [
        Line(name, [(float(k), loss) for k, loss in enumerate(losses)])
        for name, losses in ((BY_RUN, both.by_run), (THEN_RUN, both.then_run))
    ]
    return (
        "<h2>The same losses</h2>"
        f'<p class="why">Over {len(both.by_run)} steps the losses differ by at most '
        f"{both.largest_difference:.1e}, relatively: sums are added up in another order.</p>"
        + charts.lines(series, "step", "loss", log_x=False, log_y=False)
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
