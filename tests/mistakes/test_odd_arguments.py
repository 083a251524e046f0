"""Every public function refuses arguments of any other kind with one error of staticgrad."""

import inspect
import warnings

import numpy as np
import pytest
import scipy.sparse

import staticgrad as sg
from staticgrad.errors import StaticgradError

ROOMS = {"sg": sg} | {
    f"sg.{name}": getattr(sg, name)
    for name in (
        "fft", "linalg", "nn", "ode", "onnx", "optim", "random", "sparse", "special", "train", "xp"
    )
}  # fmt: skip
#: What only the package constructs, bases of classes, and what calls its argument.
OTHERS = {
    *("Compiled", "Epoch", "OnnxModel", "Module", "ModuleDict", "from_dlpack", "stacked"),
}


def public_callables():
    for room, module in ROOMS.items():
        for name in getattr(module, "__all__", dir(module)):
            value = getattr(module, name)
            is_error = inspect.isclass(value) and issubclass(value, Exception | sg.Value)
            if callable(value) and not name.startswith("_") and name not in OTHERS and not is_error:
                yield f"{room}.{name}", value


def odd_arguments():
    x, z = sg.input("x", (3,), "float64"), sg.input("z", (3,), "complex128")
    matrix, places = sg.input("m", (3, 3), "float32"), sg.input("i", (3,), "int64")
    return [
        *(None, "a", object(), -1, 0, 2.5, float("nan"), True, 1j, int, lambda v: v),
        *([], (1, 2), {}, np.ones(3), np.ones((3, 3)), np.array(["a"])),
        *(x, z, matrix, places, scipy.sparse.eye(3, format="csr")),
    ]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_odd_arguments_are_refused_in_our_words(seed):
    odd = odd_arguments()
    wrong = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, function in public_callables():
            rng = np.random.default_rng([seed, *name.encode()])
            for count in (0, 1, 1, 2, 2, 3, 3):
                arguments = [odd[place] for place in rng.integers(0, len(odd), count)]
                try:
                    function(*arguments)
                except StaticgradError:
                    pass
                except Exception as error:
                    wrong.append(f"{name}{(*map(str, arguments),)}: {error!r}"[:300])
    assert not wrong, "\n".join(wrong)


def test_an_argument_of_another_kind_is_named():
    with pytest.raises(sg.errors.ArgumentError) as actual:
        sg.fft.fft2(np.ones((2, 2)), 3)
    assert "fft2: s=3 is an int" in str(actual.value)
    assert "s is a sequence of int or Dim or None" in str(actual.value)
