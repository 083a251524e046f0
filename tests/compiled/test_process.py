"""The same under ``python -O`` and after fork and spawn, and from several threads at once."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes

PROGRAM = """
import multiprocessing, os, sys
import numpy as np
import staticgrad as sg

def program():
    x = sg.input("x", ("b", 9), "float32")
    rows = sg.input("rows", ("b",), "int64")
    w = sg.parameter("w", np.ones((9, 5), np.float32))
    hidden = sg.tanh(x @ w) + sg.take(w.T, rows, 0).sum(1, keepdims=True)
    loss = (hidden * hidden).mean()
    step = sg.Graph({"loss": loss, "hidden": hidden}, updates={w: w - 0.1 * sg.grad(loss, w)})
    return w, step

def work(f):
    out = f.run(feeds())
    return out["loss"].tobytes() + out["hidden"].tobytes() + w_of(f).tobytes()

def w_of(f):
    return f.program_graph.parameters[0].value

def feeds():
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(7, 9)).astype("float32"), "rows": np.arange(7) % 5}

def refused(f, bad, error):
    try:
        f.run(bad)
    except error:
        return
    sys.exit(f"{error.__name__} did not come")

def main():
    w, step = program()
    f = sg.compile(step)
    oracle = sg.evaluate(step, feeds())
    wrong = dict(feeds(), rows=np.full(7, 5))
    refused(f, wrong, sg.errors.IndexOutOfRange)
    refused(f, dict(feeds(), x=np.zeros((6, 9))), sg.errors.FeedShapeError)
    refused(f, dict(feeds(), x=np.zeros((7, 8))), sg.errors.FeedShapeError)
    refused(f, dict(feeds(), rows=np.zeros(7)), sg.errors.FeedDTypeError)
    refused(f, {"x": feeds()["x"]}, sg.errors.MissingFeedError)
    if (w.value != 1).any():
        sys.exit("a refused run changed a parameter")
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with context.Pool(1) as pool:
            theirs = pool.apply_async(work, (f,)).get(60)
        w.value = np.ones((9, 5), np.float32)
        if theirs != work(f):
            sys.exit(f"other bytes after {method}")
        w.value = np.ones((9, 5), np.float32)
    if not np.allclose(f.run(feeds())["hidden"], oracle["hidden"], rtol=1e-5):
        sys.exit("not the oracle's result")
    print("debug" if __debug__ else "optimised", "well")

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "word"), [(["-O"], "optimised"), ([], "debug")])
def test_other_processes(flags, word, tmp_path):
    """Refusals, fork and spawn, with and without assert statements."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    root = str(Path(sg.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, *flags, str(script)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == [word, "well"], done.stderr


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
                found = f.run({"x": feed, "rows": places})
                if not same_bytes(found["z"], data[places] @ data.T + np.float32(0)):
                    problems.append((number, turn))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
