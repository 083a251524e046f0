"""Facts about a file of Python for lints: compiled functions, and what their calls in loops pass.

The file is read, not run. What is not certain from its text has the kind ``unknown``, of which no
lint says anything.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Final, Literal, TypeVar

from staticgrad.extend import NamedTuple, cached_property, dataclass

T = TypeVar("T")
Kind = Literal["int", "float", "text", "list", "dict", "function", "unknown"]
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_LOOPS: Final = (ast.For, ast.AsyncFor, ast.While)
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Module)
#: Functions of functions with the same arguments.
_SAME_ARGUMENTS: Final = frozenset(
    f"staticgrad.{name}"
    for name in ("grad", "value_and_grad", "vmap", "hessian", "jacobian", "jacfwd", "checkpoint")
)
_KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("len", "int", "ord", "hash"), "int"),
    **dict.fromkeys(("float", "time.time", "time.perf_counter"), "float"),
    **dict.fromkeys(("str", "repr", "format", "chr"), "text"),
    **dict.fromkeys(("list", "sorted"), "list"),
    **dict.fromkeys(("dict",), "dict"),
    **dict.fromkeys(("functools.partial",), "function"),
}
_SAME_KIND: Final = frozenset({"min", "max", "abs", "round", "sum", "pow", "divmod"})
_TEXT_METHODS: Final = frozenset({"format", "join", "upper", "lower", "strip", "replace"})


class CompiledFunction(NamedTuple):
    """A function of the file that ``sg.function`` compiles.

    Attributes:
        name: how the file calls it: ``step``, or ``.step`` for an attribute.
        body: its definition, None where the file does not have it.
        static: names of arguments that are static on purpose; None if the file does not say which.
    """

    name: str
    body: FunctionNode | None
    static: frozenset[str] | None

    @property
    def parameters(self) -> list[str]:
        """Return the names of its arguments, without ``self``."""
        if self.body is None:
            return []
        names = [item.arg for item in (*self.body.args.posonlyargs, *self.body.args.args)]
        return names[1:] if names[:1] in (["self"], ["cls"]) else names


@dataclass(frozen=True, eq=False)
class LoopCall:
    """A call of a compiled function inside of a loop, and its arguments by name."""

    function: CompiledFunction
    call: ast.Call
    loops: tuple[ast.AST, ...]
    arguments: dict[str, ast.expr]


class LintedSource:
    """A file of Python with what lints ask about it.

    Raises:
        SyntaxError: the text is not Python.
    """

    def __init__(self, text: str, file: str = "<text>") -> None:
        self.file, self.lines = file, text.splitlines()
        self.tree = ast.parse(text, file)
        self.parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }
        self.imports = dict(self._imports())
        self._kinds: dict[tuple[ast.AST, str], Kind | None] = {}

    def _imports(self) -> Iterator[tuple[str, str]]:
        """Yield the names that imports define, with the dotted names that they stand for."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    yield (alias.asname or top), (alias.name if alias.asname else top)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    yield (alias.asname or alias.name), f"{node.module}.{alias.name}"

    def dotted_name(self, node: ast.AST) -> str:
        """Return the name that an expression is, ``numpy.exp``; empty if it is none."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            owner = self.dotted_name(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return ""

    # -- compiled functions -----------------------------------------------------------------------

    @cached_property
    def definitions(self) -> dict[tuple[ast.AST, str], FunctionNode]:
        """Collect the functions that the file defines, by scope and name."""
        return {
            (self.scope_of(self.parents[node]), _name_of_definition(self.parents[node], node)): node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    @cached_property
    def compiled_functions(self) -> dict[tuple[ast.AST, str], CompiledFunction]:
        """Collect the functions that ``sg.function`` compiles, by scope and name of their calls."""
        functions = {}
        for (scope, name), definition in self.definitions.items():
            decorators = getattr(definition, "decorator_list", [])
            maker = next(filter(self.is_maker, decorators), None)
            if maker is not None:
                functions[scope, name] = CompiledFunction(name, definition, _static_names(maker))
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign) and self.is_maker(node.value):
                assert isinstance(node.value, ast.Call)
                for target in node.targets:
                    name = _name_of_call(target)
                    if name and node.value.args:
                        function = CompiledFunction(
                            name, self.body_of(node.value.args[0]), _static_names(node.value)
                        )
                        functions[self.scope_of(node), name] = function
        return functions

    def look_up(self, table: Mapping[tuple[ast.AST, str], T], node: ast.expr) -> T | None:
        """Return what a name means where it is read; of an attribute, the only one of its name."""
        name = _name_of_call(node)
        if name.startswith("."):
            entries = [entry for (_, label), entry in table.items() if label == name]
            return entries[0] if len(entries) == 1 else None
        scope: ast.AST | None = self.scope_of(node)
        while scope is not None:
            if (scope, name) in table:
                return table[scope, name]
            if not isinstance(scope, ast.Module) and (
                name in _arguments_of(scope) or self.values_of(scope, name)
            ):
                return None
            parent = self.parents.get(scope)
            scope = None if parent is None else self.scope_of(parent)
        return None

    def is_maker(self, node: ast.AST) -> bool:
        """Return whether an expression is ``sg.function`` or a call of it."""
        if isinstance(node, ast.Call):
            return self.is_maker(node.func)
        return self.dotted_name(node) == "staticgrad.function"

    def body_of(self, node: ast.expr) -> FunctionNode | None:
        """Return the definition of a function that an expression names, also within ``sg.grad``."""
        while (
            isinstance(node, ast.Call)
            and node.args
            and self.dotted_name(node.func) in _SAME_ARGUMENTS
        ):
            node = node.args[0]
        if isinstance(node, ast.Lambda):
            return node
        return self.look_up(self.definitions, node)

    # -- calls in loops ---------------------------------------------------------------------------

    @cached_property
    def loop_calls(self) -> list[LoopCall]:
        """Collect the calls of compiled functions inside of loops."""
        calls = []
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Call):
                continue
            loops = self.loops_around(node)
            function = self.look_up(self.compiled_functions, node.func) if loops else None
            if function is None:
                continue
            names = function.parameters
            arguments = {
                (names[place] if place < len(names) else f"argument {place + 1}"): argument
                for place, argument in enumerate(node.args)
                if not isinstance(argument, ast.Starred)
            }
            arguments |= {item.arg: item.value for item in node.keywords if item.arg}
            if function.static is not None:
                free = {name: v for name, v in arguments.items() if name not in function.static}
                calls.append(LoopCall(function, node, loops, free))
        return calls

    def loops_around(self, node: ast.AST) -> tuple[ast.AST, ...]:
        """Return the loops that repeat a node, the innermost first, within its function."""
        loops: list[ast.AST] = []
        child, parent = node, self.parents.get(node)
        while parent is not None and not isinstance(parent, _SCOPES):
            if isinstance(parent, ast.comprehension) and child is parent.iter:
                child, parent = parent, self.parents[parent]
                if child is parent.generators[0]:  # type: ignore[attr-defined]
                    child, parent = parent, self.parents.get(parent)  # it is evaluated once
                    continue
            if isinstance(parent, _COMPREHENSIONS) or (
                isinstance(parent, _LOOPS)
                and child
                in ([*parent.body, parent.test] if isinstance(parent, ast.While) else parent.body)
            ):
                loops.append(parent)
            child, parent = parent, self.parents.get(parent)
        return tuple(loops)

    def scope_of(self, node: ast.AST) -> ast.AST:
        """Return the function, or module, that a node is in."""
        while not isinstance(node, _SCOPES):
            node = self.parents[node]
        return node

    # -- what changes -----------------------------------------------------------------------------

    def changes(self, node: ast.AST, loops: tuple[ast.AST, ...]) -> bool:
        """Return whether an expression may differ between iterations, by what the loops assign."""
        assigned = {name for loop in loops for name in _assigned_names(loop)}
        return any(
            item.id in assigned
            or (isinstance(self.parents.get(item), ast.Attribute) and self._reads_clock(item))
            for item in ast.walk(node)
            if isinstance(item, ast.Name)
        )

    def _reads_clock(self, name: ast.Name) -> bool:
        return self.dotted_name(self.parents[name]) in ("time.time", "time.perf_counter")

    def kind(self, node: ast.expr) -> Kind:
        """Return what an expression is, by its text and the assignments of its names."""
        return self._kind(node) or "unknown"

    def _kind(self, node: ast.expr) -> Kind | None:
        """Return the kind of an expression; None of a name that is defined by itself alone."""
        match node:
            case ast.Constant(value=bool()):
                return "unknown"
            case ast.Constant(value=int()):
                return "int"
            case ast.Constant(value=float()):
                return "float"
            case ast.Constant(value=str()) | ast.JoinedStr():
                return "text"
            case ast.List() | ast.ListComp():
                return "list"
            case ast.Dict() | ast.DictComp():
                return "dict"
            case ast.Lambda():
                return "function"
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                return self._kind(operand)
            case ast.IfExp(body=body, orelse=otherwise):
                return _join_kinds([self._kind(body), self._kind(otherwise)])
            case ast.BinOp(left=left, right=right, op=op):
                kinds = [self._kind(left), self._kind(right)]
                if isinstance(op, ast.Mod) and kinds[0] == "text":
                    return "text"
                kind = _join_kinds(kinds)
                return "float" if kind == "int" and isinstance(op, ast.Div) else kind
            case ast.Call(func=func, args=arguments):
                return self._kind_of_call(func, arguments)
            case ast.Name(id=name):
                return self._kind_of_name(node, name)
        return "unknown"

    def _kind_of_call(self, func: ast.expr, arguments: list[ast.expr]) -> Kind | None:
        name = self.dotted_name(func)
        if name in _KINDS:
            return _KINDS[name]
        if name.startswith("math."):
            return "float"
        if name in _SAME_KIND and arguments:
            return _join_kinds([self._kind(argument) for argument in arguments])
        if isinstance(func, ast.Attribute):
            if func.attr in _TEXT_METHODS and self.kind(func.value) == "text":
                return "text"
            if func.attr == "item" and not arguments:
                return "float"
        return "unknown"

    def _kind_of_name(self, node: ast.AST, name: str) -> Kind | None:
        key = self.scope_of(node), name
        if key not in self._kinds:
            self._kinds[key] = None  # where it is defined by itself
            kinds = [self._kind_of_value(value) for value in self.values_of(*key)]
            if (
                not kinds
                and not isinstance(key[0], ast.Module)
                and name not in _arguments_of(key[0])
            ):
                kinds = [self._kind_of_value(value) for value in self.values_of(self.tree, name)]
            self._kinds[key] = _join_kinds(kinds) if kinds else "unknown"
        return self._kinds[key]

    def _kind_of_value(self, value: ast.expr | IteratedPart | None) -> Kind | None:
        if isinstance(value, IteratedPart):
            return self._kind_of_element(value.iterable, value.path)
        return "unknown" if value is None else self._kind(value)

    def values_of(self, scope: ast.AST, name: str) -> list[ast.expr | IteratedPart | None]:
        """Return what a function assigns to a name: expressions, elements, None if unknown."""
        values: list[ast.expr | IteratedPart | None] = []
        for node in _walk_scope(scope):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id == name:
                        values.append(node.value)
                    elif name in _target_names(target):
                        values.append(_part_of_tuple(target, node.value, name))
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
                if isinstance(node.target, ast.Name) and node.target.id == name:
                    values.append(node.value)
            elif isinstance(node, ast.AugAssign):
                if isinstance(node.target, ast.Name) and node.target.id == name:
                    values.append(ast.BinOp(node.target, node.op, node.value))
            elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
                if name in _target_names(node.target):
                    values.append(IteratedPart(node.iter, _path_in(node.target, name)))
            elif isinstance(node, ast.With | ast.AsyncWith):
                targets = [item.optional_vars for item in node.items if item.optional_vars]
                values += [None for target in targets if name in _target_names(target)]
        return values

    def _kind_of_element(self, iterable: ast.expr, path: tuple[int, ...]) -> Kind | None:
        """Return the kind of an iterable's elements, or of a part of item."""
        match iterable:
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                if not path:
                    return _join_kinds([self._kind(element) for element in elements])
                return _join_kinds(
                    [
                        self._kind(element.elts[path[0]])
                        if isinstance(element, ast.Tuple) and len(path) == 1
                        else "unknown"
                        for element in elements
                    ]
                )
            case ast.Call(func=func, args=[first, *more]):
                name = self.dotted_name(func)
                if name == "range" and not path:
                    return "int"
                if name == "enumerate" and path:
                    return "int" if path[0] == 0 else self._kind_of_element(first, path[1:])
                if name == "zip" and path and path[0] < 1 + len(more):
                    return self._kind_of_element([first, *more][path[0]], path[1:])
                if name in ("reversed", "sorted", "tqdm.tqdm", "tqdm"):
                    return self._kind_of_element(first, path)
            case ast.Name(id=name):
                values = self.values_of(self.scope_of(iterable), name)
                if len(values) == 1 and isinstance(values[0], ast.List | ast.Tuple):
                    return self._kind_of_element(values[0], path)
        return "unknown"


class IteratedPart(NamedTuple):
    """An element of an iterable, or the part at ``path`` of item."""

    iterable: ast.expr
    path: tuple[int, ...]


def _join_kinds(kinds: list[Kind | None]) -> Kind | None:
    """Return the kind that values of these kinds have in common."""
    distinct = {kind for kind in kinds if kind is not None}
    if distinct == {"int", "float"}:
        return "float"
    if len(distinct) > 1:
        return "unknown"
    return distinct.pop() if distinct else None


def _static_names(maker: ast.AST) -> frozenset[str] | None:
    """Return the names that a call of ``sg.function`` gives as static, None if it computes them."""
    for keyword in maker.keywords if isinstance(maker, ast.Call) else ():
        if keyword.arg == "static":
            try:
                names = ast.literal_eval(keyword.value)
            except ValueError:
                return None
            return frozenset([names] if isinstance(names, str) else names)
    return frozenset()


def _name_of_definition(owner: ast.AST, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return ``.step`` for a method, by which calls name it."""
    return f".{node.name}" if isinstance(owner, ast.ClassDef) else node.name


def _name_of_call(node: ast.AST) -> str:
    """Return ``step`` for a name and ``.step`` for an attribute of anything; else empty."""
    if isinstance(node, ast.Name):
        return node.id
    return f".{node.attr}" if isinstance(node, ast.Attribute) else ""


def _target_names(target: ast.AST) -> set[str]:
    """Return the names that an assignment's target defines."""
    return {
        node.id
        for node in ast.walk(target)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _assigned_names(loop: ast.AST) -> set[str]:
    """Return the names that a loop assigns: its targets and what its body stores."""
    return {
        node.id
        for node in ast.walk(loop)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _arguments_of(scope: ast.AST) -> set[str]:
    arguments = getattr(scope, "args", None)
    return (
        {node.arg for node in ast.walk(arguments) if isinstance(node, ast.arg)}
        if arguments
        else set()
    )


def _walk_scope(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function or module, without those of functions within."""
    pending = [scope]
    while pending:
        node = pending.pop()
        yield node
        pending += [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, _SCOPES) and not isinstance(child, ast.ClassDef)
        ]


def _path_in(target: ast.AST, name: str) -> tuple[int, ...]:
    """Return the places of a name in a target of nested tuples."""
    if isinstance(target, ast.Tuple | ast.List):
        for place, part in enumerate(target.elts):
            if name in _target_names(part):
                return (place, *_path_in(part, name))
    return ()


def _part_of_tuple(target: ast.AST, value: ast.expr, name: str) -> ast.expr | None:
    """Return what a name gets of a tuple that is written out, ``a, b = 1, 2``."""
    for place in _path_in(target, name):
        if not isinstance(value, ast.Tuple | ast.List) or place >= len(value.elts):
            return None
        value = value.elts[place]
    return value if isinstance(target, ast.Tuple | ast.List) else None
