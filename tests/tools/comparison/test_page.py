"""The page by a parser: what it has, that it stands alone, that its links lead somewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64encode
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.comparison import Comparison, compare
from staticgrad.comparison.page import page
from staticgrad.support.pictures.charts import Line, bars, lines
from staticgrad.support.pictures.ladder import Band, Box, Chip, ladder
from staticgrad.support.pictures.markup import STYLE, document

X = np.random.default_rng(0).normal(size=(12, 5)).astype("float32")
CLASSES = np.arange(12) % 3


class Net(sg.nn.Module):
    def __init__(self) -> None:
        self.up, self.down = sg.nn.Linear(5, 6), sg.nn.Linear(6, 3)

    def forward(self, x):
        hidden = sg.tanh(self.up(x))
        return self.down(hidden)


class Reader(HTMLParser):
    """The elements of a page: tags that are open, names, links, texts by tag."""

    VOID = ("meta", "br", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.anchors: set[str] = set()
        self.linked: set[str] = set()
        self.targets: set[str] = set()
        self.texts: dict[str, list[str]] = {}
        self.kinds: dict[str, int] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        attributes = dict(attrs)
        self.anchors.update([attributes["id"]] if "id" in attributes else [])
        self.ids += [attributes["data-id"]] if attributes.get("data-id") else []
        self.targets.update((attributes.get("data-to") or "").split())
        if attributes.get("href", "").startswith("#"):
            self.linked.add(attributes["href"][1:])
        for name in (attributes.get("class") or "").split():
            self.kinds[name] = self.kinds.get(name, 0) + 1

    def handle_startendtag(self, tag: str, attrs) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def test_series_of_a_chart_have_different_colours():
    """Each class has one colour, and the first classes of lines and bars four."""
    stroke = re.findall(r"polyline\.(\w+) \{ stroke: var\((--\w+)\)", STYLE)
    fill = re.findall(r"\.chart \.(\w+):not\(polyline\) \{ fill: var\((--\w+)\)", STYLE)
    colours = dict(stroke)
    assert len(colours) == len(stroke) > 10
    assert sorted(stroke) == sorted(fill)
    values = dict(re.findall(r"(--\w+): (#\w+)", STYLE.partition("@media")[0]))
    series = [Line(f"line {k}", [(1.0, 2.0), (2.0, 3.0)]) for k in range(4)]
    for chart, mark in (
        (lines(series, "x", "y"), "polyline"),
        (bars([(f"bar {k}", k + 1.0) for k in range(4)], str, "bars"), "rect"),
    ):
        kinds = re.findall(rf'<{mark} class="(\w+)"', chart)
        assert len({values[colours[kind]] for kind in kinds}) == len(kinds) == 4


def test_debugging_is_one_folded_row(comparison: Comparison) -> None:
    """The NaN is named at a line of the model in both ways; the row says in how many actions."""
    assert comparison.debugging is not None
    assert comparison.debugging.holds
    assert {"a NaN", "the value and the gradient"} <= {h.what for h in comparison.debugging.hunts}
    text = page(comparison)
    summary = escape(comparison.debugging.summary)
    assert (
        f"<details><summary>Debugging: a mistake is planted, and looked for each way. {summary}"
        in text
    )
    assert "a NaN 2 and 2" in summary
    assert "log makes NaN out of finite numbers" in text
    assert comparison.as_json()["debugging"]["hunts"][0]["by_run"]["found"] is True


@pytest.fixture(scope="module")
def net() -> Net:
    return Net()


@pytest.fixture(scope="module")
def comparison(net: Net) -> Comparison:
    state_before = net.state_dict()
    compared = compare(net, X, CLASSES, batches=[6], seconds=0.0)
    state_after = net.state_dict()
    assert all(np.array_equal(state_before[name], state_after[name]) for name in state_before)
    return compared


@pytest.mark.slow
def test_a_module_is_compared(comparison: Comparison) -> None:
    assert comparison.holds, comparison.agreement.problem
    assert (comparison.model, comparison.batch_size, comparison.parameters) == ("Net", 12, 57)
    assert [pair.at for pair in comparison.batches] == [6, 12]
    lines = {line for cost in comparison.anatomy.costs for line in cost.lines}
    assert any("up Linear" in line for line in lines), "modules are scopes"
    assert comparison.timelines[0].name == "tape"
    tape = comparison.timelines[0].nbytes
    assert max(tape) >= comparison.memory.tape > 0  # Python's objects, too
    for timeline in comparison.timelines[1:]:
        assert max(timeline.nbytes) <= comparison.memory.arena[timeline.name]
        assert len(timeline.phases) == len(timeline.nbytes)


@pytest.mark.slow
def test_the_page_stands_alone(comparison: Comparison) -> None:
    text = page(comparison)
    reader = Reader(text)
    assert reader.open == []
    assert not re.search(r'(src|href)="?[^#"]|@import|url\(|https?://(?!www.w3.org)', text)
    assert reader.linked <= reader.anchors
    assert len(text) < 1_000_000
    for svg in re.findall(r"<svg.*?</svg>", text, re.S):
        assert "nan" not in svg.lower()
        ElementTree.fromstring(svg)


#: What a browser of some width says of the page: the widest that is cut, letters outside of their
#: picture, and what lights where it is pointed at or tapped.
PROBE = """<script>
  const box = document.createElement("iframe");
  box.style.cssText = "border:0;height:3000px;width:%dpx";
  box.srcdoc = decodeURIComponent(escape(atob("%s")));
  box.onload = () => {
    const page = box.contentDocument, shown = e => e.getClientRects().length > 0;
    const pictures = [...page.querySelectorAll("svg")].filter(shown);
    const outside = pictures.flatMap(svg => [...svg.querySelectorAll("text")].filter(text => {
      const a = text.getBoundingClientRect(), b = svg.getBoundingClientRect();
      return a.right > b.right + 1 || a.left < b.left - 1;
    }).map(text => text.textContent));
    const wide = pictures.map(svg => svg.getBoundingClientRect().width);
    const pill = [...page.querySelectorAll(".pill.k")].find(shown);
    const lit = () => page.querySelectorAll(".lit").length;
    pill.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
    const pointed = lit();
    const line = page.querySelector(".source [data-id]");
    line.click();
    const told = page.querySelector(".note").textContent, kept = lit();
    pill.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
    const still = lit() === kept;
    line.click();
    document.title = JSON.stringify({
      page: page.documentElement.scrollWidth, wide: Math.max(...wide), outside, pointed, told,
      still, after: lit(), pictures: pictures.length});
  };
  document.body.append(box);
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(comparison: Comparison, tmp_path: Path, width: int) -> None:
    """Nothing of a picture is cut, on a phone neither; pointing and tapping light what belongs."""
    text = b64encode(page(comparison).encode()).decode()
    probe = document("waits", PROBE % (width, text))
    (tmp_path / "page.html").write_text(probe, encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run(
        [*command, f"--user-data-dir={tmp_path}", "--virtual-time-budget=5000",
         "--window-size=1400,3200", f"file://{tmp_path}/page.html"],
        check=True, capture_output=True, timeout=120, text=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    probed = json.loads(unescape(title[1]))
    assert probed["page"] <= width
    assert probed["wide"] <= width
    assert probed["outside"] == []
    assert probed["pictures"] > 6
    assert probed["pointed"] > 3
    assert "hidden = sg.tanh(self.up(x))" in probed["told"]
    assert "tanh" in probed["told"].replace("sg.tanh", "")
    assert probed["still"], "what is tapped stays lit"
    assert probed["after"] == 0


def test_names_of_lines_that_are_long_are_above_the_chart():
    """Beside the lines of a wide chart, and of a phone's above them; all are inside."""
    series = [Line(f"a line of a long name {k}", [(1.0, 2.0), (300.0, 3.0)]) for k in range(3)]
    for width, is_beside in ((1000, True), (364, False)):
        texts = [
            (float(e.get("x") or 0), float(e.get("y") or 0), e.text or "")
            for e in ElementTree.fromstring(lines(series, "x", "y", width=width)).iter()
            if e.tag.endswith("text")
        ]
        names = [text for text in texts if text[2].startswith("a line")]
        assert len(names) == 3
        assert all(x > width / 2 for x, _, _ in names) == is_beside
        assert all(x + 6 * len(text) <= width for x, _, text in names)
        assert is_beside or max(y for _, y, _ in names) < 80


def test_columns_of_a_narrow_graph_are_below_each_other():
    """Whatever the width is, boxes are inside of it, and do not overlap."""
    columns = ("f", "b", "u")
    cells = [Box(k % 4, columns[k % 3], f"operation {k}", "f32[64, 256]") for k in range(36)]
    bands = [Band(f"l{k}", f"train.py:{k}", "x = linear(x)") for k in range(4)]
    chips = [Chip(k % 4, f"k{k}", f"k{k}") for k in range(12)]
    for width in (320, 364, 700, 1120):
        root = ElementTree.fromstring(ladder(bands, cells, [], chips, width=width))
        boxes = [
            [float(e.get(name) or 0) for name in ("x", "y", "width", "height")]
            for e in root.iter() if e.tag.endswith("rect") and e.get("rx")
        ]  # fmt: skip
        assert len(boxes) == 48
        assert all(x >= 0 and x + w <= width for x, _, w, _ in boxes)
        for k, (x, y, w, h) in enumerate(boxes):
            for x2, y2, w2, h2 in boxes[k + 1 :]:
                assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_every_page_is_dark_where_its_reader_is() -> None:
    """Text is light there: on white paper nobody could read it."""
    text = document("a page", "")
    assert "@media (prefers-color-scheme: dark) { html { background: #15171b; } }" in text


def test_lines_of_the_graph_end_ahead_of_the_boxes() -> None:
    line = "train.py:16 return x + self.down(sg.nn.gelu(self.up(self.norm2(x)))) + self.bias"
    picture = ladder([Band("l0", line, line)], [Box(0, "f", "mul", "f32[3]")], [])
    root = ElementTree.fromstring(picture)
    (box,) = (e for e in root.iter() if e.tag.endswith("rect") and e.get("rx"))
    small = next(e for e in root.iter() if e.get("class") == "small")
    assert small.text is not None
    assert small.text.startswith("train.py:16 return")
    assert 8 + 6.5 * len(small.text) < float(box.get("x") or 0)
