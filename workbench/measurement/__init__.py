"""Measuring a deployment: latency, throughput, CPU and peak memory, with raw samples and the environment kept."""

from workbench.measurement.answers import Answer, answers, ask
from workbench.measurement.requests import Sample, run_request
from workbench.measurement.text import Measurement, check_repeats, measure

__all__ = ["Answer", "Measurement", "Sample", "answers", "ask", "check_repeats", "measure", "run_request"]
