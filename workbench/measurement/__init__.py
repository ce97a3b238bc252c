"""Measuring a deployment: latency, throughput, CPU and peak memory, with raw samples and the environment kept."""

from workbench.measurement.requests import Sample, run_request
from workbench.measurement.text import Measurement, check_repeats, measure

__all__ = ["Measurement", "Sample", "check_repeats", "measure", "run_request"]
