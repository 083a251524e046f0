"""Sink values into their only reader, and merge groups that read the same arrays.

A node joins the group of its operands, which then stores the value for its readers. If the only
reader is a product, which reads the same elements in its epilogue, or a reduction across rows, the
reader may compute the value itself from operands in memory. Then the value is not stored, and
operands that only it needed are not read twice. (For a variance, ``x - mean`` squared: the sum
reads the difference, and no array of squares is stored.) A reader may also store a value for later
groups: the rows of a batch norm's gradient read the gradient of a convolution's image, and store
what later kernels read of it, so that the convolution stores one array instead of four.

Two nodes of a later group may share operands (the factors of a derivative, both functions of one
stored value) that had other readers while groups grew. If the later group is now the only reader of
a group of elements, it computes all of them.

**Shared reads.** The time of a product with a vector, ``x @ w``, is the time to read its matrix
from memory. If another one, ``x @ v``, does not depend on the first, one kernel computes both while
it reads the matrix once: a loss and a Hessian-vector product, or the transposed products of both.
They need not be of one phase: what they store is small in comparison with what they read.

Maps that read the same arrays, such as both parts of a complex product or of a rotation, are merged
if their results are alive at the same time anyway: if both are results of the program, parts of one
array, or read by one group. Maps that store columns of one array are merged whatever they read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final

from staticgrad.analysis.cycles import instructions
from staticgrad.compiler.fusion.engine import Engine
from staticgrad.compiler.fusion.groups import (
    ANCHORED,
    Group,
    Groups,
    Key,
    PartialBuffer,
    ResultBuffer,
    TargetRegion,
    Walk,
    meets_elements,
    most_instructions,
)
from staticgrad.compiler.fusion.legality import find_form_conflict
from staticgrad.compiler.fusion.walks import MOST_ACROSS, has_short_rows, operand_walks, sums_across
from staticgrad.language.ir.forms import Pointwise, ScatterOnto
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.arrays import Shape, hint_product
from staticgrad.support import fuses
from staticgrad.support.config import limits
from staticgrad.support.records import replace

#: Least elements read per element stored: the results, which are alive for longer, are small.
_READ_PER_STORED: Final = 16
#: Instructions of a kernel that is merged of two because they read or write the same lines, at
#: most. The sines of 30 vectors of 226,000 numbers take 34.9 ms by one kernel each, 25.7 by kernels
#: of 64 instructions, 20 of 400; those of 2,000 numbers .109, .115 and .137 (Zen 4, 2026-12).
_MOST_TOGETHER: Final = 64
#: Large arrays that maps have in common, at least, to be merged.
_SHARED: Final = 2


def merge_shared_reads(engine: Engine, group: Group) -> tuple[int, ...]:
    """Fuse a group with one that reduces or maps the same large arrays (horizontal fusion)."""
    for visited in engine.find_visited(group, _sharing_keys(engine.state, group)):
        if _may_be_one(engine, visited, group):
            pair = (group, visited) if _ends(engine, group) else (visited, group)
            (number,) = engine.merge(pair, engine.combine_groups(pair))
            return (number, *_raise_phases(engine, number))
    return ()


def merge_scatters(engine: Engine, group: Group) -> tuple[int, ...]:
    """Fuse a scatter with others by the same indices, which one kernel then reads once.

    Where indices are equal, each addition waits for the one before; two scatters wait at once.
    """
    if group.kind != "scatter":
        return ()
    node = group.nodes[0]
    if isinstance(node.form, ScatterOnto):  # its kernel copies its own base
        return ()
    indices, types = engine.state.source(node.args[1]), (node.args[0].type, node.types[0])
    key = ("scatter", group.domain, group.phase, node.form, types, indices)
    for visited in engine.find_visited(group, [key]):
        few = len(visited.nodes) + len(group.nodes) <= fuses.JOINED_STAGES
        predecessors, pair = engine.order.predecessors, (visited, group)
        is_read = any(a.number in predecessors(b.number) for a, b in (pair, pair[::-1]))
        if few and not is_read and engine.order.may_merge(visited.number, group.number):
            return engine.merge(pair, engine.combine_groups(pair))
    return ()


def merge_columns(engine: Engine, group: Group) -> tuple[int, ...]:
    """Fuse a map that stores a column of a joined result with one that stores another column.

    Elements of a row share cache lines. A kernel for each column would read and write every line
    once for each of them.
    """
    plain = not (group.reductions or group.cut or group.checked or group.keeps_axes)
    if group.kind != "map" or not plain or group.columns or group.windowed:
        return ()
    regions = [region for of_value in group.regions.values() for region in of_value]
    targets = [r.target for r in regions if _stores_apart(r, group.domain)]
    keys = [(key, group.domain, group.row, group.phase) for key in dict.fromkeys(targets)]
    for visited in engine.find_visited(group, keys):
        pair = (visited, group)
        is_small = visited.instructions + group.instructions <= _MOST_TOGETHER
        if (
            is_small
            and not engine.are_dependent(*pair)
            and (engine.order.may_merge(visited.number, group.number))
        ):
            return engine.merge(pair, engine.combine_groups(pair))
    return ()


def _stores_apart(region: TargetRegion, domain: Shape) -> bool:
    """Return whether the elements that a map stores to a region one after the other are apart."""
    strides = zip(reversed(region.layout.strides), reversed(domain), strict=False)
    return next((stride for stride, size in strides if size != 1), 1) != 1


def _raise_phases(engine: Engine, number: int) -> Iterator[int]:
    """Raise a group's phase and its successors' to those of their operands; yield them."""
    waiting = [number]
    while waiting:
        number = waiting.pop()
        group, order = engine.groups[number], engine.order
        phase = max(
            [group.phase, *(engine.groups[earlier].phase for earlier in order.predecessors(number))]
        )
        if phase > group.phase:
            engine.change([group], [replace(group, phase=phase)], ordered=True)
            yield number
            waiting += order.successors(number)


def _sharing_keys(groups: Groups, group: Group) -> list[object]:
    """Return keys by which fusion groups that read the same arrays find each other."""
    if _may_share(groups, group):
        walks = dict.fromkeys(operand_walks(groups, group))
        across = sums_across(groups, group)
        full_walks = [walk for walk in walks if _is_whole(walk, group.domain)]
        return [(group.domain, group.row, across, walk) for walk in full_walks]
    all_walks = _full_walks(groups, group)
    return [(group.domain, group.phase, all_walks)] if all_walks else []


def _may_share(groups: Groups, group: Group) -> bool:
    """Return True if a group only reduces rows of a large domain to few elements."""
    if group.kind != "map" or not group.reductions:
        return False
    if group.keeps_axes or group.checked or group.regions or group.cut is not None:
        return False
    row = hint_product(group.domain[len(group.domain) - group.row :])
    if not is_large(group.domain) or row < _READ_PER_STORED or has_short_rows(groups, group):
        return False
    inner = {ResultBuffer(node) for node in group.nodes}
    return inner.isdisjoint(group.stored) and groups.roots.isdisjoint(inner)


def _full_walks(groups: Groups, group: Group) -> frozenset[Walk]:
    """Return the access paths of a group that only maps large arrays; else the empty set."""
    if group.kind != "map" or group.reductions or group.cut is not None:
        return frozenset()
    if group.keeps_axes or group.checked or not is_large(group.domain):
        return frozenset()
    walks = frozenset(operand_walks(groups, group))
    large = sum(_is_whole(walk, group.domain) for walk in walks)
    return walks if large >= _SHARED else frozenset()


def is_large(domain: Shape, least: int | None = None) -> bool:
    """Return whether a domain has many elements; True if its size is not known."""
    least = limits().large_array if least is None else least
    return not all(isinstance(n, int) for n in domain) or hint_product(domain) >= least


def _is_whole(walk: Walk, domain: Shape) -> bool:
    moves = zip(walk.strides, domain, strict=True)
    return all(stride != 0 or extent == 1 for stride, extent in moves)


def _may_be_one(engine: Engine, first: Group, second: Group) -> bool:
    """Return True if two groups that read the same arrays may be fused."""
    if len(first.reductions) + len(second.reductions) > MOST_ACROSS:
        return False
    if first.instructions + second.instructions > _MOST_TOGETHER:
        return False
    if find_form_conflict(first, second) is not None:
        return False
    if first.reductions:
        # If one depends on the other, which is complete only at its end, rows are read twice.
        predecessors = engine.order.predecessors
        near = predecessors(first.number), predecessors(second.number)
        fits = second.number not in near[0] and first.number not in near[1]
    else:
        both_end = _ends(engine, first) and _ends(engine, second)
        fits = not both_end and _live_together(engine, first, second)
    return fits and engine.order.may_merge(first.number, second.number)


def _ends(engine: Engine, group: Group) -> bool:
    return any(engine.owners.get(key) == group.number for key in group.targets)


def _live_together(engine: Engine, first: Group, second: Group) -> bool:
    """Return True if the results of two groups are live at the same time anyway."""
    if not set(first.targets).isdisjoint(second.targets):
        return True
    if {*first.stored, *second.stored} <= engine.state.roots:
        return True
    readers = [
        {number for key in group.stored for number in engine.readers.get(key, ())}
        for group in (first, second)
    ]
    return not readers[0].isdisjoint(readers[1])


#: Kinds of groups that a value may leave, and of those that may compute it instead.
_FROM: Final = ("map", "gemm", "windows")
_INTO: Final = ("columns", "gemm")
#: Kinds of groups that compute elements, which may absorb a whole group of any size.
_ELEMENTS: Final = ("map", *ANCHORED)
#: Kinds of readers by the kind of the group that a value leaves. The result of a product is in
#: registers in its own kernel, but a group that reads the product in memory anyway reads no more.
_INTO_OF: Final[Mapping[str, Sequence[str]]] = {
    "map": (*_INTO, *_ELEMENTS),
    "gemm": (*_INTO, "rows", "map"),
    "windows": ("rows",),
}
#: Instructions that are moved into a reader, at most.
_MOST_MOVED: Final = 12


def sink_values(engine: Engine, group: Group) -> tuple[int, ...]:
    """Move nodes into the only group that reads them (producer fusion), if it saves bytes."""
    for reader, nodes in _find_cones(engine, group).items():
        best = _choose_count(engine, group, engine.groups[reader], nodes)
        if best:
            pair = _sink_nodes(engine, group, engine.groups[reader], nodes[:best])
            nonempty = [changed for changed in pair if changed.members]
            return engine.change([group, engine.groups[reader]], nonempty)
    return ()


def _find_cones(engine: Engine, group: Group) -> Mapping[int, Sequence[Node]]:
    """Return the nodes of a group that only one reader needs, by reader, users first."""
    plain = not (group.keeps_axes or group.checked or group.regions or group.columns)
    if group.kind not in _FROM or not plain or group.cut is not None:
        return {}
    if group.kind == "windows":
        reading = {number for key in group.stored for number in engine.readers.get(key, ())}
        others = [engine.groups[number] for number in sorted(reading - {group.number})]
        return {r.number: _find_windows_cone(engine, group, r) for r in others}
    nodes_by_reader: dict[int, list[Node]] = {}
    chosen: dict[Node, int] = {}
    for node in reversed(group.nodes):
        if _may_move(engine, node):
            readers = {
                _find_reader(engine, group, node, user, chosen)
                for user in engine.state.users[node, 0]
            }
            reader = readers.pop() if len(readers) == 1 else None
            if reader is not None:
                chosen[node] = reader
                nodes_by_reader.setdefault(reader, []).append(node)
    return nodes_by_reader


def _find_windows_cone(engine: Engine, group: Group, reader: Group) -> Sequence[Node]:
    """Return the nodes behind a convolution or pool that a reader may compute instead."""
    chosen: dict[Node, int] = {}
    index_of, is_read = engine.order.index_of, False
    for node in reversed(group.nodes):
        if not _may_move(engine, node) or not _may_read(engine, reader, node):
            continue
        users = engine.state.users[node, 0]
        takes = {u: _find_reader(engine, group, node, u, chosen) == reader.number for u in users}
        others = [engine.owners.get(_reader_key(engine, user)) for user in users if not takes[user]]
        if all(n is not None and index_of(n) > index_of(reader.number) for n in others):
            chosen[node] = reader.number
            is_read |= any(takes[user] and user not in chosen for user in users)
    return [*chosen] if is_read else []


def _reader_key(engine: Engine, user: Node) -> Key:
    """Return the buffer whose group reads the operands of a node."""
    return PartialBuffer(user) if PartialBuffer(user) in engine.owners else ResultBuffer(user)


def _may_move(engine: Engine, node: Node) -> bool:
    """Return True if a node may be moved to another fusion group."""
    groups, key = engine.state, ResultBuffer(node)
    if not isinstance(node.form, Pointwise) or node.form.indexed or len(node.types) > 1:
        return False
    if key in groups.roots or key in groups.retained or node in engine.recomputed:
        return False
    sources = [groups.source(arg) for arg in node.args]
    return all(source.uniform for source in sources if source.inline)


def _find_reader(
    engine: Engine, group: Group, node: Node, user: Node, chosen: Mapping[Node, int]
) -> int | None:
    """Return the group that may compute a node for one of its users, or None."""
    if user in chosen:
        return chosen[user]
    reader = None if user in engine.recomputed else engine.state.home(_reader_key(engine, user))
    if reader is None or not _may_take(engine, group, reader, node, user):
        return None
    return reader.number if _may_read(engine, reader, node) else None


def _may_take(engine: Engine, group: Group, reader: Group, node: Node, user: Node) -> bool:
    """Return True if a reader may compute a node of another group: it reads its own element."""
    if reader is group or reader.kind not in _INTO_OF[group.kind]:
        return False
    if (
        reader.phase != group.phase
        or reader.cut is not None
        or reader.domain != group.domain
        or reader.copied
    ):
        return False
    key = ResultBuffer(node)
    combined = {**reader.reductions, **reader.columns}
    reductions = [r.source for k, r in combined.items() if k.node is user]
    args = reductions or [engine.state.source(arg) for arg in user.args]
    own_reads = [source for source in args if source.base == key]
    element = bool(reductions) or isinstance(user.form, Pointwise)
    return (
        element
        and bool(own_reads)
        and all(meets_elements(source, reader.domain) for source in own_reads)
    )


def _may_read(engine: Engine, reader: Group, node: Node) -> bool:
    """Return True if moving a node to a reader does not read a parameter after its update."""
    # The node may read parameters that are updated. A reader that runs after an update in place
    # would read the new value, so it must not come later than the updates. Products run later than
    # groups that do not depend on them, so they never compute such a node.
    bases = [engine.state.source(arg).base.node for arg in node.args]
    written = [engine.new_values[base] for base in bases if base in engine.new_values]
    if not written or reader.kind in _INTO:
        return not written
    owners = [engine.owners.get(key) for key in written]
    index_of = engine.order.index_of
    return all(o is not None and index_of(o) >= index_of(reader.number) for o in owners)


# -- what a move costs ----------------------------------------------------------------------------


def _choose_count(engine: Engine, group: Group, reader: Group, nodes: Sequence[Node]) -> int:
    """Return how many of the nodes a reader should compute, for the fewest bytes moved."""
    sinks_all = group.kind == "map" and len(nodes) == len(group.nodes) and not group.reductions
    if sinks_all and reader.kind in _ELEMENTS and find_form_conflict(group, reader) is None:
        return len(nodes)
    kinds = (*_INTO, "rows") if group.kind == "map" else _INTO_OF[group.kind]
    bounds = limits()
    least = bounds.sunk_window_elements if group.kind == "windows" else bounds.sunk_elements
    if reader.kind not in kinds or not is_large(group.domain, least):
        return 0
    bytes_before = _count_traffic(engine.state, group) + _count_traffic(engine.state, reader)
    best, fewest = 0, bytes_before - bounds.spared_bytes
    budget = min(_MOST_MOVED, most_instructions(reader) - reader.instructions)
    for count in range(1, len(nodes) + 1):
        budget -= instructions(nodes[count - 1])
        if budget < 0:
            break
        pair = _sink_nodes(engine, group, reader, nodes[:count])
        moved_bytes = sum(_count_traffic(engine.state, changed) for changed in pair)
        if moved_bytes < fewest:
            best, fewest = count, moved_bytes
    return best


def _sink_nodes(
    engine: Engine, group: Group, reader: Group, nodes: Sequence[Node]
) -> tuple[Group, Group]:
    """Return two groups after nodes were moved from the first to its reader."""
    sunk = {*nodes}
    work = sum(map(instructions, nodes))
    remaining = tuple([node for node in group.nodes if node not in sunk])
    remaining_keys = {ResultBuffer(node) for node in remaining}
    read = [engine.state.source(arg).base for node in nodes for arg in node.args]
    still_stored = [key for key in group.stored if key.node not in sunk or key in group.reductions]
    stored = dict.fromkeys([*still_stored, *(base for base in read if base in remaining_keys)])
    reader_nodes = engine.sort_nodes([*reader.nodes, *nodes])
    inside, users = {*reader_nodes}, engine.state.users
    stored_by_reader = [
        ResultBuffer(node)
        for node in nodes
        for user in users[node, 0]
        if user not in inside and engine.owners[_reader_key(engine, user)] != reader.number
    ]
    fewer_instructions = group.instructions - work
    return (
        replace(group, nodes=remaining, stored=tuple(stored), instructions=fewer_instructions),
        replace(
            reader,
            nodes=reader_nodes,
            stored=tuple(dict.fromkeys([*reader.stored, *stored_by_reader])),
            instructions=reader.instructions + work,
        ),
    )


def _count_traffic(groups: Groups, group: Group) -> int:
    """Return the bytes of memory traffic of a group; a store fetches its cache line first."""
    inside: Set[Key] = {ResultBuffer(node) for node in group.nodes} | group.reductions.keys()
    bases = [read.source.base for read in groups.reads(group)]
    touched = dict.fromkeys([base for base in bases if base not in inside])
    stored = dict.fromkeys([*group.stored, *(key for key in inside if key in groups.roots)])
    elements = hint_product(group.domain)
    kinds = [groups.value_type(key) for key in (*touched, *stored, *stored)]
    return sum(min(hint_product(kind.shape), elements) * kind.dtype.itemsize for kind in kinds)
