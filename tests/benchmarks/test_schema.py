"""Reports are written and read back whole; what is not a report is refused, with the place."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import schema
from benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.made_up import report, row


def test_a_report_reads_back_as_it_was_written():
    failed = replace(row("jax", [1e-3]), status="crashed", detail="why", rounds=(), memory=None)
    whole = report(row("staticgrad", [1e-3, 2e-3]), failed)
    assert schema.load(schema.dump(whole)) == whole
    with pytest.raises(ValueError, match="Out of range"):
        schema.dump(report(row("staticgrad", [1e-3], error=float("inf"))))
    data = json.loads(schema.dump(report(row("staticgrad", [1e-3]))))
    data["rows"][0]["rounds"][0]["dropped"].pop("mean")
    (found,) = schema.load(json.dumps(data)).rows
    assert found.rounds[0].dropped.mean is None


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
PAGES = sorted(RESULTS.glob("*.md"))


def test_each_file_stands_in_the_table():
    page = (RESULTS / "README.md").read_text("utf-8")
    named = set(re.findall(r"^\| `([\w.-]+)`", page, re.MULTILINE))
    assert named == {path.name for path in RESULTS.iterdir()} - {"README.md"}
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 2e6


def test_benchmarks_that_the_pages_name_exist():
    texts = "".join(path.read_text("utf-8") for path in [*PAGES, RESULTS.parent / "README.md"])
    named = set(re.findall(r"python -m benchmarks (\w+)", texts))
    assert len(named) > 8
    assert named - {"NAME"} <= BENCHMARKS.keys()
