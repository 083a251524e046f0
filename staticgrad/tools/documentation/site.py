"""The pages by their addresses: as a folder of Markdown, and as a site of HTML by MkDocs."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from staticgrad.errors import UnknownNameError
from staticgrad.extend import did_you_mean
from staticgrad.extend.optional import material
from staticgrad.tools.documentation import extensions, names, operators, reference

#: The site reads without a network and from a folder: no fonts from elsewhere, links to .html.
_THEME: Final = {
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
}  # fmt: skip
_SETTINGS: Final = {
    "site_name": "staticgrad",
    "docs_dir": "pages",
    "use_directory_urls": False,
    "theme": _THEME,
    "plugins": ["search", "offline"],
    "extra": {"polyfills": ["iframe-worker.js"]},
    "markdown_extensions": [
        "attr_list", "md_in_html", "tables", {"toc": {"permalink": True}},
        {"pymdownx.highlight": {"guess_lang": False, "pygments_lang_class": True}},
        "pymdownx.superfences",
    ],
    "validation": {"links": {"anchors": "warn", "unrecognized_links": "warn"}},
}  # fmt: skip
#: Other settings of a site with a folder for each version, which is read from a server.
_OF_VERSIONS: Final = {
    "plugins": ["search"],
    "extra": {"version": {"provider": "mike", "default": "latest"}},
    "theme": {**_THEME, "custom_dir": "theme"},
}
#: A reader who chooses a version stays on the page if this map has it. The selector takes what the
#: addresses have in common for the first page's, which MkDocs calls ``index.html``.
_MAP: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
{%- for file in pages if file.page.canonical_url %}
  <url><loc>{{ file.page.canonical_url.removesuffix("index.html")|e }}</loc></url>
{%- endfor %}
</urlset>
"""
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


def write(folder: str | Path, *, versions: bool = False) -> Path:
    """Write the documentation as Markdown files, pictures and ``mkdocs.yml``.

    Args:
        folder: where to; it is made if it is not there.
        versions: of a site with several versions, which ``mike`` publishes beside each other:
            its pages have a selector of versions, and need a server.

    Returns:
        The path of ``mkdocs.yml``.
    """
    root = Path(folder)
    for name, text in pages().items():
        path = root / "pages" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_NAME.sub(r"\1 {#\2}", text), "utf-8")  # gru and GRU have a link each
    shutil.copytree(GUIDE / "pictures", root / "pages" / "pictures", dirs_exist_ok=True)
    (root / "pages" / "iframe-worker.js").write_text(_WORKER, "utf-8")
    contents: list[Any] = []
    for part, named in titles().items():
        entries = [{heading: f"{name}.md"} for name, heading in named.items()]
        contents += [{part: entries}] if part else entries
    settings = root / "mkdocs.yml"
    chosen = {**_SETTINGS, **_OF_VERSIONS} if versions else _SETTINGS
    if versions:
        (root / "theme").mkdir(exist_ok=True)
        (root / "theme/sitemap.xml").write_text(_MAP, "utf-8")
    settings.write_text(json.dumps({**chosen, "nav": contents}, indent=2) + "\n", "utf-8")
    return settings


def build(folder: str | Path, work: str | Path) -> Path:
    """Build the documentation site by MkDocs; a broken link is an error.

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


GUIDE: Final = Path(__file__).parent / "guide"
#: Pages that are made of the code.
_MADE: Final[dict[str, Callable[[], str]]] = {
    "errors": reference.codes,
    "extend-names": extensions.page,
    "other-names": names.page,
    "torch-operators": operators.page,
    "jax-primitives": operators.page_of_primitives,
    "pytensor-ops": operators.page_of_ops,
}

#: Part of the documentation -> the addresses of its guides, in the order in which to read them.
CONTENTS: Final[dict[str, tuple[str, ...]]] = {
    "": ("index",),
    "Learn": (
        "first-gradient", "an-engine", "a-compiler", "the-tape", "forward-and-reverse",
        "vanishing-gradients", "where-memory-goes", "fit-into-memory", "loops-and-branches",
        "mixed-precision", "write-a-pass", "debugging", "exercises", "for-teachers",
    ),
    "How to: coming from": (
        "from-numpy", "from-numba", "from-pytorch", "from-jax", "from-tensorflow",
    ),
    "How to: use": (
        "run-a-program", "graphs-in-graphs", "train-and-save", "random-numbers",
        "pytorch-weights", "torch-programs", "jax-programs", "pymc", "log-density", "beside",
        "statistical-models", "more-than-one-machine", "onnx", "export", "tune", "compare",
        "sparse-matrices",
    ),
    "Cookbook": (
        "cookbook", "gaussian-process", "fit-an-ode", "fit-a-pde", "sample-a-posterior",
        "sparse-newton", "deploy",
    ),
    "How to: extend": (
        "write-an-op", "passes", "policies", "write-a-backend", "write-a-distribution", "extend",
    ),
    "Explain": (
        "run-or-define", "complex-numbers", "dead-nodes", "numba", "read-a-kernel", "security",
    ),
    "Reference": (
        "conventions", "promises", "what-works", "accuracy", "errors", "glossary", "numpy", "names",
        "array-api", "other-names", "torch-operators", "jax-primitives", "pytensor-ops",
        "extend-names",
    ),
}  # fmt: skip


def pages() -> dict[str, str]:
    """Return all documentation pages by address, with source links in the reference."""
    guide_pages = {name: page(name) for names in CONTENTS.values() for name in names}
    rooms = reference.rooms()
    reference_pages = {name: reference.page(room, sources=True) for name, room in rooms.items()}
    return guide_pages | {
        f"reference/{name}": text for name, text in (reference_pages | reference.indexes()).items()
    }


def page(name: str) -> str:
    """Return one documentation page by address, or the reference text of a public name.

    Args:
        name: ``first-gradient``, ``reference/nn``, ``sg.exp``, ``exp``.

    Returns:
        Its Markdown.

    Raises:
        UnknownNameError: no page and no public name.
    """
    if name in _MADE:
        return _MADE[name]()
    if any(name in names for names in CONTENTS.values()):
        return (GUIDE / f"{name}.md").read_text("utf-8")
    rooms = reference.rooms()
    address = name.removeprefix("reference/") if name.startswith("reference/") else ""
    if address in rooms:
        return reference.page(rooms[address])
    indexes = reference.indexes() if address else {}
    if address in indexes:
        return indexes[address]
    entry = reference.find(name)
    if entry is not None:
        return reference.entry(*entry)
    listed = [page_name for part in CONTENTS.values() for page_name in part]
    public = [public_name for _, _, names in rooms.values() for public_name in names]
    raise UnknownNameError(
        f"there is no page and no public name {name!r}",
        hint=did_you_mean(name, [*listed, *public]) or "staticgrad docs lists the pages",
    )


def title(markdown: str) -> str:
    """The headline of a page."""
    return markdown.partition("\n")[0].lstrip("# ")


def contents() -> str:
    """The table of contents as text: an address and a title in each line."""
    parts = titles()
    width = max(len(name) for named in parts.values() for name in named)
    return "\n".join(
        f"{name:<{width}}  {heading}" for named in parts.values() for name, heading in named.items()
    )


def titles() -> dict[str, dict[str, str]]:
    """Return the titles of all documentation pages, by part and address."""
    titles_by_part = {
        part: {name: title(page(name)) for name in names} for part, names in CONTENTS.items()
    }
    rooms = reference.rooms()
    for path in reference.SUBJECTS:
        room = path.removeprefix("sg.")
        titles_by_part[path] = {f"reference/{room}": f"All names of {path}"}
        titles_by_part[path] |= {
            f"reference/{name}": rooms[name][0] for name in rooms if name.startswith(f"{room}/")
        }
    titles_by_part["Other modules"] = {
        f"reference/{name}": rooms[name][0] for name in rooms if "/" not in name
    }
    return titles_by_part
