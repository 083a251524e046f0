"""``sg.distributed``: several ranks train as one would, and fail together, with a message."""

import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.liveness import Flow
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.analysis.repeats import Repeats
from staticgrad.compiler.memory.planner import plan
from staticgrad.errors import ArgumentError, DistributedError, ExportError, VerifyError
from staticgrad.language.ops.collective import RankMean
from staticgrad.optim import data_parallel
from staticgrad.support import ranks
from staticgrad.support.ranks import blocks as blocks_of
from staticgrad.support.records import replace
from staticgrad.train import Batches
from tests.distributed.rank_programs import COMBINED
from tests.helpers.processes import pretend_ranks

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or MPIEXEC is None,
    reason='several ranks need pip install "staticgrad[mpi]"',
)
#: Open MPI asks for these; others do not read them.
ALLOWED = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def command(count, *arguments):
    return [MPIEXEC, "-n", str(count), sys.executable, str(HERE / "rank_programs.py"), *arguments]


def run(count, *arguments, check=True):
    environment = {**os.environ, **ALLOWED, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command(count, *map(str, arguments)),
        capture_output=True,
        text=True,
        env=environment,
        timeout=100,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def load_arrays(path):
    with np.load(path) as file:
        return dict(file)


# -- what needs no MPI -----------------------------------------------------------------------------


def test_shares_of_batches_are_batches():
    x = np.arange(41)
    for seed in (None, 5):
        all_batches = [*Batches(x, size=12, seed=seed).epoch(3)]
        parts = [[*Batches(x, size=12, seed=seed, rank=r, ranks=4).epoch(3)] for r in range(4)]
        assert [np.concatenate(shares).tolist() for shares in zip(*parts, strict=True)] == [
            batch[: len(batch) // 4 * 4].tolist() for batch in all_batches
        ]
        assert all(len(part) == len(Batches(x, size=12, rank=1, ranks=4)) for part in parts)
    assert len([*Batches(np.arange(13), size=12, ranks=4)]) == 1
    with pytest.raises(ArgumentError, match="10 is not a multiple of 4"):
        Batches(x, size=10, ranks=4)
    with pytest.raises(ArgumentError, match=r"rank must be in \[0, ranks\), got 4 of 4"):
        Batches(x, size=12, rank=4, ranks=4)


def test_blocks_cover_all_elements_once():
    for sizes in ((), (0,), (5,), (3, 0, 4, 9), (16, 16)):
        for most in (1, 3, 8, 100):
            blocks = [*blocks_of(sizes, most)]
            actual = [
                (a, i) for block in blocks for a, begin, end in block for i in range(begin, end)
            ]
            assert actual == [(a, i) for a, size in enumerate(sizes) for i in range(size)]
            assert all(sum(end - begin for _, begin, end in block) <= most for block in blocks)


def program():
    """Two means of which either may come first."""
    x, y = sg.input("x", (5,), "float32"), sg.input("y", (5,), "float32")
    first, second = RankMean(4)(x * 2.0), RankMean(4)(y * 3.0)
    return sg.compile({"z": sg.exp(second) + 1.0, "y": first + 1.0})


def test_plans_keep_the_order_of_what_all_ranks_do():
    plan = program().plan()
    labels = [plan.schedule.steps[step.step].label for step in plan.steps]
    assert labels.count("rank_mean") == 2
    verify_plan(plan)
    first, second = (n for n, label in enumerate(labels) if label == "rank_mean")
    swapped = [*plan.steps]
    swapped[first], swapped[second] = swapped[second], swapped[first]
    with pytest.raises(VerifyError, match="all ranks run"):
        verify_plan(replace(plan, steps=tuple(swapped)))


def test_budgets_keep_the_order_of_what_all_ranks_do(monkeypatch):
    """Plans of rank 0 of two, with the state in parts; nothing runs."""
    pretend_ranks(monkeypatch, job=lambda: SimpleNamespace(ranks=2))
    monkeypatch.setattr(data_parallel, "synchronize", lambda *_: None)
    layers = [sg.nn.Linear(*pair, dtype="float64") for pair in pairwise((5, 8, 8, 8, 8, 8, 1))]
    model = sg.nn.Sequential(*(sg.nn.Sequential(layer, sg.nn.Tanh()) for layer in layers))
    x, y = sg.input("x", (48, 5), "float64"), sg.input("y", (48,), "float64")
    loss, opt = ((model(x)[:, 0] - y) ** 2).mean(), sg.optim.Adam(0.02)
    updates = opt.updates(loss, model.parameters(), data_parallel=True, shard_state=True)
    graph = sg.Graph({"loss": sg.distributed.mean(loss)}, updates)
    unlimited = sg.compile(graph).plan()
    schedule, most = unlimited.schedule, unlimited.peak_bytes
    for budget in range(most * 41 // 50, most * 83 // 100, 70):
        actual = plan(schedule, {}, budget=budget)
        verify_plan(actual)
        assert actual.peak_bytes <= budget
    repeats = Repeats(Flow(schedule))
    listed, first = [*range(len(schedule.steps))], repeats.flow.collectives[0]
    assert repeats.fault(listed) is None
    assert "of all ranks" in repeats.fault([*listed[: first + 1], first, *listed[first + 1 :]])


@pytest.mark.parametrize("name", ["step.py", "step.so"])
def test_a_mean_over_ranks_cannot_be_exported(name, tmp_path):
    with pytest.raises(ExportError, match=r"rank_mean: .* cannot be exported\n  .*, in program"):
        program().export(tmp_path / name)


def test_programs_with_a_mean_over_ranks_pickle_and_print():
    f = program()
    assert sg.same_graph(pickle.loads(pickle.dumps(f)).graph, f.graph)
    assert str(sg.parse(str(f.graph))) == str(f.graph)


def test_one_rank_computes_what_it_does_without():
    pytest.importorskip("mpi4py", reason="one rank, too, is one of MPI")
    x = sg.input("x", (3,), "float32")
    w = sg.parameter("w", np.ones(3, "float32"))
    loss, opt = ((w - x) ** 2).sum(), sg.optim.SGD(0.1)
    graphs = [
        sg.Graph({"loss": loss}, opt.updates(loss, [w], data_parallel=parallel))
        for parallel in (False, True)
    ]
    assert sg.same_graph(*graphs)


def test_another_number_of_ranks_is_an_error():
    pytest.importorskip("mpi4py", reason="the number of ranks is that of MPI")
    x = sg.input("x", (5,), "float32")
    with pytest.raises(DistributedError, match="built for 4 ranks, and 1 run"):
        sg.compile(RankMean(4)(x)).run({"x": np.ones(5, "f4")})


def job_of(rank=1, count=2):
    """Return a substitute of a running job."""
    return SimpleNamespace(rank=rank, ranks=count)


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        ([[32, 32], [32, 32]], None),
        ([[32, 32], [20, 20]], [32 / 52, 20 / 52]),
        ([[32, 5, 32], [20, 5, 20], [0, 5, 0]], [32 / 52, 20 / 52, 0]),
        ([[2, 4], [3, 6]], [2 / 5, 3 / 5]),
        ([[0.0], [3.5]], [0.0, 1.0]),
        ([[3, 5], [4, 4]], "differ in more than their number of rows"),
        ([[3], [3, 4]], "differ in more"),
        ([[-1.0], [2.0]], "rows of a rank must be >= 0 and finite, got -1"),
        ([[np.nan], [2.0]], "rows of a rank must be >= 0 and finite, got nan"),
    ],
)
def test_rows_say_the_share_of_each_rank(sizes, shares, monkeypatch):
    job, arrays = object.__new__(ranks.Job), [np.array(size, "float64") for size in sizes]
    monkeypatch.setattr(job, "gather", lambda item: sizes, raising=False)

    def compute_shares(must_be_equal=False):
        codes = [ranks._size_code(array) for array in arrays]
        return job.shares(arrays[0], codes, must_be_equal)

    if isinstance(shares, str):
        with pytest.raises(DistributedError, match=shares):
            compute_shares()
        return
    assert compute_shares() == shares
    if shares is not None:
        with pytest.raises(DistributedError, match="unequal shares, and random numbers"):
            compute_shares(must_be_equal=True)


@pytest.mark.parametrize("shape", [(), (6,), (6, 5), (6, 2, 3)])
def test_ranks_draw_for_the_examples_of_their_share(shape, monkeypatch):
    """Compiled and at once; a generator that is shared draws the same on all ranks."""
    kinds = {
        "normal": lambda rng, shape: rng.normal(shape=shape),
        "dropout": lambda rng, shape: rng.dropout(sg.ones(shape, "float32"), 0.5),
        "integers": lambda rng, shape: rng.integers(0, 1000, shape=shape),
    }
    full_shape = (4 * shape[0], *shape[1:]) if shape else (4,)
    for draw in kinds.values():
        expected = sg.evaluate(draw(sg.random.Generator(5), full_shape), {})
        for rank in range(4):
            pretend_ranks(monkeypatch, running=partial(job_of, rank, 4))
            share = expected[rank] if not shape else np.split(expected, 4)[rank]
            drawn = draw(sg.random.Generator(5), shape)
            np.testing.assert_allclose(sg.compile(drawn).run(), share, rtol=1e-5)
            with sg.eager_mode():
                at_once = draw(sg.random.Generator(5), shape)
            assert at_once.array.tobytes() == share.tobytes()
            shared = draw(sg.random.Generator(5, shared=True), full_shape)
            assert sg.evaluate(shared, {}).tobytes() == expected.tobytes()
        monkeypatch.undo()


def test_parameters_that_would_differ_between_the_ranks_are_refused(monkeypatch):
    """Noise of a parameter, which one process draws once, must be the same on all ranks."""
    pretend_ranks(monkeypatch, running=job_of)
    pretend_ranks(monkeypatch, job=job_of)
    w, x = sg.parameter("w", np.ones(3)), sg.input("x", ("n", 3), "float64")
    local, same = sg.random.Generator(0), sg.random.Generator(0, "same", shared=True)
    slope = sg.distributed.mean(sg.grad((local.dropout(x, 0.5) @ w).mean(), w))
    sg.Graph({}, {w: w - slope + same.normal(shape=(3,), dtype="float64")})
    sg.Graph({}, {w: local.normal(shape=(3,), dtype="float64")})  # state of each rank
    with pytest.raises(sg.errors.GraphError, match=r"'w' adds random.*\n(.|\n)*shared=True"):
        sg.Graph({}, {w: w - slope + local.normal(shape=(3,), dtype="float64")})
    drawn = sg.scan(lambda c, _: (c + local.normal(dtype="float64"), None), 0.0, length=3)[0]
    with pytest.raises(sg.errors.GraphError, match="shared=True"):
        sg.Graph({}, {w: w - slope + drawn})


@pytest.mark.parametrize("exchanges", [4, 5])
def test_a_rank_that_left_behind_an_exchange_took_part_in_it(exchanges):
    """Rank 0 waits in its fifth exchange, and rank 1 has completed that one, or has not."""
    messages = [pickle.dumps(ranks.Departure(1, "sys.exit(3)", "train.py:7", 3, exchanges))]

    class Departures:
        def Iprobe(self, *_):  # noqa: N802 - names of mpi4py
            return bool(messages)

        def Recv(self, data, source):  # noqa: N802
            data[:] = np.frombuffer(messages.pop(), np.uint8)

    size = len(messages[0])
    status = SimpleNamespace(Get_count=lambda kind: size, Get_source=lambda: 1)
    job = object.__new__(ranks.Job)
    job._mpi = SimpleNamespace(Status=lambda: status, ANY_SOURCE=-1, BYTE=None)
    job._departures, job._exchanges, job.ranks, job._code = Departures(), 4, 2, 1
    if exchanges == 5:
        job._check_departures("mean")
        assert not messages
        return
    with pytest.raises(
        DistributedError, match=r"1 of 2 has left: sys.exit\(3\)\n(.|\n)*train.py:7"
    ):
        job._check_departures("mean")
    assert job._code == 3


def test_rows_are_of_steps_of_several_ranks():
    w = sg.parameter("w", np.ones(3))
    with pytest.raises(ArgumentError, match="rows is of steps of several ranks"):
        sg.optim.SGD(0.1).updates(w.sum(), [w], rows=3)


def test_a_search_of_one_rank_is_that_without():
    minima = []
    for options in ({}, {"data_parallel": True}):
        w = sg.parameter("w", np.zeros(3))

        @sg.function
        def search(goal, w=w, options=options):
            sg.optim.LBFGS(max_iter=5).minimize(lambda w: ((w - goal) ** 4).mean(), w, **options)

        search(np.arange(3.0))
        minima.append(w.value.tobytes())
    assert minima[0] == minima[1]
    with pytest.raises(ArgumentError, match="rows is of steps of several ranks"):
        sg.optim.LBFGS().minimize(lambda w: (w * w).mean(), w, rows=3)


# -- several ranks ---------------------------------------------------------------------------------


@needs_mpi
def test_two_ranks_add_up_in_their_order(tmp_path):
    check_order(tmp_path, 2)


@needs_mpi
@pytest.mark.slow
def test_four_ranks_add_up_in_their_order(tmp_path):
    check_order(tmp_path, 4)


def check_order(tmp_path, count):
    run(count, "order", tmp_path / "found.npz")
    draws = [np.random.default_rng(rank) for rank in range(count)]
    actual = load_arrays(tmp_path / "found.npz")
    for number, n in enumerate((30, 0, 1)):
        drawn = [
            (d.normal(size=(3, 7)).astype("f4") * np.float32(3), d.normal(size=n)) for d in draws
        ]
        for name, arrays in zip("xy", zip(*drawn, strict=True), strict=True):
            total = arrays[0]
            for array in arrays[1:]:
                total = total + array
            expected = total / arrays[0].dtype.type(count)
            assert actual[f"{name}{number}"].tobytes() == expected.tobytes()
        np.testing.assert_allclose(actual[f"slope{number}"], 2 * actual[f"y{number}"], rtol=1e-15)


@needs_mpi
@pytest.mark.slow
def test_ranks_train_as_one_with_the_whole_batch(tmp_path):
    for count in (1, 2, 4):
        run(count, "curve", tmp_path / f"{count}.npz")
    run(2, "curve", tmp_path / "again.npz")
    alone, pair, four, again = (load_arrays(tmp_path / f"{n}.npz") for n in (1, 2, 4, "again"))
    assert again["weights"].tobytes() == pair["weights"].tobytes()
    assert alone["losses"][-6:].mean() < alone["losses"][:6].mean()
    for result in (pair, four):
        np.testing.assert_allclose(result["losses"], alone["losses"], rtol=1e-12)
        np.testing.assert_allclose(result["weights"], alone["weights"], rtol=1e-11)
    steps, elements = len(alone["losses"]), alone["weights"].size
    odd = 4  # parameters with a number of elements that two ranks do not divide
    assert alone["sent"] == 0
    assert pair["sent"] == steps * 8 * (elements + odd + 2)


@needs_mpi
@pytest.mark.slow
def test_ranks_search_as_one_with_the_whole_batch(tmp_path):
    for count in (1, 2, 3):
        run(count, "search", tmp_path / f"{count}.npz")
    alone = load_arrays(tmp_path / "1.npz")
    for count in (2, 3):
        for way, minimum in load_arrays(tmp_path / f"{count}.npz").items():
            np.testing.assert_allclose(minimum, alone[way], rtol=1e-9)


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_ranks_with_unequal_shares_train_as_one(count, tmp_path):
    for number in (1, count):
        run(number, "train_unevenly", tmp_path / f"{number}.npz")
    alone, together = (load_arrays(tmp_path / f"{number}.npz") for number in (1, count))
    for name, losses in together.items():
        np.testing.assert_allclose(losses, alone[f"0{name[1:]}"], rtol=1e-12, err_msg=name)


@needs_mpi
@pytest.mark.slow
def test_the_history_of_unequal_shares_is_that_of_one_process(tmp_path):
    for count in (1, 2):
        run(count, "fit_unequal", tmp_path / f"{count}.npy")
    alone, pair = (np.load(tmp_path / f"{count}.npy") for count in (1, 2))
    np.testing.assert_allclose(pair, alone, rtol=1e-12)


@needs_mpi
@pytest.mark.slow
def test_ranks_draw_what_one_process_draws(tmp_path):
    for count in (1, 2, 4):
        run(count, "drawn", tmp_path / f"{count}.npz")
    alone, *others = (load_arrays(tmp_path / f"{count}.npz") for count in (1, 2, 4))
    np.testing.assert_array_equal(alone["graph"], alone["compiled"])
    for result in others:
        for way, losses in result.items():
            np.testing.assert_allclose(losses, alone[way], rtol=1e-12, err_msg=way)


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize("name", ["odd", "drawn_first"])
def test_what_several_ranks_refuse(name):
    run(2, name, "")


@needs_mpi
@pytest.mark.slow
def test_options_of_a_compilation_change_no_step(tmp_path):
    for count in (1, 2):
        run(count, "train_combinations", tmp_path / f"{count}-")
    for number, options in enumerate(COMBINED):
        alone, pair = (np.load(tmp_path / f"{count}-{number}.npy") for count in (1, 2))
        rtol = 4 * np.finfo(alone.dtype).eps
        np.testing.assert_allclose(pair, alone, rtol, err_msg=str(options))
        if alone.dtype == np.float64:
            assert pair.tobytes() == np.load(tmp_path / "2-0.npy").tobytes(), options
        parts = np.load(tmp_path / f"2-{number}-parts.npy")
        assert parts.tobytes() == pair.tobytes(), options


@needs_mpi
@pytest.mark.slow
def test_eager_mode_and_plain_python_step_together(tmp_path):
    for count in (1, 2):
        run(count, "eager", tmp_path / f"{count}_")
    for way in (0, 1):
        actual = [np.load(tmp_path / f"{count}_{way}.npy") for count in (1, 2)]
        np.testing.assert_allclose(actual[1], actual[0], rtol=1e-12)


@needs_mpi
@pytest.mark.slow
def test_shares_of_steps_at_once_may_change(tmp_path):
    """The means of slopes 4 and 0 with weights 1/2, 3/4 and 1/4 are 2, 3 and 1."""
    run(2, "shares", tmp_path / "shares.npy")
    assert np.load(tmp_path / "shares.npy").tolist() == [-2.0, -5.0, -6.0] * 3


@needs_mpi
@pytest.mark.slow
def test_a_checkpoint_goes_on_with_another_number_of_ranks(tmp_path):
    def losses(count, path, epochs, sharded=""):
        return np.array(eval(run(count, "resume_training", f"{path}:{epochs}{sharded}").stdout))

    expected = losses(1, tmp_path / "one.npz", 4)
    for sharded in ("", ":sharded"):
        path = tmp_path / f"some{len(sharded)}.npz"
        losses(4, path, 2, sharded)
        losses(2, path, 3, sharded)
        np.testing.assert_allclose(losses(1, path, 4), expected, rtol=1e-12)


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_state_in_parts_changes_no_step(count):
    run(count, "parts", "")


def test_state_in_parts_is_of_several_ranks():
    w = sg.parameter("w", np.ones(3))
    with pytest.raises(ArgumentError, match="shard_state is of steps of several ranks"):
        sg.optim.SGD(0.1).updates(w.sum(), [w], shard_state=True)


@needs_mpi
@pytest.mark.slow
def test_the_program_of_the_guide_prints_what_the_page_says(tmp_path):
    page = (ROOT / "staticgrad/tools/documentation/guide/more-than-one-machine.md").read_text()
    source, printed = re.search(r"```py\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL).groups()
    (tmp_path / "train.py").write_text(source)
    done = subprocess.run(
        [MPIEXEC, "-n", "2", sys.executable, "train.py"],
        capture_output=True,
        text=True,
        env={**os.environ, **ALLOWED, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        timeout=100,
        check=False,
    )
    assert done.stdout == printed, done.stderr


@needs_mpi
@pytest.mark.slow
def test_trees_and_files_are_those_of_rank_0(tmp_path):
    run(3, "share_trees", tmp_path / "w.npz")


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("killed", ""),
        ("raises", r"rank 1 of 3 ends all ranks:(.|\n)*ValueError: matmul(.|\n)*"),
        ("shapes", r"different parameters(.|\n)*rank 0: w: f64\[1000\]\n  rank 1: w: f64\[1001\]"),
        ("ends", r"rank 1 of 3 has left: its program has ended\n"),
        (
            "exits",
            r"rank 1 of 3 has left: sys.exit\(3\)\n(.|\n)*rank_programs.py:\d+, in failing\n",
        ),
        (
            "leaves",
            r"rank 1 of 3 has left: os._exit\(0\)\n(.|\n)*rank_programs.py:\d+, in failing\n",
        ),
        ("says", r"data missing\n(.|\n)*has left: sys.exit\('data missing'\)\n"),
        ("hangs", r"has waited 2 s for another rank"),
        (
            "another",
            r"call \d: a mean of float64\[1000\]\n.*call \d: a mean of float64\[5\]",
        ),
    ],
)
def test_one_rank_that_fails_ends_all_with_a_message(mode, message):
    done = run(3, "failing", mode, check=False)
    assert done.returncode == 3 if mode == "exits" else done.returncode
    assert re.search(message, done.stderr), done.stderr


@needs_mpi
def test_batch_normalization_is_that_of_one_process(tmp_path):
    run(1, "normalize", tmp_path / "one")
    run(2, "normalize", tmp_path / "two")
    expected, is_close = load_arrays(tmp_path / "one-0.npz"), []
    for rank in range(2):
        actual = load_arrays(tmp_path / f"two-{rank}.npz")
        assert expected.keys() == actual.keys()
        for name, array in expected.items():
            if "across_ranks" in name:
                is_close.append(
                    np.allclose(actual[name], array, rtol=1e-3, atol=1e-3, equal_nan=True)
                )
            else:
                np.testing.assert_allclose(actual[name], array, rtol=0, atol=1e-12, err_msg=name)
    assert not all(is_close), "statistics of each rank train another model"


@needs_mpi
def test_ranks_that_leave_when_all_is_done_have_not_failed(tmp_path):
    done = run(3, "leave_together", tmp_path)
    assert sorted(done.stdout.splitlines()) == [f"rank {k} is done" for k in range(3)]


@needs_mpi
@pytest.mark.slow
def test_ctrl_c_ends_all_ranks(interrupts):
    environment = {**os.environ, **ALLOWED, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command(3, "failing", "interrupted"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as job:
        assert job.stdout.readline() == "ready\n"
        job.send_signal(signal.SIGINT)
        _, err = job.communicate(timeout=20)
    assert job.returncode
    assert "Traceback" not in err
