"""What is shown and kept: the figures, the HTML report, and the tour that goes through everything once."""

from workbench.report.html import write_report
from workbench.report.guided import MODEL, QUESTION, Tour, tour

__all__ = ["MODEL", "QUESTION", "Tour", "tour", "write_report"]
