"""Why two neighbouring groups are two kernels: a class for each reason, with its numbers.

``legality.kept_apart`` gives the reasons by which groups that grow do not join, and ``neighbours``
finds the one reason for each pair of groups in the end.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, dataclass_transform

from staticgrad.records import Immutable, dataclass
from staticgrad.types.arrays import Shape


@dataclass_transform(frozen_default=True)
class Reason(Immutable):
    """Why a group that computes something and one that reads it are two kernels.

    ``text``: the reason in words, with its fields by name.
    """

    text: ClassVar[str]

    def __init_subclass__(cls, text: str = "") -> None:
        cls.text = text
        dataclass(frozen=True)(cls)

    def __str__(self) -> str:
        words = {
            name: ", ".join(map(str, value)) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()  # type: ignore[call-overload]
        }
        return self.text.format(**words)

    @property
    def numbers(self) -> dict[str, Any]:
        """The fields as JSON has them; sizes that are open as text."""
        return {
            name: [each if isinstance(each, int) else str(each) for each in value]
            if isinstance(value, tuple)
            else value
            for name, value in asdict(self).items()  # type: ignore[call-overload]
        }


class FusionOff(Reason, text="fusion is off"):
    """Every node was to be a kernel of its own."""


class OtherSpace(Reason, text="computed over [{computed}], read over [{read}]"):
    """The reader's loops run over other axes than those that the value is computed over."""

    computed: Shape
    read: Shape


class OtherElements(Reason, text="read through a view of [{shape}] with strides ({strides})"):
    """The reader takes a view: at one position it reads an element that lies at another."""

    shape: Shape
    strides: Shape


class Unfinished(Reason, text="a reduction over [{over}] is known only after its last term"):
    """A reduction is known only after its last term, and the reader needs it before."""

    over: Shape


class WholeOperand(Reason, text="{op} needs its operand of [{shape}] in memory"):
    """The reader needs the operand in memory: it reads elements often, or in no order."""

    op: str
    shape: Shape


class KernelOfItsOwn(Reason, text="the kernel of a {step} computes nothing else"):
    """One of the two is a step whose kernel holds nothing else, as a sort or a copy."""

    step: str


class PhaseBorder(Reason, text="computed in derivative order {computed}, read in order {read}"):
    """A memory policy may run the earlier part again, without the later one."""

    computed: int
    read: int


class StoresMore(
    Reason,
    text="one kernel of two derivative orders would store {added} bytes more and spare {spared}",
):
    """One kernel of two derivative orders would store more than it spares."""

    added: int
    spared: int


class UpdateOrder(Reason, text="the update of {parameter} waits for all that read its old value"):
    """The reader writes a parameter, which must wait for all that read the old value."""

    parameter: str


class TwoProducts(Reason, text="two matrix products"):
    """Each of the two is a matrix product, and a kernel holds the tile of one."""


class ReductionInProduct(
    Reason, text="a tile of a matrix product has no whole row or column to reduce"
):
    """A tile of a matrix product holds parts of rows and columns only."""


class LookupInProduct(Reason, text="a tile of a matrix product looks up no positions"):
    """A tile of a matrix product has no place for checks of positions, or for a search."""


class LookupInColumns(Reason, text="a kernel that reduces columns looks up no positions"):
    """A kernel that reduces columns has no place for checks of positions, or for a search."""


class OtherRows(Reason):
    """Both reduce, but other axes."""

    computed: tuple[int, ...]
    read: tuple[int, ...]

    def __str__(self) -> str:
        one, other = (", ".join(map(str, axes)) or "none" for axes in (self.computed, self.read))
        return f"one reduces the axes {one}, the other {other}"


class PositionsInRow(Reason, text="one asks for positions, the other reduces {axes} axes as one"):
    """Axes of a row are walked as one where they can be; then no axis has a position."""

    axes: int


class PositionsInWindows(
    Reason, text="one asks for positions, the other reads windows by several loops along an axis"
):
    """A kernel of windows moves along an axis by several loops."""


class BrokenRow(Reason, text="a row of {axes} axes is several runs of memory"):
    """One kernel of rows would find a row of several axes in more than one run of memory."""

    axes: int


class LongRow(Reason, text="a row of all operands takes {nbytes} bytes, of {limit} at most"):
    """One kernel of rows would not find a row in the cache when it comes back to it."""

    nbytes: int
    limit: int


class FewRows(Reason, text="{rows} rows of [{row}] are too few to share out"):
    """One kernel of rows has too few of them to share out, and much to do for each."""

    rows: int
    row: Shape


class FewTerms(
    Reason, text="columns of {terms} terms, {elements} in all, are not worth partial sums"
):
    """Sums of columns beside rows take partial results, which are not worth it for so few."""

    terms: int
    elements: int


class RowsInLanes(Reason, text="rows of {length} elements lie in a lane each, without column sums"):
    """Short rows lie in a lane each; a kernel of them sums no columns."""

    length: int


class OncePerRow(
    Reason,
    text="{op}, once per row of about {length} elements, takes a vector of rows in a kernel of its"
    " own",
):
    """What is computed once per row, and read by nothing in its row, takes a vector of rows."""

    op: str
    length: int


class TooLarge(Reason, text="about {instructions} instructions together, of {limit} at most"):
    """Together they would pass the limit of a kernel, which takes longer to compile the larger."""

    instructions: int
    limit: int


class LongChain(
    Reason,
    text="a long chain of dependent operations: one kernel would wait about {together} cycles a"
    " vector, its parts take {apart}",
):
    """In one kernel operations would wait for each other longer than storing in between takes.

    Estimates for one vector of elements, of all kernels that the one was cut into.
    """

    together: int
    apart: int


class SingleRow(
    Reason,
    text="a row of about {elements} elements has work for several workers; one alone combines what"
    " theirs comes to",
):
    """A row is one iteration, of one worker: others can take pieces of it, or its elements."""

    elements: int


class Copies(
    Reason,
    text="rows of several axes would be read from copies of {operands} operands; their elements"
    " are stored instead",
):
    """A row is read as one run of memory, which what repeats along some of its axes is not."""

    operands: int


class Between(
    Reason,
    text="the reader also needs {op}, of kernel level {needed}, and this one is of level"
    " {computed}: a third kernel may stand between the two",
):
    """The reader also needs a kernel that may have to run after the first of the two."""

    computed: int
    needed: int
    op: str


class OtherReaders(Reason):
    """Others need what it computes too, so that it is stored all the same."""

    kernels: int
    results: int

    def __str__(self) -> str:
        kernels = f"{self.kernels} other kernel{'s' * (self.kernels != 1)} read it"
        results = f"{self.results} of its values are results"
        parts = [text for text, n in ((kernels, self.kernels), (results, self.results)) if n]
        return f"stored all the same: {', '.join(parts)}"
