"""Write the page: what is on it, where it goes, what stays of the one that is there."""

import json
import logging
import math
import re
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from itertools import chain, count
from pathlib import Path
from string import Template

from msa3d_steps.quicklook.entry import Entry
from msa3d_steps.quicklook.page import sections
from msa3d_steps.quicklook.page.kept import (
    GENERATOR,
    Row,
    is_ours,
    read_rows,
    remembered,
    still_there,
)
from msa3d_steps.whole import replace_whole

__all__ = ["write_page"]

log = logging.getLogger(__name__)


def write_page(
    path, entries, product, parameters=None, versions=None, *, changed=None, problems=(),
    exposures=None, date=None,
):  # fmt: skip
    """Write the page of a survey: one file that needs nothing from the network.

    A page that is there already is merged: its rows of cubes that are still there and that are not
    among `entries` stay, and so does what it tells of the run that built a cube where an entry does
    not know (`exposures_rejected` is None). A file that is not a page of ours is left alone.

    Parameters
    ----------
    path : str or pathlib.Path
        Where the page shall be, ``index.html``, beside cubes, pictures and maps.
    entries : sequence of Entry
        A row for each cube, and for each source that should have had one.
    product : str
        Name of the product, the title of the page.
    parameters : dict, optional
        Name of step to name of parameter to value.
    versions : dict, optional
        Name of package to version.
    changed : dict, optional
        Name of step to the names of the parameters that differ from their defaults: these come
        first.
    problems : sequence, optional
        What went wrong and belongs to no source; the text of each is shown.
    exposures : int, optional
        Number of exposures of the run.
    date : datetime.datetime, optional
        When the run was, with its time zone; now if not given.

    Returns
    -------
    pathlib.Path
        Where the page is: `path`, or a name beside it where that is taken by a file of others.
    """
    path = _place(Path(path), product)
    date = (date or datetime.now(UTC)).astimezone(UTC).isoformat()
    rows = [Row(_plain(entry), product, date) for entry in entries]
    if path.exists():
        before = read_rows(path)
        rows = [remembered(row, before) for row in rows]
        rows += still_there(before, [row.entry for row in rows], path.parent)
    rows.sort(key=lambda row: _natural(row.entry.title))
    parts = {
        "generator": GENERATOR,
        "title": escape(product),
        "style": _text("page.css"),
        "cards": _text("cards.css"),
        "script": _text("page.js"),
        "summary": sections.summary(rows, product, date, versions or {}, exposures),
        "head": sections.head(),
        "rows": "\n".join(sections.row(i, row, product, date) for i, row in enumerate(rows, 1)),
        "problems": sections.problems(rows, problems),
        "columns": sections.columns(),
        "parameters": sections.parameters(parameters or {}, changed or {}),
        "versions": sections.pairs(versions or {}),
        "data": _data(rows),
    }
    page = Template(_text("page.html")).substitute(parts)
    with replace_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _text(name):
    """Read a file of this folder."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _place(path, product):
    """Give a path where nothing or a page of ours is."""
    stem = re.sub(r"[^A-Za-z0-9._+-]+", "_", product).strip("._") or "msa3d"
    others = (f"{stem}_index{f'_{i}' * (i > 1)}.html" for i in count(1))
    for free in chain([path], (path.with_name(name) for name in others)):
        if not free.exists() or is_ours(free):
            break
    if free != path:
        log.warning("%s is not a page of quicklook and is left alone: see %s", path, free.name)
    return free


def _natural(text):
    """Give what sorts names as people do: numbers in them by size."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", text)]


def _plain(entry):
    """Make an entry of plain values: what is no finite number is None, numpy's become Python's."""
    return Entry(**{key: _plain_value(value) for key, value in asdict(entry).items()})


def _plain_value(value):
    if isinstance(value, (tuple, list)):
        return tuple(_plain_value(v) for v in value)
    if hasattr(value, "item"):  # a scalar of numpy
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _data(rows):
    """Write the rows as JSON that may stand in a page; the thumbnails stand in the table."""
    content = [
        {
            "row": sections.row_id(i),
            "product": row.product,
            "date": row.date,
            "of_run": row.of_run,
            "entry": {k: v for k, v in row.entry.as_dict().items() if k != "thumbnail"},
        }
        for i, row in enumerate(rows, 1)
    ]
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c")
