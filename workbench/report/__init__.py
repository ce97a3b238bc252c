"""What is shown and kept: the figures, the HTML report, and the tour that goes through everything once."""

from workbench.report.guided import ANSWER_TOKENS, MODEL, QUESTION, Tour, tour
from workbench.report.html import write_report
from workbench.report.walkthrough import Guidance, walkthrough

__all__ = ["ANSWER_TOKENS", "MODEL", "QUESTION", "Guidance", "Tour", "tour", "walkthrough", "write_report"]
