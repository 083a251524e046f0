"""Cut groups that are latency-bound, and groups that would read rows from several copies.

One kernel for a chain of many dependent operations stores the least, and stalls the most: the
processor's window is too short to overlap iterations (see ``analysis.cost``). Where storing some
values in between is estimated to take less time than the stalls, a group is cut into several: runs
of its nodes in the order of the graph, each of the length at which stalls and stores balance, cut
where the fewest values are alive.

A group that reduces rows of several axes reads each row as one run of memory, which an operand
that is broadcast along some of the axes is not: it would be copied. If that takes more copies than
there are reduced values, these values are stored instead and reduced by a kernel of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt
from typing import Final

from staticgrad.analysis.cycles import (
    cut_cycles,
    cycles,
    instructions,
    interleaved_vectors,
    latency,
    vectors,
)
from staticgrad.compiler.fusion.engine import Engine
from staticgrad.compiler.fusion.groups import Group, GroupCut, Groups, Key, ResultBuffer
from staticgrad.compiler.fusion.walks import broken_rows
from staticgrad.language.ir.forms import Contract, Gather, GatherAlong, SearchForm
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.arrays import TensorType
from staticgrad.native.machine import current
from staticgrad.support.config import limits
from staticgrad.support.records import replace

#: A group is cut if that takes less than this part of its time: estimates are rough.
_WORTH_IT: Final = 0.75
#: Operations of a run whose body is short enough to be compiled without masks, which takes half the
#: time: runs that would balance at up to six times this length are cut at it.
_UNMASKED: Final = 20
#: A run ends where the fewest values are alive, within this part of its length to either side.
_SLACK: Final = 0.25


def cut_group(engine: Engine, group: Group) -> tuple[int, ...]:
    """Cut a group that is latency-bound, or that would read rows from copies, into several."""
    groups = engine.state
    cuts = None
    if group.kind in ("map", "gemm") and group.cut is None:
        cuts = _find_cuts(groups, group) or _find_copies(groups, group)
    return engine.change([group], [*_build_parts(engine, group, *cuts)]) if cuts else ()


def _find_cuts(groups: Groups, group: Group) -> tuple[Sequence[int], GroupCut] | None:
    """Find where to cut a latency-bound fusion group, if the estimated cycles are fewer."""
    nodes = group.nodes
    if len(nodes) <= limits().cut_nodes:
        return None
    work = [instructions(node) for node in nodes]
    # The window holds eight iterations of such a loop: the processor overlaps them by itself.
    if sum(work) < current().window // 8:
        return None
    kind = groups.value_type(ResultBuffer(nodes[0]))
    count = vectors(TensorType(kind.dtype, group.domain))
    live = _count_live_values(groups, group)
    interleaved = interleaved_vectors(sum(work), max(live))
    fused_cycles = cycles(sum(work), _critical_path(nodes), count, interleaved)
    if fused_cycles <= sum(work):  # there are hardly any stalls
        return None
    cut_indices = _choose_cuts(group, work, live, count, kind)
    runs = [*pairwise([0, *cut_indices, len(nodes)])]
    split_cycles = sum(cycles(sum(work[a:b]), _critical_path(nodes[a:b]), count) for a, b in runs)
    # Each value that is live at a cut is stored by one loop and loaded by the next.
    split_cycles += sum(cut_cycles(live[index], kind) for index in cut_indices)
    if not cut_indices or split_cycles > _WORTH_IT * fused_cycles:
        return None
    return cut_indices, GroupCut(group, round(fused_cycles), round(split_cycles))


def _find_copies(groups: Groups, group: Group) -> tuple[Sequence[int], GroupCut] | None:
    """Cut a group's map from its reductions if these would need copies of their rows."""
    bases = {reduction.source.base for reduction in group.reductions.values()}
    if (
        group.kind != "map"
        or group.indexed
        or not bases <= {ResultBuffer(node) for node in group.nodes}
    ):
        return None
    copies = len(broken_rows(groups, group))
    if copies <= len(bases.difference(group.stored, groups.roots)):
        return None
    return (len(group.nodes),), GroupCut(group, 0, 0, copies=copies)


def _critical_path(nodes: Sequence[Node]) -> float:
    """Return the cycles of the longest chain of dependent nodes."""
    completion: dict[Node, float] = {}
    for node in nodes:
        start = max([completion.get(arg.node, 0.0) for arg in node.args], default=0.0)
        completion[node] = start + latency(node)
    return max(completion.values())


def _choose_cuts(
    group: Group, work: Sequence[int], live: Sequence[int], count: int, kind: TensorType
) -> Sequence[int]:
    """Choose where to cut a group's nodes into runs of equal work, with few live values."""
    # A run of w instructions with a chain of c cycles per instruction stalls c * w * w / window
    # cycles; with s cycles for storing, (c * w * w / window + s) / w is least where both are equal.
    # the lower quartile: cuts are made where few values are live
    usual_live = sorted(live[1:-1])[len(live) // 4] if len(live) > 4 else 1
    total_work, window = sum(work), current().window
    chain = _critical_path(group.nodes) / total_work
    balanced = sqrt(cut_cycles(max(1, usual_live), kind) * window / chain)
    average = total_work / len(work)
    operations = max(limits().cut_nodes, balanced / average)
    if operations <= 6 * _UNMASKED:
        operations = min(operations, _UNMASKED)
    length = operations * average
    # A part that fills most of the window, or is most of the group, gains little. One vector has
    # nothing to overlap with.
    if length > 0.7 * min(window, total_work) or count == 1:
        return ()
    cut_indices: list[int] = []
    length_so_far, best = 0.0, 0
    for index, more in enumerate(work):
        if length_so_far >= (1 - _SLACK) * length:
            fewer = best <= (cut_indices[-1] if cut_indices else 0) or live[index] < live[best]
            if fewer or (live[index] == live[best] and length_so_far <= length):
                best = index
        if length_so_far >= (1 + _SLACK) * length:
            cut_indices.append(best)
            length_so_far = float(sum(work[best:index]))
        length_so_far += more
    return cut_indices


def _count_live_values(groups: Groups, group: Group) -> list[int]:
    """Count the values live before each node of a group, which a cut there would store."""
    index = {node: k for k, node in enumerate(group.nodes)}
    for key, reduction in group.reductions.items():  # it is in the part that computes its terms
        index[key.node] = index.get(reduction.source.base.node, len(group.nodes))
    changes = [0] * (len(group.nodes) + 2)
    for k, node in enumerate(group.nodes):
        if ResultBuffer(node) in groups.roots or not groups.users[node, 0]:
            continue
        last = max([index.get(user, -1) for user in groups.users[node, 0]])
        if last > k:
            changes[k + 1] += 1
            changes[min(last, len(group.nodes)) + 1] -= 1
    live_counts, alive = [], 0
    for change in changes[:-1]:
        alive += change
        live_counts.append(alive)
    return live_counts


def _build_parts(
    engine: Engine, group: Group, cut_indices: Sequence[int], cut: GroupCut
) -> Iterator[Group]:
    """Yield the groups into which a fusion group is cut, with the values each stores."""
    runs = [group.nodes[a:b] for a, b in pairwise([0, *cut_indices, len(group.nodes)])]
    homes = {node: k for k, run in enumerate(runs) for node in run}
    members = {*homes, *(key.node for key in group.reductions)}
    users, last = engine.state.users, len(runs) - 1

    def run_of(base: Key) -> int:
        computed = engine.owners.get(base) == group.number and not cut.copies
        return homes.get(base.node, last) if computed else last

    run_of_result = {
        key: run_of(reduction.source.base) for key, reduction in group.reductions.items()
    }
    for k, run in enumerate(runs):
        reductions = {
            key: reduction for key, reduction in group.reductions.items() if run_of_result[key] == k
        }
        forms = [node.form for node in run]
        inside = {*run, *(key.node for key in reductions)}
        stored = [key for key in group.stored if key in reductions or key.node in inside]
        stored += [
            ResultBuffer(node)
            for node in run
            if any(user in members and user not in inside for user in users[node, 0])
        ]
        yield replace(
            group,
            number=group.number if k == 0 else engine.new_number(),
            kind="gemm" if any(isinstance(form, Contract) for form in forms) else "map",
            nodes=run,
            row=group.row if reductions else 0,
            reductions=reductions,
            windowed=group.windowed and bool(run),
            checked=any(isinstance(f, Gather | GatherAlong | SearchForm) for f in forms),
            stored=tuple(dict.fromkeys(stored)),
            regions={key: at for key, at in group.regions.items() if key.node in inside},
            cut=cut,
        )
