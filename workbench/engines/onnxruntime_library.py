"""The part of ONNX Runtime GenAI's C interface that computes.

The Python binding keeps the interpreter's lock while it computes, so that each token would leave the server only after
the next one, and nothing be answered in between; a call through ctypes lets go of it.

Source: microsoft/onnxruntime-genai@00d66ef, src/ort_genai_c.h.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping, Sequence
from ctypes import POINTER, byref, c_bool, c_char_p, c_double, c_int32, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime_genai
from onnxruntime_genai import onnxruntime_genai as _loads_the_library  # noqa: F401 - with what it depends on

_OUT = POINTER(c_void_p)
#: What each function takes; all return a result that is null where all went well.
_FUNCTIONS: Mapping[str, tuple[Any, ...]] = {
    "OgaCreateConfig": (c_char_p, _OUT),
    "OgaConfigOverlay": (c_void_p, c_char_p),
    "OgaCreateModelFromConfig": (c_void_p, _OUT),
    "OgaCreateGeneratorParams": (c_void_p, _OUT),
    "OgaGeneratorParamsSetSearchNumber": (c_void_p, c_char_p, c_double),
    "OgaGeneratorParamsSetSearchBool": (c_void_p, c_char_p, c_bool),
    "OgaCreateGenerator": (c_void_p, c_void_p, _OUT),
    "OgaGenerator_AppendTokens": (c_void_p, POINTER(c_int32), c_size_t),
    "OgaGenerator_GenerateNextToken": (c_void_p,),
    "OgaGenerator_GetNextTokens": (c_void_p, POINTER(POINTER(c_int32)), POINTER(c_size_t)),
}
_VOIDS = ("OgaDestroyResult", "OgaDestroyConfig", "OgaDestroyModel", "OgaDestroyGeneratorParams", "OgaDestroyGenerator")


class GenAIError(RuntimeError):
    """What the library says went wrong."""


@cache
def _library() -> ctypes.CDLL:
    """The one that the binding has loaded already."""
    folder = Path(onnxruntime_genai.__file__).parent
    (path,) = (one for one in folder.glob("*onnxruntime-genai.*") if one.suffix in (".so", ".dylib", ".dll"))
    library = ctypes.CDLL(str(path))
    for name, takes in _FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = takes, c_void_p
    for name in _VOIDS:
        function = getattr(library, name)
        function.argtypes, function.restype = (c_void_p,), None
    library.OgaGenerator_IsDone.argtypes, library.OgaGenerator_IsDone.restype = (c_void_p,), c_bool
    library.OgaResultGetError.argtypes, library.OgaResultGetError.restype = (c_void_p,), c_char_p
    return library


def _call(name: str, *arguments: Any) -> None:
    if result := getattr(_library(), name)(*arguments):
        said = _library().OgaResultGetError(result)
        _library().OgaDestroyResult(result)
        raise GenAIError(said.decode(errors="replace"))


class _Owned:
    """Something of the library's, which is freed with this object."""

    _kind: str

    def __init__(self, name: str, *arguments: Any) -> None:
        self.pointer = c_void_p()
        _call(name, *arguments, byref(self.pointer))

    def __del__(self) -> None:
        if self.pointer:
            getattr(_library(), f"OgaDestroy{self._kind}")(self.pointer)


class _Config(_Owned):
    _kind = "Config"


class _Params(_Owned):
    _kind = "GeneratorParams"


class Model(_Owned):
    """A folder of the model builder, loaded; overlay: what is changed of its configuration."""

    _kind = "Model"

    def __init__(self, folder: Path, overlay: Mapping[str, Any]) -> None:
        config = _Config("OgaCreateConfig", str(folder).encode())
        _call("OgaConfigOverlay", config.pointer, json.dumps(overlay).encode())
        super().__init__("OgaCreateModelFromConfig", config.pointer)


class Generator(_Owned):
    """One answer with its cache. search: the library's own search options, numbers and booleans."""

    _kind = "Generator"

    def __init__(self, model: Model, search: Mapping[str, float | bool]) -> None:
        params = _Params("OgaCreateGeneratorParams", model.pointer)
        for name, value in search.items():
            kind = "Bool" if isinstance(value, bool) else "Number"
            _call(f"OgaGeneratorParamsSetSearch{kind}", params.pointer, name.encode(), value)
        self._model = model  # lives as long as this
        super().__init__("OgaCreateGenerator", model.pointer, params.pointer)

    def append(self, tokens: Sequence[int]) -> None:
        """Work on a part of the prompt."""
        _call("OgaGenerator_AppendTokens", self.pointer, (c_int32 * len(tokens))(*tokens), len(tokens))

    def next(self) -> int:
        """The next token."""
        _call("OgaGenerator_GenerateNextToken", self.pointer)
        tokens, count = POINTER(c_int32)(), c_size_t()
        _call("OgaGenerator_GetNextTokens", self.pointer, byref(tokens), byref(count))
        return int(tokens[0])

    @property
    def is_done(self) -> bool:
        """Whether the last token was the end, or the most that fit."""
        return bool(_library().OgaGenerator_IsDone(self.pointer))
