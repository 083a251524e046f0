"""The kernels on file are sound, print as they are on file, and compile."""

from typing import get_args

import pytest

from staticgrad import native
from staticgrad.backends import source_of
from staticgrad.language.ir.kernels.stages import Stage
from staticgrad.language.ir.kernels.verify import verify_kernel
from tests.codegen.golden import ON_FILE, on_file


def test_there_are_some_of_every_stage():
    stages = {type(stage) for name in ON_FILE for stage in on_file(name).stages}
    assert stages == {*get_args(Stage)}


@pytest.mark.parametrize("name", ON_FILE)
def test_a_kernel_reads_back(name):
    kernel = on_file(name)
    verify_kernel(kernel)
    assert str(kernel) == ON_FILE[name]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", ON_FILE)
def test_a_kernel_compiles(name):
    assert native.kernel(source_of(on_file(name))).address
