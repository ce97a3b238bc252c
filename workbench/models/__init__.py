"""What models are: read from a file or from a description. Weights are not loaded to learn their size.

models.get(…) brings a file and reads it; models.describe(…) needs no file. See `getting` and `described` for the names
they take. models.in_format(model, "Q4_K_M") is the same model in another format, described; models.convert(…) writes
one.
"""

from workbench.models import formats
from workbench.models.conversion import can_convert, convert, weight_files
from workbench.models.described import AnyModel, describe, in_format
from workbench.models.getting import at_hand, get, get_text, known
from workbench.models.image import ImageModel
from workbench.models.model import Architecture, Model, Tensor
from workbench.models.speech import SpeechModel
from workbench.models.verification import Progress, identity

__all__ = [
    "AnyModel",
    "Architecture",
    "ImageModel",
    "Model",
    "Progress",
    "SpeechModel",
    "Tensor",
    "at_hand",
    "can_convert",
    "convert",
    "describe",
    "formats",
    "get",
    "get_text",
    "identity",
    "in_format",
    "known",
    "weight_files",
]
