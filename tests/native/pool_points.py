"""A pool of a test's own, whose workers a test may stop at each claim."""

import ctypes
import functools
from contextlib import contextmanager

import numpy as np

from staticgrad import native
from staticgrad.native import loader
from staticgrad.native.table import pool_code
from staticgrad.native.table.pool import Pool

_HOOK = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)

#: Adds 1 to the elements of each row, and writes which rows a worker ran: ``own[0]`` counts them.
COUNTING = """
def kernel(t, own, begin, end):
    p0 = ptr_i64(t[0])
    mine = ptr_i64(own[0])
    n = t[1]
    for o in range(begin, end):
        for j in range(0, n, 8):
            m = mask8(n - j)
            store(p0, o * n + j, load(p0, o * n + j, m) + i64x8(1), m)
    store1(mine, 0, load1(mine, 0) + (end - begin))
"""


@functools.cache
def runs_with_points(looks):
    """The address of the pool's code with a call of its hook at each claim.

    Who has finished its own part looks so often whether others' have begun, where they are kept.
    """
    code = pool_code.code(loader.host().triple, points=True, looks=looks)
    return native.address_of(code._replace(symbol=f"{code.symbol}_{looks}"))


@contextmanager
def pool_of(threads, hook=None, penalties=False, looks=pool_code.KEPT_LOOKS):
    """A pool with so many threads; with a ``hook``, its code has points, where workers call it.

    Without ``penalties`` it has patience with stalls, which a busy machine makes at any time.
    """
    pool = Pool(native.shared_runs() if hook is None else runs_with_points(looks))
    if not penalties:
        pool.set("patience", 2**62)
    pool.want(threads)
    called = _HOOK(hook or (lambda worker, point: None))
    pool.set("hook", ctypes.cast(called, ctypes.c_void_p).value or 0)
    try:
        yield pool
    finally:
        pool.end()


class Counted:
    """A table whose rows count what they do: of each element how often, and of each worker."""

    def __init__(
        self, pool, workers, totals, grain=1, sections=(), wakes=True, measures=0, flags=0
    ):
        """``sections``: how many rows each section has; by default each row is one.

        ``measures``: whether the driver finds out if sharing is faster, or always shares.
        ``flags``: those of every section, beside what ``wakes``.
        """
        flags |= wakes * pool_code.WAKES
        code = native.kernel(COUNTING)
        self.elements = [np.zeros((total, 20), np.int64) for total in totals]
        self.counts = np.zeros((workers, 8), np.int64)
        self._records = [np.array([e.ctypes.data, 20], np.int64) for e in self.elements]
        rows_, at = [], 0
        for length in sections or [1] * len(totals):
            first = 0
            for inside in range(length):
                record = self._records[at].ctypes.data
                rows_.append(
                    native.Row(
                        code.address, record, 8 * native.HEAD_WORDS, totals[at], grain,
                        length - inside, first, flags,
                    )
                )  # fmt: skip
                first += -(-totals[at] // grain) if grain else 1
                at += 1
        self.table = np.array(rows_, np.int64)
        self.blocks = np.zeros((workers, 24), np.int64)
        address = 0 if pool is None else pool.address
        stride = self.blocks.strides[0]
        head = native.Head(self.table.ctypes.data, address, stride, workers, measures)
        self.blocks[0, : len(head)] = head
        self.blocks[:, native.HEAD_WORDS] = [self.counts[w].ctypes.data for w in range(workers)]

    def run(self, driver, times=1):
        """Run all rows, so many times."""
        for _ in range(times):
            driver(self.blocks.ctypes.data, 0, len(self.table))

    def check(self, times):
        """Each element was counted once in each run, and the workers have run all rows together."""
        for elements in self.elements:
            np.testing.assert_array_equal(elements, times)
        assert self.counts[:, 0].sum() == times * sum(len(e) for e in self.elements)
