"""Planted mistakes, each of which some test has to find: ``python -m tests.mutants [NAME ...]``.

Each mutant is planted alone in a copy of the checkout, and the tests that should find it run there.
A mutant that survives shows a gap. A row whose text is no longer in the package, or is in it twice,
is an error of the table, which ``tests/repository/test_mutants.py`` finds.

    python -m tests.mutants --list
    python -m tests.mutants cse-which-result rk45-root-mean-square
    python -m tests.mutants --json results.json
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Seconds that the tests of one mutant may take; beyond that it counts as found, by a hang.
LIMIT = 600.0
#: Parts of the checkout that tests read.
PARTS = ("staticgrad", "passes", "tests", "benchmarks", "docs", "examples")


@dataclass(frozen=True)
class Mutant:
    """One planted mistake.

    Attributes:
        name: of the row.
        area: what it breaks.
        where: the file or folder that has the text exactly once.
        text, replacement: what is planted.
        why: the mistake in words.
        tests: arguments of pytest: the tests that have to find it.
    """

    name: str
    area: str
    where: str
    text: str
    replacement: str
    why: str
    tests: str

    def file(self, root=ROOT):
        """The file that has the text.

        Raises:
            ValueError: no file has it, or it occurs more than once.
        """
        place = root / self.where
        files = [place] if place.is_file() else sorted(place.rglob("*.py"))
        found = [(file, file.read_text("utf-8").count(self.text)) for file in files]
        found = [(file, times) for file, times in found if times]
        if len(found) != 1 or found[0][1] != 1:
            places = ", ".join(f"{times} in {file}" for file, times in found) or "none"
            raise ValueError(f"{self.name}: the text occurs {places} of {self.where}")
        return found[0][0]


def _row(area, *rows):
    return tuple(Mutant(name, area, *rest) for name, *rest in rows)


OPS = "staticgrad/language/ops"
EVERY_OP = "tests/laws/test_ops.py -k "
LOOPS = "tests/loops/test_derivatives.py -k "
RULES = "tests/passes/test_rules.py "
ROUNDED = "tests/ops/test_rounded_once.py -k "
CHECKS = "tests/passes/test_memory.py -k damage"

MUTANTS = (
    *_row(
        "the course",
        (
            "course-tanh-is-not-squared",
            "staticgrad/tools/documentation/guide/a-compiler.md",
            '    "tanh": lambda n, g: (g * (n * n * -1.0 + 1.0),),\n',
            '    "tanh": lambda n, g: (g * (n * -1.0 + 1.0),),\n',
            "the compiler of the course has a wrong derivative",
            "tests/tools/documentation/test_engines.py -k by_hand",
        ),
        (
            "course-arrays-end-a-step-early",
            "staticgrad/tools/documentation/guide/a-compiler.md",
            "            together = lives[other][0] <= last and lives[other][1] >= first\n",
            "            together = lives[other][0] <= last and lives[other][1] > first\n",
            "a result of the course's compiler overwrites an operand of its kernel",
            "tests/tools/documentation/test_engines.py -k disturb",
        ),
        (
            "course-without-solutions",
            "tests/page_programs.py",
            "        elif part[\"fold\"] is not None:\n            folded = True\n",
            "        elif part[\"fold\"] is not None:\n            folded = False\n",
            "solutions of the course are not folded",
            "tests/tools/documentation/test_notebooks.py -k is_that_of",
        ),
        (
            "networks-of-equal-rows",
            "staticgrad/support/pictures/shown.py",
            "        row[id(node)] = 1 + max(",
            "        row[id(node)] = max(",
            "an operation is drawn beside what it reads",
            "tests/support/test_network.py -k above",
        ),
    ),
    *_row(
        "arguments of public functions",
        (
            "signatures-in-house-words",
            "staticgrad/support/signatures.py",
            "    return text if len(text) <= _LONGEST and",
            "    return text if len(text) <= 8 and",
            "help shows the names of types where what they stand for is short",
            "tests/interface/test_declared_arguments.py -k plain",
        ),
        (
            "the-end-of-an-interval",
            "staticgrad/language/ops/operands.py",
            "else given < high):\n",
            "else given <= high):\n",
            "a momentum of 1 is taken, the end of an interval that does not contain it",
            "tests/interface/test_declared_arguments.py -k refuses",
        ),
        (
            "choices-that-are-numbers",
            "staticgrad/language/ir/calls.py",
            "                if isinstance(each, str) is isinstance(given, str) and each == given:\n",
            "                if isinstance(each, str) and each == given:\n",
            "a choice that is a number is refused: edge_order=2",
            "tests/interface/test_declared_arguments.py -k numpys",
        ),
        (
            "fields-stay-unread",
            "staticgrad/language/ir/calls.py",
            "            object.__setattr__(record, field, found)\n",
            "            pass\n",
            "an integer of NumPy stays one in the settings of an optimizer",
            "tests/interface/test_declared_arguments.py -k numpys",
        ),
        (
            "none-is-always-allowed",
            "staticgrad/language/ir/calls.py",
            "return each, text != annotation\n",
            "return each, True\n",
            "None passes where an annotation does not allow it",
            "tests/interface/test_declared_arguments.py -k refuses",
        ),
        (
            "declared-by-position-alone",
            "staticgrad/language/ir/calls.py",
            "            kwargs = {**kwargs, word: found}\n",
            "            pass\n",
            "NumPy's integers and bools given by name stay what they are",
            "tests/interface/test_declared_arguments.py -k numpys",
        ),
        (
            "constructors-are-no-boundary",
            "staticgrad/support/errors/tracebacks.py",
            'if name.startswith("_") and not name.endswith("__"):',
            'if name.startswith("_") and name != "__call__":',
            "errors of an optimizer's constructor show frames of the package",
            "tests/support/test_tracebacks.py -k shows_the_lines",
        ),
        (
            "messages-without-ops",
            "staticgrad/support/errors/tracebacks.py",
            'if getattr(type(first), "names_messages", False):',
            "if False:",
            "a message of an op that is applied by itself begins with another name",
            "tests/support/test_tracebacks.py -k begins_with",
        ),
        (
            "methods-without-names",
            "staticgrad/support/errors/tracebacks.py",
            "    _NAMES[_innermost(function).__code__] = function.__name__\n",
            "",
            "messages of a generator's methods do not begin with their names",
            "tests/support/test_tracebacks.py -k begins_with",
        ),
        (
            "wrappers-raise-themselves",
            "staticgrad/support/errors/calls.py",
            "    return bool(code.co_flags & CO_VARKEYWORDS) and is_package_file(code.co_filename)\n",
            "    return False\n",
            "an unknown argument of a wrapped function is Python's own error",
            "tests/ops/test_keywords.py -k std",
        ),
    ),
    *_row(
        "complex operands",
        (
            "complex-draws-not-refused",
            "staticgrad/language/functions/draws.py",
            "if kind.is_complex or not kind.is_float:",
            "if not kind.is_float:",
            "a draw of complex numbers ends in an error of Python",
            "tests/mistakes/test_mistakes.py -k random",
        ),
        (
            "rule-not-conjugated",
            "staticgrad/language/ops/complex_linalg.py",
            "return tuple(None if each is None else conj(each) for each in shares)",
            "return tuple(shares)",
            "gradients of complex decompositions are the conjugates of what they should be",
            "tests/laws/test_functions.py -k complex_operands",
        ),
    ),
    *_row(
        "fused kernels",
        (
            "kernels-are-not-merged",
            "staticgrad/compiler/fusion/merging.py",
            "    merged,\n    blocked,\n",
            "    blocked,\n",
            "kernels that read one array read it one after the other",
            "tests/compiled/test_fused_programs.py -k shared",
        ),
        (
            "products-are-not-sunk",
            "staticgrad/compiler/fusion/merging.py",
            "    sunk,\n    cut,\n",
            "    cut,\n",
            "arrays that a kernel might compute by itself are stored",
            "tests/compiled/test_fused_programs.py -k shared",
        ),
    ),
    *_row(
        "reached from the tables",
        (
            "pass-in-no-table",
            "passes/pipelines.py",
            "    Residuals,\n    Narrow,\n",
            "    Residuals,\n",
            "a pass is in no table of built-in passes: its name is unknown until somebody imports it",
            "tests/repository/test_reached.py",
        ),
        (
            "lint-in-no-table",
            "staticgrad/tools/lints/__init__.py",
            "_SUBJECTS: Final = (derivatives, exponentials, precision, gradients, broadcasting)",
            "_SUBJECTS: Final = (derivatives, exponentials, precision, gradients)",
            "the lints of a file are never run",
            "tests/repository/test_reached.py",
        ),
    ),
    *_row(
        "Python numbers as arguments",
        (
            "numbers-are-never-inputs",
            "staticgrad/programs/function.py",
            "if given.numbers and given.key not in self._signatures:",
            "if False and given.numbers:",
            "each learning rate compiles a program",
            "tests/programs/test_numbers.py -k learning_rates",
        ),
        (
            "numbers-are-strong",
            "staticgrad/language/ops/elementwise.py",
            "        return arg.sample\n",
            "        return None\n",
            "a number beside float32 arrays is refused or makes them float64",
            "tests/programs/test_numbers.py -k learning_rates",
        ),
        (
            "exponents-are-inputs",
            "staticgrad/language/ops/arithmetic.py",
            "if type(y) is PythonNumber:",
            "if False:",
            "an exponent that is an input computes another power than a literal one",
            "tests/programs/test_numbers.py -k python_needs",
        ),
        (
            "numbers-that-change-their-type",
            "staticgrad/language/ir/python_numbers.py",
            "if list(map(type, found)) != self._types:",
            "if len(found) != len(self._types):",
            "2**n of a negative n is cast to the int that it was in the trace",
            "tests/programs/test_numbers.py -k errors_of_python",
        ),
    ),
    *_row(
        "special values and sizes",
        (
            "cov-one-row-is-a-variable",
            "staticgrad/language/functions/statistics.py",
            "if not rowvar and value.ndim == 2 else wide",
            "if not rowvar and value.ndim == 2 and wide.shape[0] != 1 else wide",
            "one observation of several columns counts as one variable",
            "tests/ops/test_order_statistics.py -k covariances",
        ),
        (
            "classes-on-the-last-axis",
            "staticgrad/language/functions/losses/basic.py",
            "return min(1, scores.ndim - 1) if axis is None",
            "return scores.ndim - 1 if axis is None",
            "classes of more than two axes lie elsewhere than in PyTorch",
            "tests/ops/test_losses.py -k torch_has",
        ),
        (
            "logsumexp-of-nothing",
            "staticgrad/language/functions/normalization.py",
            "return where(found == 0.0, -inf, log(found))",
            "return log(found)",
            "the slope of a logsumexp of only -inf is NaN",
            "tests/ops/test_nn.py -k 'slopes_are_0 or hidden'",
        ),
        (
            "part-behind-a-pole",
            f"{OPS}/cotangent.py",
            "met = self.met_pole or has_poles",
            "met = self.met_pole",
            "0 times an infinite slope outside of a slice is NaN",
            "tests/ops/test_nan.py -k what_is_not_read",
        ),
    ),
    *_row(
        "second derivatives at kinks",
        (
            "flat-power-second-slope",
            f"{OPS}/arithmetic.py",
            "at_zero = literal(0.0 if self.exponent > -1 else math.nan, x.dtype)",
            "at_zero = literal(0.0, x.dtype)",
            "the second derivative of a length of 0 is 0 in kernels",
            "tests/ops/test_nan.py -k second_derivative",
        ),
        (
            "length-to-any-power",
            "passes/rules/stable.py",
            "return _exponent(match) % 2 == 0",
            "return _exponent(match) > 0",
            "the magnitude is dropped below odd powers, too",
            "tests/autodiff/test_two_roads.py -k cubed",
        ),
        (
            "length-exponent",
            "passes/rules/stable.py",
            'exponent = one + match.op("other").exponent if "other" in match else',
            'exponent = one + 1.0 if "other" in match else',
            "the product of a length with itself is another power",
            "tests/autodiff/test_two_roads.py -k 'norm and by'",
        ),
    ),
    *_row(
        "rows of whole arrays",
        ("part-of-another-row", "passes/loops/interleaved.py",
         "Slice(op.starts[1:], op.lengths[1:]", "Slice((0,) * len(op.starts[1:]), op.lengths[1:]",
         "all parts of a row are its first one", "tests/loops/test_interleaved.py -k scanned"),
        ("parts-live-longer", "passes/loops/interleaved.py",
         "taken[source.key] == prod(source.shape[1:])", "True",
         "a computed array is kept for a part of it",
         "tests/loops/test_interleaved.py -k other_readers"),
        ("indexed-parts-copied", "staticgrad/language/ops/complex_readings.py", "    Take: _taken,\n", "",
         "a part of a complex array is copied in front of a loop that indexes it",
         "tests/loops/test_interleaved.py -k 'memory and indexed'"),
    ),
    *_row(
        "exported files",
        ("exported-ends", "staticgrad/compiler/plain", "return bool(factor.bounded) or self.kernel",
         "return self.kernel", "factors of products are read beyond the ends of their arrays",
         "tests/exporting/test_export.py -k looks_where"),
        ("loops-of-guarded-bools", "staticgrad/compiler/plain", 'return f"({text} != 0)"',
         'return f"({bare(text)} != 0)"', "a guarded number becomes a bool only outside its bounds",
         "tests/exporting/test_plain_loops.py -k guarded"),
        ("loops-of-poison", "staticgrad/native/by_numba/helpers.py",
         "return int32(x) if abs(x) < 2147483648.0 else int32(-2147483648)", "return int32(x)",
         "an integer that cannot hold a float is any number",
         "tests/exporting/test_plain_loops.py -k holds"),
        ("exported-sums-in-double", "staticgrad/native/by_numba/helpers.py",
         "total = levels.dtype.type(0.0)  # a", "total = levels[0] * 0  # a",
         "a sum of float32 is a float64 until it is stored",
         "tests/exporting/test_export.py -k sums_of_rows"),
        ("loops-of-elements-whole", "staticgrad/compiler/plain", 'return "begin", "end"',
         'return "0", "end"', "a call of Numba's kernel computes elements of other calls",
         "tests/native/test_backends.py -k what_one_reads"),
        ("loops-of-lanes-unwritten", "staticgrad/compiler/plain",
         'if self.kernel.outer != "elements":', 'if self.kernel.outer == "axes":',
         "rows that may be lanes of vectors have no loop in plain text",
         "tests/native/test_backends.py -k some_iterations"),
        ("loops-outlive-the-cache", "staticgrad/native/cache.py",
         "_remove_by_numba(folder, others=False)", "_remove_by_numba(folder, others=True)",
         "clearing the cache keeps the machine code that Numba made",
         "tests/native/test_backends.py -k clearing"),
        ("exported-cache-by-name", "staticgrad/native/by_numba/helpers.py", "kept = __name__ in sys.modules",
         "kept = True", "Numba looks for a module that nothing can import",
         "tests/exporting/test_export.py -k by_its_path"),
        ("exported-rounded-twice", "staticgrad/compiler/plain", "if source.digits <= F32.digits:",
         "if source.is_float:", "a float64 is rounded to float32, then to float16",
         "tests/exporting/test_export.py -k narrow_floats"),
    ),
    *_row(
        "functions of matrices",
        (
            "spectral-of-batches",
            "staticgrad/language/functions/linalg/spectral.py",
            "OF_BATCHES.update(each.name for each in (spectral, _moved, some_vectors))",
            "OF_BATCHES.update(())",
            "mapped rules do not see the function of the eigenvalues",
            "tests/autodiff/test_two_roads.py -k functions_of_batches",
        ),
        (
            "polar-factor-of-singular",
            "staticgrad/language/functions/linalg/spectral.py",
            "absolute(of_size) > _STEEP * least",
            "absolute(of_size) > 1e300",
            "a step at a singular value of 0 has a huge slope, and no NaN",
            "tests/autodiff/test_two_roads.py -k polar_factor_of",
        ),
        (
            "eigenvectors-that-are-not-read",
            "staticgrad/language/functions/linalg/spectral.py",
            "turned = where(as_columns(chosen), gaps * (rows @ adjoint(ct)), zero)",
            "turned = gaps * (rows @ adjoint(ct))",
            "what is 0 meets 1 / 0 at equal eigenvalues of other vectors",
            "tests/autodiff/test_two_roads.py -k beside_equal",
        ),
        (
            "cofactors-pivot",
            "staticgrad/language/functions/linalg/matrices.py",
            "* (eps * eps)",
            "* 0.0",
            "a pivot of 0 stays in the cofactors",
            "tests/autodiff/test_two_roads.py -k is_its_cofactors",
        ),
        (
            "spectral-quadrature-alone",
            "staticgrad/language/functions/linalg/spectral.py",
            "near = absolute(mean * gap - change) <= rounding * size",
            "near = absolute(gap) >= 0.0",
            "the slopes between two eigenvalues are believed where there is a step",
            "tests/autodiff/test_two_roads.py -k sign",
        ),
        (
            "spectral-scalar",
            "passes/rules/spectral.py",
            "        self.scalars.append(scalar)\n",
            "",
            "what a function of eigenvalues depends on beside them has no gradient",
            "tests/autodiff/test_two_roads.py -k 'matrix and number'",
        ),
        (
            "spectral-looked-through",
            "passes/rules/spectral.py",
            "match.look_through(found.nodes)",
            "match.look_through([])",
            "no gradient by the eigenvalues themselves",
            "tests/autodiff/test_two_roads.py -k in_the_middle",
        ),
    ),
    *_row(
        "names-of-numpy",
        ("digitize-ascends", "staticgrad/language/functions/statistics.py",
         "return where(aggregate.any(bins[:-1] > bins[1:]), below, found)", "return found",
         "edges that are values and descend count as if they ascend",
         "tests/ops/test_numpy_names.py -k digitize"),
        ("bincount-from-the-end", "staticgrad/language/functions/statistics.py",
         "places = where(places < 0, count, places)", "pass",
         "bincount counts -1 in its last bin", "tests/ops/test_numpy_names.py -k bincount"),
        ("fmax-keeps-nan", "staticgrad/language/functions/elementwise.py",
         "return where(isnan(left), right, chosen)", "return chosen",
         "fmax is NaN where its first operand is", "tests/ops/test_numpy_names.py -k fmax"),
        ("cov-weighs-half", "staticgrad/language/functions/statistics.py",
         "left, count = away * weights, total - float(less)",
         "left, count = away, total - float(less)",
         "weights of cov count in its means alone", "tests/ops/test_keywords.py -k cov"),
    ),
    *_row(
        "narrow-floats",
        ("narrow-mean-in-between", "staticgrad/language/functions/aggregate.py",
         "@rounded_once\ndef mean(", "def mean(",
         "a mean of float16 has a float16 count", ROUNDED + "'mean and float16'"),
        ("narrow-rule-in-between", "staticgrad/language/ops/cotangent.py",
         "return (several or not op.rounds_once) and not op.rule_is_foreign and not op.bodies",
         "return False",
         "derivative rules round every operation to float16", ROUNDED + "share_the_cotangent"),
        ("narrow-result-of-float32", "staticgrad/language/functions/rounding.py",
         "return floats.pop() if len(floats) == 1 else None", "return None",
         "a composed function of float16 gives float32", ROUNDED + "'softmax and float16'"),
        ("narrow-slopes-added-rounded", "staticgrad/language/ops/contract.py",
         "ct, a, b = map(widened, (ct, a, b))", "pass",
         "the slope of a matrix is a sum of rounded products", ROUNDED + "products_of_a_batch"),
        ("narrow-batch-statistics", "staticgrad/nn/normalization.py",
         "wide = astype(x, x.dtype.compute)", "wide = x",
         "batch statistics of float16 are rounded before they are used",
         ROUNDED + "batch_norm_of_float16"),
    ),
    *_row(
        "derivatives",
        ("erf-slope", OPS, "(_TWO_OVER_ROOT_PI * Exp()(-(x * x)),)",
         "(_TWO_OVER_ROOT_PI * Exp()(-(x * x)) * 1.00001,)", "the slope of erf is off by 1e-5",
         EVERY_OP + "'derivatives and erf'"),
        ("cholesky-half-diagonal", OPS, "by_place(adjoint(out) @ ct, 1.0, 0.5, 0.0)",
         "by_place(adjoint(out) @ ct, 1.0, 1.0, 0.0)",
         "the gradient of Cholesky counts the diagonal twice", EVERY_OP + "'derivatives and chol'"),
        ("svd-antisymmetric-part", OPS, "(turned - adjoint(turned)) * gaps * as_columns(s)",
         "(turned + adjoint(turned)) * gaps * as_columns(s)",
         "the gradient of U takes the symmetric part", EVERY_OP + "'derivatives and svd'"),
        ("cumsum-reversed", OPS, "return (_backwards(self, ct) if out.dtype.is_float else None,)",
         "return (self(ct) if out.dtype.is_float else None,)",
         "the gradient of cumsum adds up forwards", EVERY_OP + "'derivatives and cumsum'"),
        ("cumprod-tangent", OPS, "tangents[0] * _preceding(out, self.axis, 1)",
         "tangents[0] * _preceding(out, self.axis, 0)",
         "the tangent of cumprod loses the first factor", EVERY_OP + "'cumprod and jvp'"),
        ("recurrence-neighbour", OPS, "return part(with_zeros(x, width), axis, 1, x.shape[axis])",
         "return part(with_zeros(x, width), axis, 0, x.shape[axis])",
         "gradients of recurrences read the coefficient one step early",
         EVERY_OP + "'derivatives and linear_scan'"),
        ("maximum-of-nan", OPS,
         "return lost, where(equal(out, out), count, nan)",
         "return lost, count", "a maximum that is NaN has a finite gradient",
         "tests/ops/test_nan.py -k max tests/ops/test_cotangent.py"),
        ("basic-sum-keeps", OPS, "return kind(axes)(x) if axes else x",
         "return kind(axes[:1])(x) if axes else x",
         "the gradient of a broadcast operand is summed over one axis of several",
         "tests/ops/test_cotangent.py tests/autodiff/test_reverse.py"),
        ("basic-size-beside-complex", OPS, "return kind(size, dtype.real)()",
         "return kind(size, dtype)()", "a size beside a complex value has no end",
         "tests/complex_numbers/test_values.py -k sizes"),
        ("basic-cast-of-complex", OPS, "value.kind.complex_kind(astype(value, dtype.real), None)",
         "value.kind.complex_kind(value, None)",
         "a real value that becomes complex has the element type of before",
         "tests/complex_numbers/test_values.py"),
        ("maximum-ties", OPS, "tie = where(equal(x, y), ct * 0.5, nan)",
         "tie = where(equal(x, y), ct, nan)",
         "equal operands of maximum take the whole cotangent each",
         "tests/ops/test_nan.py -k 'maximum or minimum'"),
        ("mask-under-its-opposite", OPS,
         "if outer.negated == inner.negated and same_value(outer.condition, inner.condition):",
         "if same_value(outer.condition, inner.condition):", "a mask under its own opposite counts",
         "tests/ops/test_cotangent.py"),
        ("masks-exchanged", OPS, "(b.value, a.value) if a.negated else (a.value, b.value)",
         "(a.value, b.value)", "a condition and its opposite add up on the wrong sides",
         "tests/ops/test_cotangent.py"),
        ("tangent-overwritten", "staticgrad/autodiff",
         "self.tangents[key] = tangent if before is None else add(before, tangent)",
         "self.tangents[key] = tangent", "a value that moves twice moves by the last tangent alone",
         "tests/autodiff/test_forward.py"),
        ("loop-runs-forwards", "staticgrad/autodiff", "len(carried), slices, not op.reverse)",
         "len(carried), slices, op.reverse)",
         "the gradient of a loop runs in the direction of the loop",
         "tests/loops/test_derivatives.py -k reverse"),
        ("order-of-derivatives", "staticgrad/autodiff",
         "order = max((node.order for node in nodes)", "order = min((node.order for node in nodes)",
         "derivatives of derivatives have the order of the first",
         "tests/autodiff/test_reverse.py"),
        ("star-colours", "staticgrad/autodiff",
         "if colours[w] < 0 or met[x][colours[w]] > 1:",
         "if colours[w] < 0:", "paths of four vertices have two colours",
         "tests/programs/test_sparse.py"),
        ("paths-without-bound", "staticgrad/autodiff",
         "if is_mostly_full(rows) or (degrees**2).sum() > _MOST_PATHS:", "if False:",
         "a full pattern is coloured by stars, in time n**3",
         "tests/programs/test_sparse.py -k full"),
        ("column-colours", "staticgrad/autodiff", "taken[row] |= bit", "taken[row] = bit",
         "columns with a common row have one colour", "tests/programs/test_sparse.py"),
        ("dead-carries", "staticgrad/autodiff",
         "rest = [v for k, v in enumerate(given) if k >= op.carries and needed[k]]",
         "rest = []",
         "a carry that only slices or invariants reach has no cotangent", LOOPS + "evaluated"),
        ("cotangents-stay-in-one-iteration", "staticgrad/autodiff",
         "return {k for k in live if self.shares[k] is not None}",
         "return set()",
         "carries have a cotangent only where a last carry has one", LOOPS + "evaluated"),
        ("seed-of-last-carries", "staticgrad/autodiff",
         "first = [found_or_zeros(self.cts[k], args[k].type, args[k]) for k in self.moving]",
         "first = [found_or_zeros(None, args[k].type, args[k]) for k in self.moving]",
         "the cotangent of the last carry is zero", LOOPS + "evaluated"),
        ("terms-of-an-invariant", "staticgrad/autodiff",
         "where[k] = add(where[k], term) if k in where else term",
         "where[k] = term",
         "of the terms of an invariant's cotangent the last one counts", LOOPS + "evaluated"),
        ("late-sum-replaces", "staticgrad/autodiff",
         "where[k] = add(total, where[k]) if k in where else total",
         "where[k] = total",
         "a product after a loop replaces what the loop adds up", LOOPS + "evaluated"),
        ("which-carries-are-stacked", "staticgrad/autodiff",
         'outputs.update({f"y{own + k}": begun[place] for k, place in enumerate(kept)})',
         'outputs.update({f"y{own + k}": begun[k] for k, place in enumerate(kept)})',
         "the first carries are stacked in the place of those that are read", LOOPS + "evaluated"),
        ("tangents-run-forwards", "staticgrad/autodiff",
         "len(slices), op.reverse)",
         "len(slices), False)",
         "tangents of a reversed scan run forwards", LOOPS + "evaluated"),
        ("tangent-of-next-carry", "staticgrad/autodiff",
         "return [found_or_zeros(self.found[k], self.given[k].type) for k in self.moving]",
         "return [found_or_zeros(None, self.given[k].type) for k in self.moving]",
         "the tangent of a carry is zero from the second iteration on", LOOPS + "evaluated"),
        ("cases-without-cotangents", "staticgrad/autodiff",
         "outs = [found_or_zeros(shares_of_case[k], args[1 + k].type) for k in there]",
         "outs = [found_or_zeros(None, args[1 + k].type) for k in there]",
         "operands of a branch have no cotangent", LOOPS + "evaluated"),
        ("moves-behind-a-sum", "staticgrad/autodiff",
         "Share(source, (value.node, *reversed(nodes)))",
         "Share(source, (value.node, *nodes))",
         "what moves a sum over rows is applied in the wrong order", LOOPS + "evaluated"),
        ("bias-summed-over-time-alone", "staticgrad/autodiff",
         "sum(stack, (0, *(axis + 1 for axis in term.axes)))",
         "sum(stack, (0, *term.axes))",
         "a bias sums other axes than its iteration does", LOOPS + "blocks"),
        ("seeds-of-other-results", "staticgrad/autodiff",
         "seeds = [self.cts[op.carries + k] for k in self.seeded]",
         "seeds = [self.cts[op.carries + k] for k in range(len(self.seeded))]",
         "the first stacked results have the cotangents of those that are read",
         LOOPS + "evaluated"),
        ("rest-of-blocks", "staticgrad/autodiff",
         "return {place: add(total, more[place]) for place, total in found.items()}",
         "return found", "iterations that fill no block are left out of a sum over blocks",
         LOOPS + "blocks"),
        ("cases-without-tangents", "staticgrad/autodiff",
         "outs = [found_or_zeros(case.found[k], case.results[k].type) for k in there]",
         "outs = [found_or_zeros(None, case.results[k].type) for k in there]",
         "results of a branch have no tangents", LOOPS + "evaluated"),
        ("loops-merged-for-nothing", "passes/loops",
         "same = self.paired or self._have_common_work()", "same = True",
         "maps of one array are merged without work in common",
         "tests/loops/test_passes.py -k maps"),
        ("rules-read-what-ran-first", "staticgrad/autodiff",
         "return self.clones.marked(below if self.parent",
         "return (below if self.parent", "a loop that runs again is merged with the first one",
         "tests/autodiff/test_checkpointed_loops.py"),
        ("sums-stack-marked-operands", "staticgrad/autodiff",
         "ReshapeForm) or isinstance(value.node.op, Mark):", "ReshapeForm):",
         "a sum over time stacks an operand that is stacked as a carry",
         "tests/autodiff/test_checkpointed_loops.py -k 'alone or bytes'"),
        ("regions-begin-at-computed-values", "staticgrad/language/functions/checkpoints",
         "return not value.node.is_leaf or isinstance(value.node.op, Input)",
         "return not value.node.is_leaf",
         "a function of a mapped row runs again with all that was computed before it",
         "tests/autodiff/test_checkpointed_loops.py -k vmap"),
        ("policy-outside-of-bodies", "staticgrad/language/functions/checkpoints",
         "return any(_keeps(parts, each) for each in inside if not name_of(each.op))",
         "return False", "a policy that saves a value of a loop's body saves nothing of it",
         "tests/autodiff/test_checkpointed_loops.py -k states"),
    ),
    *_row(
        "windows",
        ("windows-end", OPS, "(int(axis.image) - 1 - shift) // step + 1)",
         "(int(axis.image) - 1 - shift) // step)", "the last window that reads a tap is left out",
         "tests/ops/test_windows.py -k 'pools or adjoint'"),
        ("windows-begin", OPS, "low = max(0, -(shift // step))",
         "low = max(0, 1 - (shift // step))", "the first window that reads a tap is left out",
         "tests/ops/test_windows.py -k 'pools or adjoint'"),
        ("nan-of-a-window", OPS, "chosen = (stacked == largest) | np.isnan(stacked)",
         "chosen = stacked == largest",
         "the gradient of a NaN goes to the first place of its window",
         "tests/ops/test_nan.py -k window"),
    ),
    *_row(
        "passes",
        ("cse-which-result", "passes/equals.py",
         "args = [(same.get(arg.node, arg.node), arg.index) for arg in node.args]",
         "args = [(same.get(arg.node, arg.node), 0) for arg in node.args]",
         "readers of different results of an op merge",
         "tests/passes/test_cse.py tests/passes/test_properties.py"),
        ("cse-border", "passes/equals.py", "node.order if border else None", "None",
         "forward and backward nodes merge across the border", "tests/passes/test_cse.py"),
        ("cast-through-unsigned", "passes/rules",
         'return outer.digits >= inner.digits and (inner.kind == "u" or outer.kind != "u")',
         "return outer.digits >= inner.digits", "a cast through a wider unsigned type is left out",
         RULES + "-k cast"),
        ("cast-through-same-width", "passes/rules",
         "return outer.digits >= inner.digits and (inner",
         "return outer.bits >= inner.bits and (inner", "a cast of uint8 through int8 is left out",
         RULES + "-k cast"),
        ("inverse-of-denormal", "passes/rules",
         "return inverse if smallest <= abs(inverse) < np.inf else None", "return inverse",
         "division by a denormal becomes multiplication by infinity",
         "tests/passes/test_moved_elements.py -k power"),
        ("slice-of-slice", "passes/rules", "a + s * b for a, s, b in zip(",
         "a + b for a, s, b in zip(", "a slice of a strided slice starts too early",
         RULES + "-k slice-of-slice"),
        ("join-of-strided-neighbours", "passes/rules",
         "one.starts[axis] + one.steps[axis] * one.lengths[axis]",
         "one.starts[axis] + one.lengths[axis]", "strided slices that overlap count as neighbours",
         "tests/passes/test_moved_elements.py -k elements"),
        ("transposes-in-wrong-order", "passes/rules",
         "Transpose(tuple(inner[axis] for axis in outer))",
         "Transpose(tuple(outer[axis] for axis in inner))",
         "two transposes compose the wrong way round", RULES + "-k transpose-twice"),
        ("sum-in-another-order", "passes/rules", "if moved != decompose(match.inner.ndim, axes):",
         "if False:", "an exact rule changes the order of additions",
         "tests/passes/test_movement.py"),
        ("softmax-of-other-rows", "passes/rules",
         "return _is_plain(match) and (everything or whole == kept)", "return _is_plain(match)",
         "exp(x) divided by sums of other rows becomes softmax",
         "tests/passes/test_moved_elements.py -k exponentials"),
        ("softmax-of-empty-axes", "passes/rules",
         'if any((bounds(match.x.shape[axis])[0] or 0) < 1 for axis in match.op("sum").axes):',
         "if False:", "softmax of an axis that may be empty asks for its maximum",
         RULES + "-k softmax"),
        ("root-squared-below-zero", "passes/rules", "sg.where(x >= 0.0, x, np.nan)",
         "sg.where(x >= 0.0, x, x)", "sqrt(x) * sqrt(x) of a negative number is that number",
         RULES + "-k root-squared"),
        ("log-one-minus-exp-border", "passes/rules", "near = match.x > -_LOG_OF_TWO",
         "near = match.x > -60 * _LOG_OF_TWO", "log(1 - exp(x)) uses the wrong formula far from 0",
         RULES + "-k minus-exp"),
        ("loops-of-two-directions", "passes/loops", "(node.op.iterations, node.op.reverse)",
         "(node.op.iterations,)", "a loop and one that runs backwards merge",
         "tests/loops/test_passes.py"),
        ("loops-of-two-starts", "passes/loops",
         "same = next((j for j, other in left.items() if other.key == arg.key), None)",
         "same = next(iter(left), None)", "loops whose carries begin differently merge",
         "tests/loops/test_passes.py"),
        ("narrow-patterns", "passes/narrow.py", "for name in names for each in refused",
         "for name in names for each in wanted", "patterns behind ! do not refuse an op",
         "tests/passes/test_narrow.py"),
        ("needed-run-dropped", "staticgrad/analysis/planning/sequences.py",
         "if count[step] > 1 and used == 0:", "if count[step] > 1 and used <= 1:",
         "recomputation drops runs that are needed",
         "tests/passes/test_search.py tests/passes/test_remat.py -k 'optimum or "
         "cheapest or below'"),
    ),
    *_row(
        "keys of caches",
        ("kernel-key-target", "staticgrad/native/cache.py",
         'text = "\\0".join([environment(), target.key, source])',
         'text = "\\0".join([environment(), source])', "kernels of another target are found",
         "tests/native/test_cache.py -k keys"),
        ("kernel-key-machine", "staticgrad/compiler/backends.py",
         "[kernel.text, repr(directives), repr(host)]", "[kernel.text, repr(directives)]",
         "a kernel for other caches is taken for this machine's",
         "tests/compiler/test_same_code.py -k another_one"),
        ("kernel-key-environment", "staticgrad/native/cache.py",
         '"compiler/nest", "language/ir"', '"language/ir"',
         "kernels on disk outlive a change of the code that makes them",
         "tests/compiler/test_same_code.py -k environment"),
        ("helpers-by-name", "staticgrad/native/language/frontend.py",
         "    parts = [content, *(", "    parts = [function.name, *(",
         "a helper is another kernel's of the same name",
         "tests/native/test_language.py tests/native/test_shared.py"),
        ("runtime-file-unchecked", "staticgrad/native/functions.py",
         "if _bytecode(made) != _bytecode(function.__code__):", "if False:",
         "machine code is made of a file that was changed after its import",
         "tests/native/test_functions.py -k changed"),
        ("runtime-key-numbers", "staticgrad/native/source.py",
         'for key, other in sorted(others.items())]', 'for key, other in sorted({}.items())]',
         "code of the runtime for tests, or another system, is taken for the ordinary one",
         "tests/native/test_functions.py -k replaced"),
        ("target-key-features", "staticgrad/native/target.py", "{self.cpu}|{self.features}|",
         "{self.cpu}|", "kernels of other features of a processor are found",
         "tests/native/test_target.py tests/native/test_cache.py"),
        ("kernel-digest", "staticgrad/native/cache.py",
         "if _digest(name, body) != content[len(MAGIC) : start]:", "if False:",
         "a damaged kernel is believed", "tests/native/test_cache.py -k 'damaged or another'"),
        ("schedule-key-order", "staticgrad/compiler/compiling", "{node.order} {place}", "{place}",
         "graphs that differ in derivative orders share a schedule",
         "tests/compiler/test_schedule_cache.py -k 'order or another_program'"),
        ("schedule-key-file", "staticgrad/compiler/compiling",
         'return f"{name} {status.st_mtime_ns} {status.st_size}"', "return name",
         "a changed file keeps its schedule", "tests/compiler/test_schedule_cache.py -k changed_file"),
        ("constant-digest", "staticgrad/language/types", "head + self.array.tobytes()",
         "self.array.tobytes()", "constants of equal bytes and other types are equal",
         "tests/passes/test_cse.py -k constants"),
        ("kept-count", "staticgrad/support/caches.py", "            self._budget.add(nbytes)\n", "",
         "what is kept does not count for the limit", "tests/support/test_caches.py"),
    ),
    *_row(
        "planner and checks of plans",
        ("write-after-read", "staticgrad/analysis/liveness.py",
         "found.update(dict.fromkeys(readers.pop(buffer, ())))", "readers.pop(buffer, ())",
         "a step may move before those that read what it overwrites",
         "tests/passes/test_memory.py -k 'random_plans or updates'"),
        ("in-place-begin", "staticgrad/analysis/liveness.py",
         "and self._accesses[number].begin == begin", "",
         "a result is written over an operand that is read from another place on",
         "tests/passes/test_memory.py -k 'random_plans or takes or over'"),
        ("check-words-released", "staticgrad/analysis/liveness.py", "last[buffer] = commit - 1",
         "last[buffer] = at", "the words of a check do not live until they are read",
         "tests/passes/test_memory.py tests/passes/test_remat.py -k check"),
        ("overlap-below", "staticgrad/analysis/plan_check.py",
         "if first and _end(self._places[first - 1]) > place.offset:", "if False:",
         "the checker does not see an overlap with what lies lower",
         "tests/passes/test_memory.py -k 'overlaps or damage'"),
        ("alignment-unchecked", "staticgrad/analysis/plan_check.py",
         "or place.offset % ALIGNMENT or", "or", "the checker accepts buffers that are not aligned",
         CHECKS),
        ("first-fit-overlap", "staticgrad/analysis/planning/offsets.py",
         "            if behind > end:\n                end = behind", "            end = behind",
         "blocks are placed over longer ones", "tests/passes/test_memory.py -k meet"),
        ("freed-too-early", "staticgrad/analysis/planning/offsets.py",
         "while alive and alive[0][0] < spans.first[block]:",
         "while alive and alive[0][0] <= spans.first[block]:",
         "a block takes the bytes of one that ends at the same step",
         "tests/passes/test_memory.py -k meet"),
        ("budget-at-its-bound", "staticgrad/compiler/memory", "return budget < self._lower_bound(",
         "return budget <= self._lower_bound(",
         "several workers are given up at a budget that they meet",
         "tests/passes/test_memory.py -k equal"),
        ("updated-read-unchecked", "staticgrad/analysis/planning/checking.py",
         "if self.problem.bases[value] in self.updated and value not in op.reads_updated:",
         "if False:", "the checker of problems accepts a read after an update",
         "tests/planning/test_planner.py -k update"),
        ("cut-weights", "staticgrad/analysis/vertex_cut.py",
         "network.link(2 * vertex, 2 * vertex + 1, weight)",
         "network.link(2 * vertex, 2 * vertex + 1, 1)", "a cut counts vertices, not their weights",
         "tests/analysis/test_vertex_cut.py"),
    ),
    *_row(
        "barriers",
        ("barrier-write-after-read", "staticgrad/analysis/barriers.py",
         "since.meet(touched.writes)", "written.meet(touched.writes)",
         "a step overwrites what another still reads", "tests/analysis/test_barriers.py"),
        ("barrier-before-commit", "staticgrad/analysis/barriers.py",
         "waits = position == plan.commit and position > 0", "waits = False",
         "parameters are written while checks still run", "tests/analysis/test_barriers.py"),
        ("byte-sets", "staticgrad/analysis/barriers.py", "max(stop, stops[last - 1])",
         "max(stop, stops[first])", "a span that joins several forgets the last",
         "tests/analysis/test_barriers.py"),
    ),
    *_row(
        "locks and forks",
        ("torn-read", "staticgrad/language/storage/locks.py",
         "if not any(blocker.writing for blocker in blockers):", "if True:",
         "a parameter is read while it is written", "tests/storage/test_locks.py"),
        ("order-of-the-queue", "staticgrad/language/storage/locks.py", "self._queue.append(turn)",
         "self._queue.appendleft(turn)", "the last to come is served first",
         "tests/storage/test_locks.py"),
        ("fence-of-writers", "staticgrad/language/storage/locks.py",
         "        if not self.stands:\n            with _state:",
         "        if self.stands:\n            with _state:",
         "a writer does not wait for a copy that has begun",
         "tests/storage/test_reservation.py"),
        ("reserved-although-held", "staticgrad/language/storage/locks.py",
         "if lock._holders or lock._queue or lock.before_write is not None:",
         "if lock._queue or lock.before_write is not None:",
         "locks that another thread holds are reserved",
         "tests/storage/test_reservation.py"),
        ("child-keeps-holders", "staticgrad/language/storage/locks.py",
         "            lock._holders.clear()\n", "",
         "a forked child waits for threads of its parent",
         "tests/storage/test_locks.py tests/storage/test_reservation.py"),
        ("order-before-fork", "staticgrad/support/forks.py", "reversed(members())", "members()",
         "before a fork, locks are taken in the order of registration", "tests/support/test_forks.py"),
    ),
    *_row(
        "samplers",
        ("philox-rounds", OPS, "ROUNDS: Final = 10", "ROUNDS: Final = 9", "Philox has nine rounds",
         "tests/ops/test_random.py -k 'philox or published'"),
        ("philox-stream", OPS, "(position >> 32) | (self.stream << 16),",
         "(position >> 32) | (self.stream << 15),",
         "compiled streams of one generator are others than those of the oracle",
         "tests/ops/test_random.py -k oracle"),
        ("folded-stream", OPS, "RandomBits(key.shape, U64, FOLDED, keys=len(key.shape))",
         "RandomBits(key.shape, U64, 0, keys=len(key.shape))",
         "keys of iterations are draws of the program", "tests/loops/test_draws.py -k keys"),
    ),
    *_row(
        "functions and layers",
        ("huber-jumps", "staticgrad/language/functions/losses", "delta * (size - 0.5 * delta))",
         "delta * (size - 0.25 * delta))", "huber jumps at delta",
         "tests/ops/test_losses.py -k huber"),
        ("weighted-mean-by-rows", "staticgrad/language/functions/losses/basic.py",
         "total(losses) / total(weights)", "mean(losses)",
         "a weighted loss is divided by the number of rows", "tests/ops/test_losses.py"),
        ("causal-from-the-start", "staticgrad/language/functions/attention.py",
         "like=scores) + size_value(s - t, I64)", "like=scores)",
         "the first query is beside the first key", "tests/ops/test_nn.py -k attention"),
        ("forbidden-weights", "staticgrad/language/functions/attention.py",
         "weights = where(allowed, weights, 0.0)", "pass",
         "a query without keys is not a number", "tests/ops/test_nn.py -k 'attention or keys'"),
        ("rotary-rates", "staticgrad/language/functions/attention.py", "(-2.0 / features)",
         "(-1.0 / features)", "pairs turn at the rate of half their number",
         "tests/ops/test_losses.py -k rotary"),
        ("lstm-gates", "staticgrad/language/functions/recurrent.py",
         "i, f, g, o = split", "f, i, g, o = split",
         "the input and forget gates of an LSTM are exchanged",
         "tests/loops/test_recurrent.py tests/laws/test_modules.py -k LSTM"),
        ("whole-images-dropped", "staticgrad/nn/layers.py",
         "shape = (*value.shape[:2], *(1,) * self.axes)",
         "shape = (value.shape[0], 1, *(1,) * self.axes)", "Dropout2d drops whole images",
         "tests/nn -k dropped"),
        ("dropout-unscaled", "staticgrad/nn/layers.py", "value * (1.0 / (1.0 - self.p))", "value",
         "what Dropout2d keeps is not scaled", "tests/nn -k dropped"),
    ),
    *_row(
        "slopes of elementwise functions",
        ("log-base", "staticgrad/language/ops/transcendental.py",
         "return x if self.scale == 1.0 else x * self.scale", "return x",
         "slopes of log2 and log10 are those of log", "tests/laws -k 'derivatives and log'"),
        ("arctan2-sides", "staticgrad/language/ops/transcendental.py",
         "return x / squared, -(y / squared)", "return x / squared, y / squared",
         "arctan2 grows with x", "tests/laws -k 'derivatives and arctan2'"),
        ("arccos-sign", "staticgrad/language/ops/transcendental.py",
         "return (-1.0 / sqrt((1.0 - x) * (1.0 + x)),)",
         "return (1.0 / sqrt((1.0 - x) * (1.0 + x)),)", "arccos grows",
         "tests/laws -k 'derivatives and arccos'"),
        ("cbrt-slope", "staticgrad/language/ops/transcendental.py", "(1.0 / (3.0 * (out * out)),)",
         "(1.0 / (3.0 * (out * x)),)", "the slope of cbrt divides by another product",
         "tests/laws -k 'derivatives and cbrt'"),
        ("logaddexp-sides", "staticgrad/language/ops/transcendental.py", "for apart in (x - y, y - x))",
         "for apart in (y - x, x - y))", "logaddexp gives each operand the share of the other",
         "tests/laws -k 'derivatives and logaddexp'"),
        ("sum-spread", "staticgrad/language/ops/reduce.py",
         "return (self.spread(ct, x) if out.dtype.is_float else None,)",
         "return (self.spread(ct * 1.0001, x) if out.dtype.is_float else None,)",
         "gradients of sums are off by 1e-4", "tests/laws -k 'derivatives and sum'"),
        ("product-flags", "staticgrad/language/ops/contract.py",
         "right = b.swapaxes(-1, -2) if self.transpose_b else b\n        ", "right = b\n        ",
         "the evaluator reads a transposed operand as it lies",
         "tests/laws -k 'derivatives and matmul'"),
    ),
    *_row(
        "scores of attention",
        ("scores-are-always-stored", "passes/residuals.py",
         "chosen = border.scores() if self.flops > 0 else []",
         "chosen: list[Node] = []",
         "the scores of attention are stored for the backward pass",
         "tests/passes/test_scores_again.py"),
        ("exp-inside-a-product", "staticgrad/compiler/fusion/blocks.py",
         "isinstance(user.form, Contract) or user.op.flops > _MOST_FLOPS:",
         "isinstance(user.form, Contract):",
         "the exponential of a softmax is computed inside a product, element by element",
         "tests/passes/test_scores_again.py"),
    ),
    *_row(
        "stable rules",
        ("one-minus-sigmoid-in-derivatives", "passes/rules/stable.py",
         "return root.order == root.args[1].node.order or _is_elementwise_of_leaves(match.x)",
         "return True",
         "the derivative of a gate has the sums in front of it stored beside the gate",
         "tests/passes/test_stored_operands.py"),
        ("one-minus-sigmoid-of-inputs", "passes/rules/stable.py",
         "return root.order == root.args[1].node.order or _is_elementwise_of_leaves(match.x)",
         "return root.order == root.args[1].node.order",
         "a derivative cancels although its operand is an input",
         "tests/passes/test_stored_operands.py"),
    ),
    *_row(
        "rules of movement",
        ("join-of-slices-with-a-gap", "passes/rules/movement.py",
         "one.steps != two.steps or not (follows and others)",
         "one.steps != two.steps or not others",
         "slices with a gap between them are one slice", "tests/passes/test_movement.py"),
        ("join-of-other-columns", "passes/rules/movement.py",
         "or not (follows and others)", "or not follows",
         "slices of other columns are neighbours", "tests/passes/test_movement.py"),
        ("slice-of-backward-slice", "passes/rules/movement.py",
         "steps = tuple(a * b for a, b in zip(inner.steps, outer.steps, strict=True))",
         "steps = tuple(abs(a * b) for a, b in zip(inner.steps, outer.steps, strict=True))",
         "a slice of a backward slice runs forwards", RULES + "-k slice"),
        ("slice-of-join-begins", "passes/rules/movement.py",
         "starts = (*cut.starts[:axis], start - begin, *cut.starts[axis + 1 :])",
         "starts = (*cut.starts[:axis], start, *cut.starts[axis + 1 :])",
         "a slice of a join begins where the join begins", RULES + "-k join"),
        ("slice-of-join-ends", "passes/rules/movement.py",
         "last = first + step * (length - 1)", "last = first + step * (length - 2)",
         "a slice that ends in the next operand of a join lies in one",
         "tests/passes/test_movement.py"),
        ("broadcast-axes", "passes/rules/movement.py",
         "tuple(outer.axes[axis] for axis in inner.axes)", "inner.axes",
         "two broadcasts forget where the first one's axes lie", RULES + "-k broadcast"),
        ("reshaped-number", "passes/rules/movement.py",
         "if not inner.axes else None", "if len(inner.axes) < 2 else None",
         "a row that is repeated counts as one number", "tests/passes/test_movement.py"),
        ("where-in-false-branch", "passes/rules/identities.py",
         "sg.where(c, x, sg.where(c, y, z)), sg.where(c, x, z)",
         "sg.where(c, x, sg.where(c, y, z)), sg.where(c, x, y)",
         "the choice behind a choice takes the other side", RULES + "-k where"),
        ("cast-that-loses", "passes/rules/identities.py",
         "return outer.digits >= inner.digits and", "return",
         "a cast through a narrower integer is left out", RULES + "-k cast"),
    ),
    *_row(
        "sparse products and ONNX",
        ("sparse-rows", "staticgrad/language/ops/sparse.py",
         "rows = np.repeat(np.arange(low.size), lengths)",
         "rows = np.repeat(np.arange(low.size)[::-1], lengths[::-1])",
         "elements of a pattern count for other rows", "tests/sparse"),
        ("sparse-transposed-slope", "staticgrad/language/ops/sparse.py",
         "pair = (x, ct) if self.transposed else (ct, x)", "pair = (ct, x)",
         "the slope of a transposed product takes its factors the other way round",
         "tests/sparse"),
        ("onnx-old-softmax", "staticgrad/interop/onnx/operators.py",
         "axis = (-1 if opset >= 13 else 1) if axis is None else axis",
         "axis = -1 if axis is None else axis", "an old softmax works along the last axis",
         "tests/exchange/test_onnx.py -k options"),
        ("onnx-exclusive-product", "staticgrad/interop/onnx/operators.py",
         "before = sg.full_like(x[(*outer, slice(0, 1))], first)",
         "before = sg.full_like(x[(*outer, slice(0, 1))], 0)",
         "an exclusive running product begins with 0",
         "tests/exchange/test_onnx.py -k options"),
    ),
    *_row(
        "sections and tapes",
        ("failed-kernel-unseen", "staticgrad/compiler/runtime/step.py",
         "if self._may_fail and self._failures[0] >= 0:", "if False:",
         "a kernel of Numba's got no memory, and the run gives wrong numbers",
         "tests/native/test_backends.py -k memory"),
        ("failed-update", "staticgrad/compiler/runtime/step.py",
         "if not (program.is_divisible or kernels & program.failing):",
         "if not program.is_divisible:",
         "a kernel that fails behind the commit leaves half of an update",
         "tests/native/test_backends.py -k memory"),
        ("failure-unnoted", "staticgrad/compiler/plain/kernels.py",
         "if not any(\"np.\" in line for line in body):", "if True:",
         "Numba prints that there is no memory, and goes on",
         "tests/native/test_backends.py -k memory"),
        ("section-border", "staticgrad/compiler/runtime/sections.py",
         "if at == 0 or row.waits or row.alone or rows[at - 1].alone",
         "if at == 0 or row.alone or rows[at - 1].alone",
         "a row that waits joins the section in front of it", "tests/runtime/test_sections.py"),
        ("grain-of-groups", "staticgrad/compiler/runtime/sections.py",
         "return row.grain * -(-groups // wanted)", "return -(-groups // wanted)",
         "groups of a row end inside of its grain", "tests/runtime/test_sections.py"),
        ("checkpoint-other-draws", "staticgrad/eager/checkpoint.py",
         "with replayed(before), enable_grad(), Block[Any](tape.selection, chosen):",
         "with enable_grad(), Block[Any](tape.selection, chosen):",
         "a checkpoint draws other numbers the second time", "tests/eager -k checkpoint"),
        ("changed-operand", "staticgrad/eager/tape.py",
         "if tensor is not None and _checksum(tensor) != sealed:",
         "if tensor is None and _checksum(tensor) != sealed:",
         "an array that changed before the backward pass is not seen",
         "tests/eager -k mutation"),
    ),
    *_row(
        "optimizers and solvers",
        ("adam-bias", "staticgrad/optim",
         "scale = correction / sqrt(1.0 - power(self.beta2, t))",
         "scale = correction / sqrt(1.0 - power(self.beta2, t + 1.0))",
         "Adam corrects the second moment of the next step", "tests/training/test_optimizers.py -k by_hand"),
        ("one-cycle-late", "staticgrad/optim", "top = self.rise * self.steps - 1.0",
         "top = self.rise * self.steps", "one_cycle reaches its top one step late",
         "tests/training/test_optimizers.py -k of_torch"),
        ("warm-up-short", "staticgrad/optim", "(t + 1.0) / (self.steps + 1.0)",
         "(t + 1.0) / self.steps", "warm_up has its first rate one step early",
         "tests/training/test_optimizers.py -k of_torch"),
        ("left-though-it-took-part", "staticgrad/support/ranks.py",
         "if left.exchanges <= self._exchanges:", "if left.exchanges <= self._exchanges + 1:",
         "a rank that has done its part of an exchange and ended counts as missing",
         "tests/distributed/test_distributed.py -k left"),
        ("ranks-not-weighted", "staticgrad/support/ranks.py",
         "shares = [[n / sum(column) for n in column] for column in columns if len({*column}) > 1]",
         "shares = [[1 / len(column)] * len(column) for column in columns if len({*column}) > 1]",
         "ranks with unequal shares count alike", "tests/distributed/test_distributed.py -k share"),
        ("ranks-draw-alike", "staticgrad/language/functions/random.py", "    return job.rank\n",
         "    return 0\n", "all ranks draw the same random numbers",
         "tests/distributed/test_distributed.py -k share"),
        ("seeds-of-the-process", "staticgrad/nn", "(_seeded.get() or _process.random)",
         "(_process.random)", "threads that seed share one source of first values",
         "tests/nn/test_use.py -k threads"),
        ("clip-scales-up", "staticgrad/optim",
         "return max_norm / maximum(_norm(grads), max_norm)",
         "return max_norm / _norm(grads)", "gradients below the norm are scaled up",
         "tests/training/test_optimizers.py -k clip"),
        ("rk45-root-mean-square", "staticgrad/language/functions",
         "sqrt(total / maximum(count, 1))", "sqrt(total)",
         "the error of a step is not divided by the size of the state",
         "tests/loops/test_ode.py -k adaptive"),
        ("rk45-exponent", "staticgrad/language/functions", "maximum(error, 1e-10) ** -0.2",
         "maximum(error, 1e-10) ** -0.25", "steps grow by the wrong power of the error",
         "tests/loops/test_ode.py -k adaptive"),
        ("rk45-last-step", "staticgrad/language/functions", "step = minimum(step, 1.0 - part)",
         "step = step * 1.0", "the last step goes beyond the end",
         "tests/loops/test_ode.py -k adaptive"),
        ("rk4-third-slope", "staticgrad/language/functions", "three = f(t + h / 2, _moved(y, h / 2, two))",
         "three = f(t + h / 2, _moved(y, h / 2, one))",
         "the third slope of rk4 starts from the first", "tests/loops/test_ode.py -k fourth"),
    ),
    *_row(
        "casts and dtypes",
        ("uint64-above-its-half", "staticgrad/language/types/arrays.py",
         "np.where(large, low ^ np.int64(-(2**63)), low)", "low",
         "floats from 2**63 on lose the highest bit of uint64", EVERY_OP + "cast"),
        ("floats-round-down", "staticgrad/language/types/arrays.py", "whole = np.trunc(x)",
         "whole = np.floor(x)", "negative floats become integers by floor", EVERY_OP + "cast"),
        ("weak-scalars", "staticgrad/language/types/dtype.py",
         "if _KIND_ORDER[kind] <= _KIND_ORDER[other.kind]:",
         "if _KIND_ORDER[kind] < _KIND_ORDER[other.kind]:", "a Python float widens float32",
         "tests/ops/test_elementwise.py -k weak"),
        ("float16-meets-bfloat16", "staticgrad/language/types/dtype.py",
         "outer.digits >= inner.digits and outer.bias >= inner.bias",
         "outer.digits >= inner.digits", "float16 holds bfloat16", "tests/ir/test_dtype.py"),
    ),
    *_row(
        "indexing",
        ("negative-labels", OPS, "indices < (-size if wrap else 0)", "indices < -size",
         "a label below 0 counts from the end", "tests/ops/test_indexing.py"),
        ("index-of-size", OPS, "wrong = indices >= size", "wrong = indices > size",
         "an index of exactly the size is left to NumPy", "tests/ops/test_indexing.py"),
        ("clipped-index", OPS, "minimum(places, length - 1)",
         "minimum(places, length)", "mode=clip reads one place behind the end",
         "tests/ops/test_indexing.py -k take tests/ops/test_keywords.py -k take"),
        ("unseen-lookups", "staticgrad/analysis/lookups.py",
         "unseen = empty and check.name in inside", "unseen = empty",
         "a lookup outside an empty loop is not seen to fail",
         "tests/analysis/test_lookups.py tests/safety/test_guard_pages.py"),
    ),
    *_row(
        "IR",
        ("logged-rows-forwards", "staticgrad/language/ir/control_flow.py",
         "count if written != control.backwards else 0", "count if written else 0",
         "a loop that runs backwards reads the row of its log that it writes",
         "tests/ir/test_control_flow.py -k logged"),
        ("turns-of-even-loops", "staticgrad/language/ir/control_flow.py",
         "return (self.last, self.other) if iterations % 2 else (self.other, self.last)",
         "return self.last, self.other",
         "the last of an even number of iterations does not write the result",
         "tests/ir/test_control_flow.py -k turns"),
        ("stride-of-one-factor", "staticgrad/language/ir/expr.py",
         "    return step, stride\n", "    return stride\n",
         "a loop moves an access by the stride of a position, whatever its step",
         "tests/ir/test_kernels.py -k product"),
        ("stacks-at-one-row", "staticgrad/language/ir/bodies.py",
         'return self.role in ("slice", "result")', 'return self.role == "slice"',
         "every iteration writes the first row of a stack",
         "tests/ir/test_control_flow.py tests/ir/test_bodies.py -k 'rows or role'"),
        ("size-division", "staticgrad/language/types/dim.py", "divmod(c // common, divisor)",
         "divmod(c, divisor)", "quotients of sizes are not in lowest terms",
         "tests/ir/test_dim.py -k 'division or arithmetic'"),
        ("size-proof", "staticgrad/language/types/dim.py",
         "atom.numerator if c < 0 else atom.numerator - (by - 1)", "atom.numerator",
         "a size that may be negative is proved not to be", "tests/ir/test_dim.py -k negative"),
        ("size-text", "staticgrad/language/types/dim.py", '== 1 and (coefficient > 0 or text != "")', "== 1",
         "-(a//2) prints as -a//2", "tests/ir/test_dim.py -k 'text or examples'"),
        ("update-of-another-type", "staticgrad/language/ir/verify.py", "if parameter.type != value.type:",
         "if False:", "a parameter may be updated by a value of another type",
         "tests/ir/test_verify.py"),
        ("sum-of-negative-zeros", "staticgrad/language/ir/summation.py",
         "np.full((*outer, blocks, width), -0.0, terms.dtype)",
         "np.full((*outer, blocks, width), 0.0, terms.dtype)",
         "a sum of negative zeros is positive", "tests/ir/test_summation.py -k negative"),
        ("exp-limit", "staticgrad/language/vecmath/exponential.py", "overflow=89.0", "overflow=88.0",
         "exp of float32 stops growing at 88", "tests/ir/test_vecmath.py -k 'error and not pow'"),
        ("tanh-saturation", "staticgrad/language/vecmath/exponential.py", "saturate=9.02", "saturate=8.0",
         "tanh of float32 stops growing at 8", "tests/ir/test_vecmath.py -k 'error and not pow'"),
    ),
    *_row(
        "complex numbers",
        ("torch-detach-has-a-gradient", "staticgrad/interop/aten/operators.py",
         '"detach": lambda x: sg.stop_gradient(x)', '"detach": lambda x: x',
         "a detached tensor of PyTorch passes gradients on",
         "tests/bridges/test_aten.py -k detached"),
        ("torch-compile-copies-views", "staticgrad/interop/aten/backend.py",
         "_placed(tensor_of(found[each]), stride)", "_placed(tensor_of(found[each]), None)",
         "results of torch.compile have their axes in another order in memory",
         "tests/bridges/test_aten.py -m slow -k write_in_place"),
        ("torch-zero-axes-promote", "staticgrad/interop/aten/program.py",
         "rank, name = (0 if each.ndim else 1), each.dtype.name",
         "rank, name = 0, each.dtype.name",
         "a tensor without axes promotes as one with axes",
         "tests/bridges/test_aten.py -k promotion_of_operands"),
        ("torch-scatter-by-row-numbers", "staticgrad/interop/aten/operators.py",
         "    key[k] = index\n    return getattr", "    key[0] = index\n    return getattr",
         "a scatter along another axis than the first writes elsewhere",
         "tests/bridges/test_aten.py -k scatter"),
        ("torch-masked-scatter-from-the-second", "staticgrad/interop/aten/operators.py",
         'sg.cumsum(sg.astype(mask, "int64"), 0) - 1, 0)', 'sg.cumsum(sg.astype(mask, "int64"), 0), 0)',
         "masked_scatter leaves out the first value", "tests/bridges/test_aten.py -k masked_scatter"),
        ("torch-step-forgets-its-count", "staticgrad/interop/aten/steps.py",
         "np.add(group.steps, 1, out=group.steps)", "np.add(group.steps, 0, out=group.steps)",
         "each step of a PyTorch optimizer corrects its bias as the first one",
         "tests/bridges/test_aten.py -m slow -k 'a_step_is and Adam'"),
        ("torch-step-keeps-its-rate", "staticgrad/interop/aten/steps.py",
         "            if rate[()] != (now := float(each[\"lr\"])):", "            if not rate[()]:",
         "a scheduler of PyTorch does not change the rate of compiled steps",
         "tests/bridges/test_aten.py -m slow -k 'a_step_is and SGD'"),
        ("jax-random-bits-count-from-one", "staticgrad/interop/lax/primitives.py",
         "flat = flat * np.uint64(size) + sg.iota", "flat = flat * np.uint64(size) + 1 + sg.iota",
         "random numbers have other bits than JAX's", "tests/bridges/test_lax.py -k random_numbers"),
        ("jax-lower-loops-forward", "staticgrad/interop/lax/lowering.py",
         "(numbers, tuple(rows)), reverse=op.reverse)", "(numbers, tuple(rows)))",
         "a reversed loop runs forward in JAX", "tests/bridges/test_jax_lower.py -k loops"),
        ("jax-custom-rules-are-dropped", "staticgrad/interop/lax/program.py",
         "    if not smooth or not any(moves):\n", "    if smooth or not any(moves):\n",
         "the rule of jax.custom_vjp is dropped", "tests/bridges/test_lax.py -k custom_derivatives"),
        ("jax-divides-integers-down", "staticgrad/interop/lax/primitives.py",
         "return quotient + cast(inexact, x.dtype.name)", "return quotient",
         "lax.div of integers rounds down", "tests/bridges/test_lax.py -k integers"),
        ("torch-s-gradients-as-jax-s", "staticgrad/interop/torch.py", "_called, conjugate=True)",
         "_called)", "PyTorch's tape gets the conjugates of its gradients",
         "tests/bridges/test_torch.py -k complex_losses"),
        ("tape-without-conjugates", "staticgrad/eager/of_tensors.py",
         "    return unflatten(tree, found, conjugate=True)", "    return unflatten(tree, found)",
         "gradients of complex tensors are the conjugates of those of values",
         "tests/complex_numbers/test_values.py -k of_tensors"),
        ("hermitian-as-symmetric", "staticgrad/language/functions/linalg/iterative.py",
         "transposed and (not symmetric or right.dtype.is_complex)", "transposed and not symmetric",
         "the cotangent of a Hermitian system is of a system with the same matrix",
         "tests/complex_numbers/test_doors.py -k 'derivatives_of_complex_systems'"),
        ("copies-forgotten", "staticgrad/autodiff/reverse.py", "self.add(of_first, ct)", "pass",
         "a formula that is written twice has the slope of one copy",
         "tests/autodiff/test_reverse.py -k 'twice or copies'"),
        ("copies-as-targets", "staticgrad/autodiff/reverse.py", "{} if apart else same", "same",
         "a copy that is a target has no slope, or that of all copies",
         "tests/autodiff/test_reverse.py -k each_copy"),
        ("reshapes-read-through", "staticgrad/autodiff/reverse.py",
         "merged = {t.node for t in targets if t.node.op.copies and not found.keeps(t)}",
         "merged: set[Node] = set()", "a gradient does not depend on a reshape among its targets",
         "tests/autodiff/test_reverse.py -k several_depend"),
        ("complex-parts-from-files", "staticgrad/saving/trees.py",
         "return of_parts(arrays[what])", "return arrays[what]",
         "complex arrays are loaded as both parts", "tests/training/test_saving.py -k complex"),
        ("trees-in-parts", "staticgrad/language/functions/tree.py",
         "found, shape = trees.flatten(tree, whole=True)", "found, shape = trees.flatten(tree)",
         "a function of a tree is applied to both parts of complex values",
         "tests/complex_numbers/test_doors.py -k leaves"),
    ),
    *_row(
        "doors and kinds",
        ("tape-gradient-conjugated", "staticgrad/eager/differentiate.py",
         "ComplexTensor(re, None if im is None else -im)", "ComplexTensor(re, im)",
         "eager.grad by a complex tensor gives the conjugate",
         "tests/doors/test_doors.py -k 'without and tape'"),
        ("array-gradient-not-conjugated", "staticgrad/language/ir/pairs.py",
         "as_parts(np.conj(np.asarray(gradient))", "as_parts((np.asarray(gradient))",
         "apply_gradients steps up the imaginary part",
         "tests/doors/test_doors.py -k 'without and apply_gradients'"),
        ("onnx-type-unchecked", "staticgrad/interop/onnx/writer.py",
         "tensor({_element_name(types[name])})\" not in takes",
         "tensor({_element_name(types[name])})\" in ()",
         "a file has an operator that does not take its operand's type",
         "tests/doors/test_doors.py -k 'without and ONNX'"),
        ("exported-sizes-by-their-names", "staticgrad/compiler/exporting/program.py",
         "SIZES = {[*self.free.values()]}", "SIZES = {[*self.free]}",
         "a size with a name of the file's own is not found",
         "tests/exporting/test_export.py -k names_of_the_file"),
        ("sparse-slices", "staticgrad/language/functions/trees.py",
         'if not getattr(tree.kind, "has_slices", True):', "if tree.kind is check_slices:",
         "a sparse matrix is cut along its elements, and the error names no door",
         "tests/doors/test_doors.py -k 'without and vmap'"),
    ),
    *_row(
        "saving and files",
        ("no-sync", "staticgrad/saving", "        _sync(temporary)\n", "",
         "a file takes its place before it is on the disk",
         "tests/training/test_saving.py -k 'stood or damaged or killed or comes or written'"),
        ("no-checksum", "staticgrad/saving", "if _sum(arrays, text) != wanted:", "if False:",
         "changed bytes are loaded", "tests/training/test_saving.py -k damaged"),
        ("young-files-removed", "staticgrad/saving",
         "if time() - left.stat().st_mtime > _ABANDONED:", "if True:",
         "files that another process is writing are removed", "tests/training/test_saving.py -k killed"),
        ("group-writable-folder", "staticgrad/native/cache.py",
         "return bool(mode & stat.S_IWOTH) or not _own_group(status.st_gid)",
         "return bool(mode & stat.S_IWOTH)", "a folder that a group may rename in is trusted",
         "tests/native/test_private_folder.py"),
        ("second-name", "staticgrad/native/cache.py", "if status.st_nlink > 1:",
         "if False:", "a file with a second name elsewhere is trusted",
         "tests/native/test_private_folder.py"),
        ("onnx-names-unchecked", "staticgrad/interop/onnx",
         "missing = [name for name in node.input if name not in defined]", "missing = []",
         "a model of ONNX that reads an undefined name is loaded",
         "tests/exchange/test_onnx.py -k 'damaged or no_model'"),
        ("onnx-size-never-one", "staticgrad/interop/onnx", "        if guards:\n", "        if False:\n",
         "a branch of a model is taken whatever a named size is",
         "tests/exchange/test_onnx.py -k sizes_decide"),
        ("asarray-strong-numbers", "staticgrad/language/functions/standard.py",
         'iter(promoted_values([*_elements(data)]))', "iter([*_elements(data)])",
         "numbers beside values of float32 make a float64", "tests/ops/test_creation.py -k stacks"),
        ("mask-behind-dots", "staticgrad/language/functions/indexing.py",
         "first = old.ndim - behind - mask.ndim if", "first = before if",
         "a mask behind ... is that of the first axes", "tests/ops/test_indexing.py -k among"),
        ("dropout-of-images", "staticgrad/nn/layers.py",
         "shape = (*value.shape[:2], *(1,) * self.axes)",
         "shape = (value.shape[0], *(1,) * (self.axes + 1))",
         "Dropout2d drops whole images instead of channels", "tests/nn/test_use.py -k channels"),
        ("dropout-of-all-images", "staticgrad/nn/layers.py",
         "shape = (*value.shape[:2], *(1,) * self.axes)",
         "shape = (1, value.shape[1], *(1,) * self.axes)",
         "Dropout2d drops the same channels of all images", "tests/nn/test_use.py -k channels"),
        ("fit-loss-by-batches", "staticgrad/train", "rows = _rows_of_all(batch)", "rows = 1",
         "fit averages losses and metrics over batches instead of rows",
         "tests/training/test_train.py -k rows"),
        ("batch-of-too-many", "staticgrad/train",
         "slice(first + self.rank * share, first + (self.rank + 1) * share)",
         "slice(first + self.rank * share, first + (self.rank + 1) * share + 1)",
         "batches overlap by an example",
         "tests/training/test_train.py -k batches"),
    ),
    *_row(
        "feeds, results, errors",
        ("inputs-by-parts", "staticgrad/language/ir/graph.py",
         "whole_type(op.type) if op.is_complex else op.type", "op.type",
         "a program says that it takes pairs of numbers where it takes complex ones",
         "tests/compiler/test_compiler.py -k takes_and_gives"),
        ("bytes-of-bools", "staticgrad/compiler/runtime/feeds.py", "data.view(np.uint8).max() > 1",
         "data.view(np.uint8).max() > 2", "a bool feed with a byte of 2 is read in place",
         "tests/runtime/test_feeds.py tests/runtime/test_plans.py -k bools"),
        ("held-result-overwritten", "staticgrad/compiler/runtime/feeds.py",
         "block.references() == _UNUSED", "block.references() > 0",
         "an array that the caller holds is written by the next run",
         "tests/runtime/test_outputs.py"),
        ("read-only-result", "staticgrad/compiler/runtime/feeds.py", "if not array.flags.writeable:",
         "if False:", "a read-only array is written", "tests/runtime/test_outputs.py"),
        ("innocent-element", "staticgrad/analysis/nonfinite.py",
         "made = reduce(logical_and, map(self._is_good, floats)) > self._is_good(value)",
         "made = logical_not(self._is_good(value))", "an op is blamed for a NaN that it was given",
         "tests/compiler/test_debug.py -k 'fault or told or made or named'"),
        ("parameter-loses-digits", "staticgrad/language/storage/parameter.py",
         'if not (floats or np.can_cast(source.dtype, self.array.dtype, "same_kind")):',
         "if False:", "an integer parameter takes floats", "tests/storage/test_parameter_value.py"),
    ),
    *_row(
        "laws of modules",
        ("eval-of-the-outermost", "staticgrad/nn/module.py",
         "        for module in self.modules():\n            module.training = mode\n",
         "        self.training = mode\n", "the parts of a module stay in train mode",
         "tests/laws/test_modules.py -k 'modes and Sequential or modes and dropout'"),
        ("statistics-without-gradients", "staticgrad/nn/normalization.py",
         "        own = found if wide is x else None",
         "        own = tuple(map(stop_gradient, found))",
         "no gradient flows through the statistics of a batch",
         "tests/laws/test_modules.py -k 'differences and BatchNorm1d'"),
        ("variance-of-one-row", "staticgrad/nn/normalization.py",
         "many / maximum(many - 1.0, 1.0)", "many / (many - 1.0)",
         "a last batch of one row makes the running variance NaN",
         "tests/laws/test_modules.py -k 'named and BatchNorm1d'"),
        ("flatten-to-any-size", "staticgrad/nn/layers.py",
         "(*x.shape[:first], many, *", "(*x.shape[:first], -1, *", "no rows are not flattened",
         "tests/laws/test_modules.py -k 'named and Flatten'"),
    ),
    *_row(
        "directives",
        (
            "rows-share-an-element",
            "staticgrad/language/ir/kernels/legality.py",
            "if not (all(strides) or own):",
            "if not (any(strides) or own):",
            "rows that store to one element along an outer loop are interleaved",
            "tests/codegen/test_directives.py -k refused",
        ),
        (
            "directive-beside-the-others",
            "staticgrad/language/ir/kernels/legality.py",
            "if any(d.factor > 1 and d.axis not in",
            "if any(d.factor > 99 and d.axis not in",
            "rows are interleaved whose loops have interleaved iterations",
            "tests/codegen/test_directives.py -k refused",
        ),
        (
            "directive-of-another-stage",
            "staticgrad/language/ir/kernels/directives.py",
            "found = [each._replace(stage=numbers[id(stage)]) for stage, each in beside]",
            "found = [each._replace(stage=min(numbers[id(stage)], 4)) for stage, each in beside]",
            "a prefetch is that of an earlier stage",
            "tests/compiled/test_tuning.py -k numbers_of_their_stages",
        ),
        (
            "loop-without-reason",
            "staticgrad/compiler/lowering/loops/time_loops.py",
            "        return refused.why\n    iterations",
            "        return WhyDriven.Slower\n    iterations",
            "explain gives a prediction as the reason of a loop whose body cannot be one kernel",
            "tests/loops/test_driven.py -k explained",
        ),
        (
            "directive-is-not-read",
            "staticgrad/language/ir/kernels/parser.py",
            "return Interleave(self._loop_name",
            "return Interleave(\"\" and self._loop_name",
            "the text of an interleaved loop reads back as another one",
            "tests/codegen/test_directives.py -k no_byte",
        ),
    ),
    *_row(
        "updates are read",
        (
            "gradients-pass-updates",
            "staticgrad/language/ir/execution.py",
            "latest = functions.stop_gradient(value)",
            "latest = value",
            "a gradient passes through an update",
            "tests/programs/test_updates.py -k decayed",
        ),
        (
            "gradient-of-the-first-version",
            "staticgrad/autodiff/reverse.py",
            "return [] if noted is None else noted.versions.get(value.node, [])",
            "return []",
            "a gradient by an updated parameter leaves out its later values",
            "tests/programs/test_updates.py -k 'later_reads and steps'",
        ),
        (
            "written-steps-stay",
            "staticgrad/eager/at_once.py",
            "np.copyto(store.array, array)",
            "pass",
            "a function that raises leaves the steps that it has read",
            "tests/programs/test_updates.py -k raises",
        ),
        (
            "one-rule-for-both-steps",
            "staticgrad/eager/at_once.py",
            "key = (way, *(",
            "key = (None, *(",
            "a step at once by a loss is one by gradients, without the loss scale",
            "tests/training/test_optimizers.py -k steps_of_their_own",
        ),
        (
            "state-is-stepped",
            "staticgrad/language/ir/execution.py",
            "self.steppers.setdefault(parameter.node, [])\n        if",
            "if",
            "an optimizer steps state that the function has updated",
            "tests/programs/test_updates.py -k state_of",
        ),
        (
            "tape-reads-old-values",
            "staticgrad/eager/tensor.py",
            "noted.settled(parameter)",
            "pass",
            "a function on the tape reads old values after an update",
            "tests/programs/test_updates.py -k 'later_reads and steps'",
        ),
    ),
    *_row(
        "figures of the comparison",
        (
            "state-counts-as-parameters",
            "staticgrad/tools/comparison/programs.py",
            "read = [p for p in self.graph.parameters if p.node in nodes]",
            "read = [*self.graph.parameters]",
            "averages of Adam and running statistics are counted as parameters",
            "tests/tools/comparison/test_programs.py -k counted",
        ),
        (
            "gradients-are-temporaries",
            "staticgrad/tools/comparison/causes.py",
            """    if born == "b" and dies == "u":""",
            """    if born == "b" and dies == "b":""",
            "bytes by cause call gradients temporaries",
            "tests/tools/comparison/test_causes.py -k by_hand",
        ),
        (
            "draws-in-blocks-begin-anew",
            "staticgrad/language/ops/philox.py",
            "begin = np.uint64(self.rank * whole + first)",
            "begin = np.uint64(self.rank * whole)",
            "NumPy draws the same numbers in each block",
            "tests/ops/test_random.py -k in_blocks",
        ),
        (
            "suite-counts-no-lines",
            "staticgrad/tools/comparison/suite.py",
            """line.startswith("+ ")""",
            """line.startswith("! ")""",
            "the suite counts no changed line",
            "tests/tools/comparison/test_suite.py -k folder_of",
        ),
        (
            "another-program-is-timed",
            "staticgrad/tools/comparison/peers.py",
            "    if not apart <= _TOLERANCE:",
            "    if not apart <= 1.0:",
            "a program of PyTorch with other losses gets figures",
            "tests/tools/comparison/test_peers.py -k has_no_figure",
        ),
        (
            "torch-starts-where-it-ended",
            "staticgrad/tools/comparison/torch_peer.py",
            "                    thing.copy_(state)",
            "                    thing.copy_(thing)",
            "tensors of the user's PyTorch program stay trained",
            "tests/tools/comparison/test_peers.py -k step_in_pytorch",
        ),
        (
            "earlier-counts-as-later",
            "staticgrad/tools/comparison/report.py",
            "if late >= 0.005",
            "if late",
            "a first result that comes earlier is listed as a disadvantage",
            "tests/tools/comparison/test_comparison.py -k no_disadvantage",
        ),
        (
            "lines-of-the-training-step",
            "staticgrad/tools/comparison/page.py",
            "used.pop(training.__file__, None)",
            "used.pop(None, None)",
            "the page of a Sequential shows the comparison's own file",
            "tests/tools/comparison/test_programs.py -k not_shown_as",
        ),
    ),
)  # fmt: skip


class Copy:
    """A copy of the checkout in which one mutant at a time is planted."""

    def __init__(self, folder, marks="not exhaustive"):
        self.folder, self.marks = folder, marks
        #: Times of change of planted files: each its own, or a compiled file of the mutant before
        #: would be taken for it.
        self._times = count(int(time.time()))
        ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "results")
        for part in (*PARTS, *(each.name for each in ROOT.iterdir() if each.is_file())):
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=ignored)
            else:
                shutil.copy2(ROOT / part, folder / part)

    @contextmanager
    def planted(self, mutant):
        """Inside, the copy has the mutant."""
        file = mutant.file(self.folder)
        text = file.read_text("utf-8")
        self._write(file, text.replace(mutant.text, mutant.replacement))
        try:
            yield
        finally:
            self._write(file, text)

    def _write(self, file, text):
        file.write_text(text, "utf-8")
        moment = next(self._times)
        os.utime(file, (moment, moment))

    def outcome(self, tests, limit):
        """Run tests in the copy: ``passed``, ``failed``, ``hung`` or ``broken``, and by what."""
        runs = _selections(tests)
        for selection in runs:
            command = [sys.executable, "-m", "pytest", "-n0", "-x", "-q", "-rfE", "--tb=line"]
            command += ["-p", "no:cacheprovider", "-m", self.marks, *selection]
            code, text = _run(command, self.folder, limit)
            if code is None:
                return "hung", ""
            failed = [line for line in text.splitlines() if line.startswith(("FAILED", "ERROR"))]
            name = failed[0].split(" ", 1)[1] if failed else text.strip().rpartition("\n")[2]
            name = name.partition("[")[0].partition(" - ")[0]  # without its parameters
            if code == 1:
                return "failed", name
            if code == 5 and "slow" in self.marks:  # all of them are slow
                continue
            if code != 0:  # nothing was collected, or a module could not be imported
                return ("failed" if failed else "broken"), name
        return "passed", ""


def _selections(tests):
    """Arguments of pytest, one list for each ``-k``: it counts for all files of a run."""
    found = [[]]
    words = iter(shlex.split(tests))
    for word in words:
        if word == "-k":
            found[-1] += ["-k", next(words)]
            found.append([])
        else:
            found[-1].append(word)
    return [each for each in found if each]


def _run(command, folder, limit):
    """The exit code of a command, None where it took too long, and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "CI": "1", "MUTANTS": "1"}
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            text, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the group that was made for it
            return None, ""
        return process.returncode, text


def run(mutants, limit=LIMIT, file=None, marks="not exhaustive"):
    """Plant each mutant, run its tests; print what became of it, return it and write it to a file.

    A test that fails without the mutant as well proves nothing: its kills are ``void``.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(Path(folder), marks)
        for mutant in mutants:
            begin = time.monotonic()
            with copy.planted(mutant):
                state, by = copy.outcome(mutant.tests, limit)
            what = {"passed": "survived", "failed": "killed", "hung": "killed"}.get(state, state)
            by = by if state != "hung" else "a hang"
            seconds = round(time.monotonic() - begin, 1)
            print(f"{what:8} {seconds:6.1f} s  {mutant.name}  {by}", flush=True)
            row = {"name": mutant.name, "area": mutant.area, "outcome": what, "by": by}
            found.append({**row, "why": mutant.why, "seconds": seconds})
            _write(found, file)
        killers = {row["by"] for row in found if row["outcome"] == "killed" and "::" in row["by"]}
        while killers:
            state, by = copy.outcome(shlex.join(sorted(killers)), limit * 4)
            if state == "passed" or by not in killers:
                break
            killers.remove(by)
            for row in found:
                row["outcome"] = "void" if row["by"] == by else row["outcome"]
            print(f"void: {by} fails without a mutant", flush=True)
    killed = sum(row["outcome"] == "killed" for row in found)
    print(f"{killed} of {len(found)} killed")
    _write(found, file)
    return found


def _write(found, file):
    if file is not None:
        file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def main(arguments=None):
    """Run the command line; 0 where every mutant was killed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="which mutants, or areas; all by default"
    )
    parser.add_argument("--list", action="store_true", help="print the table and plant nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes to a file")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for the tests of each")
    parser.add_argument("--quick", action="store_true", help="without slow tests, as .ci/run")
    given = parser.parse_args(arguments)
    known = {name for each in MUTANTS for name in (each.name, each.area)}
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"no mutant or area is called {', '.join(unknown)}")
    chosen = [m for m in MUTANTS if not given.names or {m.name, m.area} & {*given.names}]
    if given.list:
        for each in chosen:
            print(f"{each.name:28} {each.area:28} {each.why}")
        return 0
    marks = "not exhaustive and not slow" if given.quick else "not exhaustive"
    found = run(chosen, given.limit, given.json, marks)
    return int(any(each["outcome"] != "killed" for each in found))


if __name__ == "__main__":
    sys.exit(main())
