"""CompilerLimits of the compiler: each is described, read, and set by options."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ConfigError
from staticgrad.support import config
from staticgrad.support.limits import CompilerLimits
from tests.helpers.processes import python

ROOT = Path(__file__).parents[2]
NAMES = [field.name for field in fields(CompilerLimits)]


def test_each_limit_is_described_with_its_unit_and_read():
    sources = [
        path.read_text("utf-8")
        for folder in ("passes", "staticgrad")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "limits.py"
    ]
    text = "\n".join(sources)
    unread = [name for name in NAMES if f"limits().{name}" not in text]
    assert [name for name in unread if f"bounds.{name}" not in text] == []
    assert [name for name in NAMES if f"        {name}: " not in CompilerLimits.__doc__] == []


def steps(total):
    return len(sg.compile(total).schedule.steps)


@pytest.mark.parametrize("limits", ["long_row = 64, totalled_row=2", {"long_row": 64}])
def test_a_limit_holds_inside_a_block(limits):
    total = (sg.input("x", (600,), "float64") * 3.0).sum()
    assert steps(total) == 1
    with sg.options(limits=limits):
        assert steps(total) == 2
        assert "long_row=64" in sg.show_config()
        with sg.options(limits=""):
            assert steps(total) == 1
    assert steps(total) == 1
    assert config.limits() == CompilerLimits()


def test_a_function_is_compiled_anew_for_other_limits():
    f = sg.function(lambda x: (x * 3.0).sum())
    x = np.arange(600.0)
    for limits in ("", "long_row=64", "long_row=1000"):
        with sg.options(limits=limits):
            assert f(x) == 3 * x.sum()


def test_the_environment_sets_limits():
    code = "from staticgrad.support.config import limits; print(limits())"
    ran = python("-c", code, env={"STATICGRAD_LIMITS": "chunk_rows=8,section_seconds=1e-9"})
    assert ran.stdout.strip() == "chunk_rows=8,section_seconds=1e-09"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ("long_rows=3", "no limit is named 'long_rows'"),
        ({"long_row": 0}, "long_row is 0"),
        ({"long_row": True}, "long_row is True"),
        ("long_row", "long_row"),
        (7, "no mapping"),
        ({"long_row": "many"}, "many"),
    ],
)
def test_a_wrong_limit_is_an_error_with_the_names(limits, words):
    with pytest.raises(ConfigError) as caught:
        sg.options(limits=limits)
    assert words in caught.value.hint
    assert "chunk_rows" in caught.value.hint
