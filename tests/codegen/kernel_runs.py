"""Kernels run by any reader, on memory made for them."""

import numpy as np

from staticgrad.native.machine import Machine
from tests.exporting.printed import run_printed
from tests.native.support import call, source_for


def of_width(bits):
    """A machine with registers of so many bits; None, which stands for this one, for None."""
    return None if bits is None else Machine(vector_bits=bits)


def run(kernel, sizes, mode, arrays, vector_bits=None):
    """Return the operands after all iterations; those that are not in ``arrays`` are allocated."""
    room = kernel.room(sizes)
    allocated = {
        o.name: np.full(room[o.name], np.nan, o.dtype.numpy)
        for o in kernel.operands
        if o.name in room
    }
    memory = {**allocated, **arrays}
    if mode == "file":
        run_printed(kernel, memory, dict(zip(kernel.arguments, sizes, strict=True)))
        return memory
    shared = [memory[o.name] for o in kernel.operands if not o.is_own]
    private = [memory[o.name] for o in kernel.operands if o.is_own]
    count = kernel.iterations(sizes)
    source = source_for(kernel, mode, of_width(vector_bits))
    call(source, shared, sizes, 0, count, private=private, mode=mode)
    return memory


def assert_close(actual, true, tolerance=3e-6):
    """Within some units of the largest element."""
    scale = max(np.abs(true).max(initial=0), 1e-30)
    np.testing.assert_allclose(actual / scale, true.reshape(actual.shape) / scale, atol=tolerance)
