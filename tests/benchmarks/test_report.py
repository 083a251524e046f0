"""Figures, tables, Markdown and the page, from made-up reports."""

import io
import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import __main__ as command, figures, implementations, schema, workloads
from benchmarks.report import markdown, show
from tests.benchmarks.made_up import report, row

FAST, SLOW = row("staticgrad", [1e-3, 1.1e-3, 1e-3]), row("jax", [2e-3, 2e-3, 2e-3])
FAILED = replace(row("torch", [1.0]), status="crashed", detail="it <b>fell</b>", rounds=())
WHOLE = report(FAST, SLOW, FAILED)


def test_figures():
    assert figures.seconds(FAST) == 1e-3
    assert figures.noise(FAST) == pytest.approx(0.05)
    assert figures.ratio(WHOLE, FAST) == pytest.approx(0.5)
    assert figures.ratio(WHOLE, SLOW) == 1.0  # the best peer itself
    assert figures.flops(FAST) == pytest.approx(1e11)
    assert figures.bandwidth(FAST) == pytest.approx(5e9)
    assert figures.started(FAST, cold=True) == pytest.approx(1.13)
    assert figures.started(row("a", [1.0]), cold=False) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (12.3456, "12.3 s"), (0.9996, "1 s"), (0.5, "500 ms"), (1.5e-6, "1.5 us")],
)
def test_durations(value, text):
    assert figures.duration(value) == text


def test_the_best_peer_is_one_that_passed_with_few_enough_threads():
    quick = replace(row("pytensor", [1e-4]), threads=2)
    rows = [*WHOLE.rows, quick]
    one, two = (figures.best_peer(rows, "mlp", threads) for threads in (1, 2))
    assert one is SLOW
    assert two is quick


def test_a_busy_machine_is_said():
    busy = replace(FAST, rounds=tuple(replace(r, busy=0.5) for r in FAST.rounds))
    assert "not quiet: 1 of 2 rows" in markdown(report(busy, SLOW))
    halved = tuple(replace(r, together=0.5) for r in FAST.rounds)
    both = replace(FAST, threads=2, rounds=halved)
    assert "not quiet: 1 of 2 rows" in markdown(report(both, SLOW))
    assert "not quiet" not in markdown(report(replace(both, threads=1), SLOW))
    assert "not quiet" not in markdown(WHOLE)


def shown(*rows):
    target = io.StringIO()
    show(report(*rows), Console(file=target, width=250))
    return target.getvalue()


def columns(text, name):
    """The cells of a row by the heads of the table."""
    heads, *rows = [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith(("│", "┃"))
    ]
    return dict(zip(heads, next(cells for cells in rows if cells[0] == name), strict=True))


def test_a_column_of_ratios_has_one_divisor():
    middle = row("torch", [4e-3])
    text = shown(FAST, SLOW, middle)
    found = {name: columns(text, name)["x best peer"] for name in ("staticgrad", "jax", "torch")}
    assert found == {"staticgrad": "0.50", "jax": "1.00", "torch": "2.00"}
    found = columns(shown(FAST, SLOW), "staticgrad")
    assert (found["first cold"], found["first warm"]) == ("1.13 s", "230 ms")
    assert found["of it import"] == "100 ms"
    text = shown(FAST, SLOW, FAILED)
    assert "crashed: it <b>fell</b>" in text
    assert "0.50" in text
    assert "limits at 2 threads: 200 GFLOP/s float32" in text


def test_a_row_that_uses_more_than_its_one_thread_is_marked():
    rounds = tuple(replace(r, busy=1.5) for r in SLOW.rounds)
    text = shown(FAST, replace(SLOW, rounds=rounds), replace(SLOW, threads=2, rounds=rounds))
    assert columns(text, "jax")["threads"] == "1+"
    assert columns(text, "jax")["CPU"] == "3 ms"
    assert "1 rows on one thread used more than 1.1 processors (jax)" in text
    assert columns(shown(FAST, SLOW), "jax")["threads"] == "1"


def test_markdown_shows_losses_too():
    lines = markdown(WHOLE).splitlines()
    assert "| workload | one thread | staticgrad | jax | torch | ratio | of limit |" in lines
    assert "| mlp | 1 ms | 1 ms | 2 ms | crashed | 0.50 | 100% |" in lines
    both = markdown(report(FAST, replace(row("staticgrad", [6e-4]), threads=2), SLOW))
    assert "| mlp | 1 ms | 600 us | 2 ms | 0.30 | 83% |" in both
    slower = markdown(report(row("staticgrad", [4e-3]), SLOW))
    assert "| mlp | 4 ms | 4 ms | 2 ms | 2.00 | 25% |" in slower


def test_starts_and_peaks_are_those_of_workloads_that_all_have():
    lines = markdown(report(FAST, SLOW)).splitlines()
    assert (
        "| first result, caches empty | 1.13 s (1.13 s to 1.13 s) | 1.13 s (1.13 s to 1.13 s) |"
        in lines
    )
    assert (
        "| peak of the process | 200 MB (200 MB to 200 MB) | 200 MB (200 MB to 200 MB) |" in lines
    )
    assert "| mlp | 1.13 s / 230 ms, 200 MB | 1.13 s / 230 ms, 200 MB |" in lines
    alone = markdown(WHOLE).splitlines()  # where one fails there is no median of all
    assert "| first result, caches empty | - | - | - |" in alone
    assert "| mlp | 1.13 s / 230 ms, 200 MB | 1.13 s / 230 ms, 200 MB | - / -, - |" in alone


def test_the_page_renders_and_escapes():
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    from benchmarks.plot import page

    text = page(WHOLE)
    assert text.count("<svg") == 3
    assert "&lt;b&gt;fell" in text
    assert "<b>fell" not in text
    assert not re.search(r"(src|href)=\"(?!#)|url\((?!#)|@import", text)  # self-contained


def test_legends_name_libraries_whose_first_row_has_filled_caches_alone():
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    from benchmarks.plot import page

    text = page(report(replace(FAST, workload="ode", rounds=FAST.rounds[1:]), FAST, SLOW))
    assert text.count(">staticgrad</text>") == text.count(">jax</text>") == 2


def test_labels_of_the_roofline_do_not_lie_over_each_other():
    """Twelve workloads of nearly the same place."""
    figure_module = pytest.importorskip("matplotlib.figure")
    from benchmarks.plot import label

    axes = figure_module.Figure(figsize=(10, 8), layout="constrained").subplots()
    points = [(1.0 + 0.02 * (k % 5), 2.0 + 0.02 * (k // 5)) for k in range(12)]
    axes.plot([0.0, 3.0], [0.0, 4.0])
    label(axes, [(f"workload_{k}", at) for k, at in enumerate(points)], points)
    notes = [note for note in axes.texts if note.get_text()]
    assert sorted(note.get_text() for note in notes) == sorted(f"workload_{k}" for k in range(12))
    boxes = [note.get_window_extent() for note in notes]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_the_command_reads_a_report(tmp_path, capsys):
    file = tmp_path / "report.json"
    file.write_text(schema.dump(WHOLE), encoding="utf-8")
    assert command.main(["--from", str(file), "--markdown"]) == 0
    assert "| mlp | 1 ms |" in capsys.readouterr().out
    lost = report(replace(FAST, status="wrong", rounds=()), SLOW)
    file.write_text(schema.dump(lost), encoding="utf-8")
    assert command.main(["--from", str(file), "--markdown"]) == 1


def test_the_command_lists_and_refuses_unknown_names(capsys):
    assert command.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert "blackscholes" in listed
    assert "staticgrad" in listed
    with pytest.raises(SystemExit, match="no workload is named 'nothing'"):
        command.main(["--workload", "nothing"])
    with pytest.raises(SystemExit, match="no benchmark is named 'nothing': ablation, budgets, "):
        command.main(["nothing"])


def test_each_module_with_a_command_is_a_benchmark_by_name():
    folder = Path(command.__file__).parent
    commands = {
        path.stem for path in folder.glob("*.py") if "\ndef main(" in path.read_text("utf-8")
    }
    assert commands - {"__main__", "suite", "worker"} == command.BENCHMARKS.keys() - {"every_op"}


@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_each_benchmark_shows_its_options(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main([name, "--help"])
    assert f"usage: python -m benchmarks {name}" in capsys.readouterr().out


def test_a_file_without_a_list_is_named(tmp_path, monkeypatch):
    for package, everything in (
        (implementations, implementations.all_implementations),
        (workloads, workloads.all_workloads),
    ):
        (tmp_path / "half_done.py").write_text("X = 1\n", "utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
        with pytest.raises(SystemExit, match=r"half_done\.py has no (IMPLEMENTATIONS|WORKLOADS)"):
            everything()
