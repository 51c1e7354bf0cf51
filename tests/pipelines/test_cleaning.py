"""Pathloss, background and outliers as members of the pipelines."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from pipeline_runs import LABELS, NARROW, PLACE, association, cubes_in, files, replaced
from stdatamodels.jwst import datamodels

from msa3d_steps import InputError, MSA3DPathlossStep, MSA3DSpec3Pipeline
from msa3d_steps.cube.inputs import Selection
from msa3d_steps.pipelines.parts import ExposureReport, Found

OPTIONS = {"save_results": True, "maximum_cores": "none"}


def spec3(asn, folder, *, keep=False, outlier=None, **steps):
    """Make cubes of a narrow window; gives them by label."""
    steps = {**NARROW, "outlier": outlier or {}, **steps}
    MSA3DSpec3Pipeline.call(
        str(asn), output_dir=str(folder), keep_cutouts=keep, steps=steps, **OPTIONS
    )
    return cubes_in(folder)


def values(path):
    with fits.open(path) as hdus:
        return hdus["SCI"].data.astype(float), hdus["ERR"].data.astype(float)


@pytest.fixture(scope="module")
def asn(simulated, tmp_path_factory):
    return association(tmp_path_factory.mktemp("asn"), files(simulated, "cal"))


@pytest.fixture(scope="module")
def usual(asn, tmp_path_factory):
    return spec3(asn, tmp_path_factory.mktemp("usual"))


def hit(hdus):
    """Put charge into the middle of each slit, where the window is."""
    for hdu in hdus:
        if hdu.name == "SCI":
            lam = hdus["WAVELENGTH", hdu.ver].data
            row = lam.shape[0] // 2
            column = np.nanargmin(np.abs(lam[row] - 1.205))
            hdu.data[row, column] += 50.0


def test_outliers_do_not_reach_the_cubes(simulated, usual, tmp_path):
    folder = tmp_path / "input"
    folder.mkdir()
    for path in files(simulated, "cal"):
        (folder / path.name).symlink_to(path)
    spoilt = files(folder, "cal")[0]
    replaced(spoilt, hit)
    asn = association(folder, [path.name for path in files(folder, "cal")])
    cleaned = spec3(asn, tmp_path / "cleaned")
    kept = spec3(asn, tmp_path / "kept", outlier={"skip": True})
    for label in LABELS:
        clean, err = values(usual[label])
        used = np.isfinite(clean)
        off = np.abs(values(kept[label])[0] - clean)[used].max()
        assert off > 10 * err[used].max()
        assert np.abs((values(cleaned[label])[0] - clean) / err)[used].max() < 1
        table = Table.read(cleaned[label], "EXPOSURES")
        is_hit = table["file"] == spoilt.name
        without = Table.read(usual[label], "EXPOSURES")["outliers"]
        assert np.all(table["outliers"][is_hit] > without[is_hit])
        assert fits.getval(usual[label], "S_OUTLIR") == "COMPLETE"
        assert np.all(Table.read(kept[label], "EXPOSURES")["outliers"] == -1)
        assert fits.getval(cleaned[label], "S_OUTLIR") == "COMPLETE"
        assert "S_OUTLIR" not in fits.getheader(kept[label])
    summary = Table.read(tmp_path / "cleaned" / PLACE / "summary.ecsv")
    counted = [Table.read(cleaned[label], "EXPOSURES")["outliers"].sum() for label in LABELS]
    assert list(summary["outliers"]) == counted


def test_other_parameters_make_other_cubes_of_the_same_cutouts(asn, tmp_path):
    folder = tmp_path / "cubes"
    spec3(asn, folder, keep=True)
    cutouts = {p.name: p.stat().st_mtime_ns for p in (folder / PLACE).rglob("*cal*")}
    before = {label: path.stat().st_mtime_ns for label, path in cubes_in(folder).items()}
    again = spec3(asn, folder, keep=True)
    assert {label: path.stat().st_mtime_ns for label, path in again.items()} == before
    other = spec3(asn, folder, keep=True, outlier={"snr": 6.0})
    assert all(other[label].stat().st_mtime_ns > before[label] for label in LABELS)
    assert {p.name: p.stat().st_mtime_ns for p in (folder / PLACE).rglob("*cal*")} == cutouts


@pytest.fixture(scope="module")
def lossy(simulated, tmp_path_factory):
    """Exposures whose pathloss is put back, and the reference file."""
    folder = tmp_path_factory.mktemp("lossy")
    reference = next((simulated / "crds").rglob("*pathloss*.fits"))
    for path in files(simulated, "cal"):
        with MSA3DPathlossStep.call(
            str(path), inverse=True, override_pathloss=str(reference)
        ) as model:
            model.save(str(folder / path.name))
    return association(folder, [path.name for path in files(folder, "cal")]), reference


def test_pathloss_is_corrected_where_it_is_not(lossy, usual, tmp_path):
    asn, reference = lossy
    corrected = spec3(asn, tmp_path / "a", pathloss={"override_pathloss": str(reference)})
    left = spec3(asn, tmp_path / "b", pathloss={"skip": True})
    for label in LABELS:
        for ours, theirs in zip(values(corrected[label]), values(usual[label]), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        ratio = np.nanmedian(values(left[label])[1] / values(usual[label])[1])
        assert abs(ratio - 1) > 0.005
        assert fits.getval(corrected[label], "S_PTHLOS") == "COMPLETE"
        assert fits.getval(left[label], "S_PTHLOS") == "SKIPPED"


def test_pathloss_without_a_reference_names_the_mend(lossy, tmp_path):
    with pytest.raises(InputError, match="override_pathloss"):
        spec3(lossy[0], tmp_path / "a")


def test_background_is_measured_in_background_slits(simulated, usual, tmp_path):
    sky = 3.0

    def brighten(model):
        for slit in model.slits:
            slit.data += sky
        blank = model.slits[0]
        blank.source_name = "BKG_1"
        blank.data[:] = sky
        blank.err[:] = np.nanmedian(blank.err)
        return model

    folder = tmp_path / "input"
    folder.mkdir()
    for path in files(simulated, "cal"):
        with datamodels.open(path) as model:
            brighten(model).save(str(folder / path.name))
    asn = association(folder, [path.name for path in files(folder, "cal")])
    cubes = spec3(asn, tmp_path / "cubes", background={"skip": False})
    assert set(cubes) == set(LABELS[1:])  # of the blank one none
    assert len(Table.read(tmp_path / "cubes" / PLACE / "summary.ecsv")) == 2
    for label in LABELS[1:]:
        ours, theirs = values(cubes[label])[0], values(usual[label])[0]
        off = np.nanmedian(ours - theirs)
        assert abs(off) < 0.2  # the zodiacal light of the survey is in `theirs`
        assert fits.getval(cubes[label], "S_MSBSUB") == "COMPLETE"


@pytest.mark.parametrize(
    ("made", "wanted", "serves"),
    [
        (Selection(), Selection(blanks=True), False),
        (Selection(blanks=True), Selection(), True),
        (Selection(("s1",)), Selection(("s1",), blanks=True), False),
        (Selection(("s000000001",), blanks=True), Selection(("s000000001",)), True),
    ],
)
def test_cutouts_without_background_slits_do_not_serve(made, wanted, serves):
    left_out = {} if made.blanks else {"b000000002": (2, "BKG_2")}
    found = Found("s000000001", 1, "1_1", 1, 0)
    report = ExposureReport("x", "key", made, (found,), left_out)
    assert report.serves(wanted) == serves
    with_blanks = replace(report, sources=(found, Found("b000000002", 2, "BKG_2", 1, 0)))
    assert [f.label for f in with_blanks.of(Selection()).sources] == ["s000000001"]


def test_spectrum_that_is_not_there(asn, tmp_path):
    model = {"skip": False, "method": "model", "spectrum": "none.ecsv"}
    with pytest.raises(InputError, match=r"none\.ecsv: is not there"):
        spec3(asn, tmp_path, background=model)
