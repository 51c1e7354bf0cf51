"""A page that is there already: whether it is ours, and which of its rows stay."""

import json
import logging
from dataclasses import dataclass, replace
from html.parser import HTMLParser

from msa3d_steps.quicklook.entry import Entry

__all__ = ["GENERATOR", "Row", "is_ours", "read_rows", "remembered", "still_there"]

GENERATOR = "msa3d_quicklook"
"""What the meta tag ``generator`` of our pages says."""

HEAD = 2000
"""Characters at the start of a page among which the tag is."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """A row of the page.

    Attributes
    ----------
    entry : Entry
        What it tells.
    product : str
        Product of the run that made it.
    date : str
        When: ISO 8601, UTC.
    of_run : tuple of str or None
        Which of the entry's warnings are of the run that built the cube; None where that run made
        the row.
    """

    entry: Entry
    product: str
    date: str
    of_run: tuple | None = None


class _Reader(HTMLParser):
    """Collects the text of the rows' data and the thumbnails."""

    def __init__(self):
        super().__init__()
        self.inside = False
        self.text = []
        self.thumbnails = {}
        self.row = None

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "script" and attributes.get("id") == "rows":
            self.inside = True
        elif tag == "tr":
            self.row = attributes.get("id")
        elif tag == "img" and self.row:
            self.thumbnails[self.row] = attributes.get("src", "").partition("base64,")[2]

    def handle_endtag(self, tag):
        if tag == "script":
            self.inside = False
        elif tag == "tr":  # images elsewhere on the page are no thumbnails
            self.row = None

    def handle_data(self, data):
        if self.inside:
            self.text.append(data)


def is_ours(path):
    """Tell whether a file is a page that was written here.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    bool
        By its meta tag.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return f'<meta name="generator" content="{GENERATOR}' in file.read(HEAD)
    except OSError:
        return False


def read_rows(path):
    """Read the rows of a page.

    Parameters
    ----------
    path : pathlib.Path
        One of our pages.

    Returns
    -------
    list of Row
        None, with a warning, where they cannot be read any more.
    """
    reader = _Reader()
    try:
        reader.feed(path.read_text(encoding="utf-8"))
        rows = [
            Row(
                replace(
                    Entry.from_dict(content["entry"]),
                    thumbnail=reader.thumbnails.get(content["row"], ""),
                ),
                content["product"],
                content["date"],
                None if content.get("of_run") is None else tuple(content["of_run"]),
            )
            for content in json.loads("".join(reader.text))
        ]
    except (OSError, ValueError, KeyError, TypeError) as err:
        log.warning("%s: the rows of earlier runs cannot be read (%s) and are left out", path, err)
        return []
    return rows


def remembered(row, before):
    """Take over what only the run that built a cube could tell, where the cube is looked at again.

    Parameters
    ----------
    row : Row
        A new row.
    before : sequence of Row
        Rows of the page that is there.

    Returns
    -------
    Row
        With the number of exposures that were rejected and the warnings of the row of the same
        cube, where the new one does not know the number; what an earlier look had warned of is not
        among them.
    """
    entry = row.entry
    if entry.exposures_rejected is not None or not entry.cube:
        return row
    old = next((old for old in before if old.entry.cube == entry.cube), None)
    if old is None or old.entry.exposures_rejected is None:
        return row
    of_run = old.entry.warnings if old.of_run is None else old.of_run
    entry = replace(
        entry,
        exposures_rejected=old.entry.exposures_rejected,
        warnings=tuple(dict.fromkeys((*of_run, *entry.warnings))),
    )
    return replace(row, entry=entry, of_run=of_run)


def still_there(rows, entries, folder):
    """Choose the rows of earlier runs that stay.

    Parameters
    ----------
    rows : sequence of Row
        Rows of the page that is there.
    entries : sequence of Entry
        Entries of the new run.
    folder : pathlib.Path
        Where page and cubes are.

    Returns
    -------
    list of Row
        Those of cubes that are still there and that the new run did not make, and of sources that
        had no cube and are not in the new run. Pictures and maps that are gone are taken out.
    """
    cubes = {entry.cube for entry in entries if entry.cube}
    titles = {entry.title for entry in entries}
    kept = []
    for row in rows:
        entry = row.entry
        if entry.cube in cubes or (not entry.cube and entry.title in titles):
            continue
        if entry.cube and not (folder / entry.cube).is_file():
            continue
        gone = {
            kind: "" for kind in ("picture", "maps")
            if getattr(entry, kind) and not (folder / getattr(entry, kind)).is_file()
        }  # fmt: skip
        kept.append(replace(row, entry=replace(entry, **gone)))
    return kept
