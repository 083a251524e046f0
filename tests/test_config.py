"""Where a setting comes from, which place wins, and what a wrong one says."""

import dataclasses
import logging
import os
import threading
from pathlib import Path

import pytest

from staticgrad import config
from staticgrad.config import Config, current, options, settings, show_config
from staticgrad.errors import ConfigError, UnknownSettingError


@pytest.fixture(autouse=True)
def _empty_surroundings(tmp_path, monkeypatch):
    """A working directory without a pyproject.toml, and no variables of ours."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("STATICGRAD_")]:
        monkeypatch.delenv(variable)


def write_project(text: str) -> None:
    Path("pyproject.toml").write_text(f"[tool.staticgrad]\n{text}\n", encoding="utf-8")


def source_of(name: str, **arguments: object) -> str:
    return next(s.source for s in settings(**arguments) if s.name == name)


def test_the_defaults():
    assert current() == Config()
    assert {s.source for s in settings()} == {"default"}


def test_the_table_of_settings_is_the_fields_of_config():
    assert list(config._SETTINGS) == [f.name for f in dataclasses.fields(Config)]
    for name, (reader, _) in config._SETTINGS.items():
        assert reader(getattr(Config(), name)) == getattr(Config(), name)


def test_argument_before_options_before_environment_before_project(monkeypatch):
    seen = [(current().debug, source_of("debug"))]
    write_project("debug = 1")
    seen.append((current().debug, source_of("debug")))
    monkeypatch.setenv("STATICGRAD_DEBUG", "2")
    seen.append((current().debug, source_of("debug")))
    with options(debug=3) as inside:
        seen.append((inside.debug, source_of("debug")))
        seen.append((current(debug=4).debug, source_of("debug", debug=4)))
        assert current(debug=None).debug == 3
    project = f"[tool.staticgrad] of {Path.cwd() / 'pyproject.toml'}"
    assert seen == [
        (0, "default"),
        (1, project),
        (2, "environment STATICGRAD_DEBUG"),
        (3, "options"),
        (4, "argument"),
    ]
    assert current().debug == 2


def test_options_nest_and_end_with_an_exception():
    with options(debug=1, check=True):
        with options(debug=2):
            assert (current().debug, current().check) == (2, True)
        with pytest.raises(ZeroDivisionError), options(check=False):
            _ = 1 / 0
        assert (current().debug, current().check) == (1, True)
    assert current() == Config()


def test_options_stay_in_their_thread():
    seen = []
    with options(debug=1):
        thread = threading.Thread(target=lambda: seen.append(current().debug))
        thread.start()
        thread.join()
    assert seen == [0]


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("JIT", "0", False),
        ("JIT", " Off ", False),
        ("CHECK", "yes", True),
        ("DEBUG", "5", 5),
        ("DEBUG", "", 0),
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
        ("DEBUG", "6", "'6' is not a whole number from 0 to 5"),
        ("DEBUG", "-1", "'-1' is not a whole number"),
        ("DUMP", "a-file", "'a-file' is not the path of a folder, not of a file"),
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


@pytest.mark.parametrize("wrong", [{"debug": True}, {"debug": "x"}, {"jit": 1}, {"log": ("no",)}])
def test_a_wrong_option_or_argument_is_named(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"options\({name}=\.\.\.\): "), options(**wrong):
        pass
    with pytest.raises(ConfigError, match=f"{name}=: "):
        current(**wrong)


def test_an_unknown_option_is_named():
    with (
        pytest.raises(UnknownSettingError, match=r"options\(fast=\.\.\.\): no such"),
        options(fast=1),
    ):
        pass


def test_a_project_may_set_every_setting_with_paths_from_its_folder():
    write_project('jit = false\ncache_dir = "kernels"\ndebug = 2\ncheck = true\nlog = ["memory"]')
    expected = Config(
        jit=False, cache_dir=Path.cwd() / "kernels", debug=2, check=True, log=("memory",)
    )
    assert current() == expected


def test_a_changed_project_file_is_read_again():
    write_project("debug = 1")
    assert current().debug == 1
    write_project("debug = 2 # changed")
    assert current().debug == 2
    Path("pyproject.toml").unlink()
    assert current().debug == 0


@pytest.mark.parametrize("text", ["debug = 9", 'debug = "much"', "debg = 1"])
def test_a_wrong_entry_of_a_project_is_named(text):
    write_project(text)
    with pytest.raises(
        ConfigError, match=r"^\[SG60\d\] \[tool.staticgrad\] of .*pyproject.toml: deb"
    ):
        current()


@pytest.mark.parametrize("text", ["[tool]\nstaticgrad = 3", "tool = {staticgrad = 'x'}"])
def test_a_project_whose_entry_is_no_table_is_refused(text):
    Path("pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="not a table of settings"):
        current()


@pytest.mark.parametrize("text", ["", "tool = 1", "[tool.other]\nx = 1", "this is [not toml"])
def test_a_project_file_that_says_nothing_to_us_is_passed_over(text):
    Path("pyproject.toml").write_text(text, encoding="utf-8")
    assert current() == Config()


def test_show_config_says_where_each_value_comes_from(monkeypatch):
    monkeypatch.setenv("STATICGRAD_LOG", "cache,passes")
    with options(debug=2):
        lines = show_config().splitlines()
    assert [line.partition(" = ")[0] for line in lines] == list(config._SETTINGS)
    assert any(line.startswith("debug = 2  (options)  ") for line in lines)
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


def test_chosen_topics_go_to_standard_error_once(capsys, caplog):
    with options(log="passes"):
        config.log("passes", "%d nodes", 3)
        config.log("cache", "a miss")
        with caplog.at_level(logging.INFO, logger="staticgrad"):
            config.log("passes", "seen by the application")
    assert capsys.readouterr().err == "staticgrad.passes: 3 nodes\n"
    assert [r.getMessage() for r in caplog.records] == ["seen by the application"]


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        current().debug = 3  # type: ignore[misc]
