"""No kernel computes with scratch that nobody has written, not even what it throws away.

Such bytes may be subnormal numbers, whose arithmetic takes a hundred times as long. Scratch is
filled with them before each kernel, and MXCSR says whether one was an operand.
"""

import ctypes

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.native.constants import ROW_WORDS
from staticgrad.runtime.step import Table, nothing
from tests.safety.fenced_programs import PROGRAMS
from tests.safety.mxcsr import DEFAULT, only_x86, register

_CALL = ctypes.PYFUNCTYPE(None, *[ctypes.c_int64] * 4)
_SUBNORMAL_OPERAND = 2
#: An integer that is subnormal as f32, and twice as f64.
_SMALL = 77


class _Watched(Table):
    """A table that runs kernel by kernel; ``told`` are the positions whose operands, other than
    scratch as it was found, were or were not subnormal numbers."""

    def __init__(self, program, plan, filled):
        super().__init__(program, plan)
        self.told = {}
        self._filled = filled

    def run(self, arena, begin_writing=nothing):
        self._all = arena.array(0, np.dtype(np.int32), (self.plan.peak_bytes // 4,))
        super().run(arena, begin_writing)

    def _call(self, first, last):
        for position in range(first, last):
            for p in self.plan.placements:
                if p.first == position and self.plan.schedule.buffer(p.buffer).role == "scratch":
                    self._all[p.offset // 4 : (p.offset + p.nbytes) // 4] = self._filled
            self.told[position] = self._has_subnormals(position)

    def _has_subnormals(self, position):
        mxcsr, words = register(), self._words
        before = mxcsr.get()
        mxcsr.set(DEFAULT)
        try:
            for row in range(*words.first_rows[position : position + 2]):
                at = words.address + 8 * ROW_WORDS * row
                function, record, own, total = (ctypes.c_int64 * 4).from_address(at)
                assert function, "a loop's rows are not to be run one by one"
                _CALL(function)(record, self._block + own, 0, total)
            return bool(mxcsr.get() & _SUBNORMAL_OPERAND)
        finally:
            mxcsr.set(before)


def kernels_with_subnormals(f, feeds, filled):
    """The positions of the plan that computed with one."""
    tables = []

    def make(program, plan):
        tables.append(_Watched(program, plan, filled))
        return tables[-1]

    f._executor.with_tables(make).run(feeds)
    return {position for position, told in tables[-1].told.items() if told}


def check_scratch(f, feeds):
    assert kernels_with_subnormals(f, feeds, _SMALL) == kernels_with_subnormals(f, feeds, 0)


@only_x86
def test_a_subnormal_operand_is_seen():
    x = sg.input("x", ("n",), "float32")
    f = sg.compile(x + 1.0, threads=1)
    assert kernels_with_subnormals(f, {"x": np.full(5, 1e-40, "float32")}, 0) == {0}
    assert not kernels_with_subnormals(f, {"x": np.full(5, 1e-30, "float32")}, 0)


@pytest.mark.slow
@only_x86
@pytest.mark.parametrize("name", ["products at tile tails", "a training step", "attention"])
def test_of_programs(name):
    graph, given = PROGRAMS[name]()
    *_, feeds = given
    check_scratch(sg.compile(graph, threads=1), feeds)


@pytest.mark.thinned(2)
@only_x86
@pytest.mark.parametrize(
    "geometry",
    [
        (1, 32, 16, (14, 15), ((1, 1), (1, 1)), 2),
        (9, 16, 48, (16, 14), ((2, 2), (1, 1)), 2),
    ],
    ids=str,
)
def test_of_tiles_and_their_gradients(geometry):
    batch, channels, results, image, pads, _ = geometry
    rng = np.random.default_rng(0)
    x, w = sg.input("x", (batch, channels, *image)), sg.input("w", (results, channels, 3, 3))
    loss = sg.square(sg.nn.conv(x, w, padding=pads)).sum()
    f = sg.compile({"loss": loss, **dict(zip("xw", sg.grad(loss, [x, w]), strict=True))}, threads=1)
    check_scratch(f, {v.node.label: rng.normal(size=v.shape).astype("f4") for v in (x, w)})
