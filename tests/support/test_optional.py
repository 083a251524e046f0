"""Optional packages: where one is absent, one error says what needs it and how to install it."""

import sys
import tomllib
from pathlib import Path

import pytest

import staticgrad as sg
from staticgrad.errors import MissingPackageError
from staticgrad.support import ranks
from staticgrad.support.optional import PACKAGES, ml_dtypes
from staticgrad.tools.commands import demo
from staticgrad.tools.documentation.site import build
from tests.helpers.processes import python

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"].keys() - {"bench", "bench-torch", "test"}
IDENTITY = sg.Graph({"y": sg.input("x", (2,))})


def _board(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", None)
        sg.train.TensorBoard(path)


#: What needs a package: its name, and what a user does.
USES = [
    ("jax", lambda path: sg.jax.function(lambda x: x)(1.0)),
    ("material", lambda path: build(path / "site", path / "pages")),
    ("ml_dtypes", lambda path: ml_dtypes.finfo),
    ("mpi4py", lambda path: sg.distributed.start()),
    ("onnx", lambda path: sg.onnx.load(path / "model.onnx")),
    ("onnx", lambda path: sg.onnx.export(IDENTITY, path / "model.onnx")),
    ("safetensors", lambda path: sg.save(path / "f.safetensors", 1)),
    ("sklearn", lambda path: demo.load_digits()),
    ("tensorboardX", lambda path: _board(path / "runs")),
    ("tqdm", lambda path: PACKAGES["tqdm"]()),
    ("torch", lambda path: sg.torch.function(lambda x: x)(1.0)),
    ("pytensor", lambda path: sg.pytensor.mode()),
    ("nutpie", lambda path: sg.pytensor.nutpie(None)),
    ("torch", lambda path: sg.nn.Linear(2, 3).load_torch(path / "weights.pt")),
]


@pytest.mark.parametrize(("name", "use"), USES)
def test_without_a_package_one_error_has_the_command(name, use, tmp_path, monkeypatch):
    package = PACKAGES[name]
    for entry in [name, *(module for module in sys.modules if module.startswith(f"{name}."))]:
        monkeypatch.setitem(sys.modules, entry, None)
    for entry in vars(package).keys() - {"__name__", "use", "hint"}:  # read before
        monkeypatch.delitem(vars(package), entry)
    monkeypatch.setattr(ranks, "_job", None)
    with pytest.raises(MissingPackageError) as caught:
        use(tmp_path)
    assert package.use in str(caught.value)
    assert package.hint in str(caught.value)
    assert package.hint.startswith("pip install ")
    assert [*tmp_path.iterdir()] == []


def test_every_package_and_every_extra_has_its_row():
    assert {name for name, _ in USES} == PACKAGES.keys()
    named = {
        extra for extra in EXTRAS for package in PACKAGES.values() if f"[{extra}]" in package.hint
    }
    assert named == EXTRAS


def test_the_package_itself_needs_none():
    hidden = f"import sys; sys.modules |= dict.fromkeys({[*PACKAGES]!r}); "
    program = """
import numpy as np
import staticgrad as sg
f = sg.compile(sg.exp(sg.input("x", (2,))))
print(f.run({"x": np.zeros(2)}))
try: sg.sklearn.Classifier(epochs=3)
except sg.StaticgradError as error: print(error.code, "pip install" in str(error))
"""
    assert python("-c", hidden + program).stdout.splitlines() == ["[1. 1.]", "SG506 True"]
