"""Rewritten models on disk, by the digest of all that makes them: the same model need not be rewritten twice.

One entry is one file of three parts: the SHA-256 of what follows, a line of facts, the model. It appears under its name
whole, and is read only if its digest is right, so neither a crash nor a race leaves anything that would be used.
What the disk refuses is no error: without an entry, a model is rewritten.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from platformdirs import user_cache_path

from onnx_saliency.errors import CacheError
from onnx_saliency.runtime.memory import parse_bytes

FOLDER, LIMIT = "ONNX_SALIENCY_CACHE", "ONNX_SALIENCY_CACHE_LIMIT"
"""Environment variables: the folder, and the bytes it may take, such as 500M or 2G; 0 keeps nothing."""

_DEFAULT_LIMIT = "2G"
_SUFFIX = ".rewritten"


@dataclass(frozen=True)
class Cache:
    """A folder of entries; those used least recently go first.

    Attributes:
        folder: made when there is something to keep; other files in it are left alone.
        limit: bytes that all entries may take together.
    """

    folder: Path
    limit: int

    def find(self, key: str) -> tuple[str, bytes] | None:
        """Return the facts and the model kept under `key`, a file's name; None if there is no whole entry."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                digest, facts, model = file.readline(), file.readline(), file.read()
        except OSError:
            return None
        if digest != _digest(facts, model):
            return None
        with suppress(OSError):  # read-only: then nothing goes either
            os.utime(path)
        return facts.decode(), model

    def keep(self, key: str, facts: str, model: bytes) -> None:
        """Keep `facts`, one line, and `model` under `key`, where the folder can be written and the limit allows it."""
        line = f"{facts}\n".encode()
        parts = (_digest(line, model), line, model)
        if sum(map(len, parts)) > self.limit:
            return
        part = self.folder / f"{key}.{secrets.token_hex(8)}{_SUFFIX}"
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with part.open("xb") as file:
                    file.writelines(parts)
                part.replace(self._path(key))
            finally:
                part.unlink(missing_ok=True)
            self._shrink()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _shrink(self) -> None:
        """Remove what was used least recently until the rest fits: entries, and parts that a crash left."""
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with suppress(OSError):  # another process was faster, here and below
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                break
            with suppress(OSError):
                path.unlink()
                total -= size


def user_cache() -> Cache | None:
    """The cache of this user, where the environment or else the platform puts it; None where its limit is 0.

    Raises:
        CacheError: the limit in the environment is no number of bytes.
    """
    folder = os.environ.get(FOLDER) or user_cache_path("onnx-saliency", appauthor=False)
    text = os.environ.get(LIMIT) or _DEFAULT_LIMIT
    limit = parse_bytes(text)
    if limit is None:
        raise CacheError(f"{LIMIT} is a number of bytes, such as 500M or 2G, not {text!r}.")
    return Cache(Path(folder), limit) if limit else None


def _digest(facts: bytes, model: bytes) -> bytes:
    content = sha256(facts)
    content.update(model)
    return f"{content.hexdigest()}\n".encode()
