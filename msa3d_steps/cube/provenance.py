"""What a cube tells of how it was made, so that it can be made again from that alone."""

import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

__all__ = ["Member", "Origin", "files_named", "package_versions", "provenance_of"]

PACKAGES = (
    "msa3d-steps", "jwst", "stpipe", "stdatamodels", "stcal", "gwcs", "asdf", "astropy", "numpy",
    "scipy", "numba",
)  # fmt: skip

REFERENCE = "meta.ref_file."
"""Beginning of the names of reference files in the metadata of exposures."""


@dataclass(frozen=True)
class Member:
    """A file or model that a cube is made of.

    Parameters
    ----------
    name : str
        Name without folder.
    size : int or None
        Size of the file, bytes; None for a model in memory.
    """

    name: str
    size: int | None = None

    @classmethod
    def of_file(cls, path):
        """Describe a file; one that is not there has no size."""
        path = Path(path)
        return cls(path.name, path.stat().st_size if path.exists() else None)


@dataclass(frozen=True)
class Origin:
    """The command that makes a cube.

    Parameters
    ----------
    command : dict
        Class, name, parameters and steps, as in a parameter file.
    product : str or None
        Beginning of the names of the products.
    msa_metafile : str or None
        MSA metafile that was given, without folder.
    references : tuple of (str, str)
        Types and names of reference files that were used after the exposures were written.
    """

    command: dict
    product: str | None = None
    msa_metafile: str | None = None
    references: tuple = ()


@cache
def package_versions():
    """Give the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def provenance_of(source, origin):
    """Tell how the cube of a source is made.

    Parameters
    ----------
    source : ~msa3d_steps.cube.sources.Source
        The source with its cutouts.
    origin : Origin
        The command.

    Returns
    -------
    dict
        Plain values for ``meta.msa3d.provenance``: ``class``, ``name``, ``parameters`` and
        ``steps`` as in a parameter file; ``source``; ``product_name`` and ``msa_metafile`` where
        they were given; ``exposures`` and ``files`` (those that parameters name) with their sizes
        in bytes; ``references`` and ``versions``.
    """
    provenance = dict(origin.command)
    provenance["source"] = source.label
    if origin.product:
        provenance["product_name"] = origin.product
    if origin.msa_metafile:
        provenance["msa_metafile"] = origin.msa_metafile
    provenance["exposures"] = [_described(member) for member in source.members]
    provenance["files"] = [
        {"parameter": parameter, **_described(Member.of_file(path))}
        for parameter, path in files_named(origin.command)
    ]
    provenance["references"] = _references(source.headers, origin.references)
    provenance["versions"] = dict(package_versions())
    return provenance


def files_named(command):
    """List the files that parameters name.

    Parameters
    ----------
    command : dict
        Parameters and steps, as in a parameter file.

    Yields
    ------
    tuple of (str, str)
        Path of the parameter, as in ``background.spectrum``, and the file, which exists.
    """
    for name, value in command.get("parameters", {}).items():
        if isinstance(value, str) and Path(value).suffix and Path(value).is_file():
            yield name, value
    for step in command.get("steps", []):
        for name, value in files_named(step):
            yield f"{step['name']}.{name}", value


def _described(member):
    """Give a member as plain values."""
    return {"name": member.name} | ({} if member.size is None else {"size": member.size})


def _references(headers, more):
    """List the reference files by type; several where exposures differ, as detectors do."""
    found = {}
    for header in headers:
        for key, value in header.items():
            if key.startswith(REFERENCE) and value and value != "N/A":
                kind = key.removeprefix(REFERENCE).removesuffix(".name")
                found.setdefault(kind, set()).add(str(value))
    for kind, name in more:
        if name != "N/A":
            found.setdefault(kind, set()).add(Path(name).name)
    return {kind: sorted(names) for kind, names in sorted(found.items())}
