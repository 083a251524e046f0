"""Routines of linear algebra: loops over matrices that call LAPACK, in the kernel language.

A ``Recipe`` says what is done for one matrix; ``source`` writes the kernel around it. Matrices lie
in C order, which Fortran reads as their transposes: each recipe is the algorithm of the transposed
problem, so that nothing is transposed in memory. A line of a recipe is a line of the kernel
language, or a call of LAPACK, in whose arguments

- a letter in quotes is a character, ``#word`` the character of a code that the step gave;
- ``0.0`` and ``nan`` are numbers, and so is what has a point;
- a name of an operand, a result or scratch is a pointer to this iteration's part; ``b[i]`` to an
  element of it; ``info`` the integer that says how the call ended;
- anything else is a word, handed over as an integer.

``check`` ends an iteration whose ``info`` is not 0: it is noted, or what the step gave for it is
written instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from textwrap import indent
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from staticgrad.errors import LinearAlgebraError
from staticgrad.native.libraries import scipy_library
from staticgrad.native.libraries.lapack_parts import SMALL_SYSTEM, TRIANGULAR, ZERO_ON_DIAGONAL
from staticgrad.native.libraries.routines import PythonRoutine, RoutineCode, register
from staticgrad.records import dataclass

Array = NDArray[Any]
#: Element type -> the letter that begins the names of LAPACK's functions.
LETTERS: Final = {"f32": "s", "f64": "d"}
_CALL: Final = re.compile(r"(\s*)([a-z]+)\((.*)\)")
_ELEMENT: Final = re.compile(r"(\w+)\[(.*)\]")


@dataclass(frozen=True)
class Recipe:
    """One routine.

    ``sizes`` are the words that a step gives. ``operands``, ``results`` and ``scratch`` have the
    elements of one iteration by name; ``name:i64`` has another element type than the routine's.
    ``body`` is what is done where ``when`` is not 0, ``failed`` what is done instead of noting that
    it failed, and ``failure`` says what an ``info`` means. ``parts``: the iterations that one
    matrix takes; ``part`` is the number of one of them.
    """

    sizes: str
    operands: dict[str, str]
    results: dict[str, str]
    scratch: dict[str, str]
    when: str
    body: str
    failed: str = ""
    failure: Callable[[int, int], Exception] | None = None
    parts: str = "1"


def _not_positive(matrix: int, order: int) -> Exception:
    return LinearAlgebraError(
        f"matrix {matrix} is not positive definite: its leading minor of order {order} is not",
        hint="add to the diagonal, k + 1e-6 * sg.eye(n); errors='nan' gives NaN instead",
    )


def _singular(matrix: int, place: int) -> Exception:
    return LinearAlgebraError(
        f"matrix {matrix} is singular: a pivot is 0, number {place} of the diagonal",
        hint="sg.linalg.lstsq or pinv solve what has no inverse; errors='nan' gives no error",
    )


def _no_convergence(matrix: int, how: int) -> Exception:
    what = "holds NaN or infinities" if how < 0 else "needs more iterations than LAPACK makes"
    return LinearAlgebraError(
        f"no eigenvalues or singular values of matrix {matrix} were found: it {what}",
        hint="errors='nan' gives NaN instead",
    )


#: LAPACK finds eigenvalues of what is not finite, or prints that it got a wrong argument.
_IF_FINITE: Final = """
lassq({count}, {matrix}, 1, 0.0, 1.0)
if some(load1(reals, 0) * 0.0 + load1(reals, 1) * 0.0 == 0.0):
    {call}
else:
    store1(ints, 0, i32x1(-1))
check
"""
RECIPES: Final[dict[str, Recipe]] = {
    "cholesky": Recipe(
        "n",
        {"x": "n * n"},
        {"l": "n * n"},
        {},
        "n",
        "laset('A', n, n, 0.0, 0.0, l, n)\n"
        "lacpy('U', n, n, x, n, l, n)\n"
        "potrf('U', n, l, n, info)\n"
        "check\n",
        "laset('A', n, n, nan, nan, l, n)\n",
        _not_positive,
    ),
    "triangular_solve": Recipe(
        "n k uplo trans turned diag unit ahead each block",
        {"a": "n * n", "b": "n * k"},
        {"x": "n * k"},
        {},
        "n * k",
        "if unit == 0:\n"
        + "".join(f"    {line}\n" for line in ZERO_ON_DIAGONAL.strip().splitlines())
        + TRIANGULAR,
        "",
        _singular,
        "(k + each - 1) // each",
    ),
    "lu": Recipe(
        "m n k",
        {"x": "m * n"},
        {"lu": "m * n", "permutation:i64": "n", "swaps:i64": "1"},
        {"pivots:i32": "k"},
        "1",
        "if m > 0 and n > 0:\n"
        "    lacpy('A', n, m, x, n, lu, n)\n"
        "    getrf(n, m, lu, n, pivots, info)\n"
        "for j in range(n):\n"
        "    store1(permutation, j, i64x1(j))\n"
        "count = 0\n"
        "for j in range(k):\n"
        "    other = word(load1(pivots, j)) - 1\n"
        "    if other != j:\n"
        "        count = count + 1\n"
        "        first = load1(permutation, j)\n"
        "        store1(permutation, j, load1(permutation, other))\n"
        "        store1(permutation, other, first)\n"
        "store1(swaps, 0, i64x1(count))\n",
    ),
    "lu_solve": Recipe(
        "n k trans",
        {"lu": "n * n", "permutation:i64": "n", "b": "n * k"},
        {"x": "n * k"},
        {"y": "n * k"},
        "n * k",
        ZERO_ON_DIAGONAL.strip().replace("load1(a,", "load1(lu,")
        + SMALL_SYSTEM
        + """
elif trans == 0:
    lacpy('A', k, n, b, k, y, k)
    trsm('R', 'U', 'N', 'N', k, n, 1.0, lu, n, y, k)
    trsm('R', 'L', 'N', 'U', k, n, 1.0, lu, n, y, k)
    laset('A', k, n, 0.0, 0.0, x, k)
    for j in range(n):
        place = word(load1(permutation, j))
        if place >= 0 and place < n:
            lacpy('A', k, 1, y[j * k], k, x[place * k], k)
else:
    laset('A', k, n, 0.0, 0.0, x, k)
    for j in range(n):
        place = word(load1(permutation, j))
        if place >= 0 and place < n:
            lacpy('A', k, 1, b[place * k], k, x[j * k], k)
    trsm('R', 'L', 'T', 'U', k, n, 1.0, lu, n, x, k)
    trsm('R', 'U', 'T', 'N', k, n, 1.0, lu, n, x, k)
""",
        "",
        _singular,
    ),
    "qr": Recipe(
        "m n k p lwork",
        {"x": "m * n"},
        {"q": "m * p", "r": "p * n"},
        {"a": "m * n", "tau": "k", "work": "lwork"},
        "1",
        "if p * n > 0:\n"
        "    laset('A', n, p, 0.0, 0.0, r, n)\n"
        "if k > 0:\n"
        "    lacpy('A', n, m, x, n, a, n)\n"
        "    gelqf(n, m, a, n, tau, work, lwork, info)\n"
        "    lacpy('L', n, k, a, n, r, n)\n"
        "if m * p > 0:\n"
        "    laset('A', p, m, 0.0, 0.0, q, p)\n"
        "    if k > 0:\n"
        "        lacpy('A', k, m, a, n, q, p)\n"
        "    orglq(p, m, k, q, p, tau, work, lwork, info)\n",
    ),
    "eigh": Recipe(
        "n lwork liwork",
        {"x": "n * n"},
        {"w": "n", "v": "n * n"},
        {"work": "lwork", "iwork:i32": "liwork"},
        "n",
        "laset('A', n, n, 0.0, 0.0, v, n)\n"
        "lacpy('U', n, n, x, n, v, n)\n"
        + _IF_FINITE.format(
            count="n * n",
            matrix="v",
            call="syevd('V', 'U', n, v, n, w, work, lwork, iwork, liwork, info)",
        ),
        "laset('A', n, 1, nan, nan, w, n)\nlaset('A', n, n, nan, nan, v, n)\n",
        _no_convergence,
    ),
    "eigvalsh": Recipe(
        "n lwork liwork",
        {"x": "n * n"},
        {"w": "n"},
        {"a": "n * n", "work": "lwork", "iwork:i32": "liwork"},
        "n",
        "laset('A', n, n, 0.0, 0.0, a, n)\n"
        "lacpy('U', n, n, x, n, a, n)\n"
        + _IF_FINITE.format(
            count="n * n",
            matrix="a",
            call="syevd('N', 'U', n, a, n, w, work, lwork, iwork, liwork, info)",
        ),
        "laset('A', n, 1, nan, nan, w, n)\n",
        _no_convergence,
    ),
    "svd": Recipe(
        "m n k p w job lwork",
        {"x": "m * n"},
        {"u": "m * p", "s": "k", "v": "w * n"},
        {"a": "m * n", "work": "lwork", "iwork:i32": "8 * k"},
        "1",
        "if k > 0:\n"
        "    lacpy('A', n, m, x, n, a, n)\n"
        + indent(
            _IF_FINITE.format(
                count="m * n",
                matrix="a",
                call="gesdd(#job, n, m, a, n, s, v, n, u, p, work, lwork, iwork, info)",
            ).lstrip(),
            "    ",
        )
        + "else:\n"
        "    if m * p > 0:\n"
        "        laset('A', p, m, 0.0, 1.0, u, p)\n"
        "    if w * n > 0:\n"
        "        laset('A', n, w, 0.0, 1.0, v, n)\n",
        "laset('A', k, 1, nan, nan, s, k)\n"
        "laset('A', p, m, nan, nan, u, p)\n"
        "laset('A', n, w, nan, nan, v, n)\n",
        _no_convergence,
    ),
    "svdvals": Recipe(
        "m n k lwork",
        {"x": "m * n"},
        {"s": "k"},
        {"a": "m * n", "work": "lwork", "iwork:i32": "8 * k"},
        "k",
        "lacpy('A', n, m, x, n, a, n)\n"
        + _IF_FINITE.format(
            count="m * n",
            matrix="a",
            call="gesdd('N', n, m, a, n, s, a, n, a, m, work, lwork, iwork, info)",
        ),
        "laset('A', k, 1, nan, nan, s, k)\n",
        _no_convergence,
    ),
    "tridiagonal_solve": Recipe(
        "n k",
        {"lower": "n", "diagonal": "n", "upper": "n", "b": "n * k"},
        {"x": "n * k"},
        {"l": "n", "d": "n", "u": "n"},
        "n * k",
        "lacpy('A', n, 1, diagonal, n, d, n)\n"
        "lacpy('A', n, 1, lower, n, l, n)\n"
        "lacpy('A', n, 1, upper, n, u, n)\n"
        "lacpy('A', n, k, b, n, x, n)\n"
        "gtsv(n, k, l[1], d, u, x, n, info)\n"
        "check\n",
        "laset('A', n, k, nan, nan, x, n)\n",
        _singular,
    ),
}


class _RecipeWriter:
    """The source of one routine, line by line."""

    def __init__(self, recipe: Recipe, element: str, checks: bool) -> None:
        self.recipe, self.element, self.checks = recipe, element, checks
        self.sizes = recipe.sizes.split()
        self.functions: list[str] = []
        self.lines: list[str] = []

    def parts(self) -> Iterator[tuple[str, str, str, str]]:
        """Operands, results and scratch: name, element type, elements, where its pointer stands."""
        shared = {**self.recipe.operands, **self.recipe.results}
        for table, record in ((shared, "t"), (self.recipe.scratch, "own")):
            for number, (key, elements) in enumerate(table.items()):
                name, _, kind = key.partition(":")
                yield name, kind or self.element, elements, f"{record}[{number}]"

    def source(self) -> str:
        """The kernel."""
        body = self.body(self.recipe.body, 3)
        shared = len(self.recipe.operands) + len(self.recipe.results)
        head = ["def kernel(t, own, begin, end):"]
        words = [*self.sizes, "guard", "state", *(f"call_{name}" for name in self.functions)]
        head += [f"    {name} = t[{shared + number}]" for number, name in enumerate(words)]
        head += ["    ints = local_i32(16)", f"    reals = local_{self.element}(2)"]
        head += ["    letters = local_i8(8)", "    how = 0"]
        head += [f"    noted = ptr_i64(own[{len(self.recipe.scratch)}])"] * self.checks
        head += ["    call(guard, state, 0)", "    for iteration in range(begin, end):"]
        parts = self.recipe.parts
        head += [
            f"        matrix = iteration // ({parts})" if parts else "        matrix = iteration"
        ]
        head += [f"        part = iteration % ({parts})"] if parts else []
        for name, kind, elements, place in self.parts():
            nbytes = int(kind[1:]) // 8
            moved = "" if place[0] == "o" else f" + matrix * ({nbytes} * ({elements}))"
            head.append(f"        {name} = ptr_{kind}({place}{moved})")
        head.append(f"        if {self.recipe.when} > 0:")
        return "\n".join([*head, *body, "    call(guard, state, 1)"]) + "\n"

    def body(self, text: str, depth: int) -> list[str]:
        """A recipe's lines, indented."""
        lines = []
        for line in text.strip("\n").splitlines():
            indent = "    " * depth + line[: len(line) - len(line.lstrip())]
            lines += [indent + each for each in self.line(line.strip())]
        return lines

    def line(self, line: str) -> list[str]:
        """What a line of a recipe stands for."""
        if line in ("check", "checked"):
            return self.check(line == "check")
        found = _CALL.fullmatch(line)
        if found is None or found[2] in ("store1", "if", "for"):
            return [line]
        return self.call(found[2], found[3])

    def check(self, of_info: bool) -> list[str]:
        """Notes the first matrix that failed, or writes what stands for its results."""
        lines = ["how = word(load1(ints, 0))"] if of_info else []
        if self.checks:
            return [
                *lines,
                "if how != 0 and (noted[0] < 0 or noted[0] > matrix):",
                "    store1(noted, 0, i64x1(matrix))",
                "    store1(noted, 1, i64x1(how))",
            ]
        if not self.recipe.failed:
            return ["pass"]
        return [*lines, "if how != 0:", *self.body(self.recipe.failed, 1)]

    def call(self, function: str, text: str) -> list[str]:
        """A call of LAPACK: its scalars are stored, and handed over by pointers."""
        if function not in self.functions:
            self.functions.append(function)
        names = {name: kind for name, kind, _, _ in self.parts()}
        stored: list[str] = []
        counts = {"ints": 1, "reals": 0, "letters": 0}
        kinds = {"ints": "i32", "reals": self.element, "letters": "i8"}

        def cell(room: str, value: str) -> str:
            kind, place = kinds[room], counts[room]
            counts[room] += 1
            stored.append(f"store1({room}, {place}, {kind}x1({value}))")
            return f"ptr_{kind}(address({room}) + {place * int(kind[1:]) // 8})"

        def argument(word: str) -> str:
            element = _ELEMENT.fullmatch(word)
            if element is not None:
                kind = names[element[1]]
                return f"ptr_{kind}(address({element[1]}) + {int(kind[1:]) // 8} * ({element[2]}))"
            if word in names:
                return word
            if word == "info":
                return "ints"
            if word[0] == "'":
                return cell("letters", str(ord(word[1])))
            if word[0] == "#":
                return cell("letters", word[1:])
            return cell("reals" if "." in word or word == "nan" else "ints", word)

        arguments = [argument(word) for word in text.split(", ")]
        return [*stored, f"call(call_{function}, {', '.join(arguments)})"]


@cache
def source(name: str, element: str, checks: bool) -> tuple[str, tuple[str, ...]]:
    """The kernel of a recipe for an element type, and the LAPACK functions that it calls."""
    writer = _RecipeWriter(RECIPES[name], element, checks)
    text = writer.source()
    return text, tuple(LETTERS[element] + function for function in writer.functions)


@cache
def python_code(text: str) -> PythonRoutine:
    """A routine's source as Python code."""
    from staticgrad.native.plain import rows as plain_rows

    return plain_rows.register(text)[1]


def run(
    routine: str,
    arrays: Sequence[Array],
    sizes: Sequence[int],
    scratch: Sequence[Array],
    total: int,
) -> None:
    """A routine by its name, over operands and results in C order, as Python code.

    Raises:
        LinearAlgebraError: an iteration fails.
    """
    name, element, *unchecked = routine.partition(":")[2].split(".")
    text, functions = source(name, element, not unchecked)
    noted = np.full(2, -1, np.int64)
    own = np.array([array.ctypes.data for array in (*scratch, noted)], np.int64)
    tail = words(functions, scipy_library.python_guard())
    record = np.array([*(array.ctypes.data for array in arrays), *sizes, *tail], np.int64)
    python_code(text)(record.ctypes.data, own.ctypes.data, 0, total)
    if noted[0] >= 0:
        raise _failure(routine.partition(":")[2], int(noted[0]), int(noted[1]))


def words(functions: tuple[str, ...], guard: scipy_library.ThreadGuard) -> tuple[int, ...]:
    """What the record of a routine ends with."""
    return (guard.function, guard.state, *map(scipy_library.address, functions))


def _make(rest: str) -> RoutineCode:
    from staticgrad import native

    name, element, *unchecked = rest.split(".")
    text, functions = source(name, element, not unchecked)
    code = native.kernel(text)
    return RoutineCode(code.address, words(functions, scipy_library.guard()), code.python)


def _failure(rest: str, matrix: int, how: int) -> BaseException:
    say = RECIPES[rest.split(".")[0]].failure
    assert say is not None
    return say(matrix, how)


register("linalg", _make, _failure)
