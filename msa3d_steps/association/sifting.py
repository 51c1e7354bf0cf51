"""Of all files in a folder, those of one survey: one programme and kind, one set of shutters."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from msa3d_steps.association.exposures import KINDS, pair_detectors, read_frame
from msa3d_steps.association.words import folders_of, listed
from msa3d_steps.errors import InputError, Problem
from msa3d_steps.words import counted

__all__ = ["Choice", "Sifted", "find_files", "sift"]

MSA_SPECTRA = "NRS_MSASPEC"

PREFERENCE = ("rate", "cal", "uncal")
"""What is taken where several kinds are equally complete."""


@dataclass(frozen=True)
class Choice:
    """What to take where a folder has more than one survey.

    Parameters
    ----------
    kind : str or None
        ``uncal``, ``rate`` or ``cal``.
    grating : str or None
        Grating, with its filter or without: ``G140H`` or ``G140H/F100LP``; all if not given.
    msa_ids : tuple of int
        MSA configurations (keyword MSAMETID) that belong together.
    metafile : pathlib.Path or None
        MSA metafile to use instead of those that the exposures name.
    product : str or None
        Name of the products, with or without ``{source_id}``.
    """

    kind: str | None = None
    grating: str | None = None
    msa_ids: tuple = ()
    metafile: Path | None = None
    product: str | None = None


@dataclass
class Sifted:
    """The files of one survey, and what was noticed on the way.

    Parameters
    ----------
    frames : list of Frame
        What is left.
    problems : list of Problem
        Files that are left out, with the mend.
    notes : list of str
        What was chosen and why.
    """

    frames: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def keep(self, condition):
        """Keep the frames that meet a condition."""
        self.frames = [f for f in self.frames if condition(f)]


def find_files(paths):
    """List the FITS files of folders and files, each once.

    The archive puts each file into a folder of its own: of a folder without FITS files, those of
    its folders are taken.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Folders and files.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    InputError
        Where a path leads nowhere, or there are no files.
    """
    files = []
    for path in paths:
        if path.is_dir():
            files += _fits_in(path, "*.fits") or _fits_in(path, "*/*.fits")
        elif path.exists():
            files.append(path)
        else:
            raise InputError("there is no such folder or file; check the path", str(path))
    if not files:
        raise InputError(
            "there are no FITS files; name the folder that has the exposures",
            ", ".join(map(str, paths)),
        )
    return list({p.resolve(): p for p in reversed(files)}.values())[::-1]


def _fits_in(folder, pattern):
    found = sorted(folder.glob(pattern))
    return [p for p in found if not any(n.startswith(".") for n in p.relative_to(folder).parts)]


def sift(files, choice):
    """Keep the files of one survey.

    Parameters
    ----------
    files : sequence of pathlib.Path
        FITS files.
    choice : Choice
        What to take where there is more than one survey.

    Returns
    -------
    exposures : list of Exposure
        The exposures of the survey.
    sifted : Sifted
        Its files, and what was noticed.

    Raises
    ------
    InputError
        Where there is no survey, or more than one.
    """
    sifted = Sifted()
    _read(files, sifted)
    _keep_spectra(sifted, files)
    _one_program(sifted)
    _keep_grating(sifted, choice)
    _one_configuration(sifted, choice)
    return _one_kind(sifted, choice), sifted


def _read(files, sifted):
    """Read the headers of all files; what cannot be read is left out."""
    for file in files:
        try:
            frame = read_frame(file)
        except InputError as err:
            sifted.problems.append(Problem(f"left out: {err.problem.message}", str(file)))
            continue
        if frame is not None:
            sifted.frames.append(frame)


def _keep_spectra(sifted, files):
    """Keep exposures of MSA spectra that can be started from; tell of the others."""
    where = folders_of(files)
    frames = sifted.frames
    others = Counter(f.exposure_type for f in frames if f.exposure_type != MSA_SPECTRA)
    if others:
        text = ", ".join(f"{counted(n, 'file')} of {name}" for name, n in sorted(others.items()))
        sifted.notes.append(f"{text} skipped: no MSA spectra ({MSA_SPECTRA})")
    sifted.keep(lambda f: f.exposure_type == MSA_SPECTRA)
    kinds = Counter(f.kind for f in sifted.frames if f.kind not in KINDS)
    if kinds:
        text = ", ".join(f"{n} {name}" for name, n in sorted(kinds.items()))
        sifted.notes.append(f"other products skipped: {text}")
    sifted.keep(lambda f: f.kind in KINDS)
    for frame in sifted.frames:
        if frame.pointing is None:
            sifted.problems.append(
                Problem(
                    "left out: its header tells no pointing (RA_REF, DEC_REF, ROLL_REF, V3I_YANG); "
                    "run set_telescope_pointing on it, or download it again",
                    str(frame.path),
                )
            )
    sifted.keep(lambda f: f.pointing is not None)
    if not sifted.frames:
        found = [*map(str, sifted.problems), *sifted.notes]
        raise InputError(
            "there are no uncal, rate or cal files of MSA spectra"
            + (f" ({'; '.join(found)})" if found else "")
            + "; name the folder that has them",
            where,
        )


def _one_program(sifted):
    """Refuse several programmes."""
    programs = Counter(f.key[0] for f in sifted.frames)
    if len(programs) > 1:
        raise InputError(
            f"these are files of several programmes ({listed(programs)}); name the files of one"
        )


def _keep_grating(sifted, choice):
    """Keep the grating and filter that is asked for; without a choice all stay."""
    gratings = Counter(f.grating for f in sifted.frames)
    if choice.grating:
        wanted = choice.grating.upper()
        sifted.keep(lambda f: wanted in (f.grating, f.grating.split("/")[0]))
        if not sifted.frames:
            raise InputError(f"there is no {wanted}; there are: {listed(gratings)}")
    left = sorted({f.grating for f in sifted.frames})
    if len(left) > 1:
        sifted.notes.append(
            f"each source gets a cube for each of {', '.join(left)} (--grating={left[0]} takes one)"
        )


def _one_configuration(sifted, choice):
    """Keep one MSA configuration for each grating; refuse to choose."""
    found = Counter(f.msa_id for f in sifted.frames)
    pairs = {(f.grating, f.msa_id) for f in sifted.frames}
    if choice.msa_ids:
        sifted.keep(lambda f: f.msa_id in choice.msa_ids)
        if not sifted.frames:
            wanted = ", ".join(map(str, choice.msa_ids))
            raise InputError(f"there is no MSA configuration {wanted}; there are: {listed(found)}")
    elif len(pairs) > len({grating for grating, _ in pairs}):
        raise InputError(
            f"there are several MSA configurations, MSAMETID ({listed(found)}), and one survey "
            f"keeps its shutters open; choose one, as with --msa-id={min(found)} (or several, if "
            "the same shutters are open in them)"
        )


def _one_kind(sifted, choice):
    """Keep one kind of files, the most complete one, and pair their detectors."""
    by_kind = {}
    for frame in sifted.frames:
        by_kind.setdefault(frame.kind, []).append(frame)
    distinct = {kind: len({(f.key, f.detector) for f in by_kind[kind]}) for kind in by_kind}
    gratings = {k: {f.grating for f in frames} for k, frames in by_kind.items()}
    kind = choice.kind or max(
        (k for k in PREFERENCE if k in distinct), key=lambda k: (len(gratings[k]), distinct[k])
    )
    if kind not in by_kind:
        have = " and ".join(k for k in KINDS if k in by_kind)
        raise InputError(f"there are no {kind} files; there are {have} files")
    if len(by_kind) > 1 and not choice.kind:
        sifted.notes.append(_why(kind, distinct))
    sifted.frames = by_kind[kind]
    for grating in sorted(set().union(*gratings.values()) - gratings[kind]):
        sifted.problems.append(
            Problem(f"{grating} is left out: it has no {kind} files; take it by itself, with "
                    f"--grating={grating}")
        )  # fmt: skip
    exposures, twins = pair_detectors(sifted.frames)
    for frame, twin in twins:
        sifted.problems.append(
            Problem(f"left out: it is the same exposure as {twin.path}", str(frame.path))
        )
    return exposures


def _why(kind, numbers):
    """Word why a kind is taken where there are others."""
    others = [k for k in KINDS if k in numbers and k != kind]
    if kind == "rate" and all(numbers[k] <= numbers[kind] for k in others):
        why = "their spectra will be calibrated with the repaired MSA metafile"
    else:
        why = "they are the most complete"
    there = " and ".join(counted(numbers[k], f"{k} file") for k in others)
    return f"{kind} files are taken: {why}; there are {there} too (--kind={others[-1]} takes them)"
