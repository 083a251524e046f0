"""Runs of composed programs: which doors a program goes through, failures, and their shrinking."""

from collections import Counter
from dataclasses import dataclass, field

from tests.composed.check import Case, WrongError
from tests.composed.doors import DOORS, check_door
from tests.composed.grammar import random_program
from tests.composed.trees import Shrinker


def doors_of(seed, thorough=False):
    """Return the doors of a seed's program: all, or those whose turn it is behind a first one."""
    installed = [door for door in DOORS.values() if door.is_installed()]
    if thorough:
        return installed
    first = DOORS["python" if seed % 8 else "compiled"]
    others = [d for place, d in enumerate(installed) if d.every and (seed + place) % d.every == 0]
    return [first, *(door for door in others if door is not first)]


def check_program(program, doors):
    """Push a program through doors; return what came of each. Raises WrongError."""
    case = Case(program)
    try:
        case.graph  # noqa: B018
    except Exception as error:
        raise WrongError("graph", f"{type(error).__name__} {error}") from error
    return {door.name: check_door(case, door) for door in doors}


def fails_like(door_names, expected):
    """Return a test of a program: whether a door fails, of the same name and error."""

    def fails(program):
        try:
            check_program(program, [DOORS[name] for name in door_names])
        except WrongError as error:
            return label_of(error) == expected
        except Exception:
            return False
        return False

    return fails


def label_of(error):
    """Return what makes two failures alike: the door, and the kind of the error."""
    text = str(error).partition(": ")[2]
    return error.door, text.split()[0] if text.split()[0].endswith("Error") else "wrong"


def shrink_failure(program, error, first="compiled", tries=300):
    """Return the smallest program that was found that fails at the same door with such an error."""
    names = dict.fromkeys((first, error.door)) if error.door != "graph" else ()
    fails = fails_like([name for name in names if name in DOORS], label_of(error))
    return Shrinker(fails, tries).shrink(program) if fails(program) else program


@dataclass
class Run:
    """Counts of a run over seeds.

    Attributes:
        doors: what came of each door. depths: of loops in each other. rows: productions.
        programs: those that failed, by seed.
    """

    doors: Counter = field(default_factory=Counter)
    depths: Counter = field(default_factory=Counter)
    rows: Counter = field(default_factory=Counter)
    programs: dict = field(default_factory=dict)

    def check(self, seed, thorough=False, **options):
        """Check the program of a seed and count it; return its failure, or None."""
        program = random_program(seed, **options)
        self.depths[program.block.depth()] += 1
        self.rows.update(program.rows())
        try:
            outcomes = check_program(program, doors_of(seed, thorough))
        except WrongError as error:
            self.programs[seed] = program
            return error
        self.doors.update(f"{door} {state}" for door, state in outcomes.items())
        return None

    def counts(self):
        """Return the counts by what is counted."""
        return {
            "programs by depth of loops": {str(depth): n for depth, n in self.depths.items()},
            "doors": {**self.doors},
        }

    def summary(self):
        """Return the counts as lines."""
        return summarize(self.counts())


def summarize(counts):
    """Return counts as lines, one for each group."""
    lines = []
    for group, numbers in counts.items():
        lines.append(f"{group}: " + ", ".join(f"{what} {n}" for what, n in sorted(numbers.items())))
    return "\n".join(lines)
