"""A problem and a sequence as arrays of integers, and the names of the numbers beside them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from staticgrad.planning.problem import Net
from staticgrad.records import dataclass

STEPS: Final = 0
VALUES: Final = 1
GOAL: Final = 2  # bytes that the load is to keep
EFFORT: Final = 3  # what is left of it
LENGTH: Final = 4  # of the sequence
TRIAL: Final = 5  # length of the sequence that is tried
ROOM: Final = 6  # for steps
EVENT_ROOM: Final = 7
EXCESS: Final = 8  # bytes beyond the goal, added up over the steps
TRIAL_EXCESS: Final = 9
PEAK: Final = 10
TRIAL_PEAK: Final = 11
FLAT: Final = 12  # weight of a step beyond the goal, in 1024ths
STEEP: Final = 13  # weight of how far it is beyond, in 1024ths
NOISE: Final = 14  # of gains, in 1024ths
RANDOM: Final = 15
STAMP: Final = 16
FOUND: Final = 17  # gaps to drop
SPARE: Final = 18
REFUSED: Final = 19
SPANS: Final = 20
ALIVE: Final = 21
GROUPS: Final = 22  # of values, of each of which one gap is dropped at a time
BROKEN: Final = 23  # whether a step of the trial ends what a later one needs
SETTLED: Final = 24  # steps of the trial behind which updates no longer wait
# of a walk
LO: Final = 25  # where the window of a change begins
HI: Final = 26
HOT: Final = 27  # heat to begin with, in parts of the cost of all steps as SCALE has them
HEAT: Final = 28
PRICE: Final = 29
COST: Final = 30
TOUCHED: Final = 31
MOVED: Final = 32
BEGIN: Final = 33  # the first step whose load a change changes
IDLE: Final = 34  # whether a change may leave runs that nobody reads
BEST: Final = 35  # length of the best sequence
BEST_OVER: Final = 36
BEST_COST: Final = 37
LIMIT: Final = 38  # the load that is to be kept; the goal or more
STEADY: Final = 39  # a price of excess that stays, or 0; no change may exceed the limit then
OVER: Final = 40  # bytes beyond the limit, added up over the steps
WORDS: Final = 41

SCALE: Final = 1 << 32  # what the cost of all steps counts
BEYOND_ALL: Final = 1 << 60  # the load of a sequence that no plan may have
_SIZES: Final = 1 << 20  # what the largest value counts as a gain
MOST_GROUPS: Final = 64
LONGEST: Final = 500  # steps of a closure
MOST_REFUSED: Final = 30  # gaps that may be of no use before a descent ends


@dataclass(frozen=True)
class SequenceArrays:
    """The arrays of descents; ``reads_at`` says where the ``reads`` of each step begin."""

    words: array[int]
    reads_at: array[int]
    reads: array[int]
    makes_at: array[int]
    makes: array[int]
    over_at: array[int]
    over_taken: array[int]
    over_given: array[int]
    after_at: array[int]
    after: array[int]
    ends_at: array[int]
    ends: array[int]
    size: array[int]
    weight: array[int]
    kept: array[int]
    producer: array[int]
    cost: array[int]
    workspace: array[int]
    limit: array[int]
    dear: array[int]
    sequence: array[int]
    load: array[int]
    trial: array[int]
    trial_load: array[int]
    need: array[int]
    count: array[int]
    event_at: array[int]
    event: array[int]
    fill: array[int]
    prefix: array[int]
    run_at: array[int]
    run: array[int]
    closure: array[int]
    stack: array[int]
    place: array[int]
    mark: array[int]
    used: array[int]
    due: array[int]
    waiting: array[int]
    held: array[int]
    best: array[int]
    best_value: array[int]
    best_at: array[int]
    refused_value: array[int]
    refused_at: array[int]
    span_from: array[int]
    span_bytes: array[int]
    across: array[int]
    when: array[int]
    ended: array[int]
    seen: array[int]
    touched: array[int]
    moved: array[int]
    moved_at: array[int]
    more: array[int]
    once: array[int]
    window: array[int]
    window_load: array[int]
    window_alive: array[int]
    walked: array[int]

    @classmethod
    def of(cls, net: Net) -> SequenceArrays:
        """The arrays of a problem, with room for sequences of eight times its steps."""
        steps, values = len(net.ops), len(net.sizes)
        events = sum(map(len, (*net.reads, *net.makes)))
        room, event_room = 8 * steps + 1_024, 10 * events + 4_096
        total = net.total or 1.0
        largest = max((1, *net.sizes))
        found: dict[str, Iterable[int]] = {
            "size": net.sizes,
            "weight": (max(1, s * _SIZES // largest) if s else 0 for s in net.sizes),
            "kept": map(int, net.kept),
            "ended": (int(value in net.enders) for value in range(values)),
            "producer": net.producer,
            "cost": (1 + int(cost / total * SCALE) for cost in net.costs),
            "workspace": net.workspace,
            "limit": net.limits,
            "dear": range(steps),
        }
        taken = [[pair[0] for pair in pairs] for pairs in net.overwrites]
        given = [[pair[1] for pair in pairs] for pairs in net.overwrites]
        for name, lists in (
            ("reads", net.reads),
            ("makes", net.makes),
            ("over", taken),
            ("after", net.after),
            ("ends", net.ends),
        ):
            found[f"{name}_at"] = accumulate(map(len, lists), initial=0)
            found["over_taken" if name == "over" else name] = _joined(lists)
        found["over_given"] = _joined(given)
        by_value = {"need", "event_at", "fill", "held", "seen", "touched", "moved", "moved_at"}
        by_step = {"count", "run_at", "mark", "dear", "due", "waiting", "when"}
        lengths = {"words": WORDS, "event": event_room, "used": values}
        for name in cls.__annotations__:
            if name not in found:
                one = values if name in by_value else steps if name in by_step else room
                found[name] = bytes(8 * (lengths.get(name, one) + 64))
        arrays = {
            name: array("q", items if isinstance(items, bytes) else [*items, 0])
            for name, items in found.items()
        }
        words = arrays["words"]
        words[STEPS], words[VALUES] = steps, values
        words[ROOM], words[EVENT_ROOM] = room, event_room
        return cls(**arrays)


def _joined(lists: Iterable[Sequence[int]]) -> list[int]:
    return [item for items in lists for item in items]
