"""``sg.numba.function``: compiled programs in functions that Numba compiles."""

import ctypes
import itertools
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numba
import numpy as np
import pytest

import staticgrad as sg
from staticgrad.native.entry.words import ProgramWord

ROOT = Path(__file__).parents[2]
DTYPES = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
DTYPES += ["float64", "float32", "complex64", "complex128", "bool"]

NUMBERS = itertools.count()


def quadratic(size="n", name=None, **options):
    """A program of x: the value and the gradient of the sum of (x - 3) ** 2.

    Equal programs share one; so each has a name.
    """
    x = sg.input("x", (size,), "float64")
    value = ((x - 3.0) ** 2).sum()
    results = {"value": value, "gradient": sg.grad(value, x)}
    return sg.compile(sg.Graph(results, name=name or f"quadratic{next(NUMBERS)}"), **options)


def contexts_of(f):
    """The contexts of a program, and how many native runs each has had."""
    executors = f._c_program._executors
    return [executor.native_entry.runs for executor in executors]


@numba.njit
def descend(f, x, steps):
    value = 0.0
    for _ in range(steps):
        value, gradient = f(x)
        x = x - 0.1 * gradient
    return value, x


@numba.njit
def descend_in_place(f, x, steps):
    value, gradient = 0.0, np.empty_like(x)
    for _ in range(steps):
        value, _ = f(x, out=(None, gradient))
        for i in range(x.size):
            x[i] -= 0.1 * gradient[i]
    return value, x


@pytest.mark.parametrize("size", ["n", 4])
@pytest.mark.parametrize("loop", [descend, descend_in_place])
def test_a_loop_of_gradient_steps_equals_numpy(loop, size):
    f = quadratic(size)
    start = np.array([1.0, -2.0, 0.5, 7.0])
    expected = start.copy()
    for _ in range(20):
        value = ((expected - 3.0) ** 2).sum()
        expected = expected - 0.1 * 2.0 * (expected - 3.0)
    actual_value, actual = loop(sg.numba.function(f), start.copy(), 20)
    np.testing.assert_allclose(actual, expected, rtol=1e-14)
    np.testing.assert_allclose(actual_value, value, rtol=1e-14)
    assert sum(contexts_of(f)) >= 19  # Python ran the first call alone


def program_of(dtype, shape, named):
    """y of x in its own dtype, a number of x, and both as NumPy has them."""
    inputs = [f"n{axis}" for axis in range(len(shape))] if named else shape
    x = sg.input("x", tuple(inputs), dtype)
    if dtype == "bool":
        return {"y": sg.logical_not(x), "any": sg.any(x)}, lambda x: (~x, x.any())
    if np.dtype(dtype).kind in "iu":
        return {"y": x * 3, "most": sg.max(x)}, lambda x: (x * np.array(3, dtype), x.max())
    return {"y": x * x, "sum": x.sum()}, lambda x: (x * x, x.sum(dtype=dtype))


@pytest.mark.thinned(16)
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 1, 4)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_element_types_and_shapes(dtype, shape, named):
    values, reference = program_of(dtype, shape, named)
    f = sg.numba.function(sg.Graph(values))
    random = np.random.default_rng(len(shape))
    x = random.integers(0, 2 if dtype == "bool" else 5, shape).astype(dtype)
    x = np.asarray(x + 0.5j * x if np.dtype(dtype).kind == "c" else x).astype(dtype)
    expected = reference(x)
    for results in (f(x), f(x), f(x, out=(np.empty_like(x) if shape else None, None))):
        for actual, reference_result in zip(results, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(actual, dtype), reference_result)
            assert isinstance(actual, np.ndarray) == bool(np.shape(reference_result))


def test_numbers_are_inputs_and_arguments_have_names():
    x, a, on = (
        sg.input("x", (3,), "float32"),
        sg.input("a", (), "float32"),
        sg.input("on", (), "bool"),
    )
    y = sg.where(on, a * x, -x)
    f = sg.numba.function(sg.compile(sg.Graph({"y": y}, inputs=[x, a, on])))

    @numba.njit
    def call(x, a, on):
        return f(x, a, on), f(on=on, a=a, x=x), f(x, np.float32(a), on=True)

    x = np.arange(3, dtype="float32")
    for number in (2, 2.0, np.float32(2.0), np.int16(2)):
        for actual in call(x, number, True):
            np.testing.assert_array_equal(actual, 2 * x)
    np.testing.assert_array_equal(call(x, 2.0, False)[0], -x)
    np.testing.assert_array_equal(f(x, np.array(2.0, "float32"), np.array(True)), 2 * x)


@pytest.mark.parametrize("number", [1j, "text"])
def test_a_number_that_does_not_fit_is_an_error(number):
    a = sg.input("a", (), "float32")
    with pytest.raises(sg.errors.FeedDTypeError, match="program has a: f32"):
        sg.numba.function(sg.compile(a * 2.0))(number)


def test_names_that_python_or_the_function_uses():
    names = ("lambda", "out", "x.y", "x y", "values", "1")
    inputs = [sg.input(name, (), "float64") for name in names]
    total = sum(3.0**place * value for place, value in enumerate(inputs))
    f = sg.numba.function(sg.Graph({"sum": total, "class": 2.0 * total}, inputs=inputs, name="def"))
    actual = f(*np.arange(6.0))
    assert actual == (547 + 547, 2 * (547 + 547)) or actual[0] == sum(
        3.0**place * place for place in range(6)
    )
    assert type(actual) is tuple


def test_functions_of_arrays_are_compiled_for_an_example():
    def loss(w, x, scale=1.0):
        return {"loss": (sg.tanh(x @ w) * scale).sum()}["loss"]

    w, x = np.array([0.5, -1.0]), np.arange(6.0).reshape(3, 2)
    f = sg.numba.function(sg.value_and_grad(loss), w, x)
    value, slope = f(w, x)
    np.testing.assert_allclose(value, np.tanh(x @ w).sum(), rtol=1e-14)
    np.testing.assert_allclose(slope, (1 - np.tanh(x @ w) ** 2) @ x, rtol=1e-13)
    free = sg.numba.function(sg.function(loss, sizes={"x": ("rows", 2)}), w, x)
    for rows in (1, 5):
        x = np.linspace(-1, 1, 2 * rows).reshape(rows, 2)
        np.testing.assert_allclose(free(w, x), np.tanh(x @ w).sum(), rtol=1e-14)


@pytest.mark.parametrize(
    ("argument", "match"),
    [
        (lambda: (3,), "got an int"),
        (lambda: (quadratic(), np.zeros(3)), "no example"),
        (lambda: (lambda x: x,), "example of its arguments"),
        (lambda: (sg.compile(sg.input("x", (2,), "bfloat16") * 2),), "bfloat16"),
        (lambda: (sg.compile(sg.input("x", (2,), "float16") * 2),), "float16"),
    ],
)
def test_what_is_no_program_is_an_error(argument, match):
    with pytest.raises(sg.errors.ArgumentError, match=match) as raised:
        sg.numba.function(*argument())
    assert raised.value.hint


# -- errors ---------------------------------------------------------------------------------------


def lookup():
    """Rows of a table; the first input has three indices."""
    i, table = sg.input("i", (3,), "int64"), sg.input("table", ("n",), "float32")
    return sg.numba.function(sg.Graph({"rows": table[i]}, inputs=[i, table], name="lookup"))


INDICES, TABLE = np.array([0, 2, 1]), np.arange(4, dtype="float32")
#: What is passed -> the error when Numba compiles, its text, and what its hint makes of the array.
MISFITS = {
    "dtype": (INDICES.astype("float64"), sg.errors.FeedDTypeError, "i is array.float64, 1d, C"),
    "rank": (INDICES.reshape(1, 3), sg.errors.FeedShapeError, "array of 1 axis"),
    "order": (np.repeat(INDICES, 2)[::2], sg.errors.FeedError, "contiguous in C order"),
    "number": (3, sg.errors.FeedDTypeError, "array of 1 axis"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_types_that_do_not_fit_are_errors_when_numba_compiles(name):
    f = lookup()
    array, error, text = MISFITS[name]

    @numba.njit
    def call(i, table):
        return f(i, table)

    with pytest.raises(error, match=text) as raised:
        call(array, TABLE)
    hint = raised.value.hint
    if "np." in hint and "give" not in hint:
        fitting = eval(hint, {"i": array, "np": np})
        np.testing.assert_array_equal(call(fitting, TABLE), TABLE[INDICES])


#: What is passed as out -> what the message has.
WRONG_OUT = {
    "shape": (np.empty(4, "float32"), "another shape"),
    "dtype": (np.empty(3), "float64"),
    "order": (np.empty(6, "float32")[::2], "contiguous in C order"),
    "count": ((np.empty(3, "float32"), None), "2 entries"),
    "kind": (3, "out is int64"),
    "entry": ((3,), "give an array or None"),
    "memory": (TABLE[:3], "shares memory with feed 'table'"),
}


@pytest.mark.parametrize("name", WRONG_OUT)
def test_arrays_for_results_that_do_not_fit(name):
    f = lookup()
    out, text = WRONG_OUT[name]

    @numba.njit
    def call(i, table, out):
        return f(i, table, out=out)

    for _ in range(2):
        with pytest.raises(sg.errors.OutputArrayError, match=text):
            call(INDICES, TABLE, out)
    buffer = np.empty(3, "float32")
    assert call(INDICES, TABLE, buffer) is not None
    np.testing.assert_array_equal(buffer, TABLE[INDICES])
    np.testing.assert_array_equal(call(INDICES, TABLE, (buffer,)), TABLE[INDICES])


def test_a_read_only_array_is_an_input_and_no_result():
    f = quadratic()
    x = np.ones(3)
    x.flags.writeable = False
    call = sg.numba.function(f)
    np.testing.assert_array_equal(call(x).gradient, np.full(3, -4.0))
    with pytest.raises(sg.errors.OutputArrayError, match="may be written"):
        call(np.ones(3), out=(None, x))


def test_errors_of_a_run_are_exceptions_that_numba_catches():
    f = lookup()

    @numba.njit
    def call(i, table):
        return f(i, table)

    @numba.njit
    def call_or_first(i, table):
        try:
            return f(i, table)
        except Exception:
            return table[:1]

    outside = np.array([0, 9, 1])
    for _ in range(3):
        with pytest.raises(sg.errors.IndexOutOfRange, match="index 9 is out of range") as error:
            call(outside, TABLE)
        assert "table[i]" in str(error.value)  # the user's line
        np.testing.assert_array_equal(call_or_first(outside, TABLE), TABLE[:1])
        with pytest.raises(sg.errors.FeedError, match="axis 0 of feed 'i' is 2"):
            call(INDICES[:2].copy(), TABLE)
        np.testing.assert_array_equal(call(INDICES, TABLE), TABLE[INDICES])


def test_a_matrix_without_a_solution_and_a_host_function_that_fails():
    a = sg.input("a", (2, 2), "float64")
    f = sg.numba.function(sg.compile(sg.linalg.inv(a)))
    with pytest.raises(sg.errors.LinearAlgebraError):
        f(np.zeros((2, 2)))
    np.testing.assert_allclose(f(2 * np.eye(2)), np.eye(2) / 2)
    x = sg.input("x", (2,), "float64")

    def fail(x):
        if x[0] < 0:
            raise OSError("no such thing")
        return x + 1

    g = sg.numba.function(sg.compile(sg.host_call(fail, x, types=x)))
    np.testing.assert_array_equal(g(np.zeros(2)), np.ones(2))
    with pytest.raises(sg.errors.CallError, match="no such thing"):
        g(np.full(2, -1.0))


def test_numbers_that_are_not_finite_are_results():
    value, gradient = sg.numba.function(quadratic())(np.array([np.nan, np.inf, 1.0]))
    assert np.isnan(value)
    np.testing.assert_array_equal(gradient, [np.nan, np.inf, -4.0])


# -- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_of_numba_call_a_program_at_once(threads):
    f = quadratic(threads=threads)
    call = sg.numba.function(f)

    @numba.njit(parallel=True, nogil=True)
    def gradients(points):
        slopes = np.empty_like(points)
        for row in numba.prange(points.shape[0]):
            call(points[row], out=(None, slopes[row]))
        return slopes

    points = np.random.default_rng(0).normal(size=(64, 20_000))
    for _ in range(3):
        np.testing.assert_array_equal(gradients(points), 2.0 * (points - 3.0))
    assert sum(contexts_of(f)) > 64


def test_threads_of_python_call_a_program_at_once():
    f = quadratic()
    call = sg.numba.function(f)

    @numba.njit(nogil=True)
    def repeat(point, times):
        total = np.zeros_like(point)
        for _ in range(times):
            total += call(point).gradient
        return total

    failed_seeds = []

    def work(seed, size):
        point = np.random.default_rng(seed).normal(size=size)
        for _ in range(20):
            if not np.allclose(repeat(point, 50), 50 * 2.0 * (point - 3.0)):
                failed_seeds.append(seed)
            if not np.array_equal(f.run({"x": point})["gradient"], 2.0 * (point - 3.0)):
                failed_seeds.append(seed)

    workers = [
        threading.Thread(target=work, args=(seed, 100 * (seed % 3 + 1))) for seed in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failed_seeds


def test_more_shapes_than_a_program_has_records_for():
    f = sg.numba.function(quadratic())
    for _ in range(2):
        for size in range(40):
            x = np.arange(float(size))
            np.testing.assert_array_equal(f(x).gradient, 2.0 * (x - 3.0))


COUNTED = """
    import numba
    import numpy as np
    import staticgrad as sg
    from numba.core.runtime import rtsys

    x = sg.input("x", ("n",), "float64")
    value = (x * x).sum()
    f = sg.numba.function(sg.Graph({"value": value, "gradient": sg.grad(value, x)}))


    @numba.njit
    def repeat(x, gradient, times):
        for _ in range(times):
            f(x, out=(None, gradient))


    def count(times):
        before = rtsys.get_allocation_stats().alloc
        repeat(x, gradient, times)
        return rtsys.get_allocation_stats().alloc - before


    x, gradient = np.ones(10), np.empty(10)
    repeat(x, gradient, 2)
    print(count(1000) - count(1))  # Numba itself counts the arguments of a call from Python
"""


@pytest.mark.slow
def test_a_call_takes_no_memory_beyond_its_results():
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(COUNTED)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_NRT_STATS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert run.stdout == "0\n", run.stderr


def _call_in_child(f, queue):
    queue.put(f(np.ones(3)).gradient)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_calls_a_program():
    f = sg.numba.function(quadratic())
    f(np.ones(3)), f(np.ones(3))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_call_in_child, args=(f, queue))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), np.full(3, -4.0))
    child.join()


# -- parameters -----------------------------------------------------------------------------------


def stepping():
    """A step of gradient descent, and its parameter."""
    x = sg.input("x", (3,), "float64")
    w = sg.parameter("w", np.zeros(3))
    loss = ((w - x) ** 2).sum()
    step = sg.Graph({"loss": loss}, updates={w: w - 0.25 * sg.grad(loss, w)})
    return sg.compile(step), w


def test_parameters_are_updated_and_read_between_calls():
    f, w = stepping()
    call = sg.numba.function(f)
    x = np.array([1.0, 2.0, 4.0])

    @numba.njit
    def train(x, steps):
        loss = 0.0
        for _ in range(steps):
            loss = call(x)
        return loss

    expected = np.zeros(3)
    for steps in (1, 2, 5, 50):
        loss = train(x, steps)
        for _ in range(steps):
            previous, expected = expected, expected + 0.5 * (x - expected)
        np.testing.assert_array_equal(w.value, expected)
        np.testing.assert_allclose(loss, ((previous - x) ** 2).sum(), rtol=1e-12)
    w.value = np.zeros(3)
    f.run({"x": x})
    train(x, 1)
    np.testing.assert_array_equal(w.value, 0.75 * x)


def test_threads_that_update_a_parameter_wait_for_each_other():
    total = sg.parameter("total", np.zeros(2000))
    x = sg.input("x", (), "float64")
    f = sg.compile(sg.Graph({"x": x * 1.0}, updates={total: total + x}))
    call = sg.numba.function(f)

    @numba.njit(parallel=True)
    def add(count):
        for number in numba.prange(count):
            call(float(number))

    done = threading.Event()
    torn = []

    def look():
        while not done.is_set():
            value = total.value
            if not np.all(value == value[0]):
                torn.append(value)

    reader = threading.Thread(target=look)
    reader.start()
    add(300)
    done.set()
    reader.join()
    np.testing.assert_array_equal(total.value, np.full(2000, sum(range(300))))
    assert not torn


def test_two_programs_of_equal_text_have_their_parameters():
    (first, w), (second, v) = stepping(), stepping()
    f, g = sg.numba.function(first), sg.numba.function(second)

    @numba.njit
    def step(x):
        f(x)
        f(x)
        g(x)

    step(np.ones(3))
    np.testing.assert_array_equal(w.value, np.full(3, 0.75))
    np.testing.assert_array_equal(v.value, np.full(3, 0.5))


# -- Numba's cache --------------------------------------------------------------------------------

CACHED = """
    import sys
    import numba
    import numpy as np
    import staticgrad as sg

    x = sg.input("x", ("n",), "float64")
    centre = float(sys.argv[1])
    gradient = sg.numba.function(sg.Graph({"g": sg.grad(((x - centre) ** 2).sum(), x)}))


    @numba.njit(cache=True)
    def descend(x, steps):
        for _ in range(steps):
            x = x - 0.1 * gradient(x)
        return x


    print(descend(np.zeros(2), 200).round(6), sum(descend.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_numba_keeps_callers_on_disk(tmp_path):
    file = tmp_path / "cached.py"
    file.write_text(textwrap.dedent(CACHED), "utf-8")

    def run(centre):
        command = [sys.executable, "-W", "error", str(file), centre]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)

    assert [run("3").stdout for _ in range(2)] == ["[3. 3.] 0\n", "[3. 3.] 1\n"]
    changed = run("5")  # the file is the same, and the program is not
    assert "staticgrad.errors.ProgramError: [SG508] Numba's cache" in changed.stderr
    assert run("3").stdout == "[3. 3.] 1\n"


def test_numba_says_that_it_keeps_no_caller_of_a_program_with_parameters(tmp_path):
    f = sg.numba.function(stepping()[0])
    space = {"f": f, "numba": numba}
    file = tmp_path / "caller.py"
    file.write_text("@numba.njit(cache=True)\ndef call(x):\n    return f(x)\n", "utf-8")
    exec(compile(file.read_text("utf-8"), str(file), "exec"), space)
    with pytest.warns(numba.NumbaWarning, match="dynamic globals"):
        assert space["call"](np.ones(3)) == 3.0


# -- the program behind an address ----------------------------------------------------------------


def test_equal_programs_share_one_in_a_process():
    first, second = [sg.numba.function(quadratic(name="same")) for _ in range(2)]
    assert first.py_func is not second.py_func
    words = [f.py_func.__code__.co_consts for f in (first, second)]
    assert words[0] == words[1]


def test_calls_of_numbas_c_functions():
    """A signature of one's own is a ``numba.cfunc`` around the program."""
    f = sg.numba.function(quadratic(1))

    @numba.cfunc(numba.float64(numba.float64))
    def value(x):
        point = np.empty(1)
        point[0] = x
        return f(point).value

    assert value.ctypes(5.0) == 4.0
    pointer = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(value.address)
    assert pointer(1.0) == 4.0


def test_programs_without_inputs_and_of_constants():
    f = sg.numba.function(sg.Graph({"y": sg.constant(np.arange(3.0)), "s": sg.constant(2.5)}))
    for _ in range(5):
        y, s = f()
        np.testing.assert_array_equal(y, np.arange(3.0))
        assert s == 2.5


def test_results_that_are_one_value():
    x = sg.input("x", (3,), "float64")
    y = x * 2.0
    f = sg.numba.function(sg.Graph({"a": y, "b": y}))
    for _, name in itertools.product(range(4), "ab"):
        np.testing.assert_array_equal(getattr(f(np.ones(3)), name), np.full(3, 2.0))


def test_a_result_whose_extent_is_computed():
    x = sg.input("x", ("n",), "float64")
    f = sg.numba.function(sg.Graph({"y": sg.concatenate([x, x, sg.constant([1.0])])}))
    for size in (3, 1, 3):
        x = np.arange(float(size))
        expected = np.concatenate([x, x, [1.0]])
        for _ in range(2):
            np.testing.assert_array_equal(f(x), expected)
            np.testing.assert_array_equal(f(x, out=np.empty(expected.size)), expected)
        with pytest.raises(sg.errors.OutputArrayError, match="another shape"):
            f(x, out=np.empty(expected.size + 1))


def test_contexts_are_added_while_others_are_in_use():
    f = quadratic()
    call = sg.numba.function(f)
    x = np.zeros(1_000_000)
    call(x)

    @numba.njit(nogil=True)
    def repeat(x, gradient, times):
        for _ in range(times):
            call(x, out=(None, gradient))

    repeat(x, np.empty_like(x), 1)
    arrays = [np.empty_like(x) for _ in range(3)]
    workers = [threading.Thread(target=repeat, args=(x, array, 40)) for array in arrays]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for array in arrays:
        np.testing.assert_array_equal(array, 2.0 * (x - 3.0))
    assert 1 <= f._c_program._words[ProgramWord.CONTEXTS] <= 4
