"""The number of tiles of a convolution in an iteration, and their layout.

The data passed between the stages of an iteration stays in L2, which limits its tiles. Products
and combinations process whole vectors of tiles. The cheapest cut within the limit has the lowest
cost of both for each useful tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from staticgrad.ir.forms import WindowProduct
from staticgrad.ir.graph import Node
from staticgrad.records import dataclass
from staticgrad.types.arrays import hint_value
from staticgrad.types.dtype import DType

#: Results of a tile along an axis.
RESULTS: Final = 2
#: Combinations of a tile, for which products are made.
COMBINATIONS: Final = 16
#: Bytes that the products read and write for the tiles of an iteration, about; and its tiles.
_NEAR: Final = 1 << 19
_FEWEST_TILES: Final = 64
_MOST_TILES: Final = 256
#: Desired iterations; the channels of an iteration are a multiple of ``_ROWS``; from ``_MANY``
#: channels each it pays that several iterations combine the same elements.
WANTED: Final = 4
_ROWS: Final = 16
_MANY: Final = 64
#: Costs in multiplications of vectors, for one channel: to combine a vector of tiles; to combine
#: a partial vector; to copy a vector of an image or of results.
_COMBINED: Final = 70
_MASKED: Final = 140
_COPIED: Final = 12
#: Fewer vectors of tiles than this take the same time: filters are read once for all.
_FEWEST_VECTORS: Final = 2


@dataclass(frozen=True)
class Tiled:
    """The result in tiles: rows of tiles, tiles of a row, images, channels (out, in), dtype."""

    high: int
    wide: int
    images: int
    channels: tuple[int, int]
    dtype: DType


def tiled(node: Node) -> Tiled:
    """Return the tiles of a convolution, or of the image of one, at likely sizes."""
    form = node.form
    assert isinstance(form, WindowProduct)
    of_image = form.result == "image"
    first, second = (hint_value(size) for size in node.args[1].type.shape[:2])
    extents = [hint_value(axis.image if of_image else axis.windows) for axis in form.axes]
    high, wide = (max(1, -(-extent // RESULTS)) for extent in extents)
    images = max(1, hint_value(node.args[0].type.shape[0]))
    channels = (second, first) if of_image else (first, second)
    return Tiled(high, wide, images, channels, node.types[0].dtype)


@dataclass(frozen=True)
class Cut:
    """Rows of tiles and images in an iteration; ``joined``: rows are contiguous, with an unused
    tile of border between them."""

    rows: int
    images: int
    joined: bool

    def tiles(self, of: Tiled) -> int:
        """Return the number of tiles of an iteration, with those of borders."""
        return self.images * self.rows * (of.wide + self.joined)

    def cost(self, of: Tiled) -> float:
        """Return the cost per image in multiplications of vectors."""
        lanes = of.dtype.lanes
        out, inner = of.channels
        vectors = max(_FEWEST_VECTORS, -(-self.tiles(of) // lanes))
        runs, run = (1, self.rows * (of.wide + 1)) if self.joined else (self.rows, of.wide)
        combined = runs * (run // lanes * _COMBINED + (run % lanes > 0) * _MASKED)
        row = -(-RESULTS * of.wide // lanes) * RESULTS * _COPIED
        strips, parts = -(-of.high // self.rows), self.parts(of)
        given = parts * inner * (combined + (self.rows + 1) * row)
        around = given + out * (combined + self.rows * row)
        idle = max(1.0, WANTED / (self.iterations(of) * parts))
        again = -(-of.images // self.images) * self.images / of.images
        multiplied = vectors * COMBINATIONS * out * inner / self.images
        return (multiplied + around) * strips * idle * again

    def iterations(self, of: Tiled) -> int:
        """Return the number of strips of all images."""
        return -(-of.images // self.images) * -(-of.high // self.rows)

    def parts(self, of: Tiled) -> int:
        """Return the number of parts of the result's channels, each a separate iteration if there
        are few strips; the image is copied and combined for each part."""
        out, wanted = of.channels[0], -(-WANTED // self.iterations(of))
        return next(n for n in range(wanted, 0, -1) if n == 1 or out % (n * _ROWS) == 0)


def best_cut(of: Tiled) -> Cut:
    """Return the cheapest cut; if equal, that of fewest tiles: each worker has scratch for them."""
    return min(_cuts(of), key=lambda cut: (cut.cost(of), cut.tiles(of)))


def _cuts(of: Tiled) -> Iterator[Cut]:
    moved = sum(of.channels) * COMBINATIONS * of.dtype.itemsize
    most = max(_FEWEST_TILES, min(_NEAR // moved, _MOST_TILES))
    for kind in (False, True):
        for rows in range(1, max(1, min(of.high, most // (of.wide + kind))) + 1):
            yield Cut(-(-of.high // -(-of.high // rows)), 1, kind)
        shared = of.channels[0] >= WANTED * _MANY
        for images in range(2, (of.images if shared else of.images // WANTED) + 1):
            cut = Cut(of.high, images, kind)
            if cut.tiles(of) > most:
                break
            yield cut
