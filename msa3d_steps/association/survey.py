"""The slit-stepping survey in a folder."""

from dataclasses import dataclass, replace
from pathlib import Path

from msa3d_steps.association.metafile import find_metafiles
from msa3d_steps.association.pointings import pattern_of_pointings
from msa3d_steps.association.sifting import Choice, find_files, sift
from msa3d_steps.cube.pattern import Pattern
from msa3d_steps.cube.sources import optics_of
from msa3d_steps.errors import InputError

__all__ = ["Survey", "scan"]


@dataclass(frozen=True)
class Survey:
    """A survey that was found.

    Parameters
    ----------
    exposures : tuple of Exposure
        Its exposures, by name.
    kind : str
        ``uncal``, ``rate`` or ``cal``.
    pattern : Pattern
        Step and dither of each exposure, by the pointings alone; see `by_grating` where there are
        several gratings.
    sources : tuple of SourceName
        Sources that have slits; as far as headers and metafile tell.
    known : frozenset of SourceName
        These, and the other sources of the catalogue.
    metafiles : tuple of pathlib.Path
        The MSA metafiles that the exposures name, or the one that was given.
    product : str
        Name of the products, as in ``jw02136-o001_{source_id}_nirspec_f100lp-g140h``.
    problems : tuple of Problem
        What is left out or will go wrong, with the mend.
    notes : tuple of str
        What was chosen and why.
    """

    exposures: tuple
    kind: str
    pattern: Pattern
    sources: tuple
    known: frozenset
    metafiles: tuple
    product: str
    problems: tuple = ()
    notes: tuple = ()

    @property
    def members(self):
        """Paths of all files, by exposure and detector."""
        return [frame.path for e in self.exposures for frame in e.frames.values()]

    @property
    def program(self):
        """Number of the programme."""
        return self.exposures[0].first.key[0]

    @property
    def observations(self):
        """Numbers of the observations."""
        return tuple(sorted({e.first.key[1] for e in self.exposures}))

    @property
    def gratings(self):
        """Gratings and filters, as in ``G140H/F100LP``."""
        return tuple(sorted({e.first.grating for e in self.exposures}))

    @property
    def grating(self):
        """Gratings and filters in words."""
        return " and ".join(self.gratings)

    def by_grating(self):
        """Part the survey by gratings, each with the pattern of its own exposures.

        Returns
        -------
        list of Survey
            This one where there is one grating.
        """
        if len(self.gratings) == 1:
            return [self]
        parts = []
        for grating in self.gratings:
            own = tuple(e for e in self.exposures if e.first.grating == grating)
            parts.append(replace(self, exposures=own, pattern=_pattern(own)))
        return parts

    @property
    def msa_ids(self):
        """MSA configurations."""
        return tuple(sorted({e.first.msa_id for e in self.exposures}))

    @property
    def time(self):
        """Sum of the exposure times, s; both detectors of an exposure count once."""
        return sum(e.first.time for e in self.exposures)

    def select(self, wanted):
        """Find sources by what a user calls them.

        Parameters
        ----------
        wanted : sequence of str or int
            Labels, numbers or names.

        Returns
        -------
        list of str
            The same as text.

        Raises
        ------
        InputError
            Where there is no such source.
        """
        names = [str(w).strip() for w in wanted]
        for name in names:
            if not any(name in {s.label, str(s.source_id), s.name} for s in self.known):
                have = ", ".join(f"{s.source_id}" for s in self.sources) or "none"
                raise InputError(f"there is no source {name}; there are: {have}")
        return names


def scan(paths, choice=None):
    """Find the slit-stepping survey in folders and files; only headers are read.

    Parameters
    ----------
    paths : sequence of str or pathlib.Path, or one of them
        Folders, whose ``.fits`` files are looked at, or files.
    choice : Choice, optional
        What to take where there is more than one survey.

    Returns
    -------
    Survey
        The survey.

    Raises
    ------
    InputError
        Where there is none, or more than one, or it cannot be reduced.
    """
    choice = choice or Choice()
    paths = [Path(p).expanduser() for p in ([paths] if isinstance(paths, (str, Path)) else paths)]
    files = find_files(paths)
    exposures, sifted = sift(files, choice)
    metafiles, problems, notes = [], sifted.problems, sifted.notes
    kind = exposures[0].first.kind
    if kind != "cal":
        folders = list(dict.fromkeys(f.parent for f in files))
        metafiles, lacking = find_metafiles(exposures, folders, choice.metafile)
        problems = problems + lacking
    elif choice.metafile is not None:
        notes = [*notes, "the MSA metafile is not used: cal files have their slits already"]
    sources, known = _sources(exposures, metafiles)
    return Survey(
        exposures=tuple(exposures),
        kind=kind,
        pattern=_pattern(exposures),
        sources=tuple(sorted(sources)),
        known=known,
        metafiles=tuple(m.path for m in metafiles),
        product=choice.product or _product(exposures),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _pattern(exposures):
    """Find steps and dithers of exposures."""
    return pattern_of_pointings([e.first.pointing for e in exposures], [e.visit for e in exposures])


def _sources(exposures, metafiles):
    """Give the sources that have slits, and all that are known."""
    of_slits = frozenset().union(*(f.sources for e in exposures for f in e.frames.values()))
    if of_slits:
        return {s for s in of_slits if s.label[0] == "s"}, of_slits
    msa_ids = {e.first.msa_id for e in exposures}
    sources = frozenset().union(*(m.sources(msa_ids) for m in metafiles))
    return sources, sources | frozenset().union(*(m.catalogue for m in metafiles))


def _product(exposures):
    """Name the products as jwst names those of an observation."""
    frame = exposures[0].first
    observations = sorted({e.first.key[1] for e in exposures})
    span = observations[0] if len(observations) == 1 else f"{observations[0]}-{observations[-1]}"
    optics = {optics_of(e.first.grating) for e in exposures}
    # with several gratings each cube's name tells its own
    return f"jw{frame.key[0]}-o{span}_{{source_id}}_nirspec" + "".join(
        f"_{name}" for name in optics if len(optics) == 1
    )
