"""Errors show the lines of the user's files and the message: no frame of the package."""

import io
import logging
import sys
import threading
import traceback
from operator import setitem
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import StaticgradError
from staticgrad.language.ops.indexing import Concat
from staticgrad.language.ops.operands import axis_of
from tests.helpers.processes import in_threads, python

PACKAGE = str(Path(sg.__file__).parent)
NOTHING = {}
ONES = np.ones((3, 4), "float32")
x = sg.input("x", (3, 4), "float32")
w = sg.parameter("w", ONES)


def _frames(error):
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


class _Model(sg.nn.Module):
    def __init__(self):
        self.layers = sg.nn.Sequential(sg.nn.Linear(4, 5), sg.nn.Linear(4, 5))

    def forward(self, value):
        return self.layers(value)


def _scan(body):
    return sg.scan(body, sg.zeros(()), x)


def _loss_of_a_model(value):
    return _Model()(value).sum()


#: What raises; how many frames of this file there are, that of the test not counted.
MISTAKES = {
    "function": (lambda: sg.matmul(x, x), 1),
    "operator": (lambda: x + np.ones(7), 1),
    "reflected operator": (lambda: np.ones(7) + x, 1),
    "operand of another kind": (lambda: x + None, 1),
    "truth": (lambda: bool(x), 1),
    "index": (lambda: x[7], 1),
    "method": (lambda: x.sum(7), 1),
    "argument": (lambda: x.sum(axes=7), 1),
    "ufunc of NumPy": (lambda: np.add(x, np.ones(7)), 1),
    "function of NumPy": (lambda: np.concatenate([x, np.ones(7)]), 1),
    "item": (lambda: setitem(x, 0, 1), 1),
    "name of the package": (lambda: sg.no_such_name, 1),
    "name of a module": (lambda: sg.nn.NoSuchLayer, 1),
    "attribute of a value": (lambda: x.no_such_name, 1),
    "graph": (lambda: sg.Graph({}), 1),
    "text": (lambda: sg.parse("graph"), 1),
    "option": (lambda: sg.options(thread=1), 1),
    "run": (lambda: sg.compile(x + 1.0).run({}), 1),
    "derivative": (lambda: sg.grad(x, w), 1),
    "parameter": (lambda: setattr(w, "value", np.ones(7)), 1),
    "constructor": (lambda: sg.nn.Linear(-1, 3), 1),
    "optimizer": (lambda: sg.optim.Adam([ONES]), 1),
    "argument of a constructor": (lambda: sg.optim.Adam(rate=1e-3), 1),
    "argument of a method": (lambda: sg.nn.Sequential(sg.nn.Linear(3, 2)).forward(x, x), 1),
    "step of an optimizer": (lambda: sg.optim.Adam(1e-3).step(), 1),
    "attribute of an optimizer": (lambda: sg.optim.Adam(1e-3).zero_grad(), 1),
    "attribute of a module": (lambda: sg.nn.Linear(3, 2).cuda(), 1),
    "element of a parameter": (lambda: w.value.__setitem__(0, 3.0), 1),
    "module": (lambda: _Model()(x), 2),
    "module, traced": (lambda: sg.function(_loss_of_a_model)(ONES), 3),
    "module, on the tape": (lambda: _loss_of_a_model(Tensor(ONES)), 3),
    "gradient of a function": (lambda: sg.grad(_loss_of_a_model)(ONES), 3),
    "callback": (lambda: _scan(lambda carry, row: (row, None)), 2),
    "in a callback": (lambda: _scan(lambda carry, row: row + np.ones(7)), 3),
    "tensor": (lambda: Tensor(ONES) + Tensor(ONES[0, :3]), 1),
    "backward": (lambda: Tensor(ONES).sum().backward(), 1),
    "setter": (lambda: setattr(Tensor(ONES), "grad", 3.0), 1),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_an_error_shows_the_lines_of_the_user(case):
    mistake, count = MISTAKES[case]
    with pytest.raises(StaticgradError) as caught:
        mistake()
    assert _frames(caught.value) == [__file__] * (count + 1)


def test_an_error_in_a_callback_shows_the_lines_of_the_user():
    with pytest.raises(KeyError) as caught:
        sg.function(lambda rows: _scan(lambda carry, row: NOTHING["missing"]))(ONES)
    assert _frames(caught.value) == [__file__] * 4


def test_an_error_that_is_no_one_of_the_users_keeps_all_frames(monkeypatch):
    monkeypatch.setattr("staticgrad.language.ops.contract.MatMul.infer", property(int))
    with pytest.raises(TypeError) as caught:
        sg.matmul(x, x.T)
    assert any(file.startswith(PACKAGE) for file in _frames(caught.value))


def test_what_the_user_handled_is_shown_and_what_the_package_handled_is_not():
    def both():
        try:
            NOTHING["missing"]
        except KeyError:
            np.asarray(x)

    with pytest.raises(StaticgradError) as caught:
        both()
    assert "KeyError" in "".join(traceback.format_exception(caught.value))
    with pytest.raises(StaticgradError) as caught:
        sg.tanh(x, 1, 2, 3)
    assert "During handling" not in "".join(traceback.format_exception(caught.value))


def test_the_setting_shows_all_frames():
    with pytest.raises(StaticgradError) as caught, sg.options(traceback="full"):
        x + np.ones(7)
    assert any(file.startswith(PACKAGE) for file in _frames(caught.value))
    with pytest.raises(sg.errors.ConfigError, match="user, full"), sg.options(traceback="short"):
        pass


def test_logs_and_threads_show_the_same(capfd):
    text = io.StringIO()
    logger = logging.Logger("of a test")
    logger.addHandler(logging.StreamHandler(text))
    try:
        x + np.ones(7)
    except StaticgradError:
        logger.exception("failed")
    assert PACKAGE not in text.getvalue()
    hook, threading.excepthook = threading.excepthook, threading.__excepthook__
    try:
        in_threads(lambda: x + np.ones(7))
    finally:
        threading.excepthook = hook
    shown = capfd.readouterr().err
    assert "[SG101]" in shown
    assert PACKAGE not in shown


@pytest.mark.thinned(2)
@pytest.mark.parametrize("setting", ["", "full"])
def test_a_program_prints_its_own_lines_and_the_message(tmp_path, setting):
    program = tmp_path / "program.py"
    program.write_text('import staticgrad as sg\nx = sg.input("x", (3, 4))\nsg.matmul(x, x)\n')
    paths = {"STATICGRAD_TRACEBACK": setting, "PYTHONPATH": str(Path(PACKAGE).parent)}
    done = python(program, check=False, env=paths)
    assert (PACKAGE in done.stderr) == (setting == "full")
    # Python 3.13 marks the part of a line with a line of its own.
    lines = [line for line in done.stderr.splitlines() if line.strip(" ~^")]
    assert ("ShapeError" in lines[3]) == (setting == "")


def test_a_notebook_shows_the_cell_and_the_message():
    ipython = pytest.importorskip("IPython.core.interactiveshell")
    shell = ipython.InteractiveShell(colors="nocolor")
    out, sys.stdout = sys.stdout, io.StringIO()
    try:
        shell.run_cell('import staticgrad as sg\nx = sg.input("x", (3, 4))\nsg.matmul(x, x)')
        text = sys.stdout.getvalue()
    finally:
        sys.stdout = out
        ipython.InteractiveShell.clear_instance()
    assert "[SG101]" in text
    assert PACKAGE not in text


TENSOR = Tensor(ONES, requires_grad=True)


def _double(x):
    return x * 2.0


def _inner(carry, row):
    return sg.while_loop(lambda y: y.sum() < 9.0, lambda y: (y, row), carry), None


def _too_many(t, y):
    return y, y


def _square(carry, row):
    return carry, sg.std(row, axis=5)


#: A call, and the name with which its message begins.
NAMED = {
    "a function": (lambda: sg.nn.huber(x, x[0]), "huber"),
    "a function that shares its body": (lambda: sg.std(x, axis=5), "std"),
    "another of these": (lambda: sg.nanvar(x, axis=5), "nanvar"),
    "made by a factory": (lambda: sg.fft.ifft(x, axis=5), "ifft"),
    "of a namespace": (lambda: sg.linalg.inv(x), "inv"),
    "a method": (lambda: x.mean(7), "mean"),
    "a method of a generator": (lambda: sg.random.Generator(1).normal(shape=(-2,)), "normal"),
    "inside of another": (lambda: sg.scan(_square, 0.0, x), "std"),
    "an op": (lambda: Concat(0)(x, "a"), "concat"),
    "a layer": (lambda: sg.nn.Flatten(9)(x), "Flatten"),
    "a constructor": (lambda: sg.nn.Conv2d(3, 8, 0), "Conv2d"),
    "a declared argument": (lambda: sg.roll(x, "a"), "roll"),
    "a helper by itself": (lambda: axis_of(9, x), "axis_of"),
    "a function from a public one": (lambda: sg.vjp(_double, x)[1]({}), "vjp"),
    "a derivative that is traced": (lambda: sg.grad(_double)("a"), "grad"),
    "a derivative at a point": (lambda: sg.jvp(_double, ONES, {}), "jvp"),
    "a derivative of tensors": (lambda: sg.hvp(TENSOR.sum(), TENSOR, ONES), "hvp"),
    "a sparse derivative": (lambda: sg.sparse_jacobian(_double)(1), "sparse_jacobian"),
    "a mapped function": (lambda: sg.vmap(_double, 7)(ONES), "vmap"),
    "a loop": (lambda: sg.fori_loop(0, 2, lambda i, y: (y, y), x), "fori_loop"),
    "a body inside of a loop": (lambda: sg.scan(_inner, x[0], x), "while_loop"),
    "an equation": (lambda: sg.ode.rk4(_too_many, x, ONES[0]), "rk4"),
}


@pytest.mark.parametrize(("call", "name"), NAMED.values(), ids=NAMED)
def test_a_message_begins_with_the_name_of_what_was_called(call, name):
    with pytest.raises(StaticgradError) as caught:
        call()
    assert caught.value.headline.partition(":")[0] == name
