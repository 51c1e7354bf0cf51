"""A local CRDS cache that has no reference file for anything, for pipelines that insist on one.

Its mappings have names of their own: crds keeps those it has read by their names.
"""

import hashlib


def empty_cache(root):
    """Lay out the cache; returns the environment variables that name it."""
    config, maps = root / "config" / "jwst", root / "mappings" / "jwst"
    config.mkdir(parents=True)
    maps.mkdir(parents=True)
    (config / "server_config").write_text(
        repr(
            {
                "observatory": "jwst", "operational_context": "jwst_0002.pmap",
                "edit_context": "jwst_0002.pmap", "effective_mode": "local", "connected": False,
                "status": "cache", "last_synced": "2026-01-01 00:00:00", "bad_files": "",
                "bad_files_set": set(), "crds_version": {"str": "14"}, "server_version": "14",
                "force_remote_mode": False, "reference_url": {}, "mapping_url": {},
            }
        )
    )  # fmt: skip
    base = {"observatory": "JWST", "description": "empty", "derived_from": "empty"}

    def write(name, header, selector):
        header = dict(base, name=name, **header)
        text = f"header = {header!r}\n\nselector = {selector!r}\n"
        digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        text = f"header = {dict(header, sha1sum=digest)!r}\n\nselector = {selector!r}\n"
        (maps / name).write_text(text)

    write(
        "jwst_0002.pmap",
        {"mapping": "PIPELINE", "parkey": ("META.INSTRUMENT.NAME",)},
        {"NIRSPEC": "jwst_nirspec_0002.imap"},
    )
    types = ["PARS-SPEC3PIPELINE", "SPECKERNEL", "CUBEPAR", "EXTRACT1D", "APCORR", "MRSPTCORR"]
    write(
        "jwst_nirspec_0002.imap",
        {"mapping": "INSTRUMENT", "instrument": "NIRSPEC", "parkey": ("REFTYPE",)},
        dict.fromkeys(types, "N/A"),
    )
    return {
        "CRDS_PATH": str(root),
        "CRDS_SERVER_URL": "https://jwst-serverless-mode.stsci.edu",
        "CRDS_IGNORE_MAPPING_CHECKSUM": "1",
    }
