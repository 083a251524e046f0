"""Training from C: a small GPT, a Gaussian process; files go between C and Python as it goes on."""

import shutil

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import errors
from tests.exporting.libraries import driver, gpt, module_of, run_training
from tests.exporting.test_library_interface import likelihood, points

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]
#: Kernels have long blocks; a leak or a wrong access is an error.
VALGRIND = (
    "valgrind", "-q", "--error-exitcode=9", "--vex-guest-max-insns=20", "--leak-check=full",
    "--errors-for-leak-kinds=definite,indirect,possible",
)  # fmt: skip
needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind")


def losses(f, feeds):
    return b"".join(np.asarray(f.run(feed)["loss"]).tobytes() for feed in feeds)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A small GPT for any processor with AVX2, which valgrind runs; its maker of feeds."""
    folder = tmp_path_factory.mktemp("gpt")
    graph, feeds_of = gpt(layers=2)
    with sg.options(target="x86-64-v3"):
        f = sg.compile(graph, threads=1)
        module = module_of(f, folder)
        driver(folder, sized=True)
        f.run(feeds_of(2))
        for p, array in module.Program().parameters.items():
            next(q for q in graph.parameters if q.name == p).value = array
        yield f, feeds_of, module, folder


def test_a_gpt_trains_in_c_and_in_python_by_turns(library):
    f, feeds_of, module, folder = library
    program = module.Program()
    batches = [[feeds_of(n, seed) for seed in range(3)] for n in (5, 2)]
    in_c = run_training(["./main"], folder, batches[0], "5", "3", "-", "c.safetensors")
    assert in_c == losses(f, batches[0])
    sg.load(folder / "c.safetensors", into=f)  # which has equal values already: to the bit
    in_python = losses(f, batches[1])
    sg.save(folder / "python.safetensors", f)
    program.load(folder / "c.safetensors")
    assert b"".join(program.run(feed)["loss"].tobytes() for feed in batches[1]) == in_python
    in_c = run_training(
        ["./main"], folder, batches[0], "5", "3", "python.safetensors", "again.safetensors"
    )
    assert in_c == losses(f, batches[0])
    assert np.isfinite(np.frombuffer(in_c, "float32")).all()


@needs_valgrind
def test_valgrind_finds_nothing_in_a_gpt(library):
    f, feeds_of, _, folder = library
    sg.save(folder / "start.safetensors", f)
    feeds = [feeds_of(3, seed) for seed in range(2)]
    words = ("3", "2", "start.safetensors", "end.safetensors")
    actual = run_training([*VALGRIND, "./main"], folder, feeds, *words)
    assert actual == losses(f, feeds)


def test_a_gaussian_process_trains_in_c(tmp_path):
    f = sg.compile(likelihood(), threads=1)
    try:
        module_of(f, tmp_path, libraries=["scipy"])
    except errors.ArgumentError:
        pytest.skip("SciPy has no OpenBLAS of its own")
    driver(tmp_path, sized=False)
    feeds = [points()] * 5
    actual = run_training(["./main"], tmp_path, feeds, "0", "5", "-", "c.safetensors")
    assert actual == losses(f, feeds)
    values = np.frombuffer(actual)
    assert (np.diff(values) < 0).all()
    parameters = {p.name: p.value.copy() for p in f.program_graph.parameters}
    assert {n: a.tobytes() for n, a in sg.load(tmp_path / "c.safetensors").items()} == {
        n: a.tobytes() for n, a in parameters.items()
    }


@needs_valgrind
def test_valgrind_finds_nothing_in_transforms_and_files_that_do_not_fit(tmp_path):
    h, x = sg.parameter("h", np.ones(9)), sg.input("x", ("n", 16), "float64")
    odd = sg.input("odd", ("n", 37), "float64")
    y = sg.fft.irfft(sg.fft.rfft(x) * h, 16)
    loss = (y * y).sum() + sg.abs_square(sg.fft.fft(odd)).sum()
    with sg.options(target="x86-64-v3"):
        f = sg.compile(sg.Graph({"loss": loss}, updates={h: h - 0.01 * sg.grad(loss, h)}))
        module_of(f, tmp_path)
        driver(tmp_path, sized=True)
        feeds = [{"x": np.ones((3, 16)), "odd": np.ones((3, 37))}] * 2
        command = [*VALGRIND, "./main"]
        run_training(command, tmp_path, feeds, "3", "2", "-", "good.safetensors")
        good = (tmp_path / "good.safetensors").read_bytes()
        rng = np.random.default_rng(0)
        for case in range(12):
            bad = bytearray(good[: rng.integers(0, len(good))] if case % 2 else good)
            for _ in range(3):
                if bad:
                    bad[rng.integers(0, min(len(bad), 90))] = rng.integers(0, 256)
            (tmp_path / "bad.safetensors").write_bytes(bad)
            with pytest.raises(AssertionError, match=r"safetensors|it has|it is not"):
                run_training(
                    command, tmp_path, [], "3", "0", "bad.safetensors", "other.safetensors"
                )
