"""Names of what is made of a source."""

import re

from jwst.associations.lib.rules_level3_base import format_product

from msa3d_steps.cube.sources import optics_of

__all__ = ["product_stem"]

FILTER, GRATING = r"(?:f\d+[a-z]+|clear|opaque)", r"(?:g\d+[hm]|prism|mirror)"
OPTICS = re.compile(
    rf"(?<![a-z0-9])(?:{FILTER}-{GRATING}|{GRATING}-{FILTER})(?![a-z0-9])", re.IGNORECASE
)
"""Filter and grating in a product name, as in ``jw02136-o001_s000008512_nirspec_f100lp-g140h``."""


def product_stem(source, asked=None, product=None):
    """Name what is made of a source as Spec3 names its products, without suffix.

    The name tells the filter and grating of the source's own cutouts: where the given name tells
    others they are replaced, and where it tells none and there are cutouts through several
    dispersers they are added.

    Parameters
    ----------
    source : ~msa3d_steps.cube.sources.Source
        The source.
    asked : str, optional
        Beginning of the name that the user asks for.
    product : str, optional
        Beginning of the name that an association gives.

    Returns
    -------
    str
        Product and label of the source.
    """
    stem = asked or product or _default_product(source)
    stem = stem if source.label in stem else format_product(stem, source_id=source.label)
    return _with_optics(stem, source)


def _with_optics(stem, source):
    """Make a name tell the disperser of a source."""
    if "None" in source.disperser or not source.disperser:
        return stem
    optics = optics_of(source.disperser)
    if OPTICS.search(stem):
        return OPTICS.sub(optics, stem)
    return f"{stem}_{optics}" if source.told_apart else stem


def _default_product(source):
    """Name a product as jwst does where no association gives a name."""
    header = source.headers[0]

    def get(name, default):
        return header.get(f"meta.{name}", default)

    program, observation = (
        get("observation.program_number", "00000"),
        get("observation.observation_number", "000"),
    )
    optics = f"{get('instrument.filter', 'filter')}-{get('instrument.grating', 'grating')}"
    return f"jw{program}-o{observation}_{source.label}_nirspec_{optics.lower()}"
