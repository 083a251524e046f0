"""Parts that nothing below them needs: the core's tests pass in a checkout without their folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("exporting", "comparison")
#: The folders of tests of what compiles and runs programs.
CORE = (
    "analysis", "autodiff", "codegen", "compiled", "compiler", "eager", "ir", "loops", "memory",
    "native", "nest", "passes", "planning", "programs", "runtime", "storage",
)  # fmt: skip


#: The core, as ARCHITECTURE shows it below the waist.
PACKAGES = (
    "analysis", "autodiff", "compiler", "eager", "errors", "functions", "language", "native",
    "programs", "support",
)  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_the_core_names_no_part(part):
    """Beside the table of names, and words for users: what to import."""
    files = [path for name in PACKAGES for path in (ROOT / "staticgrad" / name).rglob("*.py")]
    naming = [path for path in files if f"staticgrad.{part}" in path.read_text("utf-8")]
    words = ("hints.py", "control_flow.py")
    assert [path for path in naming if path.name not in words] == []


@pytest.fixture(params=PARTS)
def copy_without_part(request, tmp_path):
    """Copy what the tests of the core read, but the folder of the part."""
    for name in ("staticgrad", "passes", "tests", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", *[request.param] * (name == "staticgrad"))
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "ARCHITECTURE.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return request.param, tmp_path


def run(copied, *arguments):
    part, folder = copied
    environment = {
        **os.environ, "REMOVED_PART": f"staticgrad.{part}", "PYTHONPATH": str(folder),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


PROGRAM = """
import numpy as np, staticgrad as sg
x, w = sg.input("x", (5, 3), "float64"), sg.parameter("w", np.ones((3, 2)))
f = sg.compile(sg.Graph({"loss": ((x @ w) ** 2).sum(), "g": sg.grad(((x @ w) ** 2).sum(), w)}))
print(f.explain() != "", f.run({"x": np.ones((5, 3))})["loss"])
"""


def test_programs_run_without_the_part(copy_without_part):
    done = run(copy_without_part, "-c", PROGRAM)
    assert done.stdout == "True 90.0\n", done.stderr


def test_export_without_its_part_says_what_is_missing(copy_without_part):
    done = run(copy_without_part, "-c", f"{PROGRAM}\nf.export('step.py')")
    assert ("SG506" in done.stderr) == (copy_without_part[0] == "exporting"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("folder", CORE)
def test_the_core_passes_without_the_part(copy_without_part, folder):
    options = ("-p", "tests.helpers.removed", "-p", "no:cacheprovider", "-q", "-n2")
    done = run(copy_without_part, "-m", "pytest", *options, f"tests/{folder}")
    assert done.returncode == 0, done.stdout[-5000:]
    summary = done.stdout.splitlines()[-1]
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|skipped)", summary)}
    assert counts["passed"] > 5 * counts.get("skipped", 0), summary
