"""A process of the table of first results.

    python -m benchmarks.compile_time.first_result LIBRARY PROGRAM CACHE [stages]

It prints a row as JSON, times from the start of the interpreter to the first result. The modules of
the benchmark and the arrays of the program come between NumPy and the library, and their time is
taken off. With ``stages`` ours is counted by stage too.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Final

import numpy as np

LIBRARIES: Final = {
    "staticgrad": "benchmarks.implementations.with_staticgrad:StaticgradImplementation",
    "jax": "benchmarks.implementations.with_jax:JaxImplementation",
    "torch": "benchmarks.implementations.with_torch:TorchImplementation",
}
Row = dict[str, float]


def measure_row(library: str, name: str, cache: str, by_stage: bool) -> Row:
    """One row in this process."""
    started = _clocks()  # the interpreter and NumPy are loaded
    from benchmarks.compile_time.compile_programs import programs
    from benchmarks.compile_time.stages import STAGES, Stages
    from benchmarks.harness.implementation import Settings, implementation_at

    settings, workload = Settings(1, cache), programs()[name]
    data = workload.make()
    overhead = [now - then for now, then in zip(_clocks(), started, strict=True)]
    implementation = implementation_at(LIBRARIES[library])()
    implementation.load(settings)
    work: Any = implementation.program(workload, data, settings)
    stages = Stages()
    if by_stage:
        for stage, places in STAGES.items():
            for place in places:
                stages.watch(stage, place)
    start = time.process_time()
    stages.time_stage("trace", work.build)()
    built = time.process_time()
    stages.time_stage("others", work.compile)()
    compiled = time.process_time()
    results = work.results(stages.time_stage("first call", work.step)())
    done, until = _clocks()
    row = {"build": built - start, "compile": compiled - built, "call": done - compiled}
    row["whole"] = done - overhead[0]  # process time counts from the start of the process
    row["until"] = until - overhead[1]  # the parent's clock, too
    row |= {f"stage {stage}": spent for stage, spent in stages.spent.items()}
    if library == "staticgrad":
        row |= {"nodes": len(work.graph.nodes), "kernels": len(work.compiled.kernels)}
    return {**row, "loss": float(np.asarray(results["loss"]))}


def _clocks() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


if __name__ == "__main__":
    import json

    library, program, cache, *more = sys.argv[1:]
    print(json.dumps(measure_row(library, program, cache, "stages" in more)))
