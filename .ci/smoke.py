"""What an installation has to do; ``.ci/versions`` runs it in fresh environments.

python .ci/smoke.py [--plain] README.md

``--plain``: nothing but the requirements is installed, as by ``pip install staticgrad``.
"""

import importlib
import importlib.metadata
import pickle
import pkgutil
import re
import subprocess
import sys
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

import staticgrad as sg
from staticgrad.eager import Tensor


def find_extras() -> list[str]:
    """Return the installed packages that only an extra of staticgrad brings."""
    texts = importlib.metadata.requires("staticgrad") or []
    names = {is_extra: set() for is_extra in (True, False)}
    for text in texts:
        names["extra ==" in text].add(re.split(r"[^\w-]", text)[0].lower())
    installed = {
        each.metadata["Name"].lower().replace("_", "-")
        for each in importlib.metadata.distributions()
    }
    return sorted({name.replace("_", "-") for name in names[True] - names[False]} & installed)


def import_public_names() -> None:
    """Import every public module, and read every public name of each."""
    modules = [module.name for module in pkgutil.iter_modules(sg.__path__)]
    for name in [f"staticgrad.{each}" for each in modules if not each.startswith("_")]:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            getattr(module, public)
    for public in dir(sg):
        getattr(sg, public)


def run_readme(readme: Path) -> None:
    """Run the programs of README from top to bottom, as one program of a user."""
    spec: Any = spec_from_file_location("page_programs", readme.parent / "tests/page_programs.py")
    pages = module_from_spec(spec)
    spec.loader.exec_module(pages)
    sources, outputs = zip(*pages.programs(readme), strict=True)
    for printed, output in zip(pages.outputs(sources), outputs, strict=True):
        assert printed.rstrip() == output.rstrip(), f"instead of\n{output}\nit prints\n{printed}"


def compare_step_with_numpy(backend: str) -> None:
    """Compare gradients, LAPACK, FFT, a loop and a sort, in one compiled program."""
    x = sg.input("x", ("n", 3), "float64")
    last, _ = sg.scan(lambda total, row: (total + row, None), np.zeros(3), x)
    square = x.T @ x + np.eye(3)
    results = {"slope": sg.grad(sg.tanh(x).sum(), x), "sum": last, "sorted": sg.sort(x, axis=0)}
    results |= {"inverse": sg.linalg.inv(square), "factor": sg.linalg.cholesky(square)}
    # A transform by a kernel of ours, and two by SciPy.
    results |= {f"fft{n}": sg.fft.rfft(x @ np.ones((3, n)), axis=1) for n in (16, 7)}
    f = sg.compile({**results, "fft": sg.fft.fft(x, axis=0)}, backend=backend)
    for rows in (5, 40):
        data = np.random.default_rng(rows).normal(size=(rows, 3))
        values = f.run({"x": data})
        np.testing.assert_allclose(values["slope"], 1 - np.tanh(data) ** 2, atol=1e-14)
        np.testing.assert_allclose(values["sum"], data.sum(axis=0), rtol=1e-12)
        np.testing.assert_array_equal(values["sorted"], np.sort(data, axis=0))
        square = data.T @ data + np.eye(3)
        np.testing.assert_allclose(values["inverse"], np.linalg.inv(square))
        np.testing.assert_allclose(values["factor"], np.linalg.cholesky(square), atol=1e-12)
        np.testing.assert_allclose(values["fft"], np.fft.fft(data, axis=0), atol=1e-12)
        for n in (16, 7):
            spectrum = np.fft.rfft(data @ np.ones((3, n)))
            np.testing.assert_allclose(values[f"fft{n}"], spectrum, atol=1e-12)


def compare_tape_with_numpy() -> None:
    """Define-by-run, and a function that is traced."""
    point = Tensor(np.array([3.0, 4.0]), requires_grad=True)
    sg.sqrt((point**2).sum()).backward()
    np.testing.assert_allclose(np.asarray(point.grad), [0.6, 0.8])
    hessian = sg.hessian(lambda x: np.sqrt((x**2).sum()))(np.array([3.0, 4.0]))
    np.testing.assert_allclose(hessian, [[0.128, -0.096], [-0.096, 0.072]])


def export_and_pickle(folder: Path) -> None:
    """Compare a file of Python and a pickle with the program that they are made of."""
    x = sg.input("x", (4, 3), "float32")
    f = sg.compile({"y": sg.tanh(x) @ np.ones((3, 2), "float32")})
    data = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)
    expected = f.run({"x": data})["y"]
    f.export(folder / "exported_step.py")
    np.save(folder / "x.npy", data)
    program = """
import numpy, exported_step
numpy.save("y.npy", exported_step.run({"x": numpy.load("x.npy")})["y"])
"""
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
    assert np.load(folder / "y.npy").tobytes() == expected.tobytes()
    copy = pickle.loads(pickle.dumps(f))
    assert copy.run({"x": data})["y"].tobytes() == expected.tobytes()


if __name__ == "__main__":
    extras = find_extras()
    assert "--plain" not in sys.argv or not extras, f"installed by an extra: {extras}"
    import_public_names()
    run_readme(Path(sys.argv[-1]).resolve())
    for backend in ("vector", "numba"):
        compare_step_with_numpy(backend)
    compare_tape_with_numpy()
    with tempfile.TemporaryDirectory() as folder:
        export_and_pickle(Path(folder))
    print(f"staticgrad {sg.__version__} of {Path(sg.__file__).parent}: all checks passed")
