"""Mistakes of users as small programs: how they are written down, and how one is run and judged.

A file of ``programs/`` holds many. ``=== name`` begins one; ``# <- SG101 words | words`` marks the
line at fault, with the code of the error and what its message says; a place before the code
(``<text>:3``) stands for an error that points elsewhere; a class (``TypeError``) stands for an
error of Python's own. A program without a mark runs through.

The words are names, numbers and code that the message has to contain, whatever its sentence says.
Sentences are pinned for the mistakes that people make most often, about 80 programs, and each in
one program: to improve one is an edit here and one in the package.

A program runs from a file of its own, one statement after the other. Whatever it does wrong, no
parameter has changed meanwhile, and what was compiled before runs on with the feeds ``good``.

``python -O -m tests.mistakes.cases`` runs all, and prints what is not as it should be.
"""

import ast
import contextlib
import io
import linecache
import re
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import staticgrad as sg

PROGRAMS = Path(__file__).parent / "programs"
MOST_LINES = 12
_PROLOGUE = ["import numpy as np, staticgrad as sg"]
_MARK = re.compile(r"(.*?)  # <- (?:(\S+:\d+|<\w+>) )?(\w+)(?: (.*))?")
#: What no message to a user contains.
_INTERNAL = re.compile(
    r"Traceback|object has no attribute|NoneType|site-packages|staticgrad/\w+\.py"
)


@dataclass(frozen=True)
class Case:
    """One program. ``line`` counts from 1 and is 0 where nothing is wrong with it."""

    family: str
    name: str
    program: str
    line: int = 0
    place: str = ""
    expected: str = ""
    words: tuple[str, ...] = ()

    def __str__(self):
        return f"{self.family}: {self.name}"


def read(text, family):
    """The programs that a file holds."""
    return [_case(part, family) for part in re.split(r"^=== ", text, flags=re.M)[1:]]


def _case(part, family):
    name, *lines = part.rstrip().splitlines()
    program, mark = list(_PROLOGUE), None
    for line in lines:
        match = _MARK.fullmatch(line)
        program.append(match[1] if match else line)
        mark = (len(program), match) if match else mark
    if mark is None:
        return Case(family, name, "\n".join(program) + "\n")
    words = tuple(word.strip() for word in (mark[1][4] or "").split(" | ") if word.strip())
    place = mark[1][2] or f"program.py:{mark[0]}"
    return Case(family, name, "\n".join(program) + "\n", mark[0], place, mark[1][3], words)


CASES = [
    case for file in sorted(PROGRAMS.glob("*.txt")) for case in read(file.read_text(), file.stem)
]


def problem(case, folder):
    """Run a program from a file in ``folder``; what is not as it should be, or nothing."""
    path = folder / "program.py"
    path.write_text(case.program, "utf-8")
    linecache.checkcache(str(path))
    run = _Run(path, case.program)
    with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        run.to_the_end()
        problems = [*_message_problems(case, run, warned), *run.state_problems()]
    if not problems:
        return ""
    return "\n".join([str(case), *problems, f"{type(run.error).__name__}: {run.error}"])


class _Run:
    """A program under way: its names, and what it ended with."""

    def __init__(self, path, program):
        self.path, self.error = path, None
        self.statements = ast.parse(program, str(path)).body
        self.names = {"__name__": "__main__", "__file__": str(path), "check": check}
        self.state_before = {}
        self.state_after = {}

    def to_the_end(self):
        """Run statement by statement, to the first error."""
        for statement in self.statements:
            self.state_before = self.state()
            try:
                exec(compile(ast.Module([statement], []), str(self.path), "exec"), self.names)
            except Exception as error:
                self.error = error
                self.state_after = self.state()
                return

    def state(self):
        """Values that a mistake must leave: parameters, and what compiled objects count."""
        state = {}
        for name, thing in self.names.items():
            if isinstance(thing, sg.Parameter):
                state[name] = thing.value
            if isinstance(thing, sg.Compiled):
                state[f"{name}.stats.runs"] = thing.stats.runs
                for parameter in thing.program_graph.parameters:
                    state[f"{name}: {parameter.name}"] = parameter.value
        return state

    def state_problems(self):
        """List what the failing statement changed, and compiled objects that run no longer."""
        problems = []
        for name, value in self.state_before.items() if self.error else ():
            is_float = np.asarray(value).dtype.kind == "f"
            if not np.array_equal(self.state_after[name], value, equal_nan=is_float):
                problems.append(f"{name} has changed: {self.state_after[name]}")
        programs = [f for f in self.names.values() if isinstance(f, sg.Compiled)]
        for f in programs if "good" in self.names else ():
            expected = sg.evaluate(f.program_graph, self.names["good"])
            result = f.run(self.names["good"])
            results = {"output": result} if f.single else result
            for name, array in expected.items():
                if not np.allclose(results[name], array, rtol=1e-5, equal_nan=True):
                    problems.append(f"afterwards output {name!r} is {results[name]}, not {array}")
        return problems

    def line(self):
        """The innermost line of the program that was running when the error came."""
        frames = traceback.extract_tb(self.error.__traceback__) if self.error else []
        return next((f.lineno or 0 for f in reversed(frames) if f.filename == str(self.path)), 0)


def check(actual, expected):
    """For programs: their results."""
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def _message_problems(case, run, warned):
    error = run.error
    if case.expected.startswith("SG9"):
        return _warning_problems(case, run, warned)
    problems = [f"it warned: {w.message}" for w in warned]
    if not case.expected:
        return [*problems, *(["it does not run through"] if error else [])]
    if error is None:
        return [*problems, f"nothing was raised, {case.expected} expected"]
    if not case.expected.startswith("SG"):
        if case.expected != type(error).__name__ or run.line() != case.line:
            problems.append(f"{case.expected} expected, at line {case.line}, not {run.line()}")
        return problems + _missing_words(case, str(error))
    return [*problems, *_report_problems(case, error)]


def _report_problems(case, error):
    """List the faults of an error of ours: code, first place, length, words, what hangs on it."""
    if not isinstance(error, sg.StaticgradError):
        return [f"{case.expected} expected"]
    text = str(error)
    lines = text.splitlines()
    problems = _missing_words(case, text)
    if not text.startswith(f"[{case.expected}] "):
        problems.append(f"{case.expected} expected")
    if not re.search(rf"(^|[\s/]){re.escape(case.place)}\b", lines[1]):
        problems.append(f"reported at {lines[1].strip()}, not {case.place}")
    if len(lines) > MOST_LINES:
        problems.append(f"{len(lines)} lines")
    if _INTERNAL.search(text):
        problems.append(f"it speaks of {_INTERNAL.search(text)}")
    if error.__cause__ or (error.__context__ and not error.__suppress_context__):
        problems.append(f"behind it {error.__cause__ or error.__context__!r} would be shown")
    return problems


def _warning_problems(case, run, warned):
    if run.error or len(warned) != 1:
        return [f"one warning expected, not {[str(w.message) for w in warned]}"]
    text, place = str(warned[0].message), (warned[0].filename, warned[0].lineno)
    problems = _missing_words(case, text)
    if place != (str(run.path), case.line) or not text.startswith(f"[{case.expected}] "):
        problems.append(f"{case.expected} at line {case.line} expected, not {text} at {place}")
    return problems


def _missing_words(case, text):
    return [f"it does not say {word!r}" for word in case.words if word not in text]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        problems = [text for case in CASES if (text := problem(case, Path(name)))]
    sys.stdout.write("\n\n".join([*problems, f"{len(CASES)} programs, {len(problems)} problems\n"]))
    sys.exit(bool(problems))
