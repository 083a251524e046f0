"""Kernels on file, ``golden/*.txt``: at least one of each stage, as text.

What kernels compute is tested by ``laws/test_kernels.py``; how their sources read, by nothing.
"""

from pathlib import Path

from staticgrad.language.ir.kernels.parser import parse_kernel

ON_FILE = {
    path.stem: path.read_text("utf-8")
    for path in sorted(Path(__file__).with_name("golden").glob("*.txt"))
}


def on_file(name):
    """The kernel of this name."""
    return parse_kernel(ON_FILE[name])
