"""Records are the standard library's data classes: the same classes made both ways, compared."""

import copy
import dataclasses
import inspect
import pickle
from dataclasses import field
from pathlib import Path
from typing import ClassVar

import pytest

from staticgrad.support import records


def frozen(dataclass):
    @dataclass(frozen=True)
    class Point:
        """Two numbers and what is derived from them."""

        count: ClassVar[int] = 7
        x: int
        y: float = 2.0
        note: str = field(default="", compare=False)
        seen: tuple[int, ...] = field(default_factory=tuple, repr=False)
        total: float = field(init=False)

        def __post_init__(self):
            object.__setattr__(self, "total", self.x + self.y)

    return Point


def changing(dataclass):
    @dataclass
    class Bag:
        name: str
        items: list[int] = field(default_factory=list)
        extra: dict[str, int] = field(init=False, default_factory=dict)

    return Bag


def identity(dataclass):
    @dataclass(frozen=True, eq=False, repr=False)
    class Plain:
        """Compared by identity."""

        x: int

    return Plain


def derived(dataclass):
    @dataclass(frozen=True)
    class Base:
        x: int
        y: int = 1

    @dataclass(frozen=True)
    class Derived(Base):
        y: int = 2
        z: int = 3

    return Derived


def with_its_own(dataclass):
    @dataclass(frozen=True)
    class Named:
        x: int

        def __eq__(self, other):
            return isinstance(other, type(self)) and (self.x - other.x) % 2 == 0

        def __hash__(self):
            return 5

        def __repr__(self):
            return "mine"

    return Named


def slotted(dataclass):
    @dataclass(frozen=True, slots=True)
    class Slotted:
        x: int
        y: int = 0

    return Slotted


def by_keyword(dataclass):
    @dataclass(kw_only=True)
    class ByKeyword:
        x: int
        y: int = 0

    return ByKeyword


def empty(dataclass):
    return dataclass(frozen=True)(type("Empty", (), {}))


MAKERS = (
    frozen, changing, identity, derived, with_its_own, slotted, by_keyword, empty,
)  # fmt: skip
CALLS = (
    *((args, {}) for args in ((), (1,), (3,), (1, 2), (1, 2, "n", (4,)), (1, 2, 3, 4, 5))),
    ((1,), {"x": 1}),
    *(((), named) for named in (
        {"x": 1}, {"x": 1, "y": 5}, {"y": 1}, {"name": "a", "items": [1]}, {"x": 1, "unknown": 2},
    )),
)  # fmt: skip


#: A class with slots of the standard library raises this where it means to refuse an assignment.
FLAW = "super(type, obj): obj "  # and other words in each version


def outcome(what):
    """A result, or the error, by kind and text."""
    try:
        return what()
    except (TypeError, AttributeError) as error:  # a frozen instance raises the latter
        return type(error), str(error)


@pytest.mark.parametrize("make", MAKERS)
def test_a_record_is_a_data_class(make):
    ours, theirs = make(records.dataclass), make(dataclasses.dataclass)

    def describe_class(cls):
        every = [
            (f.name, f.type, f.init, f.repr, f.compare, f.default) for f in dataclasses.fields(cls)
        ]
        return every, cls.__match_args__, dataclasses.is_dataclass(cls)

    assert describe_class(ours) == describe_class(theirs)
    assert str(inspect.signature(ours)) == str(inspect.signature(theirs))
    pairs = []
    for args, named in CALLS:
        left, right = (outcome(lambda c=cls, a=args, n=named: c(*a, **n)) for cls in (ours, theirs))
        if not isinstance(right, theirs):
            assert left == right
            continue
        pairs.append((left, right))
        named_one = {f.name: getattr(left, f.name) for f in dataclasses.fields(ours)}
        assert named_one == {f.name: getattr(right, f.name) for f in dataclasses.fields(theirs)}
        if make is not identity:
            assert repr(left) == repr(right)
        for change in ({"x": 9}, {"name": "b"}, {"note": "other"}):
            again = [
                outcome(lambda v=v, c=change: dataclasses.replace(v, **c)) for v in (left, right)
            ]
            assert isinstance(again[0], ours) == isinstance(again[1], theirs)
        for act in (
            lambda v: setattr(v, "x", 4),
            lambda v: delattr(v, "y"),
            lambda v: setattr(v, "other", 4),
            hash,
        ):
            first, second = (outcome(lambda v=v, a=act: a(copy.copy(v))) for v in (left, right))
            if make is identity and act is hash:
                continue
            assert second == first or str(second).startswith(f"(<class 'TypeError'>, '{FLAW}")
    for left, right in pairs:
        for next_left, next_right in pairs:
            assert (left == next_left) == (right == next_right)
            assert (left == next_right) is False


@records.dataclass(frozen=True)
class Checked:
    """A frozen record that looks at its fields; in a module, so that it can be pickled."""

    first: int
    second: str = ""

    def __post_init__(self):
        if self.first < 0:
            raise ValueError("negative")


@records.dataclass(frozen=True, slots=True)
class KeptInSlots:
    """Has no room but for its fields."""

    x: int
    y: str = ""


def test_records_are_copied_and_pickled():
    for value in (Checked(1, "a"), KeptInSlots(1, "a")):
        again = pickle.loads(pickle.dumps(value))
        assert again == copy.deepcopy(value) == copy.copy(value) == value
    assert not hasattr(KeptInSlots(1), "__dict__")


def test_modules_make_their_data_classes_as_records():
    """So that starting does not compile the methods of each class."""
    root = Path(records.__file__).parent.parent
    others = ("staticgrad/support/records.py", "staticgrad/optim/")
    for package in ("staticgrad", "passes"):
        for path in (root / package).rglob("*.py"):
            text = path.read_text("utf-8")
            imports = [line for line in text.splitlines() if line.startswith("from dataclasses")]
            named = {name.strip(" ,") for line in imports for name in line.split()}
            assert "dataclass" not in named or path.relative_to(root).as_posix().startswith(
                others
            ), path
