"""A comparison as one self-contained page: the program, tables and charts, each with its reason.

The texts are in ``html/both.html`` and ``html/tape.html``; what is computed here are the values of
their ``$names``.
"""

from __future__ import annotations

import linecache
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import accumulate, pairwise
from math import isfinite
from pathlib import Path
from string import Template
from typing import Any, Final

import staticgrad as sg
from staticgrad.comparison import table, training
from staticgrad.comparison.report import (
    COMPILED_TORCH,
    JAX,
    TAPE,
    TORCH,
    WARM,
    Anatomy,
    Comparison,
    Course,
    HeldBytes,
    Pair,
    Refusal,
    TapeAlone,
)
from staticgrad.extend import Graph, pages
from staticgrad.extend.building import Origin, is_package_file
from staticgrad.extend.pages import Line, details, nbytes, ratio, seconds, text_block
from staticgrad.extend.reports import GraphDrawing, Report, passes_table, plan_picture

BY_RUN: Final = "define by run"
THEN_RUN: Final = "define then run"
_HTML: Final = Path(__file__).parent / "html"
_LINK: Final = re.compile(r'<h2 id="(\w+)"')  # of a section that is linked from the top
_GAP: Final = 6  # lines between two that are used, at most, that are shown too
_MOST_LINES, _MOST_CHANGES = 400, 60
#: Characters of all kernels' sources that a page has, and of one.
_ALL_SOURCES, _ONE_SOURCE = 240_000, 24_000
_NO_LINES: Final = "<p>The program is the module: its step has no other line.</p>"
_OTHERS: Final = "By run and then run, in PyTorch and JAX"
_ABOUT_OTHERS: Final = (
    '<p class="sub">The same program in other libraries, on one thread, in turns with the compiled'
    " step; a row has figures only if its losses are those of the tape. Bytes beside parameters,"
    " optimizer state and batch: tensors by PyTorch's profiler, JAX's as XLA plans them. First:"
    " the first step by the clock, compiled with an empty cache, without imports. Recompute: bytes,"
    " and time relative to keeping all.</p>"
)
_WIDE: Final = ("graph",)  # sections whose picture takes the whole width
#: Classes of lines and bars: by run and then run, and the dashes that tell libraries apart.
_BY: Final = "r"
_THEN: Final = "t"
_DASHES: Final = {TORCH: "7 3", COMPILED_TORCH: "7 3", JAX: "2 3", WARM: "9 3 2 3"}
_CAUSES: Final = ("h", "g", "u", "m")  # classes of causes, in their order
_STARTS: Final = ("s1", "s2", "s3", "s4")  # classes of the parts of a first result
_WIDE_CHART: Final = 1000  # pixels
_FAR: Final = 1000  # steps that the picture of the trade-off has at least
_BEFORE: Final = {"import": 0.03, "build": 0.1, "compile": 0.33}  # where these end, of steps
_LINE: Final = re.compile(r"[^\s,\[\]]+:\d+")


def page(comparison: Comparison | TapeAlone) -> str:
    """Return the comparison as one HTML page without external files."""
    style = f"<style>{pages.STYLE}{_text('page.css')}</style>"
    if isinstance(comparison, TapeAlone):
        main = Template(_text("tape.html")).substitute(_tape_values(comparison))
        body = f'<div class="sg">{style}<main>{main}</main></div>'
    else:
        text = _text("both.html")
        links = "".join(f'<a href="#{name}">{name}</a>' for name in _LINK.findall(text))
        main = _in_sections(Template(text).substitute(_values(comparison)))
        main = _without_harness(main, comparison.anatomy.graph)
        script = f"<script>{_text('page.js')}</script>"
        note = '<p class="note" role="status"></p>'
        links = f'<nav class="scroll">{links}</nav>'
        body = f'<div class="sg linked">{style}{links}<main>{main}</main>{note}{script}</div>'
    return pages.document(f"{comparison.model}: define by run, define then run", body)


def _text(name: str) -> str:
    return (_HTML / name).read_text("utf-8")


def _without_harness(text: str, graph: Graph) -> str:
    """Remove file and line of the training harness from the page's text.

    The module's own layers take their place, where a line is that of a layer.
    """
    lines = {place for node in graph.nodes for place in node.origin.resolve().places}
    name = Path(training.__file__).name
    files = {place.file for place in lines if Path(place.file).name == name}
    if files != {training.__file__}:
        return text  # none, or a file of the user's is called so, too
    line = rf"{re.escape(name)}:\d+"
    text = re.sub(rf"{line} \[([^\]]*)\]", r"\1", text)
    text = re.sub(rf"(?: at|,)? {line}(?=[,)<]|&lt;|$)", "", text)
    return re.sub(rf"{line}(?:, )?", "", text)


def _in_sections(text: str) -> str:
    """Group the page's headings and first paragraphs beside their charts."""
    head, *parts = re.split(r'(?=<h2 id=")', text)
    sections = []
    for part in parts:
        title, end, body = part.partition("</p>") if '<p class="why">' in part else (part, "", "")
        name = part.partition('"')[2].partition('"')[0]
        kind = ' class="wide"' if name in _WIDE else ""
        sections.append(f"<section{kind}><header>{title}{end}</header><div>{body}</div></section>")
    return "".join([f"<section><header></header><div>{head}</div></section>", *sections])


class _NotebookPage:
    """A page that a notebook shows in a frame, so that their styles do not mix."""

    def _repr_html_(self: Any) -> str:
        return (
            f'<iframe srcdoc="{escape(page(self), quote=True)}" title="{escape(self.model)}"'
            ' style="width:100%;height:80vh;border:1px solid #8884;border-radius:8px"></iframe>'
        )


class ShownComparison(_NotebookPage, Comparison):
    """A comparison that a notebook shows as a page."""


class ShownTape(_NotebookPage, TapeAlone):
    """The report of a program without a graph that a notebook shows as a page."""


def _title(comparison: Comparison | TapeAlone, more: str = "") -> str:
    """Return the title of the comparison's page: model, parameters, batch, machine."""
    about = (
        f"{comparison.parameters:,} parameters, {comparison.about_batch}", comparison.rule,
        f"staticgrad {sg.__version__} on {comparison.machine}",
    )  # fmt: skip
    return (
        f'<h1>{escape(comparison.model)}</h1><p class="sub">{escape("; ".join(about))}.{more}</p>'
    )


def _alarm(text: str) -> str:
    return f'<p class="alarm">{escape(text)}</p>'


def _describe_refusal(refusal: Refusal) -> str:
    """Return a refusal: the user's line, the message, the cure."""
    where = text_block(f"{refusal.line}: {refusal.text}") if refusal.line else ""
    cure = "<br>".join(map(escape, refusal.cure.splitlines()))
    return f"{where}{_alarm(refusal.message)}<p><b>Write</b> {cure}</p>"


def _plain_lines(series: Sequence[Line], x: str, y: str, **options: Any) -> str:
    return _lines(series, x, y, log_x=False, log_y=False, **options)


def _lines(series: Sequence[Line], x: str, y: str, width: int = pages.CHART, **options: Any) -> str:
    return pages.on_screens(
        lambda pixels: pages.lines(series, x, y, width=pixels, **options), width
    )


def _stack_bars(
    rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[str], show: Any, title: str,
    classes: Sequence[str],
) -> str:  # fmt: skip
    return pages.on_screens(
        lambda pixels: pages.stack_bars(rows, parts, show, title, classes, pixels)
    )


def _draw_memory(timelines: Iterable[HeldBytes]) -> str:
    """Draw the memory of both ways over a training step."""
    shown: list[Line] = []
    for timeline in timelines:
        values, count = timeline.nbytes, len(timeline.nbytes)
        points = [
            (100 * (k + end) / count, float(values[k])) for k in range(count) for end in (0, 1)
        ]
        dashes = ("", "7 3", "2 3")[min(max(len(shown) - 1, 0), 2)]
        kind = _THEN if shown else _BY
        name = timeline.name if shown else f"{timeline.name} and objects"
        shown.append(Line(name, points, kind, dashes if shown else ""))
    return _plain_lines(
        shown, "percent of a step's operations", "bytes held, from its beginning to its end",
        show_y=nbytes,
    )  # fmt: skip


def _tape_values(report: TapeAlone) -> dict[str, str]:
    """Return the figures of the tape for the page of a program without a graph."""
    low, high = min(report.operations), max(report.operations)
    figures = (
        (seconds(report.tape.cpu), "the least processor time of a first step on the tape"),
        (nbytes(report.nbytes), "the memory of a step on the tape, measured"),
        (f"{low:,}" if low == high else f"{low:,} to {high:,}",
         f"operations that the tape recorded in each of {len(report.operations)} steps, which draw"
         " new batches and go on training: where they differ, each step is another graph"),
    )  # fmt: skip
    points = [(float(k), float(n)) for k, n in enumerate(report.operations, 1)]
    recorded = Line("operations", points, _BY)
    steps = _plain_lines([recorded], "step", "operations recorded", show_y=lambda n: f"{n:,.0f}")
    return {
        "title": _title(report),
        "figures": pages.figure_boxes(figures),
        "refusal": _describe_refusal(report.refusal),
        "charts": steps + _draw_memory([report.timeline]),
        "others": _others(report),
    }


def _values(comparison: Comparison) -> dict[str, str]:
    """Return the values of the placeholders in the page's template ``both.html``."""
    anatomy, agreement = comparison.anatomy, comparison.agreement
    drawn = GraphDrawing(anatomy.graph, anatomy.runners)
    source, is_library = _source(anatomy, drawn)
    factors, split = _split(comparison)
    idle = dict.fromkeys(report.name for report in anatomy.reports if not report.changed)
    losses = [
        Line(
            name, [(float(k), loss) for k, loss in enumerate(values) if isfinite(loss)], kind, dash
        )
        for name, values, kind, dash in (
            (BY_RUN, agreement.by_run, _BY, ""),
            (THEN_RUN, agreement.then_run, _THEN, "2 4"),
        )
    ]
    return {
        "head": _head(comparison),
        "tradeoff": _tradeoff(comparison),
        "module": details("the module", text_block(comparison.module), opened=is_library)
        if comparison.module else "",
        "source": source,
        "nodes": f"{sum(not node.is_leaf for node in anatomy.graph.nodes):,}",
        "picture": drawn.html(),
        "text": details(
            f"as text, {len(comparison.program.splitlines()):,} lines",
            text_block(comparison.program),
        ),
        "idle": f" Nothing was left to do for {escape(', '.join(idle))}." if idle else "",
        "passes": _passes(comparison),
        "steps": str(len(anatomy.plan.steps)),
        "distinct": str(len(anatomy.kernels)),
        "apart": details(
            "why two neighbours are two", text_block("\n".join(anatomy.apart) or "none are")
        ),
        "work": table.work(comparison).html(),
        "kernels": _kernels(anatomy),
        "factors": factors,
        "split": split,
        "time_chart": _time_chart(comparison.batches) if len(comparison.batches) > 1 else "",
        "times": table.times(comparison).html() + _others(comparison),
        "first": _first_results(comparison) if comparison.first else "",
        "memory_charts": _memory_charts(comparison),
        "memory": _memory(comparison),
        "acts": _acts(comparison),
        "debugging": "" if comparison.debugging is None else details(
            "Debugging: a mistake is planted, and looked for each way."
            f" {comparison.debugging.summary}",
            comparison.debugging.html(),
        ),
        "agreement": escape(table.verdict(comparison))
        + (": sums are added up in another order." if comparison.holds else "."),
        "losses": _plain_lines(losses, "step", "loss", from_zero=False)
        if all(line.points for line in losses) else "",
    }  # fmt: skip


def _head(comparison: Comparison) -> str:
    """Return the headline figures at the top of the comparison's page."""
    memory = comparison.memory
    plans = [(size, memory.times[policy], policy) for policy, size in memory.arena.items()]
    plans += [(b.peak, b.time, b.name) for b in comparison.budgets]
    least, longer, plan = min(plans)
    keeping_policy = next(iter(memory.arena))  # of the plan that keeps all, as the tape does
    figures = [
        table.headline(comparison),
        (
            nbytes(memory.arena[keeping_policy]),
            "the memory of a compiled step, known beforehand; the tape takes"
            f" {nbytes(memory.tape)}. With recomputation {nbytes(least)}"
            f" ({plan}, {ratio(longer)} the predicted time)",
        ),
        (
            f"{comparison.source_work.operations} to {comparison.work[-1].operations}",
            "from operations of the program and its gradient to kernels",
        ),
    ]
    state = WARM if comparison.changes is None else comparison.state
    if state in comparison.break_even:
        paid = table.paid(comparison, state)
        paid = f"step {paid}" if paid[0].isdigit() else paid
        what = "from here on compiling has paid for itself, by the clock from the start on with"
        what = f"{what} imports, as drawn below; the range is that among repeats ({state})"
        figures.insert(1, (paid, what))
    alarms = [*([] if comparison.holds else [table.verdict(comparison)]), *comparison.warnings]
    more = (
        " Both ways run the same rules on the same data from the same values, each on"
        f" {comparison.threads} thread{'s' * (comparison.threads > 1)}."
    )
    parts = [_title(comparison, more), *map(_alarm, alarms), pages.figure_boxes(figures)]
    if comparison.refusal:
        parts.append(f"<h2>What one graph refuses</h2>{_describe_refusal(comparison.refusal)}")
    if comparison.changes is not None:
        rows = table.changes(comparison).html()
        parts.append(f"<h2>Sizes that change from step to step</h2>{rows}")
    if comparison.against:
        items = "".join(f"<li>{escape(text)}</li>" for text in comparison.against)
        parts.append(f"<h3>Where define-then-run loses</h3><ul>{items}</ul>")
    return "".join(parts)


def _source(anatomy: Anatomy, drawn: GraphDrawing) -> tuple[str, bool]:
    """Return the program's lines as HTML with costs and links, and whether all are ours."""
    costs: dict[str, list[float]] = {}  # seconds of each line, forward and in derivatives
    for cost in anatomy.costs:
        of_cost = list(dict.fromkeys(name for line in cost.lines for name in _LINE.findall(line)))
        for line_name in of_cost:
            costs.setdefault(line_name, [0.0, 0.0])[bool(cost.phase)] += cost.seconds / len(of_cost)
    most = max(map(sum, costs.values()), default=1.0) or 1.0
    tokens: dict[str, list[str]] = defaultdict(list)
    for (_, short), band in drawn.places.items():
        tokens[short].append(drawn.bands[band].token)

    def row(short: str, text: str) -> str:
        """Format a source line of the compared program with its cost bar and links to nodes."""
        token_list = " ".join(tokens.get(short, ()))
        linked = (
            f' data-id="s{escape(short)}" data-to="{token_list}"' if token_list else ' class="dark"'
        )
        bar = tooltip = ""
        if short in costs:
            forward, backward = costs[short]
            tooltip = f' title="forward {seconds(forward)}, backward {seconds(backward)}"'
            bar = "".join(
                f'<i class="{kind}" style="width:{100 * part / most:.1f}%"></i>'
                for kind, part in (("f", forward), ("b", backward))
            )
        return (
            f'<div{linked}><span class="at">{short.rpartition(":")[2]}</span><span class="cost"'
            f"{tooltip}>{bar}</span><span>{escape(text.rstrip() or ' ')}</span></div>"
        )

    rows, shown = [], [*_lines_of(anatomy.graph)]
    for file, lines in shown:
        name = file.replace("\\", "/").rpartition("/")[2]
        rows.append(f'<div><span class="file">{escape(name)}</span></div>')
        text = {line: linecache.getline(file, line) for line in lines}
        margin = min((len(t) - len(t.lstrip()) for t in text.values() if t.strip()), default=0)
        for previous_line, line in pairwise([lines[0] - 1, *lines]):
            if line != previous_line + 1:
                rows.append('<div class="dark"><span class="at">…</span></div>')
            rows.append(row(f"{name}:{line}", text[line][margin:]))
    return "".join(rows) or _NO_LINES, all(is_package_file(file) for file, _ in shown)


def _lines_of(graph: Graph) -> Iterator[tuple[str, list[int]]]:
    """Yield files and lines of the program that graph nodes come from, with lines in between."""
    used: dict[str, set[int]] = defaultdict(set)
    for node in graph.nodes:
        if node.is_leaf and node.label:
            continue
        for place in node.origin.resolve().places:
            if linecache.getline(place.file, place.line):
                used[place.file].update(range(place.line, (place.end_line or place.line) + 1))
        for frame in node.origin.places:  # the lines that begin their functions
            if isinstance(frame, Origin) and frame[0].co_name.isidentifier():
                used[frame[0].co_filename].add(frame[0].co_firstlineno)
    used.pop(training.__file__, None)  # the step that trains a module: no line of the user's
    left = _MOST_LINES
    for file, lines in used.items():
        ordered = sorted(lines)
        for line, next_line in pairwise(ordered):
            if next_line - line <= _GAP:
                lines.update(range(line, next_line))
        chosen = sorted(lines)[:left]
        left -= len(chosen)
        if chosen:
            yield file, chosen


def _passes(comparison: Comparison) -> str:
    """Describe what each pass did, with the lines it removed and added."""
    reports = comparison.anatomy.reports
    dead = (f"<p>{escape(line)}.</p>" for line in comparison.dead)
    changed = passes_table([report for report in reports if report.changed])
    return "".join([*dead, changed, *map(_changes, reports)])


def _changes(report: Report) -> str:
    """Show the lines that a pass removed from and added to the graph's text."""
    if not report.changed or not isinstance(report.before, Graph):
        return ""

    def numberless(graph: Any) -> Counter[str]:
        lines = [line for line in str(graph).splitlines() if line.startswith("  %")]
        return Counter(re.sub(r"%\d+", "%", line).strip().removeprefix("%: ") for line in lines)

    lines_before, lines_after = numberless(report.before), numberless(report.after)
    gone, come = (
        [*(lines_before - lines_after).elements()],
        [*(lines_after - lines_before).elements()],
    )
    lines = []
    for sign, changed in (("-", gone), ("+", come)):
        lines += [f"{sign} {line}" for line in changed[:_MOST_CHANGES]]
        lines += [f"  and {len(changed) - _MOST_CHANGES:,} more"] * (len(changed) > _MOST_CHANGES)
    title = f"{report.name}: {len(gone):,} lines went, {len(come):,} came"
    return details(title, text_block("\n".join(lines)))


def _kernels(anatomy: Anatomy) -> str:
    """Show the kernels of the compiled step with their share of time and their source."""
    spent: Counter[str] = Counter()
    for cost in anatomy.costs:
        spent[cost.kernel] += cost.seconds  # type: ignore[assignment]  # a sum of seconds
    total_seconds, left, parts = sum(spent.values()) or 1.0, _ALL_SOURCES, []
    for kernel in anatomy.kernels:
        kernel_seconds, most = spent[kernel.name], min(_ONE_SOURCE, max(left, 0))
        left -= min(len(kernel.source), most)
        source = "<p>left out: the page has enough of them; f.source has all.</p>"
        if most > 1000:
            source = text_block(kernel.source, most)
        percent = 100 * kernel_seconds / total_seconds
        title = f"{kernel.name}  {percent:.0f} %, {seconds(kernel_seconds)}: {kernel.label}"
        parts.append(
            f'<details data-id="{kernel.name}"><summary>{escape(title)}</summary>{source}</details>'
        )
    return "".join(parts)


def _split(comparison: Comparison) -> tuple[str, str]:
    """Show forward and backward time of tape and graph, in words and as a chart."""
    parts = [0.0, 0.0]
    for cost in comparison.anatomy.costs:
        parts[bool(cost.phase)] += cost.seconds
    compiled_seconds, tape = comparison.usual.then_run.cpu, comparison.usual.by_run.cpu
    forward, backward = (compiled_seconds * part / (sum(parts) or 1.0) for part in parts)
    rows, factors = [("tape", [0.0, 0.0, tape])], ""
    if comparison.forward is not None:
        first = comparison.forward.by_run.cpu
        backward_on_tape = max(tape - first, 0.0)
        rows = [("tape", [first, backward_on_tape, 0.0])]
        factors = f"{ratio(backward_on_tape / first)} of it on the tape, " if first else ""
    rows.append(("compiled", [forward, backward, 0.0]))
    factors += ratio(backward / forward) if forward else "-"
    names = [
        "forward",
        "backward and update",
        *(["not divided"] if comparison.forward is None else []),
    ]
    title = "time of a step by part"
    return factors, _stack_bars(rows, names, seconds, title, ("f", "b", _BY))


def _time_chart(pairs: Sequence[Pair]) -> str:
    """Draw the time of a step over batch sizes for both ways."""
    series = []
    for name, times in (
        (BY_RUN, [p.by_run for p in pairs]), (THEN_RUN, [p.then_run for p in pairs])
    ):  # fmt: skip
        points = [(float(p.at), t.cpu) for p, t in zip(pairs, times, strict=True)]
        series.append(Line(name, points, _BY if name == BY_RUN else _THEN))
    return _lines(series, "batch size", "time of a step", show_y=seconds)


def _first_results(comparison: Comparison) -> str:
    """Show the time to the first result of tape and compiled program."""
    return (
        "<h3>First result, and when compiling has paid for itself</h3>"
        '<p class="sub">A tape can start at once. The compiler builds the gradient, runs its passes'
        " and makes native code first; a second process finds the code on disk. In fresh"
        " processes, by the clock; CPU is processor time without imports.</p>"
        f"{table.first_results(comparison).html()}"
    )


def _starts(comparison: Comparison) -> str:
    """Draw the parts of the time to the first result, with those of other libraries."""
    rows = [
        (state, [start.imports, start.build, start.compile, start.step])
        for state, start in comparison.first.items()
    ]
    rows += [(f"{p.name}", [p.imports, 0.0, 0.0, p.first]) for p in comparison.peers if p.pair]
    names = ["import", "build", "compile", "first step"]
    return _stack_bars(rows, names, seconds, "first result by part", _STARTS)


def _tradeoff(comparison: Comparison) -> str:
    """Draw time and memory over the steps of a training course."""
    count = comparison.course_steps
    best = {
        s: min(every, key=lambda course: course.total) for s, every in comparison.courses.items()
    }
    states = [state for state in best if state != TAPE]
    far = float(count)
    if comparison.changes is None:
        intervals = [comparison.break_even[s] for s in states]
        ends = [step for interval in intervals for step in (interval.low, interval.high) if step]
        far = max(_FAR, *(min(3 * step, 1e6) for step in ends)) if ends else float(_FAR)
    series = []
    for state, course in best.items():
        kind, dashes = (_BY, "") if state == TAPE else (_THEN, _DASHES.get(state, ""))
        later_step = comparison.later_step(state)
        series += _course_lines(state, course, count, far, later_step, kind, dashes)
    for peer in comparison.peers:
        if peer.pair is not None and comparison.changes is None:
            kind = _BY if peer.name == TORCH else _THEN
            start, step = peer.imports + peer.first, peer.pair.by_run.clock
            points = [(_BEFORE["import"], peer.imports), (1.0, start)]
            points += [(n, start + (n - 1) * step) for n in (10.0, 100.0, far)]
            series.append(Line(peer.name, points, f"{kind} later", _DASHES.get(peer.name, "")))
    begin = {} if not any(course.imports for course in best.values()) else _BEFORE
    ticks = {at: name for name, at in begin.items()}
    ticks |= {float(n): f"{n:,}" for n in _round_steps(far)}
    marks = [(float(k), what) for k, what in next(iter(best.values())).events if k <= count]
    spans = [
        (
            break_even.low, break_even.high or far,
            f"compiling has paid for itself: {table.paid(comparison, state)}",
        )
        for state, break_even in comparison.break_even.items() if break_even.low is not None
    ]  # fmt: skip
    time = _lines(
        series, "steps", "seconds until then", show_y=seconds, ticks=ticks, marks=marks,
        spans=spans, width=_WIDE_CHART,
    )  # fmt: skip
    break_even_texts = [f"{state}: {table.paid(comparison, state)}" for state in states]
    words = (
        f"Compiling has paid for itself at step: {'; '.join(break_even_texts)}"
        f" (shaded: from the first to the last of repeats), by the clock from the start of the"
        f" process, imports included, as are the lines. The first {count} steps were run"
        + ("; pale lines go on with the step of the headline" if comparison.changes is None else "")
        + ". Bytes are the most of a step until then, beside parameters, optimizer state and batch."
    )
    starts = _starts(comparison) if comparison.first else ""
    below = f'<div class="pair chart">{_draw_peak_bytes(comparison)}{starts}</div>'
    return f'<div class="chart large">{time}</div><p class="sub">{escape(words)}</p>{below}'


def _course_lines(
    name: str,
    course: Course,
    count: int,
    far: float,
    later_step: float,
    kind: str,
    dashes: str,
) -> list[Line]:
    """Return the chart line of a training course, and its extrapolation by a later step."""
    points = []
    if course.imports:
        times = accumulate((course.imports, course.build, course.compile))
        points = [*zip(_BEFORE.values(), times, strict=True)]
    ends = course.ends()[:count]
    points += [(float(k), end) for k, end in enumerate(ends, 1)]
    shown = [Line(name if far <= count else "", points, kind, dashes)]
    if far > count:
        last, edges = ends[-1], [n for n in (10.0, 30.0, 100.0, 300.0, 1e3, 1e4, 1e5) if n > count]
        later = [n for n in edges if n < far]
        further = [(n, last + (n - count) * later_step) for n in (float(count), *later, far)]
        shown.append(Line(name, further, f"{kind} later", dashes))
    return shown


def _round_steps(far: float) -> list[int]:
    """Return the numbers of steps that an axis shows."""
    if far <= 60:
        return [n for n in (1, 2, 5, 10, 20, 30, 40, 60) if n <= far]
    return [10**k for k in range(7) if 10**k <= far]


def _draw_peak_bytes(comparison: Comparison) -> str:
    """Draw the peak memory of a training course up to each step."""
    series, count = [], comparison.course_steps
    for name, bytes_by_step in comparison.held.items():
        most = [*accumulate(bytes_by_step[:count], max)]
        points = [(k + end - 0.5, float(n)) for k, n in enumerate(most, 1) for end in (0, 1)]
        series.append(Line(name, points, _BY if name == TAPE else _THEN))
    for peer in comparison.peers:
        if peer.pair is not None and comparison.changes is None:
            ends = [(0.5, float(peer.tape)), (count + 0.5, float(peer.tape))]
            kind = _BY if peer.name == TORCH else _THEN
            series.append(Line(peer.name, ends, f"{kind} later", _DASHES.get(peer.name, "")))
    marks = [(float(k), what) for k, what in comparison.courses[TAPE][0].events if k <= count]
    return _plain_lines(
        series, "steps", "most bytes until then", show_y=nbytes, marks=marks,
        ticks={float(n): str(n) for n in _round_steps(float(count))},
    )  # fmt: skip


def _frontier(comparison: Comparison) -> str:
    """Draw time against memory: plans with recomputation, and checkpointed tapes."""
    memory, plans = comparison.memory, [*comparison.budgets]
    policy = next(iter(memory.arena))
    if not plans:
        return ""
    keeping_all = (float(memory.arena[policy]), 1.0)
    predicted = [keeping_all, *((float(b.peak), b.time) for b in plans)]
    measured = [
        keeping_all,
        *((float(b.peak), b.measured) for b in plans if b.measured is not None),
    ]
    series = [
        Line("predicted", predicted, f"{_THEN} later", "2 3"),
        Line("measured", measured, _THEN),
    ]
    if comparison.checkpointed is not None:
        ends = [
            (float(memory.tape), 1.0),
            (float(comparison.checkpointed.peak), comparison.checkpointed.time),
        ]
        series.append(Line("checkpointed tape", ends, _BY))
    for peer in comparison.peers:
        if peer.recompute is not None:
            kind = _BY if peer.name == TORCH else _THEN
            ends = [(float(peer.tape), 1.0), (float(peer.recompute[0]), peer.recompute[1])]
            series.append(Line(f"{peer.name}, checkpoint", ends, kind, _DASHES.get(peer.name, "")))
    return _plain_lines(
        series, "bytes of a step", "time beside that of keeping all", show_x=nbytes, show_y=ratio
    )


def _memory_charts(comparison: Comparison) -> str:
    """Draw the peak memory of tape, policies and budgets."""
    usual = comparison.memory
    values = [("tape, measured", float(usual.tape))]
    if comparison.checkpointed is not None:
        values.append(("checkpointed tape", float(comparison.checkpointed.peak)))
    kinds = [_BY] * len(values) + [_THEN] * (len(usual.arena) + len(comparison.budgets))
    values += [(f"{policy}, planned", float(size)) for policy, size in usual.arena.items()]
    values += [(b.name, float(b.peak)) for b in comparison.budgets]
    # The first line has Python's objects, too, which figures of the tape leave out.
    different = {
        timeline.nbytes: timeline for timeline in reversed(comparison.timelines) if timeline.nbytes
    }
    chart = _draw_memory(
        timeline for timeline in comparison.timelines if timeline in different.values()
    )
    chart += _by_cause(comparison) + _frontier(comparison)
    return chart + pages.on_screens(
        lambda pixels: pages.bars(values, nbytes, "bytes of a step", kinds, pixels)
    )


def _others(comparison: Comparison | TapeAlone) -> str:
    """Show the same step in other libraries, with the reasons for missing figures."""
    shown = table.peers(comparison)
    if not shown.rows:
        return ""
    return f"<h3>{_OTHERS}</h3>{_ABOUT_OTHERS}{shown.html()}{_reasons(comparison)}"


def _reasons(comparison: Comparison | TapeAlone) -> str:
    return "".join(f'<p class="sub">{escape(text)}</p>' for text in table.reasons(comparison))


def _by_cause(comparison: Comparison) -> str:
    """Draw the bytes at the peak, each cause in its colour, on the tape, compiled, in PyTorch."""
    if not comparison.by_cause:
        return ""
    rows = [(causes.name, [*map(float, causes.parts.values())]) for causes in comparison.by_cause]
    title = "bytes at the peak of a step by cause"
    return _stack_bars(rows, [*comparison.by_cause[0].parts], nbytes, title, _CAUSES)


def _memory(comparison: Comparison) -> str:
    """Show the planned arena and the memory charts of the comparison."""
    plan = comparison.anatomy.plan
    arena = (
        "<h3>The arena, as it was planned</h3>"
        '<p class="sub">A box is a buffer: as high as its bytes, as wide as the kernels that run'
        " while it is used, in the colour of the part of the step that writes it.</p>"
        f"{plan_picture(plan)}"
    )
    about = (
        *comparison.about_memory,
        *comparison.about_tape_memory,
        *comparison.about_compiled_memory,
    )
    items = "".join(f"<li>{escape(text)}</li>" for text in about)
    why = f"<h3>By cause, at the peak</h3>{table.causes(comparison).html()}<ul>{items}</ul>"
    return table.memory(comparison).html() + why + (arena if plan.placements else "")


def _acts(comparison: Comparison) -> str:
    """Show the demonstrations of what a graph and a tape cannot do."""
    return "".join(
        f'<div class="act"><h3><code>{escape(act.title)}</code></h3><div class="pair">'
        f'<div class="tape"><span class="soft">{BY_RUN}</span><pre>{escape(act.tape)}</pre>'
        f'</div><div class="graph"><span class="soft">{THEN_RUN}</span>'
        f"<pre>{escape(act.graph)}</pre></div></div><p>{escape(act.moral)}</p></div>"
        for act in comparison.acts
    )
