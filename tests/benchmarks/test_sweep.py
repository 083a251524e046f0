"""The scaling tables, at sizes that take no time."""

import json
import os

import pytest

from benchmarks import sweep
from benchmarks.__main__ import main


@pytest.mark.slow
def test_the_tables_have_their_points(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "BATCHES", (1, 3))
    monkeypatch.setattr(sweep, "DEPTHS", (2,))
    monkeypatch.setattr(sweep, "NODES", (20,))
    monkeypatch.setattr(sweep, "WIDTH", 4)
    before = os.environ.get("STATICGRAD_CACHE_DIR")
    file = tmp_path / "scaling.json"
    assert main(["sweep", "--json", str(file)]) == 0
    assert os.environ.get("STATICGRAD_CACHE_DIR") == before
    batches, depths, nodes = json.loads(file.read_text(encoding="utf-8")).values()
    assert [point["batch"] for point in batches] == [1, 3]
    assert batches[1]["peak bytes"] > batches[0]["peak bytes"]
    assert depths[0]["distinct kernels"] > 1
    assert [next(iter(point)) for point in nodes] == ["deep: nodes", "wide: nodes"]
    assert all(second >= 0 for point in nodes for second in point.values())
    assert "distinct kernels" in capsys.readouterr().out
