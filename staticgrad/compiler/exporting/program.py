"""A compiled program as the text of one file: tables, helpers, kernels, the plan, ``run``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from staticgrad.compiler.exporting.running import HEAD, RUN
from staticgrad.compiler.exporting.steps import StepsWriter, unique_variables
from staticgrad.compiler.plain.prelude import IMPORTS, prelude_of
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.pairs import whole_type
from staticgrad.language.ir.plan import Plan
from staticgrad.language.types.dtype import BF16, DType
from staticgrad.support.errors import ExportError


class ProgramWriter:
    """A writer of the file of a program that executes ``plan``.

    ``fixed``: the sizes with the same value in every run; the others stay free.
    """

    def __init__(self, graph: Graph, plan: Plan, fixed: Mapping[str, int], single: bool) -> None:
        self.graph, self.plan, self.single = graph, plan, single
        self.free = unique_variables(name for name in graph.sizes if name not in fixed)
        self.steps = StepsWriter(self.free, fixed)
        self.buffers = {
            role: [b for b in plan.schedule.buffers if b.role == role]
            for role in ("input", "parameter", "output")
        }

    @property
    def constants(self) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays in addition to parameters, by name."""
        return {f"constant.{name}": array for name, array in self.steps.constants.items()}

    def text(self, arrays_file: str) -> str:
        """Return the exported Python file's text; its arrays are in ``arrays_file``."""
        steps, scope = self.steps, dict[str, str]()
        for role, buffers in self.buffers.items():
            for buffer in buffers:
                end = "_out" if role == "output" and buffer.label in steps.used_names else ""
                scope[buffer.name] = steps.new_variable((buffer.label or buffer.name) + end)
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
        head = HEAD.replace("<name>", self.graph.name).replace("<arrays>", arrays_file)
        head = head.replace("<imports>", IMPORTS)
        body = "\n".join(steps.lines.text)
        # Only with loops: Numba would compile every kernel again, and it lacks parts of NumPy.
        jit = "@jit\n" if steps.has_loops and not steps.calls_numpy else ""
        parts = [
            head.replace("<sizes>", self._describe_sizes()),
            "\n".join(self._tables(arrays_file)),
            _title("helpers"),
            *prelude_of(steps.helpers.helpers),
            _title("mathematical functions"),
            *steps.helpers.blocks.values(),
            _title("kernels"),
            *kernels,
            _title("the plan"),
            *(_view(kind, jit) for kind in sorted(steps.views)),
            f"{jit}def steps(arena, o, checks, {', '.join(parameters)}):\n"
            f'    """Every kernel in the order of the plan; 1 where a check has failed."""\n'
            f"{body}\n    return 0",
            _title("runs"),
            RUN.replace("<single>", '["output"]' if self.single else ""),
        ]
        return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"

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
            shape = "".join(f"{self.steps.argument(s)}, " for s in result_type.shape)
            dtype = _numpy_name(f"result {name!r}", result_type.dtype)
            yield f'    {name!r}: ({numbers[buffer]}, "{dtype}", "({shape.rstrip()})"),'
        yield "}"
        for parameter in self.buffers["parameter"]:
            _numpy_name(f"parameter {parameter.label!r}", parameter.dtype)
        yield from _list_lines("PARAMETERS", [b.label for b in self.buffers["parameter"]])
        yield from _list_lines("CONSTANTS", self.constants)
        yield f"SIZES = {[*self.free.values()]}"
        yield "#: The checks of steps: what has failed, lines of the program, and the ops there."
        yield from _list_lines("CHECKS", self.steps.checks)
        if not self.free:
            yield f"ARENA = {self.plan.peak_bytes}  # bytes of the memory in which all steps work"
            return
        yield f"\n\ndef lives({', '.join(self.free.values())}):"
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
            sizes = [self.steps.argument(size) for size in feed_type.shape]
            size_texts |= {*sizes}
            shape = "".join(f"{s}, " if s.isdigit() else f"{s!r}, " for s in sizes).rstrip()
            name = value.node.label
            dtype = _numpy_name(f"feed {name!r}", feed_type.dtype)
            yield f'    {name!r}: ("{dtype}", ({shape}), {name in order}),'
        missing = [name for name, shown in self.free.items() if shown not in size_texts]
        if missing:
            raise ExportError(
                f"no feed has an axis of the size {', '.join(missing)} alone",
                hint="compile with its value: sizes={...}",
            )

    def _guards(self) -> Iterator[tuple[str, str]]:
        """Yield the guards on free sizes, as exported Python conditions and as messages."""
        for named in self.graph.sizes.values():
            name = self.free.get(named.name)
            if name and named.min:
                yield f"{name} >= {named.min}", f"{name} is at least {named.min}"
            if name and named.max is not None:
                yield f"{name} <= {named.max}", f"{name} is at most {named.max}"
            if name and named.multiple_of > 1:
                multiple = named.multiple_of
                yield f"{name} % {multiple} == 0", f"{name} is a multiple of {multiple}"
        for guard, node in self.graph.guards:
            left, right = (self.steps.size(side) for side in (guard.left, guard.right))
            line = node.origin.resolve().label
            yield f"{left} {guard.relation} {right}", f"{guard.text} ({line})"


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
