"""Names what a file is when it is not the GGUF file somebody hoped for. Looks at the first bytes; opens nothing."""

from __future__ import annotations

HEAD_BYTES = 512

_PICKLE_FIX = "A pickle can run code when it is opened, so it never is: use the model's GGUF file."
_AGAIN = "Download the file again."

_BEGINNINGS: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"version https://git-lfs",), "a Git LFS pointer, not the file itself", "Run `git lfs pull`."),
    ((b"PK\x03\x04", b"PK\x05\x06"), "a zip archive, as PyTorch's pickled checkpoints (.pt, .bin) are", _PICKLE_FIX),
    ((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a Python pickle", _PICKLE_FIX),
    ((b"<!doctype", b"<html", b"<?xml", b"<head"), "a web page", f"The address gave a page, not the model. {_AGAIN}"),
    (
        (b"lmgg", b"tjgg", b"fmgg", b"ggml", b"ggjt"),
        "a file in the GGML format that GGUF replaced",
        "Get a GGUF file of the model.",
    ),
    ((b"\x89HDF",), "an HDF5 file", "Get a GGUF file of the model."),
    ((b"\x1f\x8b", b"7z\xbc\xaf", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"), "a compressed archive", "Unpack it first."),
    ((b"{", b"["), "a JSON text", f"The address gave a message, not the model. {_AGAIN}"),
)


def identify(head: bytes) -> tuple[str, str]:
    """Say what a file starting with `head` looks like, and what to do about it."""
    if not head:
        return "empty", _AGAIN
    if not head.strip(b"\0"):
        return "nothing but zeros so far, as an unfinished download is", _AGAIN
    if _is_safetensors(head):
        return "a safetensors file", "Convert it with llama.cpp's convert_hf_to_gguf.py, or get a GGUF file."
    start = head.lstrip().lower()
    for beginnings, name, fix in _BEGINNINGS:
        if any(head.startswith(one) or start.startswith(one) for one in beginnings):
            return name, fix
    return f"unknown: it starts with {head[:8]!r}", "Check that it is the file you meant."


def _is_safetensors(head: bytes) -> bool:
    """A safetensors file starts with the length of its JSON header (8 bytes) and that header."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32
