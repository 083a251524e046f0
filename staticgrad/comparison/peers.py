"""The same program in PyTorch, ``torch.compile`` and JAX: measured in turns with the compiled step,
or with the tape where there is no graph.

A way counts only if its losses are those of the tape: otherwise its row has the reason and no
figure. The libraries are imported when a comparison is measured; without one its row says so.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import cycle
from typing import Any, Final, Protocol

import numpy as np

from staticgrad.comparison.programs import Batch, ComparedProgram
from staticgrad.comparison.report import COMPILED_TORCH, JAX, TORCH, Causes, NoPeer, Peer
from staticgrad.comparison.timing import PARTS, Race
from staticgrad.comparison.ways import DefineByRun, DefineThenRun
from staticgrad.errors import ArgumentError
from staticgrad.extend import kind_of

_TOLERANCE: Final = 1e-3  # relative: the libraries add up in other orders
_STEPS: Final = 5  # of which losses are compared
_NOISY_STEPS: Final = 20  # the same, of a program that draws random numbers
_NOISE: Final = 4.0  # standard errors by which means of losses may differ, of such a program
Watch = Callable[[str], object]


class PeerWay(Protocol):
    """One batch after the other in another library."""

    def call(self, batch: Batch) -> object:
        """Run one step to its end and return its results, as the library has them: it is timed."""

    def step(self, batch: Batch) -> float:
        """Run one step and return the loss before its update, as a number."""

    def restore(self) -> None:
        """Write the start values to parameters and optimizer state."""

    def peak(self, batch: Batch) -> int:
        """Return the peak bytes of a step, beside parameters, optimizer state and the batch."""

    def causes(self, name: str, batch: Batch) -> Causes | None:
        """Return the bytes at the peak by cause; None if the library does not show them."""

    def make_checkpointed(self) -> PeerWay | None:
        """Return the same with recomputation, as the library does it; None if it cannot."""


def measure_peers(
    chosen: ComparedProgram, seconds: float, torch: Any = None, jax: Any = None,
    watch: Watch = lambda what: None,
) -> tuple[Peer, ...]:  # fmt: skip
    """Measure the compared program in PyTorch and JAX, each in turns with the compiled step.

    The user's programs have their start values again afterwards.

    Args:
        chosen: the program.
        seconds: of wall time.
        torch: None: a module of known layers is translated. True: it is compiled by
            ``torch.compile``, too. A step, a loss or a ``torch.nn.Module``: measured both ways.
            False: nothing is measured. Or a function without arguments that returns one of them.
        jax: a function, or a pair of a function and the start values of its state; or a function
            without arguments that returns one of them.
        watch: called with the name of what is measured.
    """
    rows: dict[str, Peer] = {}
    ways: dict[str, PeerWay] = {}
    batches = [chosen.draw(chosen.batch_size, np.random.default_rng(k)) for k in range(4)]
    with ExitStack() as stack:
        stack.callback(chosen.restore)
        for name, make in _makers(chosen, torch, jax, stack).items():
            watch(name)
            rows[name], way = _start_way(name, make, chosen, batches[0], stack)
            if way is not None:
                ways[name] = way
        if not ways:
            return tuple(rows.values())
        chosen.restore()
        race = _race(chosen, batches, [*ways.values()], seconds)
        for k, (name, way) in enumerate(ways.items()):
            peak = way.peak(batches[0])
            rows[name] = Peer(
                name, race.pair(k, -1), peak, rows[name].first, rows[name].losses,
                recompute=_measure_recomputation(way, batches, peak, seconds),
                causes=way.causes(name, batches[0]),
                imports=_imports("jax" if name == JAX else "torch"),
            )  # fmt: skip
    return tuple(rows.values())


def torch_memory(chosen: ComparedProgram, torch: Any = None) -> Peer:
    """Return eager PyTorch's bytes of a step, without its time; else the reason for none.

    ``torch`` is that of ``chosen``.
    """
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    with ExitStack() as stack:
        stack.callback(chosen.restore)
        make = _makers(chosen, torch, None, stack)[TORCH]
        row, way = _start_way(TORCH, make, chosen, batch, stack)
        if way is None:
            return row
        causes = way.causes(TORCH, batch)
        return replace(row, tape=causes.total if causes else way.peak(batch), causes=causes)


def _start_way(
    name: str, make: Callable[[], PeerWay], chosen: ComparedProgram, batch: Batch, stack: ExitStack
) -> tuple[Peer, PeerWay | None]:
    """Start another library's way; return its row after its first step."""
    chosen.restore()
    try:
        way = make()
        stack.callback(way.restore)
        begin = time.perf_counter()  # a compiler may work in other processes
        way.step(batch)
        first = time.perf_counter() - begin
        way.restore()
        row = Peer(name, first=first, losses=_compare_losses(chosen, way))
        way.restore()
    except NoPeer as reason:
        return Peer(name, reason=str(reason)), None
    except Exception as error:  # of the user's program, or of the library
        lines = str(error).strip().splitlines() or [""]
        return Peer(name, reason=f"{type(error).__name__}: {lines[0]}"[:200]), None
    return row, way


@cache
def _imports(library: str) -> float:
    """Return the seconds that a fresh process takes to start and import a library."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {library}"], check=False, capture_output=True)
    return time.perf_counter() - begin


def check(torch: Any, jax: Any) -> None:
    """Refuse arguments ``torch`` and ``jax`` of a comparison that are no program or switch."""
    if not (torch is None or isinstance(torch, bool) or callable(torch)):
        raise ArgumentError(
            f"torch is {kind_of(torch)}, not a step, a loss or a module of PyTorch",
            hint="torch=step, where step(x, y) takes tensors and returns the loss",
        )
    is_pair = isinstance(jax, tuple) and len(jax) == 2 and callable(jax[0])
    if not (jax is None or is_pair or callable(jax)):
        raise ArgumentError(
            f"jax is {kind_of(jax)}, not a function or a pair of a function and its state",
            hint="jax=(step, state), where step(state, x, y) returns (loss, new state)",
        )


def _makers(
    chosen: ComparedProgram, torch: Any, jax: Any, stack: ExitStack
) -> Mapping[str, Callable[[], PeerWay]]:
    """Return makers of each library's way, on as many threads as the compiled step."""
    makers: dict[str, Callable[[], PeerWay]] = {}
    jax = chosen.in_jax if jax is None else jax
    if torch is not False:
        if find_spec("torch") is None:
            makers[TORCH] = _missing("PyTorch is not installed")
        else:
            stack.enter_context(_quiet_torch())
            from staticgrad.comparison import torch_peer

            torch_program = chosen.in_torch if torch is None or torch is True else torch
            makers[TORCH] = lambda: torch_peer.training(chosen, _call_maker(torch_program))
            if torch is not None:
                makers[COMPILED_TORCH] = lambda: torch_peer.training(
                    chosen, _call_maker(torch_program), compiled=True
                )
            else:
                makers[COMPILED_TORCH] = _missing("not asked for: torch=True, or --torch")
    if jax is None:
        makers[JAX] = _missing("no program: jax=(step, state), or --jax")
    elif find_spec("jax") is None:
        makers[JAX] = _missing("JAX is not installed")
    else:
        if "jax" not in sys.modules:
            flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            stack.enter_context(_environment("XLA_FLAGS", flags))
        from staticgrad.comparison import jax_peer

        makers[JAX] = lambda: jax_peer.JaxTraining(chosen, _call_maker(jax))
    return makers


def _call_maker(program: Any) -> Any:
    """Return a program, or what a function without arguments returns: that imports its library."""
    is_maker = inspect.isfunction(program) and not inspect.signature(program).parameters
    return program() if is_maker else program


def _missing(reason: str) -> Callable[[], PeerWay]:
    def make() -> PeerWay:
        raise NoPeer(reason)

    return make


@contextmanager
def _environment(name: str, value: str) -> Any:
    """Set an environment variable inside of this context if it is not set."""
    had = name in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if not had:
            del os.environ[name]


@contextmanager
def _quiet_torch() -> Any:
    """Import PyTorch with a silent profiler, on one thread; restore both."""
    with _environment("KINETO_LOG_LEVEL", "99"):  # the profiler else reports on stderr
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _compare_losses(chosen: ComparedProgram, way: PeerWay) -> float:
    """Return the largest relative difference of a library's losses from those of the tape.

    Random numbers differ from library to library: of a program that draws some, the means of the
    losses are compared.

    Raises:
        NoPeer: they differ by more than rounding, or than chance.
    """
    tape = DefineByRun(chosen)
    # a generator of random numbers has a state of 64-bit integers
    draws = any(array.dtype == np.uint64 for array in chosen.parameters.values())
    random = np.random.default_rng(0)
    batches = [
        chosen.draw(chosen.batch_size, random) for _ in range(_NOISY_STEPS if draws else _STEPS)
    ]
    pairs = np.array([(way.step(batch), tape.step(batch)) for batch in batches])
    chosen.restore()
    if draws:
        mean, tape_mean = pairs.mean(0)
        error = float(np.hypot(*pairs.std(0, ddof=1))) / len(pairs) ** 0.5
        if not abs(mean - tape_mean) <= _NOISE * error + _TOLERANCE * abs(tape_mean):
            raise NoPeer(
                f"the mean of its losses is {mean:.4g}, not {tape_mean:.4g}: another program"
            )
        return float(abs(mean - tape_mean) / max(abs(tape_mean), 1e-12))
    difference = max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs)
    if not difference <= _TOLERANCE:
        step = next(k for k, (a, b) in enumerate(pairs) if not abs(a - b) <= _TOLERANCE * abs(b))
        a, b = pairs[step]
        raise NoPeer(
            f"its loss at step {step + 1} is {a:.6g}, not {b:.6g}: another program, or other"
            " start values"
        )
    return float(difference)


def _race(
    chosen: ComparedProgram | None, batches: Sequence[Batch], ways: Sequence[PeerWay],
    seconds: float,
) -> Race:  # fmt: skip
    """Time the steps of all libraries and the compiled step in turns.

    Of a program without a graph that is the tape, and each step of all is a first one.
    """
    alone = chosen is not None and chosen.graph is None

    def runner(way: Any) -> Callable[[], object]:
        ring = cycle(batches[:1] if alone else batches)
        return lambda: way.call(next(ring))

    def restore() -> None:
        for program in (chosen, *ways):
            program.restore()  # type: ignore[union-attr]  # there is a program

    runs = [runner(way) for way in ways]
    if chosen is not None:
        runs.append(runner(DefineByRun(chosen) if alone else DefineThenRun(chosen, called=True)))
    race = Race(
        chosen.batch_size if chosen else 0, *runs, reset=restore if alone else None
    )  # fmt: skip
    for _ in range(PARTS):
        race.run(seconds / PARTS)
    return race


def _measure_recomputation(
    way: PeerWay, batches: Sequence[Batch], peak: int, seconds: float
) -> tuple[int, float] | None:
    """Measure memory and relative time of another library's checkpointed step."""
    recomputing = way.make_checkpointed()
    if recomputing is None:
        return None
    size = recomputing.peak(batches[0])
    if size >= peak:
        return None
    recomputing_time, usual_time = _race(None, batches, [recomputing, way], seconds).timings()
    return size, recomputing_time.cpu / usual_time.cpu
