"""What an installation has to do; ``.ci/versions`` runs it in fresh environments.

python .ci/smoke.py README.md
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import staticgrad as sg
from staticgrad.eager import Tensor


def readme_prints_what_it_says(readme: Path) -> None:
    """Run the first program of the README as a user types it."""
    text = readme.read_text("utf-8")
    program, said = re.findall(r"^```python\n(.*?)^```\n+```text\n(.*?)^```", text, re.M | re.S)[0]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "train.py").write_text(program, "utf-8")
        command = [sys.executable, "train.py"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.stdout == said, f"{run.stdout}{run.stderr}"


def step_agrees_with_numpy(backend: str) -> None:
    """Gradients, LAPACK, a loop, random numbers and a sort in one compiled program."""
    x = sg.input("x", ("n", 3), "float64")
    last, _ = sg.scan(lambda total, row: (total + row, None), np.zeros(3), x)
    square = x.T @ x + np.eye(3)
    results = {"slope": sg.grad(sg.tanh(x).sum(), x), "sum": last, "sorted": sg.sort(x, axis=0)}
    f = sg.compile({**results, "inverse": sg.linalg.inv(square)}, backend=backend)
    for rows in (5, 40):
        data = np.random.default_rng(rows).normal(size=(rows, 3))
        found = f.run({"x": data})
        np.testing.assert_allclose(found["slope"], 1 - np.tanh(data) ** 2, atol=1e-14)
        np.testing.assert_allclose(found["sum"], data.sum(axis=0), rtol=1e-12)
        np.testing.assert_array_equal(found["sorted"], np.sort(data, axis=0))
        np.testing.assert_allclose(found["inverse"], np.linalg.inv(data.T @ data + np.eye(3)))


def tape_agrees_with_numpy() -> None:
    """Define-by-run, and a function that is traced."""
    point = Tensor(np.array([3.0, 4.0]), requires_grad=True)
    sg.sqrt((point**2).sum()).backward()
    np.testing.assert_allclose(np.asarray(point.grad), [0.6, 0.8])
    hessian = sg.hessian(lambda x: np.sqrt((x**2).sum()))(np.array([3.0, 4.0]))
    np.testing.assert_allclose(hessian, [[0.128, -0.096], [-0.096, 0.072]])


if __name__ == "__main__":
    readme_prints_what_it_says(Path(sys.argv[1]).resolve())
    for each in ("vector", "numba"):
        step_agrees_with_numpy(each)
    tape_agrees_with_numpy()
    print(f"staticgrad {sg.__version__} of {Path(sg.__file__).parent}: all checks passed")
