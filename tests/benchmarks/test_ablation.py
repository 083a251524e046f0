"""Each special path of the compiler is reached by the benchmark's program that it is there for."""

import numpy as np
import pytest

import staticgrad as sg
from benchmarks.compiler import ablation, paths
from passes import base as passes
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.native import machine

ROWS = sorted({path.row for path in paths.PATHS})


@pytest.fixture(scope="module")
def programs():
    return ablation.corpus()


@pytest.mark.thinned(12)
@pytest.mark.parametrize("row", ROWS)
def test_a_path_is_taken_by_its_program(row, programs):
    """Hits are counted, not timed: a path that its program no longer takes is to be deleted."""
    expected = {path.name for path in paths.PATHS if path.row == row and path.bits <= _bits()}
    assert expected <= {name for name, count in ablation.hits(programs[row]).items() if count}


def _bits():
    return machine.current().vector_bits


def test_names_are_unique_and_lines_are_counted():
    names = [path.name for path in paths.PATHS]
    assert len(names) == len({*names})
    assert all(path.lines > 0 for path in paths.PATHS)
    assert not any(passes.REGISTRY[path.name].required for path in paths.PATHS if path.is_pass)
    with pytest.raises(ValueError, match="no path is named 'nothing'"), paths.without("nothing"):
        pass


def test_a_path_without_is_back_afterwards(programs):
    make = programs["small:complex product"]
    hits = ablation.hits(make)["siblings"]
    with paths.without("siblings", "merge_columns"):
        apart, feeds, graph = ablation.compile_program(make)  # not from the cache
        assert len(apart.kernels) > 1 or len(apart.schedule.steps) > 1
    again = sg.compile(graph)
    assert ablation.hits(make)["siblings"] == hits > 0
    for name, actual in apart.run(feeds).items():
        assert same_bytes(again.run(feeds)[name], actual)


def test_a_late_pass_is_left_out_of_every_program_that_is_compiled(programs):
    graph, feeds = programs["small:long products"]()

    def changes(program):
        return {report.name for report in program.explanation().late if report.changed}

    split = sg.compile(graph)
    with paths.without("split-k", "siblings"):
        direct = sg.compile(graph, disable=["panels"])
        assert ablation.hits(programs["small:long products"])["split-k"] == 0
    assert "split-k" in changes(split)
    assert "split-k" not in changes(direct)
    assert ablation.hits(programs["small:long products"])["split-k"] > 0
    for name, actual in direct.run(feeds).items():
        np.testing.assert_allclose(actual, split.run(feeds)[name], rtol=1e-4, atol=1e-4)


def test_the_table_of_the_page_is_replaced_and_what_follows_stays():
    pairs = [ablation.Pair("small:a", 2.0, 1.0, True), ablation.Pair("small:b", 0.5, 1.0, True)]
    line = ablation.Line("siblings", 3, 4, ["small:a", "small:b"], pairs)
    text = "# Title\n\nabout\n\n| old |\n\n## Second\n\n| kept |\n"
    title, about, table, *others = ablation.replace_table(text, [line], 7).split("\n\n")
    assert (title, others) == ("# Title", ["## Second", "| kept |\n"])
    assert "7 programs" in about
    assert table.splitlines()[-1] == (
        "| siblings | 3 | 4 in 2 | 2.00 small:a ... 0.50 small:b | 1 / 1 of 2 | equal |"
    )
