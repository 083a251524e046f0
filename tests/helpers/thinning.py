"""The choice of quick cases: others for each commit, so that the quick tests take four minutes.

Two kinds of test functions are thinned. Those that are marked so: ``thinned(n)`` leaves one case in
n quick, ``thinned()`` one of each value that several cases share: each dtype, layout, backend, op.
And those that ``tests/seconds.txt`` lists with the processor time of a case: one case in
``seconds / QUICK`` is quick, at least one. A function without cases, and each case of ``LONG``
seconds or more, is quick for one commit in ``seconds / QUICK``, at least for one in ``RAREST``.
A family that is marked ``thinned(n, budgeted=True)`` leaves one case in n quick whatever the
seconds: what its quick cases take together was decided.
Always quick are tests of the repository itself, and the cases that a planted mistake of
``tests/mutants.py`` names, if these are ``FEW``.

A digest of the commit decides which: equal for everyone who runs its tests. All other cases are
slow, so the slow tests of a commit are what its quick tests leave out. Tests that the table does
not list are quick: each run ends with what these took, so that the table does not fall behind;
``python -m pytest -m "not exhaustive" --write-seconds PATH`` measures those of a path on a quiet
machine.
"""

from collections import defaultdict
from functools import cache
from hashlib import sha256
from heapq import heapify, heappop, heappush
from math import ceil
from pathlib import Path

from tests import mutants

#: Seconds of processor time that a case may take and be quick for every commit.
QUICK = 0.004
#: Seconds from which on a case is not chosen by its family but by itself.
LONG = 0.5
#: A test that is quick at all is so for one commit in so many.
RAREST = 20
#: Values of a parameter are shared by cases if there are at most so many for each case.
SHARED = 2 / 3
#: Cases of a mutant that are always quick.
FEW = 8
#: What describes the change itself runs for each commit.
ALWAYS = "tests/repository/"
PATH = Path(__file__).parents[1] / "seconds.txt"


def read_seconds(path=PATH):
    """Return the seconds of the functions and cases that the table lists."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    pairs = (line.split(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(seconds) for seconds, name in pairs}


def write_seconds(measured, path=PATH):
    """Write the table with new seconds of cases; what did not run keeps its line."""
    families = defaultdict(dict)
    for name, seconds in measured.items():
        families[function_of(name)][name] = seconds
    table = {
        name: seconds
        for name, seconds in read_seconds(path).items()
        if name not in families and name not in measured
    }
    for function, cases in families.items():
        long = {name: s for name, s in cases.items() if s >= LONG and name != function}
        table |= long
        others = [seconds for name, seconds in cases.items() if name not in long]
        if others and sum(others) / len(others) > QUICK:
            table[function] = sum(others) / len(others)
    head = "# Written by --write-seconds: processor time of a case, of functions or single cases.\n"
    lines = (f"{seconds:.3f} {name}\n" for name, seconds in sorted(table.items()))
    path.write_text(head + "".join(lines), "utf-8")


def missing_functions(measured, table):
    """Return the seconds of the functions that ought to be in a table and are not."""
    families = defaultdict(list)
    for name, seconds in measured.items():
        families[function_of(name)].append((name, seconds))
    return {
        function: sum(seconds for _, seconds in cases)
        for function, cases in families.items()
        if not function.startswith(ALWAYS)
        and function not in table
        and all(name not in table for name, _ in cases)
        and sum(seconds for _, seconds in cases) / len(cases) > QUICK
    }


def function_of(name):
    """Return the name of the test function of a case."""
    return name.partition("[")[0]


def slow_cases(items, commit, seconds):
    """Return the items that are not quick for a commit, of those that no marker makes slow."""
    # ``keywords`` has the names of folders, too: a checkout in a folder "slow" would be slow.
    candidates = [
        item
        for item in items
        if not {"slow", "exhaustive"} & {mark.name for mark in item.iter_markers()}
    ]
    names = cases_of_mutants([item.nodeid for item in candidates])
    families, slow = defaultdict(list), []
    for item in candidates:
        name = item.nodeid
        if name in names or name.startswith(ALWAYS):
            continue
        if not has_budget(item) and function_of(name) != name and seconds.get(name, 0.0) >= LONG:
            slow += [item] * (not is_chosen(name, commit, seconds[name]))
        else:
            families[function_of(name)].append(item)
    for function, family in families.items():
        duration = 0.0 if has_budget(family[0]) else seconds.get(function, 0.0)
        quick = quick_cases(family, commit, duration)
        slow += [item for number, item in enumerate(family) if number not in quick]
    return slow


def has_budget(item):
    """Return whether a marker decides alone how many cases of a family are quick."""
    marker = item.get_closest_marker("thinned")
    return marker is not None and marker.kwargs.get("budgeted", False)


def quick_cases(family, commit, seconds=0.0):
    """Return the numbers of the quick cases of a family whose cases take so many seconds."""
    marker = family[0].get_closest_marker("thinned")
    if (marker is None and len(family) == 1 and seconds > QUICK) or seconds >= LONG:
        cases = enumerate(family)
        return {number for number, item in cases if is_chosen(item.nodeid, commit, seconds)}
    covers = marker is not None and not marker.args
    divisor = max(seconds / QUICK, *(marker.args if marker is not None else ()), 1)
    if divisor == 1 and not covers:
        return range(len(family))
    order = [place_of(item.nodeid, commit) for item in family]
    return cover(family, order) if covers else first_ones(order, divisor)


def cases_of_mutants(names):
    """Return the cases that mutants name, of those mutants that name ``FEW`` cases at most."""
    files, chosen = defaultdict(list), set()
    for name in names:
        files[name.partition("::")[0]].append(name)
    for selections in selections_of_mutants():
        cases = {
            name
            for path, expression in selections
            for name in files.get(path.partition("::")[0], ())
            if name.startswith(path) and matches(expression, name)
        }
        chosen |= cases if len(cases) <= FEW else set()
    return chosen


@cache
def selections_of_mutants():
    """Return (path, expression of ``-k``) of what kills a mutant, for each mutant."""
    return [
        [
            (path, " ".join(word for word in selection if "/" not in word and word != "-k"))
            for selection in mutants.selections(mutant.tests)
            for path in selection
            if "/" in path
        ]
        for mutant in mutants.MUTANTS
    ]


def matches(expression, name):
    """Return whether a name has the words of an expression, as ``-k`` reads it."""
    lowered = name.lower()
    return any(
        all((word in lowered) != negated for word, negated in term) for term in terms_of(expression)
    )


@cache
def terms_of(expression):
    """Return the terms of a disjunction: the words of each, and whether they are negated."""
    terms, negated = [[]], False
    for word in expression.replace("(", " ").replace(")", " ").split():
        if word == "or":
            terms.append([])
        elif word == "not":
            negated = True
        elif word != "and":
            terms[-1].append((word.lower(), negated))
            negated = False
    return terms


def place_of(name, commit):
    """Return the place of a case in the order of a commit: 0 to 1."""
    digest = sha256(f"{commit} {name}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def is_chosen(name, commit, seconds):
    """Return whether a case that is not thinned with others is quick for a commit."""
    return place_of(name, commit) < max(QUICK / seconds, 1 / RAREST)


def first_ones(order, divisor):
    """Return the numbers of one case in ``divisor``, at least one: the first ones in an order."""
    return {*sorted(range(len(order)), key=order.__getitem__)[: ceil(len(order) / divisor)]}


def cover(family, order):
    """Return few cases that have all values of the parameters of which cases share values."""
    shared = [set() for _ in family]
    for name in family[0].callspec.params:
        values = [item.callspec.params[name] for item in family]
        keys = [repr(v) if isinstance(v, str | int | float | tuple) else id(v) for v in values]
        if 1 < len({*keys}) <= len(family) * SHARED:
            for case, key in enumerate(keys):
                shared[case].add((name, key))
    missing = set().union(*shared)
    # The case that adds most, then the first one. What a case adds only shrinks, so a case whose
    # count still holds when it comes up is one.
    cases = [(-len(values), order[case], case) for case, values in enumerate(shared)]
    heapify(cases)
    quick = {cases[0][2]}
    while missing:
        count, place, case = heappop(cases)
        adds = len(shared[case] & missing)
        if adds < -count:
            heappush(cases, (-adds, place, case))
            continue
        quick.add(case)
        missing -= shared[case]
    return quick
