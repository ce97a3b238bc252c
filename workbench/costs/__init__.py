"""What tokens cost: here, by electricity, and at proprietary APIs."""

from workbench.costs.tokens import ApiPrice, Comparison, Cost, compare

__all__ = ["ApiPrice", "Comparison", "Cost", "compare"]
