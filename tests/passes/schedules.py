"""Run a schedule as the debug mode runs plans: each kernel watched, in a guarded copy."""

import numpy as np

from staticgrad import native
from staticgrad.backends import source_of
from staticgrad.compiler.memory.planner import plan
from staticgrad.compiler.runtime.arena import Arena
from staticgrad.compiler.runtime.guard import GuardedTable
from staticgrad.compiler.runtime.step import Program
from staticgrad.language.ir.verify_schedule import verify_schedule
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.dim import evaluate


def run_schedule(schedule, graph, feeds, sizes):
    """Outputs by name, and parameters after the run as ``@name``; the stores are not touched.

    Raises:
        KernelAccessError: a kernel touched what it may not.
    """
    verify_schedule(schedule)
    stores = {p.name: ParameterStore(p.name, p.value) for p in graph.parameters}
    kernels = {kernel: native.kernel(source_of(kernel)) for kernel in schedule.kernels}
    table = GuardedTable(Program(schedule, kernels, stores, native.driver()), plan(schedule, sizes))
    arrays_fed = {}
    for buffer in schedule.buffers:
        if buffer.role == "input":
            feed = np.asarray(feeds[buffer.label]).astype(buffer.dtype.numpy)
            arrays_fed[buffer.name] = np.ascontiguousarray(feed)
            table.bind(buffer.name, arrays_fed[buffer.name].ctypes.data)
    arrays = {}
    for name, output in schedule.outputs:
        kind = graph.outputs[name].type
        extents = [evaluate(extent, sizes) for extent in kind.shape]
        arrays[output] = np.empty(extents, kind.dtype.numpy)
    for output, array in arrays.items():
        table.bind(output, array.ctypes.data)
    table.run(Arena())
    results = {name: arrays[output].copy() for name, output in schedule.outputs}
    return results | {f"@{name}": store.read() for name, store in stores.items()}
