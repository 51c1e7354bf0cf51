"""From a cube back to the command that made it: association and run file out of its provenance."""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import yaml

from msa3d_steps.association.words import some_of
from msa3d_steps.association.writing import association_of, check_names, path_from, write_texts
from msa3d_steps.cube.provenance import package_versions
from msa3d_steps.datamodels import MSACubeModel
from msa3d_steps.errors import InputError
from msa3d_steps.parameters import HEADER
from msa3d_steps.words import counted

__all__ = ["Rebuild", "rebuild"]

LEFT_OUT = ("sources", "background_slits", "virtual_slits", "dask_scheduler")
"""Parameters that choose sources, of which a cube names its own, and say who does the work."""

OURS = "msa3d_steps."
"""Classes whose run files have inputs."""


@dataclass(frozen=True)
class Rebuild:
    """What it takes to make a cube again.

    Parameters
    ----------
    cube : pathlib.Path
        The cube.
    provenance : dict
        What the cube tells, as of `~msa3d_steps.cube.provenance.provenance_of`.
    program : str
        Number of the programme.
    members : tuple of pathlib.Path
        The exposures; a bare name for one that was not found.
    files : dict
        Paths of the other files that parameters name, by parameter.
    msa_metafile : pathlib.Path or None
        The MSA metafile that was given.
    missing : tuple of str
        Names of files that were not found.
    problems : tuple of str
        Why the cube may not come out the same.
    notes : tuple of str
        What to do that it does.
    """

    cube: Path
    provenance: dict
    program: str
    members: tuple
    files: dict
    msa_metafile: Path | None
    missing: tuple
    problems: tuple
    notes: tuple = ()

    @property
    def is_ours(self):
        """Whether one of our steps or pipelines made the cube, and not a pipeline around it."""
        return self.provenance["class"].startswith(OURS)

    def summary(self):
        """Put into words what was found.

        Returns
        -------
        str
            Some lines.
        """
        found, own = self.provenance, self.provenance["versions"]
        n = len(self.members)
        exposures = counted(n, "file")
        there = n - sum(not m.is_absolute() for m in self.members)
        lines = [
            f"cube       {self.cube}: {found['source']}",
            f"made by    {found['name']} of msa3d_steps {own['msa3d-steps']}, jwst {own['jwst']}",
            f"exposures  {exposures}, {'all' if there == n else there} of them found",
        ]
        remarks = [*(f"! {text}" for text in self.problems), *(f"- {text}" for text in self.notes)]
        return "\n".join([*lines, "", *remarks]).rstrip()

    def names(self, folder):
        """Name the files that `write` writes.

        Parameters
        ----------
        folder : str or pathlib.Path
            Where they go.

        Returns
        -------
        tuple of pathlib.Path
            Association and run file.
        """
        folder = Path(folder).expanduser()
        return folder / f"{self._stem}_asn.json", folder / f"{self._stem}_again.asdf"

    def write(self, folder=".", overwrite=False):
        """Write an association and a run file.

        Parameters
        ----------
        folder : str or pathlib.Path
            Where to; made if it is not there.
        overwrite : bool
            Whether files of these names may be replaced.

        Returns
        -------
        tuple of pathlib.Path
            Association and run file.

        Raises
        ------
        InputError
            Where they are there already or cannot be written.
        """
        association, run_file = self.names(folder)
        check_names([association, run_file], overwrite)
        folder = association.parent
        members = [self._seen_from(folder, member) for member in self.members]
        content = association_of(self.program, self._product, members)
        tree = self._run_file(folder, association.name)
        text = HEADER + self._comment(run_file.name, association.name)
        text += yaml.dump(tree, Dumper=yaml.SafeDumper, sort_keys=False, width=100) + "...\n"
        write_texts({association: json.dumps(content, indent=1) + "\n", run_file: text})
        return association, run_file

    def command(self, run_file, association):
        """Say how to run it.

        Parameters
        ----------
        run_file, association : pathlib.Path
            What was written.

        Returns
        -------
        str
            The command; into another folder, so that the cube itself stays.
        """
        inputs = "" if self.is_ours else f" {association}"
        return f"strun {run_file}{inputs} --output_dir=again"

    @property
    def _stem(self):
        """The name of the cube without suffix."""
        return self.cube.name.removesuffix(".fits").removesuffix("_s3d")

    @property
    def _product(self):
        """The same with a place for the source."""
        return self._stem.replace(self.provenance["source"], "{source_id}")

    @staticmethod
    def _seen_from(folder, path):
        return path_from(folder, path) if path.is_absolute() else str(path)

    def _comment(self, run_file, association):
        lines = [
            f"# What made {self.cube.name}. Make it again: {self.command(run_file, association)}"
        ]
        if self.is_ours and not _is_registered(self.provenance):
            lines.append(
                "# It makes this source; leave out sources to make all that these exposures have."
            )
        return "".join(f"{line}\n" for line in lines)

    def _run_file(self, folder, association):
        """Arrange what the cube tells as a run file."""
        found = self.provenance
        tree = {key: found[key] for key in ("class", "name", "parameters", "steps") if key in found}
        tree = self._with_files(tree)
        if not self.is_ours:
            return tree
        sources = [found["source"]]
        if _is_registered(found):
            sources = tree["parameters"].get("sources")
        tree = _without(tree, LEFT_OUT)
        if sources:
            tree["parameters"] = {"sources": sources, **tree["parameters"]}
        tree["inputs"] = {"members": [association]}
        if self.msa_metafile is not None:
            tree["inputs"]["msa_metafile"] = self._seen_from(folder, self.msa_metafile)
        tree["inputs"]["product_name"] = self._product
        return tree

    def _with_files(self, step, prefix=""):
        """Put the paths of files in, as they are now."""
        parameters = {
            name: str(self.files[prefix + name]) if prefix + name in self.files else value
            for name, value in step.get("parameters", {}).items()
        }
        tree = {**step, "parameters": parameters}
        if "steps" in step:
            tree["steps"] = [
                self._with_files(own, f"{prefix}{own['name']}.") for own in step["steps"]
            ]
        return tree


def rebuild(cube, folders=()):
    """Find out how a cube was made, and what is there of that.

    Parameters
    ----------
    cube : str or pathlib.Path
        A cube, ``..._s3d.fits``.
    folders : sequence of str or pathlib.Path
        Folders of exposures, or files; that of the cube and the current one if none is given.

    Returns
    -------
    Rebuild
        The command, and where its files are.

    Raises
    ------
    InputError
        Where the file is no cube, or does not tell how it was made.
    """
    cube = Path(cube).expanduser()
    provenance, program = _read(cube)
    folders = [Path(folder).expanduser() for folder in folders] or [cube.parent, Path()]
    for folder in folders:
        if not folder.exists():
            raise InputError("there is no such folder or file; check the path", str(folder))
    search = _Search(folders)
    members = tuple(search.find(entry) for entry in provenance["exposures"])
    files = {e["parameter"]: search.find(e, _value(provenance, e)) for e in provenance["files"]}
    metafile = provenance.get("msa_metafile")
    metafile = search.find({"name": metafile}) if metafile else None
    problems = [
        *search.problems(folders), *_of_models(provenance), *_of_versions(provenance["versions"]),
    ]  # fmt: skip
    return Rebuild(
        cube, provenance, program, members, files, metafile, tuple(search.missing),
        tuple(problems), (*_of_references(provenance), *_of_registration(provenance)),
    )  # fmt: skip


def _read(cube):
    """Read the provenance and the number of the programme."""
    try:
        with MSACubeModel(cube) as model:
            provenance = json.loads(json.dumps(model.meta.msa3d.provenance.instance))
            program = model.meta.observation.program_number or "none"
    except FileNotFoundError:
        raise InputError("there is no such file; check the path", str(cube)) from None
    except Exception as err:  # many kinds, of astropy, asdf and stdatamodels
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise InputError(f"is no cube that can be read ({reason})", str(cube)) from err
    if not provenance:
        raise InputError(
            "does not tell how it was made: it is no cube of msa3d_cube, or one of an early "
            "version, or its ASDF extension was dropped by another tool", str(cube)
        )  # fmt: skip
    return provenance, program


class _Search:
    """Looks for files by name and size, in folders and one level below."""

    def __init__(self, folders):
        self.missing, self.changed = [], []
        self._paths = defaultdict(list)
        for folder in folders:
            found = [folder]
            if folder.is_dir():
                found = [*sorted(folder.glob("*")), *sorted(folder.glob("*/*"))]
            for path in found:
                if path.is_file() and path.resolve() not in self._paths[path.name]:
                    self._paths[path.name].append(path.resolve())

    def find(self, entry, first=None):
        """Find a file: where it was, or in the folders; of several the one of the same size."""
        name, size = entry["name"], entry.get("size")
        paths = [Path(first).resolve()] if first and Path(first).is_file() else []
        paths += self._paths.get(name, [])
        if not paths:
            self.missing.append(name)
            return Path(name)
        same = [path for path in paths if size in (None, path.stat().st_size)]
        if not same:
            self.changed.append(f"{paths[0]} ({paths[0].stat().st_size} bytes, was {size})")
        return (same or paths)[0]

    def problems(self, folders):
        """Say what was not found, and what is not what it was."""
        if self.missing:
            where = some_of([str(folder) for folder in folders])
            yield (
                f"not found in {where}: {some_of(self.missing)}; name the folders that have them, "
                "or put them beside the run file"
            )
        if self.changed:
            yield (
                f"another size than when the cube was made: {some_of(self.changed)}; the cube will "
                "differ"
            )


def _value(provenance, entry):
    """Give the value of the parameter that names a file."""
    *steps, name = entry["parameter"].split(".")
    node = provenance
    for step in steps:
        node = next(own for own in node["steps"] if own["name"] == step)
    return node["parameters"][name]


def _of_models(provenance):
    """Say that exposures were in memory."""
    models = [entry["name"] for entry in provenance["exposures"] if "size" not in entry]
    if models:
        yield (
            f"the cube was made of models in memory: {some_of(models)}; what had been done to them "
            "is not known"
        )


def _of_versions(then):
    """Say which versions differ."""
    now = package_versions()
    differ = [f"{k} {then[k]} (here {now.get(k, 'none')})" for k in then if then[k] != now.get(k)]
    if differ:
        yield f"made with {', '.join(differ)}: the cube may differ"


def _of_references(provenance):
    """Say which reference files calibration takes."""
    contexts = provenance["references"].get("crds.context_used", [])
    if provenance["class"].endswith(".MSA3DPipeline") and len(contexts) == 1:
        yield (
            f"calibrated with CRDS context {contexts[0]}: set CRDS_CONTEXT={contexts[0]} to have "
            "the same reference files"
        )


def _is_registered(provenance):
    """Tell whether exposures were registered on all sources of the run together."""
    own = provenance["parameters"].get("register", "none")
    return own != "none" and provenance["class"].endswith(".MSA3DCubeStep")


def _of_registration(provenance):
    """Say that other sources are needed."""
    if _is_registered(provenance):
        yield (
            "the exposures were registered on all sources of the run together: the run file makes "
            "them all"
        )


def _without(step, names):
    """Leave parameters out of a step and of those in it."""
    tree = {**step}
    tree["parameters"] = {k: v for k, v in step.get("parameters", {}).items() if k not in names}
    if "steps" in step:
        tree["steps"] = [_without(own, names) for own in step["steps"]]
    return tree
