"""A compiled program as the text of one file: tables, helpers, kernels, the plan, ``run``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from staticgrad.compiler.by_numba.prelude import IMPORTS, prelude_of
from staticgrad.compiler.by_numba.text import operate
from staticgrad.errors import ExportError
from staticgrad.exporting.running import HEAD, RUN
from staticgrad.exporting.steps import StepsWriter
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.pairs import whole_type
from staticgrad.language.ir.plan import Plan
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import BF16, DType
from staticgrad.support.identifiers import PYTHON, fill


class ProgramWriter:
    """A writer of the file of a program that executes ``plan``.

    ``fixed``: the sizes with the same value in every run; the others stay free.
    """

    def __init__(self, graph: Graph, plan: Plan, fixed: Mapping[str, int], single: bool) -> None:
        self.graph, self.plan, self.single = graph, plan, single
        self.steps = StepsWriter([name for name in graph.sizes if name not in fixed], fixed)
        self.free = self.steps.free
        self.buffers = {
            role: [b for b in plan.schedule.buffers if b.role == role]
            for role in ("input", "parameter", "output")
        }
        #: The identifiers of the variables of steps, which are those of sizes everywhere.
        self._chosen: dict[str, str] = {}

    @property
    def constants(self) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays in addition to parameters, by name."""
        arrays = self.steps.constants
        array_names = {mark: f"constant.{self.steps.names.name_of(mark)}" for mark in arrays}
        used, names = {b.label for b in self.buffers["parameter"]}, dict[str, str]()
        for mark, name in array_names.items():
            while name in used:
                name += "_"
            used.add(name)
            names[mark] = name
        return {names[mark]: array for mark, array in arrays.items()}

    def text(self, arrays_file: str) -> str:
        """Return the exported Python file's text; its arrays are in ``arrays_file``."""
        steps, scope = self.steps, dict[str, str]()
        read = {b.label for role in ("input", "parameter") for b in self.buffers[role]}
        for role, buffers in self.buffers.items():
            for buffer in buffers:
                end = "_out" if role == "output" and buffer.label in read else ""
                scope[buffer.name] = steps.names.mark((buffer.label or buffer.name) + end)
        arrays = [*scope.values()]
        input_count = len(arrays) - len(self.buffers["output"])
        steps.write(self.plan, scope)
        parameters = [
            *arrays[:input_count],
            *steps.constants,
            *arrays[input_count:],
            *self.free.values(),
        ]
        kernels = [function.text(steps.helpers) for function in steps.functions.values()]
        body = "\n".join(steps.lines.text)
        # Only with loops: Numba would compile every kernel again, and it lacks parts of NumPy.
        jit = "@jit\n" if steps.has_loops and not steps.calls_numpy else ""
        plan = (
            f"{jit}def steps(arena, o, checks, {', '.join(parameters)}):\n"
            f'    """Every kernel in the order of the plan; 1 where a check has failed."""\n'
            f"{body}\n    return 0"
        )
        lives = "\n".join(self._lives())
        self._chosen = steps.names.choose("\n".join([plan, lives]), PYTHON, ["max"])
        parts = [
            HEAD.format_map({
                "name": _in_docstring(self.graph.name), "arrays": arrays_file,
                "sizes": _in_docstring(self._describe_sizes()), "imports": IMPORTS,
            }),
            "\n".join(self._tables(arrays_file)),
            *([self._fill(lives)] if lives else []),
            _title("helpers"),
            *prelude_of(steps.helpers.helpers),
            _title("mathematical functions"),
            *steps.helpers.blocks.values(),
            _title("kernels"),
            *kernels,
            _title("the plan"),
            *(_view(kind, jit) for kind in sorted(steps.views)),
            self._fill(plan),
            _title("runs"),
            RUN.replace("<single>", '["output"]' if self.single else ""),
        ]  # fmt: skip
        return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"

    def _fill(self, text: str) -> str:
        return fill(text, self._chosen)

    def _size(self, size: Size) -> str:
        """Return a size as Python, as it stands in the tables of the file."""
        return self._fill(self.steps.size(size).alone)

    def _describe_sizes(self) -> str:
        values = ", ".join(f"{n} = {v}" for n, v in self.plan.sizes)
        if not self.free:
            return f"Sizes: {values or 'literal'}."
        names = ", ".join(self.free)
        return f"Runs may differ in {names}; steps are in the order\nthat was planned for {values}."

    def _tables(self, arrays_file: str) -> Iterator[str]:
        """Yield the exported Python lines of the tables of inputs, guards and results."""
        yield f'ARRAYS = Path(__file__).with_name("{arrays_file}")'
        yield "#: The element type and shape of each feed, and whether a step reads it."
        yield "INPUTS = {"
        yield from self._inputs()
        yield "}"
        yield "#: Conditions on sizes, each with the error if it is false."
        yield from _list_lines("GUARDS", dict.fromkeys(self._guards()))
        yield "#: The number, element type and shape of each result; one number is one result."
        yield "OUTPUTS = {"
        numbers = {b.name: n for n, b in enumerate(self.buffers["output"])}
        for name, buffer in self.plan.schedule.outputs:
            result_type = self.graph.output_types[name]
            shape = "".join(f"{self._size(s)}, " for s in result_type.shape)
            dtype = _numpy_name(f"result {name!r}", result_type.dtype)
            yield f'    {name!r}: ({numbers[buffer]}, "{dtype}", "({shape.rstrip()})"),'
        yield "}"
        for parameter in self.buffers["parameter"]:
            _numpy_name(f"parameter {parameter.label!r}", parameter.dtype)
        yield from _list_lines("PARAMETERS", [b.label for b in self.buffers["parameter"]])
        yield from _list_lines("CONSTANTS", self.constants)
        yield f"SIZES = {[self._fill(mark) for mark in self.free.values()]}"
        yield "#: The checks of steps: what has failed, lines of the program, and the ops there."
        yield from _list_lines("CHECKS", self.steps.checks)
        if not self.free:
            yield f"ARENA = {self.plan.peak_bytes}  # bytes of the memory in which all steps work"

    def _lives(self) -> Iterator[str]:
        """Yield the lines of the function that lays out the arena of a program with free sizes."""
        if not self.free:
            return
        yield f"def lives({', '.join(self.free.values())}):"
        yield '    """The bytes of each buffer of the arena, its first and its last step."""'
        yield "    return ["
        for life in self.steps.lives:
            yield f"        ({life.nbytes}, {life.first}, {life.last}),  # {life.name}"
        yield "    ]"

    def _inputs(self) -> Iterator[str]:
        """Yield an exported Python line for each input; those that steps read come first."""
        order = {b.label: n for n, b in enumerate(self.buffers["input"])}
        size_texts = set[str]()
        for value in sorted(self.graph.inputs, key=lambda v: order.get(v.node.label, len(order))):
            leaf: Any = value.node.op
            feed_type = whole_type(value.type) if leaf.is_complex else value.type
            sizes = [self._size(size) for size in feed_type.shape]
            size_texts |= {*sizes}
            shape = "".join(f"{s}, " if s.isdigit() else f"{s!r}, " for s in sizes).rstrip()
            name = value.node.label
            dtype = _numpy_name(f"feed {name!r}", feed_type.dtype)
            yield f'    {name!r}: ("{dtype}", ({shape}), {name in order}),'
        missing = [n for n, mark in self.free.items() if self._fill(mark) not in size_texts]
        if missing:
            raise ExportError(
                f"no feed has an axis of the size {', '.join(missing)} alone",
                hint="compile with its value: sizes={...}",
            )

    def _guards(self) -> Iterator[tuple[str, str]]:
        """Yield the guards on free sizes, as exported Python conditions and as messages."""
        for named in self.graph.sizes.values():
            name = self._fill(self.free.get(named.name, ""))
            if name and named.min:
                yield f"{name} >= {named.min}", f"{name} is at least {named.min}"
            if name and named.max is not None:
                yield f"{name} <= {named.max}", f"{name} is at most {named.max}"
            if name and named.multiple_of > 1:
                multiple = named.multiple_of
                yield f"{name} % {multiple} == 0", f"{name} is a multiple of {multiple}"
        for guard, node in self.graph.guards:
            condition = operate(guard.relation, *map(self.steps.size, (guard.left, guard.right)))
            line = node.origin.resolve().label
            yield self._fill(condition.alone), f"{guard.text} ({line})"


def _in_docstring(text: str) -> str:
    """Return a text as a part of a docstring between triple quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _numpy_name(name: str, dtype: DType) -> str:
    """Return the name of the element type of a feed, a parameter or a result."""
    if dtype is BF16:
        raise ExportError(f"{name} cannot be exported: NumPy has no bfloat16")
    return str(dtype.numpy)


def _list_lines(name: str, items: Any) -> Iterator[str]:
    """Yield the exported Python lines of a list, with an item on each line."""
    if not items:
        yield f"{name} = []"
        return
    yield f"{name} = ["
    for item in items:
        yield f"    {item!r},"
    yield "]"


def _title(text: str) -> str:
    return f"# -- {text} ".ljust(100, "-")


def _view(kind: str, jit: str) -> str:
    nbytes = 1 if kind == "bool_" else int(kind.lstrip("intuf")) // 8
    head = f"{jit}def view_{kind}(arena, offset, count):"
    return f"{head}\n    return arena[offset : offset + {nbytes} * count].view({kind})"
