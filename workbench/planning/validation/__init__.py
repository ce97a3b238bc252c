"""Score the predictions on a table of measurements: every row that can be predicted is, every other is refused by name.

The tables have the columns of `benchmarks/published`. What the catalog lacks is counted under its name and never
guessed; the ledger's calibration is off. The rows that coefficients were fitted to are scored like any others: how far
off the predictions are on devices left out of the fit is in the records of `python -m benchmarks fit_speed`.
"""

from workbench.planning.validation.rows import Measured, Refused
from workbench.planning.validation.scores import Group, Validation, validate

__all__ = ["Group", "Measured", "Refused", "Validation", "validate"]
