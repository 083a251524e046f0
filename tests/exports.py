"""Files that are derived from the tables of public names, ``staticgrad/exports.py``.

``python -m tests.exports`` writes the stubs that type checkers read; a test compares them.
"""

import inspect
import re
import textwrap
from importlib import import_module
from pathlib import Path

from staticgrad import special as special_functions, xp
from staticgrad.exports import FUNCTIONS, LAYERS, MODULES, OTHERS

ROOT = Path(__file__).parents[1]
WRITTEN = "Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``."


def package_stub():
    """``staticgrad/__init__.pyi``."""
    modules = {home: name for name, home in MODULES.items()}
    return stub({**FUNCTIONS, **OTHERS}, modules, "__version__: str\n")


def functions():
    """``staticgrad/functions/__init__.pyi``."""
    return stub(FUNCTIONS, {})


def special():
    """``staticgrad/special/__init__.pyi``."""
    table = {}
    for name, (home, attribute) in special_functions.NAMES.items():
        table.setdefault(home, []).append(f"{name}={attribute}")
    return stub({home: " ".join(sorted(entries)) for home, entries in table.items()}, {})


def layers():
    """``staticgrad/nn/__init__.pyi``."""
    return stub(LAYERS, {"staticgrad.nn.functional": "functional"})


def functional():
    """``staticgrad/nn/functional/__init__.py``: the functions of ``sg.nn``, without its modules."""
    names_of_functions = [name for module, entries in LAYERS.items() if ".function" in module
                          for name in re.findall(r"(\w+)(?:=\w+)?", entries)]  # fmt: skip
    names = ", ".join(f'"{name}"' for name in sorted(names_of_functions))
    return "\n".join([
        '"""``import staticgrad.nn.functional as F``: the functions of ``sg.nn``.',
        "",
        WRITTEN,
        '"""',
        "",
        "# ruff: noqa: F405",
        "# fmt: off",
        "from typing import TYPE_CHECKING, Any",
        "",
        "from staticgrad import nn",
        "from staticgrad.extend.hints import attributes",
        "",
        "if TYPE_CHECKING:",
        "    from staticgrad.nn import *  # noqa: F403",
        "",
        *wrap_lines("__all__ = [", names, "]"),
        "",
        '_find_attribute, __dir__ = attributes("sg.nn.functional", __all__)',
        "",
        "",
        "def __getattr__(name: str) -> Any:",
        "    return getattr(nn, name) if name in __all__ else _find_attribute(name)",
    ]) + "\n"  # fmt: skip


#: What the signatures in ``sg.xp`` mention. Of plain arrays its functions make tensors.
_STANDARD = """
import builtins
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from typing_extensions import TypeVar

from staticgrad.eager.tensor import Tensor
from staticgrad.language.ir.kinds import ArrayLike
from staticgrad.language.ir.value import Value
from staticgrad.fft.fourier import Norm, Sizes
from staticgrad.linalg.matrices import (
    EighResult, EigResult, Errors, SlogdetResult, Structure, Triangle
)
from staticgrad.functions.masking import Mask
from staticgrad.language.ops.indexing import OutOfBounds
from staticgrad.language.ops.operands import Axes, Integer, NonNegativeInt
from staticgrad.language.ops.sorting import Algorithm
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType

AnyValue = TypeVar("AnyValue", Tensor, Value, default=Tensor)
"""


def standard():
    """``staticgrad/xp.pyi``: functions are made when they are first used."""
    lines = [f'"""{WRITTEN}"""', _STANDARD]
    lines += [_declaration(name, getattr(xp, name)) for name in xp.__all__]
    for extension in ("fft", "linalg"):
        lines += ["", f"class _{extension.title()}:"]
        for name, function in vars(getattr(xp, extension)).items():
            lines += ["    @staticmethod", f"    {_declaration(name, function)}"]
    lines += ["", "fft: _Fft", "linalg: _Linalg", "__array_api_version__: str"]
    return "\n".join(lines) + "\n"


def _declaration(name, public):
    if not inspect.isroutine(public):
        kind = "None" if public is None else type(public).__name__
        return "" if name in ("fft", "linalg") else f"{name}: {kind}"
    # Annotations are texts; a Literal has quotes inside of its own.
    plain = re.compile(r"\"(Literal\[[^\]]*\](?: \| None)?)\"|'")
    written = inspect.signature(inspect.unwrap(public))  # not in the words that help shows
    signature = str(xp._with_standard(written, public.__name__))
    signature = plain.sub(lambda text: (text[1] or "").replace("'", '"'), signature)
    signature = re.sub(r"= ?(sg\.\w+|[^,)\s]+)", "= ...", signature)
    return f"def {name}{signature}: ...".replace("bool", "builtins.bool")


def stub(table, modules, appendix=""):
    """The text of a stub: imports, which lead to the definitions, and the names that are public."""
    lines = [f'"""{WRITTEN}"""', ""]
    lines += [f"import {home} as {name}" for home, name in sorted(modules.items())]
    public = list(modules.values())
    for module, entries in sorted(table.items()):
        pairs = [(e.partition("=")[0], e.rpartition("=")[2]) for e in entries.split()]
        public += [name for name, _ in pairs]
        clauses = [
            name if name == attribute else f"{attribute} as {name}" for name, attribute in pairs
        ]
        lines += wrap_lines(f"from {module} import (", ", ".join(clauses), ")")
    names = ", ".join(f'"{name}"' for name in sorted(public))
    lines += ["", *wrap_lines("__all__ = [", names, "]")]
    return "\n".join([*lines, appendix]).rstrip() + "\n"


def wrap_lines(start, text, end):
    """A bracket and its contents in lines of at most 100 characters."""
    return [start, *textwrap.wrap(text, 96, initial_indent="    ", subsequent_indent="    "), end]


STUBS = {
    ROOT / "staticgrad" / "__init__.pyi": package_stub,
    Path(import_module("staticgrad.functions").__file__).with_suffix(".pyi"): functions,
    Path(special_functions.__file__).with_suffix(".pyi"): special,
    ROOT / "staticgrad" / "nn" / "__init__.pyi": layers,
    ROOT / "staticgrad" / "nn" / "functional" / "__init__.py": functional,
    ROOT / "staticgrad" / "xp.pyi": standard,
}

if __name__ == "__main__":
    for path, text in STUBS.items():
        path.write_text(text(), "utf-8")
