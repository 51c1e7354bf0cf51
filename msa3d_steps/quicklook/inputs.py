"""What the quicklook is given: cubes and exposures, as files or models."""

from contextlib import contextmanager
from pathlib import Path

from astropy.utils.exceptions import AstropyWarning
from stdatamodels.jwst.datamodels import IFUCubeModel, JwstDataModel

from msa3d_steps.association.headers import read_primary
from msa3d_steps.cube.inputs import find_members
from msa3d_steps.datamodels import MSACubeModel, MSALineMapsModel
from msa3d_steps.errors import InputError
from msa3d_steps.pipelines.cubes import Cubes
from msa3d_steps.whole import refuse_truncated

__all__ = ["SavedMaps", "is_cube", "items_of", "name_of", "opened"]


class SavedMaps:
    """Line maps in files, opened when they are looked at.

    Parameters
    ----------
    paths : list of pathlib.Path
        The files.
    """

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return MSALineMapsModel(self.paths[index])

    def __iter__(self):
        return (MSALineMapsModel(path) for path in self.paths)


def items_of(inputs):
    """List cubes and exposures.

    Parameters
    ----------
    inputs : str, pathlib.Path, dict, Sequence, Cubes, ModelContainer or JwstDataModel
        Paths, folders of cubes, an association, models, or the cubes of a run.

    Returns
    -------
    list of pathlib.Path or JwstDataModel
        Each of them.

    Raises
    ------
    InputError
        Where there is nothing.
    """
    if isinstance(inputs, Cubes):
        return list(inputs.paths.values())
    if isinstance(inputs, (str, Path)) and Path(inputs).expanduser().is_dir():
        found = sorted(Path(inputs).expanduser().glob("*_s3d.fits"))
        if not found:
            raise InputError(
                "has no cubes (*_s3d.fits); name another folder, or exposures to see the detector",
                str(inputs),
            )
        return found
    items = find_members(inputs).items
    return [path for item in items for path in (items_of(item) if _is_folder(item) else [item])]


def _is_folder(item):
    return isinstance(item, Path) and item.is_dir()


def name_of(item):
    """Name a cube or exposure in messages.

    Parameters
    ----------
    item : pathlib.Path or JwstDataModel
        The cube or exposure.

    Returns
    -------
    str
        Its file name.
    """
    return item.name if isinstance(item, Path) else getattr(item.meta, "filename", None) or "model"


def is_cube(item):
    """Tell cubes from exposures.

    Parameters
    ----------
    item : pathlib.Path or JwstDataModel
        The cube or exposure.

    Returns
    -------
    bool
        Whether it is a cube.

    Raises
    ------
    InputError
        Where it is neither.
    """
    if isinstance(item, JwstDataModel):
        return isinstance(item, IFUCubeModel)
    kind = str(read_primary(item).get("DATAMODL", ""))
    if kind in ("IFUCubeModel", "MSACubeModel"):
        return True
    if kind in ("MultiSlitModel", "SlitModel", "ImageModel"):
        return False
    raise InputError(f"holds {kind or 'no data model'}, neither a cube nor an exposure", item.name)


@contextmanager
def opened(item):
    """Open a cube; what was open already stays so.

    Parameters
    ----------
    item : pathlib.Path or JwstDataModel
        The cube.

    Yields
    ------
    `~stdatamodels.jwst.datamodels.IFUCubeModel`
        The cube.

    Raises
    ------
    InputError
        Where it cannot be read.
    """
    if isinstance(item, JwstDataModel):
        yield item
        return
    try:
        with refuse_truncated():
            cube = MSACubeModel(item)
    except AstropyWarning as err:
        reason = str(err).rpartition("truncated: ")[2]
        raise InputError(f"is cut off ({reason}); copy or build it again", item.name) from err
    except (ValueError, TypeError, KeyError) as err:
        raise InputError(
            f"cannot be read ({err}): it is damaged, or of another version of this package; build "
            "it again", item.name
        ) from err  # fmt: skip
    with cube:
        yield cube
