"""What is declared and takes no part: accepted as before, and not copied, bound, locked or planned.

Each from the graph to the run: schedule, plan, memory, locks, results, and what ``explain`` says.
"""

import threading

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import FeedDTypeError, FeedShapeError, MissingFeedError

LEVELS = ("O0", "O1")


def program(level="O1"):
    """An input and a parameter that nothing reads, and ones whose readers O1 takes out."""
    x, unread = sg.input("x", ("n",)), sg.input("unread", ("n", 1000))
    times_zero = sg.input("i", ("n",), "int64")
    w, v = sg.parameter("w", np.ones(3, "f4")), sg.parameter("v", np.ones((3, 4), "f4"))
    chosen = sg.where(sg.constant(True), x * 2.0, sg.where(v.sum() > 0.0, x, -x))
    graph = sg.Graph(
        {"y": chosen, "zero": times_zero * 0}, {w: w * 1.0}, inputs=[unread], name="signature"
    )
    return sg.compile(graph, pipeline=level)


FEEDS = {"x": np.arange(2, dtype="f4"), "i": np.arange(2), "unread": np.ones((2, 1000), "f4")}


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_feeds_that_nothing_reads_are_checked_and_never_copied(level):
    f = program(level)
    strided = {**FEEDS, "unread": np.ones((4, 2000))[::2, ::2]}  # a float64 of strange strides
    assert f.run(strided)["y"].tolist() == [0.0, 2.0]
    assert [r for r in f.stats.reasons if "copies of" in r] == []
    with pytest.raises(MissingFeedError, match="unread"):
        f.run({"x": FEEDS["x"], "i": FEEDS["i"]})
    with pytest.raises(FeedShapeError):
        f.run({**FEEDS, "unread": np.ones((3, 1000), "f4")})
    with pytest.raises(FeedDTypeError):
        f.run({**FEEDS, "unread": np.ones((2, 1000), "c8")})


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "same",
    [lambda w: w, sg.checkpoint, lambda w: w.T.T, lambda w: w.reshape(6).reshape(2, 3)],
    ids=["itself", "marked", "transposed twice", "reshaped twice"],
)
def test_an_update_to_its_own_value_is_no_step_and_waits_for_no_reader(level, same):
    w = sg.parameter("w", np.arange(6, dtype="f4").reshape(2, 3))
    v = sg.parameter("v", np.zeros((2, 3), "f4"))
    f = sg.compile(sg.Graph({"double": w * 2.0}, {w: same(w), v: w}), pipeline=level)
    assert len(f.schedule.steps) == 2  # the product, and one copy into v
    assert f._executor.program.updated == {"v"}
    assert f.peak_bytes == 0
    results = []

    def run_beside_a_reader():
        thread = threading.Thread(target=lambda: results.append(f.run({})))
        thread.start()
        thread.join(timeout=30)

    w.store.lock.read(run_beside_a_reader)
    assert results, "the run waited for a reader of w"
    assert results[0]["double"].tolist() == (2 * w.value).tolist()
    assert v.value.tolist() == w.value.tolist() == [[0, 1, 2], [3, 4, 5]]
