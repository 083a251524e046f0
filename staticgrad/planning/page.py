"""A plan as one self-contained page: its figures, bytes over time, and where each block lies."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

from staticgrad.pictures.markup import byte_unit
from staticgrad.planning.placed import MemoryPlan, Runs, allocations
from staticgrad.planning.problem import Net

_WIDTH: Final = 960
_HEIGHT: Final = 320
_ROOM: Final = 80  # beside the picture, for bytes
_MARKS: Final = 4  # parts of the scale, at least, where there are as many bytes
_MOST_BLOCKS: Final = 4_000  # blocks that are drawn; a page of more is slow
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #667; --page: #fff; --once: #1f6fb5;
  --again: #c2571a; --room: #3c8a4e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6ea; --soft: #9aa; --page: #15171b;
  --once: #6db3f2; --again: #f0935a; --room: #7fca90; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
pre { white-space: pre-wrap; } .wide { overflow-x: auto; }
svg { width: 100%; min-width: 44rem; height: auto; }
svg .once { fill: var(--once); } svg .again { fill: var(--again); }
svg .room { fill: var(--room); } svg rect { stroke: var(--page); stroke-width: .5; }
svg .bound { stroke: var(--ink); stroke-dasharray: 4 3; }
svg text { fill: var(--soft); font-size: 12px; text-anchor: end; }
svg .scale { stroke: var(--soft); stroke-width: .5; } p { color: var(--soft); }
ol { columns: 18rem 3; font-size: .85em; } li.again { color: var(--again); }
"""


def plan_page(plan: MemoryPlan) -> str:
    """The page, as HTML text."""
    net = plan.net
    name = escape(net.problem.name)
    ran: set[int] = set()
    steps = []
    for step in plan.sequence:
        mark = ' class="again"' if step in ran else ""
        ran.add(step)
        steps.append(f"<li{mark}>{escape(_said(net, step))}</li>")
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{name}</title><style>{_STYLE}</style>",
            f"<h1>{name}</h1><pre>{escape(plan.summary())}</pre>",
            "<h2>The arena over time</h2>",
            "<p>A block is as wide as its life and as high as its bytes; orange ones were made by",
            "a step that ran before, green ones are workspace. The dashed line is the bound.</p>",
            *_picture(plan),
            "<h2>Steps</h2><p>What each makes, with its bytes; orange steps run again.</p><ol>",
            *steps,
            "</ol></html>\n",
        ]
    )


def _said(net: Net, step: int) -> str:
    """Return an op's name, the values that it makes and updates, and its source line."""
    op = net.ops[step]
    made = [f"{net.names[value]} ({net.sizes[value]:,})" for value in net.makes[step]]
    made += [f"{name} anew" for name in op.mutates]
    name = op.name if op.name == str(op.id) else f"{op.name} [{op.id}]"
    said = f"{name}: {', '.join(made)}" if made else name
    return f"{said} # {op.line}" if op.line else said


def _scale(height: int) -> Iterable[str]:
    """Lines across the picture at multiples of a power of two, with the bytes they stand for."""
    step = 1 << max((height // _MARKS).bit_length() - 1, 0)
    unit, size = byte_unit(step)
    for mark in range(0, height + 1, step):
        y = _HEIGHT - _HEIGHT * mark / max(height, 1)
        yield f'<line class="scale" x1="-6" x2="{_WIDTH}" y1="{y:.2f}" y2="{y:.2f}"/>'
        yield f'<text x="-10" y="{y + 4:.2f}">{mark // size} {unit}</text>'


def _picture(plan: MemoryPlan) -> Iterable[str]:
    runs = Runs(plan.net, plan.sequence)
    blocks = allocations(runs)
    across = _WIDTH / max(len(plan.sequence), 1)
    up = _HEIGHT / max(plan.height, 1)
    kinds = dict.fromkeys(blocks.workspaces.values(), "room")
    names = dict.fromkeys(kinds, "workspace")
    first: dict[int, int] = {}
    for (t, value), block in blocks.made.items():
        again = first.setdefault(plan.net.producer[value], t) < t
        kinds.setdefault(block, "again" if again else "once")
        names.setdefault(block, str(plan.net.names[value]))
    yield f'<div class="wide"><svg viewBox="{-_ROOM} -12 {_WIDTH + _ROOM} {_HEIGHT + 24}"'
    yield ' role="img" aria-label="blocks of the arena over the steps">'
    yield from _scale(plan.height)
    for block, kind in sorted(kinds.items())[:_MOST_BLOCKS]:
        size, offset = blocks.sizes[block], plan.offsets[block]
        if size:
            width = (blocks.last[block] - blocks.first[block] + 1) * across
            yield (
                f'<rect class="{kind}" x="{blocks.first[block] * across:.2f}"'
                f' y="{_HEIGHT - (offset + size) * up:.2f}" width="{width:.2f}"'
                f' height="{size * up:.2f}">'
                f"<title>{escape(names[block])}: {size:,} bytes</title></rect>"
            )
    y = _HEIGHT - plan.bound * up
    yield f'<line class="bound" x1="0" x2="{_WIDTH}" y1="{y:.2f}" y2="{y:.2f}"/></svg></div>'
