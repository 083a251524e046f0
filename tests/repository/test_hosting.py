"""Hooks of commits, hosted workflows and templates agree with ``pyproject.toml`` and ``.ci``."""

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
#: Keys of a form and of its fields, as the host documents them.
FORM_KEYS = {"name", "description", "title", "labels", "assignees", "body"}
FIELD_TYPES = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
#: Keys of a workflow, a job and a step.
WORKFLOW_KEYS = {"name", "on", "permissions", "concurrency", "env", "defaults", "jobs"}
JOB_KEYS = {"name", "runs-on", "timeout-minutes", "needs", "if", "strategy", "env", "steps"}
STEP_KEYS = {"name", "uses", "with", "run", "env", "if", "id", "timeout-minutes"}


def read(path):
    """Return a YAML file with texts alone: ``on`` is a key there, not True."""
    return yaml.load(path.read_text("utf-8"), yaml.BaseLoader)


def hooks():
    (repo,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    return {hook["id"]: hook for hook in repo["hooks"]}


def test_the_citation_says_what_the_project_says():
    """Format: https://github.com/citation-file-format/citation-file-format, version 1.2.0."""
    citation, project = read(ROOT / "CITATION.cff"), PROJECT["project"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["title"], citation["license"]) == (project["name"], project["license"])
    assert (citation["abstract"], citation["keywords"]) == (
        project["description"],
        project["keywords"],
    )
    assert "version" not in citation  # it stands in staticgrad/__init__.py alone


def test_hooks_run_the_commands_of_ci_with_the_tools_of_the_environment():
    stages = dict(re.findall(r'stage "(\w+)" (.*)', (ROOT / ".ci/run").read_text("utf-8")))
    stages["types"] = "mypy"  # begun before it is a stage
    entries = {name: hook["entry"] for name, hook in hooks().items()}
    assert entries.pop("repository") == "python -m pytest -q tests/repository"
    for name, entry in entries.items():
        words = [
            word for word in stages[name].split() if word not in (".", "--check", "--no-cache")
        ]
        assert entry.removesuffix(" --force-exclude").split() == words, name
    assert {hook["language"] for hook in hooks().values()} == {"system"}


def test_the_test_extra_has_each_tool_of_the_hooks():
    packages = {
        re.match(r"[\w-]+", requirement)[0]
        for requirement in PROJECT["project"]["optional-dependencies"]["test"]
    }
    package_of = {"lint-imports": "import-linter", "python": "pytest"}
    tools = {hook["entry"].split()[0] for hook in hooks().values()}
    assert {package_of.get(tool, tool) for tool in tools} <= packages


def test_hooks_of_files_leave_out_what_the_linter_leaves_out():
    for hook in hooks().values():
        takes_files = hook.get("pass_filenames") != "false"
        assert takes_files == ("--force-exclude" in hook["entry"]), hook["id"]
        assert takes_files == (hook.get("types_or") == ["python", "pyi"]), hook["id"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_a_script_of_ci(path):
    workflow = read(path)
    assert set(workflow) <= WORKFLOW_KEYS
    assert workflow["permissions"] == {"contents": "write" if path.stem == "docs" else "read"}
    (job,) = workflow["jobs"].values()
    assert set(job) <= JOB_KEYS
    assert 0 < int(job["timeout-minutes"]) <= 360
    for step in job["steps"]:
        assert set(step) <= STEP_KEYS
        assert ("uses" in step) != ("run" in step)
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/none@v1"))
    script = ROOT / job["steps"][-1]["run"].removesuffix(" --push")
    assert script.parent == ROOT / ".ci"
    assert os.access(script, os.X_OK)


def test_workflows_run_for_each_change_and_at_night():
    triggers = {path.stem: read(path)["on"] for path in WORKFLOWS}
    assert set(triggers["checks"]) == {"push", "pull_request"}
    (schedule,) = triggers["nightly"]["schedule"]
    assert re.fullmatch(r"\d{1,2} \d{1,2} \* \* \*", schedule["cron"])
    assert triggers["docs"]["push"] == {"tags": ["v*"]}  # as CONTRIBUTING sets them


def test_workflows_have_each_interpreter_of_the_classifiers():
    pattern = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    minors = {
        match[1] for text in PROJECT["project"]["classifiers"] if (match := pattern.match(text))
    }
    for path in WORKFLOWS:
        (job,) = read(path)["jobs"].values()
        (setup,) = (step for step in job["steps"] if "setup-python" in step.get("uses", ""))
        versions = setup["with"]["python-version"].split()
        assert set(versions) == minors
        assert versions[-1] == PROJECT["project"]["requires-python"].removeprefix(">=")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_template_of_an_issue_asks_for_a_program(path):
    form = read(path)
    if path.stem == "config":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= set(form) <= FORM_KEYS
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in form["body"]} <= FIELD_TYPES
    names = [field["id"] for field in fields]
    assert len(names) == len(set(names))
    assert "program" in names
    assert all(field["attributes"]["label"] for field in fields)


def test_templates_name_commands_and_files_that_exist():
    template = ROOT / ".github/PULL_REQUEST_TEMPLATE.md"
    for path in (template, *FORMS):
        for name in re.findall(r"[\w/]+\.(?:md|py|toml)\b", path.read_text("utf-8")):
            assert (ROOT / name).exists(), f"{path.name}: {name}"
