"""The folders of the benchmarks: the question that each answers, and its commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Category(NamedTuple):
    """A folder of benchmarks: its question, and command -> what it measures.

    The module of a command's name in the folder has the function ``main``.
    """

    question: str
    commands: Mapping[str, str]


CATEGORIES: Final[Mapping[str, Category]] = {
    "suite": Category(
        "Which everyday program is slower than the best other library?",
        {
            "suite": "the programs of `workloads`, beside JAX, PyTorch, PyTensor and autograd:"
            " steady times, first results, memory; runs without a name, too",
            "models": "the same of a training step of twelve whole models",
            "pages": "no benchmark: writes figures of README and CONTRIBUTING, and these tables",
        },
    ),
    "peers": Category(
        "How fast are programs of one kind beside other libraries?",
        {
            "calls": "one call by `run`, `bind` and `sg.function`, results dropped, held or fed"
            " back, beside NumPy, JAX and PyTorch",
            "complex": "ten programs with complex numbers and Fourier transforms, beside JAX and"
            " PyTorch",
            "convolutions": "thirty kinds of convolutions with both gradients, beside PyTorch",
            "entries": "loops that write entries of an array, beside JAX and loops of Numba",
            "every_op": "each op forward and backward, beside NumPy, JAX and PyTorch",
            "gemm_map": "matrix products M by N by K from 1 to 4096 in four forms, beside OpenBLAS"
            " and MKL",
            "gradbench": "the evals of a checkout of GradBench, beside its tools that run here:"
            " derivatives written by hand in C++, Tapenade, ADOL-C, JAX, PyTorch",
            "inference": "four networks in float32, bfloat16 and int8 at batch 1, 8 and 32: latency"
            " and memory, beside ONNX Runtime, PyTorch and JAX",
            "linalg": "small factors, systems, eigenvalues and singular values, beside LAPACK,"
            " PyTorch and JAX, with scaled residuals",
            "programs": "programs of many kinds, values and gradients, beside JAX and PyTorch;"
            " `--into` writes JSON and keeps the lesser times",
            "sparse": "sparse products, a graph network and conjugate gradients, beside SciPy,"
            " PyTorch and JAX",
            "training": "a training step of nine networks in float32 and bfloat16, with planned"
            " bytes, beside PyTorch with and without `autocast` and AMX",
            "zoo": "a training step of twenty whole models of published families and sizes, beside"
            " PyTorch and JAX; `--into` writes JSON and keeps the lesser times",
        },
    ),
    "memory": Category(
        "How many bytes does a program hold, and what does a budget cost?",
        {
            "optima": "plans under budgets, beside an integer program",
            "peak_bytes": "arena of a training step of twenty-five programs, with the cost of"
            " budgets, beside PyTorch's tensors and the tape; `--into` writes JSON",
            "peak_kinds": "the same for the programs of `examples/suite` and three whose graph"
            " differs from step to step (`varying`), with reasons of figures above PyTorch's",
            "time_budgets": "measured memory and cost of budgets, a long scan among them, beside"
            " JAX's and PyTorch's checkpoints",
            "vocabularies": "bytes and time of losses of wide products (logits, similarities,"
            " distances) with gradients, beside PyTorch, a loop over chunks in PyTorch and in JAX;"
            " `--into` writes JSON",
        },
    ),
    "compile_time": Category(
        "How long until the first result, and how does that grow with the program?",
        {
            "building": "microseconds to build a node, beside JAX's tracing and PyTensor",
            "compile_times": "process start to first result of 46 programs, ours by stage, beside"
            " JAX; a scan of 1,000 steps over one step; `--first`: of ten programs, beside PyTorch"
            " too",
            "first_models": "process start to first result of five models of published sizes,"
            " written with `sg.nn`, cold and warm, by stage",
            "scaling": "time and calls per node of each stage, at 64,000 nodes against 4,000; exit"
            " code 1 beyond linear; `--compile`: compile time and memory against nodes, layers,"
            " parameters, outputs, steps and shapes",
        },
    ),
    "packages": Category(
        "What do programs and packages of other libraries gain here?",
        {
            "bridges": "functions in PyTorch and JAX, beside the same program by itself",
            "jax_programs": "programs of JAX packages, values and gradients, beside `jax.jit`",
            "numba": "steps of gradient descent in a loop of Numba that calls a compiled gradient,"
            " beside the same from Python, by hand, and in JAX's `fori_loop`",
            "pymc": "log densities of 23 models of PyMC, beside the modes of PyTensor",
            "pymc_growth": "compile time of hierarchical models, beside the modes of PyTensor",
            "pytensor_scans": "state space models by scan, beside the modes of PyTensor",
            "torch_models": "models of PyTorch packages in a training step, beside eager and"
            " Inductor",
            "torch_programs": "programs of PyTorch packages: values, gradients, breaks, first"
            " results",
        },
    ),
    "machine": Category(
        "Which share of the machine's limits do kernels reach?",
        {
            "cycles": "cycles of kernels on processors of 128-bit vectors, by LLVM's models",
            "grids": "deep convolutions with AdamW, and wide products: shares of the machine's"
            " limit, beside PyTorch and JAX; `--into` writes JSON and keeps the lesser times",
            "prices": "predicted beside measured times of every program of `ablation`: rank"
            " correlation and worst ratios; `--page` writes the page",
            "ranks": "a training step on several ranks, beside a model of its time",
            "roofline": "share of the machine's measured limits that the kernels of eleven programs"
            " reach; `--beside FOLDER` alternates with another checkout",
        },
    ),
    "compiler": Category(
        "What is each part of the compiler worth?",
        {
            "ablation": "the compiler's special paths switched off, one by one: gain, hits, lines,"
            " and whether bits change",
            "exports": "exported files of Python, beside `f.run`",
            "lines": "lines of source per public name, by wing; `--beside COMMIT` counts another"
            " commit as well",
            "tuning": "the measured choice of directives, kernel by kernel",
        },
    ),
}  # fmt: skip

#: Command -> what it measures.
BENCHMARKS: Final = {
    name: about for category in CATEGORIES.values() for name, about in category.commands.items()
}


def module_of(name: str) -> str:
    """Return the module of a command."""
    (folder,) = (folder for folder, category in CATEGORIES.items() if name in category.commands)
    return f"benchmarks.{folder}.{name}"
