"""Kernels of plain loops (``compiler/by_numba``), compiled by Numba. Importing imports Numba.

The text of a kernel is a file in the folder of the kernel cache that belongs to this installation,
as is a copy of ``helpers``: Numba keeps machine code beside the file of a function. Numba compiles
for the processor that it finds and by its own settings (``NUMBA_*``). Results do not depend on
them.
"""

from __future__ import annotations

import functools
import hashlib
import linecache
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, cast

import numba
from numba.core import types
from numba.extending import intrinsic

from staticgrad.errors import CompileError
from staticgrad.native import cache
from staticgrad.support import config

_WORDS: Final = types.CPointer(types.int64)
#: Of an entry: the record, the words of a worker, the first iteration, and the one behind the last.
ENTRY_TYPE: Final = types.void(_WORDS, _WORDS, types.int64, types.int64)
#: Elements of an array whose number nobody reads.
_MANY: Final = 1 << 48
#: ``numba.carray``, which has types in some releases alone.
carray: Final = cast(Any, numba).carray
_HELPERS: Final = Path(__file__).with_name("helpers.py")


@cast(Any, intrinsic)
def pointer(typing: Any, word: Any) -> Any:
    """The address that a word holds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


@numba.njit(forceinline=True)
def array(word: Any, kind: Any) -> Any:
    """The array of elements of a kind that begins at an address."""
    return carray(pointer(word), (_MANY,), kind)


def compile_entry(text: str, settings: config.Config, is_cached: bool = True) -> Any:
    """Compile a kernel's plain loops by Numba; return its C function.

    ``is_cached``: its machine code is read from the kernel cache and written there.

    Raises:
        CompileError: Numba does not compile it.
    """
    folder = cache.folder_for("numba", settings) if is_cached else None
    name = f"staticgrad_kernel_{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"
    path = _write_module(folder, f"{name}.py", text) if folder else None
    module = ModuleType(name)
    module.__file__ = file = str(path or f"<{name}>")
    if path:
        sys.modules[name] = module  # where Numba looks it up when it reads machine code
    else:
        linecache.cache[file] = len(text), None, text.splitlines(True), file

    def entry(function: Any) -> Any:
        return numba.cfunc(ENTRY_TYPE, cache=path is not None, error_model="numpy")(function)

    names = helpers(folder if path else None)
    inner = numba.njit(error_model="numpy")  # its code is kept with that of the entry
    vars(module).update(names | {"__name__": name, "array": array, "entry": entry, "inner": inner})
    try:
        exec(compile(text, file, "exec"), vars(module))
        return vars(module)["kernel"]
    except numba.core.errors.NumbaError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise CompileError("Numba does not compile a kernel", details=lines[:6]) from error


@functools.cache
def helpers(folder: Path | None) -> dict[str, Any]:
    """Compile the helper functions of plain loops; their machine code is cached in a folder, if
    any.
    """
    text = _HELPERS.read_text("utf-8")
    path = _write_module(folder, "staticgrad_helpers.py", text) if folder else None
    name = "staticgrad_helpers" if path else "staticgrad_helpers_uncached"
    spec = spec_from_file_location(name, path or _HELPERS)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    if path:
        sys.modules[name] = module
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


def as_text(text: str, settings: config.Config, form: Literal["llvm", "asm"]) -> str:
    """Return the LLVM IR or the assembly that Numba makes of a kernel."""
    library = compile_entry(text, settings, is_cached=False)._library
    return str(library.get_llvm_str() if form == "llvm" else library.get_asm_str())


def _write_module(folder: Path, name: str, text: str) -> Path | None:
    """Write a module of generated Python unless it exists; return it, or None if that fails."""
    path = folder / name
    try:
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}")
            part.write_text(text, "utf-8")
            part.replace(path)
    except OSError as error:
        config.log("cache", "%s takes no kernels: %s", folder, error)
        return None
    return path
