"""Words that the project no longer uses, in names and in prose, each with the field's term."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The word -> what to write. A test of its own asks that each is found.
WORDS = {
    "twin": "eager mode, or equal",
    "house": "package",
    "kin": "related functions",
    "world": "execution mode",
    "surroundings": "captured values",
    "noting": "collecting, recording",
    "habit": "migration hint",
    "trip": "iteration",
    "abreast": "jammed (unroll and jam), interleaved",
    "brought near": "prefetched",
    "nearest cache": "L1",
    "second cache": "L2",
    "past the caches": "by streaming stores",
}
_WORD = re.compile(rf"(?<![a-z])(?<!COMM_)({'|'.join(WORDS)})s?(?!_size)(?![a-z])", re.IGNORECASE)


def texts():
    """The package's files and the documents, by their paths."""
    folders = ("staticgrad", "passes", "benchmarks", "examples", "docs")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*") if _is_text(p)]
    paths = {*files, *ROOT.glob("*.md")} - {ROOT / "docs/glossary.md"}  # which lists these words
    return {str(p.relative_to(ROOT)): p.read_text("utf-8") for p in paths}


def _is_text(path):
    return path.suffix in (".py", ".md", ".pyi") and "results" not in path.parts


def found_in(path, text):
    """``path:line: word, write ...`` for each word."""
    lines = [(0, path), *enumerate(text.splitlines(), 1)]
    return [
        f"{path}:{number}: {word}, write {WORDS[word.lower()]}"
        for number, line in lines
        for word in _WORD.findall(line)
    ]


def test_words_are_found_in_names_and_in_prose():
    for word in WORDS:
        for text in (f"the {word}s of it", f"def _{word}_of(x):", word.title()):
            assert found_in("a.py", text) == [f"a.py:1: {re.findall(word, text, re.I)[0]}, write "
                                              f"{WORDS[word]}"]  # fmt: skip
    assert found_in("a.py", "kind, household, making, worldly, COMM_WORLD, world_size") == []
    assert [word for path, text in texts().items() for word in found_in(path, text)] == []
