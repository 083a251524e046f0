"""Modules loaded by a process: to build, derive and print a graph takes NumPy and our own."""

import json

import pytest

from tests.helpers.processes import python

BUILD = """
import inspect, sys  # NumPy loads it itself from 2.4 on
import numpy as np
numpys = set(sys.modules)
import staticgrad as sg

x = sg.input("x", ("batch", 3), "float32")
y = sg.input("y", ("batch",), "int64")
w = sg.parameter("w", np.zeros((3, 2), "float32"))
b = sg.parameter("b", np.zeros(2, "float32"))
loss = sg.nn.cross_entropy(x @ w + b, y)
dw, db = sg.grad(loss, [w, b])
step = sg.Graph({"loss": loss}, updates={w: w - dw, b: b - db}, name="step")
assert "cross" not in str(step) and len(str(step).splitlines()) > 10
"""
REPORT = """
import json
print(json.dumps([name for name in sys.modules if name not in numpys]))
"""
#: Heavy, and for what runs later: compiling, the command line, messages, reading text.
LATER = (
    *("numba", "llvmlite", "scipy", "rich", "click", "platformdirs", "opt_einsum", "threadpoolctl"),
    *("importlib.metadata", "email", "socket", "urllib", "zipfile", "tempfile", "random", "csv"),
    *("pathlib", "hashlib", "difflib", "logging", "tomllib", "asyncio", "subprocess"),
    "ctypes.util",
)
OURS = ("staticgrad", "passes", "numpy")
#: Ours that the same is true of.
OURS_LATER = (
    *(
        "staticgrad.compiler.compiling",
        "staticgrad.native",
        "staticgrad.compiler.nest",
        "staticgrad.compiler.runtime",
    ),
    *(
        "staticgrad.support.config",
        "staticgrad.tools.commands",
        "staticgrad.optim",
        "staticgrad.language.ir.parser",
    ),
    *(
        "staticgrad.language.ir.kernels.kernel",
        "staticgrad.language.vecmath.blocks",
        "staticgrad.saving",
    ),
    *(
        "staticgrad.train",
        "staticgrad.onnx",
        "staticgrad.bridges",
        "staticgrad.language.ops.custom",
        "staticgrad.functions.loops",
    ),
    *("staticgrad.nn.functional.images.windows", "staticgrad.language.ops.windows"),
    *("staticgrad.linalg", "staticgrad.special"),
    *("staticgrad.random", "staticgrad.functions.standard"),
    *(
        "staticgrad.functions.missing_values",
        "staticgrad.language.ops.linalg",
        "passes.base",
    ),
    *(
        "passes.pipelines",
        "staticgrad.compiler.lowering.fuse",
        "staticgrad.compiler.memory.planner",
    ),
)


def loaded_modules(program):
    """The modules that a fresh process has loaded after ``program``, besides those of NumPy."""
    return json.loads(python("-c", program + REPORT).stdout)


@pytest.fixture(scope="module")
def after_building():
    return loaded_modules(BUILD)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", [*LATER, *OURS_LATER])
def test_building_and_printing_load_nothing_of(name, after_building):
    inside = name + "."
    assert [module for module in after_building if (module + ".").startswith(inside)] == []


BY_NUMPY = """
import sys
import numpy as np
numpys = set(sys.modules)
import staticgrad as sg

x = sg.input("x", ("n",), "float32")
assert np.shape(x) == x.shape
y = np.float32(2) * np.tanh(x) + np.true_divide(np.ones(1), np.maximum(x, 1))
w = sg.parameter("w", np.ones(3))
update = sg.optim.Adam(0.1).apply({w: sg.grad(w.sum(), w)})
"""


def test_functions_of_numpy_load_the_module_that_has_them():
    others = [f"staticgrad.functions.{name}" for name in ("linalg", "fft", "special")]
    assert not {*others, "staticgrad.native", "passes.base"} & {*loaded_modules(BY_NUMPY)}


def test_import_loads_the_table_of_contents_alone():
    program = "import sys\nnumpys = set(sys.modules)\nimport staticgrad as sg\n"
    for reads in ("", "dir(sg); sg.scope; sg.options; sg.errors\n"):
        assert "numpy" not in loaded_modules(program + reads)
    assert [
        name for name in loaded_modules(program) if name.startswith(("staticgrad", "numpy"))
    ] == [
        "staticgrad.exports",
        "staticgrad",
    ]


def test_the_standard_library_beyond_numpys_is_small(after_building):
    others = [name for name in after_building if name.split(".")[0] not in OURS]
    assert len(others) < 20, others


#: What finds functions and ops by a name, the first to do so in its process, and what it prints.
BY_NAME = {
    "import numpy as np, staticgrad as sg; print(np.linalg.det(sg.input('x', (4, 4))))": (
        "<custom_vjp: f32[]>"
    ),
    "import numpy as np, staticgrad as sg; print(np.shape(sg.input('x', (2, 3))))": "(2, 3)",
    "import staticgrad as sg; print(abs(sg.input('x', ()))[None])": "<reshape: f32[1]>",
    "import pickle, staticgrad as sg; print(pickle.loads(pickle.dumps(sg.nanmax)) is sg.nanmax)": (
        "True"
    ),
    "from staticgrad.functions import getitem, at; print(getitem.__name__, at.__name__)": (
        "getitem at"
    ),
    "from staticgrad.functions import absolute, abs; print(abs is absolute)": "True",
    "from staticgrad.linalg import det; print(det.__name__)": "det",
    "import staticgrad as sg; print(sg.nn.max_pool.__name__)": "max_pool",
    "from staticgrad.language.ir.op import registered_ops; print('svd' in registered_ops())": (
        "True"
    ),
    """
import staticgrad as sg
from staticgrad.language.ir.op import Op
try:
    class Mine(Op, name="svd"):
        pass
except sg.errors.NameConflictError as error:
    print(error.code)
""": "SG105",
}


@pytest.mark.slow
@pytest.mark.parametrize("program", BY_NAME)
def test_what_is_found_by_name_is_there_whatever_was_imported(program):
    assert python("-c", program).stdout.strip() == BY_NAME[program]
