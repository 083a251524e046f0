"""The source of a setting, the precedence of sources, and messages of wrong settings."""

import gc
import logging
import os
from pathlib import Path

import pytest

from staticgrad.errors import ConfigError, SettingWarning, UnknownSettingError
from staticgrad.support import config
from staticgrad.support.config import Config, current, settings
from staticgrad.support.options import options, show_config
from tests.helpers.processes import in_threads


@pytest.fixture(autouse=True)
def _empty_surroundings(tmp_path, monkeypatch):
    """A working directory without a pyproject.toml, and no variables of ours."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("STATICGRAD_")]:
        monkeypatch.delenv(variable)


def write_project(text):
    Path("pyproject.toml").write_text(f"[tool.staticgrad]\n{text}\n", encoding="utf-8")


def source_of(name, **arguments):
    return next(s.source for s in settings(**arguments) if s.name == name)


def test_argument_before_options_before_environment_before_project(monkeypatch):
    seen = [(current().log, source_of("log"))]
    write_project('log = "passes"')
    seen.append((current().log, source_of("log")))
    monkeypatch.setenv("STATICGRAD_LOG", "cache")
    seen.append((current().log, source_of("log")))
    with options(log="memory") as inside:
        seen.append((inside.log, source_of("log")))
        seen.append((current(log="recompiles").log, source_of("log", log="recompiles")))
        assert current(log=None).log == ("memory",)
    project = f"[tool.staticgrad] of {Path.cwd() / 'pyproject.toml'}"
    assert seen == [
        ((), "default"),
        (("passes",), project),
        (("cache",), "environment STATICGRAD_LOG"),
        (("memory",), "options"),
        (("recompiles",), "argument"),
    ]
    assert current().log == ("cache",)


def test_options_nest_and_end_with_an_exception():
    with options(debug=True, check=True):
        with options(debug="nan"):
            assert (current().debug, current().check) == ("nan", True)
        with pytest.raises(ZeroDivisionError), options(check=False):
            _ = 1 / 0
        assert (current().debug, current().check) == (True, True)
    assert current() == Config()


def test_options_stay_in_their_thread():
    seen = []
    with options(debug=True):
        in_threads(lambda: seen.append(current().debug))
    assert seen == [False]


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("JIT", "0", False),
        ("JIT", " Off ", False),
        ("CHECK", "yes", True),
        ("DEBUG", "1", True),
        ("DEBUG", "off", False),
        ("DEBUG", " NaN ", "nan"),
        ("DEBUG", "", False),
        ("CACHE_DIR", "kernels", Path("kernels")),
        ("DUMP", "", None),
        ("LOG", "passes, cache", ("cache", "passes")),
    ],
)
def test_variables_are_read_as_text(monkeypatch, variable, text, value):
    monkeypatch.setenv(f"STATICGRAD_{variable}", text)
    assert getattr(current(), variable.lower()) == value


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("JIT", "maybe", "'maybe' is not true or false"),
        ("DEBUG", "2", "'2' is not true or false (1 or 0) or nan"),
        ("DEBUG", "inf", "'inf' is not true or false"),
        ("DUMP", "a-file", "'a-file' is not the path of a folder, not of a file"),
        ("CACHE_DIR", "~nobody.of.that.name/kernels", "is not the path of a folder below a home"),
        ("LOG", "passes,nothing", "is not a comma-separated choice of passes, recompiles"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch, variable, text, expected):
    Path("a-file").touch()
    monkeypatch.setenv(f"STATICGRAD_{variable}", text)
    with pytest.raises(ConfigError) as caught:
        current()
    assert f"environment STATICGRAD_{variable}: " in caught.value.headline
    assert expected in caught.value.headline


def test_an_unknown_variable_is_named_with_what_was_meant(monkeypatch):
    monkeypatch.setenv("STATICGRAD_DEBG", "1")
    with pytest.raises(UnknownSettingError, match="environment STATICGRAD_DEBG: no such") as caught:
        current()
    assert caught.value.hint.startswith("did you mean STATICGRAD_DEBUG? there are STATICGRAD_JIT,")


@pytest.mark.parametrize("wrong", [{"debug": 1}, {"debug": "x"}, {"jit": 1}, {"log": ("no",)}])
def test_a_wrong_option_or_argument_is_named(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"options\({name}=\.\.\.\): "), options(**wrong):
        pass
    with pytest.raises(ConfigError, match=f"{name}=: "):
        current(**wrong)
    says = r"options\(fast=\.\.\.\): no such"
    with pytest.raises(UnknownSettingError, match=says), options(fast=1):
        pass


def test_a_project_may_make_settings():
    write_project('jit = false\nbackend = "numba"\ndebug = "nan"\ncheck = true\nlog = ["memory"]')
    assert current() == Config(jit=False, backend="numba", debug="nan", check=True, log=("memory",))


@pytest.mark.parametrize("value", ['"kernels"', "7", "[]"])
def test_a_project_does_not_decide_over_files(value):
    write_project(f"cache_dir = {value}\ndump = {value}\ncache_size = {value}\ndebug = true")
    with pytest.warns(SettingWarning, match=r"cache_dir, cache_size, dump in .*pyproject") as seen:
        assert current() == Config(debug=True)
    assert "STATICGRAD_CACHE_DIR, STATICGRAD_CACHE_SIZE, STATICGRAD_DUMP" in str(seen[0].message)
    assert current() == Config(debug=True)  # without another warning


@pytest.mark.parametrize("kind", ["pipe", "endless", "deep", "long", "folder", "removed"])
def test_a_project_file_that_is_none_is_passed_over(kind):
    path = Path("pyproject.toml")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "deep":
        write_project(f"jit = {'[' * 100_000}")
    elif kind == "removed":
        write_project("debug = true")
        folder = Path.cwd() / "gone"
        folder.mkdir()
        os.chdir(folder)
        folder.rmdir()
    else:
        write_project(f"jit = false\n{'#' * 2**20}")
    gc.disable()  # nothing that other tests left is finalized at the limit of recursion
    try:
        assert current() == Config()
    finally:
        gc.enable()


@pytest.mark.parametrize("text", ["debug = 9", 'debug = "much"', "debg = 1"])
def test_a_wrong_entry_of_a_project_is_named(text):
    write_project(text)
    with pytest.raises(
        ConfigError, match=r"^\[SG60\d\] \[tool.staticgrad\] of .*pyproject.toml: deb"
    ):
        current()


def test_show_config_says_where_each_value_comes_from(monkeypatch):
    monkeypatch.setenv("STATICGRAD_LOG", "cache,passes")
    with options(debug="nan"):
        lines = show_config().splitlines()
    assert [line.partition(" = ")[0] for line in lines] == list(config._SETTINGS)
    assert any(line.startswith("debug = nan  (options)  ") for line in lines)
    assert any("log = cache,passes  (environment STATICGRAD_LOG)  " in line for line in lines)
    assert any(line.startswith("dump = none  (default)  ") for line in lines)


def test_the_logger_is_silent_until_the_application_listens(capsys, caplog):
    assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger("staticgrad").handlers)
    config.log("passes", "%d nodes", 3)
    assert capsys.readouterr() == ("", "")
    with caplog.at_level(logging.INFO, logger="staticgrad.passes"):
        config.log("passes", "%d nodes", 3)
        config.log("cache", "a miss")
    assert [(r.name, r.getMessage()) for r in caplog.records] == [("staticgrad.passes", "3 nodes")]


@pytest.mark.parametrize("lazily", [False, True])
def test_a_block_reads_the_settings_once(monkeypatch, lazily):
    readings = []

    def read():
        readings.append(None)
        return settings()

    monkeypatch.setattr(config, "settings", read)
    with config.read_once(lazily):
        assert len(readings) == (not lazily)
        assert current() is current()
        monkeypatch.setenv("STATICGRAD_DEBUG", "nan")
        assert not current().debug
        with config.read_once(), options(debug=True):
            assert current().debug is True
        count = len(readings)
        with config.read_once(lazily=True):
            assert not current().debug
        assert len(readings) == count
    assert current().debug == "nan"
