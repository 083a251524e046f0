"""The parts of the page that show the program itself: its lines, graph, passes, kernels, limits."""

from __future__ import annotations

import linecache
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import pairwise
from typing import Any, Final

from staticgrad.analysis.pass_report import Report
from staticgrad.building import is_package_file
from staticgrad.comparison import training
from staticgrad.comparison.report import Act, Anatomy, Comparison, StepCost
from staticgrad.ir.graph import Graph
from staticgrad.ir.graph_picture import GraphDrawing
from staticgrad.pictures.ladder import ladder
from staticgrad.pictures.markup import fold, nbytes, preformatted, seconds, table
from staticgrad.source import Location, Origin

_BAR: Final = 100  # percent of the column that the costliest line takes
_GAP: Final = 6  # lines between two that are used, at most, that are shown too
_MOST_LINES, _MOST_CHANGES = 400, 60
#: Characters of all kernels' sources that a page has, and of one.
_ALL_SOURCES, _ONE_SOURCE = 240_000, 24_000
_LINE: Final = re.compile(r"[^\s,\[\]]+:\d+")


def program(found: Comparison) -> str:
    """The lines of the program, each with what it costs, linked to the graph and the kernels."""
    anatomy = found.anatomy
    drawn = GraphDrawing(anatomy.graph, anatomy.runners)
    costs = _costs(anatomy.costs)
    most = max((sum(pair) for pair in costs.values()), default=1.0) or 1.0
    tokens: dict[str, list[str]] = defaultdict(list)
    for (_, short), band in drawn.places.items():
        tokens[short].append(drawn.bands[band].token)
    rows = []
    shown = [*_shown(anatomy.graph)]
    library = all(is_package_file(file) for file, _ in shown)
    module = fold("the module", preformatted(found.module), opened=library) if found.module else ""
    for file, lines in shown:
        name = file.replace("\\", "/").rpartition("/")[2]
        rows.append(f'<div><span class="file">{escape(name)}</span></div>')
        last, text = 0, {line: linecache.getline(file, line) for line in lines}
        margin = min((len(t) - len(t.lstrip()) for t in text.values() if t.strip()), default=0)
        for line in lines:
            if last and line != last + 1:
                rows.append('<div class="dark"><span class="at">…</span></div>')
            last, short = line, f"{name}:{line}"
            rows.append(_row(short, text[line][margin:], tokens, costs.get(short), most))
    return (
        '<h2 id="program">The program</h2>'
        '<p class="why">One program, run both ways. Beside a line stands what the compiled step '
        "spends on it: forward, and in the derivative that belongs to it; a kernel of several "
        "lines counts for each in equal parts. Point at a line to see its operations and kernels."
        "</p>"
        f'{module}<div class="source">{"".join(rows)}</div>'
    )


def _row(
    short: str,
    text: str,
    tokens: Mapping[str, list[str]],
    cost: tuple[float, float] | None,
    most: float,
) -> str:
    own = " ".join(tokens.get(short, ()))
    linked = f' data-id="s{escape(short)}" data-to="{own}"' if own else ' class="dark"'
    bar, said = "", ""
    if cost is not None:
        widths = [part / most * _BAR for part in cost]
        bar = f'<i class="f" style="width:{widths[0]:.1f}%"></i>'
        bar += f'<i class="b" style="width:{widths[1]:.1f}%"></i>'
        said = f' title="forward {seconds(cost[0])}, backward {seconds(cost[1])}"'
    number = short.rpartition(":")[2]
    return (
        f'<div{linked}><span class="at">{number}</span><span class="cost"{said}>{bar}</span>'
        f"<span>{escape(text.rstrip() or ' ')}</span></div>"
    )


def _costs(costs: Iterable[StepCost]) -> dict[str, tuple[float, float]]:
    """Seconds of each line, forward and beyond."""
    found: dict[str, tuple[float, float]] = {}
    for cost in costs:
        lines = list(dict.fromkeys(short for each in cost.lines for short in _LINE.findall(each)))
        for short in lines:
            forward, backward = found.get(short, (0.0, 0.0))
            part = cost.seconds / len(lines)
            found[short] = (forward, backward + part) if cost.phase else (forward + part, backward)
    return found


def _shown(graph: Graph) -> Iterator[tuple[str, list[int]]]:
    """The files and lines that nodes come from, with what stands between them."""
    used: dict[str, set[int]] = defaultdict(set)
    for node in graph.nodes:
        if not node.is_leaf or node.label == "":
            _use(node.origin, used)
    if len(used) > 1:  # the user's own files, without the step that trains a module
        used.pop(training.__file__, None)
    left = _MOST_LINES
    for file, lines in used.items():
        ordered = sorted(lines)
        whole = {*ordered}
        for one, two in pairwise(ordered):
            if two - one <= _GAP:
                whole.update(range(one, two))
        chosen = sorted(whole)[:left]
        left -= len(chosen)
        if chosen:
            yield file, chosen


def _use(origin: Location, used: dict[str, set[int]]) -> None:
    """Note the lines of an origin, and the one that begins the function that they stand in."""
    for place in origin.resolve().places:
        if linecache.getline(place.file, place.line):
            used[place.file].update(range(place.line, (place.end_line or place.line) + 1))
    for each in origin.places:
        if isinstance(each, Origin) and each[0].co_name.isidentifier():
            used[each[0].co_filename].add(each[0].co_firstlineno)


def graph(found: Comparison) -> str:
    """The graph as a picture that can be zoomed."""
    anatomy = found.anatomy
    drawn = GraphDrawing(anatomy.graph, anatomy.runners)
    nodes = sum(not node.is_leaf for node in anatomy.graph.nodes)
    picture = ladder(drawn.bands, drawn.boxes, drawn.edges, drawn.chips, "the graph of one step")
    return (
        '<h2 id="graph">Its graph</h2>'
        f'<p class="why">The {nodes:,} operations of one step, beside the lines that they come '
        "from: forward down the first column, the derivative beside it, updates in the third. A "
        "dashed edge is a value that is kept for the derivative: the memory of training."
        " Equal operations of a line are one box with their number. Ctrl and the wheel zoom,"
        " the mouse drags; a click keeps what is lit.</p>"
        '<div class="tools"><button data-zoom="1.25">larger</button>'
        '<button data-zoom="0.8">smaller</button><button data-zoom="fit">fit</button>'
        '<button data-zoom="full">full screen</button><span class="f">forward</span>'
        '<span class="b">backward</span><span class="u">update</span>'
        f'<span class="k">kernel</span></div><div class="canvas" tabindex="0">{picture}</div>'
        + fold(f"as text, {len(found.program.splitlines()):,} lines", preformatted(found.program))
    )


def passes(found: Comparison) -> str:
    """Describe what each pass did, with the lines it removed and added; then fusion."""
    anatomy = found.anatomy
    rows = []
    for report in anatomy.reports:
        counts = f"{report.nodes_before:,} to {report.nodes_after:,}"
        sizes = f"{nbytes(report.bytes_before)} to {nbytes(report.bytes_after)}"
        rules = ", ".join(f"{count}x {name}" for name, count in report.hits.items())
        if report.changed:
            rows.append((report.name, counts, sizes, rules))
    idle = [report.name for report in anatomy.reports if not report.changed]
    nothing = f" Nothing was left to do for {', '.join(dict.fromkeys(idle))}." if idle else ""
    changes = "".join(map(_changes, anatomy.reports))
    steps, kernels = len(anatomy.plan.steps), len(anatomy.kernels)
    dead = "".join(f"<p>{escape(line)}.</p>" for line in found.dead)
    return (
        '<h2 id="passes">What the passes did</h2>'
        '<p class="why">A tape has run each operation before it sees the next one. A graph is there'
        " as a whole: a pass reads it and gives another one that computes the same."
        f"{escape(nothing)}</p>{dead}"
        + table(("pass", "nodes", "bytes of all values", "rules that applied"), rows)
        + changes
        + '<h3>Fusion</h3><p class="why">At last neighbours become one kernel, whose values between'
        f" never reach memory: {steps} runs of {kernels} distinct kernels.</p>"
        + fold("why two neighbours are two", preformatted("\n".join(anatomy.apart) or "none are"))
    )


def _changes(report: Report) -> str:
    """The lines of the text that a pass took away and those that it put there, without numbers."""
    if not report.changed or not isinstance(report.before, Graph):
        return ""
    before, after = (Counter(_numberless(each)) for each in (report.before, report.after))
    gone, come = list((before - after).elements()), list((after - before).elements())
    lines = [f"- {line}" for line in gone[:_MOST_CHANGES]]
    lines += [f"  and {len(gone) - _MOST_CHANGES:,} more"] * (len(gone) > _MOST_CHANGES)
    lines += [f"+ {line}" for line in come[:_MOST_CHANGES]]
    lines += [f"  and {len(come) - _MOST_CHANGES:,} more"] * (len(come) > _MOST_CHANGES)
    title = f"{report.name}: {len(gone):,} lines went, {len(come):,} came"
    return fold(title, preformatted("\n".join(lines)))


def _numberless(program: Any) -> Iterator[str]:
    """The nodes of a graph as text, without the numbers that all nodes behind a change change."""
    for line in str(program).splitlines():
        if line.startswith("  %"):
            yield re.sub(r"%\d+", "%", line).strip().removeprefix("%: ")


def kernels(anatomy: Anatomy) -> str:
    """The steps with their times, and the source of each kernel."""
    spent: dict[str, float] = defaultdict(float)
    for cost in anatomy.costs:
        spent[cost.kernel] += cost.seconds
    whole = sum(spent.values()) or 1.0
    left, parts = _ALL_SOURCES, []
    for kernel in anatomy.kernels:
        own = spent.get(kernel.name, 0.0)
        most = min(_ONE_SOURCE, max(left, 0))
        left -= min(len(kernel.source), most)
        body = preformatted(kernel.source, most) if most > 1000 else "<p>left out: the page has"
        body += "" if most > 1000 else " enough of them; f.source has all.</p>"
        title = f"{kernel.name}  {100 * own / whole:.0f} %, {seconds(own)}: {kernel.label}"
        parts.append(
            f'<details data-id="{kernel.name}"><summary>{escape(title)}</summary>{body}</details>'
        )
    return (
        '<h2 id="kernels">Its kernels</h2><p class="why">What is really run, as the source that'
        " machine code is made of, with the part of the step's time that each takes.</p>"
        + "".join(parts)
    )


def acts(found: Comparison) -> str:
    """Show what a graph and a tape cannot do, by what really happened."""
    return (
        '<h2 id="limits">What either way cannot do</h2>'
        '<p class="why">Each of these was tried on this very program a moment ago.</p>'
        + "".join(map(_act, found.acts))
    )


def _act(act: Act) -> str:
    return (
        f'<div class="act"><h3><code>{escape(act.title)}</code></h3><div class="pair">'
        f'<div class="tape"><span class="soft">define by run</span><pre>{escape(act.tape)}</pre>'
        f'</div><div class="graph"><span class="soft">define then run</span>'
        f"<pre>{escape(act.graph)}</pre></div></div><p>{escape(act.moral)}</p></div>"
    )
