"""The sources of some kernels are those on file."""

from pathlib import Path

import pytest

from staticgrad import native
from tests.codegen.golden import BETWEEN, FOLDER, renewed

FILES = sorted(FOLDER.glob("*.txt"))


def test_there_are_eleven() -> None:
    assert len(FILES) == 11


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_source_is_the_one_on_file(path: Path) -> None:
    text = path.read_text()
    assert renewed(text) == text, "python -m tests.codegen.golden renews it; read the difference"
    native.kernel(text.partition(BETWEEN)[2])
