"""A part of ``tests.memory.sweep``: every optimizer, rate and reader of new values, every model.

The whole takes most of an hour: ``-m exhaustive``.
"""

import pytest

import staticgrad as sg
from staticgrad.optim import SGD, Adam
from tests.laws.optimizers import Case, counted, mixed_cases, norms, plain_cases
from tests.memory.models import MODELS
from tests.memory.sweep import subject

SMALL = ("recurrent", "dropped_out")
QUICK = ("mlp", "parts", "hessian_vector")
#: Models where slow tests run: not those that every case has, nor other chains of layers.
SLOW = ("norm_blocks", "big_logits")


def cases():
    """Cases with their numbers: every plain one of SGD and Adam, every sixth mixed one of Adam,
    and every twelfth of those that differ from others by the class alone, as a slow test."""
    for number, case in enumerate((*plain_cases(), *mixed_cases())):
        plain = case.rate is None and case.extras is None
        marks = []
        if case.cls is Adam and not plain:
            marks = [pytest.mark.exhaustive] * (number % 6 > 0)
        elif not plain or case.cls not in (SGD, Adam):
            marks = [pytest.mark.slow if number % 12 == 0 else pytest.mark.exhaustive]
        yield pytest.param(number, case, id=str(case), marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "case"), [*cases()])
def test_every_case_recomputes_to_the_byte(number, case):
    problem = subject(SMALL[number % 2], case, fuse=number % 5 > 0)
    share = 0.9 if case.cls is sg.optim.Muon else 0.75  # its own steps need most of the bytes
    assert case.waits or problem.smallest < share * problem.peak
    assert problem.check(True, memory_budget=problem.smallest) or case.waits
    assert problem.check("nan" if number % 8 == 0 else False, checkpoint="sqrt") or case.waits


def models():
    """The quick ones always, of the others some where slow tests run."""
    for name in MODELS:
        mark = pytest.mark.slow if name in SLOW else pytest.mark.exhaustive
        yield name if name in QUICK else pytest.param(name, marks=mark)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*models()])
def test_every_model_keeps_its_promises_with_adam(name):
    problem = subject(name, Case(Adam, rate=counted, extras=norms))
    with sg.options(check=True):
        repeated = [problem.check(True, checkpoint="recompute")]
    repeated.append(problem.check(False, memory_budget=problem.smallest))
    assert any(repeated)
