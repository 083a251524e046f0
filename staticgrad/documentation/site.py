"""The pages as a folder of Markdown with MkDocs' configuration, and as a site of HTML."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any, Final

from staticgrad.documentation.pages import pages, titles
from staticgrad.optional import material

#: The site reads without a network and from a folder: no fonts from elsewhere, links to .html.
_SETTINGS: Final = {
    "site_name": "staticgrad",
    "docs_dir": "pages",
    "use_directory_urls": False,
    "theme": {
        "name": "material",
        "font": False,
        "features": [
            "content.code.copy", "navigation.footer", "navigation.indexes", "navigation.top",
            "search.highlight", "search.suggest", "toc.follow",
        ],
        "palette": [
            {
                "media": f"(prefers-color-scheme{scheme})",
                "scheme": colours,
                "primary": "black" if colours == "slate" else "indigo",
                "toggle": {"icon": f"material/{icon}", "name": f"Switch to {following}"},
            }
            for scheme, colours, icon, following in (
                ("", "default", "brightness-auto", "light mode"),
                (": light", "default", "weather-sunny", "dark mode"),
                (": dark", "slate", "weather-night", "the mode of the system"),
            )
        ],
    },
    "plugins": ["search", "offline"],
    "extra": {"polyfills": ["iframe-worker.js"]},
    "markdown_extensions": [
        "attr_list", "md_in_html", "tables", {"toc": {"permalink": True}},
        {"pymdownx.highlight": {"guess_lang": False}}, "pymdownx.superfences",
    ],
    "validation": {"links": {"anchors": "warn", "unrecognized_links": "warn"}},
}  # fmt: skip
#: Browsers start no worker from a file: the search then runs in a hidden frame.
_WORKER: Final = """\
if (location.protocol === "file:") window.Worker = class extends EventTarget {
  constructor(url) {
    super();
    const frame = document.body.appendChild(document.createElement("iframe"));
    frame.hidden = true;
    this.frame = frame;
    addEventListener("message", event => {
      if (event.source === frame.contentWindow)
        this.dispatchEvent(new MessageEvent("message", {data: event.data}));
    });
    const text = frame.contentDocument;
    text.open();
    text.write(`<body><script>
      postMessage = data => parent.postMessage(data, "*");
      importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise(
        done => {
          const script = document.createElement("script");
          script.onload = done;
          script.src = url;
          document.body.appendChild(script);
        })), Promise.resolve());
      </script><script src="${url}"></script></body>`);
    text.close();
    this.ready = new Promise(done => { frame.contentWindow.onload = done; });
  }
  postMessage(data) {
    this.ready.then(() =>
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", {data})));
  }
  terminate() { this.frame.remove(); }
};
"""
_NAME: Final = re.compile(r"^(## (sg\.[\w.]+))$", re.MULTILINE)


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
        path.write_text(_NAME.sub(r"\1 {#\2}", text), "utf-8")  # gru and GRU have a link each
    (root / "pages" / "iframe-worker.js").write_text(_WORKER, "utf-8")
    contents: list[Any] = []
    for part, named in titles().items():
        entries = [{heading: f"{name}.md"} for name, heading in named.items()]
        contents += [{part: entries}] if part else entries
    settings = root / "mkdocs.yml"
    settings.write_text(json.dumps({**_SETTINGS, "nav": contents}, indent=2) + "\n", "utf-8")
    return settings


def build(folder: str | Path, work: str | Path) -> Path:
    """Build the site with MkDocs; a link that leads nowhere is an error.

    Args:
        folder: where the HTML goes.
        work: where the Markdown goes.

    Returns:
        The first page.

    Raises:
        MissingPackageError: mkdocs-material is not installed.
    """
    material()  # the theme, which brings MkDocs
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config

    site = Path(folder).resolve()
    logging.getLogger("mkdocs").setLevel(logging.WARNING)
    settings = load_config(str(write(work)), site_dir=str(site), strict=True)
    build_site(settings)
    return site / "index.html"
