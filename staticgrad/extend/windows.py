"""Windows over the last axes of images: their arguments, strides and borders."""

from staticgrad.functions.windows import (
    Padding,
    PerAxis,
    Windows,
    literal_taps,
    per_axis,
    reach,
    spatial,
    windows_over,
)

# fmt: off
__all__ = [
    "literal_taps", "Padding", "per_axis", "PerAxis", "reach", "spatial", "Windows",
    "windows_over",
]
# fmt: on
