"""A local CRDS cache with the reference files of simulated data.

jwst's steps ask CRDS for their reference files. With the environment variables of `environment`
they find those of the simulation in this cache, and no server is asked. The layout is that of the
CRDS client library; the rules match as those of NIRSpec's real context do.
"""

import ast
import hashlib
import shutil
from pathlib import Path

from crds.jwst import FILEKINDS
from jwst.stpipe.integration import get_steps

from msa3d_steps.errors import InputError
from msa3d_steps.whole import replace_whole

__all__ = ["environment", "write_cache"]

CONTEXT = "jwst_0001.pmap"
INSTRUMENT_CONTEXT = "jwst_nirspec_0001.imap"
EXPOSURE_TYPE = "NRS_MSASPEC"
USEAFTER = "1900-01-01 00:00:00"
SYNTHETIC = "SYNTHETIC, made by msa3d_simulate for simulated data only"

KEYWORDS = {
    "DETECTOR": "META.INSTRUMENT.DETECTOR",
    "GRATING": "META.INSTRUMENT.GRATING",
    "FILTER": "META.INSTRUMENT.FILTER",
    "EXP_TYPE": "META.EXPOSURE.TYPE",
}

MATCHED_BY = {
    "dflat": ("DETECTOR",),
    "disperser": ("GRATING", "EXP_TYPE"),
    "fflat": ("GRATING", "FILTER", "EXP_TYPE"),
    "fore": ("EXP_TYPE", "FILTER"),
    "sflat": ("DETECTOR", "FILTER", "GRATING", "EXP_TYPE"),
}
"""What the files of a type are chosen by; all others by the exposure type alone."""

README = f"""This folder is a local CRDS cache.
It is {SYNTHETIC}.

To calibrate simulated data with jwst, set two environment variables:

CRDS_PATH=<this folder>
CRDS_SERVER_URL=https://jwst-serverless-mode.stsci.edu
"""


def environment(root):
    """Environment variables with which jwst uses a cache.

    Parameters
    ----------
    root : str or pathlib.Path
        The cache.

    Returns
    -------
    dict of str to str
        ``CRDS_PATH`` and ``CRDS_SERVER_URL``.
    """
    return {
        "CRDS_PATH": str(Path(root).resolve()),
        "CRDS_SERVER_URL": "https://jwst-serverless-mode.stsci.edu",
    }


def write_cache(root, references, grating, filter_):
    """Write a local CRDS cache, or add to one that was written before.

    Every reference type that any step of jwst can ask for has an answer: "N/A" where there is no
    file, also for the parameters of steps and pipelines. What a cache already has for the same
    grating and detector is replaced; everything else in it stays.

    Parameters
    ----------
    root : str or pathlib.Path
        The cache; made if it does not exist.
    references : dict of str to (pathlib.Path or dict of str to pathlib.Path)
        Files by reference type; where each detector has its own, these by detector. They are
        copied.
    grating, filter_ : str
        What the files are for, as in the keywords GRATING and FILTER.

    Returns
    -------
    dict of str to str
        As `environment` gives.

    Raises
    ------
    InputError
        If there is a CRDS cache in `root` that is not of this kind.
    """
    root = Path(root)
    config, mappings = root / "config" / "jwst", root / "mappings" / "jwst"
    _refuse_real_cache(config / "server_config", root)
    files = root / "references" / "jwst" / "nirspec"
    for folder in (config, mappings, files):
        folder.mkdir(parents=True, exist_ok=True)
    for reftype, given in sorted(references.items()):
        by_detector = given if isinstance(given, dict) else {"ANY": given}
        rules = mappings / f"jwst_nirspec_{reftype}_0001.rmap"
        chosen = _read_rules(rules)
        for detector, path in by_detector.items():
            values = {
                "DETECTOR": detector, "GRATING": grating, "FILTER": filter_,
                "EXP_TYPE": EXPOSURE_TYPE,
            }  # fmt: skip
            key = tuple(values[name] for name in _matched_by(reftype))
            name = chosen.get(key) or _next_name(reftype, len(chosen) + 1, Path(path).suffix)
            _copy(path, files / name)
            chosen[key] = name
        _write_rules(rules, reftype, chosen)
    _write_contexts(mappings)
    _write_text(config / "server_config", _server_config())
    _write_text(root / "README.txt", README)
    return environment(root)


def _refuse_real_cache(server_config, root):
    if server_config.exists() and SYNTHETIC not in server_config.read_text():
        raise InputError(
            f"{root} is a CRDS cache that the simulation did not make; give another folder"
        )


def _matched_by(reftype):
    return MATCHED_BY.get(reftype, ("EXP_TYPE",))


def _next_name(reftype, serial, suffix):
    return f"jwst_nirspec_{reftype}_{serial:04d}{suffix}"


def _copy(source, path):
    with replace_whole(path) as temporary:
        shutil.copyfile(source, temporary)


def _write_text(path, text):
    with replace_whole(path) as temporary:
        temporary.write_text(text)


def _read_rules(path):
    """Read which file belongs to which values of the keywords, from rules written before."""
    if not path.exists():
        return {}
    selector = ast.parse(path.read_text()).body[-1].value
    match = selector.args[0]
    return {
        ast.literal_eval(key): next(iter(ast.literal_eval(useafter.args[0]).values()))
        for key, useafter in zip(match.keys, match.values, strict=True)
    }


def _write_rules(path, reftype, chosen):
    rows = "".join(
        f"    {key!r} : UseAfter({{ {USEAFTER!r} : {name!r} }}),\n"
        for key, name in sorted(chosen.items())
    )
    header = {
        "classes": ("Match", "UseAfter"),
        "filekind": reftype.upper(),
        "instrument": "NIRSPEC",
        "mapping": "REFERENCE",
        "parkey": (
            tuple(KEYWORDS[name] for name in _matched_by(reftype)),
            ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME"),
        ),
    }
    _write_mapping(path, header, f"Match({{\n{rows}}})")


def _write_contexts(mappings):
    """Write what says which rules there are: for the instrument, then for the observatory."""
    types = set(FILEKINDS) | {_parameters_of(name) for name, _, _ in get_steps()}
    rules = dict.fromkeys(sorted(kind.upper() for kind in types), "N/A")
    for path in sorted(mappings.glob("jwst_nirspec_*_0001.rmap")):
        rules[path.name.split("_")[2].upper()] = path.name
    rows = "".join(f"    {kind!r} : {rule!r},\n" for kind, rule in rules.items())
    header = {"instrument": "NIRSPEC", "mapping": "INSTRUMENT", "parkey": ("REFTYPE",)}
    _write_mapping(mappings / INSTRUMENT_CONTEXT, header, f"{{\n{rows}}}")
    header = {"mapping": "PIPELINE", "parkey": ("META.INSTRUMENT.NAME",)}
    _write_mapping(mappings / CONTEXT, header, f"{{\n    'NIRSPEC' : {INSTRUMENT_CONTEXT!r},\n}}")


def _parameters_of(step):
    """Derive the reference type of a step's parameters from the full name of its class."""
    return f"pars-{step.rsplit('.', 1)[-1]}".lower()


def _write_mapping(path, header, selector):
    """Write a mapping whose checksum is right: that of all lines but its own."""
    header = header | {
        "derived_from": "made by msa3d_simulate",
        "description": SYNTHETIC,
        "name": path.name,
        "observatory": "JWST",
    }

    def text(lines):
        rows = "".join(f"    {key!r} : {value!r},\n" for key, value in sorted(lines.items()))
        return f"header = {{\n{rows}}}\n\nselector = {selector}\n"

    digest = hashlib.sha1(text(header).encode(), usedforsecurity=False).hexdigest()
    _write_text(path, text(header | {"sha1sum": digest}))


def _server_config():
    """Say what a server would have said: the context, and that no file is bad."""
    config = {
        "observatory": "jwst", "operational_context": CONTEXT, "latest_context": CONTEXT,
        "edit_context": CONTEXT, "bad_files": "", "bad_files_list": [], "connected": False,
        "crds_version": {"str": SYNTHETIC}, "effective_mode": "local", "force_remote_mode": False,
        "last_synced": "2020-01-01 00:00:00", "mapping_url": {}, "reference_url": {},
        "server_version": SYNTHETIC, "status": "cache",
    }  # fmt: skip
    return f"{config!r}\n"
