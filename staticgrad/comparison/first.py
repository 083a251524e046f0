"""A fresh process that trains a model for one step and prints what each part took, as JSON.

Run as ``python -m staticgrad.comparison.first WAY MODEL SIZE STARTED``, the last being the
monotonic clock when the process was asked for: starting Python and importing count, fetching data
does not.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise

import numpy as np

from staticgrad.comparison.loading import subject
from staticgrad.comparison.model import Model
from staticgrad.comparison.ways import (
    DefineThenRun,
    Way,
    by_run,
    comparable,
    then_run,
    training_graph,
)


def main(way: str, spec: str, size: int, started: float) -> dict[str, float]:
    """Seconds by part; see ``report.FirstResult``."""
    imports, cpu = time.monotonic() - started, time.process_time()
    chosen = comparable(subject(spec))
    batch = chosen.draw(size, np.random.default_rng(0))
    data = time.process_time() - cpu
    marks = [time.monotonic()]
    trained: Way
    if way == "tape":
        trained = by_run(chosen)
        marks += [time.monotonic()] * 2
    else:
        graph = training_graph(chosen) if isinstance(chosen, Model) else None
        marks.append(time.monotonic())
        trained = (
            DefineThenRun(chosen, graph=graph) if isinstance(chosen, Model) else then_run(chosen)
        )
        marks.append(time.monotonic())
    trained.step(batch)
    marks.append(time.monotonic())
    build, compiling, step = (after - before for before, after in pairwise(marks))
    spent = time.process_time() - data
    return {"imports": imports, "build": build, "compile": compiling, "step": step, "cpu": spent}


if __name__ == "__main__":
    _, name, where, count, begun = sys.argv
    print(json.dumps(main(name, where, int(count), float(begun))))  # noqa: T201
