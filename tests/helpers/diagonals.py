"""Combinations of parameters of which a part runs daily, and the rest with ``-m exhaustive``."""

import itertools

import pytest


def diagonals(every, *dimensions, daily=""):
    """All combinations; those on every n-th diagonal run daily, and all that have ``daily``.

    A dimension is the names of parameters, as pytest takes them, and their values: tuples where
    there are several names.

    The number of a diagonal is the sum of a combination's places. So each value of a dimension
    runs daily with every n-th of another one, and of three dimensions of at least ``every`` values
    each pair of values does: a covering array (Cohen et al., "The AETG system", 1997, makes smaller
    ones).
    """
    lists = [[*values] for _, values in dimensions]
    assert len(lists) > 1
    assert sorted(map(len, lists))[-2] >= every, "some value would never run daily"
    names = ",".join(name for name, _ in dimensions)
    return pytest.mark.parametrize(names, [*_combinations(every, dimensions, lists, daily)])


def every_nth(every, name, values):
    """All values, of which each n-th runs daily."""
    exhaustive = [pytest.mark.exhaustive]
    marked = [pytest.param(v, marks=exhaustive * (at % every > 0)) for at, v in enumerate(values)]
    return pytest.mark.parametrize(name, marked)


def _combinations(every, dimensions, lists, daily):
    for places in itertools.product(*(range(len(values)) for values in lists)):
        chosen = [values[place] for values, place in zip(lists, places, strict=True)]
        parameters = [
            parameter
            for (names, _), value in zip(dimensions, chosen, strict=True)
            for parameter in (value if "," in names else (value,))
        ]
        runs_daily = sum(places) % every == 0 or any(
            isinstance(value, str) and value == daily for value in chosen
        )
        marks = () if runs_daily else (pytest.mark.exhaustive,)
        case_id = "-".join(_id_part(parameter, places) for parameter in parameters)
        yield pytest.param(*parameters, id=case_id, marks=marks)


def _id_part(value, places):
    """A value in a test's name, which is the same in every process: no address is part of it."""
    text = str(getattr(value, "__name__", value))
    return f"at {places}" if " at 0x" in text else text
