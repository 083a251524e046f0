"""The documentation: programs print what stands there, links lead somewhere, names are found."""

import json
import re

import pytest

import staticgrad as sg
from passes.remat import search
from staticgrad import errors
from staticgrad.errors import calls, hints
from staticgrad.exports import MODULES
from staticgrad.tools import documentation
from staticgrad.tools.documentation import reference
from staticgrad.tools.documentation.site import GUIDE
from tests.page_programs import NEEDS, outputs, pictures, programs
from tests.tools.documentation.pages_by_lines import read_by_lines
from tests.tools.test_cli import answer, invoke

GUIDES = sorted(GUIDE.glob("*.md"))
#: Programs without an output of their own: what they show, other tests run.
OTHERS = {"passes"}
#: What readers have; other tests plan budgets with a part of it.
EFFORT = search.EFFORT
TITLE = re.compile(r"<svg.*?<title>([^<]+)", re.DOTALL)
ADDRESSES = [name for named in documentation.titles().values() for name in named]


@pytest.mark.thinned(4)
@pytest.mark.parametrize(
    "page", [p for p in GUIDES if programs(p) and p.stem not in OTHERS], ids=lambda p: p.stem
)
def test_programs_print_what_the_page_says(page, monkeypatch):
    """``python -m tests.page_programs PAGE`` writes what they print."""
    monkeypatch.setattr(search, "EFFORT", EFFORT)
    pytest.importorskip(NEEDS.get(page.stem, "numpy"))
    page_programs = programs(page)
    drawn = []
    printed = outputs([source for source, _ in page_programs], drawn)
    for html, picture in zip(drawn, pictures(page), strict=True):
        assert (html is None) == (picture is None), "the page shows what a program draws"
        if picture is not None:
            text = picture.read_text("utf-8")
            assert TITLE.search(text)[1] == TITLE.search(html)[1]
            shown = re.search("<svg.*?</svg>", html, re.DOTALL)[0]
            assert text.count("<rect") == shown.count("<rect")
    for lines, (_, text) in zip(printed, page_programs, strict=True):
        assert [line.rstrip() for line in lines.rstrip().splitlines()] == text.rstrip().splitlines()


@pytest.mark.parametrize("name", documentation.CONTENTS["Cookbook"][1:])
def test_a_recipe_is_short_and_checks_its_result(name):
    text = "".join(source for source, _ in programs(GUIDE / f"{name}.md"))
    assert len([line for line in text.splitlines() if line.strip()]) <= 60
    assert "assert np." in text or "bitwise identical" in text
    assert f"({name}.md)" in documentation.page("cookbook")


def test_guides_codes_and_names_are_listed():
    listed = {name for named in documentation.CONTENTS.values() for name in named}
    assert {page.stem for page in GUIDES} <= listed
    assert len(listed) == sum(map(len, documentation.CONTENTS.values()))
    assert invoke("docs").stdout.split()[0] == "index"
    assert set(answer("docs")["Learn"]) == set(documentation.CONTENTS["Learn"])
    codes, names = documentation.page("errors"), documentation.page("other-names")
    assert [code for code in errors.CODES if f"\n## {code}\n" not in codes] == []
    spellings = [*hints.INSTEAD, *hints.METHODS, *hints.OF_TENSORS, *calls.ARGUMENTS]
    assert [name for name in spellings if f"`{name}`" not in names] == []


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_links_and_names_of_a_page_lead_somewhere(page):
    text = page.read_text("utf-8")
    words = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)#]+)\)", words)
    links = [(image, link) for image, link in links if "://" not in link]
    assert [link for image, link in links if not image
            and link.removesuffix(".md") not in ADDRESSES] == []  # fmt: skip
    assert [link for image, link in links if image and not (GUIDE / link).is_file()] == []
    for path in re.findall(r"\bsg\.(\w\w+(?:\.\w+)?)", re.sub(r"\]\([^)]*\)", "]", text)):
        value = sg
        for part in path.split("."):
            value = getattr(value, part)
    assert set(re.findall(r"\bSG\d{3}\b", text)) <= set(errors.CODES)


def test_a_name_is_found_as_people_type_it():
    for typed in ("sg.nn.gelu", "nn.gelu", "gelu"):
        assert documentation.page(typed).startswith("## sg.nn.gelu\n")
    assert "f16, f32, f64: `T[n, 3]` gives `T[n, 3]`" in documentation.page("exp")
    assert "`T[n, 3], T[n, 3]` gives `bool[n, 3]`" in documentation.page("sg.less")
    assert answer("docs", "sg.exp")["markdown"] == documentation.page("exp")
    with pytest.raises(sg.StaticgradError, match=r"SG106[\s\S]*did you mean 'first-gradient'"):
        documentation.page("first-gradiant")
    assert "SG106" in invoke("docs", "nothing.like.it").stderr


def test_every_public_name_is_on_one_page_of_the_reference():
    names = [
        f"{path}.{name}"
        for _, path, names_of_room in reference.rooms().values()
        for name in names_of_room
    ]
    assert len(names) == len(set(names)) > 500
    elsewhere = {name for name in sg.__all__ if f"sg.{name}" not in names}
    assert elsewhere == {"__version__", *MODULES}


def test_pages_of_the_reference_are_short_and_their_names_are_listed_by_subject():
    rooms = reference.rooms()
    assert {
        name: len(names_of_room)
        for name, (*_, names_of_room) in rooms.items()
        if len(names_of_room) > 45
    } == {
        "xp": len(sg.xp.__all__)  # most are listed as those of sg
    }
    assert len(documentation.page("reference/xp")) < 40_000
    index = documentation.page("reference/nn")
    assert re.findall("^## (.*)", index, re.MULTILINE)[1].startswith("Convolutions")
    assert "| [`Conv1d`](nn/convolutions.md#sg.nn.Conv1d) | The cross-correlation of" in index
    linked = re.findall(r"\.md#(sg\.nn\.\w+)\)", index)
    assert sorted(linked) == sorted(f"sg.nn.{name}" for name in sg.nn.__all__)


def test_a_docstring_is_read_in_parts_and_its_imports_are_added():
    text = """Twice ``x``.

More of it,
in two lines.

Args:
    x: a value that is
        long.
    *more: others.

Returns: the value.

Raises:
    ShapeError, RankError: a shape.

>>> 1 + 1
2
"""
    shown = reference.markdown(text)
    assert shown.startswith("Twice `x`.\n\nMore of it,\nin two lines.\n\n")
    assert re.findall(r"\*\*(\w+)\*\*", shown) == ["Args", "Returns", "Raises"]
    assert "- `x`: a value that is long.\n- `*more`: others." in shown
    assert shown.endswith("- `ShapeError, RankError`: a shape.\n\n```python\n>>> 1 + 1\n2\n```")
    shown = reference.markdown("Twice.\n\n>>> sg.exp(np.ones(2))\n")
    assert ">>> import numpy as np\n>>> import staticgrad as sg\n>>> sg.exp(" in shown
    docstring = "Twice.\n\n>>> import staticgrad as sg\n>>> sg.exp(1.0)\n"
    assert reference.markdown(docstring).count("import") == 1


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path, monkeypatch):
    pytest.importorskip("material")
    monkeypatch.setattr(reference, "dtypes", lambda value: "")  # which takes most of the time
    result = invoke("docs", "--site", str(tmp_path / "site"))
    assert result.exit_code == 0, result.output
    for address in ADDRESSES:
        text = (tmp_path / "site" / f"{address}.html").read_text("utf-8")
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?//', text)
        assert loaded == [], "it reads without a network"
        assert 'data-md-color-scheme="slate"' in text, "it has a dark mode"
        assert '<script src="' + "../" * address.count("/") + 'iframe-worker.js">' in text
    for page in GUIDES:  # each heading, program and picture, counted in the Markdown by lines
        text = (tmp_path / "site" / f"{page.stem}.html").read_text("utf-8")
        programs, words = read_by_lines(page)
        assert text.count("<h2 ") == sum(line.startswith("## ") for line in words), page.stem
        assert text.count('class="language-python') == len(programs), page.stem
        for *_, picture in programs:
            assert not picture or f'src="{picture}"' in text
    for picture in GUIDE.glob("pictures/*.svg"):
        assert (tmp_path / "site" / "pictures" / picture.name).read_bytes() == picture.read_bytes()
    index = json.loads((tmp_path / "site" / "search" / "search_index.json").read_text("utf-8"))
    places = {document["location"] for document in index["docs"]}
    recurrent = "reference/nn/recurrent.html"
    assert {f"{recurrent}#sg.nn.gru", f"{recurrent}#sg.nn.GRU"} <= places


def test_a_folder_of_markdown_has_what_mkdocs_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "staticgrad.tools.documentation.site.pages", lambda: {"reference/nn": "# A"}
    )
    assert answer("docs", "--write", str(tmp_path))["written"] == str(tmp_path / "mkdocs.yml")
    assert (tmp_path / "pages" / "reference" / "nn.md").read_text() == "# A"
    assert '"nav"' in (tmp_path / "mkdocs.yml").read_text()
