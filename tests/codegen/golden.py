"""Kernels on file, ``golden/*.txt``: a kernel's text, and for a dozen short ones its source.

``python -m tests.codegen.golden`` renews the sources; read the difference before you keep it. What
sources compute is tested by ``test_random_kernels.py``, not by their text.
"""

import sys
from pathlib import Path

from staticgrad.compiler.backends import render
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.kernels.verify import verify_kernel
from staticgrad.native.machine import Machine

FOLDER = Path(__file__).with_name("golden")
#: Between the kernel and its source.
BETWEEN = "\n# source\n"


def kernel_of(text):
    """The kernel of a file."""
    return parse_kernel(text.partition(BETWEEN)[0])


def on_file(name):
    """The kernel of this name."""
    return kernel_of((FOLDER / f"{name}.txt").read_text())


def renewed(text):
    """The content of a file with the source that its kernel has now, if the file has a source."""
    kernel = kernel_of(text)
    verify_kernel(kernel)
    return f"{kernel}{BETWEEN}{render(kernel, Machine())}" if BETWEEN in text else str(kernel)


def main():
    """Renew every file; print the names of those that changed."""
    for path in sorted(FOLDER.glob("*.txt")):
        text = path.read_text()
        if renewed(text) != text:
            path.write_text(renewed(text))
            sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
