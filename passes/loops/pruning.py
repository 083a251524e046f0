"""Removal of unread results, carries, slices, invariants and arguments of loops and branches.

A carry is needed if its last value is read, or if a needed result of an iteration reads it. A
carry that no iteration changes becomes an invariant. Operands with the same value share one input.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace

from staticgrad.language.ir.bodies import body_input, body_of, closed_under, inline_body
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.graph import Graph, Node, Symbolic, ancestors
from staticgrad.language.ops.loops import Branch, Loop, While


def prune_bodies(graph: Graph) -> tuple[Graph, int]:
    """Rewrite loops and branches without unread results, carries and operands; count changes.

    The last node is looked at first, because readers come later: operands that it no longer reads
    may be results that an earlier node need not compute.
    """
    #: Node -> its results that live nodes or outputs read.
    read: dict[Node, set[int]] = {}
    for value in graph.roots:
        read.setdefault(value.node, set()).add(value.index)
    pruned: set[Node] = set()
    for node in reversed(graph.nodes):
        if node not in read:
            continue  # the whole node is dead
        operands: Iterable[Symbolic] = node.args
        replacements = _prune_node(node, node.args, read[node])
        if replacements is not None:
            pruned.add(node)
            operands = _operands_of(node, replacements.values())
        for operand in operands:
            read.setdefault(operand.node, set()).add(operand.index)
    if not pruned:
        return graph, 0

    def prune(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Return the results of a node over new operands, pruned; None if it stays as it was."""
        if node not in read:  # what nothing reads any more may read what nothing computes any more
            return node.values
        if node not in pruned:
            return None
        replacements = _prune_node(node, args, read[node])
        assert replacements is not None
        # no node that is left reads the other results
        return [replacements.get(value.index, value) for value in node.values]

    live = graph.without_dead_nodes()  # dead nodes may read the other results
    return live.replace_nodes(prune).without_dead_nodes(), len(pruned)


def _operands_of(node: Node, replacements: Iterable[Symbolic]) -> Iterator[Symbolic]:
    """Yield what the replacements of a node's results read: its operands, or a new node's."""
    old = {operand.key for operand in node.args}
    for value in replacements:
        if value.key in old:
            yield value
        else:
            yield from value.node.args


def _prune_node(
    node: Node, args: tuple[Symbolic, ...], read: Collection[int]
) -> Mapping[int, Symbolic] | None:
    """Return the replacements of the read results over operands ``args``.

    None if nothing can be dropped, or the node has no body. Operands that no read result needs may
    be any values.
    """
    if isinstance(node.op, Loop):
        return _prune_loop(node, node.op, args, read)
    if isinstance(node.op, While):
        return _prune_while(node, node.op, args, read)
    if isinstance(node.op, Branch):
        return _prune_branch(node, node.op, args, read)
    return None


def _prune_loop(
    node: Node, op: Loop, args: tuple[Symbolic, ...], read: Collection[int]
) -> Mapping[int, Symbolic] | None:
    """Rebuild a loop without unread results; None if nothing can be removed."""
    old_inputs, outs = op.body.inputs, [*op.body.outputs.values()]
    still = {k for k in range(op.carries) if outs[k].key == old_inputs[1 + k].key}
    carries, stacked = _read_of_iterations(op, read, still)
    results = [*carries, *stacked]
    slices, invariants, same = _read_operands(op, args, results, carries)
    order = [*carries, *slices, *invariants]
    if len(results) == len(outs) and len(order) == len(args):
        return None
    replacements = {k: args[k] for k in read if k in still}
    if not results:
        return replacements
    roles = {"c": carries, "x": slices, "p": invariants}
    places_of = [("i", 0), *((prefix, 1 + k) for prefix, places in roles.items() for k in places)]
    merged_places = {1 + k: 1 + first for k, first in same.items()}
    inputs, values = _rebuild_body(op.body, places_of, [outs[k] for k in results], merged_places)
    names = _labels("c", len(carries)) + _labels("y", len(stacked))
    smaller = replace(
        op,
        body=body_of(inputs, dict(zip(names, values, strict=True))),
        carries=len(carries),
        slices=len(slices),
    )
    operands = tuple([args[k] for k in order])
    types = tuple([node.types[k] for k in results])
    new_results = rebuild(node, operands, op=smaller, types=types).values
    return replacements | dict(zip(results, new_results, strict=True))


def _prune_while(
    node: Node, op: While, args: tuple[Symbolic, ...], read: Collection[int]
) -> Mapping[int, Symbolic] | None:
    """Rebuild a loop that ends by a test without unread carries; None if nothing can be removed."""
    outs, tests = [*op.body.outputs.values()], [*op.test.outputs.values()]
    still = {k for k in range(op.carries) if outs[k].key == op.body.inputs[1 + k].key}

    def read_by(carries: Set[int]) -> set[int]:
        """Return the operands that the test reads, or these carries."""
        past = {*ancestors(tests), *ancestors([outs[k] for k in sorted(carries)])}
        return {
            k
            for k in range(len(args))
            if op.body.inputs[1 + k].node in past or op.test.inputs[1 + k].node in past
        }

    def carries_read_by(carries: set[int]) -> set[int]:
        return {k for k in read_by(carries) if k < op.carries} - still

    results = {k for k in read if k < op.carries} - still
    carries = sorted(closed_under(carries_read_by, results | carries_read_by(set())))
    if not carries:  # a loop has a carry
        return None
    first: dict[tuple[Node, int], int] = {}
    places = [k for k in sorted(read_by({*carries})) if k not in carries]
    same = {k: first.setdefault(args[k].key, k) for k in places}
    invariants = [k for k in places if same[k] == k]
    order = [*carries, *invariants]
    if len(order) == len(args):
        return None
    roles = {"c": carries, "p": invariants}
    places_of = [("i", 0), *((prefix, 1 + k) for prefix, part in roles.items() for k in part)]
    merged_places = {1 + k: 1 + place for k, place in same.items()}
    bodies = []
    for body, names, values in (
        (op.test, [*op.test.outputs], tests),
        (op.body, _labels("c", len(carries)), [outs[k] for k in carries]),
    ):
        inputs, rebuilt = _rebuild_body(body, places_of, values, merged_places)
        bodies.append(body_of(inputs, dict(zip(names, rebuilt, strict=True))))
    smaller = replace(op.with_bodies(bodies), carries=len(carries))
    result_indices = [*carries, op.carries]  # and the number of iterations
    types = tuple([node.types[k] for k in result_indices])
    operands = tuple([args[k] for k in order])
    new_results = rebuild(node, operands, op=smaller, types=types).values
    unchanged = {k: args[k] for k in read if k in still}
    return unchanged | dict(zip(result_indices, new_results, strict=True))


def _read_of_iterations(
    op: Loop, read: Collection[int], still: Set[int]
) -> tuple[list[int], list[int]]:
    """Return a loop's needed carries, without loop-invariant ones, and its read stacks."""
    inputs, outs = op.body.inputs, [*op.body.outputs.values()]
    stacked = sorted(k for k in read if k >= op.carries)

    def read_by(carries: set[int]) -> set[int]:
        past = set(ancestors([outs[k] for k in (*stacked, *sorted(carries))]))
        return {k for k in range(op.carries) if inputs[1 + k].node in past} - still

    return sorted(closed_under(read_by, {k for k in read if k < op.carries} - still)), stacked


def _read_operands(
    op: Loop, args: Sequence[Symbolic], results: Sequence[int], carries: Sequence[int]
) -> tuple[list[int], list[int], dict[int, int]]:
    """Return the slices and invariants that a pruned loop reads, with their operands.

    An unchanged carry is an invariant. Operands with the same value share one operand.
    """
    inputs, outs = op.body.inputs, [*op.body.outputs.values()]
    past = set(ancestors([outs[k] for k in results]))
    places = [k for k in range(len(args)) if inputs[1 + k].node in past and k not in carries]
    sliced = range(op.carries, op.carries + op.slices)
    first: dict[tuple[bool, tuple[Node, int]], int] = {}
    same = {k: first.setdefault((k in sliced, args[k].key), k) for k in places}
    distinct = [k for k in places if same[k] == k]
    return [k for k in distinct if k in sliced], [k for k in distinct if k not in sliced], same


def _rebuild_body(
    body: Graph,
    order: Sequence[tuple[str, int]],
    outs: Sequence[Symbolic],
    same: Mapping[int, int],
) -> tuple[list[Symbolic], list[Symbolic]]:
    """Rebuild a loop's body over new inputs with only some of its outputs."""
    old_inputs = body.inputs
    count: dict[str, int] = {}
    inputs: dict[int, Symbolic] = {}
    for prefix, k in order:
        place = count[prefix] = count.get(prefix, -1) + 1
        old, label = old_inputs[k], prefix if prefix == "i" else f"{prefix}{place}"
        inputs[k] = body_input(label, old.type, old.node.origin, old.node.order)
    part = body_of(old_inputs, {str(k): value for k, value in enumerate(outs)})
    operands = [inputs.get(same.get(k, k), value) for k, value in enumerate(old_inputs)]
    return [*inputs.values()], inline_body(part, operands)


def _labels(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{place}" for place in range(count)]


def _prune_branch(
    node: Node, op: Branch, args: tuple[Symbolic, ...], read: Collection[int]
) -> Mapping[int, Symbolic] | None:
    """Rebuild a branch without unread results and operands; None if it has none."""
    indices = sorted(read)
    outs = [[case.outputs[f"y{k}"] for k in indices] for case in op.cases]
    past = [set(ancestors(values)) for values in outs]
    places = [
        place
        for place in range(len(args) - 1)
        if any(
            case.inputs[place].node in reachable
            for case, reachable in zip(op.cases, past, strict=True)
        )
    ]
    if len(indices) == len(node.types) and len(places) == len(args) - 1:
        return None
    cases = []
    for case, values in zip(op.cases, outs, strict=True):
        inputs, results = _rebuild_body(case, [("p", place) for place in places], values, {})
        cases.append(body_of(inputs, dict(zip(_labels("y", len(indices)), results, strict=True))))
    operands = (args[0], *(args[1 + place] for place in places))
    types = tuple([node.types[k] for k in indices])
    new_results = rebuild(node, operands, op=Branch(tuple(cases)), types=types).values
    return dict(zip(indices, new_results, strict=True))
