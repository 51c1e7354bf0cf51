"""The parts of a run, which are made one by one, and what is written down of each.

A part has a key, a digest of everything that its result depends on: files (name, size, time of the
last change), parameters, versions. A part whose report has the same key need not be made again.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from msa3d_steps.cube.inputs import Selection
from msa3d_steps.cube.provenance import Member, Origin
from msa3d_steps.cube.sources import Source
from msa3d_steps.errors import Problem
from msa3d_steps.whole import replace_whole

__all__ = [
    "QUICKLOOK", "ExposurePart", "ExposureReport", "Found", "PicturePart", "PictureReport",
    "Recipe", "SourcePart", "SourceReport", "identity", "key_of", "read_report", "source_of",
    "write_report",
]  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How the parts are made.

    Parameters
    ----------
    selection : Selection
        Which sources are wanted.
    cleaning : dict
        Parameters of the steps that correct cutouts, by their names, in the order of the work.
    cube : dict
        Parameters of the cube step.
    detector1, spec2 : dict or None
        Parameters of stage 1 and stage 2.
    product : str or None
        Beginning of the names of the cubes.
    folder : str
        Where reports, cutouts and logs are.
    output_dir : str
        Where products are.
    origin : Origin or None
        The command, which cubes tell.
    quicklook : dict or None
        Parameters of the quicklook; None for no pictures.
    """

    selection: Selection
    cleaning: dict
    cube: dict
    detector1: dict | None
    spec2: dict | None
    product: str | None
    folder: str
    output_dir: str
    origin: Origin | None = None
    quicklook: dict | None = None


@dataclass(frozen=True)
class ExposurePart:
    """One file of one detector: to be calibrated where it is not, and cut.

    Parameters
    ----------
    path : str
        The file.
    kind : str
        ``uncal``, ``rate`` or ``cal`` (which stands for s2d and the like, too).
    name : str
        Name in the run; different for each file.
    key : str
        What its result depends on.
    """

    path: str
    kind: str
    name: str
    key: str


@dataclass(frozen=True)
class SourcePart:
    """The cube of one source through one disperser.

    Parameters
    ----------
    name : str
        Name in the run; `Source.title`.
    label, disperser : str
        The source, and the grating and filter.
    exposures : tuple of str
        Names of the exposure parts that have cutouts of it.
    threads : int
        Number of threads.
    key : str
        What its result depends on.
    blanks : tuple of (str, tuple of str)
        Background slits to measure in: their labels, and the exposure parts that have them.
    members : tuple of Member
        The files that all of this comes from.
    """

    name: str
    label: str
    disperser: str
    exposures: tuple
    threads: int
    key: str
    blanks: tuple = ()
    members: tuple = ()


@dataclass(frozen=True)
class PicturePart:
    """The pictures of one cube.

    Parameters
    ----------
    name : str
        Name in the run.
    cube : str
        Name of the cube's file.
    key : str
        What its result depends on.
    """

    name: str
    cube: str
    key: str


@dataclass(frozen=True)
class Found:
    """A wanted source in a file.

    Parameters
    ----------
    label : str
        Its label.
    source_id : int
        Its number.
    name : str
        Its name in the catalogue.
    used, rejected : int
        Number of its slits in the file that can be used, and that cannot.
    disperser : str
        Grating and filter of these slits, as in ``G140H/F100LP``.
    """

    label: str
    source_id: int
    name: str
    used: int
    rejected: int
    disperser: str = ""

    @property
    def source(self):
        """The source, without cutouts."""
        return Source(self.label, self.source_id, self.name, disperser=self.disperser)


@dataclass(frozen=True)
class ExposureReport:
    """What came of a file.

    Parameters
    ----------
    name, key : str
        Its part.
    selection : Selection
        Which sources were wanted.
    sources : tuple of Found
        Wanted sources in it.
    left_out : dict
        Label, number and name of the other sources in it, by label.
    problems : tuple of Problem
        What went wrong.
    warnings : tuple of str
        What was warned of.
    seconds : float
        Time it took.
    member : Member or None
        The file or model.
    """

    name: str
    key: str
    selection: Selection = Selection()  # noqa: RUF009 - it is frozen
    sources: tuple = ()
    left_out: dict = field(default_factory=dict)
    problems: tuple = ()
    warnings: tuple = ()
    seconds: float = 0.0
    member: Member | None = None

    @property
    def is_usable(self):
        """Whether it tells what is in the file, and not only why that could not be found out."""
        return bool(self.sources or self.left_out or not self.problems)

    def serves(self, selection):
        """Whether what was made of the file has all that a selection wants of it."""
        made = self.selection
        if made == selection:
            return True
        if self.problems:
            return False  # of slits that may not be wanted any more
        if made.names and not made.blanks:  # of the others nobody knows: they were not calibrated
            asked = bool(selection.names) and set(selection.names) <= set(made.names)
            return asked and not selection.blanks
        others = (Source(label, *rest) for label, rest in self.left_out.items())
        return not any(selection.wants(source) for source in others)

    def of(self, selection):
        """Give the report without the sources that a selection does not want."""
        sources, left_out = [], dict(self.left_out)
        for found in self.sources:
            if selection.wants(found.source):
                sources.append(found)
            else:
                left_out[found.label] = found.source_id, found.name
        return replace(self, selection=selection, sources=tuple(sources), left_out=left_out)


@dataclass(frozen=True)
class SourceReport:
    """What came of a source.

    Parameters
    ----------
    name, key : str
        Its part.
    source_name : str
        Name of the source in the catalogue.
    cube : str or None
        Name of the cube's file; None where there is none.
    shape : tuple of int
        Shape of the cube.
    cutouts : int
        Number of cutouts in it.
    pixels, pixels_rejected : int
        Number of pixels in it, and of lit pixels left out.
    outliers : int
        How many of these are outliers.
    problems : tuple of Problem
        What went wrong.
    warnings : tuple of str
        What was warned of.
    seconds : float
        Time it took.
    """

    name: str
    key: str
    source_name: str = ""
    cube: str | None = None
    shape: tuple = ()
    cutouts: int = 0
    pixels: int = 0
    pixels_rejected: int = 0
    outliers: int = 0
    problems: tuple = ()
    warnings: tuple = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class PictureReport:
    """What came of the pictures of a cube.

    Parameters
    ----------
    name, key : str
        Its part.
    entry : dict or None
        Its row on the page.
    files : dict
        Picture and line maps: what they are known by (`identity`), by their names.
    problems : tuple of Problem
        What went wrong.
    warnings : tuple of str
        What was warned of.
    seconds : float
        Time it took.
    """

    name: str
    key: str
    entry: dict | None = None
    files: dict = field(default_factory=dict)
    problems: tuple = ()
    warnings: tuple = ()
    seconds: float = 0.0


QUICKLOOK = "-quicklook"
"""Ends the names of the parts that are pictures."""


def source_of(name):
    """Give the name of the source that a part is of: its cube, or the pictures of that.

    Parameters
    ----------
    name : str
        Name of a `SourcePart` or `PicturePart`.

    Returns
    -------
    str
        `Source.title`.
    """
    return name.removesuffix(QUICKLOOK)


def key_of(*content):
    """Give a digest of plain values.

    Parameters
    ----------
    *content
        Anything; what JSON does not know counts by its text.

    Returns
    -------
    str
        16 digits.
    """
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def identity(path):
    """Tell a file from others and from itself after a change.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    tuple
        Name, size, and time of the last change; the name alone where there is no such file.
    """
    path = Path(path)
    try:
        status = path.stat()
    except OSError:
        return (path.name,)
    return path.name, status.st_size, status.st_mtime_ns


def write_report(path, report):
    """Write a report, whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    report : ExposureReport, SourceReport or PictureReport
        The report.
    """
    with replace_whole(path) as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=1))


def read_report(path, kind):
    """Read a report.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    kind : type
        `ExposureReport`, `SourceReport` or `PictureReport`.

    Returns
    -------
    ExposureReport or SourceReport or PictureReport or None
        None where there is none, or none that can be read.
    """
    try:
        content = json.loads(path.read_text())
        for name, of in (("problems", Problem), ("sources", Found)):
            if name in content:
                content[name] = tuple(of(**entry) for entry in content[name])
        if content.get("member"):
            content["member"] = Member(**content["member"])
        if "selection" in content:
            content["selection"]["names"] = tuple(content["selection"]["names"])
            content["selection"] = Selection(**content["selection"])
        for name in ("warnings", "shape"):
            if name in content:
                content[name] = tuple(content[name])
        return kind(**content)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
