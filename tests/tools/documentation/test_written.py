"""Pages and stubs that programs write, read without those programs and compared with the package.

That a file is what its generator writes, other tests say; a generator that leaves half of it out
passes them.
"""

import ast
import importlib
import inspect
import json
import re
import statistics
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from benchmarks.suite import pages
from passes.pipelines import LEVELS, PASSES, pipeline
from passes.rules.tables import TABLES
from staticgrad import xp
from staticgrad.errors import calls, hints
from staticgrad.exports import MODULES
from staticgrad.tools.documentation import names as other_names
from staticgrad.tools.documentation.site import GUIDE
from staticgrad.tools.lints import LINTS
from tests import peer_names
from tests.doors import cells
from tests.passes.golden_models import MODELS

ROOT = Path(__file__).parents[3]


def rows(text):
    """The cells of all lines of Markdown tables, of each that is no head and no rule."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = {k for k, line in enumerate(lines) if not line.strip("|-: ")}
    return [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for k, line in enumerate(lines)
        if k not in rules and k + 1 not in rules
    ]


# -- stubs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("home", ["staticgrad", "staticgrad.functions", "staticgrad.nn"])
def test_a_stub_names_the_objects_that_the_module_has(home):
    module = importlib.import_module(home)
    tree = ast.parse(Path(module.__file__).with_suffix(".pyi").read_text("utf-8"))
    objects, modules = {}, {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            source = importlib.import_module(node.module)
            objects |= {a.asname or a.name: getattr(source, a.name) for a in node.names}
        elif isinstance(node, ast.Import):
            modules |= {a.asname: a.name for a in node.names}
    for name, value in objects.items():
        public = getattr(module, name)  # a function perhaps with checks around that of its file
        same = public is value or inspect.unwrap(public) is inspect.unwrap(value)
        assert same, name
    assert all(map(find_spec, modules.values()))
    (listed,) = (ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign))
    assert sorted(listed) == sorted({*objects, *modules})
    assert {*listed} >= {*module.__all__} - {"__version__"}


@pytest.mark.slow
def test_files_of_namespaces_name_what_the_namespaces_have():
    for name, home in MODULES.items():
        path = ROOT / "staticgrad" / f"{name}.py"
        if home in ("passes", f"staticgrad.{name}", "staticgrad.xp"):
            continue
        nodes = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if
                 isinstance(n, ast.ImportFrom) and n.module == home]  # fmt: skip
        listed = [alias.asname for node in nodes for alias in node.names]
        assert sorted(listed) == sorted(importlib.import_module(home).__all__), name


def test_the_stub_of_the_array_api_has_the_parameters_of_its_functions():
    tree = ast.parse((ROOT / "staticgrad" / "xp.pyi").read_text("utf-8"))
    stubbed = {
        node.name.strip("_").lower(): node for node in tree.body if isinstance(node, ast.ClassDef)
    }
    extensions = [
        (getattr(xp, name), node.body, dir(getattr(xp, name))) for name, node in stubbed.items()
    ]
    assert {*stubbed} == {"fft", "linalg"}
    for owner, body, public in [(xp, tree.body, xp.__all__), *extensions]:
        stubs = {node.name: node.args for node in body if isinstance(node, ast.FunctionDef)}
        values = {n.target.id for n in body if isinstance(n, ast.AnnAssign)}
        assert {*public} <= {*stubs} | values, {*public} - {*stubs} - values
        for name, args in stubs.items():
            real = inspect.signature(getattr(owner, name)).parameters.values()
            by_kind = {kind: [p for p in real if p.kind is kind] for kind in inspect._ParameterKind}
            first = by_kind[0] + by_kind[1]
            assert [a.arg for a in args.posonlyargs + args.args] == [p.name for p in first], name
            assert len(args.defaults) == sum(p.default is not p.empty for p in first), name
            assert [a.arg for a in args.kwonlyargs] == [p.name for p in by_kind[3]], name
            has_default = [default is not None for default in args.kw_defaults]
            assert has_default == [p.default is not p.empty for p in by_kind[3]], name
            assert (args.vararg is not None, args.kwarg is not None) == (
                bool(by_kind[2]), bool(by_kind[4]),
            ), name  # fmt: skip


# -- pages of names --------------------------------------------------------------------------------


@pytest.mark.skipif(not np.__version__.startswith("2.4."), reason="the page is about NumPy 2.4")
def test_each_function_of_numpy_is_on_its_page_once_where_it_belongs():
    page = (GUIDE / "numpy.md").read_text("utf-8")
    covered, answered = page.split("## Covered")[1].split("Answered at once")
    at_once = answered.partition("\n")[0]
    missing = re.sub(r"\*\*.*?\*\*", "", page.split("## Missing, and why")[1])
    actual = [re.findall(r"`(\w+)`", text) for text in (covered, at_once, missing)]
    functions = {n for n in dir(np) if n in np.__all__ and inspect.isroutine(getattr(np, n))}
    functions |= {n for n in np.__all__ if isinstance(getattr(np, n), np.ufunc)}
    listed = [name for part in (actual[0], actual[2]) for name in part]
    assert sorted(listed) == sorted({*listed}), "once"
    assert functions - {*listed} - {*actual[1]} == set()
    assert f"Of the {len({*listed, *actual[1]})} functions" in page
    assert f", {len(actual[0])} take values" in page
    for name, ours in re.findall(r"`(\w+)` \(sg\.(\w+)\)", covered):
        assert name not in sg.__all__ or getattr(sg, name) is getattr(sg, ours), name
        assert ours in sg.__all__, name
    plain = {*actual[0]} - {name for name, _ in re.findall(r"`(\w+)` \(sg\.(\w+)\)", covered)}
    assert plain <= {*sg.__all__}


def plain_names(owner, name, signature=None):
    """The parameters of a function by Python's own words, or of PyTorch's from the signatures."""
    texts = signature or peer_names.signature_text(getattr(owner, name))
    return {text.partition("=")[0].lstrip("*"): text.partition("=")[2] for text in texts}


@pytest.mark.skipif(not peer_names.IS_ABOUT_THE_INSTALLED, reason="about another SciPy")
def test_rows_of_the_names_of_pytorch_and_scipy_say_what_signatures_have():
    """And whatever theirs takes, ours takes, unless a rule or the row says otherwise."""
    torch = json.loads(peer_names.SIGNATURES.read_text("utf-8"))
    page = peer_names.PAGE.read_text("utf-8")
    table = {(ours.strip("`"), theirs.strip("`")): text for ours, theirs, text in rows(page)}
    renamed = dict(re.findall(r"`(\w+)` for `(\w+)`", page.partition("| here |")[0]))
    renamed = {theirs: ours for ours, theirs in renamed.items()}
    assert renamed == peer_names.WORDS
    pairs = [(ours, theirs) for ours, theirs, *_ in peer_names.pairs()]
    assert {*table} <= {*pairs}
    assert page.splitlines()[2].startswith(f"{len(pairs)} functions")
    for ours, theirs in pairs:
        path, _, name = ours.rpartition(".")
        home, _, _ = theirs.rpartition(".")
        parameters = plain_names(peer_names.ROOMS[path][0], name)
        if home.startswith("torch"):
            their_parameters = plain_names(None, name, torch[theirs])
        else:
            their_parameters = plain_names(importlib.import_module(home), name)
        their_parameters = {renamed.get(n, n): default for n, default in their_parameters.items()}
        text = table.get((ours, theirs), "")
        parts = [part.strip() for part in text.split(";")]
        for part in parts:
            words = re.findall(r"`(\w+)`", part)
            if part.startswith("no "):
                assert [w for w in words if w not in their_parameters or w in parameters] == [], (
                    ours,
                    part,
                )
            elif part.startswith("besides "):
                assert [w for w in words if w not in parameters or w in their_parameters] == [], (
                    ours,
                    part,
                )
            elif part.startswith("order "):
                assert words == [n for n in parameters if n in words], (ours, part)
        gone = (
            {n for n in their_parameters if n not in parameters}
            - peer_names.GONE
            - peer_names.OPERANDS
        )
        first = [*their_parameters][:1]  # an operand, whose name is of no matter
        assert {n for n in gone if f"`{n}`" not in text} <= {*first, "y", "x"}, ours


def test_the_page_of_other_names_has_each_answer_beside_its_name():
    actual = {}
    for names, answer in rows(other_names.page()):
        for name in re.findall(r"`([^`]+)`", names):
            actual.setdefault(name, []).append(answer)
    tables = (hints.INSTEAD, hints.METHODS, hints.OF_TENSORS, hints.OF_MODULES,
              hints.OF_OPTIMIZERS, calls.ARGUMENTS)  # fmt: skip
    pairs = [(name, answer.replace("\n", "; ")) for t in tables for name, answer in t.items()]
    assert [name for name, answer in pairs if answer not in actual.get(name, [])] == []
    assert sum(map(len, actual.values())) == len(pairs)


# -- tables ----------------------------------------------------------------------------------------


def test_the_page_of_passes_has_all_rules_passes_levels_and_lints_once():
    page = (GUIDE / "passes.md").read_text("utf-8")
    first = [row[0].strip("`") for row in rows(page)]
    rules = {rule.name: rule for table in TABLES.values() for rule in table}
    for name in (*rules, *(p.name for p in PASSES), *LEVELS, *LINTS):
        expected = 1 + (name in rules and name in {p.name for p in PASSES})
        counted = sum(row == name for row in first)
        assert counted >= expected, name
    assert f"There are {len(rules)} rules." in page
    by_name = {row[0].strip("`"): row for row in rows(page) if len(row) == 5 and row[0][0] == "`"}
    assert by_name.keys() == rules.keys()
    for name, (_, kind, pattern, becomes, error) in by_name.items():
        assert (kind, error) == (rules[name].kind, rules[name].error or "-"), name
        assert pattern.strip("`") == repr(rules[name].pattern), name
        assert becomes, name
    for name, text in (row for row in rows(page) if row[0].strip("`") in LEVELS):
        assert str(pipeline(text.strip("`"))) == str(pipeline(name.strip("`")))


def test_nodes_of_the_models_on_the_page_of_passes_are_counted():
    page = (GUIDE / "passes.md").read_text("utf-8")
    figures = {row[0]: row[1:] for row in rows(page) if len(row) == 1 + len(MODELS)}
    for k, build in enumerate(MODELS.values()):
        graph = build()
        for actual, when in ((graph, "built"), (pipeline("O1")(graph), "after O1")):
            assert figures[f"nodes {when}"][k] == f"{len(actual.nodes):,}"


def test_the_page_of_doors_has_each_cell_of_the_grid():
    lines = [line for line in cells.GRID.read_text("utf-8").splitlines() if "|" in line]
    heads, *grid = [[c.strip() for c in line.split("|")] for line in lines if "open: " not in line]
    states = {(row[0], kind): s for row in grid for kind, s in zip(heads[1:], row[1:], strict=True)}
    actual, kinds = {}, []
    for line in cells.PAGE.read_text("utf-8").splitlines():
        if line.startswith("| |"):
            kinds = [cell.strip() for cell in line.split("|")[2:-1]]
        elif line.startswith("| "):
            door, *states_of_door = [cell.strip() for cell in line.split("|")[1:-1]]
            actual |= {
                (door, kind): state for kind, state in zip(kinds, states_of_door, strict=True)
            }
    assert actual == states


def test_the_readme_has_the_times_of_the_run_that_it_names():
    """Read from the data as they are: the least median of one and two threads, results held."""
    data = json.loads((ROOT / "benchmarks/results/suite/two-core-zen3.json").read_text("utf-8"))
    times = {}
    for row in data["rows"]:
        medians = [round_["kept"]["median"] for round_ in row["rounds"]]
        key = row["workload"], row["implementation"]
        times[key] = min(times.get(key, np.inf), statistics.median(medians))
    shown = [row for row in rows((ROOT / "README.md").read_text("utf-8")) if len(row) == 5]
    shown = [row for row in shown if row[0].startswith("`")]
    assert len(shown) >= 4
    for name, *cell, ratio in shown:
        actual = [times[name.strip("`"), who] for who in ("staticgrad", "jax", "torch")]
        assert [c.split()[1] for c in cell] == ["ms"] * 3
        stated = [float(c.split()[0]) for c in cell]
        assert stated == pytest.approx([1e3 * t for t in actual], rel=5e-3), name
        assert float(ratio) == pytest.approx(actual[0] / min(actual[1:]), abs=6e-3), name


@pytest.mark.parametrize("page", pages.PAGES)
def test_figures_of_the_pages_are_those_that_the_command_writes(page):
    text = (ROOT / page).read_text("utf-8")
    assert pages.with_figures(page, text, pages.read_settings()) == text


def test_figures_of_the_pages_are_replaced_and_the_rest_stays():
    text = "a 5 s\n<!-- figures: checks -->\nold\n<!-- end -->\nb\n"
    quick = {"tests": 12345, "seconds": 130, "machine": "M", "date": "2026-01-02"}
    line = "The quick tests are 12,345 and take 2 minutes on M (2 January 2026).\n"
    written = text.replace("old\n", line)
    assert pages.with_figures("CONTRIBUTING.md", text, {"quick_tests": quick}) == written
    with pytest.raises(SystemExit, match="expected"):
        pages.with_figures("README.md", text, {})


@pytest.mark.parametrize(
    ("output", "count"),
    [
        ("..\n24783 passed in 476.10s (0:07:56)\n", 24783),
        ("..\n7 passed, 2 skipped, 1 warning in 3.02s\nsys:1: ResourceWarning\n", 7),
        ("..\n1 failed, 7 passed in 3.02s\n", None),
        ("no tests ran in 0.02s\n", None),
    ],
)
def test_a_measurement_counts_the_tests_that_passed(output, count):
    assert pages.count_passed(output) == count


def test_figures_of_the_pages_are_not_older_than_the_release_before():
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    releases = re.findall(r"^## (\d+\.\d+)\.\d+", changes, re.MULTILINE)
    assert sg.__version__.startswith(f"{releases[0]}.")
    for what, version in pages.measured_versions(pages.read_settings()).items():
        assert version.rpartition(".")[0] in releases[:2], f"measure again: {what}"


def test_the_readme_says_how_long_the_first_compilation_takes():
    text = (ROOT / "README.md").read_text("utf-8")
    assert "The first `sg.compile` takes half a second to a second" in text
    (first,) = re.findall(r"first result, empty caches .*?\| (\d+) ms", text)
    assert 500 <= int(first) <= 1000


def test_the_changelog_begins_with_this_version_and_names_each_change_once():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    releases = [head for head in heads if head != "Unreleased"]
    assert heads[len(heads) - len(releases) :] == releases, "Unreleased is the first section"
    assert re.fullmatch(rf"{re.escape(sg.__version__)} \(\d{{4}}-\d\d-\d\d\)", releases[0])
    changes = [" ".join(item.split()) for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]
    assert [change for change in changes if changes.count(change) > 1] == []
