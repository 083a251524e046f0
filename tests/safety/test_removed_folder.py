"""Long jobs lose their working directory: every call goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import copy, os, pickle, sys
os.chdir(sys.argv[1])
os.rmdir(sys.argv[1])
import numpy as np
import staticgrad as sg
from staticgrad.support import config
from staticgrad import native
from staticgrad.eager import Tensor

x, w = sg.input("x", ("n", 3)), sg.parameter("w", np.ones((3, 2), "float32"))
loss = sg.nn.cross_entropy(x @ w, sg.input("y", ("n",), "int64"))
graph = sg.Graph({"loss": loss}, {w: w - sg.grad(loss, w)})
feeds = {"x": np.ones((2, 3), "float32"), "y": np.array([0, 1])}
for options in ({}, {"debug": True}, {"checkpoint": "recompute"}, {"memory_budget": "1MB"}):
    program = sg.compile(graph, **options)
    program.run(feeds)
    assert str(program.explain(n=2)) and str(program.plan(n=2))
with sg.options(check=True, jit=False):
    sg.compile(graph).run(feeds)
sg.evaluate(graph, feeds)
sg.lint(loss)
assert str(sg.parse(str(graph))) == str(graph)
pickle.loads(pickle.dumps((graph, program)))
copy.deepcopy(graph)
t = Tensor([1.0], requires_grad=True)
(t * t).sum().backward()
sg.testing.check_gradients(sg.tanh, [np.ones(2)])
native.cache_info()
sg.show_config()
for wrong in (lambda: x @ sg.constant(np.ones(5)), lambda: program.run({"x": 1})):
    try:
        wrong()
    except sg.StaticgradError as error:
        assert "program.py" in str(error)
    else:
        sys.exit("nothing was raised")
"""


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["absolute", "relative"])
def test_every_call_works_in_a_removed_folder(tmp_path, cache):
    program, folder = tmp_path / "program.py", tmp_path / "folder"
    program.write_text(PROGRAM)
    folder.mkdir()
    variables = {"STATICGRAD_CACHE_DIR": "relative"} if cache == "relative" else {}
    done = subprocess.run(
        [sys.executable, program, folder],
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
