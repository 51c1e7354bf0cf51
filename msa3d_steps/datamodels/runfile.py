"""Run files: stpipe parameter files that also say what to run on."""

from dataclasses import dataclass
from pathlib import Path

import asdf

from msa3d_steps.errors import InputError

__all__ = ["RunInputs", "is_run_file", "read_run_inputs"]

SCHEMA = "asdf://msa3d-steps.org/schemas/run_file-1.0.0"


@dataclass(frozen=True)
class RunInputs:
    """What a run file says to run on.

    Parameters
    ----------
    members : list of pathlib.Path
        Exposures, or one association.
    msa_metafile : pathlib.Path or None
        MSA metafile to use.
    product_name : str or None
        Beginning of the names of all products.
    """

    members: list
    msa_metafile: Path | None = None
    product_name: str | None = None


def is_run_file(path):
    """Tell whether a file is a run file or another stpipe parameter file in ASDF.

    Parameters
    ----------
    path : object
        Anything; only a path that ends in ``.asdf`` is opened.

    Returns
    -------
    bool
        Whether the file says which step to run with which parameters.
    """
    if not isinstance(path, (str, Path)) or Path(path).suffix.lower() != ".asdf":
        return False
    try:
        with asdf.open(path) as file:
            return {"class", "parameters"} <= file.keys()
    except (OSError, ValueError, asdf.ValidationError):
        return False


def read_run_inputs(path):
    """Read the inputs of a run file.

    Parameters
    ----------
    path : str or pathlib.Path
        The run file.

    Returns
    -------
    RunInputs
        The inputs, with paths that are relative to the run file made absolute.

    Raises
    ------
    InputError
        Where the file has no inputs or they are not valid.
    """
    path = Path(path)
    try:
        with asdf.open(path, lazy_load=False) as file:
            tree = {key: value for key, value in file.tree.items() if key != "history"}
            asdf.schema.validate(tree, schema=asdf.schema.load_schema(SCHEMA))
    except asdf.ValidationError as err:
        raise InputError(f"is no valid run file: {err.message}", str(path)) from err
    except (OSError, ValueError) as err:
        raise InputError(f"is no run file in ASDF ({err})", str(path)) from err
    inputs = tree.get("inputs")
    if inputs is None:
        raise InputError(
            "says nothing about inputs; add an inputs section with members, or name an "
            "association or exposure after it on the command line",
            str(path),
        )
    folder = path.resolve().parent

    def resolve(name):
        return folder / Path(name).expanduser()

    members = [
        m if isinstance(m, str) else m["expname"]
        for m in inputs["members"]
        if isinstance(m, str) or m.get("exptype", "science") == "science"
    ]
    metafile = inputs.get("msa_metafile")
    return RunInputs(
        [resolve(m) for m in members],
        resolve(metafile) if metafile else None,
        inputs.get("product_name"),
    )
