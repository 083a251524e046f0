"""Only public parts of other libraries are used: private ones go with a release."""

import ast
import re
import sys
from pathlib import Path

from tests.helpers.syntax import nodes_of, syntax_tree

ROOT = Path(__file__).parents[2]
OURS = {"staticgrad", "passes", "tests", "benchmarks", "examples", "conftest"}
#: A part of a dotted name that is private, and no ``__name__``.
PRIVATE = re.compile(r"(^|\.)_(?!_)\w+|(^|\.)__\w+(?<!__)(\.|$)")
#: The bridges have these as variables, which are imported when they are used.
LAZY = {"torch", "jax"}
#: Text without this names no private part; to parse all files takes seconds.
MENTION = re.compile(
    r"(?<!\bself)(?<!\bcls)\._(?!_)[A-Za-z]|\bimport .*\b_(?!_)[A-Za-z]|\(\n    +_[a-z]"
)
DOTTED = re.compile(r"[A-Za-z]\w*(\.\w+)+")

#: Private part of a library -> why no public name serves, of it and of what it contains.
EXCEPTIONS = {
    "numpy._core._multiarray_umath": (
        "where import_array of NumPy's headers finds its C interface; without it, every run takes "
        "the path in Python"
    ),
    "numpy._NoValue": "a default in NumPy's signatures, which it hands to __array_function__",
    "_pytest.doctest": "pytest has no public name of its class of modules with examples",
    "torch._C": "autograd, tracing and vmap of PyTorch say by no public name that they are active",
    "torch._add_batch_dim": "a rule of vmap has no other way to name a mapped axis",
    "torch._remove_batch_dim": "as above",
    "torch.autograd.forward_ad._current_level": "whether tangents are open",
    "torch._decomp": "PyTorch's guide of torch.export names it for core ATen decompositions",
    "torch._dynamo": "PyTorch's guide of custom backends names it",
    "torch._functorch": "as above: partitioners of aot_autograd",
    "torch._inductor": "a setting of the peer that is measured",
    "torch.ops.aten": "PyTorch's own table of operators; some have such names",
    "torch._ops": "the types of nodes in exported programs",
    "torch.testing._internal": "PyTorch's samples of its operators, for tests",
    "torch.utils._pytree": "PyTorch's containers as leaves, as torch.export writes them",
    "torch.utils._python_dispatch": "modes of dispatch have no public name",
}


def is_excepted(name):
    """Return whether an exception names the part of a library or what contains it."""
    return any(name == part or name.startswith(f"{part}.") for part in EXCEPTIONS)


def names_of(tree):
    """Yield the dotted names of other libraries that a module uses, with their lines."""
    modules = {}
    for node in nodes_of(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
                bound = alias.asname or alias.name.partition(".")[0]
                modules[bound] = alias.name if alias.asname else bound
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Constant) and DOTTED.fullmatch(str(node.value)):
            yield str(node.value), node.lineno
    for node in nodes_of(tree):
        parts, root = [], node
        while isinstance(root, ast.Attribute):
            parts.append(root.attr)
            root = root.value
        if parts and isinstance(root, ast.Name) and root.id in {*modules, *LAZY}:
            library = root.id if root.id in LAZY else modules[root.id]
            yield ".".join([library, *reversed(parts)]), node.lineno


def private_parts(tree):
    """Return the private names of other libraries in a module, with their lines.

    The standard library documents some names with an underscore (``sys._getframe``).
    """
    lines = {}
    for name, line in names_of(tree):
        library = name.partition(".")[0]
        is_other = library not in OURS and library not in sys.stdlib_module_names
        if is_other and library != "_testcapi" and PRIVATE.search(name):
            lines.setdefault(name, line)
    return lines


def test_private_parts_are_found():
    text = """
import numpy as np, torch
from scipy.fft import _pocketfft
from scipy.fft._pocketfft import pypocketfft as fft
import jax._src.core
def f():
    np.core._methods.sum()
    torch._C._call()
    import_module("jax._src.lax")
    np.__version__, np.linalg.norm(self._x)
"""
    parts = private_parts(ast.parse(text))
    assert {*parts} >= {
        "scipy.fft._pocketfft",
        "scipy.fft._pocketfft.pypocketfft",
        "jax._src.core",
        "numpy.core._methods.sum",
        "torch._C._call",
        "jax._src.lax",
    }
    assert not [name for name in parts if "norm" in name or "__" in name]


def test_no_private_part_of_a_dependency_is_used():
    unexplained, excepted = [], set()
    for folder in ("staticgrad", "passes", "tests", "benchmarks", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path == Path(__file__) or not MENTION.search(path.read_text("utf-8")):
                continue
            for name, line in private_parts(syntax_tree(path)).items():
                if is_excepted(name):
                    excepted.add(name)
                else:
                    unexplained.append(f"{path.relative_to(ROOT)}:{line} {name}")
    assert unexplained == []
    unused = [
        part
        for part in EXCEPTIONS
        if not any(name == part or name.startswith(f"{part}.") for name in excepted)
    ]
    assert unused == []
