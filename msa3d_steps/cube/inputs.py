"""From everything that a user may hand over to the sources that are in it.

Files are opened one at a time, each once, and closed as soon as their cutouts are plain arrays.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stdatamodels.jwst.datamodels import JwstDataModel

from msa3d_steps.cube.provenance import Member
from msa3d_steps.cube.reading import (
    add_entry,
    cutouts_of_model,
    read_exposure,
)
from msa3d_steps.cube.sources import tell_apart
from msa3d_steps.errors import InputError, Problem
from msa3d_steps.progress import is_shown_by_bar, track

__all__ = [
    "Collection",
    "Members",
    "Selection",
    "collect_sources",
    "find_members",
    "read_all",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Members:
    """Exposures to work on.

    Parameters
    ----------
    items : Sequence
        Paths or models, or a ``ModelLibrary``.
    product : str or None
        Beginning of the names of the products.
    """

    items: object
    product: str | None = None


@dataclass(frozen=True)
class Selection:
    """Which sources are wanted.

    Parameters
    ----------
    names : tuple of str
        Labels, numbers or names of sources; empty for all.
    background, virtual : bool
        Whether background and virtual slits are wanted where no names are given.
    blanks : bool
        Whether background slits are needed in any case, to measure the background in.
    """

    names: tuple = ()
    background: bool = False
    virtual: bool = False
    blanks: bool = False

    def wants(self, source):
        """Whether the cutouts of a source are wanted."""
        return self.asks_for(source) or (self.blanks and source.kind == "background")

    def asks_for(self, source):
        """Whether the cube of a source is wanted."""
        if self.names:
            return any(source.answers_to(name) for name in self.names)
        return {"source": True, "background": self.background, "virtual": self.virtual}[source.kind]

    def not_among(self, known):
        """Say which of the names are those of no known source: a list of Problem."""
        labels = ", ".join(sorted({source.label for source in known})) or "none"
        return [
            Problem(f"there is no source {wanted}; there are: {labels}")
            for wanted in self.names
            if not any(source.answers_to(wanted) for source in known)
        ]

    def numbers(self):
        """List the numbers of the wanted sources, as text; None where names alone do not tell."""
        digits = [str(name).strip().removeprefix("s") for name in self.names]
        if self.blanks or not digits or not all(number.isdigit() for number in digits):
            return None
        return [str(int(number)) for number in digits]


@dataclass
class Collection:
    """The sources found, and what went wrong on the way.

    Parameters
    ----------
    sources : list of Source
        The sources, by label and disperser.
    problems : list of Problem
        Files and slits that are left out.
    left_out : list of Source
        Sources that are not wanted.
    """

    sources: list
    problems: list = field(default_factory=list)
    left_out: list = field(default_factory=list)


def find_members(inputs):
    """Find the exposures in what a user hands over.

    Parameters
    ----------
    inputs : str, pathlib.Path, dict, Sequence, ModelLibrary or JwstDataModel
        A path of an association or exposure, an association, a list of paths or models, a
        ``ModelContainer``, ``SourceModelContainer`` or ``ModelLibrary``, or a model.

    Returns
    -------
    Members
        The exposures.

    Raises
    ------
    InputError
        Where nothing usable is there.
    """
    if isinstance(inputs, (str, Path)):
        path = Path(inputs).expanduser()
        if path.suffix.lower() == ".json":
            return _from_association(_read_association(path), path.parent, str(path))
        return Members([path], None)
    if isinstance(inputs, Mapping):
        return _from_association(inputs, Path(), "the association")
    if isinstance(inputs, JwstDataModel):
        return Members([inputs], None)
    if _is_library(inputs):
        return Members(inputs, inputs.asn.get("products", [{}])[0].get("name"))
    if isinstance(inputs, Sequence):
        if not len(inputs):
            raise InputError("the list of exposures is empty; give at least one exposure")
        table = getattr(inputs, "asn_table", None) or {}
        product = (table.get("products") or [{}])[0].get("name") or None
        items = [Path(i).expanduser() if isinstance(i, str) else i for i in inputs]
        for item in items:
            if not isinstance(item, (Path, JwstDataModel)):
                raise InputError(
                    f"the list holds a {type(item).__name__}; give paths of exposures or models"
                )
        if len(items) == 1 and isinstance(items[0], Path) and items[0].suffix.lower() == ".json":
            return find_members(items[0])
        # a container made of a list has no product name of its own, only that of its first model
        return Members(items, product if getattr(inputs, "asn_file_path", None) else None)
    raise InputError(
        f"{type(inputs).__name__} is no input: give an association, exposures or their models"
    )


def collect_sources(members, selection):
    """Read all exposures and sort their slits by source and disperser.

    Parameters
    ----------
    members : Members
        The exposures.
    selection : Selection
        Which sources are wanted.

    Returns
    -------
    Collection
        The wanted sources with their cutouts; every file and slit that is left out has a problem.
    """
    found, left_out, problems = {}, {}, []
    for exposure in track(read_all(members, selection), "exposures", len(members.items)):
        for problem in exposure.problems:
            log.error("%s", problem)
        problems += exposure.problems
        for source in exposure.left_out:
            left_out.setdefault(source.label, source)
        for source in exposure.sources:
            found.setdefault(source.key, source)
        for entry in exposure.entries:
            add_entry(entry, found[entry.source.key])
        for key in {entry.source.key for entry in exposure.entries}:
            found[key].members.append(Member(exposure.name, exposure.size))
        log.debug("%s: %d slits", exposure.name, exposure.n_slits)
    known = [*found.values(), *left_out.values()]
    problems += selection.not_among(known)
    # a source without cutouts has a problem for each of its slits already
    sources = [found[key] for key in sorted(found) if found[key].cutouts]
    tell_apart(sources)
    return Collection(sources, problems, [left_out[k] for k in sorted(left_out)])


def _read_association(path):
    try:
        return json.loads(path.read_text())
    except OSError as err:
        raise InputError(f"cannot be read ({err.strerror}); check the path", str(path)) from err
    except ValueError as err:
        raise InputError(
            f"is no association ({err}); make it with asn_from_list", str(path)
        ) from err


def _from_association(association, folder, name):
    try:
        product = association["products"][0]
        members = [
            m["expname"] for m in product["members"] if m.get("exptype", "science") == "science"
        ]
    except (KeyError, IndexError, TypeError) as err:
        raise InputError("is no association of products and members", name) from err
    if not members:
        raise InputError("the association has no science members; add exposures to it", name)
    return Members([folder / Path(m).expanduser() for m in members], product.get("name") or None)


def _is_library(inputs):
    return hasattr(inputs, "borrow") and hasattr(inputs, "shelve")


def read_all(members, selection):
    """Read exposures one after the other.

    Parameters
    ----------
    members : Members
        The exposures.
    selection : Selection
        Which sources are wanted.

    Yields
    ------
    ExposureCutouts
        The cutouts of an exposure.
    """
    if _is_library(members.items):
        with members.items as library:
            for index in range(len(library)):
                model = library.borrow(index)
                try:
                    name = model.meta.filename or f"model {index + 1}"
                    yield cutouts_of_model(name, model, selection)
                finally:
                    library.shelve(model, index, modify=False)
        return
    for index, item in enumerate(members.items):
        if isinstance(item, JwstDataModel):
            name = item.meta.filename or f"model {index + 1}"
            yield cutouts_of_model(name, item, selection)
        else:
            log.info("Reading %s", item, extra=is_shown_by_bar())
            yield read_exposure(item, selection)
