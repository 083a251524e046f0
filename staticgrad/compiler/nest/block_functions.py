"""Source text of the vector-math blocks, as functions for vectors of any number of lanes.

Those of many lines begin with ``shared_``: they are compiled once for all kernels, and called.

The target language is the kernel vocabulary of ``staticgrad.native``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from staticgrad.language.ir.expr import BLOCKS, CHOICES, SIGNS, Expr, postorder, words_of
from staticgrad.language.ir.scalar_loop import Iterated, ScalarLoop
from staticgrad.language.types.dtype import BOOL, DType
from staticgrad.language.vecmath.blocks import LONG, expand
from staticgrad.language.vecmath.layout import scaled_by, scaled_in_steps

#: Primitives that have another name in the kernel language.
KERNEL_NAMES: Final = {
    "div": "truediv", "and": "and_", "or": "or_", "not": "invert", "shl": "lshift",
    "shr": "rshift", "abs": "absolute", "rarely": "select", "c_fmod": "fmod",
}  # fmt: skip


class _Lines:
    """Source lines under construction, at one indentation."""

    def __init__(self, indent: int = 0) -> None:
        self.indent = indent
        self.lines: list[str] = []

    def add(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)


def element(dtype: DType) -> str:
    """The vocabulary's name of an element type (a bool is a byte)."""
    return "b8" if dtype is BOOL else dtype.code


def number(value: bool | int | float | str | None) -> str:
    """A literal in source; ``inf`` and ``nan`` are names of the vocabulary."""
    return repr(value)


def primitive(expr: Expr, args: list[str]) -> str:
    """One primitive over operand texts (blocks excluded)."""
    if expr.op in ("cast", "bitcast"):
        return f"{expr.op}_{element(expr.dtype)}({args[0]})"
    if expr.op == "window":
        return f"window({', '.join([*args, *map(hex, words_of(str(expr.attribute)))])})"
    return operation(expr.op, args)


def operation(op: str, args: Sequence[str]) -> str:
    """Return the text of a primitive's call over operand texts, an operator or a function."""
    if op in SIGNS:
        return f"{args[0]} {SIGNS[op]} {args[1]}"
    if op == "neg":
        return f"-{args[0]}"
    if op == "not":
        return f"~{args[0]}"
    return f"{KERNEL_NAMES.get(op, op)}({', '.join(args)})"


PARAMETERS: Final = ("x", "y", "z")


def function_name(op: str, dtype: DType) -> str:
    """The name of a block's function."""
    return f"{'shared_' if op in LONG else ''}{op}_{dtype.code}"


def function_text(op: str, dtype: DType, wide: bool = True) -> str:
    """The definition of a block's function; ``wide`` for registers of 512 bits."""
    parameters = PARAMETERS[: BLOCKS[op].operands]
    root = expand(op, *(Expr("ref", dtype, (), name) for name in parameters))
    head = f"def {function_name(op, dtype)}({', '.join(parameters)}):\n"
    return head + "\n".join(_Body(root, dtype, wide).lines.lines)


class _Body:
    """The lines of a block's definition.

    What only the first values of ``rarely`` need stands under an ``if``, once per condition.
    """

    def __init__(self, root: Expr, model: DType, wide: bool) -> None:
        self.lines = _Lines(1)
        self.model, self.wide = model, wide
        self.count = 0
        self.names: dict[Expr, str] = {}
        self.written: dict[str, str] = {}
        self.together: dict[Expr, list[Expr]] = {}
        self.ended: dict[ScalarLoop, list[str]] = {}
        self._gather_rare_choices(postorder([root]))
        self._write([root])
        self.lines.add(f"return {self.names[root]}")

    def _gather_rare_choices(self, exprs: Iterable[Expr]) -> None:
        """Collect the ``rarely`` expressions that share a condition, inside of loops too."""
        seen: set[ScalarLoop] = set()
        for expr in exprs:
            if expr.op == "rarely":
                self.together.setdefault(expr.args[0], []).append(expr)
            elif isinstance(expr, Iterated) and expr.loop not in seen:
                seen.add(expr.loop)
                self._gather_rare_choices(expr.loop.inside())

    def _write(self, roots: Iterable[Expr]) -> None:
        """Write the lines that ``roots`` need in every lane, without rarely taken branches."""
        stack = [(root, False) for root in reversed(list(roots))]
        while stack:
            expr, ready = stack.pop()
            if expr in self.names:
                continue
            if ready:
                if isinstance(expr, Iterated):
                    if expr.loop not in self.ended:
                        self._write_loop(expr)
                    self.names[expr] = self.ended[expr.loop][expr.place]
                elif expr.op == "ref":
                    self.names[expr] = str(expr.attribute)
                elif expr.op == "literal":
                    self.names[expr] = number(expr.attribute)  # type: ignore[arg-type]
                elif expr.op == "rarely":
                    self._write_rare_branch(self.together[expr.args[0]])
                elif expr.op == "scale":
                    # one instruction at 512 bits (AVX-512's scalef), else two products
                    p, low_bits = expr.args
                    n = scaled_by(low_bits)
                    steps = scaled_in_steps(p, low_bits)
                    self._write([n if self.wide else steps])
                    if self.wide:
                        self._name(expr, f"scale({self.names[p]}, {self.names[n]})")
                    else:
                        self.names[expr] = self.names[steps]
                else:
                    self._name(expr, self._call(expr))
                continue
            stack.append((expr, True))
            stack += [(a, False) for a in reversed(self._needs(expr)) if a not in self.names]

    def _needs(self, expr: Expr) -> list[Expr]:
        if expr.op != "rarely":
            return list(expr.args)
        return [expr.args[0], *(choice.args[2] for choice in self.together[expr.args[0]])]

    def _name(self, expr: Expr, text: str) -> None:
        """Give an expression the name of a line, or of the one that is there."""
        if text not in self.written:
            self._assign(expr, text)
            self.written[text] = self.names[expr]
        self.names[expr] = self.written[text]

    def _assign(self, expr: Expr, text: str) -> None:
        self.names[expr] = f"v{self.count}"
        self.count += 1
        self.lines.add(f"{self.names[expr]} = {text}")

    def _write_rare_branch(self, choices: list[Expr]) -> None:
        """Write a branch that recomputes rare lanes (huge arguments) only if there are any."""
        condition = self.names[choices[0].args[0]]
        for choice in choices:
            usual = choice.args[2]
            self._assign(choice, self._vector(usual))
        outer_names, ended, written = dict(self.names), dict(self.ended), dict(self.written)
        self.lines.add(f"if some({condition}):")
        self.lines.indent += 1
        self._write(choice.args[1] for choice in choices)
        for choice in choices:
            name, unusual = self.names[choice], self.names[choice.args[1]]
            self.lines.add(f"{name} = select({condition}, {unusual}, {name})")
        self.lines.indent -= 1
        self.names, self.ended, self.written = outer_names, ended, written

    def _write_loop(self, first: Iterated) -> None:
        """Write a loop that runs until all lanes are done; finished lanes keep their values."""
        loop = first.loop
        variables = [f"v{self.count + place}" for place in range(len(loop.carried))]
        self.count += len(variables)
        for name, initial in zip(variables, first.args, strict=False):
            self.lines.add(f"{name} = {self._vector(initial)}")
        outer_names, ended, written = dict(self.names), dict(self.ended), dict(self.written)
        self.names |= zip(loop.carried, variables, strict=True)
        self.lines.add(f"for _ in range({loop.iterations}):")
        self.lines.indent += 1
        self._write([loop.going])
        going = self.names[loop.going]
        self.lines.add(f"if not some({going}):")
        self.lines.add("    break")
        self._write(loop.following)
        pairs = zip(loop.following, variables, strict=True)
        selected = [f"select({going}, {self._vector(e)}, {name})" for e, name in pairs]
        self.lines.add(f"{', '.join(variables)} = {', '.join(selected)}")
        self.lines.indent -= 1
        self.names, self.ended, self.written = outer_names, ended, written
        self.ended[loop] = variables

    def _call(self, expr: Expr) -> str:
        texts = [self.names[a] for a in expr.args]
        values = expr.args[1:] if expr.op in CHOICES else expr.args
        if all(a.op == "literal" for a in values):
            texts[-1] = self._vector(values[-1])
        return primitive(expr, texts)

    def _vector(self, expr: Expr) -> str:
        """A value as a vector: a literal alone has no lanes, they are taken from x."""
        if expr.op != "literal":
            return self.names[expr]
        same = expr.dtype.bits == self.model.bits and expr.dtype is not BOOL
        model = "x" if expr.dtype is self.model else f"{'bit' * same}cast_{element(expr.dtype)}(x)"
        return f"like({model}, {self.names[expr]})"
