"""What the pages beside PyTorch and JAX have in common: options, the libraries, the machine."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from benchmarks.machine import describe


def opened(name: str, doc: str | None, seconds: float) -> tuple[argparse.Namespace, Any, str]:
    """Return the options of ``python -m benchmarks NAME``, JAX, and a line about the machine."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}", description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--seconds", type=float, default=seconds, help="measuring time of each cell")
    add("--threads", type=int, default=1, help="of ours and of PyTorch; JAX has its own")
    options = parser.parse_args()
    torch, jax = map(import_module, ("torch", "jax"))
    torch.set_num_threads(options.threads)
    machine = describe()
    line = (
        f"{machine.processor}, {machine.cores} cores, threads: {options.threads} (JAX has its own),"
        f" Python {machine.python}, PyTorch {torch.__version__}, JAX {jax.__version__}."
    )
    return options, jax, line
