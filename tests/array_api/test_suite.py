"""The figures that the documentation has of the array API's public test suite.

The suite is no package: ``ARRAY_API_TESTS=FOLDER python -m pytest -m exhaustive tests/array_api``
runs a checkout of it (with the specification beside it, its submodule) on tensors and on values of
a graph (``graph_values.py``), and writes ``results.json``. ``skips.txt`` has what is left out, each
with its reason.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from staticgrad.tools.documentation.site import GUIDE
from tests.array_api import packages

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
EXAMPLES = 10
#: The namespaces that the suite runs on, by the arrays that they have.
NAMESPACES = {"tensors": "staticgrad.xp", "values": "tests.array_api.graph_values"}
VERSIONS = ("2025.12", "2024.12")


@pytest.mark.exhaustive
@pytest.mark.skipif("ARRAY_API_TESTS" not in os.environ, reason="needs a checkout of the suite")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("arrays", NAMESPACES)
def test_the_public_suite_passes(arrays, version, tmp_path):
    report = tmp_path / "report.json"
    suite = Path(os.environ["ARRAY_API_TESTS"])
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "tests.array_api.suite_plugin"),
        *("--disable-deadline", "--derandomize", f"--max-examples={EXAMPLES}", "-W", "ignore"),
        *(f"--skips-file={HERE / 'skips.txt'}", "-p", "no:cacheprovider", "--rootdir", str(suite)),
        *("--json-report", f"--json-report-file={report}", "array_api_tests"),
        *(["--disable-data-dependent-shapes"] if arrays == "values" else []),
    ]
    environment = {
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(suite)]),
        "ARRAY_API_TESTS_MODULE": NAMESPACES[arrays],
        "ARRAY_API_TESTS_VERSION": version,
    }
    run = subprocess.run(
        command, cwd=suite, env={**os.environ, **environment}, capture_output=True, text=True
    )
    summary = json.loads(report.read_text("utf-8"))["summary"]
    assert run.returncode == 0, run.stdout[-5000:]
    figures = {name: summary.get(name, 0) for name in ("passed", "failed", "skipped", "total")}
    results = json.loads(RESULTS.read_text("utf-8"))
    results["figures"][f"{arrays} {version}"] = figures
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


def test_the_page_has_the_figures_and_what_is_left_out():
    results = json.loads(RESULTS.read_text("utf-8"))
    page = (GUIDE / "array-api.md").read_text("utf-8")
    assert results["examples"] == EXAMPLES
    assert {*results["figures"]} == {f"{a} {v}" for a in NAMESPACES for v in VERSIONS}
    for name, figures in results["figures"].items():
        arrays, version = name.split()
        counts = " | ".join(f"{figures[of]:,}" for of in ("passed", "failed", "skipped", "total"))
        assert f"| {arrays} | {version} | {counts} |" in page
        assert figures["failed"] == 0
        assert figures["passed"] + figures["skipped"] == figures["total"]
    page = " ".join(page.split())
    reasons = re.findall(r"^# (.*)$", (HERE / "skips.txt").read_text("utf-8"), re.MULTILINE)
    reasons += re.findall(r'reason="(.*)"', (HERE / "suite_plugin.py").read_text("utf-8"))
    left_out = [reason.partition(":")[0].partition(". (")[0].rstrip(".") for reason in reasons[1:]]
    assert [name for name in left_out if name not in page] == []


def test_the_page_of_packages_has_each_call_and_the_guide_its_figures():
    page = packages.PAGE.read_text("utf-8")
    guide = " ".join((GUIDE / "array-api.md").read_text("utf-8").split())
    rows = re.findall(r"^\| `(\w.*?)` \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    calls = [
        [f"{module}.{' '.join(call.split())}" for module, text in table.items()
         for call in text.split(";")]
        for table in (packages.SCIPY, packages.SKLEARN)
    ]  # fmt: skip
    assert [name for name, _, _ in rows] == [*calls[0], *calls[1]]
    assert "WRONG" not in page
    of_scipy, of_sklearn = rows[: len(calls[0])], rows[len(calls[0]) :]
    right, writes = (
        sum(on_tensors.startswith(begin) for _, on_tensors, _ in of_scipy)
        for begin in ("right", "writes")
    )
    assert f"{right} of {len(of_scipy)} calls of SciPy" in guide
    assert f"{writes} stop at a write" in guide
    writes = sum(on_tensors.startswith("writes") for _, on_tensors, _ in of_sklearn)
    assert f"in {writes} of {len(of_sklearn)} calls" in guide
    assert f"{sum(row[2] == 'right' for row in of_scipy)} are right" in guide
