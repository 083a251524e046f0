"""The stages of a compilation and the time of each, which ``compile_times`` prints."""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

#: Where a stage's functions are asked for: module, name in it (or of a class there).
STAGES: Final = {
    "grad": ("staticgrad:grad",),
    "passes": ("passes.base:Pipeline.run",),
    "prepare": ("staticgrad.compiler.lowering.fuse:run_late_passes",),
    "fuse": (
        "staticgrad.compiler.lowering.fuse:groups_of",
        "staticgrad.compiler.lowering.fuse:add_copies",
    ),
    "lower": ("staticgrad.compiler.lowering.fuse:lower_groups",),
    "verify": ("staticgrad.language.ir.verify_schedule:verify_schedule",),
    "nest": ("staticgrad.backends:_NestSource.functions",),
    "to IR": ("staticgrad.native.language.frontend:modules",),
    "LLVM": ("staticgrad.native.jit:Compiler.emit",),
    "link": ("staticgrad.native.loader:load",),
    "plan": ("staticgrad.compiler.compiling.artifacts:Plans.plan",),
    "cache": tuple(
        f"staticgrad.compiler.compiling.scheduling:{name}"
        for name in ("entry_name", "read_entry", "write_entry")
    ),
}


def owner_of(place: str) -> tuple[Any, str]:
    """The module or class of a stage's function, and the name there."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    return functools.reduce(getattr, owners, import_module(module)), name


class _Inside(threading.local):
    """Seconds of the stages that a thread's present stage has asked for."""

    seconds = 0.0


class Stages:
    """Processor seconds by stage; a stage that another one asks for is not counted in that one.

    Each thread has seconds of its own: LLVM compiles several modules at once.
    """

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._inside = _Inside()

    def watch(self, stage: str, place: str) -> None:
        """Count what a function takes from now on."""
        owner, name = owner_of(place)
        setattr(owner, name, self.time_stage(stage, getattr(owner, name)))

    def time_stage(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work``, counted under ``stage``."""

        @functools.wraps(work)
        def run(*args: Any, **options: Any) -> Any:
            outer, self._inside.seconds = self._inside.seconds, 0.0
            start = time.thread_time()
            try:
                return work(*args, **options)
            finally:
                total = time.thread_time() - start
                self.spent[stage] += total - self._inside.seconds
                self._inside.seconds = outer + total

        return run
