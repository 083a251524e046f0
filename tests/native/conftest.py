"""One kernel cache per worker and test run, so that the user's own is neither read nor written."""

import pytest


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kernel-cache")


@pytest.fixture(autouse=True)
def _own_cache(cache_folder, monkeypatch):
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(cache_folder))
    monkeypatch.delenv("STATICGRAD_JIT", raising=False)
