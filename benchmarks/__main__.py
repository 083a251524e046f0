"""``python -m benchmarks [NAME] ...``: the suite, or a benchmark by name.

Without a name the suite runs; ``python -m benchmarks --help`` lists its options and
``python -m benchmarks NAME --help`` those of a benchmark.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from benchmarks.paths import as_told

#: Benchmark -> what it measures. The module of that name has the function ``main``.
BENCHMARKS: Final = {
    "ablation": "special paths of the compiler switched off, one by one",
    "bridges": "functions in PyTorch and JAX, beside the program by itself",
    "building": "time to build a node of a graph, beside JAX's tracing and PyTensor",
    "budgets": "predicted cost of plans under memory budgets",
    "calls": "one call, results dropped, held or fed back, beside JAX and PyTorch",
    "time_budgets": "measured cost of memory budgets, beside JAX's and PyTorch's checkpoints",
    "cycles": "cycles of kernels on processors of 128-bit vectors, by LLVM's models",
    "complex": "ten programs with complex numbers, beside JAX and PyTorch",
    "compile_times": "process start to first result, beside JAX and PyTorch",
    "convolutions": "convolutions and their gradients, beside PyTorch",
    "entries": "loops that write entries of an array, beside JAX and loops of Numba",
    "every_op": "each op forward and backward, beside NumPy, JAX and PyTorch",
    "exports": "exported files of Python, beside f.run",
    "first_models": "process start to first result of five models of published sizes",
    "gemm_map": "matrix products of all sizes, beside OpenBLAS and MKL",
    "grids": "deep convolutions and wide products, beside PyTorch and JAX, as shares of the limit",
    "linalg": "small factors, systems, eigenvalues and singular values, beside LAPACK and others",
    "lines": "lines of source per public name, by wing, beside another commit",
    "models": "twelve whole models, beside JAX and PyTorch",
    "numba": "steps of gradient descent in a loop of Numba, beside Python and JAX's fori_loop",
    "optima": "plans under budgets, beside an integer program",
    "pages": "no benchmark: writes the figures of README and CONTRIBUTING from results",
    "peak_bytes": "bytes of a training step: the arena, PyTorch's tensors, the tape",
    "peak_kinds": "the same for many kinds of programs, with reasons of what is above PyTorch's",
    "programs": "programs of many kinds, beside JAX and PyTorch",
    "plans": "plans of abstract problems under budgets",
    "pymc": "log densities of PyMC, beside the modes of PyTensor",
    "pytensor_scans": "state space models by scan, beside the modes of PyTensor",
    "pymc_growth": "compile time of hierarchical models, beside the modes of PyTensor",
    "ranks": "a training step on several ranks, beside a model of its time",
    "roofline": "share of the machine's limits that the kernels of six programs reach",
    "scaling": "time per node of each stage, build to plan",
    "sparse": "sparse products, a graph network and conjugate gradients, beside SciPy and others",
    "startup": "interpreter start to first result and to exit",
    "jax_programs": "programs of JAX packages, values and gradients, beside jax.jit",
    "torch_programs": "programs of PyTorch packages: values, gradients, breaks, first results",
    "torch_models": "models of PyTorch packages in a training step, beside eager and Inductor",
    "vocabularies": "losses of wide products, beside PyTorch and JAX: bytes and time",
    "tuning": "the measured choice of directives, kernel by kernel",
    "zoo": "training steps of twenty whole models of published families, beside PyTorch and JAX",
    "tape": "define-by-run peak and time, beside PyTorch",
}


#: Those that measure first results; the others measure full code.
_OF_FIRST_RESULTS: Final = (
    "suite", "models", "compile_times", "first_models", "startup", "torch_programs",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark that the first argument names, else the suite; return the exit code."""
    options = list(sys.argv[1:] if arguments is None else arguments)
    name = "suite"
    if options and not options[0].startswith("-"):
        name = options.pop(0)
        if name not in BENCHMARKS:
            raise SystemExit(f"no benchmark is named {name!r}: {', '.join(BENCHMARKS)}")
    module = "every_op.command" if name == "every_op" else name
    if name not in _OF_FIRST_RESULTS:
        os.environ.setdefault("STATICGRAD_TIER", "full")
    saved, sys.argv = sys.argv, [f"python -m benchmarks {name}", *options]  # it is parsed there
    try:
        with as_told():
            return int(import_module(f"benchmarks.{module}").main() or 0)
    finally:
        sys.argv = saved


if __name__ == "__main__":
    sys.exit(main())
