"""Values over queries and keys that blocks store only where masks allow it.

What a block of a gradient reads of the block before it, as the weights of attention, it often reads
under the same mask. If all who read a value are such blocks, nobody sees what lies where the mask
forbids it, and it is neither computed nor stored there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticgrad.fusion.block_roles import Roles, roles_of
from staticgrad.fusion.groups import Group, Groups, Key
from staticgrad.records import replace


def with_trimmed(groups: Groups) -> Groups:
    """The groups, those of kind ``block`` with what they store in part alone."""
    blocks = [group for group in groups.all if group.kind == "block"]
    roles = {group.number: roles_of(groups, group) for group in blocks}
    readers = _readers(groups)
    seen = {*groups.kept, *(groups.sources[root].base for root in groups.roots)}  # by others, too
    by_number = dict(groups.by_number)
    for group in blocks:
        own = roles[group.number]
        candidates = [key for key in group.stored if key in own.wide and key not in seen]
        trimmed = [
            key
            for key in candidates
            if all(_looks_away(key, group, own, each, roles) for each in readers.get(key, ()))
        ]
        if trimmed:
            by_number[group.number] = replace(group, trimmed=frozenset(trimmed))
    return replace(groups, by_number=by_number)


def _readers(groups: Groups) -> Mapping[Key, Sequence[Group]]:
    """The groups that read each value, but for the one that computes it."""
    found: dict[Key, dict[int, Group]] = {}
    for group in groups.all:
        for read in groups.reads(group):
            if groups.home(read.source.base) is not group:
                found.setdefault(read.source.base, {})[group.number] = group
    return {key: [*each.values()] for key, each in found.items()}


def _looks_away(
    key: Key, group: Group, own: Roles, reader: Group, roles: Mapping[int, Roles]
) -> bool:
    """Whether a reader needs nothing of a value where the mask of its home forbids it."""
    other = roles.get(reader.number)
    if other is None or reader.domain != group.domain:
        return False
    return other.reach == own.reach and bool(other.short) and key not in other.wanted
