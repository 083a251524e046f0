"""The types that users' checkers see: mypy and pyright read programs, strictly, and these run."""

import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import staticgrad as sg
from staticgrad.exports import MODULES
from tests.page_programs import programs
from tests.typing import program

ROOT = Path(__file__).parents[2]
_OWN = ("names", "readme")


def run_checker(command, cwd=ROOT):
    """Return the output of a checker; empty if it finds nothing."""
    run = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    return "" if run.returncode == 0 else run.stdout + run.stderr


@pytest.fixture
def files(tmp_path):
    """Programs of users: ours, every public name, and README's from top to bottom."""
    names = "import staticgrad as sg\n" + "".join(f"sg.{n}\n" for n in sg.__all__)
    (tmp_path / "names.py").write_text(names, "utf-8")
    (tmp_path / "readme.py").write_text(
        "".join(s for s, _ in programs(ROOT / "README.md")), "utf-8"
    )
    shutil.copytree(ROOT / "examples" / "programs", tmp_path, dirs_exist_ok=True)
    twelve = sorted(str(path) for path in tmp_path.glob("*.py") if path.stem not in _OWN)
    program_path = str(Path(program.__file__).relative_to(ROOT))
    return [program_path, str(tmp_path / "names.py"), str(tmp_path / "readme.py"), *twelve]


@pytest.mark.exhaustive
def test_mypy_sees_the_types_of_what_users_write(files):
    """Daily it reads our program beside the packages, which it has read by then."""
    pytest.importorskip("mypy")
    options = [
        "--strict",
        "--config-file=",
        "--ignore-missing-imports",
        "--no-incremental",
        "--follow-imports=silent",
    ]
    assert run_checker([sys.executable, "-m", "mypy", *options, *files]) == ""


@pytest.mark.slow
def test_pyright_sees_the_types_of_what_users_write(files, tmp_path):
    pytest.importorskip("pyright")
    files = [shutil.copy(ROOT / files[0], tmp_path / "program.py"), *files[1:]]
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps(
            {
                "extraPaths": [str(ROOT)],
                "reportUnnecessaryTypeIgnoreComment": "error",
                "reportUnusedExpression": "none",
            }
        )
    )
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    assert run_checker([*command, "-p", str(tmp_path)], tmp_path) == ""


@pytest.mark.slow
def test_pyright_sees_the_class_of_what_a_public_class_makes(tmp_path):
    """And of what the standard's functions make of plain arrays: tensors."""
    pytest.importorskip("pyright")
    rooms = {"sg": sg} | {
        f"sg.{module}": getattr(sg, module) for module in MODULES if module != "passes"
    }
    calls = {
        f"{path}.{name}(*args, **kwargs)": getattr(room, name).__name__  # of two, the first
        for path, room in rooms.items()
        for name in room.__all__
        if isinstance(getattr(room, name), type) and name != "NamedTuple"  # it takes fields
    }
    calls |= {
        f"sg.xp.{call}": "Tensor" for call in ("exp([1.0])", "zeros(3)", "linalg.inv([[1.0]])")
    }
    assert len(calls) > 150
    head = ["from typing import Any", "import staticgrad as sg"]
    head += ["def made(*args: Any, **kwargs: Any) -> None:"]
    lines = [*head, *(f"    reveal_type({call})" for call in calls)]
    (tmp_path / "made.py").write_text("\n".join(lines) + "\n", "utf-8")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    run = subprocess.run(
        [*command, str(tmp_path / "made.py")], capture_output=True, text=True, cwd=ROOT, check=False
    )
    diagnostics = json.loads(run.stdout)["generalDiagnostics"]
    seen = {
        diagnostic["range"]["start"]["line"]: diagnostic["message"].split(" is ")[-1]
        for diagnostic in diagnostics
    }
    kinds = {call: seen.get(line, "") for line, call in enumerate(calls, len(head))}
    assert {
        c: kind for c, kind in kinds.items() if re.split(r"[^\w]", kind)[1:2] != [calls[c]]
    } == {}


@pytest.mark.slow
def test_pyright_takes_other_spellings_of_options_and_shapes(tmp_path):
    """``lr`` of each optimizer with a rate, ``betas`` where it has two, ``size`` of each draw."""
    pytest.importorskip("pyright")
    calls = []
    for name, kind in vars(sg.optim).items():
        words = inspect.signature(kind).parameters if isinstance(kind, type) else {}
        if "learning_rate" in words:
            pair = ", betas=(0.8, 0.9)" if {"beta1", "beta2"} <= {*words} else ""
            calls.append((f"sg.optim.{name}(params=[w], lr=0.1{pair})", kind.__name__))
    for name, method in inspect.getmembers(sg.random.Generator, inspect.isfunction):
        words = inspect.signature(method).parameters
        if "shape" in words and not name.startswith("_"):
            needs = [
                w for w, p in words.items() if p.default is p.empty and w not in ("self", "shape")
            ]
            calls.append((f"rng.{name}({''.join(f'{w}=w, ' for w in needs)}size=3)", "Value"))
    assert len(calls) > 28
    head = ["from typing import Any", "import staticgrad as sg"]
    head += ["def called(w: Any, rng: sg.random.Generator) -> None:"]
    lines = [*head, *(f"    reveal_type({call})" for call, _ in calls)]
    (tmp_path / "called.py").write_text("\n".join(lines) + "\n", "utf-8")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    run = subprocess.run(
        [*command, "called.py"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    diagnostics = json.loads(run.stdout)["generalDiagnostics"]
    kinds = [diagnostic["message"].rpartition(" is ")[2].strip('"') for diagnostic in diagnostics]
    assert kinds == [kind for _, kind in calls]


PARTS = (
    program.operators,
    program.layers,
    program.methods,
    program.functions,
    program.derivatives,
    program.of_functions,
    program.of_arrays,
    program.programs,
    program.tensors,
    program.modules,
    program.spellings,
)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_the_program_runs(part):
    assert part() is None


@pytest.mark.parametrize("call", program.refused_calls())
def test_what_the_checker_refuses_is_refused_in_a_run(call):
    with pytest.raises(sg.StaticgradError):
        call()
