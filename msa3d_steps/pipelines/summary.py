"""The table at the end of a run: what was made of each source."""

import re
from collections import defaultdict

from astropy.table import Table

from msa3d_steps.cube.sources import titles_of
from msa3d_steps.pipelines.attempt import own_warnings
from msa3d_steps.pipelines.parts import source_of

__all__ = ["problem_lines", "summary_table", "summary_text", "warning_lines"]

MOST_FILES = 3
"""Number of files that a line names."""


def summary_table(exposures, sources):
    """Make the table.

    Parameters
    ----------
    exposures : sequence of ExposureReport
        What came of the files.
    sources : sequence of SourceReport
        What came of the sources.

    Returns
    -------
    `~astropy.table.Table`
        One row for each source and disperser. ``exposures_used`` and ``exposures_rejected`` count
        files: both detectors of an exposure count.
    """
    reports = {report.name: report for report in sources}
    used, rejected, names = defaultdict(int), defaultdict(int), {}
    for report in exposures:
        for found in report.sources:
            if not report.selection.asks_for(found.source):
                continue
            key = found.source.key
            used[key] += found.used
            rejected[key] += found.rejected
            names[key] = found.name
    titles = titles_of(names)
    rows = []
    for key in sorted(names):
        report = reports.get(titles[key])
        rows.append(
            (
                titles[key], names[key], (report.cube if report else None) or "none",
                report.cutouts if report else 0,
                rejected[key] + used[key] - (report.cutouts if report else 0),
                report.pixels if report else 0, report.pixels_rejected if report else 0,
                report.outliers if report else 0,
                len(report.warnings) if report else 0,
                len(report.problems) + rejected[key] if report else rejected[key],
            )
        )  # fmt: skip
    columns = {
        "source": str, "name": str, "cube": str, "exposures_used": int, "exposures_rejected": int,
        "pixels_used": int, "pixels_rejected": int, "outliers": int, "warnings": int, "errors": int,
    }  # fmt: skip
    return Table(rows=rows or None, names=list(columns), dtype=list(columns.values()))


def summary_text(table, reports, problems):
    """Write the table for the terminal.

    Parameters
    ----------
    table : `~astropy.table.Table`
        What `summary_table` gives.
    reports : sequence of ExposureReport, SourceReport or PictureReport
        What came of the parts.
    problems : sequence of Problem
        Everything that went wrong.

    Returns
    -------
    str
        Some lines.
    """
    heads = ("source", "name", "cube", "exposures", "rejected", "pixels", "rejected", "outliers",
             "warnings", "errors")  # fmt: skip
    rows = [
        (
            *row[:4],
            row[4],
            f"{row[5]:,}",
            f"{100 * row[6] / max(1, row[5] + row[6]):.1f}%",
            f"{100 * row[7] / max(1, row[5] + row[6]):.2f}%",
            *row[8:],
        )
        for row in table.as_array().tolist()
    ]
    cells = [tuple(map(str, row)) for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]  # fmt: skip
    lines.insert(1, "-" * max(map(len, lines)))
    warnings = warning_lines(reports)
    if warnings:
        lines += ["", "What was warned of:", *warnings]
    if problems:
        lines += ["", "What is missing and why:", *problem_lines(problems)]
    return "\n".join(lines)


def warning_lines(reports):
    """Repeat the warnings of this package, once for all files and sources that gave them.

    Parameters
    ----------
    reports : sequence of ExposureReport, SourceReport or PictureReport
        What came of the parts.

    Returns
    -------
    list of str
        A line for each, and one for all those of other packages.
    """
    ours, others = defaultdict(list), set()
    for report in reports:
        texts = own_warnings(report)
        for text in texts:
            ours[_once(text)].append(source_of(report.name))
        if len(texts) < len(report.warnings):
            others.add(report.name)
    lines = [f"  {text} [{_listed(names)}]" for text, names in ours.items()]
    if others:
        lines.append(f"  jwst and other packages warned, too: see the logs [{_listed(others)}]")
    return lines


def _once(text):
    """Leave out how often a warning was given."""
    return re.sub(r" \(\d+ times\)$", "", text)


def _listed(names):
    """Name the first few."""
    names = sorted(set(names))
    more = len(names) - MOST_FILES
    return ", ".join(names[:MOST_FILES]) + (f" and {more} more" if more > 0 else "")


def problem_lines(problems):
    """Say what went wrong, once for all files that it went wrong in.

    Parameters
    ----------
    problems : sequence of Problem
        Everything that went wrong.

    Returns
    -------
    list of str
        A line for each.
    """
    where = defaultdict(list)
    for problem in problems:
        where[problem.message, problem.slit].append(problem.file)
    lines = []
    for number, ((message, slit), files) in enumerate(where.items(), 1):
        files = sorted({file for file in files if file})
        place = ", ".join(files[:MOST_FILES])
        if len(files) > MOST_FILES:
            place += f" and {len(files) - MOST_FILES} more files"
        place += f"{', ' if place else ''}slit {slit}" if slit else ""
        lines.append(f"  ({number}) {place}{': ' if place else ''}{message}")
    return lines
