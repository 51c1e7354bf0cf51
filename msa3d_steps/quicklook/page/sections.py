"""The parts of the page as HTML."""

from collections import defaultdict
from html import escape

from msa3d_steps.quicklook.page.columns import COLUMNS, GROUPS

__all__ = ["columns", "head", "pairs", "parameters", "problems", "row", "row_id", "summary"]

MANY = 12
"""Sources that a message names before the others fold."""


def row_id(place):
    """Name a row in the markup by its place, which counts from 1."""
    return f"row-{place}"


def summary(rows, product, date, versions, exposures):
    """Say in a line what the page shows.

    Parameters
    ----------
    rows : sequence of Row
        All rows.
    product, date : str
        Of the newest run.
    versions : dict
        Name of package to version.
    exposures : int or None
        Number of exposures.

    Returns
    -------
    str
        HTML.
    """
    failed = sum(bool(row.entry.problems) for row in rows)
    warned = sum(bool(row.entry.warnings) for row in rows)
    cubes = sum(bool(row.entry.cube) for row in rows)
    earlier = sum(_is_earlier(row, product, date) for row in rows)
    version = versions.get("msa3d-steps") or versions.get("msa3d_steps")
    parts = [f"<b>{_count(len(rows), 'source')}</b>"]
    if cubes != len(rows):
        parts.append(f"{_count(cubes, 'cube')}")
    parts.append(
        f'<a class="problem" href="#problems">{failed} with problems</a>'
        if failed
        else "no problems"
    )
    if warned:
        parts.append(f'<a class="warning" href="#warnings">{warned} with warnings</a>')
    if exposures is not None:
        parts.append(_count(exposures, "exposure"))
    if earlier:
        parts.append(f"{earlier} of earlier runs")
    parts.append(f'<time datetime="{date}">{_date(date)}</time>')
    if version:
        parts.append(f"msa3d-steps {escape(str(version))}")
    return "\n".join(f"<li>{part}</li>" for part in parts)


def head():
    """Make the rows of the table's head."""
    upper, lower, begun = [], [], set()
    for index, column in enumerate(COLUMNS):
        group = _group(column)
        if not group:
            upper.append(_heading(index, column))
            continue
        if group not in begun:
            begun.add(group)
            upper.append(f'<th scope="colgroup" colspan="{len(GROUPS[group])}">{group}</th>')
        lower.append(_heading(index, column))
    return f"<tr>{''.join(upper)}</tr>\n<tr>{''.join(lower)}</tr>"


def _heading(index, column):
    rowspan = "" if _group(column) else ' rowspan="2"'
    order = "descending" if column.descending else "ascending"
    sorts = f' data-sort="{order}"' if column.value is not None else ""
    return (
        f'<th scope="col" class="{column.key}" title="{escape(column.help)}" '
        f'data-index="{index}" data-name="{column.label or column.heading}"{sorts}{rowspan}>'
        f"{column.heading}</th>"
    )


def _group(column):
    """Give the heading that a column shares with others, empty where it has its own alone."""
    return next((name for name, keys in GROUPS.items() if column.key in keys), "")


def row(place, row, product, date):
    """Make a row of the table.

    Parameters
    ----------
    place : int
        Its place, from 1.
    row : Row
        What it shows.
    product, date : str
        Of the newest run: the others' rows say of which they are.

    Returns
    -------
    str
        HTML.
    """
    entry = row.entry
    state = "problem" if entry.problems else "warning" if entry.warnings else "fine"
    cells = []
    for column in COLUMNS:
        content = column.cell(entry)
        if column.key == "source" and _is_earlier(row, product, date):
            of = f" ({escape(row.product)})" if row.product != product else ""
            content += f'<div class="earlier">of the run of {_date(row.date)}{of}</div>'
        cells.append(_cell(column, entry, content))
    snr = "" if entry.line_snr is None else f' data-snr="{entry.line_snr!r}"'
    words = f' data-words="{escape(entry.line)}"' if entry.line else ""
    attributes = (
        f'id="{row_id(place)}" class="{state}"{snr}{words} data-title="{escape(entry.title)}"'
    )
    return f'<tr role="row" {attributes}>{"".join(cells)}</tr>'


def _cell(column, entry, content):
    value = column.value(entry) if column.value is not None else None
    data = "" if value is None else f' data-value="{escape(str(value))}"'
    kind = 'th scope="row" role="rowheader"' if column.key == "source" else 'td role="cell"'
    return (
        f'<{kind} class="{column.key}" data-label="{column.label or column.heading}"{data}>'
        f"{content}</{kind[:2]}>"
    )


def _is_earlier(row, product, date):
    return (row.product, row.date) != (product, date)


def problems(rows, others):
    """List problems and warnings, each message once with the sources that it is of.

    Parameters
    ----------
    rows : sequence of Row
        All rows.
    others : sequence
        Problems that belong to no source.

    Returns
    -------
    str
        HTML of the sections; without warnings there is none for them.
    """
    found = _messages(rows, "problems")
    items = [f"<li>{escape(str(problem))}</li>" for problem in others]
    items += [_message(text, places) for text, places in found.items()]
    body = f"<ul>{''.join(items)}</ul>" if items else "<p>None.</p>"
    html = f'<section id="problems" class="problem"><h2>Problems</h2>{body}</section>'
    found = _messages(rows, "warnings")
    if found:
        body = "".join(_message(text, places) for text, places in found.items())
        html += f'<section id="warnings" class="warning"><h2>Warnings</h2><ul>{body}</ul></section>'
    return html


def _messages(rows, kind):
    """Collect the messages, and the places and titles of the rows that have them."""
    found = defaultdict(list)
    for place, row in enumerate(rows, 1):
        for text in dict.fromkeys(getattr(row.entry, kind)):
            found[text].append((place, row.entry.title))
    return found


def _message(text, places):
    links = [f'<a href="#{row_id(place)}">{escape(title)}</a>' for place, title in places]
    shown = ", ".join(links[:MANY])
    if len(links) > MANY:
        more = ", ".join(links[MANY:])
        shown += f"<details><summary>and {len(links) - MANY} more</summary>{more}</details>"
    return f"<li>{escape(text)}<div>{shown}</div></li>"


def columns():
    """Explain the columns."""
    items = []
    for column in COLUMNS:
        items.append(f"<div><dt>{column.label or column.heading}</dt><dd>{column.help}</dd></div>")
    return f"<dl>{''.join(items)}</dl>"


def parameters(steps, changed):
    """Make a table of the parameters of each step, those first that differ from their defaults.

    Parameters
    ----------
    steps : dict
        Name of step to name of parameter to value.
    changed : dict
        Name of step to the names of its parameters that differ.

    Returns
    -------
    str
        HTML.
    """
    parts = []
    for name, values in steps.items():
        other = [key for key in values if key in set(changed.get(name, ()))]
        same = [key for key in values if key not in other]
        note = f" <small>{len(other)} changed</small>" if other else ""
        table = pairs({key: values[key] for key in (*other, *same)}, other)
        fold = "<details open>" if len(steps) == 1 else "<details>"
        parts.append(f"{fold}<summary>{escape(str(name))}{note}</summary>{table}</details>")
    return "".join(parts) or "<p>None are known.</p>"


def pairs(values, marked=()):
    """Make a table of names and values.

    Parameters
    ----------
    values : dict
        Name to value.
    marked : collection of str
        Names that differ from their defaults.

    Returns
    -------
    str
        HTML.
    """
    if not values:
        return "<p>None are known.</p>"
    rows = []
    for name, value in values.items():
        mark = " <small>changed</small>" if name in marked else ""
        kind = ' class="changed"' if name in marked else ""
        text = escape(str(value)) if value != "" else "<i>empty</i>"
        rows.append(f'<tr{kind}><th scope="row">{escape(str(name))}{mark}</th><td>{text}</td></tr>')
    return f'<table class="pairs"><tbody>{"".join(rows)}</tbody></table>'


def _count(n, word):
    return f"{n:,} {word}{'s' * (n != 1)}"


def _date(iso):
    """Write an ISO 8601 time in UTC for readers."""
    return f"{iso[:10]} {iso[11:16]} UTC"
