"""Kernel text over real numbers -> the same text over complex ones.

An algorithm is written once. Here each variable of numbers becomes two, its real and its imaginary
part; arrays have pairs. The text calls ``conj``, ``real_part``, ``imaginary_part``, ``squared``
(``|x|**2``), ``magnitude`` (the pivots' measure, ``|re| + |im|`` as in LAPACK), ``divide`` and
``adjoint_if`` where the two differ; ``OF_REAL`` defines them for real numbers.
"""

from __future__ import annotations

import ast
import re
from textwrap import indent
from typing import Final

#: Helpers over real numbers.
OF_REAL: Final = """
def conj(x):
    return x
def adjoint_if(x, is_adjoint):
    return x
def real_part(x):
    return x
def imaginary_part(x):
    return like(x, 0.0)
def magnitude(x):
    return absolute(x)
def squared(x):
    return x * x
def divide(x, y):
    return x / y
"""
#: Smith's division (1962).
_QUOTIENTS: Final = """
def quotient_re(a, b, c, d):
    is_wide = absolute(c) >= absolute(d)
    ratio = select(is_wide, d, c) / select(is_wide, c, d)
    scale = fma(select(is_wide, d, c), ratio, select(is_wide, c, d))
    return fma(select(is_wide, b, a), ratio, select(is_wide, a, b)) / scale
def quotient_im(a, b, c, d):
    is_wide = absolute(c) >= absolute(d)
    ratio = select(is_wide, d, c) / select(is_wide, c, d)
    scale = fma(select(is_wide, d, c), ratio, select(is_wide, c, d))
    value = fma(-select(is_wide, a, b), ratio, select(is_wide, b, a))
    return select(is_wide, value, -value) / scale
"""
#: Arrays of integers.
_INTEGERS: Final = frozenset({"permutation", "pivots", "swaps", "ints"})
_LOAD: Final = re.compile(r"load(1|2|4|8|16|_strided|)")
_STORE: Final = re.compile(r"store(1|2|4|8|16|_strided|)")
_OF_PARTS: Final = re.compile(r"splat\d+|select|select_mask")
#: The parts of a number as texts; None: it is real.
_Parts = tuple[str, str | None]


def write_complex(text: str) -> str:
    """Return the functions of a text over complex numbers."""
    tree = ast.parse(text)
    written = [_Function(node) for node in tree.body if isinstance(node, ast.FunctionDef)]
    helpers = {node.name for node in ast.parse(OF_REAL).body if isinstance(node, ast.FunctionDef)}
    functions = [function.text() for function in written if function.name not in helpers]
    return _QUOTIENTS.lstrip("\n") + "".join(functions)


class _Function:
    """One function: which of its variables are complex, and its lines."""

    def __init__(self, node: ast.FunctionDef) -> None:
        self.node, self.name = node, node.name
        self.numbers: set[str] = set()
        self.temporaries = 0
        self.lines: list[str] | None = []
        assigned = [s for s in ast.walk(node) if isinstance(s, ast.Assign)]
        count = -1
        while count != len(self.numbers):
            count = len(self.numbers)
            self.numbers |= {_name(s.targets[0]) for s in assigned if self.is_complex(s.value)}

    def text(self) -> str:
        """Return the function's text."""
        arguments = ", ".join(argument.arg for argument in self.node.args.args)
        return f"def {self.name}({arguments}):\n{self.block(self.node.body)}"

    def is_complex(self, node: ast.expr) -> bool:
        """Return whether an expression has an imaginary part."""
        if isinstance(node, ast.Name):
            return node.id in self.numbers
        if isinstance(node, ast.BinOp):
            return self.is_complex(node.left) or self.is_complex(node.right)
        if isinstance(node, ast.UnaryOp):
            return self.is_complex(node.operand)
        if not isinstance(node, ast.Call):
            return False
        name = _name(node.func)
        if _LOAD.fullmatch(name):
            return _name(node.args[0]) not in _INTEGERS
        is_number = _OF_PARTS.fullmatch(name) or name in ("fma", "conj", "divide", "adjoint_if")
        return bool(is_number) and any(map(self.is_complex, node.args))

    def block(self, statements: list[ast.stmt]) -> str:
        """Return the indented lines of statements."""
        return indent("".join(map(self.statement, statements)), "    ")

    def statement(self, node: ast.stmt) -> str:
        """Return the lines of one statement."""
        outer_lines, self.lines = self.lines, []
        text = self._statement(node)
        lines, self.lines = self.lines, outer_lines
        return "".join(f"{line}\n" for line in lines) + text

    def _statement(self, node: ast.stmt) -> str:
        if isinstance(node, ast.Assign):
            name = _name(node.targets[0])
            re_part, im_part = self.parts(node.value)
            if name not in self.numbers:
                return f"{name} = {re_part}\n"
            im_part = im_part or f"like({name}_next, 0.0)"
            return f"{name}_next = {re_part}\n{name}_im = {im_part}\n{name}_re = {name}_next\n"
        if isinstance(node, ast.Expr):
            return self.store(node.value)
        if isinstance(node, ast.If):
            text = f"if {self.condition(node.test)}:\n{self.block(node.body)}"
            return text + (f"else:\n{self.block(node.orelse)}" if node.orelse else "")
        if isinstance(node, ast.While):
            return f"while {self.condition(node.test)}:\n{self.block(node.body)}"
        if isinstance(node, ast.For):
            head = f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}:\n"
            return head + self.block(node.body)
        if isinstance(node, ast.Return) and node.value is not None:
            return f"return {self.parts(node.value)[0]}\n"
        return ast.unparse(node) + "\n"

    def condition(self, node: ast.expr) -> str:
        """Return a truth, computed where it stands."""
        lines, self.lines = self.lines, None
        text = self.parts(node)[0]
        self.lines = lines
        return text

    def store(self, node: ast.expr) -> str:
        """Return the lines that store a number, or call a function."""
        assert isinstance(node, ast.Call)
        name = _name(node.func)
        if not _STORE.fullmatch(name) or _name(node.args[0]) in _INTEGERS:
            return ast.unparse(node) + "\n"
        pointer, at, *others = node.args
        first = f"2 * ({ast.unparse(at)})"
        value = others[1] if name == "store_strided" else others[0]
        re_part, im_part = self.parts(value)
        parts = (re_part, im_part or f"like({re_part}, 0.0)")
        lanes = name.removeprefix("store")
        mask = f"mask{lanes}({lanes})" if lanes.isdigit() else ast.unparse(others[-1])
        step = f"2 * ({ast.unparse(others[0])})" if name == "store_strided" else "2"
        lines = []
        for number, part in enumerate(parts):
            place = f"{ast.unparse(pointer)}, {first} + {number}"
            if lanes == "1":
                lines.append(f"store1({place}, {part})\n")
            else:
                lines.append(f"store_strided({place}, {step}, {part}, {mask})\n")
        return "".join(lines)

    def name_parts(self, node: ast.expr) -> _Parts:
        """Return a number's parts as variables, which may be read several times."""
        parts = self.parts(node)
        if self.lines is None or isinstance(node, ast.Name):
            return parts
        self.temporaries += 1
        name = f"part{self.temporaries}"
        self.lines.append(f"{name}_re = {parts[0]}")
        if parts[1] is None:
            return f"{name}_re", None
        self.lines.append(f"{name}_im = {parts[1]}")
        return f"{name}_re", f"{name}_im"

    def parts(self, node: ast.expr) -> _Parts:
        """Return the texts of a number's parts."""
        if isinstance(node, ast.Name):
            return (
                (f"{node.id}_re", f"{node.id}_im") if node.id in self.numbers else (node.id, None)
            )
        if isinstance(node, ast.UnaryOp):
            operator = {ast.USub: "-", ast.Not: "not ", ast.Invert: "~"}[type(node.op)]
            re_part, im_part = self.parts(node.operand)
            return f"({operator}{re_part})", im_part and f"({operator}{im_part})"
        if isinstance(node, ast.BinOp):
            return self.operation(node)
        if isinstance(node, ast.Compare):
            re_part, im_part = self.parts(node.left)
            comparison = ast.unparse(node).removeprefix(ast.unparse(node.left))
            if im_part is None:
                return f"({re_part}{self.right(node)})", None
            return f"(({re_part}{comparison}) & ({im_part}{comparison}))", None
        if isinstance(node, ast.BoolOp):
            word = " and " if isinstance(node.op, ast.And) else " or "
            return f"({word.join(self.parts(value)[0] for value in node.values)})", None
        if isinstance(node, ast.IfExp):
            texts = (self.parts(part)[0] for part in (node.body, node.test, node.orelse))
            return "({} if {} else {})".format(*texts), None
        if isinstance(node, ast.Call):
            return self.call(node)
        return ast.unparse(node), None

    def right(self, node: ast.Compare) -> str:
        """Return the operator and the right side of a comparison of real numbers."""
        operator = {
            ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
        }[type(node.ops[0])]  # fmt: skip
        return f" {operator} {self.parts(node.comparators[0])[0]}"

    def operation(self, node: ast.BinOp) -> _Parts:
        """Return the parts of a sum, a product or a quotient by a real number."""
        if not self.is_complex(node):
            left, right = self.parts(node.left)[0], self.parts(node.right)[0]
            operator = ast.unparse(ast.BinOp(ast.Name("a"), node.op, ast.Name("b")))[1:-1]
            return f"({left}{operator}{right})", None
        (a, b), (c, d) = self.name_parts(node.left), self.name_parts(node.right)
        if isinstance(node.op, ast.Mult):
            if b is None or d is None:
                return f"({a} * {c})", f"({a} * {d})" if b is None else f"({b} * {c})"
            return f"({a} * {c} - {b} * {d})", f"({a} * {d} + {b} * {c})"
        if isinstance(node.op, ast.Div):
            assert d is None, "divide(x, y) divides by complex numbers"
            return f"({a} / {c})", f"({b} / {c})"
        sign = "+" if isinstance(node.op, ast.Add) else "-"
        if b is None:
            return f"({a} {sign} {c})", d if sign == "+" else f"(-{d})"
        return f"({a} {sign} {c})", b if d is None else f"({b} {sign} {d})"

    def call(self, node: ast.Call) -> _Parts:
        """Return the parts of the result of a function."""
        name = _name(node.func)
        if _LOAD.fullmatch(name) and self.is_complex(node):
            return self.load(node, name.removeprefix("load"))
        if not any(map(self.is_complex, node.args)):
            texts = ", ".join(self.parts(argument)[0] for argument in node.args)
            return f"{name}({texts})", None
        if name == "fma":
            (a, b), (c, d), (e, f) = map(self.name_parts, node.args)
            f = f or f"like({e}, 0.0)"
            if b is None or d is None:
                cross, real = (d, a) if b is None else (b, c)
                return f"fma({a}, {c}, {e})", f"fma({cross}, {real}, {f})"
            return f"fma(-{b}, {d}, fma({a}, {c}, {e}))", f"fma({b}, {c}, fma({a}, {d}, {f}))"
        if name == "divide":
            (a, b), (c, d) = map(self.name_parts, node.args)
            words = f"({a}, {b or f'like({a}, 0.0)'}, {c}, {d})"
            return f"quotient_re{words}", f"quotient_im{words}"
        if _OF_PARTS.fullmatch(name):
            pairs = [self.name_parts(argument) for argument in node.args]
            real = ", ".join(pair[0] for pair in pairs)
            is_choice = name.startswith("select")
            imaginary = [
                pair[1] or (f"like({pair[0]}, 0.0)" if number or not is_choice else pair[0])
                for number, pair in enumerate(pairs)
            ]
            return f"{name}({real})", f"{name}({', '.join(imaginary)})"
        a, b = self.name_parts(node.args[0])
        if name == "adjoint_if":
            return a, f"({b} * like({b}, 1 - 2 * {ast.unparse(node.args[1])}))"
        return {
            "conj": (a, f"(-{b})"),
            "real_part": (a, None),
            "imaginary_part": (f"{b}", None),
            "magnitude": (f"(absolute({a}) + absolute({b}))", None),
            "squared": (f"({a} * {a} + {b} * {b})", None),
        }[name]

    def load(self, node: ast.Call, lanes: str) -> _Parts:
        """Return the parts of elements that are loaded."""
        pointer, at, *others = map(ast.unparse, node.args)
        places = (f"{pointer}, 2 * ({at})", f"{pointer}, 2 * ({at}) + 1")
        if lanes == "1":
            return f"load1({places[0]})", f"load1({places[1]})"
        step = f"2 * ({others[0]})" if lanes == "_strided" else "2"
        mask = f"mask{lanes}({lanes})" if lanes.isdigit() else others[-1]
        first, second = (f"load_strided({place}, {step}, {mask})" for place in places)
        return first, second


def _name(node: ast.expr) -> str:
    assert isinstance(node, ast.Name), ast.unparse(node)
    return node.id
