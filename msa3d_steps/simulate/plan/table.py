"""The plan of a pattern as a table for proposers, with what is wrong with it in words."""

from msa3d_steps.simulate.optics.dispersers import CONFIGURATIONS
from msa3d_steps.words import counted

__all__ = ["tabulate", "warnings_of"]

UNEVEN_SHARE = 0.02
"""Share of the core with another time than the median from which on coverage is called unequal."""

SHADOWED = 0.05
"""Difference in what the bars' shadows take of the light from which on they are spoken of."""

HIDDEN = 0.002, 0.02
"""Share of the field that bars hide from which on it is told, and advice is given."""


def tabulate(plan):
    """Put a plan into words and numbers.

    Parameters
    ----------
    plan : Plan
        The plan.

    Returns
    -------
    str
        Lines of text, without one at the end.
    """
    groups = [_pattern_rows(plan), _coverage_rows(plan), _depth_rows(plan)]
    lines = ["\n".join(f"{name:<16}{text}" for name, text in group) for group in groups]
    warnings = warnings_of(plan)
    if warnings:
        lines.append("\n".join(f"! {text}" for text in warnings))
    else:
        lines.append("No gaps, and even coverage.")
    return "\n\n".join(lines)


def _pattern_rows(plan):
    """Tell what was asked for."""
    survey, slitlets, shutter = plan.survey, plan.slitlets, plan.slitlets.shutter
    low, high = CONFIGURATIONS[survey.grating, survey.filter].wave_range
    pattern = f"{counted(survey.steps, 'step')} of {survey.step:g} arcsec across the slit x "
    pattern += f"{counted(survey.dithers, 'dither')} of {survey.dither:g} arcsec along it"
    if survey.jitter:
        pattern += f", pointing errors of {survey.jitter:g} arcsec rms"
    time = f"{counted(survey.n_exposures, 'exposure')} of {survey.exposure_time:g} s: "
    time += f"{plan.total_time:.0f} s = {plan.total_time / 3600:.2f} h, without overheads"
    slitlet = f"{counted(survey.shutters, 'shutter')}, {shutter.width:.4f} x {slitlets.height:.3f} "
    slitlet += "arcsec"
    if survey.shutters > 1:
        slitlet += f"; bars of {shutter.bar:.3f} arcsec every {shutter.pitch:.3f} arcsec"
    return [
        ("pattern", pattern),
        ("exposures", time),
        ("slitlet", slitlet),
        ("disperser", f"{survey.grating}/{survey.filter}, {low:g} to {high:g} um (documented)"),
    ]


def _coverage_rows(plan):
    """Tell what is seen how long."""
    x0, x1, y0, y1 = plan.field
    core = plan.core[1] - plan.core[0], plan.core[3] - plan.core[2]
    field = f"{x1 - x0:.3f} x {y1 - y0:.3f} arcsec across x along, the slits at position angle "
    field += f"{plan.survey.position_angle:g} deg"
    neighbours = _neighbours(plan)
    return [
        ("field", field),
        *([("neighbours", neighbours)] if neighbours else []),
        ("not seen", f"{plan.gaps.total:.1%} of the field"),
        ("", f"{'least':>10}{'median':>10}{'most':>10}    in the core of "
             f"{core[0]:.3f} x {core[1]:.3f} arcsec"),
        ("time", _range(plan.time, "s    effective, at a point that is seen")),
        ("shadowed", _range(plan.shadowed_time, "s    the same, with blurred shadows of bars")),
        ("per spaxel", _range(plan.spaxel_time, "s    effective, mean of a spaxel of 0.1 arcsec")),
        ("", _range(plan.spaxel_exposures, "     exposures that see a part of it")),
        ("", _range(plan.spaxel_dithers, "     distinct dithers among them")),
    ]  # fmt: skip


def _depth_rows(plan):
    """Tell how faint a line may be."""
    depth = plan.depth
    return [
        ("line at 5 sigma", f"{depth.brightness:.3g} x 1e-20 W/m2/arcsec2 (= 1e-17 "
         f"erg/s/cm2/arcsec2) at {depth.lam:.2f} um"),
        ("", "unresolved, in a spaxel of median time; modelled throughput and noise, sky of "
         f"{plan.survey.zodiacal:g} MJy/sr at 1.3 um"),
    ]  # fmt: skip


def _range(values, text):
    return f"{values.least:10.0f}{values.median:10.0f}{values.most:10.0f} {text}"


def _neighbours(plan):
    """Tell how neighbouring slits lie to each other; nothing for a single one."""
    survey, width = plan.survey, plan.slitlets.shutter.width
    if survey.steps == 1:
        return ""
    overlap = width - survey.step
    if abs(overlap) < 5e-5:
        return "slits touch: the step is the slit's width"
    if overlap > 0:
        return f"slits overlap by {1e3 * overlap:.1f} mas, {overlap / width:.0%} of their width"
    return f"slits leave {-1e3 * overlap:.1f} mas between them"


def warnings_of(plan):
    """Word what is wrong with a pattern.

    Parameters
    ----------
    plan : Plan
        The plan.

    Returns
    -------
    list of str
        Sentences; none if all is well.
    """
    return [text for text in (*_gap_warnings(plan), *_evenness_warnings(plan)) if text]


def _gap_warnings(plan):
    """Word what is not seen."""
    survey, gaps, width = plan.survey, plan.gaps, plan.slitlets.shutter.width
    if gaps.sliver:
        cause = f"The steps of {survey.step:g} arcsec"
        if survey.jitter:
            cause += f" with pointing errors of {survey.jitter:g} arcsec rms"
        widest = gaps.widest_sliver
        also = f" (up to {widest:.3f})" if widest > 1.05 * gaps.sliver else ""
        yield (
            f"{cause} leave {gaps.sliver:.3f}{also} arcsec between slits of {width:.3f} arcsec: "
            f"{gaps.between_slits:.1%} of the field is not seen."
        )
    if gaps.between_dithers:
        yield (
            f"The dithers of {survey.dither:g} arcsec are longer than the slitlet of "
            f"{plan.slitlets.height:.3f} arcsec: {gaps.between_dithers:.1%} of the field is not "
            "seen."
        )
    if gaps.bars > HIDDEN[0]:
        bar, pitch = plan.slitlets.shutter.bar, plan.slitlets.shutter.pitch
        yield (
            f"The bars between shutters hide {gaps.bars:.1%} of the field, up to {bar:.3f} arcsec "
            f"every {pitch:.3f} arcsec"
            + (
                f": dither along the slit by more than {bar:.3f} arcsec and less than "
                f"{pitch - bar:.3f} arcsec."
                if gaps.bars > HIDDEN[1]
                else "."
            )
        )
    if gaps.rim > 0.005:
        yield (
            f"Pointing errors leave a ragged rim: {gaps.rim:.1%} of the field is outside all slits."
        )


def _evenness_warnings(plan):
    """Word what is seen unequally, or too rarely."""
    uneven, shadowed = plan.uneven, plan.shadowed_time
    if plan.uneven_share > UNEVEN_SHARE:
        yield (
            f"Unequal coverage: {plan.uneven_share:.0%} of the core has more or less than the "
            f"median of {uneven.median:.0f} s, bars aside: from {uneven.least:.0f} to "
            f"{uneven.most:.0f} s."
        )
    shadow = plan.shadow
    if plan.survey.shutters > 1 and shadow.most - shadow.least > SHADOWED:
        yield (
            f"The shadows of the bars are not dithered out: they take {shadow.least:.0%} to "
            f"{shadow.most:.0%} of the light; weighted by it, exposure times are "
            f"{shadowed.least:.0f} to {shadowed.most:.0f} s."
        )
    if plan.spaxel_exposures.median < 2:
        yield (
            "Half of the spaxels or more are seen by one exposure at most: what a cosmic ray or a "
            "bad pixel takes there is lost."
        )
