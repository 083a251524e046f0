"""The same under ``python -O`` and after fork and spawn, and from several threads at once."""

import threading

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes


def test_threads_of_one_program_at_many_sizes():
    """New sizes, staged feeds and failing runs from several threads; each gets its own results."""
    x, rows = sg.input("x", ("b", 6), "float32"), sg.input("rows", ("b",), "int64")
    f = sg.compile({"y": sg.exp(x).sum(1), "z": sg.take(x, rows, 0) @ x.T})
    problems = []

    def work(number):
        rng = np.random.default_rng(number)
        try:
            for turn in range(40):
                n = int(rng.integers(1, 50))
                data = rng.integers(-3, 4, (n, 6)).astype("float32")
                feed = np.asfortranarray(data) if turn % 2 else data
                places = rng.integers(0, n, n)
                if turn % 5 == 0:
                    with pytest.raises(sg.errors.IndexOutOfRange):
                        f.run({"x": feed, "rows": np.full(n, n)})
                actual = f.run({"x": feed, "rows": places})
                if not same_bytes(actual["z"], data[places] @ data.T + np.float32(0)):
                    problems.append((number, turn))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
