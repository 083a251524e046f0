"""Values computed by their only reader, and groups that read the same arrays merged into one.

A node joins the group of its operands, which then stores the value for whoever reads it. Where that
is one product, which reads the same elements behind its sums, or one reduction across rows, the
reader may compute the value itself, of what lies in memory: nothing is stored for it, and what it
alone was computed of is not read twice. (``x - mean`` squared, for a variance: the sum reads the
difference, and no array of squares is stored.) A reader may also store a value for the groups
behind it: the rows of a batch norm's gradient read the gradient of a convolution's image, and store
what later kernels read of it, so that the convolution stores one array instead of four.

Two nodes of a later group that share what they are made of (the factors of a derivative, both
functions of one stored value) were each somebody else's reader while groups grew. Where now nobody
else reads a group of elements, the later one computes all of it.

**Shared reads.** A product with a vector, ``x @ w``, takes as long as its matrix comes from memory.
Where another one, ``x @ v``, neither reads the first nor is read by it, one kernel computes both
while it reads the matrix once: a loss and a Hessian-vector product, or the transposed products of
both. They need not be of one phase: what they store is small beside what they read.

Maps that read the same arrays, as both parts of a complex product or of a rotation do, are one
kernel where what they store lives at the same time anyway: where both are results, parts of one
array, or somebody reads both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final

from staticgrad.analysis.cost import instructions
from staticgrad.compiler.fusion.engine import Engine
from staticgrad.compiler.fusion.groups import (
    ANCHORED,
    Group,
    Groups,
    Home,
    Key,
    Partial,
    Walk,
    meets_elements,
    most_instructions,
)
from staticgrad.compiler.fusion.legality import kept_apart
from staticgrad.compiler.fusion.walks import MOST_ACROSS, has_short_rows, operand_walks, sums_across
from staticgrad.language.ir.forms import Pointwise
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.arrays import Shape, hint_product
from staticgrad.support.records import replace

#: Elements of an array from which on reading it is what a reduction takes its time for.
LARGE: Final = 1 << 16
#: Elements that are read for each that is stored, at least: what lies longer in memory is small.
_READ_PER_STORED: Final = 16
#: Instructions of both, at most: of more, reading is a small part.
_MOST_INSTRUCTIONS: Final = 48
#: Large arrays that maps read, all of both, from which on they are one.
_SHARED: Final = 2


def read_together(engine: Engine, group: Group) -> tuple[int, ...]:
    """Merge a group with one that reduces or maps the same large arrays."""
    for other in engine.beside(group, _arrays(engine.now, group)):
        if _may_be_one(engine, other, group):
            pair = (group, other) if _ends(engine, group) else (other, group)
            (number,) = engine.merge(pair, engine.in_one(pair))
            return (number, *_later(engine, number))
    return ()


def _later(engine: Engine, number: int) -> Iterator[int]:
    """Give a group the phase of what it depends on, and so what depends on it; yield those."""
    waiting = [number]
    while waiting:
        number = waiting.pop()
        group, order = engine.groups[number], engine.order
        phase = max([group.phase, *(engine.groups[each].phase for each in order.before(number))])
        if phase > group.phase:
            engine.change([group], [replace(group, phase=phase)], ordered=True)
            yield number
            waiting += order.after(number)


def _arrays(groups: Groups, group: Group) -> list[object]:
    """Return what groups that read the same arrays have in common."""
    if _may_share(groups, group):
        found = dict.fromkeys(operand_walks(groups, group))
        across = sums_across(groups, group)
        whole = [walk for walk in found if _is_whole(walk, group.domain)]
        return [(group.domain, group.row, across, walk) for walk in whole]
    walks = _mapped(groups, group)
    return [(group.domain, group.phase, walks)] if walks else []


def _may_share(groups: Groups, group: Group) -> bool:
    """Return whether a group only reduces rows of a large domain to few elements."""
    if group.kind != "map" or not group.reductions:
        return False
    if group.keeps_axes or group.checked or group.regions or group.parts is not None:
        return False
    row = hint_product(group.domain[len(group.domain) - group.row :])
    if not is_large(group.domain) or row < _READ_PER_STORED or has_short_rows(groups, group):
        return False
    inner = {Home(node) for node in group.nodes}
    return inner.isdisjoint(group.stored) and groups.roots.isdisjoint(inner)


def _mapped(groups: Groups, group: Group) -> frozenset[Walk]:
    """Return the walks of a group that only maps several large arrays; else the empty set."""
    if group.kind != "map" or group.reductions or group.parts is not None:
        return frozenset()
    if group.keeps_axes or group.checked or not is_large(group.domain):
        return frozenset()
    walks = frozenset(operand_walks(groups, group))
    large = sum(_is_whole(walk, group.domain) for walk in walks)
    return walks if large >= _SHARED else frozenset()


def is_large(domain: Shape, least: int = LARGE) -> bool:
    """Return whether a domain has many elements; True if its size is not known."""
    return not all(isinstance(n, int) for n in domain) or hint_product(domain) >= least


def _is_whole(walk: Walk, domain: Shape) -> bool:
    moves = zip(walk.strides, domain, strict=True)
    return all(stride != 0 or extent == 1 for stride, extent in moves)


def _may_be_one(engine: Engine, first: Group, second: Group) -> bool:
    if len(first.reductions) + len(second.reductions) > MOST_ACROSS:
        return False
    if first.instructions + second.instructions > _MOST_INSTRUCTIONS:
        return False
    if kept_apart(first, second) is not None:
        return False
    if first.reductions:
        # Rows are read once more where what one needs is not known before their end.
        before = engine.order.before
        near = before(first.number), before(second.number)
        fits = second.number not in near[0] and first.number not in near[1]
    else:
        both_end = _ends(engine, first) and _ends(engine, second)
        fits = not both_end and _live_together(engine, first, second)
    return fits and engine.order.may_merge(first.number, second.number)


def _ends(engine: Engine, group: Group) -> bool:
    return any(engine.owners.get(key) == group.number for key in group.targets)


def _live_together(engine: Engine, one: Group, other: Group) -> bool:
    """Return whether the results of both groups are alive at the same time anyway."""
    if not set(one.targets).isdisjoint(other.targets):
        return True
    if {*one.stored, *other.stored} <= engine.now.roots:
        return True
    readers = [
        {number for key in each.stored for number in engine.readers.get(key, ())}
        for each in (one, other)
    ]
    return not readers[0].isdisjoint(readers[1])


#: Groups that a value may leave, and those that may compute it instead.
_FROM: Final = ("map", "gemm", "windows")
_INTO: Final = ("columns", "gemm")
#: Groups that compute elements, which take over all of a group, whatever its size.
_ELEMENTS: Final = ("map", *ANCHORED)
#: Where values go. A tile has its product itself in registers, but a group that reads the product
#: in memory anyway reads no more.
_INTO_OF: Final[Mapping[str, Sequence[str]]] = {
    "map": (*_INTO, *_ELEMENTS),
    "gemm": (*_INTO, "rows", "map"),
    "windows": ("rows",),
}
#: Instructions that a reader takes over, at most: it computes them among its own.
_MOST_MOVED: Final = 12
#: Bytes that this spares, at least, and elements of an array: of less no run takes notice. Of a
#: convolution's gradient three arrays of a batch norm's live at once, at the peak of many a step.
_LEAST_SPARED: Final = 1 << 15
_LEAST_ELEMENTS: Final = {"map": 1 << 15, "gemm": 1 << 15, "windows": 1 << 13}


def sunk(engine: Engine, group: Group) -> tuple[int, ...]:
    """Move values into the one group that reads them, if fewer bytes are moved so."""
    for reader, nodes in _cones(engine, group).items():
        best = _best(engine, group, engine.groups[reader], nodes)
        if best:
            pair = _moved(engine, group, engine.groups[reader], nodes[:best])
            left = [each for each in pair if each.members]
            return engine.change([group, engine.groups[reader]], left)
    return ()


def _cones(engine: Engine, group: Group) -> Mapping[int, Sequence[Node]]:
    """Return the nodes that are computed for one reader, by reader, readers first."""
    plain = not (group.keeps_axes or group.checked or group.regions or group.columns)
    if group.kind not in _FROM or not plain or group.parts is not None:
        return {}
    if group.kind == "windows":
        reading = {number for key in group.stored for number in engine.readers.get(key, ())}
        others = [engine.groups[number] for number in sorted(reading - {group.number})]
        return {each.number: _cone(engine, group, each) for each in others}
    found: dict[int, list[Node]] = {}
    chosen: dict[Node, int] = {}
    for node in reversed(group.nodes):
        if _may_move(engine, node):
            readers = {
                _reader(engine, group, node, user, chosen) for user in engine.now.users[node, 0]
            }
            reader = readers.pop() if len(readers) == 1 else None
            if reader is not None:
                chosen[node] = reader
                found.setdefault(reader, []).append(node)
    return found


def _cone(engine: Engine, group: Group, reader: Group) -> Sequence[Node]:
    """Return the nodes that a reader may compute, and store for the groups behind it."""
    chosen: dict[Node, int] = {}
    place, taken = engine.order.place, False
    for node in reversed(group.nodes):
        if not _may_move(engine, node) or not _may_read(engine, reader, node):
            continue
        users = engine.now.users[node, 0]
        takes = {u: _reader(engine, group, node, u, chosen) == reader.number for u in users}
        others = [engine.owners.get(_reading(engine, user)) for user in users if not takes[user]]
        if all(n is not None and place(n) > place(reader.number) for n in others):
            chosen[node] = reader.number
            taken |= any(takes[user] and user not in chosen for user in users)
    return [*chosen] if taken else []


def _reading(engine: Engine, user: Node) -> Key:
    """Return the buffer for which a node's operands are read."""
    return Partial(user) if Partial(user) in engine.owners else Home(user)


def _may_move(engine: Engine, node: Node) -> bool:
    """Return whether a node may be computed in another group."""
    groups, key = engine.now, Home(node)
    if not isinstance(node.form, Pointwise) or node.form.indexed or len(node.types) > 1:
        return False
    if key in groups.roots or key in groups.kept or node in engine.again:
        return False
    sources = [groups.source(arg) for arg in node.args]
    return all(each.uniform for each in sources if each.inline)


def _reader(
    engine: Engine, group: Group, node: Node, user: Node, chosen: Mapping[Node, int]
) -> int | None:
    """Return the group that may compute a node for a user, or None."""
    if user in chosen:
        return chosen[user]
    reader = None if user in engine.again else engine.now.home(_reading(engine, user))
    if reader is None or not _may_take(engine, group, reader, node, user):
        return None
    return reader.number if _may_read(engine, reader, node) else None


def _may_take(engine: Engine, group: Group, reader: Group, node: Node, user: Node) -> bool:
    if reader is group or reader.kind not in _INTO_OF[group.kind]:
        return False
    if (
        reader.phase != group.phase
        or reader.parts is not None
        or reader.domain != group.domain
        or reader.copied
    ):
        return False
    key = Home(node)
    combined = {**reader.reductions, **reader.columns}
    reductions = [r.source for k, r in combined.items() if k.node is user]
    args = reductions or [engine.now.source(arg) for arg in user.args]
    own = [each for each in args if each.base == key]
    element = bool(reductions) or isinstance(user.form, Pointwise)
    return element and bool(own) and all(meets_elements(each, reader.domain) for each in own)


def _may_read(engine: Engine, reader: Group, node: Node) -> bool:
    # One that comes earlier might write over the parameter before. Products come later than ones
    # that do not depend on them.
    bases = [engine.now.source(arg).base.node for arg in node.args]
    written = [engine.written[base] for base in bases if base in engine.written]
    if not written or reader.kind in _INTO:
        return not written
    owners = [engine.owners.get(key) for key in written]
    place = engine.order.place
    return all(o is not None and place(o) >= place(reader.number) for o in owners)


# -- what a move costs ----------------------------------------------------------------------------


def _best(engine: Engine, group: Group, other: Group, nodes: Sequence[Node]) -> int:
    """Return how many of the nodes the other group had better compute."""
    whole = group.kind == "map" and len(nodes) == len(group.nodes) and not group.reductions
    if whole and other.kind in _ELEMENTS and kept_apart(group, other) is None:
        return len(nodes)
    taking = (*_INTO, "rows") if group.kind == "map" else _INTO_OF[group.kind]
    if other.kind not in taking or not is_large(group.domain, _LEAST_ELEMENTS[group.kind]):
        return 0
    before = _traffic(engine.now, group) + _traffic(engine.now, other)
    best, fewest = 0, before - _LEAST_SPARED
    room = min(_MOST_MOVED, most_instructions(other) - other.instructions)
    for count in range(1, len(nodes) + 1):
        room -= instructions(nodes[count - 1])
        if room < 0:
            break
        pair = _moved(engine, group, other, nodes[:count])
        after = sum(_traffic(engine.now, each) for each in pair)
        if after < fewest:
            best, fewest = count, after
    return best


def _moved(
    engine: Engine, group: Group, reader: Group, nodes: Sequence[Node]
) -> tuple[Group, Group]:
    gone = {*nodes}
    work = sum(map(instructions, nodes))
    left = tuple([node for node in group.nodes if node not in gone])
    rest = {Home(node) for node in left}
    read = [engine.now.source(arg).base for node in nodes for arg in node.args]
    kept = [key for key in group.stored if key.node not in gone or key in group.reductions]
    stored = dict.fromkeys([*kept, *(base for base in read if base in rest)])
    taken = engine.in_order([*reader.nodes, *nodes])
    inside, users = {*taken}, engine.now.users
    handed = [
        Home(node)
        for node in nodes
        for user in users[node, 0]
        if user not in inside and engine.owners[_reading(engine, user)] != reader.number
    ]
    less = group.instructions - work
    return (
        replace(group, nodes=left, stored=tuple(stored), instructions=less),
        replace(
            reader,
            nodes=taken,
            stored=tuple(dict.fromkeys([*reader.stored, *handed])),
            instructions=reader.instructions + work,
        ),
    )


def _traffic(groups: Groups, group: Group) -> int:
    """Return the bytes that a group reads and stores; a store fetches its line first."""
    inside: Set[Key] = {Home(node) for node in group.nodes} | group.reductions.keys()
    read = [each.source.base for each in groups.reads(group)]
    touched = dict.fromkeys([base for base in read if base not in inside])
    stored = dict.fromkeys([*group.stored, *(key for key in inside if key in groups.roots)])
    elements = hint_product(group.domain)
    kinds = [groups.value_type(key) for key in (*touched, *stored, *stored)]
    return sum(min(hint_product(kind.shape), elements) * kind.dtype.itemsize for kind in kinds)
