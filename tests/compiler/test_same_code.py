"""A kernel has the same machine code in any company: it follows from the kernel alone."""

import ast
import hashlib
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import backends
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.native import cache, jit, loader, machine
from staticgrad.native.language.parts import text_of
from tests.helpers.processes import python

PACKAGE = Path(sg.__file__).parent
#: More functions than any cache of functions has had.
MANY = 300
OTHER = "kernel(p0: out f32; n0) {{\n  map j: n0 {{\n    store p0[j] = f32({number}.0)\n  }}\n}}\n"


def program():
    """A product, a normalization and a column sum: kernels with and without shared functions."""
    x = sg.input("x", (40, 24), "float32")
    w = sg.parameter("w", np.ones((24, 24), "float32"))
    y = sg.nn.softmax(sg.tanh(x @ w))
    return {"y": y, "total": y.sum(0), "slope": sg.grad((y * y).sum(), w)}


def kernel_digests():
    """Digests of the LLVM IR of the kernels of the program."""
    with machine.assume_machine(machine.Machine()):  # as other tests have it
        kernels = sg.compile(program()).kernels
    return [hashlib.blake2b(kernel.llvm.encode()).hexdigest() for kernel in kernels]


def others():
    """Write the LLVM IR of many other kernels."""
    for number in range(MANY):
        kernel = parse_kernel(OTHER.format(number=number))
        assert text_of(jit.llvm_modules(backends.source_of(kernel), loader.host()).kernel)


PRINTED = """
from tests.compiler.test_same_code import kernel_digests, others
{first}
print(*kernel_digests())
"""


def test_llvm_is_the_same_alone_behind_others_from_disk_and_elsewhere():
    alone = kernel_digests()
    assert len(set(alone)) > 3
    others()
    assert kernel_digests() == alone  # with its schedule from disk, too
    assert python("-c", PRINTED.format(first="")).stdout.split() == alone


@pytest.mark.slow
def test_objects_on_disk_are_the_same_alone_and_behind_others(tmp_path, monkeypatch):
    entries = []
    for name, first in (("alone", ""), ("behind", "others()")):
        monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(tmp_path / name))
        python("-c", PRINTED.format(first=first))
        files = (tmp_path / name / "kernels").glob("*.kernel")
        entries.append({path.name: path.read_bytes() for path in files})
    assert len(entries[0]) > 5
    assert entries[0] == entries[1]


def test_a_source_is_another_one_for_other_machines_and_directives():
    kernel = parse_kernel(OTHER.format(number=1))
    this_machine = machine.Machine()
    keys = [
        backends.source_of(kernel, this_machine),
        backends.source_of(parse_kernel(OTHER.format(number=2)), this_machine),
        backends.source_of(kernel, machine.Machine(l1=1 << 20)),
        backends.source_of(kernel, this_machine, ()),
    ]
    assert len({*keys}) == len(keys)
    assert backends.source_of(parse_kernel(str(kernel)), this_machine) == keys[0]


def imports_of(path):
    """The files of this package that a file imports, at any depth of its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            place = PACKAGE.parent.joinpath(*name.split("."))
            yield from filter(Path.is_file, (place.with_suffix(".py"), place / "__init__.py"))


def test_the_environment_has_all_code_that_code_is_made_by():
    """Its digest is in every key, so code that it leaves out could change and kernels would not."""
    waiting = [*(PACKAGE / "compiler" / "nest").rglob("*.py")]
    waiting += (PACKAGE / "native").rglob("*.py")
    seen = {*waiting}
    while waiting:
        new = {*imports_of(waiting.pop())} - seen
        seen |= new
        waiting += new
    folders = {PACKAGE / folder for folder in cache.SOURCES}
    outside = {path for path in seen if folders.isdisjoint(path.parents)}
    assert {str(path.relative_to(PACKAGE.parent)) for path in outside} == {
        "staticgrad/__init__.py",
        "staticgrad/exports.py",
    }
