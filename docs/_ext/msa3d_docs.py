"""What the documentation needs of Sphinx: tables made anew, pages from elsewhere, plain formulae.

Nothing is fetched from a network, neither when the pages are built nor when they are read: formulae
are written as MathML, which browsers know.
"""

import re
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from generated import fill

__all__ = ["setup"]

BORROWED = {"benchmarks": Path("../benchmarks/README.md"), "changes": Path("../CHANGES.md")}
"""Pages whose text is that of files elsewhere in the repository."""

INWARD = re.compile(r"\]\((?:\.\./)?docs/([^)]+)\)")
"""Links of such files to pages of the documentation."""


def setup(app):
    """Connect what is here with Sphinx.

    Parameters
    ----------
    app : sphinx.application.Sphinx
        The build.

    Returns
    -------
    dict
        What Sphinx wants to know of an extension.
    """
    app.connect("source-read", _read)
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _read(app, name, content):
    """Fill in what the text of a page does not have itself."""
    if name in BORROWED:
        path = Path(app.srcdir) / BORROWED[name]
        app.env.note_dependency(str(path))
        content[0] = INWARD.sub(r"](\1)", path.read_text(encoding="utf-8"))
    text = fill(content[0])
    for page, path in BORROWED.items():
        text = text.replace(f"]({path.as_posix()}", f"]({page}.md")
    content[0] = text


def _inline(writer, node):
    """Write a formula in a line."""
    writer.body.append(str(tex2mathml(node.astext(), as_block=False)))
    raise SkipNode


def _display(writer, node):
    """Write a formula by itself."""
    writer.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise SkipNode
