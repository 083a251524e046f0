"""Public names say what they take, give and raise, with an example that is executed.

What does not yet stands in ``lacking.txt``, which may only shrink: who completes a docstring
writes the list anew (``python -m tests.documentation.docstring_parts``), nobody adds to it.
"""

from tests.documentation.docstring_parts import LIST, lacking, page, public


def test_what_docstrings_lack_is_what_is_listed():
    listed = LIST.read_text("utf-8")
    found = page()
    gone, new = (
        {*listed.splitlines()} - {*found.splitlines()},
        {*found.splitlines()} - {*listed.splitlines()},
    )
    assert (gone, new) == (set(), set()), "python -m tests.documentation.docstring_parts"


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
