"""Pools in the kernel that computes their image, which then needs no memory.

A sum, a maximum or its place, of windows that do not overlap, reads each element of an image at
most once. If a convolution and what follows it, or a map, computes the image for nobody else, one
kernel of all stores the results of the windows, and not the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from staticgrad.compiler.fusion.engine import Engine
from staticgrad.compiler.fusion.groups import Group, Groups, Home, Read, meets_elements
from staticgrad.language.ir.forms import Pointwise, WindowAxis, WindowProduct, WindowReduce
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.dim import is_at_least
from staticgrad.support.records import replace

_KINDS: Final = ("sum", "max", "place")
#: Taps of a window, at most: each is an image evaluated, all of them one body of a loop.
_MOST_TAPS: Final = 16
#: Instructions of a kernel for a vector of windows, at most.
_LARGEST: Final = 400


def _pool(group: Group) -> Node | None:
    if group.kind != "windows" or group.image is not None:
        return None
    for node in group.nodes:
        if isinstance(node.form, WindowReduce):
            fits = node.form.kind in _KINDS and _are_apart(node.form.axes)
            return node if fits else None
    return None


def _are_apart(axes: Sequence[WindowAxis]) -> bool:
    counts = [axis.taps for axis in axes]
    if not all(isinstance(count, int) for count in counts):
        return False
    along = all(
        axis.dilation == 1 and axis.before == 0 and axis.taps <= axis.step and _lie_inside(axis)
        for axis in axes
    )
    return along and 1 < prod(map(int, counts)) <= _MOST_TAPS


def _lie_inside(axis: WindowAxis) -> bool:
    """Return whether the last window provably ends inside the image."""
    return is_at_least(axis.image, axis.step * (axis.windows - 1) + axis.reach + 1)


def _is_image(group: Group, axes: Sequence[WindowAxis]) -> bool:
    """Return whether a group computes elements that may be evaluated tap by tap."""
    if group.reductions or group.columns or group.regions or group.keeps_axes or group.checked:
        return False
    if group.kind == "map":
        plain = not group.transfers and group.parts is None and not group.copied
        return plain and all(isinstance(node.form, Pointwise) for node in group.nodes)
    for node in group.nodes:
        form = node.form
        if isinstance(form, WindowProduct) and group.kind == "windows" and group.image is None:
            apart = node.args[1].type.shape[1] == 1 and node.args[1].type.shape[0] == form.groups
            strips = form.result == "windows" and form.lies_in_strips and not apart
            if form.tiles:
                adjacent = [axis.dilation for axis in form.axes] == [1, 1]
                return strips and adjacent and [axis.step for axis in axes] == [2, 2]
            return strips and len(axes) <= len(form.axes)
    return False


def with_pools(engine: Engine, image: Group) -> tuple[int, ...]:
    """Merge the pools of an image into the group that computes it, if the image is stored less."""
    readers = sorted({n for key in image.stored for n in engine.readers.get(key, ())})
    several = [
        pool
        for pool in map(engine.groups.__getitem__, readers)
        if (node := _pool(pool))
        and engine.owners.get(engine.now.source(node.args[0]).base) == image.number
    ]
    if not several:
        return ()
    axes = _axes(several[0])
    if not _is_image(image, axes) or not _agree(engine.now, image, several):
        return ()
    numbers = {image.number, *(each.number for each in several)}
    stored = [key for key in image.stored if engine.is_needed(key, numbers)]
    whole = all(a.taps == a.step and a.windows * a.step == a.image for a in axes)
    shown = stored or any(Home(node) in engine.now.roots for node in image.nodes)
    if len(stored) == len(image.stored) or (shown and not whole):
        return ()
    if not engine.order.closed(numbers):
        return ()
    merged = replace(
        several[0],
        number=image.number,
        level=image.level,
        nodes=engine.in_order(node for each in several for node in each.nodes),
        stored=(*stored, *dict.fromkeys(key for each in several for key in each.stored)),
        instructions=sum(each.instructions for each in (image, *several)),
        image=replace(image, stored=tuple(stored)),
    )
    return engine.change([image, *several], [merged])


def _agree(groups: Groups, image: Group, several: Sequence[Group]) -> bool:
    """Return whether all may be one kernel: same geometry, phase and size."""
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
        _may_be_read(groups, read, image, several)
        for each in several
        for read in groups.reads(each)
    )


def _may_be_read(groups: Groups, read: Read, image: Group, several: Sequence[Group]) -> bool:
    """Return whether pools may read this in their image's kernel: from it, or from memory."""
    source, home = read.source, groups.home(read.source.base)
    if home is image:
        return isinstance(read.reader.form, WindowReduce) and meets_elements(source, image.domain)
    return home not in several or (read.elementwise and meets_elements(source, several[0].domain))


def _axes(group: Group) -> tuple[WindowAxis, ...]:
    forms = (node.form for node in group.nodes)
    return next(form.axes for form in forms if isinstance(form, WindowReduce))
