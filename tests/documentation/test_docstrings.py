"""Public names say what they take, give and raise, with an example that is executed.

What does not yet stands in ``lacking.txt``, which shrinks: a docstring on it may lack no more than
it says there, and a name that is not on it lacks nothing. ``python -m
tests.documentation.docstring_parts`` writes it anew, by whoever completes docstrings.
"""

from tests.documentation.docstring_parts import LIST, lacking, page, public

#: How many new names may wait for their parts until the list is written anew.
WAITING = 12


def read(text):
    """Name -> what it lacks."""
    pairs = (line.split(": ") for line in text.splitlines())
    return {name: {*parts.split(", ")} for name, parts in pairs}


def test_docstrings_lack_no_more_than_is_listed():
    listed, found = read(LIST.read_text("utf-8")), read(page())
    assert {
        n: parts - listed[n] for n, parts in found.items() if parts - listed.get(n, parts)
    } == {}
    assert len(found.keys() - listed.keys()) <= WAITING, sorted(found.keys() - listed.keys())
    assert len(listed) < 300


def test_a_name_that_is_new_lacks_nothing():
    def short(x: "Operand") -> "Value":  # noqa: F821 - names as they stand in annotations
        """Half of x."""

    def whole(x: "Operand", axis: int = 0) -> "Value":  # noqa: F821
        """Half of x.

        Args:
            x: a value.
            axis: which.

        Returns:
            Halves.

        Raises:
            AxisError: there is no such axis.

        >>> 2 / 2
        1.0
        """

    assert lacking(short) == ["Args", "Returns", "example"]
    assert lacking(whole) == []
    assert lacking(lambda: None) == ["example"]
    assert len(public()) > 400
