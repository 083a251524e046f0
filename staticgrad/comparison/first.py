"""A fresh process that runs a course of a program and prints what each part took, as JSON.

Run as ``python -m staticgrad.comparison.first WAY SPEC PLAN STARTED``; the last one is the
monotonic clock when the process was started: starting Python and importing count, fetching data
does not. ``PLAN`` has a ``courses.CoursePlan`` and the axes of the examples as JSON.
"""

from __future__ import annotations

import json
import sys
import time

from staticgrad.comparison import courses
from staticgrad.comparison.axes import BatchAxes
from staticgrad.comparison.loading import subject

if __name__ == "__main__":
    _, way, spec, plan, started = sys.argv
    imports = time.monotonic() - float(started)
    course, batch = json.loads(plan)
    chosen = subject(spec, batch_axis=BatchAxes(*batch))
    result = courses.run(chosen, way, courses.CoursePlan(*course), imports)
    print(json.dumps(vars(result)))  # noqa: T201
