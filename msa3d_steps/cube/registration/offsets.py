"""Moving exposures on the sky, and files of such moves in jwst's format.

An offset is added to the sky positions that the WCS of an exposure gives: towards east
(``raoffset``, arcsec on the sky, not in right ascension) and towards north (``decoffset``), as in
jwst's ``cube_build`` (`~astropy.coordinates.SkyCoord.spherical_offsets_by`).
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import asdf
import numpy as np

from msa3d_steps.cube.footprint import axes_of_slit
from msa3d_steps.cube.tangent import from_plane
from msa3d_steps.errors import InputError
from msa3d_steps.whole import replace_whole

__all__ = ["Move", "moved", "moved_source", "read_offsets", "write_offsets"]

LISTS = "filename", "raoffset", "decoffset"
FORM = (
    "an offset file is ASDF with units: arcsec and the lists filename, raoffset and decoffset, all "
    "of one length"
)


@dataclass(frozen=True)
class Move:
    """By how much the sky positions of a cutout were changed.

    Parameters
    ----------
    east, north : float
        Change, arcsec.
    across_err, along_err : float
        Standard deviation across and along the slit, arcsec; NaN where nothing was measured.
    kind : str
        Where it is from: ``file``, ``self``, ``image`` or several with a plus; empty for nowhere.
    """

    east: float = 0.0
    north: float = 0.0
    across_err: float = float("nan")
    along_err: float = float("nan")
    kind: str = ""

    def along_axes(self, footprint):
        """Give the move across and along a slit, arcsec."""
        _, matrix = footprint.to_plane(*footprint.center)
        return axes_of_slit(matrix) @ [self.east, self.north]

    def after(self, before):
        """Join with an earlier move."""
        kinds = [kind for kind in (before.kind, self.kind) if kind]
        return replace(
            self, east=before.east + self.east, north=before.north + self.north,
            kind="+".join(kinds),
        )  # fmt: skip


def moved(cutout, east, north):
    """Move a cutout on the sky.

    Parameters
    ----------
    cutout : ~msa3d_steps.cube.sources.Cutout
        The cutout; not changed.
    east, north : float
        By how much, arcsec.

    Returns
    -------
    ~msa3d_steps.cube.sources.Cutout
        The same with other sky positions and pointing.
    """
    footprint, pointing = cutout.footprint, cutout.pointing
    x_slit, y_slit, ra, dec = footprint.sky
    sky = np.stack([x_slit, y_slit, *from_plane(east, north, ra, dec)])
    if pointing is not None:
        pointing = tuple(float(a) for a in from_plane(east, north, *pointing))
    return replace(cutout, footprint=replace(footprint, sky=sky), pointing=pointing)


def moved_source(source, moves):
    """Move the cutouts of a source.

    Parameters
    ----------
    source : ~msa3d_steps.cube.sources.Source
        The source; not changed.
    moves : list of Move
        One for each cutout, on top of those that were made before.

    Returns
    -------
    ~msa3d_steps.cube.sources.Source
        With moved cutouts, and the moves that were made.
    """
    cutouts = [
        moved(cutout, move.east, move.north) if move.east or move.north else cutout
        for cutout, move in zip(source.cutouts, moves, strict=True)
    ]
    before = source.moves or [Move()] * len(moves)
    total = [move.after(old) for move, old in zip(moves, before, strict=True)]
    return replace(source, cutouts=cutouts, moves=total)


def read_offsets(path):
    """Read an offset file.

    Parameters
    ----------
    path : str or pathlib.Path
        File in the format of jwst's ``cube_build``.

    Returns
    -------
    Offsets
        What it says.

    Raises
    ------
    InputError
        Where it cannot be read or is no such file.
    """
    path = Path(path).expanduser()
    try:
        with asdf.open(path, memmap=False, lazy_load=False) as file:
            tree = {key: file.tree.get(key) for key in ("units", *LISTS)}
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or str(err).splitlines()[0]
        raise InputError(f"cannot be read ({reason}); {FORM}", str(path)) from err
    missing = [key for key, value in tree.items() if value is None]
    if missing:
        raise InputError(f"has no {' and no '.join(missing)}; {FORM}", str(path))
    if tree["units"] != "arcsec":
        raise InputError(f"has the units {tree['units']}; they must be arcsec", str(path))
    names, *columns = (list(tree[key]) for key in LISTS)
    try:
        columns = np.array(columns, float)
    except (TypeError, ValueError) as err:
        raise InputError(f"has offsets that are no numbers or lists of two lengths; {FORM}",
                         str(path)) from err  # fmt: skip
    if columns.shape != (2, len(names)):
        raise InputError(f"has lists of different lengths; {FORM}", str(path))
    if not np.isfinite(columns).all():
        raise InputError("has offsets that are not finite; give 0 for no offset", str(path))
    offsets = zip(names, columns.T.tolist(), strict=True)
    return Offsets(str(path), {Path(str(name)).name: tuple(o) for name, o in offsets})


@dataclass(frozen=True)
class Offsets:
    """Offsets by the names of exposures, without folders.

    Parameters
    ----------
    file : str
        Where they are from.
    values : dict
        East and north offsets, arcsec, by file name.
    """

    file: str
    values: dict

    def applied(self, source):
        """Move the cutouts of a source.

        Raises
        ------
        InputError
            Where an exposure is not in the file.
        """
        stems = {_stem(name): offset for name, offset in self.values.items()}
        found, missing = [], []
        for cutout in source.cutouts:
            name = Path(cutout.file).name
            offset = self.values.get(name, stems.get(_stem(name)))
            if offset is None:
                missing.append(name)
            else:
                found.append(Move(*map(float, offset), kind="file"))
        if missing:
            names = sorted(set(missing))
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(
                f"the offset file does not have the exposure {names[0]}{more}; "
                "add it, with offsets of 0 if it needs none", self.file,
            )  # fmt: skip
        return moved_source(source, found)


def _stem(name):
    """Name of an exposure without the stage of its calibration: up to the detector."""
    found = re.match(r".*_nrs[12]", name)
    return found.group() if found else name


def write_offsets(path, sources):
    """Write the moves of the cutouts of sources as an offset file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    sources : list of ~msa3d_steps.cube.sources.Source
        The sources; cutouts of one file have one move.
    """
    found = {}
    for source in sources:
        for cutout, move in zip(source.cutouts, source.moves, strict=True):
            found.setdefault(Path(cutout.file).name, (float(move.east), float(move.north)))
    names = sorted(found)
    tree = {
        "units": "arcsec", "filename": names,
        "raoffset": [found[n][0] for n in names], "decoffset": [found[n][1] for n in names],
    }  # fmt: skip
    with replace_whole(path) as temporary:
        asdf.AsdfFile(tree).write_to(temporary)
