"""Measuring a deployment: latency, throughput, CPU and peak memory, with raw samples and the environment kept."""

from workbench.measurement.race import Lap, Race, race
from workbench.measurement.requests import Sample, run_request
from workbench.measurement.text import Measurement, check_repeats, measure

__all__ = ["Lap", "Measurement", "Race", "Sample", "check_repeats", "measure", "race", "run_request"]
