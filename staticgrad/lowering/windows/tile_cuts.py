"""How many tiles of a convolution an iteration takes, and how they lie.

What passes between the stages of an iteration stays in the second cache, which limits its tiles.
Products and combinations take whole vectors of them: of the cuts within the limit the cheapest one
has the least of both for a tile that counts.
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
#: Bytes of what the products read and write for the tiles of an iteration, about; and its tiles.
_NEAR: Final = 1 << 19
_FEWEST_TILES: Final = 64
_MOST_TILES: Final = 256
#: Iterations that there should be, and channels of one, of which a multiple is taken; and those of
#: one that are worth it that several iterations combine the same elements.
WANTED: Final = 4
_ROWS: Final = 16
_MANY: Final = 64
#: Vectors that are multiplied in the time in which a vector of tiles is combined, in one channel;
#: one that is not whole; and in which a vector of an image, or of results, is copied.
_COMBINED: Final = 70
_MASKED: Final = 140
_COPIED: Final = 12
#: Vectors of tiles that are multiplied in the time of any fewer: filters are read for all at once.
_FEWEST_VECTORS: Final = 2


@dataclass(frozen=True)
class Tiled:
    """What is computed in tiles: so many rows of so many, of so many images, and channels."""

    high: int
    wide: int
    images: int
    channels: tuple[int, int]
    dtype: DType


def tiled(node: Node) -> Tiled:
    """What a convolution in tiles, or the image of one, computes at likely sizes."""
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
    """Rows of tiles of so many images in an iteration; ``joined``: each row goes on in the next
    one, with a tile of border between them that nobody needs."""

    rows: int
    images: int
    joined: bool

    def tiles(self, of: Tiled) -> int:
        """The tiles of an iteration, with those of borders."""
        return self.images * self.rows * (of.wide + self.joined)

    def cost(self, of: Tiled) -> float:
        """What an image takes: multiplications of vectors."""
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
        """Strips of all images."""
        return -(-of.images // self.images) * -(-of.high // self.rows)

    def parts(self, of: Tiled) -> int:
        """Parts of the channels of the result, each an iteration of its own where strips are few:
        what is made of the image is made for each."""
        out, wanted = of.channels[0], -(-WANTED // self.iterations(of))
        return next(n for n in range(wanted, 0, -1) if n == 1 or out % (n * _ROWS) == 0)


def best_cut(of: Tiled) -> Cut:
    """The cheapest cut, of equal ones the one of fewest tiles: every worker has their scratch."""
    return min(_cuts(of), key=lambda cut: (cut.cost(of), cut.tiles(of)))


def _cuts(of: Tiled) -> Iterator[Cut]:
    """Strips of an image, each about as long as another one; several images where one is small."""
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
