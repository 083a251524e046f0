"""Groups whose operations would wait for each other, cut into several that do not.

One kernel for a chain of many dependent operations stores the least, and waits the most (see
``cost``). Where storing some values in between is estimated to take less time than that waiting, a
group becomes several: runs of its nodes in the order of the graph, each of a length at which
waiting and storing balance, cut where the fewest values are alive.

And groups whose rows would be read from copies of several operands: their elements are stored, and
reduced by a kernel of their own. A row is one run of memory; an operand that repeats along some of
its axes is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt
from typing import Final

from staticgrad.analysis.cost import (
    cut_cycles,
    cycles,
    instructions,
    interleaved_vectors,
    latency,
    vectors,
)
from staticgrad.compiler.fusion.engine import Engine
from staticgrad.compiler.fusion.groups import Group, Groups, Home, Key, Parts
from staticgrad.compiler.fusion.walks import broken_rows
from staticgrad.language.ir.forms import Contract, Gather, GatherAlong, SearchForm
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.arrays import TensorType
from staticgrad.native.machine import current
from staticgrad.support.records import replace

#: A group is cut where that takes less than this part of its time: estimates are rough.
_WORTH_IT: Final = 0.75
#: Operations of a run at least: a kernel takes 5 ms to compile, however short it is.
_LEAST_NODES: Final = 12
#: Operations of a run whose body is short enough to be written without masks, which takes half the
#: time: what would balance up to six times as far is cut there.
_UNMASKED: Final = 20
#: A run ends where the fewest values are alive, this far round its length.
_SLACK: Final = 0.25


def cut(engine: Engine, group: Group) -> tuple[int, ...]:
    """Cut a group whose operations wait for each other into several."""
    groups = engine.now
    found = None
    if group.kind in ("map", "gemm") and group.parts is None:
        found = _cuts(groups, group) or _copies_apart(groups, group)
    return engine.change([group], [*_parts(engine, group, *found)]) if found else ()


def _cuts(groups: Groups, group: Group) -> tuple[Sequence[int], Parts] | None:
    nodes = group.nodes
    if len(nodes) <= _LEAST_NODES:
        return None
    work = [instructions(node) for node in nodes]
    if sum(work) < current().window // 8:
        return None
    kind = groups.value_type(Home(nodes[0]))
    count = vectors(TensorType(kind.dtype, group.domain))
    live = _live(groups, group)
    several = interleaved_vectors(sum(work), max(live))
    together = cycles(sum(work), _chain(nodes), count, several)
    if together <= sum(work):  # they hardly wait
        return None
    places = _places(group, work, live, count, kind)
    runs = [*pairwise([0, *places, len(nodes)])]
    apart = sum(cycles(sum(work[a:b]), _chain(nodes[a:b]), count) for a, b in runs)
    apart += sum(cut_cycles(live[place], kind) for place in places)
    if not places or apart > _WORTH_IT * together:
        return None
    return places, Parts(group, round(together), round(apart))


def _copies_apart(groups: Groups, group: Group) -> tuple[Sequence[int], Parts] | None:
    bases = {reduction.source.base for reduction in group.reductions.values()}
    if group.kind != "map" or group.indexed or not bases <= {Home(node) for node in group.nodes}:
        return None
    copies = len(broken_rows(groups, group))
    if copies <= len(bases.difference(group.stored, groups.roots)):
        return None
    return (len(group.nodes),), Parts(group, 0, 0, copies=copies)


def _chain(nodes: Sequence[Node]) -> float:
    """Cycles of the longest chain of nodes that wait for each other."""
    known: dict[Node, float] = {}
    for node in nodes:
        start = max([known.get(arg.node, 0.0) for arg in node.args], default=0.0)
        known[node] = start + latency(node)
    return max(known.values())


def _places(
    group: Group, work: Sequence[int], live: Sequence[int], count: int, kind: TensorType
) -> Sequence[int]:
    # A run of w instructions with a chain of c cycles each waits c * w * w / window cycles; with s
    # for storing, (c * w * w / window + s) / w is least where c * w * w / window = s.
    usual = sorted(live[1:-1])[len(live) // 4] if len(live) > 4 else 1
    whole, window = sum(work), current().window
    chain = _chain(group.nodes) / whole
    balanced = sqrt(cut_cycles(max(1, usual), kind) * window / chain)
    average = whole / len(work)
    operations = max(_LEAST_NODES, balanced / average)
    if operations <= 6 * _UNMASKED:
        operations = min(operations, _UNMASKED)
    length = operations * average
    if length > 0.7 * min(window, whole) or count == 1:
        return ()
    found: list[int] = []
    since, best = 0.0, 0
    for place, more in enumerate(work):
        if since >= (1 - _SLACK) * length:
            fewer = best <= (found[-1] if found else 0) or live[place] < live[best]
            if fewer or (live[place] == live[best] and since <= length):
                best = place
        if since >= (1 + _SLACK) * length:
            found.append(best)
            since = float(sum(work[best:place]))
        since += more
    return found


def _live(groups: Groups, group: Group) -> list[int]:
    """Before each node, and at the end: how many values would have to be stored for the rest."""
    place = {node: k for k, node in enumerate(group.nodes)}
    for key, reduction in group.reductions.items():  # goes where its terms are computed
        place[key.node] = place.get(reduction.source.base.node, len(group.nodes))
    changes = [0] * (len(group.nodes) + 2)
    for k, node in enumerate(group.nodes):
        if Home(node) in groups.roots or not groups.users[node, 0]:
            continue
        last = max([place.get(user, -1) for user in groups.users[node, 0]])
        if last > k:
            changes[k + 1] += 1
            changes[min(last, len(group.nodes)) + 1] -= 1
    found, alive = [], 0
    for change in changes[:-1]:
        alive += change
        found.append(alive)
    return found


def _parts(engine: Engine, group: Group, places: Sequence[int], parts: Parts) -> Iterator[Group]:
    runs = [group.nodes[a:b] for a, b in pairwise([0, *places, len(group.nodes)])]
    homes = {node: k for k, run in enumerate(runs) for node in run}
    members = {*homes, *(key.node for key in group.reductions)}
    users, last = engine.now.users, len(runs) - 1

    def place_of(base: Key) -> int:
        computed = engine.owners.get(base) == group.number and not parts.copies
        return homes.get(base.node, last) if computed else last

    places_of = {key: place_of(each.source.base) for key, each in group.reductions.items()}
    for k, run in enumerate(runs):
        reductions = {key: each for key, each in group.reductions.items() if places_of[key] == k}
        forms = [node.form for node in run]
        inside = {*run, *(key.node for key in reductions)}
        stored = [key for key in group.stored if key in reductions or key.node in inside]
        stored += [
            Home(node)
            for node in run
            if any(user in members and user not in inside for user in users[node, 0])
        ]
        yield replace(
            group,
            number=group.number if k == 0 else engine.number(),
            kind="gemm" if any(isinstance(form, Contract) for form in forms) else "map",
            nodes=run,
            row=group.row if reductions else 0,
            reductions=reductions,
            windowed=group.windowed and bool(run),
            checked=any(isinstance(f, Gather | GatherAlong | SearchForm) for f in forms),
            stored=tuple(dict.fromkeys(stored)),
            regions={key: at for key, at in group.regions.items() if key.node in inside},
            parts=parts,
        )
