"""A site with several versions, as the hosted workflow publishes it: .ci/docs, without a push."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import staticgrad as sg
from staticgrad.tools.documentation import site

ROOT = Path(__file__).parents[3]


ADDRESS = "https://docs.example/staticgrad/"


def run(*command, cwd):
    """Run a command with the interpreter's tools, and return what it printed."""
    tools = str(Path(sys.executable).parent)
    names = {
        f"GIT_{who}_{what}": "docs" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    path = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    environment = os.environ | names | path | {"SITE_URL": ADDRESS}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """The settings of the whole site with two pages."""
    texts = {"index": "# staticgrad\n\n[Next](second.md)\n", "second": "# A second page\n\nText.\n"}
    monkeypatch.setattr(site, "pages", lambda: texts)
    monkeypatch.setattr(site, "titles", lambda: {"": {"index": "staticgrad", "second": "Second"}})
    return site.write(tmp_path / "pages", versions=True).parent


def test_versions_are_published_beside_each_other(pages, tmp_path):
    pytest.importorskip("mike")
    repository = tmp_path / "repository"
    repository.mkdir()
    run("git", "init", "-q", "-b", "main", cwd=repository)
    run("git", "commit", "-q", "--allow-empty", "-m", "first", cwd=repository)
    for version in ("0.1", "0.2", "dev"):
        (pages / "pages/second.md").write_text(f"# A second page\n\nText of {version}.\n")
        run(str(ROOT / ".ci/docs"), version, str(pages), cwd=repository)

    def read(name):
        return run("git", "show", f"gh-pages:{name}", cwd=repository)

    versions = {entry["version"]: entry["aliases"] for entry in json.loads(read("versions.json"))}
    assert versions == {"dev": [], "0.2": ["latest"], "0.1": []}
    for folder, text in (("0.1", "0.1"), ("0.2", "0.2"), ("dev", "dev"), ("latest", "0.2")):
        assert f"Text of {text}." in read(f"{folder}/second.html")
    assert re.search(r"latest/", read("index.html"))
    # The selector looks here whether a version has the page, and takes for its address what all
    # have in common; what is not here leads to the first page.
    for folder in ("0.1", "0.2", "dev"):
        listed = re.findall(r"<loc>(.*?)</loc>", read(f"{folder}/sitemap.xml"))
        assert listed == [f"{ADDRESS}{folder}/", f"{ADDRESS}{folder}/second.html"]
    settings = re.search(
        r'<script id="__config" type="application/json">(.*?)</script>', read("0.1/index.html")
    )
    assert json.loads(settings[1])["version"] == {"default": "latest", "provider": "mike"}


def test_a_site_without_versions_reads_from_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "pages", lambda: {"index": "# staticgrad\n"})
    monkeypatch.setattr(site, "titles", lambda: {"": {"index": "staticgrad"}})
    settings = json.loads(site.write(tmp_path).read_text("utf-8"))
    assert "offline" in settings["plugins"]
    assert "version" not in settings["extra"]


def test_the_version_of_a_release_is_that_of_the_package():
    script = (ROOT / ".ci/docs").read_text("utf-8")
    (expression,) = re.findall(r"print\((staticgrad\S+\])\)", script)
    assert eval(expression, {"staticgrad": sg}) == ".".join(sg.__version__.split(".")[:2])
