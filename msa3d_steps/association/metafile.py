"""The MSA metafile of a survey: where it is, which sources it has, and whether it fits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from msa3d_steps.association.exposures import SourceName
from msa3d_steps.association.words import folders_of, ranges
from msa3d_steps.cube.sources import source_label
from msa3d_steps.errors import InputError, Problem
from msa3d_steps.whole import refuse_truncated

__all__ = ["Metafile", "find_metafiles", "read_metafile"]


@dataclass(frozen=True)
class Metafile:
    """What a metafile says.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    dither_points : dict of int to frozenset of int
        Dither points of each MSA configuration.
    shutter_sources : dict of int to frozenset of int
        Positive source numbers of the open shutters of each MSA configuration.
    catalogue : frozenset of SourceName
        All sources, those of virtual ones aside.
    """

    path: Path
    dither_points: dict
    shutter_sources: dict
    catalogue: frozenset

    def sources(self, msa_ids):
        """Find the sources behind the shutters of MSA configurations.

        Parameters
        ----------
        msa_ids : iterable of int
            The configurations.

        Returns
        -------
        frozenset of SourceName
            The sources; the whole catalogue where shutters carry numbers that are not in it, as
            those do that were cut down to 16 bits.
        """
        numbers = set().union(*(self.shutter_sources.get(i, ()) for i in msa_ids))
        if numbers - {s.source_id for s in self.catalogue}:
            return self.catalogue
        return frozenset(s for s in self.catalogue if s.source_id in numbers)


def read_metafile(path):
    """Read what has to be known of a metafile.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    Metafile
        Its configurations and sources.

    Raises
    ------
    InputError
        Where the file is no MSA metafile or is damaged.
    """
    try:
        with refuse_truncated(), fits.open(path) as file:
            shutters = file["SHUTTER_INFO"].data
            sources = file["SOURCE_INFO"].data
            columns = [np.array(shutters[c]) for c in ("msa_metadata_id", "dither_point_index")]
            shutter_ids = np.array(shutters["source_id"])
            catalogue = frozenset(
                SourceName(source_label(int(number), str(name)), int(number), str(name).strip())
                for number, name in zip(sources["source_id"], sources["source_name"], strict=True)
                if number > 0
            )
    except FileNotFoundError as err:
        raise InputError("there is no such file; check the path", str(path)) from err
    except (OSError, KeyError, ValueError, TypeError, Warning) as err:
        reason = getattr(err, "strerror", None) or err
        raise InputError(
            f"is no whole MSA metafile ({reason}); download it again", str(path)
        ) from err
    msa_ids, points = columns
    configurations = [int(i) for i in np.unique(msa_ids)]
    return Metafile(
        path=Path(path),
        dither_points={
            i: frozenset(np.unique(points[msa_ids == i]).tolist()) for i in configurations
        },
        shutter_sources={
            i: frozenset(s for s in np.unique(shutter_ids[msa_ids == i]).tolist() if s > 0)
            for i in configurations
        },
        catalogue=catalogue,
    )


def find_metafiles(exposures, folders, given=None):
    """Find the MSA metafiles of exposures and check that they fit.

    Parameters
    ----------
    exposures : sequence of Exposure
        The exposures.
    folders : sequence of pathlib.Path
        Where to look, after the folder of the exposure.
    given : pathlib.Path, optional
        Metafile to use instead of those that the exposures name.

    Returns
    -------
    metafiles : list of Metafile
        One, if visits do not have one each.
    problems : list of Problem
        What they lack and can be helped.

    Raises
    ------
    InputError
        Where a metafile is missing, or not that of the exposures.
    """
    if given is not None:
        metafile = read_metafile(Path(given).expanduser())
        return [metafile], _check(metafile, exposures)
    users = {}
    for exposure in exposures:
        for frame in exposure.frames.values():
            users.setdefault(frame.metafile, []).append((frame, exposure))
    metafiles, problems = [], []
    for name, pairs in users.items():
        metafile = read_metafile(_find(name, pairs[0][0], folders))
        if len(users) > 1 and any(f.path.parent != metafile.path.parent for f, _ in pairs):
            raise InputError(
                f"its MSA metafile {name} is in another folder, and the exposures have "
                f"{len(users)} metafiles; put each beside its exposures",
                str(pairs[0][0].path),
            )
        metafiles.append(metafile)
        problems += _check(metafile, [exposure for _, exposure in pairs])
    return metafiles, problems


def _find(name, frame, folders):
    """Find a metafile by its name."""
    places = list(dict.fromkeys([frame.path.parent, *folders]))
    if name:
        for folder in places:
            if (folder / name).is_file():
                return folder / name
    where = folders_of(p / name for p in places)
    what = f"its MSA metafile {name} is not in {where}" if name else "its header names no metafile"
    raise InputError(
        f"{what}; download it from the archive into the same folder, or name it with "
        "--msa-metafile",
        str(frame.path),
    )


def _check(metafile, exposures):
    """Refuse a metafile of other exposures; note dither points that it lacks."""
    wanted = {}
    for exposure in exposures:
        wanted.setdefault(exposure.first.msa_id, set()).add(exposure.first.dither_point)
    unknown = sorted(set(wanted) - set(metafile.dither_points))
    if unknown:
        raise InputError(
            f"this MSA metafile does not know MSA configuration (MSAMETID) {ranges(unknown)} of "
            f"the exposures, only {ranges(sorted(metafile.dither_points))}; it is that of another "
            "visit: name the right one with --msa-metafile",
            str(metafile.path),
        )
    problems = []
    for msa_id, points in wanted.items():
        absent = sorted(points - metafile.dither_points[msa_id])
        if absent:
            problems.append(
                Problem(
                    f"has no rows for {'points' if len(absent) > 1 else 'point'} {ranges(absent)} "
                    "of the dither pattern (PATT_NUM); msa3d_relabel adds them",
                    metafile.path.name,
                )
            )
    return problems
