"""The page of a survey: a file that shows every source, readable without network or server."""

from msa3d_steps.quicklook.page.write import write_page

__all__ = ["write_page"]
