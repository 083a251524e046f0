"""The documentation: guides, which are Markdown files beside this one, and pages made of the code.

``pages`` has all of it by address. ``write`` puts it into a folder together with the configuration
of MkDocs, with which ``build`` makes a site that reads without a network.

    staticgrad docs                  the list of pages
    staticgrad docs from-pytorch     a page, in the terminal
    staticgrad docs sg.nn.gelu       what the reference says of a name
    staticgrad docs --site FOLDER    the site (pip install "staticgrad[docs]")
"""

from staticgrad.tools.documentation.site import (
    CONTENTS,
    build,
    contents,
    page,
    pages,
    titles,
    write,
)

__all__ = ["CONTENTS", "build", "contents", "page", "pages", "titles", "write"]


def __dir__() -> list[str]:
    return sorted(__all__)
