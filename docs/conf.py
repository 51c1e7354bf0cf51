"""How Sphinx makes the documentation: ``make docs``."""

import sys
from pathlib import Path

from msa3d_steps import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "msa3d_steps"
author = "The msa3d_steps developers"
version = release = __version__

extensions = [
    "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "msa3d_docs",
]  # fmt: skip
exclude_patterns = ["_build", "_ext", "figures"]

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

autosummary_generate = False  # tables of what the same page tells in full
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have them
default_role = "py:obj"
smartquotes = False  # " is arcsec
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_title = f"msa3d_steps {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_math_renderer = "mathml"
highlight_language = "none"  # of blocks that name no language: commands and what they print
