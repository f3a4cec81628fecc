"""The passwords, tokens and keys of one embedded cloud: generated, one per file, readable by the owner alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

from steelyard.embedded.files import make_directory, readable_errors, write_atomically
from steelyard.errors import NotFound

SERVICE_USERS = ("glance", "placement", "neutron", "nova", "ironic")
USERS = ("admin", "demo", "steelyard", *SERVICE_USERS)
GENERATED = (*(f"{user}_password" for user in USERS), "rack_token", "rack_seed")
"""`rack_token` opens the control endpoints of the simulated rack; `rack_seed` makes its BMC passwords reproducible."""


class Credentials:
    """The secrets under one directory, by name. Values are never shown by repr."""

    def __init__(self, directory: Path):
        self.directory = directory

    def __repr__(self) -> str:
        return f"Credentials({str(self.directory)!r})"

    def ensure(self) -> None:
        """Generate what is missing; what exists stays."""
        make_directory(self.directory)
        for name in GENERATED:
            if not self.has(name):
                self.store(name, secrets.token_urlsafe(24))

    def path(self, name: str) -> Path:
        """The file of one secret, for processes that are told where to read and not what."""
        return self.directory / name

    def has(self, name: str) -> bool:
        """Whether the secret is there; an empty file (a crash, a full disk) counts as missing."""
        path = self.path(name)
        return path.is_file() and path.stat().st_size > 0

    def store(self, name: str, value: str) -> None:
        """Write one secret. Raises Unavailable when the disk refuses."""
        write_atomically(self.path(name), value)

    def get(self, name: str) -> str:
        """One secret. Raises NotFound when it is missing."""
        if not self.has(name):
            raise NotFound(f"the secret {name} is missing", code="secret_missing", next="steelyard up")
        with readable_errors(self.path(name)):
            return self.path(name).read_text(encoding="utf-8").strip()

    def values(self) -> Iterator[str]:
        """Every secret there is, to be struck out of what is shown."""
        for path in self.directory.iterdir() if self.directory.is_dir() else ():
            if path.is_file() and (value := path.read_text(encoding="utf-8", errors="replace").strip()):
                yield value


def redacted(text: str, credentials: Credentials) -> str:
    """`text` with every secret of the home struck out."""
    for value in sorted(credentials.values(), key=len, reverse=True):
        if len(value) >= 6:
            text = text.replace(value, "***")
    return text
