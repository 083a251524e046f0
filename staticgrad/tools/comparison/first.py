"""A fresh process that runs a course of a program and prints what each part took, as JSON.

Run as ``python -m staticgrad.tools.comparison.first WAY SPEC PLAN STARTED``; the last one is the
monotonic clock when the process was started: starting Python and importing count, fetching data
does not. ``PLAN`` is a ``courses.CoursePlan`` and the axis of the examples as JSON.
"""

from __future__ import annotations

import json
import sys
import time

from staticgrad.tools.comparison import courses
from staticgrad.tools.comparison.loading import subject

if __name__ == "__main__":
    _, way, spec, plan, started = sys.argv
    imports = time.monotonic() - float(started)
    found = courses.run(subject(spec), way, courses.CoursePlan(*json.loads(plan)), imports)
    print(json.dumps(vars(found)))  # noqa: T201
