"""``pip install -e .``, README's first command: type checkers find the package in any folder."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import staticgrad as sg
import staticgrad.nn.functional as F
from passes.pipelines import pipeline
from staticgrad.special import erf

x = sg.input("x", (3,), "float32")
loss = F.mse_loss(erf(x), x)
reveal_type(sg.grad(loss, x))
reveal_type(sg.optim.SGD(0.1))
reveal_type(pipeline("cse"))
"""
TYPES = ["Value", "SGD", "Pipeline"]


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Python of a new virtual environment with the package, and with what stands beside it.

    Nothing is downloaded: the packages of this environment, with the build backend, are on its
    path. Their .pth files are not read there, so this environment's own install has no part in it.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    home = Path(subprocess.check_output([python, "-c", ask], text=True).strip())
    (home / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed"]
    command = [python, "-m", "pip", "install", *options, "-e", ROOT]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return python


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM, "utf-8")
    return tmp_path


@pytest.mark.slow
def test_pyright_finds_the_package_and_its_types(python, folder):
    pytest.importorskip("pyright")
    command = [sys.executable, "-m", "pyright", "--pythonpath", python, "--outputjson"]
    command.append("program.py")
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    messages = [
        diagnostic["message"] for diagnostic in json.loads(run.stdout)["generalDiagnostics"]
    ]
    assert [text.rpartition(" is ")[2].strip('"') for text in messages] == TYPES


@pytest.mark.slow
def test_mypy_finds_the_package(python, folder):
    """It reads no further than the imports, which takes a second in the place of a minute."""
    pytest.importorskip("mypy")
    assert mypy(python, folder, "--follow-imports=skip") == ""


@pytest.mark.exhaustive
def test_mypy_finds_its_types(python, folder):
    pytest.importorskip("mypy")
    shown = mypy(python, folder, "--follow-imports=silent")
    assert [line.rpartition(".")[2].strip('"') for line in shown.splitlines()] == TYPES


def mypy(python, folder, *options):
    """Return what mypy says of the program; nothing if only types are shown as asked."""
    command = [sys.executable, "-m", "mypy", "--python-executable", python, "--config-file="]
    command += ["--no-incremental", "--no-error-summary", "--hide-error-codes", *options]
    run = subprocess.run(
        [*command, "program.py"], capture_output=True, text=True, cwd=folder, check=False
    )
    shown = [line for line in run.stdout.splitlines() if 'Revealed type is "Any"' not in line]
    return "\n".join(shown) + run.stderr


@pytest.mark.slow
def test_folders_of_the_repository_hide_none_of_a_user(python, folder):
    """The path of the install has tests, benchmarks and examples, too; a user's own come first.

    A package with __init__.py would hide theirs that have none.
    """
    assert {file.parent.name for file in ROOT.glob("*/__init__.py")} == {"staticgrad", "passes"}
    names = sorted(
        entry.name for entry in ROOT.iterdir() if entry.is_dir() and entry.name.isalpha()
    )
    assert {"tests", "benchmarks", "examples", "docs"} <= {*names}
    names = [name for name in names if name not in ("staticgrad", "passes")]
    for name in names:
        (folder / name).mkdir()
        (folder / name / "of_user.py").write_text("", "utf-8")
    statements = [f"import {name}.of_user" for name in names]
    (folder / "imports.py").write_text("\n".join(statements), "utf-8")
    subprocess.run([python, "imports.py"], cwd=folder, check=True, timeout=60)
