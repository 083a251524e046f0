"""Functions that a script defines with @ go to other processes: joblib, cloudpickle, spawn."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg

SCRIPT = Path(__file__).with_name("travelling_script.py")
PACKAGES = {
    "loky": "joblib",
    "cloudpickle": "cloudpickle",
    "spawn": "multiprocessing",
    "dask": "distributed",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", PACKAGES)
def test_what_a_script_defines_gives_the_same_in_other_processes(how):
    pytest.importorskip(PACKAGES[how])
    run = subprocess.run(
        [sys.executable, str(SCRIPT), how], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr[-4000:]


def plain(x):
    return x * 2.0


doubled = sg.function(plain)  # of another name


def test_a_function_whose_name_is_another_object_is_made_again():
    again = pickle.loads(pickle.dumps(doubled))
    assert again is not doubled
    assert again(np.ones(2)).tolist() == [2.0, 2.0]
    local = sg.function(lambda x: x + 1.0)
    assert copy.deepcopy([local]) == [local]
    assert copy.copy(local) is local


def test_a_host_function_that_is_defined_again_is_the_latest():
    x = sg.input("x", (2,), "float64")
    for factor in (1.0, 2.0, 3.0, 4.0):
        y = sg.host_call(lambda a, factor=factor: a * factor, x, types=x, name="tests.again")
        assert sg.compile(y).run({"x": np.ones(2)}).tolist() == [factor] * 2
