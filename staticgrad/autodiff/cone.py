"""The nodes of a graph between outputs and the targets of a derivative.

Finds the values that carry a gradient from ``y`` to the targets, in one pass over nodes that are
not older than the oldest target, and says where and why a path dies when there is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from staticgrad.errors import DisconnectedError, Related
from staticgrad.language.ir.graph import Node, Symbolic, ancestors, reads_any
from staticgrad.language.ops.convert import without_apart
from staticgrad.support.records import dataclass

ValueKey = tuple[Node, int]


@dataclass(frozen=True)
class Cone:
    """The values in the outputs' past that depend on a target through differentiable ops.

    ``nodes`` have such a value, operands first; ``active`` holds the values themselves; ``order``
    is the highest derivative order among the nodes. ``beside`` are the other nodes of that past
    that depend on a target, as what ``stop_gradient`` gives, operands first.
    """

    nodes: tuple[Node, ...]
    active: Collection[ValueKey]
    order: int
    beside: tuple[Node, ...]


def cone_between(outputs: Sequence[Symbolic], targets: Iterable[Symbolic]) -> Cone:
    """Return the nodes between a derivative's targets and its outputs; empty without a path."""
    target_keys = {target.key for target in targets}
    newest = max(y.node.serial for y in outputs)
    oldest = min((node.serial for node, _ in target_keys), default=newest)
    active: dict[ValueKey, None] = {}
    nodes, beside = [], []
    reached: dict[Node, None] = {}
    for node in _past(outputs, oldest):
        active_keys = [key for key in _results(node) if key in target_keys]
        if any(arg.key in active for arg in node.args):
            active_keys += [key for key in _results(node) if _passes(node, key[1])]
        if active_keys:
            active.update(dict.fromkeys(active_keys))
            nodes.append(node)
        elif reads_any(node, reached):
            beside.append(node)
        else:
            continue
        reached[node] = None
    order = max((node.order for node in nodes), default=max(y.node.order for y in outputs))
    return Cone(tuple(nodes), active.keys(), order, tuple(beside))


def disconnected_error(
    y: Symbolic, target: Symbolic, blocked: Collection[tuple[ValueKey, Node]]
) -> DisconnectedError:
    """Return the error of a derivative whose ``target`` does not reach ``y``: where each path ends.

    ``blocked``: pairs of a value and a node that reads it, whose rule has no cotangent for it.
    """
    related: list[Related] = [_related_value("by", target), _related_value("of", y)]
    ends = list(_path_ends(y, target, blocked))
    if not ends:
        namesake = _namesake(y, target)
        return DisconnectedError(
            f"{value_name(y)} does not depend on {value_name(target)}",
            hint=f"it reads another {value_name(target)}, made before" * (namesake is not None)
            or "leave it out, or pass allow_disconnected=True for zeros",
            related=related if namesake is None else [*related, _related_value("reads", namesake)],
        )
    (node, reason), *more = ends
    return DisconnectedError(
        f"no gradient of {value_name(y)} with respect to {value_name(target)}: {reason}",
        details=[f"another path ends at {end.origin.label}: {why}" for end, why in more],
        hint="pass allow_disconnected=True for zeros",
        at=node.origin,
        related=related,
    )


def value_name(value: Symbolic) -> str:
    """Return the name of a value in messages: the user's, or that of its op."""
    node = without_apart(value).node
    return repr(node.label) if node.label else f"the result of {node.op.name}"


def _namesake(y: Symbolic, target: Symbolic) -> Symbolic | None:
    """An input or parameter of the same name as ``target`` that ``y`` depends on, if any."""
    label = without_apart(target).node.label
    for node in _past([y], 0) if label else ():
        if node.label == label:
            return node.values[0]
    return None


def _related_value(role: str, value: Symbolic) -> Related:
    return role, str(value.type), value.node.origin


def _past(outputs: Iterable[Symbolic], oldest: int) -> list[Node]:
    """Return the outputs' nodes and their ancestors from serial ``oldest`` on, in order."""
    return sorted(ancestors(outputs, oldest=oldest), key=lambda node: node.serial)


def _results(node: Node) -> Iterator[ValueKey]:
    return ((node, index) for index in range(len(node.types)))


def _passes(node: Node, index: int) -> bool:
    return node.op.differentiable and node.types[index].dtype.is_float


def _path_ends(
    y: Symbolic, target: Symbolic, blocked: Collection[tuple[ValueKey, Node]]
) -> Iterator[tuple[Node, str]]:
    """Yield the ancestors of ``y`` where a path to ``target`` ends, with the reason."""
    past = _past([y], target.node.serial)
    reached = {target.key} if target.node in past[:1] else set()
    for node in past:
        read = [arg.key for arg in node.args if arg.key in reached]
        if not read:
            continue
        open_operands = [key for key in read if (key, node) not in blocked]
        onward = [key for key in _results(node) if _passes(node, key[1])]
        if open_operands:
            reached.update(onward)
        if not (open_operands and onward):
            yield node, _reason(node)


def _reason(node: Node) -> str:
    name = node.op.name
    if not node.op.differentiable:
        return f"{name} passes no gradient on"
    if not any(tensor_type.dtype.is_float for tensor_type in node.types):
        return f"{name} gives {node.types[0].dtype}, which has no gradient"
    return f"{name} has no gradient for this operand"
