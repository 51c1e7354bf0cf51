"""Write the association and the run file of a survey."""

import json
import os
from pathlib import Path

from msa3d_steps.association.choices import render
from msa3d_steps.errors import InputError
from msa3d_steps.whole import replace_whole
from msa3d_steps.words import counted

__all__ = ["association_of", "check_names", "file_names", "path_from", "write", "write_texts"]

UPWARD = 2
"""A path that climbs higher than this many folders is written in full."""


def file_names(survey, folder="."):
    """Name the files that `write` writes.

    Parameters
    ----------
    survey : Survey
        The survey.
    folder : str or pathlib.Path
        Where they go.

    Returns
    -------
    tuple of pathlib.Path
        Association and run file.
    """
    stem = survey.product.replace("_{source_id}", "").replace("{source_id}", "")
    folder = Path(folder).expanduser()
    return folder / f"{stem}_asn.json", folder / f"{stem}_msa3d.asdf"


def write(survey, folder=".", sources=(), parameters=None, overwrite=False):
    """Write the association and the run file of a survey.

    Parameters
    ----------
    survey : Survey
        The survey.
    folder : str or pathlib.Path
        Where to; made if it is not there.
    sources : sequence of str or int
        Labels, numbers or names of the sources that cubes are wanted of; all if empty.
    parameters : dict, optional
        Parameters that differ from those of the run file, as ``{"cube.scalexy": 0.05,
        "pathloss.skip": True, "maximum_cores": "all"}``: the step's name, a dot, the parameter.
    overwrite : bool
        Whether files of these names may be replaced.

    Returns
    -------
    tuple of pathlib.Path
        Association and run file.

    Raises
    ------
    InputError
        Where there is no such source or step, or the files are there already.
    """
    sources = survey.select(sources or ())
    folder = Path(folder).expanduser()
    association, run_file = file_names(survey, folder)
    if Path(survey.product).name != survey.product or not survey.product.strip():
        raise InputError(
            f"the product name {survey.product!r} is no plain name; give it without folders"
        )
    check_names([association, run_file], overwrite)
    members = [path_from(folder, path) for path in survey.members]
    asn = association_of(survey.program, survey.product, members)
    inputs = {"members": [association.name]}
    if len(survey.metafiles) == 1:
        inputs["msa_metafile"] = path_from(folder, survey.metafiles[0])
    inputs["product_name"] = survey.product
    title = f"{_title(survey)}. Run it: strun {run_file.name} [--maximum_cores=all ...]"
    known = [str(s.source_id) for s in survey.sources]
    text = render(survey.kind, title, inputs, sources, known, parameters)
    write_texts({association: json.dumps(asn, indent=1) + "\n", run_file: text})
    return association, run_file


def association_of(program, product, members):
    """Make an association.

    Parameters
    ----------
    program : str
        Number of the programme.
    product : str
        Name of the product.
    members : sequence of str
        Exposures, all of them science.

    Returns
    -------
    dict
        The association.
    """
    return {
        "asn_type": "spec3", "asn_rule": "DMS_Level3_Base", "asn_id": "a3001", "asn_pool": "none",
        "program": program, "version_id": None,
        "products": [
            {"name": product, "members": [{"expname": m, "exptype": "science"} for m in members]}
        ],
    }  # fmt: skip


def write_texts(texts):
    """Write files, each whole or not at all.

    Parameters
    ----------
    texts : dict
        Content by path; all in one folder, which is made if it is not there.

    Raises
    ------
    InputError
        Where they cannot be written.
    """
    folder = next(iter(texts)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with replace_whole(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as err:
        raise InputError(
            f"cannot be written to ({err.strerror or err}); choose another folder with --output",
            str(folder),
        ) from err


def check_names(paths, overwrite):
    """Refuse names that are taken.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Files that shall be written.
    overwrite : bool
        Whether they may be replaced.

    Raises
    ------
    InputError
        Where one is there and may not.
    """
    taken = [path for path in paths if path.exists()]
    if taken and not overwrite:
        raise InputError(
            "is there already; give --overwrite to replace it, or another folder with --output",
            " and ".join(map(str, taken)),
        )


def path_from(folder, path):
    """Write a path as seen from a folder, or in full where it lies far away.

    Parameters
    ----------
    folder, path : pathlib.Path
        Both.

    Returns
    -------
    str
        The path.
    """
    path = path.resolve()
    relative = os.path.relpath(path, folder.resolve())
    return relative if Path(relative).parts.count("..") <= UPWARD else str(path)


def _title(survey):
    """Word what the run file is for."""
    patterns = [
        f"{own.grating}, {counted(own.pattern.n_steps, 'step')} x "
        f"{counted(own.pattern.n_dithers, 'dither')}"
        for own in survey.by_grating()
    ]
    return f"{'; '.join(patterns)}, {counted(len(survey.members), 'file')}"
