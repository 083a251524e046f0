"""Kernels as exported files have them: plain loops, compiled by Numba, run over NumPy arrays."""

import ast
import hashlib
import importlib.util
import os
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from staticgrad.compiler import by_numba
from staticgrad.compiler.by_numba.expressions import Functions
from staticgrad.compiler.by_numba.kernels import KernelWriter
from staticgrad.compiler.by_numba.prelude import IMPORTS, PRELUDE
from staticgrad.errors import ExportError


@cache
def helpers():
    """Return the names of a file that has every helper; machine code is kept between processes."""
    text = "\n\n\n".join([IMPORTS, *PRELUDE.values()])
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir(), f"exported-helpers-{os.getuid()}", f"h{key}.py")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(text)
        temporary.replace(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # from where Numba takes what it reads of its cache
    spec.loader.exec_module(module)
    return {**vars(module), "__name__": "<kernel>", "jit": kernel_jit(module)}


def kernel_jit(module):
    """Return ``jit`` of exported files without its cache, as kernels have no files here."""

    def jit(function=None, **options):
        if function is None:
            return lambda function: jit(function, **options)
        return module.numba.njit(error_model="numpy", nogil=True, **options)(function)

    return jit


def print_function(kernel):
    """Return the function of a kernel, and the names of the operands that it takes.

    Raises:
        ExportError: the kernel has no such form.
    """
    functions, names = Functions(), {o.name: o.name for o in kernel.operands}
    writer = KernelWriter(kernel, "function", names, dict.fromkeys(names, 0), functions)
    text, space = writer.text(), dict(helpers())
    assert functions.helpers <= PRELUDE.keys()
    exec("\n".join([*functions.blocks.values(), text]), space)
    return space["function"], writer.operands


def plain_texts_parse(kernel):
    """Parse a kernel's text for Numba, and its function in an exported file if it has one."""
    names = {operand.name: operand.name for operand in kernel.operands}
    texts, functions = [by_numba.source(kernel)], Functions()
    writer = KernelWriter(kernel, "function", names, dict.fromkeys(names, 0), functions)
    try:
        text = writer.text()
        texts.append("\n".join([*functions.blocks.values(), text]))
    except ExportError:
        pass
    return all(ast.parse(text).body for text in texts)


def run_printed(kernel, memory, sizes):
    """Run all iterations of a kernel over arrays by operand and sizes by argument."""
    function, operands = print_function(kernel)
    dtypes = {o.name: o.dtype for o in kernel.operands}
    rows = {name: memory[name].reshape(-1) for name in operands}  # kernels see one row of memory
    arrays = [row.view(np.uint16) if dtypes[name].is_storage else row for name, row in rows.items()]
    function(*arrays, *(int(sizes[argument]) for argument in kernel.arguments))


def run_exported(compiled, feeds, path):
    """Export a program to ``path`` and return what the file computes of feeds."""
    return load_exported(compiled.export(path))["run"](feeds)


def load_exported(path):
    """Return the names of an exported file whose helpers are those that are compiled already."""
    text = Path(path).read_text("utf-8")
    for helper in PRELUDE.values():
        text = text.replace(f"\n\n\n{helper}\n", "\n")
    space = {**helpers(), "__name__": "<program>", "__file__": str(path)}
    exec(text, space)
    return space
