"""Fuse pools into the kernel that computes their image: the taps are elements in registers.

Windows that do not overlap read each element of an image at most once. So the kernel that computes
the image evaluates it at each tap of a window, and computes the sum, the maximum, or its index. The
image is stored, tap by tap, only if another kernel reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Final, Self

from staticgrad.compiler.fusion.groups import Group, GroupValues, Key, ResultBuffer
from staticgrad.compiler.lowering.operands import LoweredStep
from staticgrad.compiler.lowering.windows.maps import argmax_of_values, max_of_values, sum_of_values
from staticgrad.compiler.lowering.windows.places import (
    AffineIndex,
    WindowLowering,
    loop_indices,
    map_over,
)
from staticgrad.compiler.lowering.windows.strips import RESULT, WindowStrips
from staticgrad.compiler.lowering.windows.tiles import RESULTS, TILES, WindowTiles
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Expr, Position
from staticgrad.language.ir.forms import WindowAxis, WindowReduce
from staticgrad.language.ir.kernels.stages import Axis, Map, Store
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType
from staticgrad.support.records import replace

#: The offset of a tap from the first one of its window, along each axis.
Tap = tuple[int, ...]
#: The indices of a tap in the image, and the element of the product there, if there is one.
At = tuple[Sequence[AffineIndex], Expr | None]


class _Pooled(WindowLowering):
    pools: Group

    @classmethod
    def of_group(cls, groups: GroupValues, group: Group) -> Self:
        assert group.image is not None
        nodes = {*group.image.nodes}
        stored = tuple(key for key in group.stored if key.node in nodes)
        lowering = cls(groups, replace(group.image, stored=stored))
        lowering.pools = group
        return lowering

    @property
    def windows(self) -> tuple[WindowAxis, ...]:
        forms = (node.form for node in self.pools.nodes)
        return next(form.axes for form in forms if isinstance(form, WindowReduce))

    def steps(self, count: int) -> list[int]:
        steps = [axis.step for axis in self.windows]
        return [1] * (count - len(steps)) + steps

    def taps(self, count: int) -> list[Tap]:
        taps = product(*(range(int(axis.taps)) for axis in self.windows))
        return [(0,) * (count - len(self.windows)) + tap for tap in taps]

    def pool_elements(
        self, taps: Sequence[Tap], image: Callable[[Tap], At], indices: Sequence[AffineIndex]
    ) -> tuple[Store, ...]:
        """Return the stores of a convolution's elements and of the pool fused with it."""
        pools = [node for node in self.pools.nodes if isinstance(node.form, WindowReduce)]
        read = [self.groups.source(node.args[0]) for node in pools]
        taps_by_image: dict[Key, list[Expr]] = {source.base: [] for source in read}
        stores: list[Store] = []
        for tap in taps:
            at, anchor = image(tap)
            self.move_to(at)
            self.evaluate(anchor)
            for source in dict.fromkeys(read):
                taps_by_image[source.base].append(self.wide_value(source))
            stores += self._make_stores()
        self.group = self.pools
        self.move_to(indices)
        for node in self.pools.nodes:
            if isinstance(node.form, WindowReduce):
                dtype, base = node.types[0].dtype, self.groups.source(node.args[0]).base
                self.memo[ResultBuffer(node)] = _POOLED[node.form.kind](
                    taps_by_image[base], dtype
                ).cast(dtype)
            else:
                self.memo[ResultBuffer(node)] = self.scalar(node)
        return (*stores, *self._make_stores())

    def _make_stores(self) -> list[Store]:
        # The pools' group lists the stored values of the image, too.
        stored_keys = [key for key in self.group.stored if key.node in self.group.nodes]
        return [self.store_value(key, walk) for key, walk in self.whole_walks(stored_keys)]


class PooledStrips(_Pooled, WindowStrips):
    """Pools over the results of a convolution, strip by strip."""

    def _choose_strip(self) -> tuple[int, int]:
        step, (strip, images) = self.steps(len(self.axes))[0], super()._choose_strip()
        return -(-strip // step) * step, images

    def _epilogue_stage(self, phases: Sequence[int], has_taps: Sequence[bool]) -> Map:
        """Return the epilogue that pools a convolution's strip before it is stored."""
        count = len(self.axes)
        steps, windows = self.steps(count), self.pools.domain[2:]
        strip = self.strip // steps[0]
        i, loops = self.loop(self.channel_count), self.nest(strip, *windows[1:])
        leading = (*loop_indices(self.n), self._channel(i, self.g))

        def image(tap: Tap) -> At:
            terms = (self.strips, self.strip), (loops[0], steps[0])
            first = self.affine_index(*terms, start=tap[0], extent=self.axes[0].result_count)
            others = zip(loops[1:], steps[1:], tap[1:], strict=True)
            inner = [self.affine_index((loop, step), start=start) for loop, step, start in others]
            return (*leading, first, *inner), self._load_result(i, loops, tap)

        first = self.affine_index((self.strips, strip), (loops[0], 1), extent=windows[0])
        indices = (*leading, first, *loop_indices(*loops[1:]))
        return map_over([i, *loops], self.pool_elements(self.taps(count), image, indices))

    def _load_result(self, i: Axis, loops: Sequence[Axis], tap: Tap) -> Expr:
        """Load a convolution's result in a strip at a tap of the pool."""
        steps = self.steps(len(loops))
        moves: list[tuple[Axis | None, Size]] = [(i, self.panels)]
        start: Size = sum(
            k * stride for k, stride in zip(tap[:-1], self.plane_strides[:-1], strict=True)
        )
        for loop, step, stride in zip(loops[:-1], steps[:-1], self.plane_strides[:-1], strict=True):
            moves.append((loop, step * stride))
        positions = [Position(((loops[-1].name, steps[-1]),), tap[-1])] * (steps[-1] != 1)
        moves += [(loops[-1], 1)] * (steps[-1] == 1)
        dtype = self.dtype.compute
        access = self.scratch_access(RESULT, moves, start, *positions, dtype=dtype)
        return ex.load(access, dtype).cast(self.dtype)


class PooledTiles(_Pooled, WindowTiles):
    """Pools over tiles of two by two results: each tile is a window, or contains one."""

    def _epilogue_stage(self) -> Map:
        """Return the epilogue that pools the results of Winograd tiles before they are stored."""
        high, wide = self.pools.domain[2:]
        loops = o, n, row, column = self.nest(self.channel_count, self.image_count, self.rows, wide)
        leading = self._lead_indices(n, self._channel_of(o))

        def image(tap: Tap) -> At:
            odd, index = tap
            across = self.affine_index((column, RESULTS), start=index)
            sums, start = self._result_moves(o, n, row), odd * RESULTS * self.run
            result = self._load_every_second(TILES, sums, start, index, column)
            return (*leading, self._row(row, odd), across), result

        first = self.affine_index((self.strip, self.rows), (row, 1), extent=high)
        indices = (*leading, first, *loop_indices(column))
        return map_over(loops, self.pool_elements(self.taps(2), image, indices))


class PooledMaps(_Pooled):
    """Pools over elements that are computed from others, without a product."""

    def lower(self) -> LoweredStep:
        """Return the kernel of a depthwise convolution with its pool: a map over windows."""
        domain = self.pools.domain
        loops, steps = self.nest(*domain), self.steps(len(domain))

        def image(tap: Tap) -> At:
            axis_loops = zip(loops, steps, tap, strict=True)
            return [
                self.affine_index((loop, step), start=start) for loop, step, start in axis_loops
            ], None

        stores = self.pool_elements(self.taps(len(domain)), image, loop_indices(*loops))
        leading = len(domain) - len(self.windows) or len(domain) - 1
        return self.finish([map_over(loops[leading:], stores)], loops[:leading])


_POOLED: Final[dict[str, Callable[[Sequence[Expr], DType], Expr]]] = {
    "sum": lambda values, _: sum_of_values(values),
    "max": lambda values, _: max_of_values(values),
    "place": argmax_of_values,
}
