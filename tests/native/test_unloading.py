"""Code of kernels is loaded as long as a program has it, and leaves nothing behind."""

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import native
from staticgrad.native import loader
from tests.helpers.processes import python

X = np.linspace(-1, 1, 7, dtype="float32")


def make_program(number, count=1):
    """A program of kernels that no other program has, and what it computes."""
    x = sg.input("x", (7,), "float32")
    outputs = {f"y{k}": sg.tanh(x * (1.5 + number + k)).sum() * (k + 2.25) for k in range(count)}
    return sg.compile(sg.Graph(outputs), threads=1)


def check(f, number, count=1):
    actual = f.run({"x": X})
    for k in range(count):
        expected = np.tanh(X.astype(float) * (1.5 + number + k)).sum() * (k + 2.25)
        assert abs(actual[f"y{k}"] - expected) < 1e-4


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(tmp_path))


def executable_pages():
    """Count the maps of the process that are code of no file; 0 where the system does not say."""
    maps = Path("/proc/self/maps")
    return maps.read_text().count(" r-xp 00000000 00:00 0") if maps.exists() else 0


@pytest.mark.parametrize("tier", ["auto", "full"])
def test_deleted_programs_leave_no_code(tier, empty_cache):
    def count_entries():
        native.wait()
        gc.collect()
        make_program(10_000.5)  # loading forgets the names of what is gone
        return len(loader._functions), len(loader._quick), len(native._process.loaded)

    with sg.options(tier=tier):
        for number in range(3):
            check(make_program(number + 0.125), number + 0.125)
        entries, pages = count_entries(), executable_pages()
        for number in range(30):
            check(make_program(number + 0.375, 2), number + 0.375, 2)
        later_entries, later_pages = count_entries(), executable_pages()
    assert all(b - a <= 4 for a, b in zip(entries, later_entries, strict=True)), later_entries
    if pages:
        assert later_pages - pages <= 4


def test_programs_with_a_kernel_in_common_share_its_code(empty_cache):
    first, second = make_program(0.625), make_program(0.625)
    assert first.kernels[0].address == second.kernels[0].address
    assert second.kernels[0].origin == "memory"
    del first
    gc.collect()
    native.wait()
    make_program(10_001.5)
    check(second, 0.625)
    del second
    gc.collect()
    again = make_program(0.625)
    assert {kernel.origin for kernel in again.kernels} <= {"disk", "compiled"}
    check(again, 0.625)


def test_a_kernel_s_code_lives_as_long_as_the_kernel_of_a_report(empty_cache):
    kernels = make_program(0.875).kernels
    gc.collect()
    native.wait()
    again = make_program(0.875)
    assert [k.address for k in again.kernels] == [k.address for k in kernels]
    assert again.kernels[0].origin == "memory"


def test_a_program_that_is_deleted_before_it_has_full_code_stores_that(tmp_path, monkeypatch):
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(tmp_path))
    with sg.options(tier="auto"):
        f = make_program(0.9375)
        check(f, 0.9375)
        del f
        gc.collect()
        native.wait()
        assert {kernel.origin for kernel in make_program(0.9375).kernels} == {"disk"}


def test_programs_come_and_go_in_several_threads(empty_cache):
    errors = []

    def work(first):
        try:
            for number in range(12):
                f = make_program(first + number % 5)
                check(f, first + number % 5)
                check(f, first + number % 5)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(0.03125,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_results_that_outlive_their_program_are_whole(empty_cache):
    f = make_program(0.96875)
    run = f.run
    del f
    gc.collect()
    assert abs(run({"x": X})["y0"] - np.tanh(X.astype(float) * 2.46875).sum() * 2.25) < 1e-4
    bound = make_program(0.984375).bind({"x": X})
    gc.collect()
    for _ in range(5):
        actual = bound()["y0"]
    assert abs(actual - np.tanh(X.astype(float) * 2.484375).sum() * 2.25) < 1e-4


LOOP = """
import gc, sys
import numpy as np, staticgrad as sg
from staticgrad import native
x = np.ones(7, "float32")

def leave(count, first):
    for k in range(count):
        v, w = sg.input("x", (7,), "float32"), sg.parameter("w", np.ones(7, "float32"))
        loss = (sg.tanh(v * w) * (first + k)).sum()
        f = sg.compile(sg.Graph({"loss": loss, "grad": sg.grad(loss, w)}), threads=1)
        f.run({"x": x})
    del f
    native.wait()
    gc.collect()
    return len(gc.get_objects())

leave(60, 0.5)
before = leave(5, 100.5)
print((leave(60, 1000.5) - before) / 60)
"""


@pytest.mark.slow
def test_a_deleted_program_leaves_few_objects(tmp_path):
    # With it 16 MiB of proofs of accesses are kept; by default nothing is proved a second time.
    environment = {"STATICGRAD_CACHE_DIR": str(tmp_path), "STATICGRAD_VERIFY": "0"}
    ran = python("-c", LOOP, env=environment)
    assert float(ran.stdout) < 12  # 190 when the process kept each kernel
