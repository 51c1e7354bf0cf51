"""Write the association and the run file of a survey."""

import json
import os
from pathlib import Path

from msa3d_steps.association.choices import render
from msa3d_steps.errors import InputError
from msa3d_steps.whole import replace_whole
from msa3d_steps.words import counted

__all__ = ["file_names", "write"]

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
    _check_names(survey, association, run_file, overwrite)
    members = [
        {"expname": _path_from(folder, path), "exptype": "science"} for path in survey.members
    ]
    asn = {
        "asn_type": "spec3", "asn_rule": "DMS_Level3_Base", "asn_id": "a3001", "asn_pool": "none",
        "program": survey.program, "version_id": None,
        "products": [{"name": survey.product, "members": members}],
    }  # fmt: skip
    inputs = {"members": [association.name]}
    if len(survey.metafiles) == 1:
        inputs["msa_metafile"] = _path_from(folder, survey.metafiles[0])
    inputs["product_name"] = survey.product
    title = f"{_title(survey)}. Run it: strun {run_file.name} [--maximum_cores=all ...]"
    known = [str(s.source_id) for s in survey.sources]
    text = render(survey.kind, title, inputs, sources, known, parameters)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replace_whole(association) as path:
            path.write_text(json.dumps(asn, indent=1) + "\n", encoding="utf-8")
        with replace_whole(run_file) as path:
            path.write_text(text, encoding="utf-8")
    except OSError as err:
        raise InputError(
            f"cannot be written to ({err.strerror or err}); choose another folder with --output",
            str(folder),
        ) from err
    return association, run_file


def _check_names(survey, association, run_file, overwrite):
    """Refuse names that lead elsewhere or are taken."""
    if Path(survey.product).name != survey.product or not survey.product.strip():
        raise InputError(
            f"the product name {survey.product!r} is no plain name; give it without folders"
        )
    taken = [path for path in (association, run_file) if path.exists()]
    if taken and not overwrite:
        raise InputError(
            "is there already; give --overwrite to replace it, or another folder with --output",
            " and ".join(map(str, taken)),
        )


def _path_from(folder, path):
    """Write a path as seen from a folder, or in full where it lies far away."""
    path = path.resolve()
    relative = os.path.relpath(path, folder.resolve())
    return relative if Path(relative).parts.count("..") <= UPWARD else str(path)


def _title(survey):
    """Word what the run file is for."""
    pattern = survey.pattern
    return (
        f"{survey.grating}, {counted(pattern.n_steps, 'step')} x "
        f"{counted(pattern.n_dithers, 'dither')}, {counted(len(survey.members), 'file')}"
    )
