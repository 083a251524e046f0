"""The line of the user's program that is reported, and its text."""

import _thread
import copy
import dataclasses
import itertools
import json
import linecache
import pickle
import sys
from pathlib import Path
from types import CodeType

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad.errors import IndexOutOfRange
from staticgrad.language.scopes import scope
from staticgrad.support import building, source
from staticgrad.support.source import Origin, SourceLine
from tests.helpers.processes import python

_PACKAGE = Path(source.__file__).parent
_HERE = Path(__file__).name


def run_as(file, text, **names):
    """Run ``text`` as the contents of ``file``; linecache knows it, as it does in a notebook."""
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    names["capture"] = building.capture
    exec(compile(text, file, "exec"), names)
    return names


def library(text, file=_PACKAGE / "not_a_file.py", **names):
    return run_as(str(file), text, **names)


def carets(location):
    """The part of the source text that the message underlines."""
    _, text, marks = location.long.splitlines()
    start = marks.index("^")
    assert set(marks[:start]) <= {" "}
    assert set(marks[start:]) == {"^"}
    return text[start : len(marks)]


def test_the_line_and_the_exact_columns():
    origin = [0, building.capture(), 1][1]
    line = origin.resolve()
    assert line.file == __file__
    assert line.text == "    origin = [0, building.capture(), 1][1]"
    assert carets(origin) == "building.capture()"
    assert origin.short == f"{_HERE}:{line.line}" == str(origin) == str(line)
    assert line.function == "test_the_line_and_the_exact_columns"
    assert sys.getsizeof(origin) <= 80
    assert isinstance(origin[0], CodeType)
    assert origin[0] is sys._getframe().f_code


def test_library_frames_are_passed_over():
    deep = library("def f(): return capture()\ndef g(): return f()\ndef h(): return g()")["h"]
    assert carets(deep()) == "deep()"
    from_passes = library("def f(): return capture()", _PACKAGE.parent / "passes" / "x.py")["f"]
    assert carets(from_passes()) == "from_passes()"
    deep = library("def f(n): return capture(n)\ndef g(n): return f(n)")["g"]
    assert [carets(deep(0)), carets(deep(1)), carets(deep(2))] == ["deep(0)", "deep(1)", "deep(2)"]


def test_a_folder_of_the_user_named_passes_is_the_users(tmp_path):
    file = tmp_path / "passes" / "mine.py"
    assert library("made = capture()", file)["made"].short == "mine.py:1"


def test_an_error_that_no_frame_raises_shows_no_line():
    """Python makes errors of Numba's code late, when the caller's frame may have ended."""
    errors, ended = [], _thread.allocate_lock()
    ended.acquire()
    steps = itertools.chain(map(IndexOutOfRange, ["beyond"]), (ended.release() for _ in [0]))
    _thread.start_new_thread(list.extend, (errors, steps))
    assert ended.acquire(timeout=60)
    assert str(errors[0]) == str(pickle.loads(pickle.dumps(errors[0]))) == "[SG407] beyond"


def test_frames_of_numpy_and_of_generated_code_are_passed_over():
    inner = library("def f(*_): made.append(capture()); return 0", made=(origins := []))["f"]
    np.apply_along_axis(inner, 0, np.zeros((1, 1)))
    assert carets(origins[-1]) == "np.apply_along_axis(inner, 0, np.zeros((1, 1)))"

    hook = library("def hook(self): self.made = capture()")["hook"]
    op_class = dataclasses.make_dataclass("Op", ["n"], namespace={"__post_init__": hook})
    op = op_class(1)
    assert carets(op.made) == "op_class(1)"
    assert carets(dataclasses.replace(op, n=2).made) == "dataclasses.replace(op, n=2)"


@pytest.mark.parametrize(
    "file",
    [
        "/env/lib/python3.11/site-packages/frames/core.py",
        "/usr/lib/python3/dist-packages/frames.py",
        "C:\\env\\Lib\\site-packages\\frames\\core.py",
        str(Path(json.__file__)),
        str(Path(sys.prefix) / "bin" / "train"),
    ],
)
def test_frames_of_installed_packages_are_passed_over(file):
    inner = library("def f(): return capture()")["f"]
    outer = library("def apply(f): return f()", file)["apply"]
    assert carets(outer(inner)) == "outer(inner)"
    call = lambda: inner()  # noqa: E731
    assert carets(outer(call)) == "inner()"


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("<ipython-input-3-0a1b2c>", "<ipython-input-3-0a1b2c>:2"),
        ("/scratch/ipykernel_4711/1234567.py", "<cell>:2"),
        ("C:\\Users\\ada\\train.py", "train.py:2"),
        ("<stdin>", "<stdin>:2"),
        ("odd\nname.py", "odd?name.py:2"),
    ],
)
def test_notebooks_prompts_and_odd_names(file, shown):
    names = run_as(file, "x = 1\nmade = [x, capture()]")
    origin = names["made"][1]
    assert origin.short == shown
    assert carets(origin) == "capture()"


def test_a_program_without_source_text():
    program = (
        "import staticgrad as sg, staticgrad.support.building as s\n"
        "with sg.scope('block'):\n"
        "    print(s.capture().long)"
    )
    shown = python("-c", program, cwd=_PACKAGE.parent)
    assert shown.stdout.splitlines()[0] == "<string>:3 [block]"


def test_a_call_over_several_lines_is_marked_on_its_first():
    origin = [
        building.capture(
            0
        )
    ][0]  # fmt: skip
    line = origin.resolve()
    assert (line.line + 2, line.column, line.end_column) == (line.end_line, 8, 9)
    assert carets(origin) == "building.capture("


def test_a_long_line_is_cut_around_the_carets():
    text = f"made = [{'0, ' * 200}capture(), {'1, ' * 200}][200]"
    origin = run_as("<long>", text)["made"]
    assert carets(origin) == "capture()"
    assert max(map(len, origin.long.splitlines())) <= 104
    größe, origin = "größe", building.capture()
    assert größe in origin.resolve().text
    assert carets(origin) == "building.capture()"


@given(st.lists(st.sampled_from(["a", "+", "b  c", "\t"]), min_size=1, max_size=99), st.data())
def test_carets_stand_under_their_text(parts, data):
    text = "".join(parts) + "z"
    column = data.draw(st.sampled_from([i for i, c in enumerate(text) if not c.isspace()]))
    end = data.draw(st.integers(column + 1, min(len(text), column + 60)))
    line = SourceLine("t.py", 1, column, end, 1, text)
    assert carets(line) == text[column:end].replace("\t", " ")


def test_scopes_nest_and_end():
    block = scope("block")
    with scope("encoder"), block:
        origin = building.capture()
        with block:
            inner = building.capture()
    assert origin.scope == "encoder/block"
    assert inner.scope == "encoder/block/block"
    assert origin.label == f"{origin.short} [encoder/block]"
    assert origin.long.splitlines()[0].endswith("[encoder/block]")
    assert building.capture().scope == ""


def test_what_is_built_on_behalf_of_a_line_has_that_line():
    with scope("layer"):
        forward = building.capture()
    with building.within(forward):
        assert building.capture() is forward
        with scope("inner"):
            assert building.capture() is forward
    assert building.capture() is not forward


def test_copies_and_pickles_are_resolved_lines():
    with scope("block"):
        origin = building.capture()
    line = origin.resolve()
    assert isinstance(origin, Origin)
    for twin in (pickle.loads(pickle.dumps(origin)), copy.copy(origin), copy.deepcopy([origin])[0]):
        assert isinstance(twin, SourceLine)
        assert twin == line == line.resolve()
        assert twin.long == origin.long
    assert pickle.loads(pickle.dumps(line)) == line


def test_lines_read_back_from_text():
    assert SourceLine.from_text(" train.py:8 ") == SourceLine("train.py", 8)
    assert SourceLine.from_text("a b:c.py:8 [x/y z]") == SourceLine("a b:c.py", 8, scope="x/y z")
    text = "train.py:8 [a, b], model.py:5, x y.py:1 [c]"
    line = SourceLine.from_text(text)
    assert [(place.file, place.line, place.scope) for place in line.places] == [
        ("train.py", 8, "a, b"), ("model.py", 5, ""), ("x y.py", 1, "c"),
    ]  # fmt: skip
    assert line.label == text
    assert SourceLine.from_text("a:1,  b.py:2") == SourceLine("a:1,  b.py", 2)  # one odd name
    for text in ("", "train.py", "train.py:", "train.py:8 [x", "train.py:8, and a remark"):
        with pytest.raises(ValueError, match="expected file:line"):
            SourceLine.from_text(text)
    line = SourceLine("train.py", 8, text="    y = x @ w")
    assert line.long == "train.py:8\n    y = x @ w"  # without columns there are no carets
    assert SourceLine.from_text("train.py:8").long == "train.py:8"


def test_a_path_below_the_working_directory_is_shown_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside, outside = tmp_path / "models" / "mlp.py", tmp_path.parent / "mlp.py"
    assert SourceLine(str(inside), 3).long == f"{Path('models', 'mlp.py')}:3"
    assert SourceLine(str(outside), 3).long == f"{outside}:3"


def test_a_merged_origin_has_every_line_once_and_resolves_to_the_first_with_the_others():
    first, again = (building.capture() for _ in range(2))
    with scope("block"):
        second = building.capture()
    merged = source.merge_locations([first, second, again])
    assert source.merge_locations([first, again]) is first
    assert merged.places == (first, second)
    assert merged == source.merge_locations([merged, first])
    assert hash(merged) == hash(source.merge_locations([first, second]))
    line = merged.resolve()
    assert (line.line, line.also) == (first.resolve().line, (second.resolve(),))
    assert line.places == (first.resolve(), second.resolve())
    assert merged.label == line.label == f"{first.short}, {second.label}"
    assert (merged.short, merged.scope, str(merged)) == (first.short, "", first.short)
    assert merged.long == line.long == f"{first.long}\nalso from {second.label}"
    for twin in (pickle.loads(pickle.dumps(merged)), copy.copy(merged), copy.deepcopy([merged])[0]):
        assert twin == line
    with building.within(merged):
        assert building.capture() is merged
