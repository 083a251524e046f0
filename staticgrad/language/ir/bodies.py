"""Graphs inside of graphs: the bodies of loops and branches, and the steps that run them.

A body is closed: its inputs are the op's operands, and what the op itself provides, such as the
number of the iteration. It reads nothing else but constants. Its names are positions, so that equal
bodies have equal digests, whatever their functions were called.

A ``BodyStep`` of a schedule runs schedules of its own: a loop, a loop that ends by a test, or a
branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import field
from operator import itemgetter
from types import MappingProxyType
from typing import Final, Literal

from staticgrad.language.ir.copies import rebuild, rebuild_all
from staticgrad.language.ir.graph import (
    BodyOp,
    Constant,
    Graph,
    Input,
    Node,
    Symbolic,
    ancestors,
    bodies_of,
)
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import Loop, Mode, nested_stages
from staticgrad.language.ir.nodes import leaf_node
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.roots import BODY_INPUTS
from staticgrad.language.ir.schedule import (
    Binding,
    BoundStep,
    Call,
    Control,
    OperandPlace,
    Schedule,
    Scratch,
    StepBody,
    binding_text,
)
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType
from staticgrad.language.types.lexis import name_text
from staticgrad.support.caches import cached_property
from staticgrad.support.records import NamedTuple, dataclass
from staticgrad.support.source import Location

NAME = "body"


def walk_bodies(graph: Graph) -> Iterator[Graph]:
    """Every body of a node of ``graph``, and those inside of them, outer ones first."""
    waiting = [body for node in graph.nodes for body in bodies_of(node)]
    while waiting:
        body = waiting.pop(0)
        yield body
        waiting[:0] = [inner for node in body.nodes for inner in bodies_of(node)]


def map_bodies(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """Apply ``change`` to the body graphs of loops and branches, inner first."""
    changed_bodies: dict[Graph, Graph] = {}

    def change_body(body: Graph) -> Graph:
        if body not in changed_bodies:
            changed_bodies[body] = change(map_bodies(body, change))
        return changed_bodies[body]

    def rewrite_node(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rebuild a loop or branch node whose body graphs changed; None keeps the node."""
        op = node.op
        if not isinstance(op, BodyOp):
            return None
        new_bodies = [change_body(body) for body in op.bodies]
        if all(old is new for old, new in zip(op.bodies, new_bodies, strict=True)):
            return None
        return rebuild(node, args, op=op.with_bodies(new_bodies)).values

    if not graph.has(BodyOp):
        return graph
    return graph.replace_nodes(rewrite_node)


def closed_under(more: Callable[[set[int]], Set[int]], start: Set[int]) -> set[int]:
    """Return the least fixpoint: the smallest set with ``start`` that is closed under ``more``.

    ``more`` finds no less for a larger set. It is last called with the set that is returned.
    """
    members = set(start)
    while new := more(members) - members:
        members |= new
    return members


def body_input(label: str, type: TensorType, origin: Location, order: int = 0) -> Symbolic:
    """A new input of a body that is being made."""
    node = leaf_node(Input(label, type), origin, order)
    node.verified = True
    BODY_INPUTS.add(node)
    return Symbolic(node)


def is_body_input(node: Node) -> bool:
    """Return whether the node is an input of a body."""
    return node in BODY_INPUTS


def role_of(label: str) -> str:
    """Return in words what an input of a body stands for, given its label."""
    return {"i": "the number of the iteration", "c": "a carry", "x": "a slice"}.get(
        label[:1], "a value from outside"
    )


def body_of(inputs: Iterable[Symbolic], outputs: Mapping[str, Symbolic]) -> Graph:
    """The closed graph from ``inputs`` to ``outputs``; every input is listed, read or not."""
    arguments = list(inputs)
    roots = [*outputs.values(), *arguments]
    nodes = sorted(ancestors(roots), key=lambda node: node.serial)
    return Graph.of_parts(nodes=nodes, inputs=arguments, parameters=(), outputs=outputs, name=NAME)


def inline_body(
    body: Graph, operands: Sequence[Symbolic], order: int | None = None
) -> list[Symbolic]:
    """Inline the body graph of a loop or branch over other operands: its outputs as new nodes."""
    replacements = {
        value.key: operand for value, operand in zip(body.inputs, operands, strict=True)
    }
    return [*rebuilt(body, replacements, order).values()]


def rebuilt(
    body: Graph,
    replacements: Mapping[tuple[Node, int], Symbolic],
    order: int | None = None,
    changed: Mapping[Node, Op] = MappingProxyType({}),
) -> dict[str, Symbolic]:
    """Rebuild the outputs of a body graph by name, as new nodes over substituted values."""
    constants = [node for node in body.nodes if isinstance(node.op, Constant)]
    shared = {(n, 0): Symbolic(n) for n in constants if order is None or order == n.order}
    new = {**shared, **replacements}
    nodes = [n for n in body.nodes if not isinstance(n.op, Input) and (n, 0) not in new]
    rebuild_all(nodes, new, changed, order)
    return {name: new[value.key] for name, value in body.outputs.items()}


Kind = Literal["loop", "while", "branch"]
#: The role of a buffer of a body that is outside of it, and how its label begins: the number of the
#: iteration; a carry at the begin of an iteration, and at its end; an array of which each iteration
#: reads a row, and one of which it writes a row; a value that stays; the result of a test.
BodyRole = Literal["number", "carry", "next", "slice", "result", "shared", "going"]
_LABELS: Final[dict[BodyRole, str]] = {
    "number": "i", "carry": "c", "next": "c", "slice": "x", "result": "y", "shared": "p",
    "going": "go",
}  # fmt: skip


class BodyBuffer(NamedTuple):
    """A buffer of a body that is outside of it: its role, and its number among those."""

    role: BodyRole
    number: int = 0

    @property
    def is_input(self) -> bool:
        """True if the body reads it; it writes the others."""
        return self.role not in ("next", "result", "going")

    @property
    def has_rows(self) -> bool:
        """True if each iteration of a loop has its own row."""
        return self.role in ("slice", "result")

    @property
    def label(self) -> str:
        """Return the name of the value in the body: ``c3``."""
        alone = self.role in ("number", "going")
        return f"{_LABELS[self.role]}{'' if alone else self.number}"

    @property
    def name(self) -> str:
        """The name of the buffer in the body's schedule: ``in.c3``."""
        return f"{'in' if self.is_input else 'out'}.{self.label}"


#: The number of the iteration, and the byte that a test leaves.
NUMBER: Final = BodyBuffer("number")
GOING: Final = BodyBuffer("going")


def body_buffers(
    kind: Kind, carries: int, slices: int, inputs: Sequence[int], results: Sequence[int]
) -> dict[BodyBuffer, int]:
    """Map each buffer of a loop's or branch's bodies to the operand it is, or is a row of.

    ``inputs`` and ``results`` are the numbers of the operands that go in and come out.
    """
    parts: list[tuple[BodyRole, Sequence[int]]]
    if kind == "branch":
        parts = [("shared", inputs[1:]), ("result", results)]
    else:
        rows = carries + slices
        parts = [("carry", inputs[:carries]), ("slice", inputs[carries:rows])]
        parts += [("shared", inputs[rows:]), ("next", results[:carries])]
        parts += [("result", results[carries:])]
    return {
        BodyBuffer(role, n): operand
        for role, operands in parts
        for n, operand in enumerate(operands)
    }


#: What an operand is for, and how it is touched: a value that goes in, a result, the second place
#: of a carried value, the byte that a test leaves, the words of a check, the arenas of bodies.
USES: Final[dict[str, Mode]] = {
    "in": "in", "out": "out", "turn": "scratch", "test": "scratch", "check": "check",
    "room": "scratch",
}  # fmt: skip


class BodyOperand(NamedTuple):
    """An operand of a step with bodies: what it is for, its element type.

    ``names``: of words of a check, the number of the body and what that calls them; of the second
    place of a carried value, the number of the value.
    """

    use: str
    dtype: DType
    number: int = 0
    name: str = ""


@dataclass(frozen=True)
class BodyStep(BoundStep):
    """One loop or branch, its operands bound to buffers. See ``Step``.

    ``kind`` is that of ``Control``. The operands for values that go in come first: of a branch the
    number of the case, then its arguments; of loops so many ``carries`` as they are at first, so
    many ``slices``, arrays of which each iteration takes a row, and values that stay. Then results:
    of a branch its values, of loops the last carries, then arrays of which each iteration writes a
    row, or of a ``while`` how many iterations were made. The result of a carry that is ``logged``
    has a row for what each iteration begins with, which it reads there, and one for what the last
    one ends with; each iteration writes the row of the next one. Others follow (``USES``). A
    ``while`` has two ``schedules``, the test and the body, a branch one for each case.
    ``iterations``: how often the body of a loop runs; of a ``while`` at most. ``reason``: why it is
    not one kernel, for people.

    Bodies call their inputs ``in.i`` (the number of the iteration), ``in.c0``, ``in.x0``, ``in.p0``
    and so on, their outputs ``out.c0`` and ``out.y0``, a test its own ``out.go``. What they do not
    use, they do not have.
    """

    kind: Kind
    types: tuple[BodyOperand, ...]
    operands: tuple[Binding, ...]
    schedules: tuple[Schedule, ...]
    iterations: Size = 1
    carries: int = 0
    slices: int = 0
    backwards: bool = False
    logged: tuple[int, ...] = ()
    phase: int = 0
    label: str = field(default="", compare=False)
    origins: tuple[Location, ...] = field(default=(), compare=False)
    reason: str = field(default="", compare=False)

    @property
    def total(self) -> Size:
        return 1

    @property
    def grain(self) -> int:
        return 0

    @cached_property
    def arguments(self) -> tuple[Size, ...]:
        """The number of iterations, then the arguments of all steps of the bodies."""
        return (
            self.iterations,
            *(a for body in self.schedules for step in body.steps for a in step.arguments),
        )

    def operand_types(self) -> Iterable[tuple[str, Mode, DType]]:
        return ((f"{o.use}{n}", USES[o.use], o.dtype) for n, o in enumerate(self.types))

    def text(self, names: Mapping[Kernel, str]) -> str:
        """Print the step of a loop or branch, as a schedule's text has it."""
        operands = ", ".join(
            f"{operand.use} {binding_text(binding)}"
            + (f" of {operand.number}" if operand.use in ("turn", "check") else "")
            + (f" {name_text(operand.name)}" if operand.name else "")
            for operand, binding in zip(self.types, self.operands, strict=True)
        )
        if self.kind == "branch":
            return f"branch ({operands})"
        way = " backwards" if self.backwards else ""
        way += "".join(f" logged {number}" for number in self.logged)
        counts = f"iterations {self.iterations} carries {self.carries} slices {self.slices}"
        return f"{self.kind} ({operands}) {counts}{way}"

    def numbers(self, use: str) -> list[int]:
        """The numbers of the operands that are there for something."""
        return [number for number, operand in enumerate(self.types) if operand.use == use]

    def scratch(self) -> tuple[Scratch, ...]:
        return tuple(
            Scratch(binding.buffer, "bodies" if operand.use == "room" else "step")
            for operand, binding in zip(self.types, self.operands, strict=True)
            if USES[operand.use] == "scratch"
        )

    def kernels(self) -> tuple[Kernel, ...]:
        return tuple(dict.fromkeys(kernel for body in self.schedules for kernel in body.kernels))

    def calls(self, arguments: tuple[int, ...]) -> tuple[Call, ...]:
        """Return the kernel calls of all iterations of a loop; for a branch, the calls of every
        case.
        """
        calls: list[Call] = []
        at, iterations = 1, self.iterations_at(arguments)
        for body in self.bodies():
            # Where buffers of the body lie in all iterations but one, and which move with them.
            carried = dict(body.carried)
            outside = {n: self.operands[at].buffer for n, at in body.outside if n not in carried}
            logged = {name: n for name, n in carried.items() if n in self.logged}
            for name, n in logged.items():
                outside[name] = self.operands[self.control.carries[n][1]].buffer
            indexed_by_iteration = body.rows.union(logged)
            for step in body.schedule.steps:
                end = at + len(step.arguments)
                for call in step.calls(arguments[at:end]):
                    places = [
                        OperandPlace(
                            outside.get(name, ""),
                            parts * (iterations if name in indexed_by_iteration else 1),
                        )
                        for name, parts in call.places or [(a.buffer, 1) for a in step.accesses()]
                    ]
                    calls.append(call._replace(times=call.times * iterations, places=tuple(places)))
                at = end
        return tuple(calls)

    def iterations_at(self, arguments: tuple[int, ...]) -> int:
        """Return the number of iterations to assume in estimates."""
        if self.kind != "while":
            return arguments[0]
        return min(arguments[0], 1 if self._in_stretches else LIKELY)

    @cached_property
    def _in_stretches(self) -> bool:
        stages = (stage for kernel in self.kernels() for stage, _ in nested_stages(kernel.stages))
        return any(isinstance(stage, Loop) and stage.going for stage in stages)

    @cached_property
    def _bodies(self) -> tuple[StepBody, ...]:
        inputs, results = self.numbers("in"), self.numbers("out")
        outside = body_buffers(self.kind, self.carries, self.slices, inputs, results)
        for number in self.numbers("test"):
            outside[GOING] = number
        return tuple(self._body(number, outside) for number in range(len(self.schedules)))

    def _body(self, number: int, outside: dict[BodyBuffer, int]) -> StepBody:
        """Return one body of a loop or branch step: its schedule and how its buffers are bound
        outside.
        """
        schedule = self.schedules[number]
        buffers_by_name = schedule.by_name
        used = {buffer.name: buffer for buffer in outside if buffer.name in buffers_by_name}
        names = {name: outside[buffer] for name, buffer in used.items()}
        names |= {
            operand_type.name: at
            for at, operand_type in enumerate(self.types)
            if operand_type.use == "check" and operand_type.number == number
        }
        loops = self.kind != "branch"
        carried = [
            (name, buffer.number)
            for name, buffer in used.items()
            if buffer.role in ("carry", "next")
        ]
        return StepBody(
            schedule,
            tuple(names.items()),
            frozenset(name for name, buffer in used.items() if loops and buffer.has_rows),
            tuple(sorted(carried, key=itemgetter(1))),
            NUMBER.name if loops and NUMBER.name in buffers_by_name else "",
        )

    def in_place(self) -> tuple[tuple[int, int], ...]:
        return tuple(
            (last, first)
            for number, (first, last, turn) in enumerate(self.control.carries)
            if turn == last and number not in self.logged
        )

    def bodies(self) -> tuple[StepBody, ...]:
        return self._bodies

    @cached_property
    def control(self) -> Control:
        """Return the control of the step's loop or branch by operand number: test, carries,
        direction.
        """
        inputs, results = self.numbers("in"), self.numbers("out")
        if self.kind == "branch":
            return Control("branch", inputs[0])
        turns = {self.types[n].number: n for n in self.numbers("turn")}
        carries = tuple(
            (inputs[n], results[n], turns.get(n, results[n])) for n in range(self.carries)
        )
        if self.kind == "loop":
            return Control("loop", -1, self.backwards, carries, logged=self.logged)
        (test,) = self.numbers("test")
        return Control("while", test, False, carries, results[self.carries])


#: Iterations of a loop without an end of its own that costs are reckoned with, at most.
LIKELY: Final = 1000
