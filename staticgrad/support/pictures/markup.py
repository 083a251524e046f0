"""HTML text: escaped words, tables, folded parts, numbers for people, and one style for all of it.

A fragment contains its style and no script, so that a notebook can show it. Colours follow the
notebook's theme if it states one, else the reader's system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Final

#: Colours and type. A colour means one thing: ``f`` forward, ``b`` backward, ``u`` update, ``k`` a
#: kernel, ``q`` computed again; ``r`` define by run, ``t`` define then run; ``h`` kept for the
#: backward pass, ``g`` gradients, ``m`` temporaries; ``s1`` to ``s4`` parts of a start. Lines and
#: bars of other charts are ``a``, ``c``, ``d`` and ``e``.
STYLE: Final = """
.sg { color-scheme: light dark; --ink: var(--jp-content-font-color1, #1c1f23);
  --soft: var(--jp-content-font-color2, #5b6270); --rule: #d9dce3; --shade: #1c1f2340;
  --paper: var(--jp-layout-color0, var(--vscode-editor-background, #fff));
  --wash: #7f8ea01a; --f: #1f6fb5; --b: #c2571a; --u: #2e7d4f; --k: #7a4fb5; --w: #c2571a;
  --q: #c05299; --r: #454c58; --t: #0593a3; --h: #b8183f; --g: #94760a; --m: #9aa5b5;
  --s1: #c9cfda; --s2: #9fa9ba; --s3: #707c92; --s4: #4a5468;
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .sg { --ink: var(--jp-content-font-color1, #e6e6ea);
  --soft: var(--jp-content-font-color2, #a3abb8); --rule: #3a404b; --shade: #000c;
  --paper: var(--jp-layout-color0, var(--vscode-editor-background, #15171b));
  --f: #6db3f2; --b: #f0935a;
  --u: #7fca90; --k: #c3a1f0; --w: #f0935a; --q: #f0a0d0; --r: #c5cbd6; --t: #33cfdf;
  --h: #ff7a93; --g: #d9bd4a; --m: #77839a; --s1: #475063; --s2: #6a758b; --s3: #97a2b7;
  --s4: #cdd4e0; } }
.sg .scroll, .sg pre { overflow: auto; --cover: var(--paper); scrollbar-width: thin;
  background: linear-gradient(to right, var(--cover) 40%, transparent) left / 2rem 100% local,
    linear-gradient(to left, var(--cover) 40%, transparent) right / 2rem 100% local,
    linear-gradient(to right, var(--shade), transparent) left / .8rem 100% scroll,
    linear-gradient(to left, var(--shade), transparent) right / .8rem 100% scroll,
    linear-gradient(var(--cover) 40%, transparent) top / 100% 2rem local,
    linear-gradient(to top, var(--cover) 40%, transparent) bottom / 100% 2rem local,
    linear-gradient(var(--shade), transparent) top / 100% .8rem scroll,
    linear-gradient(to top, var(--shade), transparent) bottom / 100% .8rem scroll, var(--cover);
  background-repeat: no-repeat; } .sg .text { overflow-wrap: anywhere; }
.sg .phone { display: none; } @media (max-width: 40rem) { .sg .broad { display: none; }
  .sg .phone { display: block; } .sg .phone svg { width: 100%; } }
.sg table { border-collapse: collapse; font-size: .92em; background: none; color: inherit; }
.sg th, .sg td { text-align: left; padding: .28em .8em .28em 0; vertical-align: top;
  border-bottom: 1px solid var(--rule); background: none; }
.sg .n { text-align: right; font-variant-numeric: tabular-nums; }
.sg td.n { white-space: nowrap; } .sg th { vertical-align: bottom; }
.sg code, .sg pre { font: 12.5px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  color: inherit; }
.sg code { background: none; } .sg pre { max-height: 32em; margin: .4em 0; padding: .6em .8em;
  --cover: color-mix(in srgb, var(--paper), #7f8ea0 10%); border-radius: 6px; }
.sg summary { cursor: pointer; } .sg .soft { color: var(--soft); }
.sg svg { display: block; max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.sg svg text { fill: var(--ink); } .sg svg .axis { fill: var(--soft); }
.sg svg .code { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.sg svg .end { text-anchor: end; } .sg svg .middle { text-anchor: middle; }
.sg svg .small { font-size: 12px; fill: var(--soft); }
.sg svg .grid, .sg svg .band { stroke: var(--rule); fill: none; }
.sg svg .even { fill: var(--wash); stroke: none; }
.sg svg .pill rect { fill-opacity: .13; stroke-width: 1.2; }
.sg svg .pill.leaf rect { fill-opacity: 0; stroke-dasharray: 3 2; }
.sg svg .f rect { fill: var(--f); stroke: var(--f); }
.sg svg .b rect { fill: var(--b); stroke: var(--b); }
.sg svg .u rect { fill: var(--u); stroke: var(--u); }
.sg svg .k rect { fill: var(--k); stroke: var(--k); }
.sg svg .q rect { fill: var(--q); stroke: var(--q); }
.sg svg .edge { fill: none; stroke: var(--soft); stroke-opacity: .38; }
.sg svg .edge.kept { stroke: var(--h); stroke-opacity: .5; stroke-dasharray: 4 3; }
.sg svg .edge.far { stroke-opacity: .14; }
.sg svg polyline { fill: none; stroke-width: 2; }
.sg svg polyline.a { stroke: var(--w); } .sg svg polyline.e { stroke: var(--f); }
.sg svg polyline.c { stroke: var(--u); } .sg svg polyline.d { stroke: var(--k); }
.sg .chart .a:not(polyline) { fill: var(--w); } .sg .chart .e:not(polyline) { fill: var(--f); }
.sg .chart .c:not(polyline) { fill: var(--u); } .sg .chart .d:not(polyline) { fill: var(--k); }
.sg svg polyline.later { stroke-opacity: .45; } .sg svg .mark { stroke: var(--soft); }
.sg svg .span { fill: var(--t); fill-opacity: .12; } .sg svg .inbox { font-size: 11px; }
.sg svg polyline.r { stroke: var(--r); } .sg .chart .r:not(polyline) { fill: var(--r); }
.sg svg polyline.t { stroke: var(--t); } .sg .chart .t:not(polyline) { fill: var(--t); }
.sg svg polyline.h { stroke: var(--h); } .sg .chart .h:not(polyline) { fill: var(--h); }
.sg svg polyline.g { stroke: var(--g); } .sg .chart .g:not(polyline) { fill: var(--g); }
.sg svg polyline.m { stroke: var(--m); } .sg .chart .m:not(polyline) { fill: var(--m); }
.sg svg polyline.f { stroke: var(--f); } .sg .chart .f:not(polyline) { fill: var(--f); }
.sg svg polyline.b { stroke: var(--b); } .sg .chart .b:not(polyline) { fill: var(--b); }
.sg svg polyline.u { stroke: var(--u); } .sg .chart .u:not(polyline) { fill: var(--u); }
.sg svg polyline.q { stroke: var(--q); } .sg .chart .q:not(polyline) { fill: var(--q); }
.sg svg polyline.s1 { stroke: var(--s1); } .sg .chart .s1:not(polyline) { fill: var(--s1); }
.sg svg polyline.s2 { stroke: var(--s2); } .sg .chart .s2:not(polyline) { fill: var(--s2); }
.sg svg polyline.s3 { stroke: var(--s3); } .sg .chart .s3:not(polyline) { fill: var(--s3); }
.sg svg polyline.s4 { stroke: var(--s4); } .sg .chart .s4:not(polyline) { fill: var(--s4); }
.sg .chart svg { width: 100%; max-width: 44rem; } .sg svg .label { text-anchor: end; }
.sg .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr));
  gap: 1.2rem; margin: 1.2rem 0; }
.sg .figure { border-top: 3px solid var(--f); padding-top: .4rem; }
.sg .figure b { display: block; font-size: 1.8rem; line-height: 1.25; }
.sg .figure span { color: var(--soft); font-size: .9rem; }
"""

#: Width in pixels of a chart, and of a picture on a phone of 390 pixels.
CHART, _PHONE = 560, 364

#: The colour behind a page: light text on white is what a reader of dark pages would see else.
_PAPER: Final = (
    "html { background: #fff; }"
    " @media (prefers-color-scheme: dark) { html { background: #15171b; } }"
)


def document(title: str, body: str) -> str:
    """Return a page of its own that needs nothing else; ``title`` is text, ``body`` HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_PAPER}</style></head><body>{body}</body></html>\n"
    )


def fragment(*parts: str) -> str:
    """Return the parts below each other, with their style, for a notebook."""
    return f'<div class="sg"><style>{STYLE}</style>{"".join(parts)}</div>'


def flow(widths: Sequence[float], room: float, gap: float) -> list[tuple[float, int]]:
    """Lay out boxes of these widths row by row; return an offset and row for each."""
    x, row, offsets = 0.0, 0, []
    for width in widths:
        if x > 0 and x + width > room:
            x, row = 0.0, row + 1
        offsets.append((x, row))
        x += width + gap
    return offsets


def on_screens(draw: Callable[[int], str], width: int = CHART) -> str:
    """Return a picture drawn twice, ``width`` pixels wide and for a phone; the style shows one.

    ``draw`` takes a width in pixels.
    """
    return f'<div class="broad">{draw(width)}</div><div class="phone">{draw(_PHONE)}</div>'


def details(title: str, body: str, *, opened: bool = False) -> str:
    """A part that opens by a click; ``title`` is text, ``body`` HTML."""
    state = " open" if opened else ""
    return f"<details{state}><summary>{escape(title)}</summary>{body}</details>"


def text_block(text: str, most: int = 120_000) -> str:
    """Text as it is, cut where it is longer than ``most`` characters."""
    if len(text) > most:
        shown = text[:most].rpartition("\n")[0]
        left = text.count("\n") - shown.count("\n")
        text = f"{shown}\n... and {left:,} more lines"
    return f"<pre>{escape(text)}</pre>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of text, of a class of the style, with the text's lines."""
    return f"<p class={kind or 'text'}>{'<br>'.join(map(escape, text.splitlines()))}</p>"


def figure_boxes(figures: Iterable[tuple[str, str]]) -> str:
    """Return large figures side by side, each with what it is."""
    shown = "".join(
        f'<div class="figure"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in figures
    )
    return f'<div class="figures">{shown}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Write an HTML table; the columns of ``numbers`` are right-aligned."""
    right = set(numbers)

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if k in right else ''}>{escape(cell)}</{tag}>"
            for k, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{cells('th', heads)}</tr></thead>" if any(heads) else ""
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def text_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int]
) -> list[str]:
    """Write a table as plain text lines; the columns of ``numbers`` are right-aligned."""
    right = set(numbers)
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if k in right else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (heads, *rows)
    ]


def seconds(value: float) -> str:
    """``12.3 us``, ``4.56 ms``, ``7.89 s``: three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{value * 1e9:.0f} ns"


def nbytes(value: float) -> str:
    """``512 B``, ``1.50 KiB``, ``2.00 MiB``."""
    unit, size = byte_unit(value)
    return f"{_digits(value / size) if size > 1 else f'{value:.0f}'} {unit}"


def byte_unit(value: float) -> tuple[str, int]:
    """The unit in which so many bytes are read, and its bytes: an axis has that of its top."""
    units = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
    return next(((unit, size) for unit, size in units if value >= size), ("B", 1))


def number(value: float) -> str:
    """``950``, ``12.3 k``, ``4.56 M``, ``7.89 G``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{value:.0f}"


def ratio(value: float) -> str:
    """``3.40x``."""
    return f"{_digits(value)}x"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
