"""Lints of programs in Python that compile at each iteration of a loop.

What a run warns of at its third trace (``staticgrad/programs/retraces.py``) is here seen in the
text of the program. Each row has programs that compile anew and the same programs with the cure,
whose results are equal; tests run both and count their traces.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Final

from staticgrad.errors import OpDefinitionError
from staticgrad.extend import NamedTuple, dataclass
from staticgrad.extend.building import SourceLine
from staticgrad.tools.lints.sources import FunctionNode, LintedSource, LoopCall
from staticgrad.tools.lints.table import Finding

_START: Final = """
import math
import numpy as np
import staticgrad as sg

x = np.arange(1.0, 7.0)
"""


class RepeatedCompile(NamedTuple):
    """A place at which a program compiles anew: in words, with the cure."""

    node: ast.AST
    headline: str
    fix: str


@dataclass(frozen=True, eq=False)
class SourceLint:
    """One reason for which a program of Python compiles at each iteration of a loop.

    Attributes:
        name: how findings and options call it.
        about: the reason in one line, for lists.
        check: the places of a file where it holds.
        bad, good: programs that compile anew, and the same programs with the cure. Each puts what
            it computes into ``results``.
    """

    name: str
    about: str
    check: Callable[[LintedSource], Iterator[RepeatedCompile]]
    bad: tuple[str, ...]
    good: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a lint that nobody has tried.

        Raises:
            OpDefinitionError: an example has no counterpart.
        """
        if not self.bad or len(self.bad) != len(self.good):
            raise OpDefinitionError(f"lint {self.name!r} needs examples with and without it")

    def findings(self, source: LintedSource) -> Iterator[Finding]:
        """Return its findings for one file."""
        for node, headline, fix in self.check(source):
            text = source.lines[node.lineno - 1]  # type: ignore[attr-defined]
            is_one_line = node.lineno == node.end_lineno  # type: ignore[attr-defined]
            place = SourceLine(
                source.file,
                node.lineno,  # type: ignore[attr-defined]
                node.col_offset if text.isascii() else None,  # type: ignore[attr-defined]
                node.end_col_offset if text.isascii() and is_one_line else None,  # type: ignore[attr-defined]
                text=text,
            )
            yield Finding(self.name, headline, place, fix)


def repetition_lint(
    name: str, about: str, *examples: tuple[str, str]
) -> Callable[[Callable[[LintedSource], Iterator[RepeatedCompile]]], SourceLint]:
    """Return a decorator that registers a check of files, with (bad, good) examples."""
    bad, good = zip(*examples, strict=True)
    start = _START
    return lambda check: SourceLint(
        name,
        about,
        check,
        tuple(start + item for item in bad),
        tuple(start + item for item in good),
    )


# -- Python numbers -------------------------------------------------------------------------------

_NEEDS_FLOAT: Final = frozenset({"float", "int", "round", "min", "max", "str", "range", "bool"})
#: Functions of NumPy, and methods, whose arguments are sizes, axes or shapes.
_SIZES: Final = frozenset({
    "zeros", "ones", "full", "empty", "arange", "eye", "identity", "linspace", "reshape", "tile",
    "broadcast_to", "repeat", "roll", "split", "array_split", "pad", "moveaxis", "swapaxes", "flip",
    "expand_dims", "transpose", "one_hot", "topk", "rot90", "cumsum",
})  # fmt: skip
_SIZE_KEYWORDS: Final = frozenset(
    {"axis", "axes", "shape", "num_classes", "repeats", "k", "length"}
)


class NumberUse(NamedTuple):
    """A place of a function at which Python needs the number of an argument."""

    words: str
    fix: str


def _is_of(node: ast.AST, names: set[str]) -> bool:
    """Return whether an expression reads one of these names and no other variable."""
    read = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
    called = {
        item.func.id
        for item in ast.walk(node)
        if isinstance(item, ast.Call) and isinstance(item.func, ast.Name)
    }
    return bool(read & names) and read - called <= names


def _reads(node: ast.AST | None, names: set[str]) -> bool:
    """Return whether an expression reads one of these names."""
    return node is not None and any(
        isinstance(item, ast.Name) and item.id in names for item in ast.walk(node)
    )


_WHERE: Final = "sg.where(condition, a, b), with"
_COUNT: Final = "one size and a mask, as sg.where(sg.arange(size) < {0}, x, 0), with"


def _needs_number(
    source: LintedSource, body: FunctionNode, name: str, depth: int = 3
) -> NumberUse | None:
    """Return where a function needs the Python number of an argument, if its text shows it."""
    names = {name}
    statements = [body.body] if isinstance(body, ast.Lambda) else body.body
    nodes = [node for statement in statements for node in ast.walk(statement)]
    for node in nodes:  # names that are computed of the number alone
        if isinstance(node, ast.Assign) and _is_of(node.value, names):
            names |= {item.id for item in node.targets if isinstance(item, ast.Name)}
    for node in nodes:
        match node:
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if _reads(
                test, names
            ):
                if not any(isinstance(op, ast.Is | ast.IsNot) for op in _operators(test)):
                    return NumberUse("a condition of Python", _WHERE)
            case ast.JoinedStr() if _reads(node, names):
                return NumberUse("a text", "a text without it, or")
            case ast.Subscript(slice=index) if _reads(index, names):
                is_slice = any(isinstance(item, ast.Slice) for item in ast.walk(index))
                words = "the bound of a slice" if is_slice else "an index"
                return NumberUse(words, _COUNT if is_slice else "sg.take(x, {0}, axis=0), with")
            case ast.BinOp(op=ast.Pow(), left=left, right=right) if _reads(
                right, names
            ) and not _is_number(left, names):
                return NumberUse("the exponent of an array", "")
            case ast.Call(func=func, args=arguments, keywords=keywords):
                use = _needed_by_call(source, node, names)
                if use is not None:
                    return use
                inner = source.look_up(source.definitions, func)
                if inner is None or not depth or inner is body:
                    continue
                parameters = [item.arg for item in (*inner.args.posonlyargs, *inner.args.args)]
                passed = [*zip(parameters, arguments, strict=False)]
                passed += [(item.arg, item.value) for item in keywords if item.arg]
                for parameter, argument in passed:
                    if _is_of(argument, names):
                        use = _needs_number(source, inner, parameter, depth - 1)
                        if use is not None:
                            return use
    return None


def _operators(node: ast.AST) -> Iterator[ast.cmpop]:
    for item in ast.walk(node):
        if isinstance(item, ast.Compare):
            yield from item.ops


def _is_number(node: ast.AST, names: set[str]) -> bool:
    """Return whether an expression is a Python number: literals, and names of numbers."""
    return all(item.id in names for item in ast.walk(node) if isinstance(item, ast.Name))


def _needed_by_call(source: LintedSource, node: ast.Call, names: set[str]) -> NumberUse | None:
    name = source.dotted_name(node.func)
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name == "range" and any(_reads(argument, names) for argument in node.args):
        return NumberUse("range()", _COUNT)
    of_number = [argument for argument in node.args if _is_of(argument, names)]
    if of_number and name in _NEEDS_FLOAT:
        return NumberUse(f"{name}()", "functions of sg, as sg.maximum, with")
    if of_number and name.startswith("math."):
        return NumberUse(f"{name}()", f"sg.{method}({{0}}), with")
    if of_number and method in _SIZES:
        return NumberUse(f"a size or shape of {method}()", "sizes that stay, with")
    if of_number and len(of_number) == len(node.args) and name.startswith("numpy."):
        return NumberUse(f"np.{method}()", f"sg.{method}({{0}}), with")
    for keyword in node.keywords:
        if keyword.arg in _SIZE_KEYWORDS and _reads(keyword.value, names):
            return NumberUse(f"{keyword.arg}=", "sizes and axes that stay, with")
    return None


@repetition_lint(
    "number-per-iteration",
    "a Python number that changes in a loop, of which the compiled function needs the value",
    (
        """
@sg.function
def step(x, rate):
    return x * rate if rate > 0.25 else x

results = [step(x, 0.1 * k) for k in range(1, 6)]
""",
        """
@sg.function
def step(x, rate):
    return sg.where(rate > 0.25, x * rate, x)

results = [step(x, np.float64(0.1 * k)) for k in range(1, 6)]
""",
    ),
    (
        """
def total(x, count):
    return x[:count].sum()

f = sg.function(sg.grad(total))
results = []
for count in range(1, 6):
    results.append(f(x, count))
""",
        """
def total(x, count):
    return sg.where(sg.arange(6) < count, x, 0).sum()

f = sg.function(sg.grad(total))
results = []
for count in range(1, 6):
    results.append(f(x, np.int64(count)))
""",
    ),
    (
        """
class Model:
    def __init__(self):
        self.step = sg.function(self._step)

    def _step(self, x, rate):
        scale = math.exp(-rate)
        return scale * x

model = Model()
rate, results = 0.5, []
while len(results) < 5:
    rate = rate * 0.9
    results.append(model.step(x, rate=rate))
""",
        """
class Model:
    def __init__(self):
        self.step = sg.function(self._step)

    def _step(self, x, rate):
        scale = sg.exp(-rate)
        return scale * x

model = Model()
rate, results = 0.5, []
while len(results) < 5:
    rate = rate * 0.9
    results.append(model.step(x, rate=rate))
""",
    ),
    (
        """
power = sg.function(lambda x, degree: x**degree)
results = [power(x, degree) for degree in (1.5, 2.5, 3.5, 4.5, 5.5)]
""",
        """
power = sg.function(lambda x, degree: x**degree)
results = [power(x, np.float64(degree)) for degree in (1.5, 2.5, 3.5, 4.5, 5.5)]
""",
    ),
)
def _number_per_iteration(source: LintedSource) -> Iterator[RepeatedCompile]:
    """Yield the numbers of calls that change, and that Python needs when it traces."""
    for call in source.loop_calls:
        for name, argument in call.arguments.items():
            kind = source.kind(argument)
            if kind not in ("int", "float") or not source.changes(argument, call.loops):
                continue
            if call.function.body is None or name not in call.function.parameters:
                continue
            use = _needs_number(source, call.function.body, name)
            if use is not None:
                array = f"np.{'int64' if kind == 'int' else 'float64'}({ast.unparse(argument)})"
                cure = f"{use.fix.format(name)} {array}".strip()
                yield RepeatedCompile(
                    argument,
                    f"{call.function.name.removeprefix('.')} compiles for each value of {name}:"
                    f" {use.words} needs the Python number",
                    f"{cure}; static={name!r} says that it is meant",
                )


# -- containers and arrays ------------------------------------------------------------------------


def _is_stored_in(loops: tuple[ast.AST, ...], name: str) -> bool:
    """Return whether a loop assigns a name anew."""
    return any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
        for loop in loops
        for node in ast.walk(loop)
    )


def _list_grows(source: LintedSource, argument: ast.expr, loops: tuple[ast.AST, ...]) -> bool:
    """Return whether an argument is a list that has another length in each iteration."""
    if isinstance(argument, ast.ListComp):
        return any(
            source.dotted_name(getattr(item.iter, "func", item.iter)) == "range"
            and source.changes(item.iter, loops)
            for item in argument.generators
        )
    if isinstance(argument, ast.Subscript) and isinstance(argument.slice, ast.Slice):
        bounds = argument.slice.lower, argument.slice.upper
        are_changed = [item is not None and source.changes(item, loops) for item in bounds]
        return source.kind(argument.value) == "list" and any(are_changed) and not all(are_changed)
    if isinstance(argument, ast.BinOp) and isinstance(argument.op, ast.Mult):
        parts = (argument.left, argument.right), (argument.right, argument.left)
        return any(
            isinstance(items, ast.List) and source.changes(count, loops) for items, count in parts
        )
    if not isinstance(argument, ast.Name) or source.kind(argument) != "list":
        return False
    for depth, loop in enumerate(loops):  # an outer loop may begin anew with an empty one
        for node in ast.walk(loop):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if (
                    name == argument.id and method in ("append", "extend", "insert")
                ):
                    return not _is_stored_in(loops[: depth + 1], name) and not _shrinks(loop, name)
                case ast.AugAssign(target=ast.Name(id=name), op=ast.Add()) if name == argument.id:
                    return True
                case ast.Assign(
                    targets=[ast.Name(id=name)], value=ast.BinOp(left=ast.Name(id=name_read))
                ) if name == name_read == argument.id:
                    return True
    return False


def _shrinks(loop: ast.AST, name: str) -> bool:
    """Return whether a loop also takes elements from a list."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in ("pop", "clear", "remove", "popleft")
        and isinstance(node.value, ast.Name)
        and node.value.id == name
        for node in ast.walk(loop)
    ) or any(isinstance(node, ast.Delete) and _reads(node, {name}) for node in ast.walk(loop))


@repetition_lint(
    "list-per-iteration",
    "a list of arrays that has another length in each iteration of a loop",
    (
        """
@sg.function
def total(history):
    return sum(history).sum()

history, results = [], []
for k in range(5):
    history.append(x * k)
    results.append(total(history))
""",
        """
@sg.function
def total(history):
    return history.sum()

history, results = [], []
for k in range(5):
    history.append(x * k)
    results.append(total(np.stack(history)))
""",
    ),
    (
        """
total = sg.function(lambda parts: sum(part.sum() for part in parts))
results = [total([x] * k) for k in range(1, 6)]
""",
        """
total = sg.function(lambda parts: parts.sum())
results = [total(np.stack([x] * k)) for k in range(1, 6)]
""",
    ),
    (
        """
total = sg.function(lambda weights: sum(weights))
weights, results = [], []
for k in range(5):
    weights += [0.5 * k]
    results.append(total(weights))
""",
        """
total = sg.function(lambda weights: weights.sum())
weights, results = [], []
for k in range(5):
    weights += [0.5 * k]
    results.append(total(np.array(weights)))
""",
    ),
)
def _list_per_iteration(source: LintedSource) -> Iterator[RepeatedCompile]:
    for call in source.loop_calls:
        for name, argument in call.arguments.items():
            if _list_grows(source, argument, call.loops):
                text = ast.unparse(argument)
                yield RepeatedCompile(
                    argument,
                    f"{call.function.name.removeprefix('.')} compiles for each length of {name}",
                    f"one array, np.stack({text}) or np.array({text}), may have any number of rows",
                )


def _keys_change(source: LintedSource, argument: ast.expr, loops: tuple[ast.AST, ...]) -> bool:
    """Return whether an argument is a dict that has other keys in each iteration."""
    if isinstance(argument, ast.Dict):
        return any(key is not None and source.changes(key, loops) for key in argument.keys)
    if not isinstance(argument, ast.Name) or source.kind(argument) != "dict":
        return False
    return any(
        isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == argument.id
        and source.kind(node.slice) in ("text", "int", "float")
        and source.changes(node.slice, source.loops_around(node)[:1])
        and not _is_stored_in(source.loops_around(node)[:1], argument.id)
        and source.loops_around(node)[:1] == loops[:1]
        for loop in loops
        for node in ast.walk(loop)
    )


@repetition_lint(
    "keys-per-iteration",
    "a dict that has other keys in each iteration of a loop",
    (
        """
total = sg.function(lambda batch: sum(part.sum() for part in batch.values()))
results = [total({f"part{k}": x * k}) for k in range(5)]
""",
        """
total = sg.function(lambda batch: sum(part.sum() for part in batch.values()))
results = [total({"part": x * k}) for k in range(5)]
""",
    ),
    (
        """
total = sg.function(lambda batch: sum(part.sum() for part in batch.values()))
batch, results = {}, []
for k in range(5):
    batch[f"part{k}"] = x * k
    results.append(total(batch))
""",
        """
total = sg.function(lambda batch: batch.sum())
batch, results = {}, []
for k in range(5):
    batch[f"part{k}"] = x * k
    results.append(total(np.stack(list(batch.values()))))
""",
    ),
)
def _keys_per_iteration(source: LintedSource) -> Iterator[RepeatedCompile]:
    for call in source.loop_calls:
        for name, argument in call.arguments.items():
            if _keys_change(source, argument, call.loops):
                yield RepeatedCompile(
                    argument,
                    f"{call.function.name.removeprefix('.')} compiles for each set of keys of"
                    f" {name}",
                    "the same keys at each call, or one array: np.stack(list(parts.values()))",
                )


_ADDS_AXIS: Final = frozenset({"expand_dims", "atleast_2d", "atleast_3d", "unsqueeze"})
_DROPS_AXIS: Final = frozenset({"squeeze", "ravel", "flatten", "sum", "mean", "max", "min"})


def _changes_rank(node: ast.expr, name: str) -> bool:
    """Return whether an expression is the array ``name`` with an axis more or fewer."""
    match node:
        case ast.Subscript(value=ast.Name(id=owner), slice=index) if owner == name:
            parts = index.elts if isinstance(index, ast.Tuple) else [index]
            return any(
                (isinstance(part, ast.Constant) and part.value is None)
                or (isinstance(part, ast.Attribute) and part.attr == "newaxis")
                for part in parts
            ) or all(isinstance(part, ast.Constant) and type(part.value) is int for part in parts)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=method)) if owner == name:
            return method in _ADDS_AXIS | _DROPS_AXIS and not _keeps_axes(node)
        case ast.Call(func=ast.Attribute(attr=method), args=[ast.Name(id=owner), *_]) if (
            owner == name
        ):
            return method in _ADDS_AXIS | _DROPS_AXIS and not _keeps_axes(node)
    return False


def _keeps_axes(node: ast.Call) -> bool:
    return any(keyword.arg in ("keepdims", "keepdim") for keyword in node.keywords)


@repetition_lint(
    "axes-per-iteration",
    "an array that gets an axis more or fewer in each iteration of a loop",
    (
        """
total = sg.function(lambda x: x.sum())
results = []
for _ in range(5):
    x = x[None]
    results.append(total(x))
""",
        """
total = sg.function(lambda x: x.sum())
results = []
for _ in range(5):
    x = x.reshape(1, -1)
    results.append(total(x))
""",
    ),
)
def _axes_per_iteration(source: LintedSource) -> Iterator[RepeatedCompile]:
    for call in source.loop_calls:
        for name, argument in call.arguments.items():
            if not isinstance(argument, ast.Name):
                continue
            values = [
                node.value
                for node in ast.walk(call.loops[0])
                if isinstance(node, ast.Assign)
                and any(isinstance(t, ast.Name) and t.id == argument.id for t in node.targets)
            ]
            if len(values) == 1 and _changes_rank(values[0], argument.id):
                yield RepeatedCompile(
                    values[0],
                    f"{call.function.name.removeprefix('.')} compiles for each number of axes of"
                    f" {name}",
                    "the same axes at each call, of size 1 where there is one element:"
                    f" {argument.id}.reshape(1, -1)",
                )


@repetition_lint(
    "dtype-per-iteration",
    "an array that has another element type in each iteration of a loop",
    (
        """
total = sg.function(lambda x: x.sum())
results = [total(x.astype(name)) for name in ("float32", "int32", "int16", "int64", "uint8")]
""",
        """
total = sg.function(lambda x: x.sum())
results = [total(x.astype("float64")) for name in ("float32", "int32", "int16", "int64", "uint8")]
""",
    ),
)
def _dtype_per_iteration(source: LintedSource) -> Iterator[RepeatedCompile]:
    for call in source.loop_calls:
        for name, argument in call.arguments.items():
            if not isinstance(argument, ast.Call):
                continue
            is_cast = isinstance(argument.func, ast.Attribute) and argument.func.attr == "astype"
            dtypes = argument.args[:1] if is_cast else []
            dtypes += [item.value for item in argument.keywords if item.arg == "dtype"]
            if any(source.changes(item, call.loops) for item in dtypes):
                yield RepeatedCompile(
                    argument,
                    f"{call.function.name.removeprefix('.')} compiles for each element type of"
                    f" {name}",
                    "one element type at each call",
                )


# -- texts and functions --------------------------------------------------------------------------


@repetition_lint(
    "text-per-iteration",
    "a string that changes in a loop: strings are static",
    (
        """
@sg.function
def scaled(x, label):
    return 2 * x

results = [scaled(x, f"run {k}") for k in range(5)]
""",
        """
@sg.function
def scaled(x):
    return 2 * x

results = [scaled(x) for k in range(5)]
""",
    ),
)
def _text_per_iteration(source: LintedSource) -> Iterator[RepeatedCompile]:
    for call in source.loop_calls:
        for name, argument in call.arguments.items():
            # Names of a list that is written out are few, and mostly meant.
            is_text = source.kind(argument) == "text" and not isinstance(argument, ast.Name)
            if is_text and source.changes(argument, call.loops):
                yield RepeatedCompile(
                    argument,
                    f"{call.function.name.removeprefix('.')} compiles for each text of {name}",
                    f"leave it out of the call; static={name!r} says that it is meant",
                )


@repetition_lint(
    "function-per-iteration",
    "a lambda or partial that is made in a loop and passed to a compiled function",
    (
        """
@sg.function
def mapped(x, f):
    return f(x)

results = [mapped(x, lambda x: x * k) for k in range(5)]
""",
        """
@sg.function
def mapped(x, k, f):
    return f(x, k)

def times(x, k):
    return x * k

results = [mapped(x, k, times) for k in range(5)]
""",
    ),
)
def _function_per_iteration(source: LintedSource) -> Iterator[RepeatedCompile]:
    for call in source.loop_calls:
        for name, argument in call.arguments.items():
            value = argument
            if isinstance(argument, ast.Name):
                values = [
                    node.value
                    for node in ast.walk(call.loops[0])
                    if isinstance(node, ast.Assign)
                    and any(isinstance(t, ast.Name) and t.id == argument.id for t in node.targets)
                ]
                value = values[0] if len(values) == 1 else argument
            if isinstance(value, ast.Lambda | ast.Call) and source.kind(value) == "function":
                yield RepeatedCompile(
                    value,
                    f"{call.function.name.removeprefix('.')} compiles for each function {name}, and"
                    " the loop makes another one in each iteration",
                    "define it once, before the loop, with what changes as an argument",
                )


# -- what a function reads around it --------------------------------------------------------------


def _names_around(body: FunctionNode) -> set[str]:
    """Return the names that a function reads and does not define, and ``self.x`` as ``.x``."""
    local = {node.arg for node in ast.walk(body.args) if isinstance(node, ast.arg)}
    statements = [body.body] if isinstance(body, ast.Lambda) else body.body
    nodes = [node for statement in statements for node in ast.walk(statement)]
    local |= {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    names = {node.id for node in nodes if isinstance(node, ast.Name)} - local
    return names | {
        f".{node.attr}"
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and isinstance(node.ctx, ast.Load)
    }


def _numbers_assigned(source: LintedSource, call: LoopCall) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the names and attributes that a call's loops assign to numbers."""
    for loop in call.loops:
        for node in ast.walk(loop):
            target: ast.expr
            match node:
                case ast.Assign(targets=[target], value=value):
                    pass
                case ast.AugAssign(target=target, value=value):
                    pass
                case _:
                    continue
            assert isinstance(node, ast.stmt)
            if isinstance(target, ast.Name) and source.kind(target) in ("int", "float"):
                yield target.id, node
            elif isinstance(target, ast.Attribute):
                is_number = source.kind(value) in ("int", "float")
                if is_number and (
                    isinstance(node, ast.AugAssign) or source.changes(value, call.loops)
                ):
                    yield f".{target.attr}", node


@repetition_lint(
    "number-around",
    "a global, captured variable or attribute that a loop changes and a compiled function reads",
    (
        """
rate = 1.0

@sg.function
def step(x):
    return x * rate

results = []
for _ in range(5):
    rate *= 0.9
    results.append(step(x))
""",
        """
rate = 1.0

@sg.function
def step(x, rate):
    return x * rate

results = []
for _ in range(5):
    rate *= 0.9
    results.append(step(x, rate))
""",
    ),
    (
        """
class Model:
    def __init__(self):
        self.rate = 1.0
        self.step = sg.function(self._step)

    def _step(self, x):
        return x * self.rate

model, results = Model(), []
for k in range(5):
    model.rate = 0.1 * k
    results.append(model.step(x))
""",
        """
class Model:
    def __init__(self):
        self.step = sg.function(self._step)

    def _step(self, x, rate):
        return x * rate

model, results = Model(), []
for k in range(5):
    results.append(model.step(x, 0.1 * k))
""",
    ),
)
def _number_around(source: LintedSource) -> Iterator[RepeatedCompile]:
    for call in source.loop_calls:
        if call.function.body is None:
            continue
        around = _names_around(call.function.body)
        for name, node in dict(_numbers_assigned(source, call)).items():
            if name in around:
                yield RepeatedCompile(
                    node,
                    f"{call.function.name.removeprefix('.')} compiles for each value of"
                    f" {name.removeprefix('.')}, which it reads and the loop changes",
                    "pass it as an argument, or read a parameter: p.update(number)",
                )


@repetition_lint(
    "compiled-in-loop",
    "sg.function or sg.compile in a loop, for one call in each iteration",
    (
        """
results = []
for k in range(5):
    step = sg.function(lambda x: x * 2)
    results.append(step(x))
""",
        """
step = sg.function(lambda x: x * 2)
results = []
for k in range(5):
    results.append(step(x))
""",
    ),
    (
        """
def cube(x):
    return (x**3).sum()

results = [sg.function(sg.grad(cube))(x * k) for k in range(5)]
""",
        """
def cube(x):
    return (x**3).sum()

slope = sg.function(sg.grad(cube))
results = [slope(x * k) for k in range(5)]
""",
    ),
    (
        """
y = sg.input("y", (6,), "float64")
results = []
for k in range(5):
    f = sg.compile(y * y)
    results.append(f.run({"y": x * k}))
""",
        """
y = sg.input("y", (6,), "float64")
results = []
f = sg.compile(y * y)
for k in range(5):
    results.append(f.run({"y": x * k}))
""",
    ),
)
def _compiled_in_loop(source: LintedSource) -> Iterator[RepeatedCompile]:
    """Yield calls that make a compiled function which no inner loop calls."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        if source.dotted_name(node.func) not in ("staticgrad.function", "staticgrad.compile"):
            continue
        loops = source.loops_around(node)
        first, *more = node.args
        options = [*more, *[keyword.value for keyword in node.keywords]]
        if not isinstance(first, ast.Lambda):
            options.append(first)
        if not loops or any(source.changes(option, loops) for option in options):
            continue
        parent = source.parents[node]
        if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
            name = parent.targets[0].id
            calls = [
                item
                for item in ast.walk(loops[0])
                if isinstance(item, ast.Call) and _owner_of(item.func) == name
            ]
            once = len(calls) == 1 and source.loops_around(calls[0]) == loops
        else:
            once = isinstance(parent, ast.Call) and parent.func is node
            once |= isinstance(parent, ast.Attribute) and parent.attr == "run"
        if once:
            maker = ast.unparse(node.func)
            yield RepeatedCompile(
                node,
                f"{maker} compiles in each iteration of the loop, for one call",
                "make it once, before the loop, with what changes as an argument",
            )


def _owner_of(node: ast.expr) -> str:
    """Return ``f`` for ``f`` and ``f.run``."""
    if isinstance(node, ast.Attribute) and node.attr == "run":
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
