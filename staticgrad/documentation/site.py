"""The pages as a folder of Markdown with MkDocs' configuration, and as a site of HTML."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final

from staticgrad.documentation.pages import pages, titles
from staticgrad.errors import MissingPackageError

#: Nothing of the site is loaded from elsewhere: Pygments writes colours, links end in .html.
_SETTINGS: Final = {
    "site_name": "staticgrad",
    "docs_dir": "pages",
    "use_directory_urls": False,
    "extra_css": ["style.css"],
    "theme": {"name": "readthedocs", "highlightjs": False, "navigation_depth": 3},
    "markdown_extensions": ["tables", "fenced_code", {"codehilite": {"guess_lang": False}}],
    "validation": {"links": {"anchors": "warn", "unrecognized_links": "warn"}},
}

#: The theme keeps a table's cells on one line each, and breaks a heading at spaces alone.
_WRAPPED: Final = """\
.wy-table-responsive table td, .wy-table-responsive table th { white-space: normal; }
.wy-table-responsive table code { white-space: normal; overflow-wrap: break-word; }
.rst-content h1, .rst-content h2, .rst-content h3 { overflow-wrap: anywhere; }
"""


def write(folder: str | Path) -> Path:
    """Write ``pages/*.md`` and ``mkdocs.yml``, which ``mkdocs build`` takes.

    Args:
        folder: where to; it is made if it is not there.

    Returns:
        The path of ``mkdocs.yml``.
    """
    root = Path(folder)
    for name, text in pages().items():
        path = root / "pages" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    (root / "pages" / "style.css").write_text(_style(), "utf-8")
    contents: list[Any] = []
    for part, named in titles().items():
        entries = [{heading: f"{name}.md"} for name, heading in named.items()]
        contents += [{part: entries}] if part else entries
    settings = root / "mkdocs.yml"
    settings.write_text(json.dumps({**_SETTINGS, "nav": contents}, indent=2) + "\n", "utf-8")
    return settings


def build(folder: str | Path, work: str | Path) -> Path:
    """Build the site by MkDocs; a link that leads nowhere is an error.

    Args:
        folder: where the HTML goes.
        work: where the Markdown goes.

    Returns:
        The first page.

    Raises:
        MissingPackageError: MkDocs is not installed.
    """
    try:
        from mkdocs.commands.build import build as build_site
        from mkdocs.config import load_config
    except ImportError:
        raise MissingPackageError(
            "the site is built by mkdocs, which is not installed",
            hint='pip install "staticgrad[docs]"; staticgrad docs --write FOLDER needs none',
        ) from None
    site = Path(folder).resolve()
    logging.getLogger("mkdocs").setLevel(logging.WARNING)
    settings = load_config(str(write(work)), site_dir=str(site), strict=True)
    build_site(settings)
    return site / "index.html"


def _style() -> str:
    """Colours of code, by Pygments, which comes with rich, and what narrow screens need."""
    from pygments.formatters import HtmlFormatter

    style: str = HtmlFormatter(style="default").get_style_defs(".codehilite")
    return f"{style}\n{_WRAPPED}"
