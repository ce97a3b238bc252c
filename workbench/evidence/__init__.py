"""What is predicted, what is measured, and how far the two lie apart.

`Estimate` and `Measurement` are different types on purpose: no field ever holds both.
"""

from workbench.evidence.estimate import Basis, Breakdown, Estimate
from workbench.evidence.measured import Measured

__all__ = ["Basis", "Breakdown", "Estimate", "Measured"]
