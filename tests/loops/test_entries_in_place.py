"""Loops that write entries of an array: values beside Python's, and what an iteration costs."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg

#: Name -> one iteration: on values, and on an array that Python writes in place.
STEPS = {}


def step(function):
    """Register an iteration by its name; on arrays the result of ``at`` is a copy."""
    STEPS[function.__name__] = function
    return function


@step
def replace(c, i, j):
    return c.at[i].set(sg.sin(c[i]) + c[j])


@step
def swap(c, i, j):
    a, b = c[i], c[j]
    return c.at[i].set(b).at[j].set(a)


@step
def add(c, i, j):
    return c.at[i].add(c[j] * 0.5)


@step
def scale(c, i, j):
    return c.at[i].multiply(c[j] + 0.5)


@step
def keep_larger(c, i, j):
    return c.at[i].max(c[j] - 0.25)


@step
def read_between(c, i, j):
    d = c.at[i].set(c[j] * c[j])
    return d.at[j].set(d[i] + d[j])


@step
def read_behind(c, i, j):
    """The sum reads the old value, which no write may have replaced."""
    return c.at[i].set(c[j]) + c.sum() * 0.125


@step
def write_twice(c, i, j):
    d = c.at[i].set(c[j] * 0.5)
    return d.at[j].add(c[i] - d[i])


@step
def write_window(c, i, j):
    k = sg.minimum(i, c.shape[0] - 3)
    return c.at[k : k + 3].set(c[k : k + 3][::-1] * 0.75)


def in_python(name, x, places):
    """Run the iterations one by one, each as a program of its own by NumPy's references."""
    for i, j in places:
        value = sg.input("c", x.shape, "float64")
        x = np.asarray(sg.evaluate(STEPS[name](value, sg.constant(i), sg.constant(j)), {"c": x}))
    return x


def in_a_loop(name, size, count):
    x, places = sg.input("x", (size,), "float64"), sg.input("places", (count, 2), "int64")
    carry, _ = sg.scan(lambda c, p: (STEPS[name](c, p[0], p[1]), None), x, places)
    return x, carry


@pytest.mark.parametrize("size", [7, 40])  # few entries are written by a comparison
@pytest.mark.parametrize("name", STEPS)
def test_iterations_are_those_of_python(name, size):
    rng = np.random.default_rng(3)
    array, places = rng.normal(size=size), rng.integers(0, size, (12, 2))
    x, carry = in_a_loop(name, size, 12)
    weights = rng.normal(size=size)
    gradient = sg.grad((carry * weights).sum(), x)
    run = sg.compile({"carry": carry, "gradient": gradient})
    out = run.run({"x": array, "places": places})
    np.testing.assert_array_equal(out["carry"], in_python(name, array, places))
    direction = rng.normal(size=size)
    step = 1e-6
    high, low = (in_python(name, array + s * step * direction, places) for s in (1, -1))
    difference = ((high - low) * weights).sum() / (2 * step)
    np.testing.assert_allclose(out["gradient"] @ direction, difference, rtol=2e-7, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_programs_of_several_writes(data):
    """Random writes and reads of two arrays in one iteration, beside the same on arrays."""
    size = data.draw(st.sampled_from([5, 37]))
    lines = data.draw(
        st.lists(st.tuples(*[st.integers(0, 3)] * 4, st.booleans()), min_size=1, max_size=5)
    )

    def iterate(c, d, p):
        arrays = [c, d]
        for to, at, of, place, adds in lines:
            target, source = arrays[to % 2], arrays[of % 2]
            entry = target.at[p[at]]
            value = source[p[place]] * 0.5 + 0.25
            arrays[to % 2] = entry.add(value) if adds else entry.set(value)
        return tuple(arrays)

    index = st.integers(-size, size - 1)
    row = st.lists(index, min_size=4, max_size=4)
    places = np.array(data.draw(st.lists(row, min_size=3, max_size=3)))
    rng = np.random.default_rng(0)
    c, d = rng.normal(size=(2, size))
    x, y = (sg.input(name, (size,), "float64") for name in "xy")
    fed = sg.input("p", (3, 4), "int64")
    (first, second), _ = sg.scan(lambda t, p: (iterate(*t, p), None), (x, y), fed)
    loss = (first * first).sum() + (second * 2.0).sum()
    gx, gy = sg.grad(loss, [x, y])
    out = sg.compile({"c": first, "d": second, "gx": gx, "gy": gy}).run(
        {"x": c, "y": d, "p": places}
    )

    def on_arrays(c, d):
        arrays = [c.copy(), d.copy()]
        for p in places:
            for to, at, of, place, adds in lines:
                value = arrays[of % 2][p[place]] * 0.5 + 0.25
                old = arrays[to % 2][p[at]] if adds else 0.0
                arrays[to % 2][p[at]] = old + value
        return arrays

    expected = on_arrays(c, d)
    np.testing.assert_array_equal(out["c"], expected[0])
    np.testing.assert_array_equal(out["d"], expected[1])
    u, v = rng.normal(size=(2, size))

    def loss_at(t):
        first, second = on_arrays(c + t * u, d + t * v)
        return (first * first).sum() + (second * 2.0).sum()

    slope = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5
    np.testing.assert_allclose(out["gx"] @ u + out["gy"] @ v, slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["replace", "swap", "add", "scale", "read_between"])
def test_an_iteration_touches_entries_alone(name):
    """Neither values nor gradients hold an array for each iteration, or two places for a carry."""
    size = 4096
    x, carry = in_a_loop(name, size, size)
    value = sg.compile(carry)
    gradient = sg.compile(sg.grad((carry * carry).sum(), x))
    assert value.peak_bytes < 1.5 * 8 * size
    assert gradient.peak_bytes < 10 * 8 * size


def test_a_parameter_is_written_in_place():
    """A cache of keys: one entry of each row changes, and a run that fails changes nothing."""
    cache = sg.parameter("cache", np.zeros((3, 50, 4)))
    place, keys = sg.input("place", (), "int64"), sg.input("keys", (3, 4), "float64")
    written = cache.at[:, place].set(keys)
    graph = sg.Graph({"sums": written.sum(1)}, updates={cache: written})
    run, rows = sg.compile(graph), np.arange(12.0).reshape(3, 4)
    assert "copy of" not in str(run.explain())
    assert run.peak_bytes < 8 * 600
    expected = np.zeros((3, 50, 4))
    for at in (4, -1, 4):
        run.run({"place": at, "keys": rows * at})
        expected[:, at] = rows * at
        np.testing.assert_array_equal(cache.value, expected)
    with pytest.raises(sg.errors.IndexOutOfRange):
        run.run({"place": 50, "keys": rows})
    np.testing.assert_array_equal(cache.value, expected)


@pytest.mark.parametrize("order", ["block first", "entry first"])
def test_an_entry_beside_a_block_that_is_inside_is_still_checked(order):
    """A dynamic slice is brought inside, an entry is not: both writes together are checked."""
    x, u = sg.input("x", (50,), "float64"), sg.input("u", (3,), "float64")
    i, j = sg.input("i", (), "int64"), sg.input("j", (), "int64")
    if order == "block first":
        written = sg.dynamic_update_slice(x, u, [i]).at[j].set(-1.0)
    else:
        written = sg.dynamic_update_slice(x.at[j].set(-1.0), u, [i])
    run, block = sg.compile(written), np.array([0.5, 1.5, 2.5])
    for begin, entry in ((4, 7), (4, -1), (60, 48), (4, 5), (-3, -50)):
        expected = np.arange(50.0)
        start = min(max(begin + 50 * (begin < 0), 0), 47)
        if order == "entry first":
            expected[entry] = -1.0
        expected[start : start + 3] = block
        if order == "block first":
            expected[entry] = -1.0
        out = run.run({"x": np.arange(50.0), "u": block, "i": begin, "j": entry})
        np.testing.assert_array_equal(out, expected)
    for entry in (50, -51, 1000):
        with pytest.raises(sg.errors.IndexOutOfRange):
            run.run({"x": np.arange(50.0), "u": block, "i": 4, "j": entry})


def test_an_entry_outside_of_a_carry_is_an_error():
    x, n = sg.input("x", (40,), "float64"), sg.input("n", (), "int64")
    carry = sg.fori_loop(0, 5, lambda i, c: c.at[i + n].set(c[0]), x)
    run = sg.compile(carry)
    np.testing.assert_array_equal(run.run({"x": np.ones(40), "n": 35}), np.ones(40))
    with pytest.raises(sg.errors.IndexOutOfRange):
        run.run({"x": np.ones(40), "n": 36})


def test_a_label_of_an_iteration_does_not_count_from_the_end():
    """Other indices do: -1 is the last entry. The whole loop is one kernel."""
    scores, labels = sg.input("scores", (3, 8), "float64"), sg.input("labels", (6, 3), "int64")
    _, losses = sg.scan(lambda c, k: (c * 0.5, sg.nn.cross_entropy(c, k)), scores, labels)
    run, random = sg.compile(losses), np.random.default_rng(0)
    array, numbers = random.normal(size=(3, 8)), random.integers(0, 8, (6, 3))
    expected = []
    for k, row in enumerate(numbers):
        logits = array * 0.5**k
        chosen = logits[np.arange(3), row]
        expected.append((np.log(np.exp(logits).sum(1)) - chosen).mean())
    out = run.run({"scores": array, "labels": numbers})
    np.testing.assert_allclose(out, expected, rtol=1e-13)
    for wrong in (-1, 8):
        numbers[4, 1] = wrong
        with pytest.raises(sg.errors.IndexOutOfRange):
            run.run({"scores": array, "labels": numbers})


def test_zeros_keep_their_sign_where_nothing_is_added():
    x = sg.input("x", (40,), "float64")
    carry = sg.fori_loop(0, 3, lambda i, c: c.at[i].add(1.0), x)
    out = sg.compile(carry).run({"x": np.full(40, -0.0)})
    assert np.signbit(out[3:]).all()


def test_complex_entries_are_written_by_parts():
    x, u = sg.input("x", (40,), "complex128"), sg.input("u", (2,), "complex128")
    places = np.array([3, -1])
    written = x.at[places].set(u).at[0].set(2.0)
    carry = sg.fori_loop(0, 4, lambda i, c: c.at[i].set(c[i + 1] * 1j), written)
    random = np.random.default_rng(0)
    array, entries = (random.normal(size=(2, n)).T @ [1, 1j] for n in (40, 2))
    expected = array.copy()
    expected[places], expected[0] = entries, 2.0
    for i in range(4):
        expected[i] = expected[i + 1] * 1j
    out = sg.compile({"y": carry}).run({"x": array, "u": entries})
    np.testing.assert_array_equal(out["y"], expected)


@pytest.mark.parametrize("read", ["arange", "dynamic_slice", "int8"])
def test_gradients_of_windows_in_a_loop(read):
    """An iteration adds to its window alone: the sum is one array, which it overwrites."""
    size = 2000 if read != "int8" else 60
    x, w = sg.input("x", (size,), "float64"), sg.input("w", (12, 8), "float64")

    def iterate(total, of):
        start, weights = of
        if read == "dynamic_slice":
            window = sg.dynamic_slice(x, [start], [8])
        else:
            places = (start + sg.arange(8)).astype("int8" if read == "int8" else "int64")
            window = x[places]
        return total + (window * window * weights).sum(), None

    total, _ = sg.scan(iterate, sg.zeros((), "float64"), (sg.arange(12) * 3 - 2, w))
    graph = sg.Graph(sg.grad(total, x))
    random = np.random.default_rng(0)
    feeds = {"x": random.normal(size=size), "w": random.normal(size=(12, 8))}
    expected = np.zeros(size)
    for k, weights in enumerate(feeds["w"]):
        start = 3 * k - 2  # the first begins before the end; a dynamic slice is brought inside
        places = np.arange(start, start + 8) if k or read != "dynamic_slice" else np.arange(-8, 0)
        expected[places] += 2 * feeds["x"][places] * weights
    run = sg.compile(graph)
    for program in (run, sg.compile(graph, fuse=False), sg.compile(graph, threads=2)):
        np.testing.assert_allclose(program.run(feeds)["output"], expected, rtol=1e-14, atol=1e-14)
    assert read == "int8" or run.peak_bytes < 1.5 * 8 * size


def test_of_two_writes_to_one_entry_the_last_counts():
    """By indices of a run, which are equal or not; 50 elements are too many for comparisons."""
    x, i = sg.input("x", (50,), "float64"), sg.input("i", (2,), "int64")

    def write(c, step=0):
        return c.at[i[0]].set(c[i[1]] + 1.0 + step).at[i[1]].set(c[i[0]] - 2.0)

    rows = sg.input("rows", (50, 3), "float64")
    of_rows = rows.at[i[0]].set(rows[0] + 1.0).at[i[1]].set(rows[1] * 2.0)
    programs = {
        "outside": write(x),
        "in a loop": sg.fori_loop(0, 3, lambda k, c: write(c, k), x),
        "rows": of_rows,
        "three": x.at[i[0]].set(1.0).at[i[1]].set(2.0).at[i[0]].set(3.0),
    }
    f = sg.compile(programs)
    array, matrix = np.arange(50.0), np.arange(150.0).reshape(50, 3)
    for first, second in ((3, 3), (3, -47), (3, 7), (-1, 49)):
        expected = {name: array.copy() for name in programs} | {"rows": matrix.copy()}

        def write_both(c, step, first=first, second=second):
            old = c.copy()
            c[first] = old[second] + 1.0 + step
            c[second] = old[first] - 2.0

        write_both(expected["outside"], 0)
        for k in range(3):
            write_both(expected["in a loop"], k)
        expected["rows"][first], expected["rows"][second] = matrix[0] + 1.0, matrix[1] * 2.0
        for index, value in ((first, 1.0), (second, 2.0), (first, 3.0)):
            expected["three"][index] = value
        results = f.run({"x": array, "rows": matrix, "i": np.array([first, second])})
        for name, result in results.items():
            np.testing.assert_array_equal(
                result, expected[name], err_msg=f"{name} {first} {second}"
            )


@pytest.mark.parametrize("size", [33, 50])
def test_gradients_of_repeated_indices_in_a_loop_that_writes(size):
    """A loop writes one entry and reads entries, some twice: beside differences of NumPy's loop."""
    x, indices = sg.input("x", (size,), "float64"), sg.input("indices", (3, 3), "int64")
    weights = np.array([1.0, 10.0, 100.0])

    def iterate(carry, j):
        c, total = carry
        total = total + (sg.sin(c[j]) * weights).sum()
        return (c.at[j[0]].set(c[j[0]] * 2.0), total), None

    (_, total), _ = sg.scan(iterate, (x, 0.0), indices)
    slope = sg.compile(sg.grad(total, x))

    def loss(array, rows):
        array, total = array.copy(), 0.0
        for row in rows:
            total += (np.sin(array[row]) * weights).sum()
            array[row[0]] *= 2.0
        return total

    for rows in ([[7, 7, 9], [7, 9, 9], [1, 7, 7]], [[0, 0, 0], [32, 32, 0], [-1, 5, -1]]):
        array = np.linspace(0.1, 1.2, size)
        steps = 1e-6 * np.eye(size)
        expected = [(loss(array + h, rows) - loss(array - h, rows)) / 2e-6 for h in steps]
        result = slope.run({"x": array, "indices": np.array(rows)})
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)


def test_gradients_of_a_window_that_is_longer_than_its_axis():
    """Positions from the end come again from the front: entries 34 to 36 are read twice."""
    x, begin = sg.input("x", (37,), "float64"), sg.input("begin", (4,), "int64")

    def iterate(carry, i):
        c, total = carry
        total = total + (sg.sin(c[i + sg.arange(40)]) * np.arange(40.0)).sum()
        return (c.at[0].set(c[1] * 2.0), total), None

    (_, total), _ = sg.scan(iterate, (x, 0.0), begin)
    array = np.linspace(0.1, 1.2, 37)

    def loss(values):
        values, total = values.copy(), 0.0
        for _ in range(4):
            total += (np.sin(values[np.arange(40) - 3]) * np.arange(40.0)).sum()
            values[0] = values[1] * 2.0
        return total

    expected = [(loss(array + h) - loss(array - h)) / 2e-6 for h in 1e-6 * np.eye(37)]
    result = sg.compile(sg.grad(total, x)).run({"x": array, "begin": np.full(4, -3)})
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-5)
