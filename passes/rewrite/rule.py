"""Rewrite rules: a pattern, its replacement, and the promise that each makes, as data.

``exact`` rules keep every byte (any NaN equals any NaN); ``stable`` ones come closer to the true
value; ``value`` ones hold in exact arithmetic, within an error that they state. Rules of each class
keep derivatives too, at kinks and ties: a pass may be followed by ``grad``. A rule says nothing
about how it is found: that is ``matching``, which hands its functions a ``Match``.

Terms: the third kind of value. Ops bound to a term build a pattern, not a node.

The ordinary operators and functions write both sides of a rule: ``sg.log(sg.exp(x))`` over a hole
is a term. A hole stands for any value, a number for a constant of that value, and ``some`` for an
op whatever its attributes. A term has a type only so that functions can be applied to it; a pattern
says nothing about types but what its rule states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar, Final, Literal, Self

from staticgrad.errors import PipelineError, StaticgradError
from staticgrad.language.ir.graph import Input, Node, ParameterLeaf, Symbolic
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.value import Value
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import BOOL, F64, I64, DType, as_dtype
from staticgrad.support import fuses
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass

#: What a term passes for where its type cannot be inferred.
_ANY = TensorType(F64, ())


class Term(Value):
    """A value of a pattern: a hole, a number, or an op over terms."""

    __slots__ = ("_type",)

    kind: ClassVar[type[Value]]
    _type: TensorType

    @property
    def type(self) -> TensorType:
        return self._type

    @classmethod
    def bind(cls, op: Op, args: tuple[Any, ...]) -> Any:
        """Return the op over terms, as a pattern."""
        return Applied(type(op), args, op)

    @classmethod
    def lift(cls, data: object, like: DType | None = None) -> Self:
        """Return a number in a rewrite rule's pattern as a term.

        Raises:
            TypeError: an array, which no pattern can hold.
        """
        if not isinstance(data, bool | int | float):
            raise TypeError(f"a pattern holds numbers and terms, not {data!r}")
        return Number(data, like)  # type: ignore[return-value]

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(f"the term {self} is one value")

    __hash__ = object.__hash__


Term.kind = Term


class Hole(Term):
    """Any value; the same one wherever the hole occurs again."""

    __slots__ = ("name",)

    def __init__(self, name: str, dtype: DType = F64) -> None:
        self.name, self._type = name, TensorType(dtype, ())

    def __repr__(self) -> str:
        return self.name


class Number(Term):
    """A value whose elements are all this number, in the dtype that the place has.

    0.0 is not -0.0. An integer fits every dtype that can hold it, a float only floating ones.
    """

    __slots__ = ("number",)

    def __init__(self, number: bool | int | float, dtype: DType | None = None) -> None:
        natural = BOOL if isinstance(number, bool) else I64 if isinstance(number, int) else F64
        self.number, self._type = number, TensorType(dtype or natural, ())

    def __repr__(self) -> str:
        return str(self.number)


class Applied(Term):
    """An op over terms. ``op`` None: an op of the class or of one below it, with any attributes.

    With a ``name`` the node that it matches can be asked for by the rule's replacement. ``open``:
    it may have any operands, if one of them at least is the result of an op ``over``.
    """

    __slots__ = ("args", "name", "op", "op_class", "open", "over")

    def __init__(
        self,
        op_class: type[Op],
        args: tuple[Term, ...],
        op: Op | None = None,
        name: str = "",
        open: bool = False,
        over: type[Op] | None = None,
    ) -> None:
        self.op_class, self.args, self.op, self.name = op_class, args, op, name
        self.open, self.over = open, over
        self._type = _infer_type(op, args)

    def __repr__(self) -> str:
        options = ",".join(f"{k}={v!r}" for k, v in self.op.attributes()) if self.op else ""
        op_text = self.op_class.name or self.op_class.__name__
        op_text = f"{op_text}{{{options}}}" if options else op_text
        tag = f"{self.name}:" if self.name else ""
        args = ", ".join(map(repr, self.args))
        if self.open:
            args = "..." if self.over is None else f"..., {self.over.name}, ..."
        return f"{tag}{op_text}({args})"


def hole(name: str, dtype: object = "float64") -> Hole:
    """Return a hole. ``dtype`` matters only to functions that check it: ``where`` needs a bool."""
    return Hole(name, as_dtype(dtype))


def holes(names: str) -> tuple[Hole, ...]:
    """One hole per name: ``x, y = holes("x y")``."""
    return tuple(map(hole, names.split()))


def some(op_class: type[Op], *args: Any, name: str = "", over: type[Op] | None = None) -> Applied:
    """Return a pattern for an op of ``op_class`` (or a subclass) with any attributes.

    Args:
        op_class: a class of ops; a family (``Elementwise``) stands for all of its ops.
        args: terms and numbers; a single ``...`` for any operands.
        name: makes the node available to the rule's replacement.
        over: with ``...``, an op that one of the operands at least has to be the result of.
    """
    if args == (...,):
        return Applied(op_class, (), None, name, open=True, over=over)
    terms = tuple(arg if isinstance(arg, Term) else Term.lift(arg) for arg in args)
    return Applied(op_class, terms, None, name)


def name_term(term: Any, name: str) -> Applied:
    """Return ``term``, an op over terms, with a name that gives access to its node."""
    assert isinstance(term, Applied)
    return Applied(term.op_class, term.args, term.op, name, term.open, term.over)


def subterms(term: Term) -> Iterator[Term]:
    """Yield a pattern's term and all terms below it, from the top."""
    pending = [term]
    while pending:
        subterm = pending.pop()
        yield subterm
        if isinstance(subterm, Applied):
            pending.extend(reversed(subterm.args))


def substitute(term: Any, values: Any) -> Any:
    """Build a rule's term over values: ``values[name]`` in place of its holes.

    Numbers stay Python numbers, which take the dtype of what they meet; an op with open attributes
    is that of ``values[its name]``.
    """
    if isinstance(term, Hole):
        return values[term.name]
    if isinstance(term, Number):
        return term.number
    if not isinstance(term, Applied):
        return term
    op = term.op if term.op is not None else values[term.name].node.op
    return op(*(substitute(arg, values) for arg in term.args))


def _infer_type(op: Op | None, args: tuple[Term, ...]) -> TensorType:
    """Return the type of a pattern's term, or an unknown type if it cannot be inferred."""
    if op is None:
        return _ANY
    try:
        result_type = op.infer(*(arg.type for arg in args))
    except StaticgradError:
        return _ANY
    return result_type if isinstance(result_type, TensorType) else _ANY


#: What was found, by the name of the hole or op, and by the op of the pattern itself; by the hole
#: itself, another value of the same expression.
Bindings = Mapping[str | Applied | Hole, Symbolic]
#: How often a value is read.
Readers = Callable[[Symbolic], int]


class Match:
    """The match of a pattern: ``match.x`` is the value in the hole (or the named op) ``x``.

    ``match.root`` is the value to be replaced.
    """

    __slots__ = ("_also", "_bindings", "_readers", "root")

    def __init__(self, root: Symbolic, bindings: Bindings, readers: Readers) -> None:
        self.root, self._bindings, self._readers = root, bindings, readers
        self._also: list[Node] = []

    def __getattr__(self, name: str) -> Symbolic:
        try:
            return self._bindings[name]
        except KeyError:
            raise AttributeError(f"the pattern has no hole {name!r}") from None

    def __getitem__(self, name: str) -> Symbolic:
        return self._bindings[name]

    def __contains__(self, name: str) -> bool:
        return name in self._bindings

    def readers(self, name: str) -> int:
        """Return how many nodes and roots read the value in the hole (or of the named op)."""
        return self._readers(self._bindings[name])

    def op(self, name: str) -> Any:
        """Return the op of the node that the named term of the pattern found."""
        return self._bindings[name].node.op

    def look_through(self, nodes: Iterable[Node]) -> None:
        """Count nodes among those that are replaced: a condition found more than the pattern."""
        self._also += nodes

    @property
    def nodes(self) -> list[Node]:
        """The nodes that a pattern matched, the root first, without its holes.

        With those by which what is in one hole is computed twice.
        """
        nodes: list[Node] = [*self._also]
        for term, value in self._bindings.items():
            if isinstance(term, Hole):
                nodes += equal_nodes(self._bindings[term.name], value)
            elif isinstance(term, Applied):
                nodes.append(value.node)
                over = term.over or ()
                nodes += [a.node for a in value.node.args if over and isinstance(a.node.op, over)]
        return nodes


def equal_nodes(first: Symbolic, second: Symbolic) -> Iterator[Node]:
    """Yield the nodes of two values that compute the same twice; nothing if they differ."""
    pairs = [(first, second)]
    equals: dict[Node, Node] = {}
    while pairs:
        left, right = pairs.pop()
        if left.key == right.key or equals.get(right.node) is left.node:
            continue
        a, b = left.node, right.node
        same = left.index == right.index and a.op == b.op and len(a.args) == len(b.args)
        if (
            len(equals) >= fuses.COMPARED_NODES
            or not same
            or isinstance(a.op, Input | ParameterLeaf)
        ):
            return
        equals[b] = a
        pairs += zip(a.args, b.args, strict=True)
    yield from equals.values()
    yield from equals


RuleClass = Literal["exact", "stable", "value"]
CLASSES: Final[tuple[RuleClass, ...]] = ("exact", "stable", "value")
#: The right side of a rule: a term, or a function of what was found (None: it does not apply).
Replacement = Term | float | Callable[[Match], Any]


@dataclass(frozen=True, eq=False, repr=False)
class Rule:
    """``pattern`` may be replaced by ``replacement``, which has the same type.

    Attributes:
        name: how reports and options call it.
        pattern: an op over terms.
        replacement: a term over the pattern's holes, a number, or a function of the Match that
            gives a value, or None where the rule does not apply after all.
        kind: ``exact``, ``stable`` or ``value``.
        where: a further condition on the Match.
        reads: a condition on types, which one operand at least of the pattern's op has to meet.
        dtypes: letters of ``DType.kind`` that the result may have.
        error: for a ``value`` rule, how far the result may move.
        examples: functions of values, called with float arrays as ``(x, y, ...)``, that build what
            the rule applies to; needed where the pattern leaves attributes open. Tests run them.
    """

    name: str
    pattern: Applied
    replacement: Replacement
    kind: RuleClass = "exact"
    where: Callable[[Match], bool] | None = None
    reads: Callable[[TensorType], bool] | None = None
    dtypes: str = "biuf"
    error: str = ""
    examples: tuple[Callable[..., Any], ...] = ()

    def __post_init__(self) -> None:
        """Check the rule.

        Raises:
            PipelineError: a pattern that is no op over terms, a hole on the right that is not on
                the left, an unknown class, a ``value`` rule that does not state its error.
        """
        if not isinstance(self.pattern, Applied):
            raise PipelineError(f"rule {self.name!r}: the pattern {self.pattern!r} is not an op")
        if self.kind not in CLASSES:
            raise PipelineError(f"rule {self.name!r}: {self.kind!r} is not one of {CLASSES}")
        if self.kind == "value" and not self.error:
            raise PipelineError(f"rule {self.name!r} changes values: it states no error")
        if isinstance(self.replacement, Term):
            names = set(map(str, _holes(self.pattern)))
            for free in _holes(self.replacement):
                if free.name not in names:
                    raise PipelineError(f"rule {self.name!r}: {free} is not in {self.pattern}")

    @cached_property
    def is_deep(self) -> bool:
        """True if the pattern describes other nodes besides its root."""
        below = (isinstance(arg, Applied) for arg in self.pattern.args)
        return self.pattern.over is not None or any(below)

    def __repr__(self) -> str:
        function = callable(self.replacement) and not isinstance(self.replacement, Term)
        right = "..." if function else repr(self.replacement)
        return f"{self.name}: {self.pattern} -> {right}"


def rule(name: str, pattern: Any, replacement: Any, kind: RuleClass = "exact", **more: Any) -> Rule:
    """Return a rule; see ``Rule`` for the rest of the arguments."""
    return Rule(name, pattern, replacement, kind, **more)


def rules_of(names: Iterable[str], later: Mapping[str, str]) -> Iterator[Rule]:
    """Yield the rules of these ops: ``later`` has op -> the module whose ``RULES`` they are."""
    for module in dict.fromkeys(later[name] for name in sorted({*names} & {*later})):
        yield from import_module(module).RULES


def table(rules: Iterable[Rule]) -> dict[str, Rule]:
    """Return rewrite rules by name, in order.

    Raises:
        PipelineError: two share a name.
    """
    by_name: dict[str, Rule] = {}
    for entry in rules:
        if by_name.setdefault(entry.name, entry) is not entry:
            raise PipelineError(f"two rules are named {entry.name!r}")
    return by_name


def _holes(term: Term) -> Iterator[Hole]:
    return (subterm for subterm in subterms(term) if isinstance(subterm, Hole))
