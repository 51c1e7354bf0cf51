"""Names of what is made of a source."""

from jwst.associations.lib.rules_level3_base import format_product

__all__ = ["product_stem"]


def product_stem(source, asked=None, product=None):
    """Name what is made of a source as Spec3 names its products, without suffix.

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
    return stem if source.label in stem else format_product(stem, source_id=source.label)


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
