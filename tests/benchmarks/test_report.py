"""Figures, tables, Markdown and the page, from made-up reports."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import __main__ as command, figures, schema
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


def test_markdown_shows_losses_too():
    lines = markdown(WHOLE).splitlines()
    assert "| workload | one thread | staticgrad | jax | torch | ratio | of limit |" in lines
    assert "| mlp | 1 ms | 1 ms | 2 ms | crashed | 0.50 | 100% |" in lines
    both = markdown(report(FAST, replace(row("staticgrad", [6e-4]), threads=2), SLOW))
    assert "| mlp | 1 ms | 600 us | 2 ms | 0.30 | 83% |" in both
    slower = markdown(report(row("staticgrad", [4e-3]), SLOW))
    assert "| mlp | 4 ms | 4 ms | 2 ms | 2.00 | 25% |" in slower


def test_the_page_renders_and_escapes():
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    from benchmarks.plot import page

    text = page(WHOLE)
    assert text.count("<svg") == 3
    assert "&lt;b&gt;fell" in text
    assert "<b>fell" not in text
    assert not re.search(r"(src|href)=\"(?!#)|url\((?!#)|@import", text)  # self-contained


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
    with pytest.raises(SystemExit, match="no benchmark is named 'nothing': ablation, bridges, "):
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
