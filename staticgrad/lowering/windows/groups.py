"""The choice of the kernel of a group that reads windows."""

from __future__ import annotations

from staticgrad.fusion.groups import Group, GroupValues
from staticgrad.ir.forms import WindowProduct
from staticgrad.lowering.operands import LoweredStep
from staticgrad.lowering.windows.channels import WindowChannels, is_by_channels
from staticgrad.lowering.windows.filters import (
    WindowFilterColumns,
    WindowFilters,
    WindowPoints,
    channels_by_columns,
)
from staticgrad.lowering.windows.maps import WindowMaps
from staticgrad.lowering.windows.places import WindowLowering
from staticgrad.lowering.windows.pooled import PooledMaps, PooledStrips, PooledTiles
from staticgrad.lowering.windows.products import WindowProducts
from staticgrad.lowering.windows.strips import WindowColumns, WindowStrips, by_columns, has_phases
from staticgrad.lowering.windows.tiles import WindowTileFilters, WindowTiles
from staticgrad.preparation.windows import is_fed


def lower_windows(groups: GroupValues, group: Group) -> LoweredStep:
    """Return the kernel of a group that reads windows."""
    if group.image is not None:
        return _pooled(group.image).over(groups, group).lowered()
    anchor = WindowLowering(groups, group).anchor
    if isinstance(anchor.form, WindowProduct):
        if anchor.form.tiles:
            of_filter = anchor.form.result == "filter"
            return (WindowTileFilters if of_filter else WindowTiles)(groups, group).lowered()
        if not anchor.form.parts and is_by_channels(groups, group):
            return WindowChannels(groups, group).lowered()
        if channels_by_columns(anchor):
            return WindowFilterColumns(groups, group).lowered()
        if is_fed(anchor.form, anchor.types[0].dtype):
            return WindowFilters(groups, group).lowered()
        if anchor.form.parts:
            return WindowPoints(groups, group).lowered()
        if by_columns(anchor):
            return WindowColumns(groups, group).lowered()
        strips = anchor.form.lies_in_strips or has_phases(anchor.form)
        return (WindowStrips if strips else WindowProducts)(groups, group).lowered()
    return WindowMaps(groups, group).lowered()


def _pooled(image: Group) -> type[PooledMaps | PooledStrips | PooledTiles]:
    forms = (node.form for node in image.nodes)
    form = next((each for each in forms if isinstance(each, WindowProduct)), None)
    if form is None:
        return PooledMaps
    return PooledTiles if form.tiles else PooledStrips
