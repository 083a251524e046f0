"""A fresh process that trains a program for one step and prints what each part took, as JSON.

Run as ``python -m staticgrad.tools.comparison.first WAY MODEL SIZE STARTED``, the last being the
monotonic clock when the process was asked for: starting Python and importing count, fetching data
does not. The parts are those of ``report.FirstResult``.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise
from typing import Any

import numpy as np

from staticgrad.tools.comparison.loading import subject
from staticgrad.tools.comparison.ways import DefineByRun, DefineThenRun

if __name__ == "__main__":
    _, way, spec, size, started = sys.argv
    imports, begun = time.monotonic() - float(started), time.process_time()
    chosen = subject(spec)
    batch = chosen.draw(int(size), np.random.default_rng(0))
    data = time.process_time() - begun
    marks = [time.monotonic()]
    trained: Any
    if way == "tape":
        trained = DefineByRun(chosen)
        marks += [time.monotonic()] * 2
    else:
        chosen.new_function().graph(*batch.values())
        marks.append(time.monotonic())
        trained = DefineThenRun(chosen)
        marks.append(time.monotonic())
    trained.step(batch)
    marks.append(time.monotonic())
    parts = dict(
        zip(("build", "compile", "step"), (b - a for a, b in pairwise(marks)), strict=True)
    )
    cpu = time.process_time() - begun - data
    print(json.dumps({"imports": imports, **parts, "cpu": cpu}))  # noqa: T201
