import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
DATA = HERE.parents[1] / "shared" / "data"

# no step of ours may need these; a test that does sets its own
for variable in ("CRDS_PATH", "CRDS_SERVER_URL", "CRDS_CONTEXT"):
    os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def real_paths():
    """Paths of the three real exposures of source 1345_933."""
    paths = sorted(DATA.glob("jw01345*_phot.*.fits"))
    if len(paths) < 3:
        pytest.skip("the real exposures (../shared/data) are not on this machine")
    return paths


@pytest.fixture(scope="session")
def real_models(real_paths):
    """The same, opened once; tests must not change them."""
    from stdatamodels.jwst import datamodels

    return [datamodels.open(path) for path in real_paths]


@pytest.fixture(scope="session")
def synthetic():
    """A slit made of polynomials and its quadrature nodes."""
    from scene import sample, synthetic_template

    template = synthetic_template()
    return template, sample(template.wcs, template.shape, (-2.4, 2.4))


@pytest.fixture(scope="session")
def small_survey(synthetic):
    """Two steps x three dithers of a compact source: plain slits."""
    from scene import Blob, pattern, survey

    template, sampling = synthetic
    blob = Blob(1.0, *template.source, 0.15)
    return survey(template, pattern(2, 3), [blob], sampling=sampling)


@pytest.fixture
def survey_files(small_survey, tmp_path):
    """The same as files with an association: its path."""
    from scene import as_model

    folder = tmp_path / "input"
    folder.mkdir()
    names = []
    for slit in small_survey:
        model = as_model(slit)
        model.save(str(folder / model.meta.filename))
        names.append(model.meta.filename)
    return write_association(folder, names)


def write_association(folder, names, product="jw02136-o001_{source_id}_nirspec_f100lp-g140m"):
    import json

    path = folder / "asn.json"
    members = [{"expname": str(name), "exptype": "science"} for name in names]
    path.write_text(
        json.dumps(
            {
                "asn_id": "a3001", "asn_pool": "none", "asn_type": "spec3",
                "asn_rule": "DMS_Level3_Base", "program": "02136",
                "products": [{"name": product, "members": members}],
            }
        )
    )  # fmt: skip
    return path
