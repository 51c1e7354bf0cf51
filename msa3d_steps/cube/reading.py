"""The wanted cutouts of one exposure out of its file.

`stdatamodels` makes astropy models of the WCS of every slit, of which a cube needs a few values.
Files as the pipeline writes them are therefore read by `rawfits`, `rawasdf` and `rawwcs`, slit by
slit as they are wanted. Any other file, and any whose headers were edited since it was written, is
opened by stdatamodels; the cutouts are the same.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from stdatamodels.fits_support import FITS_HASH_KEY

from msa3d_steps.cube.provenance import Member
from msa3d_steps.cube.rawasdf import Tree
from msa3d_steps.cube.rawfits import FitsFile, UnusualFileError
from msa3d_steps.cube.rawwcs import wcs_from_node
from msa3d_steps.cube.slits import (
    NotSlitsError,
    flat_metadata,
    open_model,
    slits_of,
    source_of_slit,
)
from msa3d_steps.cube.sources import Cutout, Source, cutout_from_slit
from msa3d_steps.errors import InputError, Problem

__all__ = [
    "Entry",
    "ExposureCutouts",
    "add_entry",
    "cutouts_of_model",
    "read_exposure",
]

log = logging.getLogger(__name__)

ARRAYS = {
    "data": "SCI",
    "err": "ERR",
    "dq": "DQ",
    "var_poisson": "VAR_POISSON",
    "var_rnoise": "VAR_RNOISE",
    "var_flat": "VAR_FLAT",
}
"""The arrays of a slit that cutouts are made of, and the extensions that hold them."""


PRESENT = ("pathloss_uniform",)
"""Arrays of which only matters whether they are there."""


class Entry(NamedTuple):
    """A cutout and what it is of."""

    source: Source
    """The source, without cutouts."""
    cutout: Cutout
    header: dict
    """Metadata of the exposure by dotted names."""


@dataclass
class ExposureCutouts:
    """What one exposure has of the wanted sources.

    Parameters
    ----------
    name : str
        Name of the file or model.
    entries : list of Entry
        The cutouts, in the order of the slits.
    left_out : list of Source
        Sources that are not wanted.
    problems : list of Problem
        Slits that cannot be used, or the reason why there are none.
    sources : list of Source
        Sources that are wanted, those of slits that cannot be used among them.
    n_slits : int
        Number of slits.
    rejected : Counter
        Number of slits that cannot be used, by the key of their source.
    size : int or None
        Size of the file, bytes; None for a model.
    """

    name: str
    entries: list = field(default_factory=list)
    left_out: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    sources: list = field(default_factory=list)
    n_slits: int = 0
    rejected: Counter = field(default_factory=Counter)
    size: int | None = None


def read_exposure(path, selection):
    """Read the cutouts of the wanted sources out of a file.

    Parameters
    ----------
    path : str or pathlib.Path
        A cal or s2d file.
    selection : ~msa3d_steps.cube.inputs.Selection
        Which sources are wanted.

    Returns
    -------
    ExposureCutouts
        The cutouts; a file or slit that cannot be used has a problem. It can be pickled.
    """
    path = Path(path)
    if path.is_dir():
        problem = Problem("is a folder; give its exposures or an association", str(path))
        return ExposureCutouts(path.name, problems=[problem])
    try:
        with _PlainExposure(path) as exposure:
            result = _sort(path.name, exposure.slits(), selection)
    except Exception as err:
        log.debug("%s: opened by stdatamodels (%s: %s)", path, type(err).__name__, err)
        result = _read_with_stdatamodels(path, selection)
    result.size = Member.of_file(path).size
    return result


def cutouts_of_model(name, model, selection):
    """Take the cutouts of the wanted sources out of a model.

    Parameters
    ----------
    name : str
        Name of the model.
    model : ~stdatamodels.jwst.datamodels.JwstDataModel
        The model.
    selection : ~msa3d_steps.cube.inputs.Selection
        Which sources are wanted.

    Returns
    -------
    ExposureCutouts
        The cutouts.
    """
    try:
        slits = slits_of(model, name)
    except NotSlitsError as err:
        return ExposureCutouts(name, problems=[err.problem])
    return _sort(name, slits, selection)


def _read_with_stdatamodels(path, selection):
    try:
        model = open_model(path)
    except InputError as err:
        return ExposureCutouts(path.name, problems=[err.problem])
    with model:
        return cutouts_of_model(path.name, model, selection)


def _sort(name, slits, selection):
    """Make cutouts of the wanted slits among all of an exposure."""
    result = ExposureCutouts(name)
    wanted, left_out = {}, {}
    for slit, meta, header in slits:
        result.n_slits += 1
        source = source_of_slit(slit, meta)
        if not selection.wants(source):
            left_out.setdefault(source.label, source)
            continue
        wanted.setdefault(source.key, source)
        try:
            # a source-based model has the slits of many files
            cutout = cutout_from_slit(slit, meta, getattr(meta, "filename", None) or name)
        except InputError as err:
            result.problems.append(err.problem)
            result.rejected[source.key] += 1
            continue
        result.entries.append(Entry(source, cutout, header))
    result.sources, result.left_out = list(wanted.values()), list(left_out.values())
    return result


def add_entry(entry, source):
    """Add a cutout to its source, unless it is there already.

    Parameters
    ----------
    entry : Entry
        The cutout and its metadata.
    source : ~msa3d_steps.cube.sources.Source
        Its source; is changed.
    """
    cutout = entry.cutout
    twin = next((c for c in source.cutouts if _same(c, cutout)), None)
    if twin is not None:
        log.warning(
            "%s, slit %s: left out, it is the same exposure as %s, which is in already",
            cutout.file, cutout.slit, twin.file,
        )  # fmt: skip
        return
    source.cutouts.append(cutout)
    source.headers.append(entry.header)


def _same(a, b):
    """Whether two cutouts are the same piece of the same exposure."""
    return (a.exposure, a.detector, a.slit) == (b.exposure, b.detector, b.slit)


# --- files as the pipeline writes them


class _PlainExposure:
    """A file that stdatamodels would take its tree from as it is.

    Parameters
    ----------
    path : pathlib.Path
        A cal file.

    Raises
    ------
    UnusualFileError
        Where it is no such file. stdatamodels takes headers rather than the tree where they do not
        match the hash that was made when the file was written.
    """

    def __init__(self, path):
        self._file = FitsFile(path)
        try:
            self._tree = self._read_tree()
        except BaseException:
            self._file.close()
            raise
        self._transforms = {}

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self._file.close()

    def _read_tree(self):
        unit = self._file.by_key.get(("ASDF", 1))
        if unit is None or not unit.is_table:
            raise UnusualFileError("no ASDF extension")
        tree = Tree(self._file.bytes_of(unit))
        written = tree.root.get(FITS_HASH_KEY)
        if written is None or written.value() != self._file.hash():
            raise UnusualFileError("the headers were edited")
        return tree

    def slits(self):
        """Yield each slit with the metadata of the exposure, as a node and flat."""
        root, model_type = self._tree.root, self._file.units[0].structure.get("DATAMODL")
        if model_type == "MultiSlitModel":
            nodes = root.get("slits").children
        elif model_type == "SlitModel":
            nodes = [root]
        else:
            raise UnusualFileError(f"a {model_type}")
        tables = [u for u in self._file.units[1:] if u.is_table and u.key[0] != "ASDF"]
        if tables and max(version for _, version in self._file.by_key) > len(nodes):
            raise UnusualFileError("extensions of slits that are not in the tree")
        meta = _Metadata(root.get("meta").converted(leave_out=("wcs",)))
        if "date" not in meta.instance:
            raise UnusualFileError("no date")
        header = flat_metadata(meta)
        for number, node in enumerate(nodes, 1):
            yield _PlainNode(self, number, node), meta, header

    def array(self, node, extension, number):
        """Read an array of a slit; None where it has none."""
        has_unit = (extension, number) in self._file.by_key
        if node is None and not has_unit:
            return None
        if not has_unit or node is None or node.kind != "core/ndarray":
            raise UnusualFileError(f"{extension},{number} is not linked to the tree")
        if node.get("source").value() != f"fits:{extension},{number}":
            raise UnusualFileError(f"{extension},{number} is not where it should be")
        return self._file.array(extension, number)

    def wcs(self, node):
        """Make the WCS of a node."""
        return wcs_from_node(node, self._transforms)


class _PlainNode:
    """A node of the tree that gives its children as attributes, as models do."""

    def __init__(self, exposure, number, node):
        self._exposure, self._number, self._node = exposure, number, node
        self._values = {}

    def __getattr__(self, name):
        if name in PRESENT:
            return self._node.get(name) is not None or None
        if name in ARRAYS:
            return self._exposure.array(self._node.get(name), ARRAYS[name], self._number)
        if name not in self._values:
            self._values[name] = self._value(name)
        return self._values[name]

    def _value(self, name):
        child = self._node.get(name)
        if child is None:
            raise AttributeError(name)
        if child.kind == "gwcs/wcs":
            return self._exposure.wcs(child)
        if child.tag:
            return child.converted()
        if child.is_mapping:
            return _PlainNode(self._exposure, self._number, child)
        value = child.value()
        return _Metadata(value) if isinstance(value, dict) else value


class _Metadata:
    """A dict that gives its entries as attributes, as the metadata of models do."""

    def __init__(self, instance):
        self.instance = instance

    def __getattr__(self, name):
        if name.startswith("_") or name not in self.instance:
            raise AttributeError(name)
        value = self.instance[name]
        return _Metadata(value) if isinstance(value, dict) else value
