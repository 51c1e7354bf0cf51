"""Pictures, maps and page at the end of a run: what they show, and when they are made again."""

import json
import re

import numpy as np
import pytest
from astropy.io import fits
from pipeline_runs import LABELS, PLACE, association, files, times_of

from msa3d_steps import IncompleteError, InputError, MSA3DQuicklookStep, MSA3DSpec3Pipeline
from msa3d_steps.simulate.record import read_truth

WINDOW = {"wavemin": 1.26, "wavemax": 1.34}  # um; [OIII] of all three
STEM = "jw09999-o001_{}_nirspec_f100lp-g140h"


@pytest.fixture(scope="module")
def folder(simulated, tmp_path_factory):
    """Cubes of NRS1 with their pictures; cutouts are kept."""
    out = tmp_path_factory.mktemp("pictures")
    run(simulated, out)
    return out


def run(simulated, out, **quicklook):
    members = [path for path in files(simulated, "cal") if "nrs1" in path.name]
    asn = association(out / "input", members)
    return MSA3DSpec3Pipeline.call(
        asn, output_dir=str(out), save_results=True, maximum_cores="none", keep_cutouts=True,
        steps={"cube": WINDOW, "outlier": {"skip": True}, "quicklook": quicklook},
    )  # fmt: skip


def rows(out):
    """The rows of the page, as programs read them."""
    text = (out / "index.html").read_text(encoding="utf-8")
    (content,) = re.findall(r'<script type="application/json" id="rows">(.*?)</script>', text, re.S)
    return [row["entry"] for row in json.loads(content)]


def made(out):
    """When the products of each kind were written."""
    return {
        kind: times_of(out, f"*_{kind}") for kind in ("s3d.fits", "quicklook.png", "linemaps.fits")
    }


def test_each_galaxy_has_its_line_on_the_page(folder, simulated):
    """Redshift within 20 km/s of the truth, exposures and files as they are."""
    truth = read_truth(simulated)
    found = rows(folder)
    assert [row["title"] for row in found] == LABELS
    for number, row in enumerate(found, 1):
        assert row["line"] == "[OIII]5007"
        redshift = truth.source(number).redshift
        assert abs(row["redshift"] - redshift) / (1 + redshift) * 299792 < 20
        assert (row["exposures_used"], row["exposures_rejected"], row["outliers"]) == (4, 0, -1)
        stem = STEM.format(row["title"])
        names = [f"{stem}_{kind}" for kind in made(folder)]
        assert [row["cube"], row["picture"], row["maps"]] == names
        assert not row["problems"]
    with fits.open(folder / f"{STEM.format(LABELS[0])}_linemaps.fits") as file:
        assert file["VELOCITY", 1].header["LINE"] == "[OIII]5007"
        assert np.isfinite(file["VELOCITY", 1].data).sum() > 20


def test_what_is_drawn_again(folder, simulated):
    """Nothing without a change; all for another mask, but no cube; the one that is gone."""
    before = made(folder)
    run(simulated, folder)
    assert made(folder) == before
    run(simulated, folder, snr=5.0)
    after = made(folder)
    assert after["s3d.fits"] == before["s3d.fits"]
    assert not set(after["quicklook.png"].values()) & set(before["quicklook.png"].values())
    lost = folder / f"{STEM.format(LABELS[1])}_quicklook.png"
    lost.unlink()
    run(simulated, folder, snr=5.0)
    changed = [name for name, t in made(folder)["quicklook.png"].items()
               if t != after["quicklook.png"][name]]  # fmt: skip
    assert changed == [lost.name]
    other = folder / f"{STEM.format(LABELS[2])}_linemaps.fits"  # somebody else writes it
    with fits.open(other, mode="update") as file:
        file["FLUX", 1].data[:] = 0
    run(simulated, folder, snr=5.0)
    assert fits.getdata(other, ("FLUX", 1)).any()
    assert "[3/3]" in (folder / PLACE / "run.log").read_text()


def test_a_picture_that_fails_costs_no_cube(folder, simulated, monkeypatch):
    """It is a problem of its source, on the page and in the exit status."""
    before = made(folder)["s3d.fits"]

    def fail(path):
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(MSA3DQuicklookStep, "_look_at", lambda step, item: fail(item))
    with pytest.raises(IncompleteError, match="ZeroDivisionError: odd"):
        run(simulated, folder, snr=4.0)
    assert made(folder)["s3d.fits"] == before
    found = rows(folder)
    assert [row["title"] for row in found] == LABELS
    assert all("ZeroDivisionError: odd" in row["problems"][0] for row in found)
    assert all(row["cube"] for row in found)


def test_a_run_without_cubes_says_why(tmp_path):
    (tmp_path / "bad_cal.fits").touch()
    with pytest.raises(InputError, match=r"no cube could be made: .*bad_cal\.fits"):
        MSA3DSpec3Pipeline.call(
            str(tmp_path / "bad_cal.fits"), output_dir=str(tmp_path / "out"), save_results=True
        )


@pytest.mark.parametrize(
    ("quicklook", "said"),
    [
        ({"lines": ["Hx"]}, "no line 'Hx' in the list"),
        ({"redshift": "z.csv"}, "redshift is z.csv, neither a number nor a file"),
    ],
)
def test_options_are_checked_before_the_work(simulated, tmp_path, quicklook, said):
    with pytest.raises(InputError, match=re.escape(said)):
        run(simulated, tmp_path, **quicklook)
    assert not list(tmp_path.glob("*.fits"))


def test_detectors_are_drawn_where_that_is_asked_for(simulated, tmp_path):
    run(simulated, tmp_path, detector=True, pictures=False, page=False)
    names = {path.name for path in tmp_path.glob("*.png")}
    expected = {p.name for p in files(simulated, "cal") if "nrs1" in p.name}
    assert names == {name.replace(".fits", "_detector.png") for name in expected}
    assert len(list(tmp_path.glob("*_linemaps.fits"))) == 3
    assert not (tmp_path / "index.html").exists()
