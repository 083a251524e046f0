"""The figures that the documentation has of the array API's public test suite.

The suite is no package: ``ARRAY_API_TESTS=FOLDER python -m pytest -m exhaustive tests/array_api``
runs a checkout of it (with the specification beside it, its submodule) on ``sg.xp`` and writes
``results.json``. ``skips.txt`` has what is left out, each with its reason.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from staticgrad.tools.documentation.site import GUIDE

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
EXAMPLES = 10


@pytest.mark.exhaustive
@pytest.mark.skipif("ARRAY_API_TESTS" not in os.environ, reason="needs a checkout of the suite")
def test_the_public_suite_passes(tmp_path):
    report = tmp_path / "report.json"
    suite = Path(os.environ["ARRAY_API_TESTS"])
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "tests.array_api.suite_plugin"),
        *("--disable-deadline", "--derandomize", f"--max-examples={EXAMPLES}", "-W", "ignore"),
        *(f"--skips-file={HERE / 'skips.txt'}", "-p", "no:cacheprovider", "--rootdir", str(suite)),
        *("--json-report", f"--json-report-file={report}", "array_api_tests"),
    ]
    environment = {
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(suite)]),
        "ARRAY_API_TESTS_MODULE": "staticgrad.eager.xp",
        "ARRAY_API_TESTS_VERSION": "2025.12",
    }
    run = subprocess.run(
        command, cwd=suite, env={**os.environ, **environment}, capture_output=True, text=True
    )
    summary = json.loads(report.read_text("utf-8"))["summary"]
    assert run.returncode == 0, run.stdout[-5000:]
    figures = {name: summary.get(name, 0) for name in ("passed", "failed", "skipped", "total")}
    RESULTS.write_text(json.dumps({"version": "2025.12", "examples": EXAMPLES, **figures}) + "\n")


def test_the_page_has_the_figures_and_what_is_left_out():
    figures = json.loads(RESULTS.read_text("utf-8"))
    page = " ".join((GUIDE / "array-api.md").read_text("utf-8").split())
    sentence = f"{figures['passed']:,} tests of {figures['total']:,} pass, none fails, and"
    assert sentence in page
    assert f"{figures['skipped']} are left out" in page
    assert figures["failed"] == 0
    reasons = re.findall(r"^# (.*)$", (HERE / "skips.txt").read_text("utf-8"), re.MULTILINE)
    left_out = [reason.partition(":")[0].partition(". (")[0].rstrip(".") for reason in reasons[1:]]
    assert [name for name in left_out if name not in page] == []
