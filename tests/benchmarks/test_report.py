"""Figures, tables and Markdown, from made-up reports."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks.commands import BENCHMARKS, CATEGORIES
from benchmarks.harness import figures, schema
from benchmarks.harness.measure import summary
from benchmarks.harness.schema import Limits, Memory
from benchmarks.suite.compare import compare, text
from benchmarks.suite.report import show, to_markdown
from tests.benchmarks.made_up import report, row

FAST, SLOW = row("staticgrad", [1e-3, 1.1e-3, 1e-3]), row("jax", [2e-3, 2e-3, 2e-3])
FAILED = replace(row("torch", [1.0]), status="crashed", detail="it <b>fell</b>", rounds=())
WHOLE = report(FAST, SLOW, FAILED)


def test_figures():
    assert figures.seconds(FAST) == 1e-3
    assert figures.noise(FAST) == pytest.approx(0.05)
    assert figures.ratio(WHOLE, FAST) == pytest.approx(0.5)
    assert figures.ratio(WHOLE, SLOW) == 1.0  # the best peer itself
    assert figures.flops(FAST) == pytest.approx(1e11)
    assert figures.bandwidth(FAST) == pytest.approx(5e9)
    assert figures.start_seconds(FAST, cold=True) == pytest.approx(1.13)
    assert figures.start_seconds(row("a", [1.0]), cold=False) is None


def show_rows(*rows):
    target = io.StringIO()
    show(report(*rows), Console(file=target, width=250))
    return target.getvalue()


def columns(text, name):
    """The cells of a row by the heads of the table."""
    heads, *rows = [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith(("│", "┃"))
    ]
    return dict(zip(heads, next(cells for cells in rows if cells[0] == name), strict=True))


def test_a_column_of_ratios_has_one_divisor():
    middle = row("torch", [4e-3])
    text = show_rows(FAST, SLOW, middle)
    actual = {name: columns(text, name)["x best peer"] for name in ("staticgrad", "jax", "torch")}
    assert actual == {"staticgrad": "0.50", "jax": "1.00", "torch": "2.00"}
    actual = columns(show_rows(FAST, SLOW), "staticgrad")
    assert (actual["first cold"], actual["first warm"]) == ("1.13 s", "230 ms")
    assert actual["of it import"] == "100 ms"
    text = show_rows(FAST, SLOW, FAILED)
    assert "crashed: it <b>fell</b>" in text
    assert "0.50" in text
    assert "limits at 2 threads: 200 GFLOP/s float32" in text


def test_markdown_shows_losses_too():
    lines = to_markdown(WHOLE).splitlines()
    assert "| workload | one thread | staticgrad | jax | torch | ratio | kept | of limit |" in lines
    assert "| mlp | 1 ms | 1 ms | 2 ms | crashed | 0.50 | 0.50 | 100% |" in lines
    faster = row("staticgrad", [6e-4], threads=2)
    slow_rounds = [replace(r, kept=replace(r.kept, median=8.8e-4)) for r in faster.rounds]
    faster = replace(faster, rounds=tuple(slow_rounds))
    two_threads = to_markdown(report(FAST, faster, SLOW))
    assert "| mlp | 1 ms | 600 us | 2 ms | 0.30 | 0.40 | 83% |" in two_threads
    slower = to_markdown(report(row("staticgrad", [4e-3]), SLOW))
    assert "| mlp | 4 ms | 4 ms | 2 ms | 2.00 | 2.00 | 25% |" in slower


def test_the_command_reads_a_report(tmp_path, capsys):
    file = tmp_path / "report.json"
    file.write_text(schema.dump(WHOLE), encoding="utf-8")
    assert command.main(["--from", str(file), "--markdown"]) == 0
    assert "| mlp | 1 ms |" in capsys.readouterr().out
    lost = report(replace(FAST, status="wrong", rounds=()), SLOW)
    file.write_text(schema.dump(lost), encoding="utf-8")
    assert command.main(["--from", str(file), "--markdown"]) == 1


def test_the_command_lists_and_refuses_unknown_names(capsys):
    assert command.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert "blackscholes" in listed
    assert "staticgrad" in listed
    with pytest.raises(SystemExit, match="no workload is named 'nothing'"):
        command.main(["--workload", "nothing"])
    with pytest.raises(SystemExit, match="no benchmark is named 'nothing': suite, models, "):
        command.main(["nothing"])


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_module_with_a_command_is_a_benchmark_by_name(category):
    folder = Path(command.__file__).parent / category
    commands = {
        path.stem for path in folder.glob("*.py") if "\ndef main(" in path.read_text("utf-8")
    }
    assert commands - {"worker"} == CATEGORIES[category].commands.keys() - {"every_op"}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_shows_its_options(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main([name, "--help"])
    shown = "[NAME]" if name == "suite" else name
    assert f"usage: python -m benchmarks {shown}" in capsys.readouterr().out


# -- schema ----------------------------------------------------------------------------------------


def test_a_report_reads_back_as_it_was_written():
    failed = replace(row("jax", [1e-3]), status="crashed", detail="why", rounds=(), memory=None)
    written = report(row("staticgrad", [1e-3, 2e-3]), failed)
    assert schema.load(schema.dump(written)) == written
    with pytest.raises(ValueError, match="Out of range"):
        schema.dump(report(row("staticgrad", [1e-3], error=float("inf"))))
    data = json.loads(schema.dump(report(row("staticgrad", [1e-3]))))
    data["rows"][0]["rounds"][0]["dropped"].pop("mean")
    (actual,) = schema.load(json.dumps(data)).rows
    assert actual.rounds[0].dropped.mean is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=99), "version 1 is wanted, this is 99"),
        (lambda d: d.pop("rows"), "missing field 'rows'"),
        (lambda d: d.update(extra=1), "unknown field 'extra'"),
        (lambda d: d["rows"][0].update(threads="two"), r"rows\[0\].threads: 'two'"),
        (lambda d: d["rows"][0].update(status="fine"), r"rows\[0\].status: 'fine' is none of"),
        (lambda d: d["rows"][0].update(threads=True), r"rows\[0\].threads: True"),
        (lambda d: d["rows"][0]["rounds"][0].pop("busy"), r"rounds\[0\]: missing field 'busy'"),
        (lambda d: d.update(rows={}), "report.rows"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(change, message):
    data = json.loads(schema.dump(report(row("staticgrad", [1e-3]))))
    change(data)
    with pytest.raises(schema.SchemaError, match=message):
        schema.load(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(schema.SchemaError):
        schema.load(text)


RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


PAGES = sorted(RESULTS.rglob("*.md"))


def test_each_file_stands_in_the_table():
    page = (RESULTS / "README.md").read_text("utf-8")
    named = set(re.findall(r"^\| `([\w./-]+)`", page, re.MULTILINE))
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    assert named == {str(path.relative_to(RESULTS)) for path in files} - {"README.md"}
    assert {name.partition("/")[0] for name in named} <= CATEGORIES.keys()
    assert sum(path.stat().st_size for path in files) < 2e6


def test_benchmarks_that_the_pages_name_exist():
    texts = "".join(path.read_text("utf-8") for path in [*PAGES, RESULTS.parent / "README.md"])
    named = set(re.findall(r"python -m benchmarks (\w+)", texts))
    assert len(named) > 8
    assert named - {"NAME"} <= BENCHMARKS.keys()


# -- compare ---------------------------------------------------------------------------------------


def compare_rows(old, new):
    return compare(report(old), report(new))


def worse(comparison):
    return [change.what for change in comparison.changes if change.worse]


def drawn(center, spread, seed):
    """A row whose samples are drawn from a lognormal distribution, as times are."""
    random = np.random.default_rng(seed)
    base = row("staticgrad", [center] * 3)
    rounds = tuple(
        replace(r, dropped=summary(center * np.exp(random.normal(0, spread, 300))))
        for r in base.rounds
    )
    return replace(base, rounds=rounds)


@pytest.mark.parametrize("spread", [0.001, 0.01, 0.05, 0.2])
def test_the_same_distribution_is_never_slower(spread):
    for seed in range(20):
        actual = compare_rows(drawn(1e-3, spread, seed), drawn(1e-3, spread, seed + 100))
        assert worse(actual) == []


@pytest.mark.parametrize(("spread", "factor"), [(0.001, 1.06), (0.01, 1.1), (0.05, 1.2)])
def test_a_slower_distribution_is_caught(spread, factor):
    for seed in range(20):
        slow = drawn(1e-3 * factor, spread, seed + 100)
        assert worse(compare_rows(drawn(1e-3, spread, seed), slow)) == ["time per call"]


def test_one_more_planned_byte_is_caught():
    old = row("staticgrad", [1.0])
    actual = compare_rows(old, replace(old, memory=Memory(1, 2, 4097)))
    assert worse(actual) == ["planned bytes"]
    assert worse(compare_rows(old, replace(old, memory=Memory(9, 9, 4095)))) == []
    old = row("staticgrad", [1.0])
    actual = compare_rows(old, replace(old, status="wrong", detail="w is off", rounds=()))
    assert actual.worse
    assert "LOST    mlp staticgrad 1: wrong: w is off" in text(actual)


def disturb(quiet):
    return replace(quiet, rounds=tuple(replace(r, busy=0.5) for r in quiet.rounds))


ANOTHER = replace(report().machine, processor="another")


OTHERS = [row(f"peer{number}", [1.0]) for number in range(20)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (report(disturb(row("a", [1.0])), *OTHERS), report(row("a", [2.0]), *OTHERS)),
        (report(row("a", [1.0]), *OTHERS), report(disturb(row("a", [2.0])), *OTHERS)),
        # Many of the other rows were disturbed: the run is noisy.
        (report(row("a", [1.0]), *map(disturb, OTHERS)), report(row("a", [2.0]), *OTHERS)),
        (report(row("a", [1.0])),
         replace(report(row("a", [2.0])), limits=(Limits(1, 5e10, 1, 1),))),
        (report(row("a", [1.0])), replace(report(row("a", [2.0])), machine=ANOTHER)),
    ],
)  # fmt: skip
def test_a_difference_in_a_noisy_run_is_unsure(old, new):
    actual = compare(old, new)
    assert not actual.worse
    assert "unsure  mlp a 1: time per call 1 s -> 2 s" in text(actual)
    assert "measure both again on a quiet machine" in text(actual)
