"""What was found, as a table for a terminal."""

from collections import Counter

import numpy as np

from msa3d_steps.association.exposures import DETECTORS
from msa3d_steps.association.words import ranges, some_of
from msa3d_steps.words import counted

__all__ = ["missing", "table"]

BOTH, ONE, NONE = "●", dict(zip(DETECTORS, "◐◑", strict=True)), "·"
"""Marks of an exposure: both detectors, one of them (its half of the circle), none."""

FEW_MARKS = 3
"""Exposures of one step and dither that are marked one by one; more are counted."""

CELL, MARGIN = 7, 20
"""Characters of a step, and of what stands left of the steps."""

GAP = 1.5
"""Steps farther apart than this, in their usual distance, leave room for another."""


def table(survey, width=100):
    """Put a survey into words and a table.

    Parameters
    ----------
    survey : Survey
        The survey.
    width : int
        Characters of a line of the table; a wide pattern is folded.

    Returns
    -------
    str
        Lines of text, without one at the end.
    """
    parts = ["\n".join(f"{name:<11}{text}" for name, text in _summary(survey))]
    of_grating = survey.by_grating()
    for own in of_grating:
        for group in range(own.pattern.turned.max() + 1):
            title = f"{own.grating}, " if len(of_grating) > 1 else ""
            parts += _group(own, own.pattern.turned == group, width, title)
    parts.append(_legend(survey))
    absent = missing(survey)
    remarks = [f"! {text}" for text in [*map(str, survey.problems), *absent]]
    remarks += [f"- {text}" for text in survey.notes]
    if not absent:
        remarks.append("Complete: both detectors at every dither of every step.")
    parts.append("\n".join(remarks))
    return "\n\n".join(parts)


def _summary(survey):
    """Tell what the survey is, line by line."""
    exposures = survey.exposures
    observations = ", ".join(survey.observations)
    what = "observation" if len(survey.observations) == 1 else "observations"
    yield "programme", f"{survey.program}, {what} {observations}"
    ids = ", ".join(map(str, survey.msa_ids))
    yield "instrument", f"NIRSpec MSA, {survey.grating}, MSA configuration {ids}"
    times = sorted({round(e.first.time) for e in exposures})
    each = f"{times[0]}" if len(times) == 1 else f"{times[0]} to {times[-1]}"
    files = counted(len(survey.members), f"{survey.kind} file")
    yield (
        "exposures",
        f"{len(exposures)} of {each} s, {survey.time / 3600:.1f} h in all; {files}",
    )
    if survey.metafiles:
        yield "metafile", ", ".join(str(m) for m in survey.metafiles)
    if survey.sources:
        numbers = [str(s.source_id) for s in survey.sources]
        yield "sources", f"{len(numbers)}: {some_of(numbers)}"
    of_grating = survey.by_grating()
    for number, own in enumerate(of_grating):
        title = f"{own.grating}: " if len(of_grating) > 1 else ""
        yield "" if number else "pattern", title + _pattern(own.pattern)


def _pattern(pattern):
    """Word the pattern."""
    text = counted(pattern.n_steps, "step")
    if pattern.step_size:
        text += f' of {pattern.step_size:.3f}"'
    text += f" across the slits x {counted(pattern.n_dithers, 'dither')}"
    if pattern.dither_size:
        text += f' of {pattern.dither_size:.3f}"'
    return text + " along them"


def _group(survey, members, width, title=""):
    """Draw the exposures whose slits have one direction, in as many blocks as the width asks."""
    pattern = survey.pattern
    angle = survey.exposures[int(np.argmax(members))].first.pointing.position_angle
    steps = np.unique(pattern.step[members])
    dithers = np.unique(pattern.dither[members])
    cells = _cells(survey)
    across = {s: pattern.across[members & (pattern.step == s)].mean() for s in steps}
    along = {d: pattern.along[members & (pattern.dither == d)].mean() for d in dithers}
    per_block = max(1, (width - MARGIN) // CELL)
    for first in range(0, len(steps), per_block):
        columns = steps[first : first + per_block]
        lines = [
            f"{'step':>{MARGIN}}" + "".join(f"{s + 1:>{CELL}}" for s in columns),
            f"{'dither':>9}{'offset':>{MARGIN - 9}}"
            + "".join(f"{_signed(across[s], 2):>{CELL}}" for s in columns),
        ]
        for dither in dithers[::-1]:  # up is up along the slit
            left = f"{dither + 1:>9}{_signed(along[dither], 3):>{MARGIN - 9}}"
            marks = "".join(f"{cells.get((s, dither), NONE):>{CELL}}" for s in columns)
            lines.append(left + marks)
        if first == 0:
            lines.insert(0, f"  {title}slits at position angle {angle:.1f} deg, offsets in arcsec")
        yield "\n".join(lines)


def _signed(value, digits):
    """Write an offset with its sign, and zero without one."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def _cells(survey):
    """Give the mark of each step and dither that has exposures."""
    marks = {}
    pattern = survey.pattern
    for exposure, step, dither in zip(survey.exposures, pattern.step, pattern.dither, strict=True):
        mark = BOTH if not exposure.missing else ONE[next(iter(exposure.frames))]
        marks[step, dither] = marks.get((step, dither), "") + mark
    return {
        place: text if len(text) <= FEW_MARKS else _shorten(text) for place, text in marks.items()
    }


def _shorten(marks):
    """Count marks: ``●x4◐``."""
    return "".join(f"{m}x{n}" if n > 1 else m for m, n in Counter(marks).items())


def _legend(survey):
    """Explain the marks that are there."""
    used = {tuple(e.frames) for e in survey.exposures}
    words = [f"{BOTH} NRS1 and NRS2"] if DETECTORS in used else []
    words += [f"{ONE[d]} {d} only" for d in DETECTORS if (d,) in used]
    if any(_holes(own) for own in survey.by_grating()):
        words.append(f"{NONE} missing")
    return "  " + "   ".join(words)


def _holes(survey):
    """List steps and dithers without exposure; each group of slit directions has its own."""
    pattern = survey.pattern
    taken = set(zip(pattern.step.tolist(), pattern.dither.tolist(), strict=True))
    holes = []
    for group in range(pattern.turned.max() + 1):
        members = pattern.turned == group
        holes += [
            (step, dither)
            for step in np.unique(pattern.step[members]).tolist()
            for dither in np.unique(pattern.dither[members]).tolist()
            if (step, dither) not in taken
        ]
    return holes


def missing(survey):
    """Tell what is missing, line by line.

    Parameters
    ----------
    survey : Survey
        The survey.

    Returns
    -------
    list of str
        Steps and dithers without exposure, exposures without one detector, and steps between which
        there is room, for each grating; empty where the pattern is complete.
    """
    lines = _of_each(survey, _missing_places)
    absent = _absent_numbers(survey)
    if absent:
        lines.append(f"not here, by their numbers: {some_of(absent)}")
    return lines + _of_each(survey, _missing_detectors)


def _of_each(survey, tell):
    """Tell something of each grating; it is named where there are several."""
    parts = survey.by_grating()
    return [
        f"{own.grating}: {line}" if len(parts) > 1 else line for own in parts for line in tell(own)
    ]


def _missing_places(survey):
    """Tell of steps and dithers without exposure."""
    lines = []
    holes = _holes(survey)
    for step in sorted({s for s, _ in holes}):
        dithers = [d + 1 for s, d in holes if s == step]
        noun = "dither" if len(dithers) == 1 else "dithers"
        lines.append(f"no exposure at step {step + 1}, {noun} {ranges(dithers)}")
    return lines + _gaps(survey)


def _missing_detectors(survey):
    """Tell of exposures without one detector."""
    lines = []
    detectors = Counter(d for e in survey.exposures for d in e.missing)
    for detector, number in detectors.items():
        if number == len(survey.exposures):
            lines.append(f"no file of {detector} at all: the cubes will lack what it saw")
            continue
        names = [e.name for e in survey.exposures if detector in e.missing]
        lines.append(f"no {detector} file of {some_of(names)}")
    return lines


def _gaps(survey):
    """Tell of steps that stand farther apart than others."""
    pattern = survey.pattern
    lines = []
    for group in range(pattern.turned.max() + 1):
        members = pattern.turned == group
        steps = np.unique(pattern.step[members])
        means = [pattern.across[members & (pattern.step == s)].mean() for s in steps]
        distances = np.diff(means)
        if len(distances) < 3:  # two distances do not tell which one is usual
            continue
        usual = np.median(distances)
        lines += [
            f"between steps {steps[i] + 1} and {steps[i + 1] + 1} there is room for "
            f"{counted(round(distances[i] / usual) - 1, 'more step')} "
            f'({distances[i]:.2f}" apart, others {usual:.2f}")'
            for i in np.flatnonzero(distances > GAP * usual)
        ]
    return lines


def _absent_numbers(survey):
    """Name exposures whose numbers are left out in their activity."""
    activities = {}
    for exposure in survey.exposures:
        name, number = exposure.name.rsplit("_", 1)
        if number.isdecimal():
            activities.setdefault(name, set()).add(int(number))
    return [
        f"{name}_{number:05d}"
        for name, numbers in activities.items()
        for number in range(min(numbers), max(numbers))
        if number not in numbers
    ]
