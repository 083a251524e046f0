"""Routines of linear algebra: kernels around recipes, which call LAPACK or are loops.

A ``Recipe`` says what is done for one matrix; ``source`` writes the kernel around it.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from staticgrad.native.libraries import recipes, routines
from staticgrad.native.libraries.recipes import Recipe, recipe_of
from staticgrad.native.libraries.routines import register
from staticgrad.support import config

Array = NDArray[Any]
#: Element type -> the letter that begins the names of LAPACK's functions.
LETTERS: Final = {"f32": "s", "f64": "d"}
#: The same of recipes over complex elements, whose parts have the element type.
COMPLEX_LETTERS: Final = {"f32": "c", "f64": "z"}
_ENTRY: Final = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
#: Functions of real numbers that complex recipes call, too, by both parts.
_OF_PARTS: Final = frozenset({"lassq"})
_CALL: Final = re.compile(r"(\s*)([a-z]+)\((.*)\)")
_ELEMENT: Final = re.compile(r"(\w+)\[(.*)\]")


class _RecipeWriter:
    """The source of one routine, line by line."""

    def __init__(self, recipe: Recipe, element: str, checks: bool, portable: bool) -> None:
        self.recipe, self.element, self.checks = recipe, element, checks
        self.portable = portable and bool(recipe.loops)
        self.sizes = recipe.sizes.split()
        arrays = {**recipe.operands, **recipe.results, **recipe.scratch}
        self.pairs = {key for key in arrays if recipe.is_complex and ":" not in key}
        self.functions: list[str] = []
        self.lines: list[str] = []

    def parts(self) -> Iterator[tuple[str, str, str, str]]:
        """Return the LAPACK kernel's operands, results and scratch: name, dtype, size, pointer."""
        shared = {**self.recipe.operands, **self.recipe.results}
        for table, record in ((shared, "t"), (self.recipe.scratch, "own")):
            for number, (key, elements) in enumerate(table.items()):
                name, _, kind = key.partition(":")
                if name in self.pairs:
                    elements = f"2 * ({elements})"
                kind = self.element if kind in ("", "real") else kind
                yield name, kind, elements, f"{record}[{number}]"

    def source(self) -> str:
        """Return the source of the kernel of a linear-algebra recipe, with functions it calls."""
        small = self.small_loop() if self.recipe.small else ["    done = begin"]
        body = self.loops()
        shared = len(self.recipe.operands) + len(self.recipe.results)
        head = ["def kernel(t, own, begin, end):"]
        library = ["guard", "state", *(f"call_{name}" for name in self.functions)]
        words = [*self.sizes, *(library if self.functions else [])]
        head += [f"    {name} = t[{shared + number}]" for number, name in enumerate(words)]
        head += [
            "    ints = local_i32(16)",
            f"    reals = local_{self.element}({2 + 2 * self.recipe.is_complex})",
        ]
        head += ["    letters = local_i8(8)", "    how = 0"]
        head += [f"    noted = ptr_i64(own[{len(self.recipe.scratch)}])"] * self.checks
        head += [*["    call(guard, state, 0)"] * bool(self.functions), *small]
        head += ["    for iteration in range(done, end):"]
        head += [f"        matrix = iteration // ({self.recipe.parts})"]
        head += [f"        part = iteration % ({self.recipe.parts})"]
        head += [*self.pointers(), f"        if {self.recipe.when} > 0:"]
        end = ["    call(guard, state, 1)"] * bool(self.functions)
        text = "\n".join([*head, *body, *end]) + "\n"
        functions = recipes.vectors(self.recipe.functions, self.element, self.recipe.is_complex)
        return functions + self.small_functions() + text

    def loops(self) -> list[str]:
        """Write what is done for one matrix that is not small: by loops, or by LAPACK."""
        if self.portable:
            return self.body(self.recipe.loops, 3)
        if not self.recipe.loops:
            return self.body(self.recipe.body, 3)
        loops, library = (self.body(text, 4) for text in (self.recipe.loops, self.recipe.body))
        return [f"            if {self.recipe.is_fast}:", *loops, "            else:", *library]

    def pointers(self) -> Iterator[str]:
        """The lines that point to the parts of a matrix."""
        for name, kind, elements, place in self.parts():
            nbytes = int(kind[1:]) // 8
            offset = "" if place[0] == "o" else f" + matrix * ({nbytes} * ({elements}))"
            yield f"        {name} = ptr_{kind}({place}{offset})"

    def small_parameters(self) -> list[str]:
        """Return the parameters of the functions for small matrices."""
        return [*self.sizes, *(name for name, _, _, place in self.parts() if place[0] == "t")]

    def small_functions(self) -> str:
        """Write the functions for small matrices of a LAPACK kernel: vectorized, and for one
        matrix.
        """
        return "".join(
            recipes.function(
                f"outlined_of_{lanes}",
                self.small_parameters(),
                self.recipe.small,
                self.element,
                lanes,
            )
            for lanes in (recipes.LANES[self.element], *[1] * (not self.recipe.by_elements))
            if self.recipe.small
        )

    def small_loop(self) -> list[str]:
        """Write the loop over small matrices of a LAPACK kernel; ``done`` counts them."""
        lanes, arguments = recipes.LANES[self.element], ", ".join(self.small_parameters())
        by_itself = f"how = outlined_of_1({arguments})\nchecked"
        if self.recipe.by_elements:
            by_itself = self.recipe.loops
        return [
            "    done = begin",
            "    alone = begin",
            f"    while done < end and {self.recipe.is_small}:",
            "        matrix = done",
            *self.pointers(),
            f"        if alone <= done and done + {lanes} <= end:",
            f"            how = outlined_of_{lanes}({arguments})",
            f"            done = done + {lanes}",
            "            if how != 0:",
            "                alone = done",
            f"                done = done - {lanes}",
            "        else:",
            *self.body(by_itself, 3),
            "            done = done + 1",
        ]

    def body(self, text: str, depth: int) -> list[str]:
        """A recipe's lines, indented."""
        lines = []
        for line in text.strip("\n").replace("real1(", f"{self.element}x1(").splitlines():
            indent = "    " * depth + line[: len(line) - len(line.lstrip())]
            lines += [indent + source_line for source_line in self.line(line.strip())]
        return lines

    def line(self, line: str) -> list[str]:
        """Translate one line of a linear-algebra recipe to source lines of the kernel."""
        if line in ("check", "checked"):
            return self.check(line == "check")
        if line.startswith("fill("):
            name, count, value = line[len("fill(") : -1].split(", ")
            count = f"2 * ({count})" if name in self.pairs else count
            return [
                f"for element in range({count}):",
                f"    store1({name}, element, {self.element}x1({value}))",
            ]
        call = _CALL.fullmatch(line)
        if call is None or call[2] in ("store1", "if", "for"):
            return [line]
        return self.call(call[2], call[3])

    def check(self, of_info: bool) -> list[str]:
        """Write the lines that note the first matrix LAPACK failed on, or replace its results."""
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
        """Write a call of a LAPACK function: scalars are stored and passed by pointers."""
        names = {name: kind for name, kind, _, _ in self.parts()}
        words = text.split(", ")
        is_complex = function not in _OF_PARTS and not self.pairs.isdisjoint(
            word.partition("[")[0] for word in words
        )
        if self.recipe.is_complex and not is_complex:
            function = f"real_{function}"
        if function not in self.functions:
            self.functions.append(function)
        stored: list[str] = []
        counts = {"ints": 1, "reals": 0, "letters": 0}
        kinds = {"ints": "i32", "reals": self.element, "letters": "i8"}

        def cell(room: str, value: str) -> str:
            kind, place = kinds[room], counts[room]
            counts[room] += 1
            stored.append(f"store1({room}, {place}, {kind}x1({value}))")
            return f"ptr_{kind}(address({room}) + {place * int(kind[1:]) // 8})"

        def argument(word: str) -> str:
            """Write an argument of a LAPACK call: an array's pointer, or a cell with a scalar."""
            element = _ELEMENT.fullmatch(word)
            if element is not None:
                name, place = element.groups()
                kind = names[name]
                nbytes = int(kind[1:]) // 8 * (1 + (name in self.pairs))
                return f"ptr_{kind}(address({name}) + {nbytes} * ({place}))"
            if word in names:
                return word
            if word == "info":
                return "ints"
            if word[0] == "'":
                return cell("letters", str(ord(word[1])))
            if word[0] == "#":
                return cell("letters", word[1:])
            if "." not in word and word != "nan":
                return cell("ints", word)
            pointer = cell("reals", word)
            if is_complex:
                cell("reals", "0.0")
            return pointer

        arguments = [argument(word) for word in words]
        return [*stored, f"call(call_{function}, {', '.join(arguments)})"]


@cache
def source(
    name: str, element: str, checks: bool, portable: bool = False
) -> tuple[str, tuple[str, ...]]:
    """Return the kernel source of a linear-algebra recipe for a dtype, and the LAPACK names it
    calls.
    """
    writer = _RecipeWriter(recipe_of(name), element, checks, portable)
    text = writer.source()
    letters = COMPLEX_LETTERS if writer.recipe.is_complex else LETTERS
    return text, tuple(
        (LETTERS if function.startswith("real_") else letters)[element]
        + function.removeprefix("real_")
        for function in writer.functions
    )


def calls_lapack(routine: str, sizes: Sequence[int]) -> bool:
    """Return whether a routine calls LAPACK for matrices of these sizes, or loops take them."""
    name, _, *flags = routine.partition(":")[2].split(".")
    recipe = recipe_of(name)
    if recipe.loops and "portable" in flags:
        return False
    numbers = dict(zip(recipe.sizes.split(), sizes, strict=True))
    conditions = filter(None, (recipe.is_small, recipe.is_fast))
    return not any(eval(condition, {}, numbers) for condition in conditions)


def run(
    routine: str,
    arrays: Sequence[Array],
    sizes: Sequence[int],
    scratch: Sequence[Array],
    total: int,
) -> None:
    """Run a LAPACK routine by name over C-ordered arrays, outside of any compiled program.

    Raises:
        LinearAlgebraError: an iteration fails.
    """
    jit = config.current().jit
    code = routines.code(routine, jit)
    noted = np.full(2, -1, np.int64)
    scratch_addresses = np.array([array.ctypes.data for array in (*scratch, noted)], np.int64)
    record = np.array([*(array.ctypes.data for array in arrays), *sizes, *code.words], np.int64)
    call = _ENTRY(code.address) if jit else code.python
    assert call is not None
    call(record.ctypes.data, scratch_addresses.ctypes.data, 0, total)
    if noted[0] >= 0:
        raise _failure(routine.partition(":")[2], int(noted[0]), int(noted[1]))


def _find_linked_source(spec: str) -> tuple[str, tuple[str, ...]]:
    name, element, *flags = spec.split(".")
    return source(name, element, "unchecked" not in flags, "portable" in flags)


def _failure(spec: str, matrix: int, how: int) -> BaseException:
    say = recipe_of(spec.split(".")[0]).failure
    assert say is not None
    return say(matrix, how)


register("linalg", None, _failure, _find_linked_source)
