"""Checks of an installation: versions, processor, self-test, cache.

Every check is a function that returns what it found and raises what is wrong; none of them changes
the installation beyond filling the kernel cache as any compilation would.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from importlib import metadata
from typing import Final

import numpy as np

import staticgrad as sg
from staticgrad import backends
from staticgrad.errors import SelfTestError, StaticgradError
from staticgrad.extend import dataclass
from staticgrad.native import cache, loader
from staticgrad.native.libraries import scipy_library
from staticgrad.native.system import processors, workers
from staticgrad.support import config

_REQUIRED: Final = (
    "numpy", "scipy", "numba", "llvmlite", "opt_einsum", "platformdirs", "rich", "click",
    "threadpoolctl",
)  # fmt: skip
_OPTIONAL: Final = ("scikit-learn",)


@dataclass(frozen=True)
class CheckResult:
    """One line of the doctor: the check, whether it passed, and the details."""

    check: str
    holds: bool
    details: str


def examine() -> tuple[CheckResult, ...]:
    """Run every check of the installation, in order; a failed check does not stop the next."""
    return (
        CheckResult("staticgrad", True, sg.__version__),
        CheckResult("python", True, f"{platform.python_version()} on {platform.platform()}"),
        *(_version(name, required=True) for name in _REQUIRED),
        *(_version(name, required=False) for name in _OPTIONAL),
        *(_run_check(name, check) for name, check in _CHECKS.items()),
    )


def _version(name: str, *, required: bool) -> CheckResult:
    try:
        return CheckResult(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return CheckResult(
            name, not required, "not installed" + ("" if required else " (optional)")
        )


def _run_check(name: str, check: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, True, check())
    except StaticgradError as error:
        return CheckResult(name, False, "; ".join([error.headline, *filter(None, [error.hint])]))
    except (ImportError, OSError) as error:
        return CheckResult(name, False, f"{type(error).__name__}: {error}")


def _settings() -> str:
    changed = [str(setting) for setting in config.settings() if setting.source != "default"]
    return "; ".join(changed) or "all at their defaults"


def _processor() -> str:
    chosen = loader.host()
    return f"{chosen.cpu}, {chosen.vector_bits}-bit vectors, rung {chosen.level} of the ladder"


def _check_threads() -> str:
    """Report the number of threads and the reason; with several, check a shared sum."""
    asked, allowed = config.current().threads, processors.allowed_processors()
    count = processors.threads(asked)
    if not workers.are_possible():
        return "1: there is no pool of workers on this system"
    x = sg.input("x", ("rows", 512), "float32")
    feeds = {"x": np.linspace(-2.0, 2.0, 512 * 256, dtype=np.float32).reshape(256, 512)}
    alone, shared = (
        sg.compile(sg.tanh(x) @ sg.exp(x).T, threads=n).run(feeds) for n in (1, max(2, count))
    )
    if alone.tobytes() != shared.tobytes():
        raise SelfTestError("threads change the bytes of results", hint="report this machine")
    return f"{count} ({asked}; the process may use {allowed} cores), with the bytes of one"


def _run_self_test() -> str:
    """Run the self-test of generated code on this processor."""
    if not config.current().jit:
        return "not run: the jit is off"
    if not loader.is_sound(loader.host()):
        raise SelfTestError(
            "generated code is wrong on this processor",
            hint="clear the kernel cache so that a safer target is chosen: staticgrad cache clear",
        )
    return "masked loops at 17 sizes give NumPy's results"


def _check_compiled_gradient() -> str:
    """Check a small compiled gradient against the NumPy evaluator."""
    x = sg.input("x", ("rows", 5), "float32")
    loss = (sg.tanh(x) * x).sum()
    program = {"loss": loss, "slope": sg.grad(loss, x)}
    feeds = {"x": np.linspace(-2.0, 2.0, 35, dtype=np.float32).reshape(7, 5)}
    compiled, evaluated = sg.compile(program).run(feeds), sg.evaluate(program, feeds)
    errors = [float(np.max(np.abs(compiled[name] - evaluated[name]))) for name in program]
    if max(errors) > 1e-4:
        raise SelfTestError(
            f"a compiled gradient is off by {max(errors):.1e}", hint="report this machine"
        )
    return f"agrees with NumPy to {max(errors):.0e}"


def _check_backends() -> str:
    """Check that one program gives bitwise identical results by each built-in backend."""
    x = sg.input("x", ("rows", 5), "float32")
    program = sg.tanh(x).sum(axis=0)
    feeds = {"x": np.linspace(-2.0, 2.0, 35, dtype=np.float32).reshape(7, 5)}
    results = {name: sg.compile(program, backend=name).run(feeds) for name in backends.BUILT_IN}
    wrong = [
        name for name, value in results.items() if value.tobytes() != results["auto"].tobytes()
    ]
    if wrong:
        raise SelfTestError(
            f"backends give other bytes than auto: {', '.join(wrong)}", hint="report this machine"
        )
    asked = config.current().backend
    ran = sorted({kernel.compiler for kernel in sg.compile(program).kernels})
    return (
        f"the backend {asked!r} compiled by {', '.join(ran)};"
        f" {', '.join(backends.BUILT_IN)} give bitwise identical results"
    )


def _lapack() -> str:
    return (
        f"OpenBLAS core {scipy_library.core()}; results of LAPACK are bitwise identical on it alone"
    )


def _check_libraries() -> str:
    """Check SciPy's Fourier transform and Cholesky factor, which kernels call, against NumPy's."""
    x = sg.input("x", (7, 7), "float64")
    program = {"transform": sg.abs(sg.fft.fft(x)), "factor": sg.linalg.cholesky(x)}
    data = np.linspace(0.0, 1.0, 49).reshape(7, 7)
    data = data @ data.T + np.eye(7)
    results = sg.compile(program).run({"x": data})
    expected = {"transform": np.abs(np.fft.fft(data)), "factor": np.linalg.cholesky(data)}
    wrong = [name for name in program if not np.allclose(results[name], expected[name])]
    if wrong:
        raise SelfTestError(
            f"routines of SciPy give wrong results: {', '.join(wrong)}", hint="report this machine"
        )
    return "a Fourier transform and a Cholesky factor agree with NumPy"


def _check_cache() -> str:
    """Check that the kernel cache is writable, and report its size."""
    info = cache.info()
    folder = info.directory
    if folder is None:
        raise OSError(f"none, kernels are compiled anew in every process: {info.refusal}")
    with tempfile.TemporaryFile(dir=folder):
        pass
    return f"{folder}, writable, {info.entries} kernels, {info.bytes} bytes"


_CHECKS: Final[dict[str, Callable[[], str]]] = {
    "settings": _settings,
    "processor": _processor,
    "self-test": _run_self_test,
    "threads": _check_threads,
    "compiled gradient": _check_compiled_gradient,
    "compilers": _check_backends,
    "linear algebra": _lapack,
    "routines of SciPy": _check_libraries,
    "kernel cache": _check_cache,
}
