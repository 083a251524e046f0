"""Random complex programs beside PyTorch: a few seeds; ``programs.py`` runs as many as wanted."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from tests.complex_numbers.programs import MOVED, ONE, TWO, WAYS, Program, compare_with_torch

SEEDS = [3, 9, 11, 14]


@pytest.mark.parametrize("seed", SEEDS)
def test_values_and_derivatives_are_those_of_pytorch(seed):
    counts = compare_with_torch(Program(seed, most=3), WAYS[:-1])
    assert all(counts[way] for way in WAYS[:-1])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 40))
def test_longer_programs_compiled(seed):
    assert compare_with_torch(Program(seed))["compiled"]


def test_a_wrong_derivative_is_found(monkeypatch):
    """The comparison is one: a factor that PyTorch alone has is seen."""
    program = Program(9, most=3)
    wrong = lambda m, z: z if m.name == "sg" else z * 1.001  # noqa: E731
    monkeypatch.setattr(program, "steps", [(wrong, (0,)), *program.steps[1:]])
    with pytest.raises(AssertionError, match="Not equal"):
        compare_with_torch(program, ("value",))


def test_the_tables_are_large():
    assert len(ONE) >= 30
    assert len(TWO) + len(MOVED) >= 40
