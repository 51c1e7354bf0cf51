"""The columns of the page's table: what a cell shows and what it is sorted by."""

import struct
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from math import isfinite
from urllib.parse import quote

from msa3d_steps.quicklook.style import line_name

__all__ = ["COLUMNS", "GROUPS", "Column", "link", "number"]

PNG_HEAD = 32
"""Characters of base64 that hold the signature, the size and the type of a PNG's head."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes
    ----------
    key : str
        Its name in the page's markup.
    heading : str
        What stands over it.
    help : str
        What it means.
    cell : callable
        Gives the HTML of an entry's cell; empty where there is nothing to show.
    value : callable or None
        Gives what the cell is sorted by: a number, text, or None where there is nothing; None for
        a column that is not sorted by.
    descending : bool
        Whether sorting begins with the largest.
    label : str
        Its name where the heading would not do alone: in cards, menus and the explanation.
    """

    key: str
    heading: str
    help: str
    cell: Callable
    value: Callable | None = None
    descending: bool = False
    label: str = ""


def number(value, decimals=None):
    """Write a number for readers.

    Parameters
    ----------
    value : float or None
        It.
    decimals : int, optional
        How many; without it, three figures and no exponent.

    Returns
    -------
    str
        With a true minus sign; empty where there is no finite number.
    """
    if value is None or not isfinite(value):
        return ""
    if decimals is None:
        decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def link(name, text, **attributes):
    """Make a link to a file beside the page.

    Parameters
    ----------
    name : str
        Name of the file.
    text : str
        HTML inside the link.
    **attributes
        Attributes of the element, with ``_`` for ``-``; one at the end is left out.

    Returns
    -------
    str
        HTML. Whatever the name is, it is taken for a relative path.
    """
    more = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    return f'<a href="./{quote(name)}"{more}>{text}</a>'


def _picture(entry):
    if not entry.thumbnail:
        return link(entry.picture, "picture", class_="picture") if entry.picture else ""
    width, height = struct.unpack(">2I", b64decode(entry.thumbnail[:PNG_HEAD])[16:24])
    about = f"flux and velocity of {line_name(entry.line)}" if entry.line else "white light"
    image = (
        f'<img src="data:image/png;base64,{escape(entry.thumbnail)}" width="{width}" '
        f'height="{height}" alt="{escape(entry.title)}: {escape(about)}" decoding="async">'
    )
    return link(entry.picture, image, class_="picture") if entry.picture else image


def _source(entry):
    lines = [f"<strong>{escape(entry.title)}</strong>"]
    if entry.name and entry.name != entry.title:
        lines.append(f'<span class="name">{escape(entry.name)}</span>')
    files = [("cube", entry.cube), ("line maps", entry.maps)]
    links = [
        link(name, kind, title=name, aria_label=f"{kind} of {entry.title}")
        for kind, name in files
        if name
    ]
    lines.append(f'<span class="files">{" ".join(links) or "no cube"}</span>')
    return _lines(lines)


def _position(entry):
    if entry.ra is None or entry.dec is None:
        return ""
    sign = "+" if entry.dec >= 0 else ""
    return _lines([number(entry.ra, 5), sign + number(entry.dec, 5)])


def _grating(entry):
    small = []
    if len(entry.wavelengths) == 2:
        low, high = (number(w, 2) for w in entry.wavelengths)
        small = [_small(f"{low}\N{EN DASH}{high}\N{NO-BREAK SPACE}\N{MICRO SIGN}m")]
    text = escape(entry.grating).replace("-", "-<wbr>")
    return _lines([text, *small] if entry.grating else small)


def _field(entry):
    if len(entry.field) != 2:
        return ""
    lines = [
        " \N{MULTIPLICATION SIGN} ".join(f"{number(s, 1)}\N{DOUBLE PRIME}" for s in entry.field)
    ]
    if len(entry.shape) == 3:
        _, rows, columns = entry.shape
        lines.append(_small(f"{columns} \N{MULTIPLICATION SIGN} {rows}"))
    return _lines(lines)


def _line(entry):
    if not entry.line:
        return ""
    unknown = entry.line.startswith("line at")  # its name says where
    at = "" if unknown else number(entry.line_wavelength, 4)
    name = escape(line_name(entry.line)).replace("] ", "]\N{NO-BREAK SPACE}")
    return _lines([name, *([_small(f"{at}\N{NO-BREAK SPACE}\N{MICRO SIGN}m")] if at else [])])


def _outliers(entry):
    percent = _outlier_percent(entry)
    if percent is None:
        return ""
    return "&lt;0.01%" if 0 < percent < 0.005 else f"{percent:.2f}%"


def _outlier_percent(entry):
    pixels = entry.pixels_used + entry.pixels_rejected
    return 100 * entry.outliers / pixels if entry.outliers >= 0 and pixels else None


def _notes(entry):
    parts = []
    for kind, messages in (("problem", entry.problems), ("warning", entry.warnings)):
        if not messages:
            continue
        count = f"{len(messages)} {kind}{'s' * (len(messages) > 1)}"
        items = "".join(f"<li>{escape(message)}</li>" for message in messages)
        state = " open" if kind == "problem" else ""
        parts.append(
            f'<details class="{kind}"{state}><summary>{count}</summary><ul>{items}</ul></details>'
        )
    return "".join(parts)


def _lines(lines):
    """Put lines one under the other."""
    return "".join(f"<div>{line}</div>" for line in lines)


def _small(text):
    return f"<small>{text}</small>"


COLUMNS = (
    Column(
        "picture", "Picture",
        "Flux and velocity of the line with the highest signal over noise, white light where none "
        "was found. "
        "It opens the picture with all panels.",
        _picture,
    ),
    Column(
        "source", "Source", "Name in the files; name in the catalogue.",
        _source, lambda e: e.title,
    ),
    Column(
        "position", "RA, Dec",
        "Of the catalogue, else the middle of the cube: degrees, ICRS.",
        _position, lambda e: e.ra,
    ),
    Column(
        "grating", "Grating", "Filter and disperser; first and last wavelength.",
        _grating, lambda e: e.grating or None,
    ),
    Column(
        "field", "Field", "Width and height of the cube: on the sky, in spaxels.",
        _field, lambda e: e.field[0] * e.field[1] if len(e.field) == 2 else None,
    ),
    Column(
        "line", "Line", "The line with the highest signal over noise, and where it was found.",
        _line, lambda e: e.line or None,
    ),
    Column(
        "line_snr", "S/N", "Signal over noise of the line's flux in the aperture.",
        lambda e: number(e.line_snr), lambda e: e.line_snr, descending=True,
        label="Line S/N",
    ),
    Column(
        "redshift", "z", "Redshift, as given or by the lines found.",
        lambda e: number(e.redshift, 4), lambda e: e.redshift, label="Redshift",
    ),
    Column(
        "continuum_snr", "Cont. S/N",
        "Signal over noise of the continuum in the aperture: median of the channels.",
        lambda e: number(e.continuum_snr), lambda e: e.continuum_snr, descending=True,
    ),
    Column(
        "used", "Used", "Exposures that the cube is made of; each detector counts.",
        lambda e: str(e.exposures_used), lambda e: e.exposures_used, descending=True,
        label="Exposures",
    ),
    Column(
        "rejected", "Rejected",
        "Exposures that could not be used; each detector counts. Empty where it is not known.",
        lambda e: "" if e.exposures_rejected is None else str(e.exposures_rejected),
        lambda e: e.exposures_rejected, descending=True, label="Rejected",
    ),
    Column(
        "outliers", "Outliers",
        "Detector pixels flagged as outliers, of all; empty where none were looked for.",
        _outliers, _outlier_percent, descending=True,
    ),
    Column(
        "registration", "Registration", "What was done about the pointing of the exposures.",
        lambda e: escape(e.registration), lambda e: e.registration or None,
    ),
    Column(
        "notes", "Notes", "Problems cost a part of the result; warnings are to be known of.",
        _notes, lambda e: 1000 * len(e.problems) + len(e.warnings) or None, descending=True,
    ),
)  # fmt: skip
"""All columns, from left to right."""

GROUPS = {"Strongest line": ("line", "line_snr", "redshift"), "Exposures": ("used", "rejected")}
"""Columns under a common heading."""
