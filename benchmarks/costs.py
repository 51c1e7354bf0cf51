"""What each way to make a cube costs: ``python -W ignore benchmarks/costs.py CUTOUT.fits``.

126 cutouts of 40 x 2048 pixels (G140H, both detectors, 9 steps x 7 dithers) of a round source with
noise, in one thread. Processor time relative to plain drizzle with all that a cube has, and memory
on top of the cutouts.
"""

import argparse
import logging
import multiprocessing
import os
import resource
import time
from dataclasses import replace

import numpy as np
from material import grating_survey
from speed import make_source

from msa3d_steps import MSA3DCubeStep

WAYS = {
    "drizzle": {},
    "drizzle, covariance of one channel": {"covariance": True},
    "weighting=ivm": {"weighting": "ivm"},
    "weighting=median": {"weighting": "median"},
    "weighting=clipped": {"weighting": "clipped"},
    "method=linear": {"method": "linear"},
    "method=linear, weighting=median": {"method": "linear", "weighting": "median"},
    "register=self": {"register": "self"},
    "method=inverse": {"method": "inverse"},
}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cutout", help="a calibrated cutout, such as those of CEERS")
    parser.add_argument("--scalexy", type=float, default=0.1)
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    arguments = parser.parse_args()
    source = make_source(grating_survey(arguments.cutout))
    lighten(source)
    fork = multiprocessing.get_context("fork")
    plain = None
    print(f"{'':36}{'s':>8}{'ratio':>8}{'MB':>8}")
    for way in arguments.ways:
        ours, theirs = fork.Pipe()
        process = fork.Process(
            target=build, args=(source, arguments.scalexy, WAYS[way], theirs), name=way
        )
        process.start()
        seconds, memory = ours.recv()
        process.join()
        plain = plain or seconds
        print(f"{way:36}{seconds:8.1f}{seconds / plain:8.2f}{memory:8.0f}", flush=True)


def lighten(source):
    """Replace the light of the cutouts by that of a round source, with noise."""
    rng = np.random.default_rng(3)
    ra0, dec0 = source.cutouts[0].footprint.center
    for i, cutout in enumerate(source.cutouts):
        columns, rows = cutout.footprint.middles
        offset, matrix = cutout.footprint.to_plane(ra0, dec0)
        data = np.full(cutout.data.shape, np.nan, np.float32)
        y_slit = cutout.footprint.along(columns, rows)
        along = offset[:, None, None] + matrix[:, 1][:, None, None] * y_slit
        light = np.exp(-0.5 * (along**2).sum(axis=0) / 0.2**2)
        noise = 0.05 * rng.standard_normal(light.shape)
        data[:, cutout.footprint.span] = light + noise
        data[~np.isfinite(cutout.data)] = np.nan
        variance = np.full(data.shape, 0.05**2, np.float32)
        source.cutouts[i] = replace(cutout, data=data, variance=variance, read_variance=variance)


def build(source, scale, parameters, pipe):
    """Build the cube twice, the first time to compile, and send processor time and memory."""
    logging.disable()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        start = time.process_time()
        MSA3DCubeStep.call(source, scalexy=scale, maximum_cores="1", **parameters)
        seconds = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    pipe.send((seconds, memory / 1024))


if __name__ == "__main__":
    main()
