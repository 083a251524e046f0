"""Records are the standard library's data classes: the same classes made both ways, compared."""

import copy
import dataclasses
import inspect
import pickle
import typing
from dataclasses import field
from pathlib import Path
from typing import ClassVar

import pytest

from staticgrad import records
from staticgrad.kept import cached_property


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
        made: dict[str, int] = field(init=False, default_factory=dict)

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
FLAW = (TypeError, "super(type, obj): obj must be an instance or subtype of type")


def outcome(what):
    """A result, or the error, by kind and text."""
    try:
        return what()
    except (TypeError, AttributeError) as error:  # a frozen instance raises the latter
        return type(error), str(error)


@pytest.mark.parametrize("make", MAKERS)
def test_a_record_is_a_data_class(make):
    ours, theirs = make(records.dataclass), make(dataclasses.dataclass)

    def described(cls):
        every = [
            (f.name, f.type, f.init, f.repr, f.compare, f.default) for f in dataclasses.fields(cls)
        ]
        return every, cls.__match_args__, dataclasses.is_dataclass(cls)

    assert described(ours) == described(theirs)
    assert str(inspect.signature(ours)) == str(inspect.signature(theirs))
    made = []
    for args, named in CALLS:
        one, two = (outcome(lambda c=cls, a=args, n=named: c(*a, **n)) for cls in (ours, theirs))
        if not isinstance(two, theirs):
            assert one == two
            continue
        made.append((one, two))
        named_one = {f.name: getattr(one, f.name) for f in dataclasses.fields(ours)}
        assert named_one == {f.name: getattr(two, f.name) for f in dataclasses.fields(theirs)}
        if make is not identity:
            assert repr(one) == repr(two)
        for change in ({"x": 9}, {"name": "b"}, {"note": "other"}):
            again = [outcome(lambda v=v, c=change: dataclasses.replace(v, **c)) for v in (one, two)]
            assert isinstance(again[0], ours) == isinstance(again[1], theirs)
        for act in (
            lambda v: setattr(v, "x", 4),
            lambda v: delattr(v, "y"),
            lambda v: setattr(v, "other", 4),
            hash,
        ):
            first, second = (outcome(lambda v=v, a=act: a(copy.copy(v))) for v in (one, two))
            if make is identity and act is hash:
                continue
            assert second in (first, FLAW)
    for one, two in made:
        for other, another in made:
            assert (one == other) == (two == another)
            assert (one == another) is False


def test_subclasses_of_the_standard_library_see_whether_a_record_is_frozen():
    base, changing_base = derived(records.dataclass), changing(records.dataclass)

    @dataclasses.dataclass(frozen=True)
    class More(base):
        w: int = 0

    assert More(1, w=4) == More(1, 2, 3, 4)
    with pytest.raises(TypeError, match="cannot inherit"):
        dataclasses.dataclass(type("Less", (base,), {}))
    with pytest.raises(TypeError, match="cannot inherit"):
        dataclasses.dataclass(frozen=True)(type("Less", (changing_base,), {}))


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


def test_classes_with_fields_of_one_form_share_code_under_their_own_names():
    made = [
        records.dataclass(type(name, (), {"__annotations__": dict.fromkeys(names, object)}))
        for name, names in (("A", ("x", "y")), ("B", ("self_", "_record_0")), ("C", ("y", "x")))
    ]
    assert [dataclasses.asdict(cls(1, 2)) for cls in made] == [
        {"x": 1, "y": 2}, {"self_": 1, "_record_0": 2}, {"y": 1, "x": 2}
    ]  # fmt: skip
    with pytest.raises(TypeError, match="follows default argument"):
        records.dataclass(type("D", (), {"__annotations__": {"a": int, "b": int}, "a": 1}))


def test_modules_make_their_data_classes_as_records():
    """So that starting does not compile the methods of each class."""
    root = Path(records.__file__).parent.parent
    others = ("staticgrad/records.py", "staticgrad/optim/")
    for package in ("staticgrad", "passes"):
        for path in (root / package).rglob("*.py"):
            text = path.read_text("utf-8")
            imports = [line for line in text.splitlines() if line.startswith("from dataclasses")]
            named = {name.strip(" ,") for line in imports for name in line.split()}
            assert "dataclass" not in named or path.relative_to(root).as_posix().startswith(
                others
            ), path


def named(base):
    class Point(base):
        """Two numbers and a note."""

        x: int
        y: float = 2.0
        note: str = ""

        @property
        def total(self):
            """Both."""
            return self.x + self.y

    return Point


Named = named(records.NamedTuple)
Named.__qualname__ = "Named"


def test_named_tuples_are_those_of_typing():
    other = named(typing.NamedTuple)
    for make in (Named, other):
        point = make(1, note="n")
        assert point == (1, 2.0, "n")
        assert (point.x, point.note, point.total) == (1, "n", 3.0)
        assert repr(point) == "Point(x=1, y=2.0, note='n')"
        assert point._replace(y=5)._asdict() == {"x": 1, "y": 5, "note": "n"}
        assert make._make([1, 2, "q"]) == (1, 2, "q")
        with pytest.raises(TypeError, match="Expected 3 arguments, got 1"):
            make._make([1])
        with pytest.raises(ValueError, match="unexpected field names"):
            point._replace(z=1)
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
            make()
        with pytest.raises(AttributeError):
            point.x = 2
    for name in ("_fields", "_field_defaults", "__match_args__", "__doc__", "__mro__"):
        mine, theirs = getattr(Named, name), getattr(other, name)
        assert mine == theirs or (name == "__mro__" and mine[1:] == theirs[1:])
    assert [*inspect.signature(Named).parameters] == [*inspect.signature(other).parameters]
    assert typing.get_type_hints(Named) == typing.get_type_hints(other)


def test_named_tuples_are_copied_and_pickled():
    point = Named(1, note="n")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(point, protocol))
        assert again == point
        assert type(again) is Named
    assert type(copy.deepcopy(point)) is Named


@pytest.mark.parametrize("base", [records.NamedTuple, typing.NamedTuple])
def test_named_tuples_refuse_what_those_of_typing_refuse(base):
    with pytest.raises(TypeError):

        class Late(base):
            x: int = 1
            y: int

    with pytest.raises(AttributeError):

        class Own(base):
            x: int

            def __new__(cls):
                return None


@records.dataclass(frozen=True)
class Summed:
    """A frozen record that keeps what is computed of it."""

    first: int
    second: tuple[int, ...] = ()

    @cached_property
    def total(self):
        """The sum of all."""
        return self.first + sum(self.second)


@pytest.mark.parametrize("changes", [{}, {"first": 5}, {"second": (7,), "first": 1}])
def test_replaced_records_are_those_of_the_standard_library(changes):
    record = Summed(2, (3, 4))
    assert record.total == 9
    found, wanted = records.replace(record, **changes), dataclasses.replace(record, **changes)
    assert found == wanted
    assert vars(found) == vars(wanted)  # and nothing of what was computed before
    assert found.total == wanted.total
    assert record == Summed(2, (3, 4))


def test_replacing_refuses_what_making_refuses():
    with pytest.raises(TypeError, match="third"):
        records.replace(Summed(2), third=1)
    with pytest.raises(ValueError, match="negative"):
        records.replace(Checked(2), first=-1)
    with pytest.raises(ValueError, match="default_factory"):

        @records.dataclass
        class _Wrong:
            items: list[int] = []  # noqa: RUF012 - this is what is refused
