"""Pictures of a graph: its operations beside their lines.

A band of a graph's picture is a line of the program, with its scope; where there are too many, a
scope or a function. See ``ladder``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from staticgrad.language.ir.nodes import Node, ancestors
from staticgrad.language.ir.op import Constant, Input, ParameterLeaf
from staticgrad.language.ir.printer import GraphParts, op_text, print_graph
from staticgrad.support.pictures.ladder import WIDTH, Band, Box, Chip, Column, ladder
from staticgrad.support.pictures.markup import details, fragment, on_screens, paragraph, text_block
from staticgrad.support.pictures.shown import standalone
from staticgrad.support.pictures.texts import PrintedText
from staticgrad.support.records import dataclass
from staticgrad.support.source import Location, SourceLine, common_call, fold_call

#: Bands of a picture; boxes of a cell, from which on equal ones are one, and those that are drawn.
_MOST_BANDS: Final = 64
_ALIKE, _MOST_BOXES = 6, 18
Key = tuple[str, ...]
#: A part of a scope that a module made: its place, and its class.
_OF_MODULE: Final = re.compile(r"^(\S+) [A-Z]\w*$")


_COLOUR: Final = {"f": "", "b": ', color="#c2571a"', "u": ', color="#2e7d4f"'}


@dataclass(frozen=True)
class Runner:
    """A kernel that runs part of a graph: its name, its label, whether it is in the derivative."""

    name: str
    label: str
    phase: int
    origins: tuple[Location, ...]


def columns_of(graph: GraphParts) -> dict[Node, Column]:
    """Return each node's column in the picture of a graph: forward, backward or updates."""
    outputs = set(ancestors(graph.outputs.values()))
    backward = [node for node in graph.nodes if node.order]
    read = set(ancestors([arg for node in backward for arg in node.args]))
    columns: dict[Node, Column] = {}
    for node in graph.nodes:
        forward = node in outputs or node in read or node.is_leaf
        columns[node] = "b" if node.order else "f" if forward else "u"
    return columns


def graph_picture(graph: GraphParts, runners: Sequence[Runner] = ()) -> str:
    """Draw a graph in a box of a page; ``runners`` are the kernels that compute it."""
    return f'<div class="scroll">{GraphDrawing(graph, runners).html()}</div>'


def svg_file(graph: GraphParts) -> str:
    """The picture as a file of its own: with its colours, those of a light page."""
    return standalone(GraphDrawing(graph).svg())


def dot(graph: GraphParts) -> str:
    """Print a graph in Graphviz's DOT language; backward and update nodes have colours.

    The nodes of a called graph are a cluster.
    """
    number = {node: f"n{k}" for k, node in enumerate(graph.nodes)}
    columns = columns_of(graph)
    lines = [
        f"digraph {_quote(graph.name)} {{",
        '  node [shape=box, fontname="sans-serif", fontsize=10];',
    ]
    clusters: dict[str, list[str]] = {}
    for node, name in number.items():
        shown = ", ".join(map(str, node.types))
        label = _quote(f"{node.label or op_text(node.op, lambda body: body.name)}\n{shown}")
        style = ", style=dashed" if node.is_leaf else _COLOUR[columns[node]]
        call = common_call([node.origin.label])
        box = f"{name} [label={label}{style}];"
        if call:
            clusters.setdefault(call, []).append(box)
        else:
            lines.append(f"  {box}")
        lines += [f"  {number[value.node]} -> {name};" for value in node.args]
    for k, (call, boxes) in enumerate(clusters.items()):
        inner = [f"    {box}" for box in (f"label={_quote(call)};", *boxes)]
        lines += [f"  subgraph cluster{k} {{", *inner, "  }"]
    ends = [*graph.outputs.items(), *((f"{p.name} =", value) for p, value in graph.updates)]
    for k, (label, value) in enumerate(ends):
        lines.append(f"  out{k} [label={_quote(label)}, shape=plaintext];")
        lines.append(f"  {number[value.node]} -> out{k};")
    return PrintedText("\n".join([*lines, "}"]))


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def graph_html(graph: GraphParts) -> str:
    """Render a graph as HTML for a notebook: its picture and its text."""
    nodes = sum(not node.is_leaf for node in graph.nodes)
    summary = (
        f"graph {graph.name}: {nodes:,} operations, {len(graph.parameters):,} parameters, "
        f"results {', '.join(graph.outputs) or 'none'}"
    )
    return fragment(
        paragraph(summary),
        graph_picture(graph) if nodes else "",
        details("text", text_block(print_graph(graph))),
    )


class GraphDrawing:
    """A graph as bands, boxes, edges and chips."""

    def __init__(self, graph: GraphParts, runners: Sequence[Runner] = ()) -> None:
        self._graph, self._runners = graph, runners
        self._columns = columns_of(graph)
        self._lines = {node: fold_call(node.origin.resolve()) for node in graph.nodes}
        self.key = self._choose_key()
        self._readers: dict[Node, Node] = {}
        for node in graph.nodes:
            for arg in node.args:
                self._readers.setdefault(arg.node, node)
        self.number: dict[Key, int] = {}
        self.places: dict[tuple[str, str], int] = {}  # scope and line -> the number of its band
        self.bands: list[Band] = []
        self.boxes: list[Box] = []
        self._box_of: dict[Node, int] = {}
        shown = [
            node
            for node in graph.nodes
            if not isinstance(node.op, Constant) and (not node.is_leaf or node in self._readers)
        ]
        computed = [node for node in shown if not node.is_leaf]
        for node in sorted(computed, key=lambda n: self._columns[n] != "f"):  # forward lines first
            self._band_of(self._line(node))
        self._fill(shown)
        self.edges = self._edges()
        self.chips = [chip for chip, _, _ in self._chips()]

    def svg(self, width: int = WIDTH) -> str:
        """Draw the graph as SVG, at most ``width`` pixels wide."""
        title = f"graph {self._graph.name}"
        return ladder(self.bands, self.boxes, self.edges, self.chips, title, width)

    def html(self) -> str:
        """Draw the graph as HTML, for wide screens and phones."""
        return on_screens(self.svg, WIDTH)

    def _line(self, node: Node) -> SourceLine:
        """Return the line of a node; for a leaf, that of its first reader, where it is drawn."""
        return self._lines[self._readers[node] if node.is_leaf else node]

    def _choose_key(self) -> Callable[[SourceLine], Key]:
        """Choose how a graph's picture groups source lines : by line, function or scope."""
        lines = {(line.scope, line.short): line for line in self._lines.values()}
        ways: tuple[Callable[[SourceLine], Key], ...] = (
            lambda at: (at.scope, at.short),
            lambda at: (at.short,),
            lambda at: (at.scope, at.file, at.function),
            lambda at: (at.file, at.function),
        )
        for way in ways:
            if len({way(line) for line in lines.values()}) <= _MOST_BANDS:
                return way
        return lambda at: (at.file,)

    def _band_of(self, line: SourceLine) -> int:
        key = self.key(line)
        if key not in self.number:
            self.number[key] = len(self.bands)
            self.bands.append(_band(f"l{len(self.bands)}", key, line))
        self.places.setdefault((line.scope, line.short), self.number[key])
        return self.number[key]

    def _fill(self, nodes: Iterable[Node]) -> None:
        """Create the boxes of a graph's picture: one per node, or per group in crowded cells."""
        cells: dict[tuple[int, Column], list[Node]] = {}
        for node in nodes:
            cell = self._band_of(self._line(node)), self._columns[node]
            cells.setdefault(cell, []).append(node)
        for (band, column), cell_nodes in cells.items():
            own_chips = (entry for entry in self._chips() if entry[1] == band)
            chips = [c.token for c, _, phase in own_chips if bool(phase) == (column != "f")]
            links = (self.bands[band].token, *dict.fromkeys(chips))
            for group in _group_nodes(cell_nodes):
                for node in group:
                    self._box_of[node] = len(self.boxes)
                self.boxes.append(_box(group, band, column, links))

    def _chips(self) -> list[tuple[Chip, int, int]]:
        """Return the kernel labels beside each band of a graph's picture.

        Lines are known by base name and number, as graphs that were read from text have them.
        """
        chips: dict[tuple[int, str], tuple[Chip, int, int]] = {}
        for runner in self._runners:
            for origin in runner.origins:
                for place in map(fold_call, origin.resolve().places):
                    band = self.places.get((place.scope, place.short))
                    if band is not None:
                        chip = Chip(band, runner.name, runner.name, runner.label)
                        chips.setdefault((band, runner.name), (chip, band, runner.phase))
        return list(chips.values())

    def _edges(self) -> list[tuple[int, int]]:
        """Return the edges between boxes of a graph's picture: of a leaf, to its first reader."""
        edges: dict[tuple[int, int], None] = {}
        for node in self._graph.nodes:
            for arg in node.args:
                source = self._box_of.get(arg.node)
                target = self._box_of.get(node)
                near = not arg.node.is_leaf or self._readers[arg.node] is node
                if source is not None and target is not None and source != target and near:
                    edges[source, target] = None
        return list(edges)


def _band(token: str, key: Key, line: SourceLine) -> Band:
    """Return the band of a graph's picture for a source line, scope or function."""
    text = line.text.strip()
    if key[-1] == line.short:
        if line.scope and key[0] == line.scope:
            *outer, inner = line.scope.split("/")  # the class of the innermost module alone
            path = "/".join([*(_OF_MODULE.sub(r"\1", part) for part in outer), inner])
            return Band(token, f"{line.short}  {text}", path)
        return Band(token, line.short, text or line.short)
    return Band(token, line.short.rpartition(":")[0], f"{line.function or line.short}()")


def _group_nodes(nodes: Sequence[Node]) -> list[list[Node]]:
    """Group the nodes of a picture's cell: singly; if many, equal ones; at last by op name."""
    if len(nodes) <= _ALIKE:
        return [[node] for node in nodes]
    ways: tuple[Callable[[Node], object], ...] = (
        lambda n: (n.is_leaf, _name(n) if not n.is_leaf else type(n.op), str(n.types[0])),
        lambda n: (n.is_leaf, type(n.op)),
    )
    groups: dict[object, list[Node]] = {}
    for way in ways:
        groups = {}
        for node in nodes:
            groups.setdefault(way(node), []).append(node)
        if len(groups) <= _MOST_BOXES:
            break
    return list(groups.values())


def _name(node: Node) -> str:
    return node.label if node.is_leaf else node.op.name


def _box(group: Sequence[Node], band: int, column: Column, links: tuple[str, ...]) -> Box:
    """Make the box of one or more equal nodes in the picture of a graph."""
    first = group[0]
    kinds = list(dict.fromkeys(str(node.types[0]) for node in group))
    note = kinds[0] if len(kinds) == 1 else f"{len(kinds)} types"
    name = _name(first)
    if first.is_leaf and len(group) > 1:
        name = "parameter" if isinstance(first.op, ParameterLeaf) else "input"
    listed = ", ".join(dict.fromkeys(map(_name, group)))
    title = f"{listed}: {', '.join(kinds[:6])} from {first.origin.resolve().label}"
    is_leaf = isinstance(first.op, Input | ParameterLeaf)
    return Box(band, column, name, note, len(group), is_leaf, title, links)
