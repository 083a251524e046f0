"""Calls of LAPACK and of Fourier transforms in exported files, by functions of NumPy.

A file needs NumPy and Numba alone, and NumPy has no LU factors and no triangular solver: these are
loops, over blocks of 64 rows, between which products are NumPy's. Results are those of ``f.run`` to
rounding, not to the bit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from staticgrad.compiler.by_numba.prelude import PRELUDE
from staticgrad.errors import ExportError
from staticgrad.language.ir.schedule import CallStep
from staticgrad.language.types.dim import Size
from staticgrad.native.libraries import limits
from staticgrad.native.libraries.fourier_kernels import FourierCall
from staticgrad.native.libraries.recipes import recipe_of

#: Family of routines that no exported file can call -> what they compute.
NOT_EXPORTED: Final = {
    "special": "SciPy's special functions",
    "superlu": "solutions of sparse systems by SuperLU",
}


def call_of(step: CallStep, operands: Sequence[str], size: Callable[[Size], str]) -> list[str]:
    """Return the exported function of a LAPACK or FFT call, and its arguments; or empty.

    ``operands`` are the arrays of the step, without its scratch and its check.
    """
    family, _, routine = step.routine.name.partition(":")
    if family == "fft":
        call = FourierCall.of(routine)
        kind, options, split = call.kind, call.how, call.rank
        sizes = [size(extent) for extent in step.sizes]
        x, out = (
            _as_array(name, shape, letter == "c")
            for name, shape, letter in zip(
                operands, (sizes[:split], sizes[split:]), (kind[0], kind[2]), strict=True
            )
        )
        where = f"({', '.join(map(str, call.axes))},)"
        return ["fourier", f'"{kind}"', x, out, where, str(options[0] == "f"), options[1]]
    if family != "linalg":
        return []
    name = routine.split(".")[0]
    recipe = recipe_of(name)
    keys = [*recipe.operands, *recipe.results]
    arrays = [
        f"as_complex({text})" if recipe.is_complex and ":" not in key else text
        for text, key in zip(operands, keys, strict=True)
    ]
    numbers = dict(zip(recipe.sizes.split(), step.sizes, strict=True))
    name, total = name.removeprefix("complex_"), size(step.total)
    if "each" in numbers:
        total = f"{total} // max(-(-{size(numbers['k'])} // {numbers['each']}), 1)"
    if name == "triangular_solve":
        return [
            name, *arrays, "<check>", total, size(numbers["n"]),
            size(numbers["k"]), str(numbers["uplo"] == ord("U")),
            str(numbers["trans"] != ord("N")), str(bool(numbers["unit"])),
        ]  # fmt: skip
    if name not in PRELUDE:
        raise ExportError(f"the routine {name} cannot be exported: files have no loops for it")
    if name == "lu_solve":
        numbers["trans"] = bool(numbers["trans"])  # of complex matrices the conjugate transpose
    parameters = re.findall(r"\w+", PRELUDE[name].partition(", total")[2].partition(")")[0])
    values = [numbers["trans" if word == "adjoint" else word] for word in parameters]
    texts_of = [str(value) if isinstance(value, bool) else size(value) for value in values]
    return [name, *arrays, "<check>", total, *texts_of]


def error_of(step: CallStep) -> str:
    """Return the message of a call that failed, with a placeholder for a number."""
    family, _, routine = step.routine.name.partition(":")
    return limits.words_of(routine)[0] if family == "limit" else "matrix {} has no result"


def _as_array(name: str, sizes: Sequence[str], is_complex: bool) -> str:
    text = f"{name}[: {' * '.join(f'({extent})' for extent in sizes)}]"
    sizes = sizes[:-1] if is_complex else sizes
    shape = "".join(f"{extent}, " for extent in sizes)
    return f"{f'as_complex({text})' if is_complex else text}.reshape({shape.rstrip(', ') or '()'})"
