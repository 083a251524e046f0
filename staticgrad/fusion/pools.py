"""Pools in the kernel that computes what they are read of, where that then needs no memory.

A sum, a maximum or its place, of windows that do not overlap, reads each element of an image once,
at most. Where a convolution and what follows it, or a map, computes the image for nobody else,
one kernel of all stores what the windows come to, and not the image.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import prod
from typing import Final

from staticgrad.fusion.groups import Group, Groups, Home, Key, Read, Source, meets_elements
from staticgrad.fusion.regrouping import Regrouping
from staticgrad.ir.forms import Pointwise, WindowAxis, WindowProduct, WindowReduce
from staticgrad.ir.graph import Node
from staticgrad.types.dim import is_at_least

_KINDS: Final = ("sum", "max", "place")
#: Taps of a window, at most: each is an image evaluated, all of them one body of a loop.
_MOST_TAPS: Final = 16
#: Instructions of a kernel for a vector of windows, at most.
_LARGEST: Final = 400


def with_pools(groups: Groups) -> Groups:
    """The groups, pools in those that compute what they are read of."""
    if not any(_pool(each) for each in groups.all):
        return groups
    return _Pools(groups).result()


def _pool(group: Group) -> Node | None:
    """The node of a group that reads windows, if it takes something of each and none overlap."""
    if group.kind != "windows" or group.image is not None:
        return None
    for node in group.nodes:
        if isinstance(node.form, WindowReduce):
            fits = node.form.kind in _KINDS and _are_apart(node.form.axes)
            return node if fits else None
    return None


def _are_apart(axes: Sequence[WindowAxis]) -> bool:
    """Whether windows do not overlap, and have no border before them nor behind."""
    counts = [axis.taps for axis in axes]
    if not all(isinstance(count, int) for count in counts):
        return False
    along = all(
        axis.dilation == 1 and axis.before == 0 and axis.taps <= axis.step and _lie_inside(axis)
        for axis in axes
    )
    return along and 1 < prod(map(int, counts)) <= _MOST_TAPS


def _lie_inside(axis: WindowAxis) -> bool:
    """Whether the last window ends in the image, as far as sizes tell."""
    return is_at_least(axis.image, axis.step * (axis.windows - 1) + axis.reach + 1)


def _is_image(group: Group, axes: Sequence[WindowAxis]) -> bool:
    """Whether a group computes elements that may be evaluated tap by tap."""
    if group.reductions or group.columns or group.regions or group.keeps_axes or group.checked:
        return False
    if group.kind == "map":
        plain = group.transfer is None and group.parts is None and not group.copied
        return plain and all(isinstance(node.form, Pointwise) for node in group.nodes)
    for node in group.nodes:
        form = node.form
        if isinstance(form, WindowProduct) and group.kind == "windows" and group.image is None:
            apart = node.args[1].type.shape[1] == 1 and node.args[1].type.shape[0] == form.groups
            strips = form.result == "windows" and form.lies_in_strips and not apart
            if form.tiles:
                return strips and [axis.step for axis in axes] == [2, 2]
            return strips and len(axes) <= len(form.axes)
    return False


class _Pools(Regrouping):
    """Groups while pools go to their images."""

    def result(self) -> Groups:
        """The groups after that."""
        pools: dict[int, list[Group]] = {}
        for group in self._before.all:
            node = _pool(group)
            image = None if node is None else self._before.home(_read(self._before, node).base)
            if image is not None:
                pools.setdefault(image.number, []).append(group)
        for number, several in pools.items():
            self._merge_if_spared(self._before.by_number[number], several)
        if not self._into:
            return self._before
        owners = {key: self._final(number) for key, number in self._owners.items()}
        return replace(self._before, by_number=self._groups, owners=owners, known_reads={})

    def _merge_if_spared(self, image: Group, several: Sequence[Group]) -> None:
        axes = _axes(several[0])
        if not _is_image(image, axes) or not self._agree(image, several):
            return
        inside = {*image.nodes, *(node for each in several for node in each.nodes)}
        stored = [key for key in image.stored if not self._is_spared(key, inside)]
        whole = all(a.taps == a.step and a.windows * a.step == a.image for a in axes)
        shown = stored or any(Home(node) in self._before.roots for node in image.nodes)
        if len(stored) == len(image.stored) or (shown and not whole):
            return
        number = image.number
        self._groups[number] = replace(
            several[0],
            number=number,
            level=image.level,
            nodes=tuple(sorted(inside - {*image.nodes}, key=self._position.__getitem__)),
            stored=(*stored, *dict.fromkeys(key for each in several for key in each.stored)),
            instructions=sum(each.instructions for each in (image, *several)),
            image=replace(image, stored=tuple(stored)),
        )
        for each in several:
            self._into[each.number] = number
            del self._groups[each.number]

    def _agree(self, image: Group, several: Sequence[Group]) -> bool:
        """Whether all may be one kernel: of one geometry, phase and size, and nothing between."""
        first, axes = several[0], _axes(several[0])
        if image.domain == first.domain or any(
            (each.domain, each.phase, _axes(each)) != (first.domain, image.phase, axes)
            for each in several
        ):
            return False
        taps = prod(int(axis.taps) for axis in axes)
        if sum(each.instructions for each in several) + taps * image.instructions > _LARGEST:
            return False
        return all(
            self._may_be_read(read, image, several)
            for each in several
            for read in self._before.reads(each)
        )

    def _may_be_read(self, read: Read, image: Group, several: Sequence[Group]) -> bool:
        """Whether pools may read this in the kernel of their image: from it, or from memory."""
        source, home = read.source, self._before.home(read.source.base)
        if home is image:
            is_pool = isinstance(read.reader.form, WindowReduce)
            return is_pool and meets_elements(source, image.domain)
        if home in several:
            return read.elementwise and meets_elements(source, several[0].domain)
        return home is None or home.level < image.level

    def _is_spared(self, key: Key, inside: Collection[Node]) -> bool:
        """Whether nobody but these nodes needs what a group stores."""
        groups = self._before
        alone = isinstance(key, Home) and key not in groups.roots and key not in groups.kept
        return alone and all(user in inside for user in groups.users[key.node, 0])


def _read(groups: Groups, node: Node) -> Source:
    """What a pool reads."""
    return groups.source(node.args[0])


def _axes(group: Group) -> tuple[WindowAxis, ...]:
    forms = (node.form for node in group.nodes)
    return next(form.axes for form in forms if isinstance(form, WindowReduce))
