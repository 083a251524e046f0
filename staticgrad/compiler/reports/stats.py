"""The costs of a compiled program so far, each counted where it occurs, with its reason."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final

from staticgrad.analysis.plan_report import copied_feeds
from staticgrad.language.ir.plan import Plan
from staticgrad.native import Code
from staticgrad.support import config
from staticgrad.support.forks import ProcessLock
from staticgrad.support.records import dataclass

_REASONS: Final = 1000  # latest reasons that are kept


@dataclass(frozen=True)
class Stats:
    """The compile-time and run-time costs of a program so far.

    ``compiles``, ``disk_hits`` and ``memory_hits`` count its distinct kernels by where their code
    came from; ``plans`` counts the plans that were made, each once as long as it is kept;
    ``reasons`` says why for each of them, oldest first.
    """

    compiles: int = 0
    disk_hits: int = 0
    memory_hits: int = 0
    compile_seconds: float = 0.0
    plans: int = 0
    runs: int = 0
    reasons: tuple[str, ...] = ()


class Counts:
    """Counts up; safe from several threads."""

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._reasons: deque[str] = deque(maxlen=_REASONS)
        self._stats = Stats()

    def read(self, runs: int) -> Stats:
        """Return the current counts; the caller counts runs."""
        with self._lock.mutex:
            return replace(self._stats, runs=runs, reasons=tuple(self._reasons))

    def note(self, reason: str) -> None:
        """Record a reason without a count."""
        with self._lock.mutex:
            self._reasons.append(reason)

    def add_plan(self, plan: Plan) -> None:
        """Count one more memory plan in a program's statistics."""
        staged = copied_feeds(plan)
        copied = f", copies of {', '.join(staged)}" if staged else ""
        sizes = ", ".join(f"{name}={value}" for name, value in plan.sizes) or "no open sizes"
        again = len(plan.steps) - len(plan.schedule.steps)
        repeated = f", {again} runs of kernels again" if again else ""
        remark = f"; {plan.remark}" if plan.remark else ""
        why = f"planned for {sizes}{copied}: {plan.peak_bytes} bytes{repeated}{remark}"
        with self._lock.mutex:
            self._reasons.append(why)
            self._stats = replace(self._stats, plans=self._stats.plans + 1)

    def add_kernel(self, name: str, label: str, code: Code) -> None:
        """Count one more compiled kernel in a program's statistics."""
        with self._lock.mutex:
            stats = self._stats
            if code.origin == "compiled":
                ms = code.compile_seconds * 1e3
                why = f"compiled in {ms:.1f} ms: no code for its source yet"
                stats = replace(
                    stats,
                    compiles=stats.compiles + 1,
                    compile_seconds=stats.compile_seconds + code.compile_seconds,
                )
            elif code.origin == "disk":
                why = "read from the kernel cache on disk"
                stats = replace(stats, disk_hits=stats.disk_hits + 1)
            else:
                why = "in memory: this process had the same source before"
                stats = replace(stats, memory_hits=stats.memory_hits + 1)
            self._stats = stats
            self._reasons.append(f"{name} ({label}) {why}")
        config.log("recompiles", "%s (%s) %s", name, label, why)
