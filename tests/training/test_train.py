"""``sg.train``: batches by seed, made ahead, and a loop that goes on where it was stopped."""

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, SavedFileError
from staticgrad.train import Batches, History, TensorBoard, fit, prefetch
from tests.helpers.processes import python


def test_batches_hold_every_example_once_in_an_order_of_seed_and_pass():
    x, y = np.arange(10), np.arange(10.0) * 2
    for size in (1, 3, 10, 99):
        batches = Batches(x, y, size=size, seed=4)
        passes = [[*batches], [*batches]]
        for epoch in passes:
            assert len(epoch) == len(batches) == -(-10 // size)
            assert sorted(np.concatenate([a for a, _ in epoch]).tolist()) == x.tolist()
            assert all((b == a * 2).all() and a.flags.c_contiguous for a, b in epoch)
        again = [[*Batches(x, y, size=size, seed=4).epoch(k)] for k in (0, 1)]
        assert [[a.tolist() for a, _ in epoch] for epoch in passes] == [
            [a.tolist() for a, _ in epoch] for epoch in again
        ]
        if size < 10:
            assert [a.tolist() for a, _ in passes[0]] != [a.tolist() for a, _ in passes[1]]
    assert [batch.tolist() for batch in Batches(x, size=4, drop_last=True)] == [
        [0, 1, 2, 3], [4, 5, 6, 7]
    ]  # fmt: skip
    assert [a.tolist() for a in Batches(x, size=4).epoch(0, start=2)] == [[8, 9]]


def test_items_are_made_ahead_in_a_thread_that_ends():
    threads, produced = threading.active_count(), []

    def items(count, fault=False):
        for n in range(count):
            produced.append(n)
            yield n
        if fault:
            raise KeyError("gone")

    assert [*prefetch(items(50), ahead=3)] == [*range(50)]
    actual = []
    with pytest.raises(KeyError, match="gone"):  # noqa: PT012
        for item in prefetch(items(3, fault=True)):
            actual.append(item)  # noqa: PERF402
    assert actual == [0, 1, 2]
    produced.clear()
    endless = prefetch(items(10**9), ahead=2)
    assert [next(endless), next(endless)] == [0, 1]
    endless.close()
    assert len(produced) <= 6
    assert threading.active_count() == threads


X = np.random.default_rng(0).normal(size=(20, 3))


def training():
    """A step, its state and its parameter: least squares, with a rate that falls."""
    w = sg.parameter("w", np.zeros(3))
    opt = sg.optim.Adam(sg.optim.cosine(0.1, steps=40))

    @sg.function
    def step(x, y):
        loss = ((x @ w - y) ** 2).mean()
        opt.minimize(loss)
        return loss

    return step, {"w": w, "opt": opt}, w


def data():
    return Batches(X, X @ np.array([1.0, -2.0, 3.0]), size=6, seed=2)


@pytest.mark.slow
def test_it_trains_validates_and_stops_early():
    step, _, w = training()
    lines = []
    measures = iter([3.0, 2.0, 2.5, 2.0, 2.0, 1.0])
    actual = fit(
        step, data(), 9, validate=lambda: next(measures), patience=3, progress=lines.append
    )
    assert actual.measures == [3.0, 2.0, 2.5, 2.0, 2.0]
    assert (actual.best, actual.stop_reason) == (1, "nothing better for 3 epochs")
    assert len(actual.losses) == 5
    assert actual.losses[-1] < actual.losses[0]
    assert len(lines) == 20
    assert lines[5].startswith("epoch 2/9  2/4  loss ")
    by_hand, _, v = training()
    for number in range(5):
        for x, y in data().epoch(number):
            by_hand(x, y)
    np.testing.assert_array_equal(w.value, v.value)
    single, _, _ = training()
    assert fit(lambda x: 1, [np.ones(2)], 2) == History([1.0, 1.0], [], "")
    assert fit(single, [], 0) == History()


@pytest.mark.slow
def test_it_goes_on_from_a_checkpoint_to_the_bit(tmp_path):
    """Stopped by an error of the step anywhere, or by a new call with more epochs."""
    step, state, w = training()
    expected = fit(step, data(), 4, state=state)
    path = tmp_path / "run.npz"

    step, state, again = training()
    fit(step, data(), 2, state=state, checkpoint=path)
    step, state, again = training()
    actual = fit(step, data(), 4, state=state, checkpoint=path)
    assert actual == expected
    np.testing.assert_array_equal(again.value, w.value)
    assert fit(step, data(), 4, state=state, checkpoint=path) == expected
    with pytest.raises(SavedFileError, match="is not in the file"):
        fit(step, data(), 4, state={**state, "more": np.ones(2)}, checkpoint=path)


@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x, x), lambda x: {"x": x}])
def test_the_loss_and_all_metrics_are_means_over_rows(form):
    lines = []

    def step(*batch):
        x = batch[0]["x"] if isinstance(batch[0], dict) else batch[0]
        return {"loss": x[0], "same": x[0]}

    batches = [form(np.full(3, 1.0)), form(np.full(1, 5.0))]
    actual = fit(step, batches, progress=lines.append)
    assert actual.losses == actual.metrics["same"] == [(3 * 1.0 + 1 * 5.0) / 4]
    assert "loss 2  same 2" in lines[-1]


def test_a_checkpoint_that_has_the_loss_by_batches_goes_on(tmp_path):
    """Files of before have the sum of the losses of the batches, as "total"."""
    path = tmp_path / "run.npz"
    written = {"losses": [], "measures": [], "stopped": "", "epoch": 0, "place": 1, "total": 1.0}
    sg.save(path, {"state": {}, "fit": written})
    batches = [np.full(3, 1.0), np.full(1, 5.0)]
    assert fit(lambda x: x[0], batches, state={}, checkpoint=path).losses == [2.0]


def training_with_metrics():
    """Return what ``training`` does, with metrics beside the loss."""
    step, state, w = training()

    def step_with_metrics(x, y):
        return {"loss": step(x, y), "rows": x.shape[0], "worst": np.abs(x).max()}

    return step_with_metrics, state, w


@pytest.mark.thinned
@pytest.mark.parametrize("shuffle", [True, 5])
@pytest.mark.parametrize("at", [2, 5, 8])
def test_it_goes_on_to_the_bit_with_shuffled_data_and_metrics(shuffle, at, tmp_path):
    batches = Batches(X, X @ np.array([1.0, -2.0, 3.0]), size=6)
    for form in (batches, [*batches]):
        step, state, w = training_with_metrics()
        expected = fit(step, form, 3, shuffle=shuffle, state=state)
        path = tmp_path / f"{type(form).__name__}.npz"
        step, state, again = training_with_metrics()
        count = 0

        def step_and_end(x, y, step=step):
            nonlocal count
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(x, y)

        with pytest.raises(SystemExit):
            fit(step_and_end, form, 3, shuffle=shuffle, state=state, checkpoint=path)
        actual = fit(step, form, 3, shuffle=shuffle, state=state, checkpoint=path)
        assert actual == expected
        np.testing.assert_array_equal(again.value, w.value)
        assert batches.seed is None


def test_callbacks_see_each_epoch_and_may_end_the_training(tmp_path):
    step, state, _ = training_with_metrics()
    seen = []

    def enough(epoch):
        seen.append((epoch.number, epoch.loss, epoch.measure, epoch.metrics["val_rows"]))
        assert epoch.history.losses[-1] == epoch.loss
        return "enough" if epoch.number == 1 else None

    options = {"validate": lambda: {"loss": 1.0, "rows": 2}, "state": state}
    options["checkpoint"] = tmp_path / "run.npz"
    actual = fit(step, data(), 5, callbacks=[enough, lambda epoch: False], **options)
    assert actual.stop_reason == "enough"
    assert seen == [(k, actual.losses[k], 1.0, 2.0) for k in (0, 1)]
    assert fit(step, data(), 5, callbacks=[enough], **options) == actual
    assert fit(lambda x: 1.0, [X], 5, callbacks=[lambda epoch: True]).losses == [1.0]


ENDED = """
import sys
sys.path.insert(0, {root!r})
import os, signal
from tests.training.test_train import *
step, state, w = training()
count = 0

def ended(x, y):
    global count
    count += 1
    if count == {at}:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(x, y)

print(fit(ended, data(), 3, state=state, checkpoint={path!r}), w.value.tolist())
"""


@pytest.mark.slow
def test_sigterm_ends_it_behind_its_step_with_a_checkpoint(tmp_path):
    step, state, w = training()
    expected = fit(step, data(), 3, state=state)
    root, path = str(Path(__file__).parents[2]), str(tmp_path / "run.npz")
    codes = []
    for at in (3, 6, 99):
        program = ENDED.format(root=root, path=path, at=at)
        done = python("-c", program, check=False)
        codes.append(done.returncode)
    assert codes == [128 + signal.SIGTERM, 128 + signal.SIGTERM, 0], done.stderr
    assert done.stdout == f"{expected} {w.value.tolist()}\n"
    assert os.listdir(tmp_path) == ["run.npz"]  # noqa: PTH208


@pytest.mark.thinned(2)
@pytest.mark.parametrize("epochs", [1, 3])
def test_sigterm_between_epochs_ends_it_as_well(epochs, tmp_path):
    """While the measure of the first, or only, epoch is made: no step comes behind it."""
    step, state, w = training()
    path = tmp_path / "run.npz"
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        fit(
            step,
            data(),
            epochs,
            state=state,
            checkpoint=path,
            validate=lambda: os.kill(os.getpid(), signal.SIGTERM) or 0.0,
        )
    assert caught.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is handler
    actual = w.value
    step, state, w = training()
    assert fit(step, data(), 1, state=state, checkpoint=path).measures == [0.0]
    np.testing.assert_array_equal(w.value, actual)


@pytest.mark.parametrize(("path", "error"), [("no/run.npz", OSError), ("run.pt", ArgumentError)])
def test_a_checkpoint_without_a_place_is_refused_before_the_first_step(path, error, tmp_path):
    steps = []
    with pytest.raises(error):
        fit(steps.append, [X], state={}, checkpoint=tmp_path / path)
    assert not steps


def test_examples_are_cut_by_the_size_of_batches():
    y = np.arange(20)

    def seen_batches(*args, **options):
        batches = []

        def step(*batch):
            batches.append([np.asarray(array).tolist() for array in batch])
            return 1.0

        fit(step, *args, **options)
        return batches

    batches = [[X[k : k + 8].tolist(), y[k : k + 8].tolist()] for k in (0, 8, 16)]
    assert seen_batches((X, y), batch_size=8) == batches
    assert seen_batches(X, batch_size=8) == [[batch[0]] for batch in batches]
    mixed = seen_batches((X, y), 2, batch_size=8, shuffle=3)
    assert mixed == seen_batches(Batches(X, y, size=8, seed=3), 2)
    assert mixed[:3] != batches


class Bars:
    """Stands in for ``tqdm.auto``: writes down what a bar is told."""

    def __init__(self):
        self.calls = []

    def tqdm(self, **options):
        self.calls.append(("begin", options["desc"], options["initial"], options["total"]))
        return self

    def set_postfix(self, texts, refresh):
        self.calls.append(("postfix", texts))

    def update(self, count):
        self.calls.append(("update", count))

    def close(self):
        self.calls.append(("close",))


def test_progress_is_a_bar_where_tqdm_is_installed(monkeypatch, capsys):
    bars = Bars()
    monkeypatch.setitem(sys.modules, "tqdm", bars)
    monkeypatch.setitem(sys.modules, "tqdm.auto", bars)
    fit(lambda x: {"loss": x[0], "twice": 2 * x[0]}, [np.ones(1), 3 * np.ones(1)], progress=True)
    assert bars.calls == [
        ("begin", "epoch 1/1", 0, 2),
        ("postfix", {"loss": "1", "twice": "2"}), ("update", 1),
        ("postfix", {"loss": "2", "twice": "4"}), ("update", 1),
        ("close",),
    ]  # fmt: skip
    bars.calls.clear()
    with pytest.raises(ZeroDivisionError):
        fit(lambda x: 1 / x[0].item(), [np.zeros(1)], progress=True)
    assert bars.calls[-1] == ("close",)
    bars.calls.clear()
    for quiet in (False, "auto", None):  # no terminal is here
        fit(lambda x: 1.0, [np.ones(1)], progress=quiet)
    assert bars.calls == []
    assert capsys.readouterr() == ("", "")


def test_progress_is_a_line_for_each_epoch_without_tqdm(monkeypatch, capsys):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    fit(lambda x: x[0], [np.ones(1), 3 * np.ones(1)], 2, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition("  ")[0] for line in lines] == [
        "epoch 1/2  2/2  loss 2", "epoch 2/2  2/2  loss 2"
    ]  # fmt: skip


def test_the_bar_of_tqdm_itself(capsys):
    pytest.importorskip("tqdm")
    fit(lambda x: 0.5, [np.ones(1)] * 3, 2, progress=True)
    text = capsys.readouterr().err
    assert "epoch 1/2" in text
    assert "3/3" in text
    assert "loss=0.5" in text


def test_scalars_of_an_epoch_are_written_for_tensorboard(tmp_path):
    actual = []

    class Writer:
        def add_scalar(self, name, value, step):
            actual.append((name, value, step))

    measures = iter([3.0, 2.0])
    fit(
        lambda x: {"loss": 0.5, "accuracy": 1.0}, [1], 2, validate=lambda: next(measures),
        callbacks=[TensorBoard(writer=Writer())],
    )  # fmt: skip
    assert actual == [
        (name, value, step)
        for step, measure in ((0, 3.0), (1, 2.0))
        for name, value in (("loss", 0.5), ("accuracy", 1.0), ("measure", measure))
    ]


def test_the_files_of_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    fit(lambda x: 0.5, [1], 2, callbacks=[TensorBoard(tmp_path / "runs")])
    (path,) = (tmp_path / "runs").iterdir()
    assert b"loss" in path.read_bytes()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Batches(), "there are no arrays"),
        (lambda: Batches(X, size=0), "size is 0"),
        (lambda: Batches(X, X[:3]), r"arrays of \[20, 3\] examples"),
        (lambda: prefetch([], ahead=0), "ahead is 0"),
        (lambda: fit(print, [], 1.5), "epochs is 1.5"),
        (lambda: fit(print, [X], X), r"Batches\(x, y"),
        (lambda: fit(print, [], 1), "the data gives no batch"),
        (lambda: fit(lambda x: x, [X]), "not one number"),
        (lambda: fit(lambda x: None, [X]), "step gives None"),
        (lambda: fit(lambda x: {"accuracy": 1.0}, [X]), "step gives 'accuracy', and no loss"),
        (lambda: fit(lambda x: {"loss": 1.0, "a": x}, [X]), "as 'a', not one number"),
        (lambda: fit(lambda x: 1.0, [X], validate=dict), "validate gives an empty dict"),
        (lambda: fit(lambda x: 1.0, [X], callbacks=print), "not a list of functions"),
        (lambda: fit(lambda x: 1.0, [X], callbacks=[3]), "callback 0 is an int"),
        (lambda: fit(lambda x: 1.0, [X], callbacks=[lambda e: e]), "a callback gives Epoch"),
        (lambda: fit(lambda x: 1.0, [X], shuffle=-1), "shuffle is -1"),
        (lambda: fit(lambda x: 1.0, iter([X]), shuffle=True), "no batches by number"),
        (lambda: fit(print, [], checkpoint="run.npz"), "a checkpoint needs a state"),
        (lambda: fit(print, (X, X)), "a tuple of arrays, not batches"),
        (lambda: fit(print, [X], batch_size=2), "cuts examples, and the data is a list"),
        (lambda: fit(print, Batches(X), batch_size=2), "the data is a Batches"),
        (lambda: fit(print, X, batch_size=0), "batch_size is 0"),
        (lambda: fit(print, [X], progress="bar"), "progress is 'bar'"),
        (lambda: TensorBoard(), "there is no folder"),
        (lambda: TensorBoard(writer=3), "is an int, with no add_scalar"),
    ],
)
def test_what_is_refused(make, says):
    with pytest.raises((ArgumentError, ValueError), match=says):
        make()
