"""From everything that a user may hand over to the sources that are in it.

Files are opened one at a time, each once, and closed as soon as their cutouts are plain arrays.
"""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from astropy.utils.exceptions import AstropyWarning
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import JwstDataModel, MultiExposureModel, MultiSlitModel

from msa3d_steps.cube.sources import Source, cutout_from_slit, source_label
from msa3d_steps.errors import InputError, Problem

__all__ = ["Collection", "Members", "Selection", "collect_sources", "find_members", "flat_metadata"]

log = logging.getLogger(__name__)

SLIT_MODELS = ("SlitModel", "SlitDataModel", "ImageModel")


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
    """

    names: tuple = ()
    background: bool = False
    virtual: bool = False

    def wants(self, source):
        """Whether a source is wanted."""
        if self.names:
            return any(source.answers_to(name) for name in self.names)
        return {"source": True, "background": self.background, "virtual": self.virtual}[source.kind]


@dataclass
class Collection:
    """The sources found, and what went wrong on the way.

    Parameters
    ----------
    sources : list of Source
        The sources, by label.
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
    """Read all exposures and sort their slits by source.

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
    for name, model in _open_all(members, problems):
        usable = 0
        for slit, meta, header in _slits(model, name, problems):
            usable += 1
            source = _source_of(slit)
            if not selection.wants(source):
                left_out.setdefault(source.label, source)
                continue
            source = found.setdefault(source.label, source)
            try:
                cutout = cutout_from_slit(slit, meta, _file_of(meta, name))
            except InputError as err:
                problems.append(err.problem)
                log.error("%s", err.problem)  # noqa: TRY400 - the message says it all
                continue
            twin = next((c for c in source.cutouts if _same(c, cutout)), None)
            if twin is not None:
                log.warning(
                    "%s, slit %s: left out, it is the same exposure as %s, which is in already",
                    cutout.file, cutout.slit, twin.file,
                )  # fmt: skip
                continue
            source.cutouts.append(cutout)
            source.headers.append(header)
        log.debug("%s: %d slits", name, usable)
    known = [*found.values(), *left_out.values()]
    for wanted in selection.names:
        if not any(source.answers_to(wanted) for source in known):
            labels = ", ".join(sorted(source.label for source in known)) or "none"
            problems.append(Problem(f"there is no source {wanted}; there are: {labels}"))
    # a source without cutouts has a problem for each of its slits already
    sources = [found[label] for label in sorted(found) if found[label].cutouts]
    return Collection(sources, problems, [left_out[k] for k in sorted(left_out)])


def _same(a, b):
    """Whether two cutouts are the same piece of the same exposure."""
    return (a.exposure, a.detector, a.slit) == (b.exposure, b.detector, b.slit)


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


def _open_all(members, problems):
    """Yield the name and the model of each exposure; a model that was opened here is closed."""
    if _is_library(members.items):
        with members.items as library:
            for index in range(len(library)):
                model = library.borrow(index)
                try:
                    yield model.meta.filename or f"model {index + 1}", model
                finally:
                    library.shelve(model, index, modify=False)
        return
    for index, item in enumerate(members.items):
        if isinstance(item, JwstDataModel):
            yield item.meta.filename or f"model {index + 1}", item
            continue
        log.info("Reading %s", item)
        if item.is_dir():
            problems.append(Problem("is a folder; give its exposures or an association", str(item)))
            log.error("%s", problems[-1])
            continue
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "error", message="File may have been truncated", category=AstropyWarning
                )
                model = datamodels.open(item)
        except FileNotFoundError:
            problems.append(Problem("there is no such file; check the path", str(item)))
        except Exception as err:
            reason = str(err).splitlines()[0] if str(err) else type(err).__name__
            problems.append(
                Problem(f"cannot be read ({reason}); download or make it again", str(item))
            )
        else:
            with model:
                yield Path(item).name, model
            continue
        log.error("%s", problems[-1])


def _slits(model, name, problems):
    """Yield each slit of a model with the metadata of its exposure, as a node and flat."""
    if isinstance(model, MultiSlitModel):
        meta, header = model.meta, flat_metadata(model.meta)
        for slit in model.slits:
            yield slit, meta, header
    elif isinstance(model, MultiExposureModel):
        for slit in model.exposures:
            yield slit, slit.meta, flat_metadata(slit.meta)
    elif type(model).__name__ in SLIT_MODELS:
        yield model, model.meta, flat_metadata(model.meta)
    else:
        problem = Problem(
            f"has no slits (it opens as {type(model).__name__}); give cal or s2d files of MSA "
            "spectra (calwebb_spec2)",
            name,
        )
        problems.append(problem)
        log.error("%s", problem)


def flat_metadata(meta):
    """Flatten the metadata of an exposure.

    Parameters
    ----------
    meta : node
        Metadata of a model.

    Returns
    -------
    dict
        Its scalars by their dotted names, ``meta.instrument.name`` and so on.
    """

    def walk(tree, prefix):
        for key, value in tree.items():
            path = f"{prefix}.{key}"
            if isinstance(value, dict):
                yield from walk(value, path)
            elif isinstance(value, (str, int, float, bool)):
                yield path, value

    return dict(walk(meta.instance, "meta"))


def _source_of(slit):
    """Make a source without cutouts from what a slit says of it."""
    name = str(getattr(slit, "source_name", None) or "").strip()
    number = int(getattr(slit, "source_id", None) or 0)
    ra, dec = getattr(slit, "source_ra", None), getattr(slit, "source_dec", None)
    return Source(source_label(number, name), number, name or str(number), ra, dec)


def _file_of(meta, name):
    """Name of the file that an exposure came from, where a source-based model has many."""
    return getattr(meta, "filename", None) or name
