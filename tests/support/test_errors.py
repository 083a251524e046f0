"""The parts of a message and their order; one code per mistake."""

import copy
import inspect
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad import errors
from staticgrad.errors import wording
from staticgrad.language.scopes import scope
from staticgrad.support import building
from staticgrad.support.source import SourceLine

_PACKAGE = Path(errors.__file__).parent


def classes_of(base):
    classes = [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, base)]
    return sorted(classes, key=lambda c: c.code)


ERRORS = [c for c in classes_of(errors.StaticgradError) if c is not errors.ParseError]
WARNINGS = classes_of(errors.StaticgradWarning)


def parse_error():
    text = "graph f(%x: f32) {\n  %0 = ezp(%x)\n}"
    return errors.ParseError("no op named 'ezp'", text=text, line=2, column=8, width=3, hint="exp?")


def deep_in_the_library(**names):
    """Functions whose frames belong to the package; ``h`` calls ``g`` calls ``f``, which raises."""
    text = "def f(): raise make()\ndef g(): f()\ndef h(): g()"
    exec(compile(text, str(_PACKAGE / "not_a_file.py"), "exec"), names)
    return names


def test_each_class_has_a_code_of_its_own_and_each_code_a_meaning():
    codes = [c.code for c in [*classes_of(errors.StaticgradError), *WARNINGS]]
    assert sorted(codes) == sorted(set(codes)) == sorted(errors.CODES)
    assert all(re.fullmatch(r"SG\d{3}", code) for code in codes)
    assert len(set(errors.CODES.values())) == len(errors.CODES)


def test_the_message_reports_line_operands_and_hint():
    with scope("head"):
        x, w = (SourceLine("model.py", n, text=f"  {t}") for n, t in ((3, "x = a"), (12, "w = b")))
        related = [("x", "f32[32, 784]", x), ("w10", "f32[9]", w), ("k", "i64[]", None)]
        error = errors.ShapeError(
            "matmul: 784 != 9", details=["(inner)"], hint="try\nthis", related=related
        )
    lines = str(error).splitlines()
    assert lines[0] == "[SG101] matmul: 784 != 9"
    assert re.fullmatch(r"  (.*/)?test_errors\.py:\d+, in test_\w+ \[head\]", lines[1])
    assert lines[2].strip().startswith("error = errors.ShapeError(")
    assert set(lines[3]) == {" ", "^"}
    assert lines[4:] == [
        "  x    f32[32, 784]  model.py:3  x = a",
        "  w10  f32[9]        model.py:12  w = b",
        "  k    i64[]",
        "  (inner)",
        "  hint: try",
        "        this",
    ]


def test_an_error_deep_in_the_library_names_the_users_line():
    call = deep_in_the_library(make=lambda: errors.ShapeError("no"))
    call["make"].__code__ = call["make"].__code__.replace(co_filename=str(_PACKAGE / "x.py"))
    with pytest.raises(errors.ShapeError) as caught:
        call["h"]()
    line = caught.value.at.resolve()
    assert (line.file, line.text.strip()) == (__file__, 'call["h"]()')
    assert str(caught.value).splitlines()[2:4] == ['      call["h"]()', "      ^^^^^^^^^^^"]
    origin = building.capture()
    assert f"test_errors.py:{origin.resolve().line}" in str(errors.ShapeError("no", at=origin))
    assert "\n  train.py:8" in str(errors.ShapeError("no", at=SourceLine.from_text("train.py:8")))


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_PLACE = st.builds(
    SourceLine, st.just("a.py"), st.just(8), st.integers(0, 9), st.integers(0, 60), text=_TEXT
)


@given(
    _TEXT,
    st.lists(_TEXT, max_size=20),
    st.text("ab\n", max_size=30),
    _PLACE,
    st.lists(st.tuples(_TEXT, _TEXT, st.none() | _PLACE), max_size=20),
)
def test_a_message_has_at_most_twelve_lines_and_starts_with_the_headline(
    headline, details, hint, at, related
):
    error = errors.ShapeError(headline, details=details, hint=hint, at=at, related=related)
    lines = str(error).split("\n")
    assert len(lines) <= 12
    assert lines[0] == f"[SG101] {(headline.splitlines() or [''])[0]}"
    assert lines[1] == "  a.py:8"


def _line():
    return SourceLine("train.py", 8)


def test_operands_are_named_once_by_whoever_knows_them():
    error = errors.ShapeError("no", at=_line())
    assert error.with_related([("x", "f32[2]", None)]) is error
    error.with_related([("y", "f32[3]", None)])
    assert str(error) == "[SG101] no\n  train.py:8\n  x  f32[2]"
    assert str(errors.UnknownNameError("no 'y'", at=_line())) == "[SG106] no 'y'\n  train.py:8"


@pytest.mark.parametrize(
    ("names", "base"),
    [
        ("ShapeError ParseError FeedShapeError UnknownSettingError", ValueError),
        ("DTypeError SymbolicValueError FeedDTypeError", TypeError),
        ("AxisError IndexOutOfRange", IndexError),
        ("UnknownNameError", KeyError),
        ("CPUError", RuntimeError),
        ("MissingPackageError", ImportError),
        ("UnknownSettingError", errors.ConfigError),
        ("DisconnectedError", errors.GradientError),
        ("FeedDTypeError FeedShapeError MissingFeedError UnknownFeedError SizeGuardError",
         errors.FeedError),
        ("AxisError FeedDTypeError", ValueError),
    ],
)  # fmt: skip
def test_errors_are_what_python_calls_such_mistakes(names, base):
    for name in names.split():
        assert issubclass(getattr(errors, name), base)
        assert issubclass(getattr(errors, name), errors.StaticgradError)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda c: c.__name__)
def test_every_error_survives_pickling_and_copying(kind):
    origin = building.capture()
    error = kind("no", details=["d"], hint="h", related=[("x", "f32[]", origin)])
    error.add_note("a note")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert (twin.args, twin.__notes__) == (("no",), ["a note"])


def test_a_parse_error_points_into_the_text():
    error = pickle.loads(pickle.dumps(parse_error()))
    assert (error.line, error.column) == (2, 8)
    assert str(error).splitlines() == [
        "[SG202] no op named 'ezp'",
        "  <text>:2",
        "      %0 = ezp(%x)",
        "           ^^^",
        "  hint: exp?",
    ]


def test_a_warning_stands_at_the_users_line_and_has_a_code():
    text = "def f(): warn(category, 'slow')\ndef g(): f()"
    names = {"warn": errors.warn, "category": errors.LargeConstantWarning}
    exec(compile(text, str(_PACKAGE / "not_a_file.py"), "exec"), names)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        names["g"]()
        line = building.capture().resolve().line - 1
    assert [(w.filename, w.lineno, w.category) for w in seen] == [
        (__file__, line, errors.LargeConstantWarning)
    ]
    assert str(seen[0].message) == "[SG901] slow"
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.StaticgradWarning)
        with pytest.raises(errors.ShapeAsValueWarning, match="SG909"):
            errors.warn(errors.ShapeAsValueWarning, "again")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (None, "None"),
        ([1], "a list"),
        ("x", "a text"),
        (b"x", "a text of bytes"),
        (np.ones(2), "an array"),
        (np.float32(1), "a float32"),
        (1, "an int"),
        (int, "a class int"),
        (len, "a builtin_function_or_method"),
    ],
)
def test_things_are_named_by_their_kind(data, kind):
    assert wording.kind_of(data) == kind


def test_what_a_user_passed_is_shown_in_one_short_line():
    assert wording.quote("a\nb") == "'a\\nb'"
    assert wording.quote(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert wording.quote(wording.kind_of) == "kind_of"
    assert len(wording.quote(list(range(1000)))) == 60


def test_a_close_name_is_suggested_and_no_other():
    assert wording.did_you_mean("bacth", ["batch", "time"]) == "did you mean 'batch'? "
    assert wording.did_you_mean("zzz", ["batch", "time"]) == ""
    assert wording.did_you_mean(3, []) == ""
    assert wording.closest("softmx", {"softmax": 1, "relu": 2}) == "softmax"
    assert wording.closest("meen", ["mean", "median"]) == "mean"
    assert wording.closest("X", ["x", "y"]) == "x"
    for wrong, candidate in {
        "det": "dot", "sgd": "std", "save": "ravel", "scan": "isnan", "solve": "absolute",
        "cond": "round", "yy": "y", "interp": "inner",
    }.items():  # fmt: skip
        assert wording.closest(wrong, [candidate]) is None
    assert wording.list_names(["a", "b"]) == "a, b"
    assert wording.list_names([]) == "none"
