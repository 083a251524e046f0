"""Filter gradients of 3 x 3 convolutions in tiles, with fewer multiplications (Winograd).

The contribution of a tile of two by two results to the nine taps is F(3x3, 2x2) of the algorithm
in ``tiles``. The tile's four by four elements of the image are combined as there, and its results
are combined, too (``_GIVEN``). Sixteen products are summed over all tiles of all images; sums of
these are the taps. An iteration has some channels of each side, and loops over the batch, a strip
of an image at a time; the sums stay in L2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr
from staticgrad.ir.kernels.stages import Axis, Gemm, Keep, Loop, Map, Scalar, Store
from staticgrad.lowering.operands import VECTOR, LoweredStep
from staticgrad.lowering.windows.places import AxisPlace, along, ends
from staticgrad.lowering.windows.tile_cuts import RESULTS
from staticgrad.lowering.windows.tiles import COMBINED, SIDE, WindowTiles, both_ways
from staticgrad.ops.convolution import CHANNELS_TOGETHER
from staticgrad.types.arrays import hint_value
from staticgrad.types.dim import Size

#: The signs of the combinations of two results.
_GIVEN: Final = ((1, 0), (1, 1), (1, -1), (0, 1))
#: Tiles of a strip, about: the combinations of a strip stay in L2, or nearly.
_TILES: Final = 256
#: Iterations that there should be, and channels of one, at least.
_WANTED: Final = 2
_FEWEST: Final = 16
#: The scratch: the strip of an image with its border, its combinations, those of the results, sums.
_GIVENS, _SUMS = 2, 3


class WindowTileFilters(WindowTiles):
    """The state of lowering such a gradient; its first axis has the parts of the batch."""

    def lowered(self) -> LoweredStep:
        """Return the kernel: combinations and products, image by image, then the taps."""
        self.read, self.given = (self.groups.source(arg) for arg in self.anchor.args)
        self.dtype = self.anchor.types[0].dtype
        self.over_windows = True
        parts, self.result, self.channels = self.group.domain[:3]
        self.batch = self.read.type.shape[0]
        self._cut_strips()
        self._cut_channels(int(parts))
        self.outer = [
            self.loop(f"i{n}", extent)
            for n, extent in enumerate(
                (parts, -(-self.result // self.each), -(-self.channels // self.inner))
            )
        ]
        self.n, self.strip = self._fresh(), self._fresh()
        stages = (self._copied(), self._combined(), self._givens(), self._products())
        strips = Loop(self.loop(self.strip, self.strips), (), stages, ())
        left = self.size(self.batch) - ex.index("i0") * self.size(self.part)
        count = Axis(self.n, self.extent(self.part), "r0")
        images = Loop(count, (), (strips,), ())
        kept = Scalar((Keep("r0", left),))
        return self.finish((self._zeros(), kept, images, self._nine()), self.outer)

    def _cut_strips(self) -> None:
        high, self.wide = (-(-axis.windows // RESULTS) for axis in self.form.axes)
        rows, wide = (max(1, hint_value(size)) for size in (high, self.wide))
        strips = -(-rows // max(1, _TILES // wide))
        self.there, self.rows = 1, -(-rows // strips)
        self.strips: Size = -(-high // self.rows)
        self.joined, self.pitch = False, self.wide
        self.run = self.tiles = self.rows * self.wide

    def _cut_channels(self, parts: int) -> None:
        """Set the images of a part, and the channels of an iteration on both sides: fewer than the
        maximum if there are too few parts of the batch."""
        self.part = -(-self.batch // parts)
        out, channels = hint_value(self.result), hint_value(self.channels)
        shares = [-(-count // CHANNELS_TOGETHER) for count in (out, channels)]
        each = max(1, hint_value(self.part))
        around = -(-max(1, hint_value(self.batch)) // each)
        for side, count in ((1, channels), (0, out)):
            while around * shares[0] * shares[1] < _WANTED and count >= shares[side] * 2 * _FEWEST:
                shares[side] *= 2
        self.each, self.inner = -(-out // shares[0]), -(-channels // shares[1])

    # -- places -----------------------------------------------------------------------------------

    def _image_of(self, loop: str) -> AxisPlace:
        return AxisPlace((("i0", self.part), (self.n, 1)), 0, self.batch, within=True)

    def _read_channel(self, loop: str) -> AxisPlace:
        return _share("i2", self.inner, loop, self.channels)

    def _channel_of(self, loop: str) -> AxisPlace:
        return _share("i1", self.each, loop, self.result)

    def _added(self, t: str, o: str, start: Size = 0) -> Access:
        moved = ((t, self.each * self.inner),) if t else ()
        return self._scratch(_SUMS, (*moved, (o, self.inner), (VECTOR, 1)), start)

    # -- stages -----------------------------------------------------------------------------------

    def _zeros(self) -> Map:
        """Return the map that sets the sums to 0."""
        t, o = self._fresh(), self._fresh()
        store = Store(self._added(t, o), ex.literal(0, self.dtype))
        rows = (Axis(t, SIDE**2), self.loop(o, self.each))
        return Map(self.loop(VECTOR, self.inner), (store,), rows)

    def _givens(self) -> Map:
        o, image, row = self._fresh(), self._fresh(), self._fresh()
        high, wide = self.form.axes

        def given(a: int, b: int) -> Expr:
            terms: tuple[tuple[str, Size], ...] = (
                (self.strip, RESULTS * self.rows),
                (row, RESULTS),
            )
            low = a + RESULTS * (self.rows * self.strips - 1)
            last = b + RESULTS * (self.wide - 1)
            down = AxisPlace(terms, a, ends(a, low, high.windows))
            place = AxisPlace(((VECTOR, RESULTS),), b, ends(b, last, wide.windows))
            lead = (self._image_of(image), self._channel_of(o))
            return self.element(self.given, (*lead, down, place))

        square = [[given(a, b) for b in range(RESULTS)] for a in range(RESULTS)]
        to = self._tile(o, image, row)
        stores = [
            Store(self._scratch(_GIVENS, to, number * self.apart(self.each)), value)
            for number, value in enumerate(both_ways(_GIVEN, square))
        ]
        return self._over((o, self.each), image, (row, self.rows), self.wide, stores)

    def _products(self) -> Loop:
        t = self._fresh()
        a = self._scratch(_GIVENS, ((t, self.apart(self.each)), ("i", self.tiles), ("k", 1)))
        b = self._scratch(COMBINED, ((t, self.apart(self.inner)), ("k", 1), (VECTOR, self.tiles)))
        to = self._added(t, "i")
        value = ex.load(to, self.dtype) + ex.ref("acc", self.dtype)
        i, j = self.loop("i", self.each), self.loop(VECTOR, self.inner)
        product = Gemm((i,), (j,), (self.loop("k", self.tiles),), a, b, (Store(to, value),))
        return Loop(Axis(t, SIDE**2), (), (product,), ())

    def _nine(self) -> Map:
        o = self._fresh()
        size = self.each * self.inner
        sums = [
            [ex.load(self._added("", o, (a * SIDE + b) * size), self.dtype) for b in range(SIDE)]
            for a in range(SIDE)
        ]
        down = [_three(column) for column in zip(*sums, strict=True)]
        taps = [_three(row) for row in zip(*down, strict=True)]
        stores: list[Store] = []
        for number, value in enumerate(tap for row in taps for tap in row):
            mine = self._channel_of(o)
            other = self._read_channel(VECTOR)
            places = (AxisPlace((), k) for k in divmod(number, 3))
            self.move_to((*along("i0"), mine, other, *places))
            stores += self.stores(value)
        return Map(self.loop(VECTOR, self.inner), tuple(stores), (self.loop(o, self.each),))


def _share(outer: str, each: Size, loop: str, every: Size) -> AxisPlace:
    """Return the channel at a loop over the channels of an iteration; the last may have fewer."""
    last = each * (-(-every // each)) - 1
    return AxisPlace(((outer, each), (loop, 1)), 0, ends(0, last, every))


def _three(given: Sequence[Expr]) -> tuple[Expr, Expr, Expr]:
    first, plus, minus, last = given
    half = ex.literal(0.5, first.dtype)
    both = (plus + minus) * half
    return first + both, (plus - minus) * half, both - last
