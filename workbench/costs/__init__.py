"""What tokens cost: here, by electricity, and at proprietary APIs."""

from workbench.costs.tokens import ApiPrice, Comparison, Cost, check, compare

__all__ = ["ApiPrice", "Comparison", "Cost", "check", "compare"]
