"""Three ways to run one function of arrays: line by line, traced, or as a graph made by hand.

Each takes a function of values, and gives one of arrays that is called in the same way. The
programs beside this file are written over a ``way``: each has a ``run(way)`` that gives arrays, how
far those of two ways may be apart (``TOLERANCE``), what they must show (``check``), and ``main``,
which does all of it.
"""

import inspect
import time
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

import staticgrad as sg
from staticgrad.functions.call_types import OfArrays

Array = npt.NDArray[Any]
Found = dict[str, Array]
P = ParamSpec("P")
R = TypeVar("R")
#: Steps after which results of the tape and of compiled programs are compared.
CLOSE = 50


class Way(Protocol):
    """What makes a function of arrays of one of values."""

    @property
    def __name__(self) -> str: ...
    def __call__(self, function: Callable[P, R], /) -> OfArrays[P, R]: ...


def compiled(function: Callable[P, R]) -> OfArrays[P, R]:
    """Traced at the first call, and compiled: ``@sg.function``."""
    return sg.function(function)


def eagerly(function: Callable[P, R]) -> OfArrays[P, R]:
    """Python runs it line by line at each call, on the tape."""
    return sg.function(function).eagerly


def graph(function: Callable[P, R]) -> Any:
    """A graph is made for the sizes of the first call, inputs and updates by hand, and compiled."""
    programs: dict[Any, Any] = {}
    of_values: Callable[..., R] = function

    def call(*arrays: Any) -> Any:
        feeds = {f"input{k}": np.asarray(array) for k, array in enumerate(arrays)}
        kinds = tuple((array.shape, array.dtype) for array in feeds.values())
        if kinds not in programs:
            inputs = [sg.input(name, a.shape, a.dtype) for name, a in feeds.items()]
            with sg.nn.updates() as updates:
                found = of_values(*inputs)
            values, tree = sg.tree.flatten(found)
            outputs = {f"output{k}": value for k, value in enumerate(values)}
            programs[kinds] = sg.compile(sg.Graph(outputs, updates, inputs=inputs)), tree
        program, tree = programs[kinds]
        return sg.tree.unflatten(tree, [*program.run(feeds).values()])

    return call


def show(
    run: Callable[..., Found], check: Callable[[Found], None], tolerance: float, **sizes: int
) -> None:
    """Run a program each way, print how long each took, and compare what they gave.

    Traced and by hand the results are bitwise identical. Line by line they are rounded otherwise,
    and training amplifies that: after hundreds of steps two runs may differ in every digit, though
    both are right. So these are compared within ``tolerance`` after at most ``CLOSE`` steps.
    Each result passes ``check``, unless ``sizes`` make the run shorter than the program's own.
    """
    results: dict[Way, Found] = {}
    for way in (compiled, graph, eagerly):
        begin = time.perf_counter()
        results[way] = run(way, **sizes)
        print(f"{way.__name__:>8}: {time.perf_counter() - begin:6.2f} s")
        if not sizes:
            check(results[way])
    for name, expected in results[compiled].items():
        assert np.array_equal(results[graph][name], expected), name
    steps = inspect.signature(run).parameters.get("steps")
    close, at_once = results[compiled], results[eagerly]
    count: int = sizes.get("steps", 0) or (steps.default if steps else 0)
    if count > CLOSE:
        close, at_once = run(compiled, steps=CLOSE), run(eagerly, steps=CLOSE)
    for name, expected in close.items():
        np.testing.assert_allclose(at_once[name], expected, tolerance, tolerance, err_msg=name)
    print(f"the same bits traced and by hand, the same to {tolerance:.0e} line by line")
