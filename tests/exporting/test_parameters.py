"""Parameters of exported files and of modules of libraries: what sets them, and what reads them."""

import pickle

import numpy as np
import pytest

import staticgrad as sg
from tests.exporting.libraries import module_of
from tests.exporting.printed import load_exported

START = np.arange(6.0)
#: Steps of a parameter by a feed, and the same by NumPy.
STEPS = {
    "reversed": (lambda p, x: p + x[::-1], lambda p, x: p + x[::-1]),
    "running sum": (lambda p, x: p - sg.cumsum(x), lambda p, x: p - np.cumsum(x)),
    "total": (lambda p, x: p + x.sum(), lambda p, x: p + x.sum()),
    "rolled": (lambda p, x: sg.roll(x, 1) * 2.0, lambda p, x: np.roll(x, 1) * 2.0),
    "entries": (
        lambda p, x: sg.fori_loop(0, 6, lambda k, c: c.at[k].set(x[5 - k] + 1.0), p),
        lambda p, x: x[::-1] + 1.0,
    ),
    "a part": (
        lambda p, x: p.at[:3].set(x[3:]), lambda p, x: np.concatenate([x[3:], p[3:]]),
    ),
}  # fmt: skip


def step_of_file(f, folder):
    """The function of an exported file, and its parameters."""
    file = load_exported(f.export(folder / "step.py"))
    return file["run"], file["parameters"]


def step_of_library(f, folder):
    program = module_of(f, folder).Program()
    return program.run, program.parameters


DOORS = {"file": step_of_file, "library": step_of_library}
#: Views of the parameter itself.
VIEWS = {
    "itself": lambda p: p, "a view": lambda p: p.reshape(2, 3).reshape(-1),
    "a buffer": lambda p: memoryview(p), "its reverse": lambda p: p[::-1],
}  # fmt: skip


def program_of(step):
    x, p = sg.input("x", (6,), "float64"), sg.parameter("p", START)
    return sg.compile(sg.Graph({"sum": x.sum(), "before": p * 1.0}, updates={p: step(p, x)}))


#: By each door one step with each view, and one view with each step.
CASES = [("library", name, "itself") for name in STEPS]
CASES += [("library", "running sum", view) for view in VIEWS if view != "itself"]
CASES += [("file", "reversed", "itself"), ("file", "reversed", "its reverse")]
SLOW = [("file", name, view) for name in STEPS for view in VIEWS]


@pytest.mark.parametrize(
    ("door", "name", "view"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW if case not in CASES)],
)
def test_a_step_that_is_fed_its_own_parameter_reads_it_before_it_is_written(
    door, name, view, tmp_path
):
    program, compute = STEPS[name]
    run, parameters = DOORS[door](program_of(program), tmp_path)
    feed = VIEWS[view](parameters["p"])
    expected, fed = START, np.array(feed)
    results = run({"x": feed})
    assert results["sum"] == fed.sum()
    assert results["before"].tolist() == expected.tolist()
    np.testing.assert_array_equal(parameters["p"], compute(expected, fed))


def growing(door, folder):
    """A step that doubles a matrix and adds a feed, twice by NumPy, and by a door."""
    x, w = sg.input("x", (2, 3), "float64"), sg.parameter("w", np.zeros((2, 3)))
    v = sg.parameter("v", np.ones((2, 3)))
    f = sg.compile(sg.Graph({"y": (w * v).sum(1)}, updates={w: w * 2.0 + x}))
    return DOORS[door](f, folder)


MATRIX = np.arange(6.0).reshape(2, 3) - 2.0
FROZEN = MATRIX.copy()
FROZEN.flags.writeable = False
ARRAYS = {
    "columns first": np.asfortranarray(MATRIX), "every second": np.repeat(MATRIX, 2, 1)[:, ::2],
    "reversed": MATRIX[::-1, ::-1].copy()[::-1, ::-1], "big end first": MATRIX.astype(">f8"),
    "read-only": FROZEN, "float32": MATRIX.astype("f4"), "int64": MATRIX.astype("i8"),
    "int8": MATRIX.astype("i1"), "a list": MATRIX.tolist(), "float16": MATRIX.astype("f2"),
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
def test_an_array_that_is_set_is_converted_and_updated(door, tmp_path):
    run, parameters = growing(door, tmp_path)
    for name, array in ARRAYS.items():
        parameters["w"] = array
        expected = MATRIX
        for _ in range(2):
            result = run({"x": np.ones((2, 3))})
            np.testing.assert_array_equal(result["y"], expected.sum(1), name)
            expected = expected * 2.0 + 1.0
        np.testing.assert_array_equal(parameters["w"], expected, name)
    assert MATRIX.tolist() == [[-2.0, -1.0, 0.0], [1.0, 2.0, 3.0]]  # no array of the caller's


@pytest.mark.parametrize("door", DOORS)
def test_an_array_that_does_not_fit_is_refused_and_nothing_changes(door, tmp_path):
    run, parameters = growing(door, tmp_path)
    parameters.update({"w": MATRIX}, v=2.0 * MATRIX)
    parameters |= {"v": MATRIX}
    for value, error, words in (
        (np.zeros((3, 3)), ValueError, r"'w' has shape \(2, 3\), got \(3, 3\)"),
        (np.zeros((3, 2)), ValueError, r"'w' has shape \(2, 3\), got \(3, 2\)"),
        (0.0, ValueError, r"'w' has shape \(2, 3\), got \(\)"),
        (MATRIX.astype("c16"), TypeError, "'w' is float64, got complex128"),
        (MATRIX.astype(str), TypeError, "'w' is float64, got <U"),
        (MATRIX.astype(object), TypeError, "'w' is float64, got object"),
    ):
        with pytest.raises(error, match=words):
            parameters["w"] = value
        with pytest.raises(error, match=words):
            parameters.update(v=np.zeros((2, 3)), w=value)
    with pytest.raises(KeyError, match="no parameter 'u'"):
        parameters["u"] = MATRIX
    for change in (parameters.clear, parameters.popitem, lambda: parameters.pop("w")):
        with pytest.raises(TypeError, match="none is added or removed"):
            change()
    assert run({"x": np.zeros((2, 3))})["y"].tolist() == (MATRIX * MATRIX).sum(1).tolist()
    parameters["w"] = parameters["w"][::-1]  # of itself
    np.testing.assert_array_equal(parameters["w"], 2.0 * MATRIX[::-1])
    again = pickle.loads(pickle.dumps(parameters))
    assert type(again) is dict
    np.testing.assert_array_equal(again["v"], MATRIX)


def test_a_dict_in_the_place_of_parameters_is_read_into_them(tmp_path):
    x, w = sg.input("x", (3,), "float64"), sg.parameter("w", np.zeros(3))
    f = sg.compile(sg.Graph({"y": w + x}, updates={w: w + 1.0}))
    program = module_of(f, tmp_path).Program()
    program.parameters = {"w": [1, 2, 3]}
    assert program.run({"x": np.zeros(3)})["y"].tolist() == [1.0, 2.0, 3.0]
    assert program.parameters["w"].tolist() == [2.0, 3.0, 4.0]
    file = load_exported(f.export(tmp_path / "step.py"))
    parameters = file["parameters"]
    file["parameters"] = {"w": np.arange(6.0)[::2]}
    for first in (0.0, 1.0):
        assert file["run"]({"x": np.zeros(3)})["y"].tolist() == [first, first + 2.0, first + 4.0]
    assert file["parameters"] is parameters
    assert parameters["w"].tolist() == [2.0, 4.0, 6.0]
