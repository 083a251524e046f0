"""The invariants of a graph, one small function each, and the checks of indices that others imply.

They run between passes and on hand-made graphs. ``Graph(...)`` establishes them, ``Graph.of_parts``
does not check. A broken invariant is a VerifyError that shows the node as text and names the user's
line. Two things are no invariants: derivative orders may fall along edges (an update of order 0
reads gradients of order 1), and a node may be unused.

An embedding checks its indices where it reads the table, and its gradient checks them again where
it scatters. If the first check passes, so does the second: both look up the same function of the
same elements of one buffer, along an axis of the same extent. So only the first has to come before
parameters are written. ``implied_checks`` finds such steps from the kernels alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Final, NoReturn

from staticgrad.language.ir.expr import Access, Expr
from staticgrad.language.ir.graph import Graph, Input, Node, ParameterLeaf
from staticgrad.language.ir.kernels.kernel import number_of
from staticgrad.language.ir.kernels.stages import (
    Axis,
    Check,
    Extent,
    Gemm,
    Loop,
    Map,
    Scalar,
    nested,
    statements,
)
from staticgrad.language.ir.printer import node_text, value_names
from staticgrad.language.ir.schedule import Binding, Buffer, KernelStep, Step
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import (
    Named,
    Size,
    bounds,
    divide_exactly,
    is_at_least,
    named_sizes,
)
from staticgrad.support.errors import StaticgradError, VerifyError
from staticgrad.support.records import NamedTuple


def verify_graph(graph: Graph) -> None:
    """Check every invariant."""
    for check in CHECKS:
        check(graph)


def _broken(graph: Graph, node: Node | None, headline: str) -> NoReturn:
    if node is None:
        raise VerifyError(f"graph {graph.name!r}: {headline}")
    text = node_text(node, value_names(graph))
    raise VerifyError(f"graph {graph.name!r}: {headline}", details=[text], at=node.origin)


def nodes_are_listed_once(graph: Graph) -> None:
    """Check that no node occurs twice in ``nodes``."""
    if len(set(graph.nodes)) == len(graph.nodes):
        return
    seen: set[Node] = set()
    for node in graph.nodes:
        if node in seen:
            _broken(graph, node, "a node is listed twice")
        seen.add(node)


def operands_come_first(graph: Graph) -> None:
    """Every operand is a result of a node that is listed, and before its user."""
    seen: set[Node] = set()
    for node in graph.nodes:
        for position, arg in enumerate(node.args):
            if arg.node not in seen:
                listed = arg.node in set(graph.nodes)
                where = "is listed after it" if listed else "belongs to no node of the graph"
                _broken(graph, node, f"operand {position} of {node.op.name} {where}")
            if not 0 <= arg.index < len(arg.node.types):
                which = f"operand {position} of {node.op.name}"
                _broken(graph, node, f"{which} is a result that does not exist")
        seen.add(node)


def types_are_inferred(graph: Graph) -> None:
    """The result types of every node are those that its op infers from its operands."""
    for node in graph.nodes:
        if node.verified:
            continue
        if not node.types:
            _broken(graph, node, f"{node.op.name} has no result")
        try:
            inferred = node.op.infer(*[arg.type for arg in node.args])
        except (StaticgradError, TypeError, ValueError, IndexError) as error:
            reason = getattr(error, "headline", error)
            _broken(graph, node, f"{node.op.name} refuses its operands: {reason}")
        types = (inferred,) if isinstance(inferred, TensorType) else inferred
        if types != node.types:
            given = ", ".join(map(str, types))
            _broken(graph, node, f"{node.op.name} gives {given}, the node says otherwise")
        node.verified = True


def _extents(graph: Graph) -> Iterator[tuple[Node, TensorType, Size]]:
    """Every size of an axis once, with the node and type that have it first."""
    seen: set[Size] = set()
    for node in graph.nodes:
        for tensor_type in node.types:
            for extent in tensor_type.shape:
                if extent not in seen:
                    seen.add(extent)
                    yield node, tensor_type, extent


def sizes_are_possible(graph: Graph) -> None:
    """Check that no axis has a size that is negative for all values of the names."""
    for node, tensor_type, extent in _extents(graph):
        high = extent if isinstance(extent, int) else bounds(extent)[1]
        if high is not None and high < 0:
            _broken(graph, node, f"an axis of {tensor_type} has a negative size")


def size_names_agree(graph: Graph) -> None:
    """One named size has one set of promises, wherever it occurs."""
    declared: dict[str, Named] = {}
    for node, _, extent in _extents(graph):
        for named in named_sizes(extent):
            if declared.setdefault(named.name, named) != named:
                wrong = f"size {named.name!r} is declared twice, with different bounds"
                _broken(graph, node, wrong)


def leaves_are_listed(graph: Graph) -> None:
    """``inputs`` and ``parameters`` list exactly the input and parameter nodes, each once."""
    for kind, values in ((Input, graph.inputs), (ParameterLeaf, graph.parameters)):
        listed = Counter(value.node for value in values)
        own = dict.fromkeys(node for node in graph.nodes if isinstance(node.op, kind))
        for node in own:
            if listed[node] != 1:
                times = f"listed {listed[node]} times among the {node.op.name}s"
                _broken(graph, node, f"the {node.op.name} is {times}")
        for node in listed:
            if node not in own:
                wrong = f"an {node.op.name} is listed that is no such node of the graph"
                _broken(graph, node, wrong)


def leaf_names_are_unique(graph: Graph) -> None:
    """Check that no two inputs and no two parameters share a name."""
    for values in (graph.inputs, graph.parameters):
        seen: set[str] = set()
        for value in values:
            label = value.node.label
            if label in seen:
                _broken(graph, value.node, f"two are called {label!r}")
            seen.add(label)


def roots_belong_to_the_graph(graph: Graph) -> None:
    """There is an output or update; each is a result of a node of the graph."""
    if not graph.outputs and not graph.updates:
        _broken(graph, None, "there is no output and no update")
    own = set(graph.nodes)
    labelled = [(f"output {label!r}", value) for label, value in graph.outputs.items()]
    labelled += [(f"the update of {parameter.name!r}", value) for parameter, value in graph.updates]
    for what, value in labelled:
        if value.node not in own or not 0 <= value.index < len(value.node.types):
            _broken(graph, value.node, f"{what} belongs to no node of the graph")


def updates_fit(graph: Graph) -> None:
    """Every update replaces a listed parameter, once, by a value of its type."""
    listed = {value.node for value in graph.parameters}
    seen: set[Node] = set()
    for parameter, value in graph.updates:
        if parameter.node not in listed:
            _broken(graph, parameter.node, "an update replaces no parameter of the graph")
        if parameter.node in seen:
            _broken(graph, parameter.node, f"parameter {parameter.name!r} is updated twice")
        if parameter.type != value.type:
            wrong = f"the update of {parameter.name!r} is {value.type}, not {parameter.type}"
            _broken(graph, value.node, wrong)
        seen.add(parameter.node)


def bodies_are_closed(graph: Graph) -> None:
    """The bodies of an op hold by themselves, and read and write no parameter."""
    for node in graph.nodes:
        for body in node.op.bodies:
            if body.parameters or body.updates:
                _broken(graph, node, f"a body of {node.op.name} has parameters or updates")
            if "verified" not in body.found:
                verify_graph(body)
                body.found["verified"] = True


def orders_are_counts(graph: Graph) -> None:
    """A derivative order is a non-negative integer."""
    for node in graph.nodes:
        if node.order < 0:
            _broken(graph, node, f"{node.order!r} is not a derivative order")


#: Every invariant, in an order in which each may rely on those before it.
CHECKS: Final[tuple[Callable[[Graph], None], ...]] = (
    nodes_are_listed_once,
    operands_come_first,
    types_are_inferred,
    sizes_are_possible,
    size_names_agree,
    leaves_are_listed,
    leaf_names_are_unique,
    roots_belong_to_the_graph,
    updates_fit,
    orders_are_counts,
    bodies_are_closed,
)


#: What one index is computed by, of which all leaves are numbers, or one element of one buffer.
Formula = tuple[Hashable, ...]
#: Loops that move an access: the stride and the extent of each.
Walk = tuple[tuple[Size, Size], ...]


class Look(NamedTuple):
    """The indices that a check looks at.

    ``formula`` says how they follow from elements of ``buffer``. ``walk``: the elements, where they
    are known to be exactly those of these loops from ``begin`` on.
    """

    buffer: str
    formula: Formula
    extent: Size
    wrap: bool
    begin: Size
    walk: Walk | None

    def implies(self, other: Look, size: Size) -> bool:
        """Return whether the other check passes if this one does; ``size``: the buffer's."""
        alike = self[:3] == other[:3] and (other.wrap or not self.wrap)
        if not alike or self.walk is None:
            return False
        whole: Walk = ((1, size),) if size != 1 else ()
        at = (self.begin, self.walk)
        return at in ((0, whole), (other.begin, other.walk))


def implied_checks(steps: Sequence[Step], buffers: Mapping[str, Buffer]) -> frozenset[int]:
    """The numbers of the steps with checks that pass wherever those of earlier steps did."""
    checking = [number for number, step in enumerate(steps) if step.checks()]
    if len(checking) < 2:
        return frozenset()
    steady = _Steady(steps, buffers)
    before: list[Look] = []
    found = set()
    for number in checking:
        looks = list(_looks(steps[number], steady))
        fresh = [look for look in looks if look is None or not steady.implied(look, before)]
        before += [look for look in fresh if look is not None]
        if not fresh:
            found.add(number)
    return frozenset(found)


class _Steady:
    """Buffers that hold one value each, whenever they are read."""

    def __init__(self, steps: Sequence[Step], buffers: Mapping[str, Buffer]) -> None:
        self._buffers = buffers
        self._writers = Counter(name for step in steps for name in set(step.writes()))

    def holds_one(self, name: str) -> bool:
        """Return whether all reads of the buffer see the same value."""
        given = self._buffers[name].role in ("input", "constant")
        return self._writers[name] == (0 if given else 1)

    def implied(self, look: Look, before: Sequence[Look]) -> bool:
        """Return whether a check passes if those before did."""
        size = self._buffers[look.buffer].size
        return any(each.implies(look, size) for each in before)


def _looks(step: Step, steady: _Steady) -> Iterator[Look | None]:
    """Yield the look of each check of a step, None where nothing is known of it."""
    if isinstance(step, KernelStep) and step.kernel.listed is None:
        found = _looks_of_kernel(step)
    elif step.control.kind == "loop" and step.bodies():
        found = _looks_of_loop(step)
    else:
        found = iter((None,))
    for look in found:
        yield look if look is not None and steady.holds_one(look.buffer) else None


def _looks_of_kernel(step: KernelStep) -> Iterator[Look | None]:
    bound = {o.name: b for o, b in zip(step.kernel.operands, step.operands, strict=True)}
    numbers = dict(zip(step.kernel.arguments, step.arguments, strict=True))
    reading = _Reading(bound, numbers)
    stages = list(nested(step.kernel.stages))
    whole = not any(isinstance(s, Gemm) or (isinstance(s, Loop) and s.going) for s, _ in stages)
    for stage, around in stages:
        loops = (*step.kernel.axes, *around, *(stage.loops if isinstance(stage, Map) else ()))
        plain = isinstance(stage, Map | Scalar) and whole
        for check in statements(stage):
            if isinstance(check, Check):
                yield reading.look(check, loops, plain)


def _looks_of_loop(step: Step) -> Iterator[Look | None]:
    """Yield the looks of all iterations: each at a row of a buffer, or at the same elements."""
    accesses, (iterations, *_) = step.accesses(), step.arguments
    for body in step.bodies():
        outside, carried = dict(body.outside), dict(body.carried)
        sizes = {buffer.name: buffer.size for buffer in body.schedule.buffers}
        steady = _Steady(body.schedule.steps, body.schedule.by_name)
        checking = (each for each in body.schedule.steps if each.checks())
        for look in (look for each in checking for look in _looks(each, steady)):
            if look is None or look.buffer in carried or look.buffer not in outside:
                yield None
                continue
            access, walk = accesses[outside[look.buffer]], look.walk
            if look.buffer in body.rows and walk is not None:
                walk = _joined([(sizes[look.buffer], iterations), *walk])
            elif not is_at_least(iterations, 1):
                walk = None
            begin = divide_exactly(access.begin, access.dtype.itemsize)
            known = walk if begin is not None else None
            yield look._replace(buffer=access.buffer, begin=look.begin + (begin or 0), walk=known)


class _Reading:
    """The checks of one step: its operands' buffers, and the values of its arguments."""

    def __init__(self, bound: Mapping[str, Binding], numbers: Mapping[str, Size]) -> None:
        self._bound, self._numbers = bound, numbers

    def look(self, check: Check, loops: Sequence[Axis], plain: bool) -> Look | None:
        """Return the look of one check; ``plain``: its loops run all positions unconditionally."""
        loads: list[Access] = []
        formula = self._formula(check.index, loads, {})
        if formula is None or len(loads) != 1:
            return None
        access = loads[0]
        binding = self._bound[access.operand]
        extent = self._value(check.extent)
        walk = self._walk(access, loops) if plain else None
        return Look(binding.buffer, formula, extent, check.wrap, binding.offset, walk)

    def _value(self, number: Extent | tuple[Extent, ...]) -> Size:
        return number_of(number, self._numbers)

    def _formula(
        self, expr: Expr, loads: list[Access], known: dict[int, Formula]
    ) -> Formula | None:
        """Return the formula by which a value follows from one load, which is noted."""
        if id(expr) in known:
            return known[id(expr)]
        found: Formula
        if isinstance(expr.attribute, Access):
            if expr.args or expr.attribute.positions:
                return None
            if expr.attribute not in loads:
                loads.append(expr.attribute)
            found = ("load", expr.dtype)
        elif expr.op in ("index", "ref"):
            return None
        elif expr.op == "size":
            found = ("size", self._numbers[str(expr.attribute)])
        else:
            args = [self._formula(each, loads, known) for each in expr.args]
            if None in args:
                return None
            found = (expr.op, expr.dtype, repr(expr.attribute), *args)
        known[id(expr)] = found
        return found

    def _walk(self, access: Access, loops: Sequence[Axis]) -> Walk | None:
        """The loops that move a load, as few as they can be, if all others have iterations."""
        moves: list[tuple[Size, Size]] = []
        for axis in loops:
            stride, extent = self._value(access.stride(axis.name)), self._value(axis.extent)
            if axis.limits or (stride == 0 and not is_at_least(extent, 1)):
                return None
            if stride != 0 and extent != 1:
                moves.append((stride, extent))
        return _joined(moves)


def _joined(moves: Sequence[tuple[Size, Size]]) -> Walk:
    """Loops as one where one goes on where the other ends, in an order of their own."""
    found = list(moves)
    while True:
        pairs = (two for two in permutations(found, 2) if two[0][0] == two[1][0] * two[1][1])
        pair = next(pairs, None)
        if pair is None:
            return tuple(sorted(found, key=str))
        for each in pair:
            found.remove(each)
        (_, times), (stride, extent) = pair
        found.append((stride, times * extent))
