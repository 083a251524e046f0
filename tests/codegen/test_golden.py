"""The kernels on file are sound, read back and compile; their sources are those on file."""

from typing import get_args

import pytest

from staticgrad import native
from staticgrad.compiler.backends import render
from staticgrad.language.ir.kernels.stages import Stage
from tests.codegen.golden import FOLDER, kernel_of, renewed

FILES = sorted(FOLDER.glob("*.txt"))


def test_there_are_some_of_every_stage():
    stages = {type(stage) for path in FILES for stage in kernel_of(path.read_text()).stages}
    assert stages == {*get_args(Stage)}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_source_is_the_one_on_file(path):
    text = path.read_text()
    assert renewed(text) == text, "python -m tests.codegen.golden renews it; read the difference"
    native.kernel(render(kernel_of(text)))
