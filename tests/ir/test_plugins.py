"""Packages that announce ops: the sound ones are found, a broken one costs its own ops only."""

import os
import pickle
from pathlib import Path

import pytest

import staticgrad as sg
from tests.helpers.processes import python

SOUND = """
from staticgrad.language.ops.elementwise import Elementwise

class Thrice(Elementwise, name="sound.thrice"):
    def reference(self, x):
        return x * 3

    def scalar(self, x):
        return x + x + x
"""
MODULES = {
    "raising": "raise RuntimeError('no licence found')",
    "leaving": "raise SystemExit(1)",
    "colliding": "from staticgrad.language.ir.op import Op\nclass Tanh(Op, name='tanh'): pass",
    "missing": "import a_library_that_nobody_has",
    "sound": SOUND,
}


@pytest.fixture
def site(tmp_path):
    """A folder of installed packages, as pip leaves them."""
    for name, source in MODULES.items():
        (tmp_path / f"{name}_ops.py").write_text(source)
        about = tmp_path / f"sg_{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sg-{name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[staticgrad.ops]\n{name} = {name}_ops\n")
    return tmp_path


def run(site, program, stdin=b""):
    paths = {"PYTHONPATH": f"{site}{os.pathsep}{Path.cwd()}"}
    return python("-c", program, input=stdin, env=paths, text=False).stdout.decode()


UNPICKLE = """
import copy, pickle, sys, warnings
warnings.simplefilter("error")
graph, x, w = pickle.load(sys.stdin.buffer)
assert graph.inputs[0].node is x.node
assert str(copy.deepcopy(graph)) == str(graph)
x + w
print(sorted(name for name in sys.modules if name.endswith("_ops")))
"""


@pytest.mark.slow
def test_pickles_of_built_in_ops_import_no_plugin(site):
    x, w = sg.input("x", (2,)), sg.parameter("w", [1.0, 2.0])
    graph = sg.Graph({"y": sg.tanh(x) * w})
    assert run(site, UNPICKLE, pickle.dumps((graph, x, w))) == "[]\n"


PARSE = """
import warnings
import staticgrad as sg
text = "staticgrad-ir 1 graph g(%x: f32[3]) { %0: f32[3] = OP(%x) return y = %0 }"
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    found = sg.evaluate(sg.parse(text.replace("OP", "sound.thrice")), {"x": [1, 2, 3]})
    print(found["y"].tolist())
    for again in range(2):
        try:
            sg.parse(text.replace("OP", "raising.op"))
        except sg.StaticgradError as error:
            print(error.code, error.hint.count("cannot be imported"))
for each in sorted(str(each.message) for each in seen):
    print(each)
"""


@pytest.mark.slow
def test_a_broken_plugin_costs_one_warning_that_names_it(site):
    values, first, second, *warnings = run(site, PARSE).splitlines()
    assert values == "[3.0, 6.0, 9.0]"
    assert first == second == "SG202 4"
    assert len(warnings) == 4
    for name, why in (
        ("colliding", "NameConflictError"),
        ("leaving", "SystemExit: 1"),
        ("missing", "ModuleNotFoundError: No module named 'a_library_that_nobody_has'"),
        ("raising", "RuntimeError: no licence found"),
    ):
        (actual,) = [text for text in warnings if f"the package 'sg-{name}'" in text]
        assert actual.startswith("[SG908]")
        assert why in actual
