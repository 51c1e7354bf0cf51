"""The slits of models, and what they say of their source and exposure."""

from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import MultiExposureModel, MultiSlitModel

from msa3d_steps.cube.sources import Source, disperser_of, source_label
from msa3d_steps.errors import InputError
from msa3d_steps.whole import refuse_truncated

__all__ = ["NotSlitsError", "flat_metadata", "open_model", "slits_of", "source_of_slit"]

SLIT_MODELS = ("SlitModel", "SlitDataModel", "ImageModel")


class NotSlitsError(InputError):
    """A model without slits."""


def open_model(path):
    """Open a file with stdatamodels.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    ~stdatamodels.jwst.datamodels.JwstDataModel
        The model; to be closed.

    Raises
    ------
    InputError
        Where it is missing, cut short or no such file.
    """
    try:
        with refuse_truncated():
            return datamodels.open(path)
    except FileNotFoundError:
        raise InputError("there is no such file; check the path", str(path)) from None
    except Exception as err:  # many kinds, of astropy, asdf and stdatamodels
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise InputError(
            f"cannot be read ({reason}); download or make it again", str(path)
        ) from err


def slits_of(model, name):
    """Go through the slits of a model.

    Parameters
    ----------
    model : ~stdatamodels.jwst.datamodels.JwstDataModel
        The model.
    name : str
        Its name, for messages.

    Returns
    -------
    iterator of tuple
        Each slit with the metadata of its exposure, as a node and flat.

    Raises
    ------
    NotSlitsError
        Where the model holds no slits.
    """
    kinds = MultiSlitModel, MultiExposureModel
    if not isinstance(model, kinds) and type(model).__name__ not in SLIT_MODELS:
        raise NotSlitsError(
            f"has no slits (it opens as {type(model).__name__}); give cal or s2d files of MSA "
            "spectra (calwebb_spec2)",
            name,
        )
    return _slits(model)


def _slits(model):
    if isinstance(model, MultiSlitModel):
        meta, header = model.meta, flat_metadata(model.meta)
        for slit in model.slits:
            yield slit, meta, header
    elif isinstance(model, MultiExposureModel):
        for slit in model.exposures:
            yield slit, slit.meta, flat_metadata(slit.meta)
    else:
        yield model, model.meta, flat_metadata(model.meta)


def source_of_slit(slit, meta):
    """Make a source without cutouts from what a slit says of it.

    Parameters
    ----------
    slit : node
        The slit.
    meta : node
        Metadata of its exposure.

    Returns
    -------
    ~msa3d_steps.cube.sources.Source
        The source.
    """
    name = str(getattr(slit, "source_name", None) or "").strip()
    number = int(getattr(slit, "source_id", None) or 0)
    ra, dec = getattr(slit, "source_ra", None), getattr(slit, "source_dec", None)
    return Source(
        source_label(number, name), number, name or str(number), ra, dec,
        disperser=disperser_of(meta),
    )  # fmt: skip


def flat_metadata(meta):
    """Flatten the metadata of an exposure.

    Parameters
    ----------
    meta : node
        Metadata of a model.

    Returns
    -------
    dict
        Its scalars by their dotted names, ``meta.instrument.name`` and so on.
    """

    def walk(tree, prefix):
        for key, value in tree.items():
            path = f"{prefix}.{key}"
            if isinstance(value, dict):
                yield from walk(value, path)
            elif isinstance(value, (str, int, float, bool)):
                yield path, value

    return dict(walk(meta.instance, "meta"))
