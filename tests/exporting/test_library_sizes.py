"""Libraries for C whose sizes stay free: one library serves all, results are those of ``f.run``."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import errors
from tests.exporting.libraries import gpt, module_of, poison

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
RNG = np.random.default_rng(5)


def normal(*shape, dtype="float32"):
    return RNG.normal(size=shape).astype(dtype)


def mlp():
    sg.nn.manual_seed(0)
    model = sg.nn.Sequential(sg.nn.Linear(4, 16), sg.nn.gelu, sg.nn.Linear(16, 3))
    x, y = sg.input("x", ("batch", 4)), sg.input("y", ("batch",), "int64")
    loss = sg.nn.cross_entropy(model(x), y)
    updates = sg.optim.Adam(1e-2).updates(loss, model.parameters())
    graph = sg.Graph({"loss": loss}, updates=updates)
    return graph, lambda n: {"x": normal(n, 4), "y": RNG.integers(0, 3, n)}


def scan_rows():
    """A loop over a free number of rows, with its gradient: the parity of the number matters."""
    x, w = sg.input("x", ("t", "batch", 6)), sg.input("w", (6, 6))
    carry, out = sg.scan(lambda c, row: (sg.tanh(c @ w + row),) * 2, sg.zeros((x.shape[1], 6)), x)
    slopes = dict(zip(("dx", "dw"), sg.grad(carry.sum(), [x, w]), strict=True))
    graph = sg.Graph({"out": out, "last": carry, **slopes})
    return graph, lambda n: {"x": normal(n, 1 + n % 4, 6), "w": normal(6, 6)}


def swap_buffers():
    """A loop whose carries take turns in two places, and no output has its rows."""
    x, w = sg.input("x", ("t", 5, 5)), sg.input("y", ("n", 5))
    carry, _ = sg.scan(lambda c, row: (0.1 * sg.sort(c @ row, axis=0) + c[::-1], c[:1, :1]), w, x)
    return sg.Graph({"y": carry * 2.0}), lambda n: {"x": normal(n, 5, 5), "y": normal(90, 5)}


def halve():
    x = sg.input("x", ("n",), "float64")
    y = sg.while_loop(lambda v: (v * v).sum() > 1e-3, lambda v: v * 0.5, x, max_steps=200)
    graph = sg.Graph({"y": y[0] if isinstance(y, tuple) else y})
    return graph, lambda n: {"x": normal(n, dtype="float64")}


def switch_branches():
    x, at = sg.input("x", ("n",)), sg.input("at", (), "int64")
    y = sg.switch(at, [sg.sin, sg.exp, lambda v: sg.cumsum(v) * 2.0], x)
    return sg.Graph({"y": y}), lambda n: {"x": normal(n), "at": np.int64(n % 3)}


def convolve_and_pool():
    x, w = sg.input("x", ("batch", 3, 11, 11)), sg.input("w", (4, 3, 3, 3))
    y = sg.nn.max_pool(sg.nn.relu(sg.nn.conv(x, w, padding=1)), 2)
    graph = sg.Graph({"y": y, "dw": sg.grad((y * y).sum(), w)})
    return graph, lambda n: {"x": normal(n, 3, 11, 11), "w": normal(4, 3, 3, 3)}


def concatenate_and_sort():
    """Sizes that are sums, quotients and maxima of others."""
    x, y = sg.input("x", ("n", 3)), sg.input("y", ("m", 3))
    stacked = sg.concatenate([x, y, x])
    pairs = sg.nn.avg_pool(stacked.T[None], 2)[0]
    graph = sg.Graph({"pairs": pairs, "sorted": sg.sort(stacked, axis=0), "same": x, "twice": x})
    return graph, lambda n: {"x": normal(n, 3), "y": normal(2 * n + 3, 3)}


def stack_layers():
    x, w = sg.input("x", ("batch", 32)), sg.input("w", (32, 32))
    h = x
    for _ in range(6):
        h = sg.tanh(h @ w)
    loss = (h * h).sum()
    graph = sg.Graph({"loss": loss, "dw": sg.grad(loss, w)})
    return graph, lambda n: {"x": normal(n, 32), "w": normal(32, 32) * 0.3}


PROGRAMS = {
    "mlp": (mlp, {}, (1, 0, 64, 17, 200)),
    "scanned": (scan_rows, {}, (1, 2, 3, 8)),
    "turned": (swap_buffers, {}, (4, 5, 1)),
    "halved": (halve, {}, (3, 40)),
    "branched": (switch_branches, {}, (30, 31, 32)),
    "derived": (concatenate_and_sort, {}, (4, 1, 9)),
    "a small gpt": (gpt, {}, (2, 5, 1)),
    "filtered": (convolve_and_pool, {"threads": 2}, (1, 4)),
    "recomputed": (stack_layers, {"memory_budget": 60_000}, (64, 8, 65)),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * n.startswith("a small")) for n in PROGRAMS],
)
def test_results_are_those_of_the_program_at_all_sizes(name, tmp_path):
    make, options, sizes = PROGRAMS[name]
    graph, feeds_of = make()
    f = sg.compile(graph, **options)
    program = module_of(f, tmp_path).Program()
    for size in sizes:
        feeds = feeds_of(size)
        for _ in range(2):
            poison(program)
            actual, want = program.run(feeds), f.run(feeds)
            for key, value in want.items():
                assert actual[key].tobytes() == np.asarray(value).tobytes(), (size, key)
    for p in graph.parameters:
        assert program.parameters[p.name].tobytes() == p.value.tobytes(), p.name


def test_memory_is_about_that_of_a_plan_for_the_sizes(tmp_path):
    graph, _ = mlp()
    f = sg.compile(graph)
    module = module_of(f, tmp_path)
    for batch in (1, 64, 333):
        peak = f.plan(batch=batch).peak_bytes
        assert peak <= module._arena_bytes(batch) <= 1.3 * peak


def test_a_size_is_fixed_by_its_value_and_free_without_one(tmp_path):
    x = sg.input("x", ("rows", "columns"))
    f = sg.compile(sg.Graph({"y": sg.exp(x).sum(axis=1)}))
    f.run({"x": normal(7, 3)})
    program = module_of(f, tmp_path, columns=4).Program()
    feeds = {"x": normal(9, 4)}
    assert program.run(feeds)["y"].tobytes() == f.run(feeds)["y"].tobytes()
    with pytest.raises(ValueError, match=r"shape \(9, 3\), the input \(9, 4\)"):
        program.run({"x": normal(9, 3)})


def test_a_size_that_no_input_has_is_given_by_name(tmp_path):
    n = sg.dim("n")
    f = sg.compile(sg.Graph({"y": sg.input("x", (2 * n,)) + 1.0}))
    program = module_of(f, tmp_path).Program()
    x = normal(6)
    assert program.run({"x": x}, n=3)["y"].tobytes() == (x + np.float32(1)).tobytes()
    with pytest.raises(TypeError, match="size n: give it"):
        program.run({"x": x})


def test_sizes_that_conditions_exclude_are_an_error(tmp_path):
    rows = sg.dim("rows", min=2, max=10, multiple_of=2)
    x, y = sg.input("x", (rows, 3)), sg.input("y", ("m", 3))
    f = sg.compile(sg.Graph({"z": x + y}))  # so m is rows
    feeds = {"x": normal(4, 3), "y": normal(4, 3)}
    module = module_of(f, tmp_path)
    program = module.Program()
    assert program.run(feeds)["z"].tobytes() == (feeds["x"] + feeds["y"]).tobytes()
    for n, m in ((0, 0), (3, 3), (12, 12), (4, 6), (-2, -2)):
        assert module._arena_bytes(n, m) == 0
        with pytest.raises(module.ProgramError) as caught:
            module.shape_of(0, n, m)
        assert -caught.value.code % 16 == 1
        for text in ("rows >= 2", "rows <= 10", "rows is a multiple of 2", "rows"):
            assert text in str(caught.value)


def test_a_lookup_in_an_empty_axis_fails_before_it_reads(tmp_path):
    table, at = sg.input("table", ("rows", 3)), sg.input("at", ("n",), "int64")
    f = sg.compile(sg.Graph({"y": sg.take(table, at, 0)}))
    module = module_of(f, tmp_path)
    program = module.Program()
    empty = normal(0, 3)
    with pytest.raises(module.ProgramError, match="index is out of range: take"):
        program.run({"table": empty, "at": [0, 1]})
    assert program.run({"table": empty, "at": np.zeros(0, np.int64)})["y"].shape == (0, 3)
    rows = normal(4, 3)
    assert program.run({"table": rows, "at": [3, -4]})["y"].tolist() == rows[[3, 0]].tolist()


def test_typical_sizes_that_do_not_fit_have_a_cure(tmp_path):
    f = sg.compile(
        sg.Graph({"z": sg.input("x", (sg.dim("n", max=9), 3)) + sg.input("y", ("m", 3))})
    )
    with pytest.raises(errors.SizeGuardError, match=r"give a size(.|\n)*f.export\(path, n="):
        f.export(tmp_path / "step.so", m=10)
    f.export(tmp_path / "step.so", n=4, m=4)
    f.export(tmp_path / "step.so")


def test_threads_call_a_library_with_sizes_of_their_own(tmp_path):
    f = sg.compile(sg.Graph({"y": sg.cumsum(sg.nn.softmax(sg.input("x", ("batch", 33)), axis=0))}))
    module = module_of(f, tmp_path)
    feeds = [{"x": normal(n, 33)} for n in (70, 3, 41, 200)]
    want = [f.run(feed)["y"].tobytes() for feed in feeds]

    def run(n):
        program = module.Program()
        return all(program.run(feeds[n])["y"].tobytes() == want[n] for _ in range(40))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(run, range(4)))


def test_a_loaded_library_outlives_its_replacement(tmp_path):
    x = sg.input("x", ("n",))
    first = module_of(sg.compile(sg.Graph({"y": x + 1.0})), tmp_path).Program()
    feeds = {"x": normal(5)}
    with pytest.raises(ImportError, match="another file than this process has loaded"):
        module_of(sg.compile(sg.Graph({"y": sg.exp(x) * 3.0})), tmp_path)
    assert first.run(feeds)["y"].tobytes() == (feeds["x"] + np.float32(1)).tobytes()
    program = "import step_ctypes; print(step_ctypes.Program().run({'x': [0.0, 0.0]})['y'])"
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "[3. 3.]\n"
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
        "step.h", "step.so", "step_ctypes.py",
    ]  # fmt: skip


def test_listed_and_free_sizes_are_arguments_together(tmp_path):
    x = sg.input("x", ("batch", "n"))
    f = sg.compile(sg.Graph({"y": sg.nn.softmax(x, axis=0)}))
    module = module_of(f, tmp_path, batch=(3, 8))
    program = module.Program()
    for shape in ((3, 5), (8, 2), (3, 1)):
        feeds = {"x": normal(*shape)}
        assert program.run(feeds)["y"].tobytes() == f.run(feeds)["y"].tobytes()
    with pytest.raises(module.ProgramError, match="batch = 3, or batch = 8"):
        program.run({"x": normal(4, 5)})


def test_sizes_beyond_all_memory_are_an_error(tmp_path):
    f = sg.compile(sg.Graph({"y": sg.sort(sg.sort(sg.input("x", ("n", "m"))), axis=0).sum()}))
    module = module_of(f, tmp_path)
    assert module._arena_bytes(2**30, 2**30) == 0
    assert module._arena_bytes(2**40, 1) == 0
    assert module._arena_bytes(3, 4) > 0
