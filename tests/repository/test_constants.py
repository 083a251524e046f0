"""Constants of programs have the same bits on every machine.

NumPy's cosine, a logarithm of the C library, an eigenvalue of LAPACK and a ``longdouble`` have last
bits that depend on the machine. Tables come from ``staticgrad.support.tables``.
"""

import ast
import math
import re
from pathlib import Path

import mpmath
import numpy as np
import pytest

from staticgrad.support import tables
from tests.helpers.syntax import name_of, syntax_tree

ROOT = Path(__file__).parents[2]
#: Functions of NumPy and ``math`` with a rounding of the machine's, and namespaces of them.
ROUNDED = """
    exp expm1 exp2 log log2 log10 log1p sin cos tan sinh cosh tanh asin acos atan atan2 asinh acosh
    atanh arcsin arccos arctan arctan2 arcsinh arccosh arctanh hypot cbrt pow power float_power
    lgamma gamma erf erfc i0 kaiser hamming hanning blackman sinc longdouble matmul dot einsum
    vander polyfit roots geomspace logspace linalg fft polynomial
"""
#: Folders whose numbers are no constants of programs.
FOLDERS = (
    "staticgrad/bridges/", "staticgrad/comparison/", "staticgrad/distributed.py",
    "staticgrad/jax/", "staticgrad/numba.py", "staticgrad/onnx/", "staticgrad/pytensor/",
    "staticgrad/scipy.py", "staticgrad/sklearn.py", "staticgrad/testing/", "staticgrad/torch/",
    "staticgrad/tools/", "staticgrad/support/pictures/",
    "staticgrad/compiler/by_numba/", "staticgrad/exporting/",
)  # fmt: skip
#: Functions, and attributes of classes, that define what an op should compute. Compiled programs
#: call none of them; eager mode does.
OF_OPS = {"reference", "in_float64", "eager", "numpy"}
LITERAL = "the logarithm of a literal: see the last test"
OF_VALUES = "of values: a node"
#: Function of a file -> why its numbers may be the machine's.
EXCEPTIONS = {
    "staticgrad/eager/differentiate.py clip_grad_norm": "eager mode",
    "staticgrad/special/bessel.py formula": OF_VALUES,
    "staticgrad/special/combinatorics.py product": "rounded to whole numbers",
    "staticgrad/functions/elementwise.py": LITERAL,
    "staticgrad/functions/elementwise.py _round_decimals": "a bound, compared",
    "staticgrad/special/integrals.py transform": OF_VALUES,
    "staticgrad/special/integrals.py kernel": OF_VALUES,
    "staticgrad/special/integrals.py inv_boxcox": OF_VALUES,
    "staticgrad/special/integrals.py inv_boxcox1p": OF_VALUES,
    "staticgrad/special/integrals.py _log1p_over": OF_VALUES,
    "staticgrad/special/integrals.py cosm1": OF_VALUES,
    "staticgrad/fft/__init__.py": "names alone",
    "staticgrad/linalg/__init__.py": "names alone",
    "staticgrad/linalg/subspaces.py _rank": "LAPACK: a documented exception",
    "staticgrad/ndimage/geometry.py _rotated_sizes": "sizes, rounded",
    "staticgrad/special/polynomials.py sph_harm_y": OF_VALUES,
    "staticgrad/special/quantiles.py formula": LITERAL,
    "staticgrad/language/ops/special.py _log_ratio": "a reference",
    "staticgrad/language/ops/transcendental.py": LITERAL,
    "staticgrad/language/ops/transcendental.py scale": LITERAL,
    "staticgrad/language/ops/transcendental.py gaussian": "a reference",
    "staticgrad/language/vecmath/normal_quantile.py _quantile": "a bound, compared",
    "staticgrad/language/vecmath/power.py exponential": LITERAL,
    "staticgrad/native/libraries/special_functions.py _ellipdinc": "runs in Python with SciPy",
    "staticgrad/native/libraries/special_functions.py _modfresnelp": "runs in Python with SciPy",
    "staticgrad/nn/initial.py _orthogonal": "LAPACK: a documented exception",
    "staticgrad/stats/continuous.py spread": LITERAL,
    "staticgrad/stats/sampling.py ess": "a diagnostic of finished chains",
    "staticgrad/stats/sampling.py initial": LITERAL,
    "staticgrad/stats/sampling.py following": LITERAL,
    "staticgrad/stats/sampling.py _subtree": LITERAL,
    "staticgrad/stats/tails.py of": LITERAL,
    "staticgrad/support/tables.py gauss_legendre": "the start of Newton's method",
    "passes/rules/stable.py": LITERAL,
}


def uses(tree):
    """Yield the function and the line in which a module uses such a function."""

    def visit(node, function):
        if isinstance(node, ast.FunctionDef):
            function = node.name
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            function = name if name in OF_OPS or name == "scale" else function
        elif isinstance(node, ast.Attribute) and node.attr in ROUNDED.split():
            yield from [(function, node.lineno)] * (name_of(node.value) in ("np", "math"))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    return visit(tree, "")


def test_constants_of_programs_are_not_rounded_by_a_machine():
    seen, strange = set(), []
    for folder in ("staticgrad", "passes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            file = path.relative_to(ROOT).as_posix()
            if file.startswith(FOLDERS) or not re.search(r"\b(np|math)\.", path.read_text("utf-8")):
                continue
            for function, line in uses(syntax_tree(path)):
                key = f"{file} {function}".strip()
                seen.add(key)
                if key not in EXCEPTIONS and function not in OF_OPS:
                    strange.append(f"{file}:{line}: {function}")
    assert not strange, "take it from staticgrad.support.tables, or compute it in the graph"
    assert set(EXCEPTIONS) <= seen


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 12, 15, 100, 625, 2048, 98304])
def test_roots_of_unity_are_the_nearest_numbers(size):
    numbers = np.arange(size) if size < 3000 else np.arange(0, size, 97)
    actual = tables.roots_of_unity(numbers, size)
    with mpmath.workdps(50):
        for number, pair in zip(numbers, actual, strict=True):
            angle = mpmath.mpf(2 * int(number)) / size
            assert (*pair,) == (float(mpmath.cospi(angle)), float(mpmath.sinpi(angle)))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 40])
def test_nodes_and_weights_of_gauss_are_the_nearest_numbers(count):
    nodes, weights = tables.gauss_legendre(count)
    assert (np.diff(nodes) > 0).all()
    with mpmath.workdps(40):
        for node, weight in zip(nodes, weights, strict=True):
            root = mpmath.findroot(lambda x: mpmath.legendre(count, x), float(node))
            slope = mpmath.diff(lambda x: mpmath.legendre(count, x), root)
            assert abs(float(root) - node) < 1e-30
            assert float(2 / ((1 - root**2) * slope**2)) == weight


def test_reciprocal_roots_are_the_nearest_numbers():
    with mpmath.workdps(40):
        for number in [*range(1, 2000), 5345, 11190, 15870, 18267]:
            assert tables.reciprocal_root(number) == float(1 / mpmath.sqrt(number))


def test_logarithms_of_literals_are_the_nearest_numbers():
    """The C library of this machine rounds them correctly, as others do."""
    with mpmath.workdps(40):
        for number in (2.0, 10.0, 0.5, 4.0, math.pi, math.pi / 2.0, 2.0 * math.pi, 4.0 * math.pi):
            assert math.log(number) == float(mpmath.log(mpmath.mpf(number)))
        assert math.log2(math.e) == float(mpmath.log(mpmath.mpf(math.e), 2))
