"""Choose the kernel of a group that reads windows."""

from __future__ import annotations

from passes.late.windows import is_fed
from staticgrad.compiler.fusion.groups import Group, GroupValues
from staticgrad.compiler.lowering.operands import LoweredStep
from staticgrad.compiler.lowering.windows.channels import WindowChannels, is_by_channels
from staticgrad.compiler.lowering.windows.filters import (
    WindowFilterColumns,
    WindowFilters,
    WindowPoints,
    channels_by_columns,
)
from staticgrad.compiler.lowering.windows.maps import WindowMaps
from staticgrad.compiler.lowering.windows.places import WindowLowering
from staticgrad.compiler.lowering.windows.pooled import PooledMaps, PooledStrips, PooledTiles
from staticgrad.compiler.lowering.windows.products import WindowProducts
from staticgrad.compiler.lowering.windows.strips import (
    WindowColumns,
    WindowStrips,
    by_columns,
    has_phases,
)
from staticgrad.compiler.lowering.windows.tiles import WindowTileFilters, WindowTiles
from staticgrad.language.ir.forms import WindowProduct


def lower_windows(groups: GroupValues, group: Group) -> LoweredStep:
    """Return the kernel of a group that reads windows (convolution, pool)."""
    if group.image is not None:
        forms = (node.form for node in group.image.nodes)
        image = next((form for form in forms if isinstance(form, WindowProduct)), None)
        pooled = PooledTiles if image and image.tiles else PooledStrips
        return (pooled if image else PooledMaps).of_group(groups, group).lower()
    return _choose_lowering(groups, group)(groups, group).lower()


def _choose_lowering(groups: GroupValues, group: Group) -> type[WindowMaps | WindowProducts]:
    """Choose the class that lowers a convolution or pool: Winograd, depthwise, im2col, strips."""
    anchor = WindowLowering(groups, group).anchor
    form = anchor.form
    if not isinstance(form, WindowProduct):
        return WindowMaps
    if form.tiles:
        return WindowTileFilters if form.result == "filter" else WindowTiles
    if not form.parts and is_by_channels(anchor):
        return WindowChannels
    if channels_by_columns(anchor):
        return WindowFilterColumns
    if is_fed(form, anchor.types[0].dtype):
        return WindowFilters
    if form.parts:
        return WindowPoints
    if by_columns(anchor):
        return WindowColumns
    return WindowStrips if form.lies_in_strips or has_phases(form) else WindowProducts
