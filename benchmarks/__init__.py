"""Benchmarks: each measures one figure of the project and writes a record that can be read without the hardware."""
