"""Fuse pools with the kernel that computes their image, which is then not stored.

A pool (sum, max or argmax) over windows that do not overlap reads each element of an image at most
once. If nothing else reads the image, one kernel computes the image (by a convolution with its
epilogue, or by a map) and stores only the results of the windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from staticgrad.compiler.fusion.engine import Engine
from staticgrad.compiler.fusion.groups import Group, Groups, Read, ResultBuffer, meets_elements
from staticgrad.language.ir.forms import Pointwise, WindowAxis, WindowProduct, WindowReduce
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.dim import is_at_least
from staticgrad.support import fuses
from staticgrad.support.records import replace

_KINDS: Final = ("sum", "max", "place")


def _pool_of(group: Group) -> Node | None:
    """Return the pooling node of a group that may be fused with a convolution, or None."""
    if group.kind != "windows" or group.image is not None:
        return None
    for node in group.nodes:
        if isinstance(node.form, WindowReduce):
            fits = node.form.kind in _KINDS and _do_not_overlap(node.form.axes)
            return node if fits else None
    return None


def _do_not_overlap(axes: Sequence[WindowAxis]) -> bool:
    """Return True if a pool's windows are disjoint and inside of the image."""
    counts = [axis.taps for axis in axes]
    if not all(isinstance(count, int) for count in counts):
        return False
    along = all(
        axis.dilation == 1 and axis.before == 0 and axis.taps <= axis.step and _ends_inside(axis)
        for axis in axes
    )
    return along and prod(map(int, counts)) > 1


def _ends_inside(axis: WindowAxis) -> bool:
    """Return whether the last window provably ends inside the image."""
    return is_at_least(axis.image, axis.step * (axis.windows - 1) + axis.reach + 1)


def _is_image(group: Group, axes: Sequence[WindowAxis]) -> bool:
    """Return True if a group computes an image whose elements a pool may evaluate tap by tap."""
    if group.reductions or group.columns or group.regions or group.keeps_axes or group.checked:
        return False
    if group.kind == "map":
        plain = not group.transfers and group.cut is None and not group.copied
        return plain and all(isinstance(node.form, Pointwise) for node in group.nodes)
    for node in group.nodes:
        form = node.form
        if isinstance(form, WindowProduct) and group.kind == "windows" and group.image is None:
            depthwise = (
                node.args[1].type.shape[1] == 1 and node.args[1].type.shape[0] == form.groups
            )
            in_strips = form.result == "windows" and form.lies_in_strips and not depthwise
            if form.tiles:
                adjacent = [axis.dilation for axis in form.axes] == [1, 1]
                return in_strips and adjacent and [axis.step for axis in axes] == [2, 2]
            return in_strips and len(axes) <= len(form.axes)
    return False


def fuse_pools(engine: Engine, image: Group) -> tuple[int, ...]:
    """Fuse the pools of an image into the convolution that computes it, if that stores less."""
    readers = sorted({n for key in image.stored for n in engine.readers.get(key, ())})
    pools = [
        pool
        for pool in map(engine.groups.__getitem__, readers)
        if (node := _pool_of(pool))
        and engine.owners.get(engine.state.source(node.args[0]).base) == image.number
    ]
    if not pools:
        return ()
    axes = _axes(pools[0])
    if not _is_image(image, axes) or not _may_be_one_kernel(engine.state, image, pools):
        return ()
    numbers = {image.number, *(pool.number for pool in pools)}
    stored = [key for key in image.stored if engine.is_needed(key, numbers)]
    covers_image = all(a.taps == a.step and a.windows * a.step == a.image for a in axes)
    is_stored = stored or any(ResultBuffer(node) in engine.state.roots for node in image.nodes)
    if len(stored) == len(image.stored) or (is_stored and not covers_image):
        return ()
    if not engine.order.is_convex(numbers):
        return ()
    merged = replace(
        pools[0],
        number=image.number,
        level=image.level,
        nodes=engine.sort_nodes(node for pool in pools for node in pool.nodes),
        stored=(*stored, *dict.fromkeys(key for pool in pools for key in pool.stored)),
        instructions=sum(group.instructions for group in (image, *pools)),
        image=replace(image, stored=tuple(stored)),
    )
    return engine.change([image, *pools], [merged])


def _may_be_one_kernel(groups: Groups, image: Group, pools: Sequence[Group]) -> bool:
    """Return True if a convolution and its pools have one geometry, phase and size."""
    first, axes = pools[0], _axes(pools[0])
    if image.domain == first.domain or any(
        (pool.domain, pool.phase, _axes(pool)) != (first.domain, image.phase, axes)
        for pool in pools
    ):
        return False
    taps = prod(int(axis.taps) for axis in axes)
    if (
        sum(pool.instructions for pool in pools) + taps * image.instructions
        > fuses.WINDOW_INSTRUCTIONS
    ):
        return False
    return all(
        _may_be_read(groups, read, image, pools) for pool in pools for read in groups.reads(pool)
    )


def _may_be_read(groups: Groups, read: Read, image: Group, pools: Sequence[Group]) -> bool:
    """Return whether pools in the kernel of their image may read this: from it, or in memory."""
    source, home = read.source, groups.home(read.source.base)
    if home is image:
        return isinstance(read.reader.form, WindowReduce) and meets_elements(source, image.domain)
    return home not in pools or (read.elementwise and meets_elements(source, pools[0].domain))


def _axes(group: Group) -> tuple[WindowAxis, ...]:
    forms = (node.form for node in group.nodes)
    return next(form.axes for form in forms if isinstance(form, WindowReduce))
