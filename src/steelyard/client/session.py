"""Who we are and where Steelyard is: clouds.yaml and OS_* variables, read as every OpenStack tool reads them.

openstacksdk does the reading (`--os-cloud`, OS_CLOUD, OS_AUTH_URL and its kin, OS_CLIENT_CONFIG_FILE, clouds.yaml in
the usual places), keystoneauth the authentication. One place is added: `$STEELYARD_HOME/clouds.yaml`, when none of the
usual ones exists. The address of Steelyard comes from the catalogue (service type `baremetal-management`), or from
STEELYARD_URL. This is the one module of the client that reads the environment.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from steelyard.client.errors import NotAuthenticated, NotConfigured, ServerUnreachable

SERVICE_TYPE = "baremetal-management"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line says of the connection; None: what clouds.yaml or the environment say."""

    cloud: str | None = None
    url: str | None = None
    cacert: str | None = None
    insecure: bool = False
    timeout: float = 60.0
    """Seconds that the server may take to begin its answer."""


chosen: ContextVar[Choices] = ContextVar("chosen", default=Choices())  # noqa: B039 - frozen
"""The global options of this run; `main` sets them."""


class Session:
    """A token and an address. Nothing is read or asked before one of them is wanted."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._region_known: Any = None
        self._keystone: Any = None

    def token(self, *, fresh: bool = False) -> str:
        """A token; a new one if `fresh`. Raises `NotConfigured`, `NotAuthenticated`, `ServerUnreachable`."""
        from keystoneauth1 import exceptions

        try:
            if self._keystone is None:
                self._keystone = self._region.get_session()
            if fresh:
                self._keystone.invalidate()
            token = self._keystone.get_token()
        except Exception as error:
            raise self._translated(error, exceptions) from None
        if not token:
            raise NotConfigured("The chosen credentials give no token.", next=self._next())
        return str(token)

    def url(self) -> str:
        """Steelyard's address, without a trailing slash."""
        from keystoneauth1 import exceptions

        if named := self._choices.url or os.environ.get("STEELYARD_URL"):
            return named.rstrip("/")
        try:
            found = self._region.get_session_endpoint(SERVICE_TYPE)
        except Exception as error:
            raise self._translated(error, exceptions) from None
        if not found:
            raise NotConfigured(
                f"The cloud's catalogue has no service '{SERVICE_TYPE}'.",
                next="set STEELYARD_URL, or register Steelyard in Keystone's catalogue",
            )
        return str(found).rstrip("/").removesuffix("/v1")

    def verify(self) -> Any:
        """For httpx: whether and with which authorities the server is verified."""
        import ssl

        if self._choices.insecure:
            return False
        cacert: Any = self._choices.cacert
        if cacert is None and not (self._choices.url or os.environ.get("STEELYARD_URL")):
            verify, _ = self._region.get_requests_verify_args()
            if not verify:
                return False
            cacert = verify if isinstance(verify, str) else None
        try:
            return ssl.create_default_context(cafile=cacert)
        except OSError as error:
            raise NotConfigured(f"The certificate file {cacert} cannot be used: {error.strerror}.") from None

    @property
    def _region(self) -> Any:
        if self._region_known is None:
            self._region_known = self._read()
        return self._region_known

    def _read(self) -> Any:
        from keystoneauth1 import exceptions
        from openstack import config
        from openstack.exceptions import ConfigException

        files = _extra_files(config.loader.CONFIG_FILES)
        overrides: dict[str, Any] = {}
        if self._choices.cacert:
            overrides["cacert"] = self._choices.cacert
        if self._choices.insecure:
            overrides["insecure"] = True
        try:
            reader = config.OpenStackConfig(config_files=files, app_name="steelyard")
            return reader.get_one(cloud=self._choices.cloud, **overrides)
        except (ConfigException, exceptions.ClientException, OSError, ValueError) as error:
            raise self._translated(error, exceptions) from None

    def _translated(self, error: Exception, exceptions: Any) -> Exception:
        """keystoneauth's and openstacksdk's exceptions as ours."""
        if isinstance(error, NotConfigured | NotAuthenticated | ServerUnreachable):
            return error
        text = " ".join(str(error).split())
        if isinstance(error, exceptions.Unauthorized):
            return NotAuthenticated(f"Keystone refused the credentials: {text}", next=self._next())
        if isinstance(error, exceptions.Forbidden):
            return NotAuthenticated(f"Keystone forbids this: {text}", next=self._next())
        if isinstance(error, exceptions.ConnectFailure | exceptions.DiscoveryFailure | exceptions.HttpServerError):
            return ServerUnreachable(f"Keystone does not answer: {text}", next="steelyard status")
        if isinstance(error, exceptions.AuthPluginException) or type(error).__name__ == "ConfigException":
            return NotConfigured(f"No usable credentials: {text}", next=self._next())
        return NotConfigured(f"The cloud's settings cannot be used ({type(error).__name__}): {text}", next=self._next())

    def _next(self) -> str:
        if names := _cloud_names():
            return "choose one with --os-cloud or OS_CLOUD: " + ", ".join(names)
        return "give --os-cloud NAME (an entry of clouds.yaml) or set the OS_* variables"


def colours(stream: TextIO) -> bool:
    """Whether what is printed there may be coloured: a terminal that can, of somebody who has not set NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _home_file() -> Path:
    return Path(os.environ.get("STEELYARD_HOME") or "~/.steelyard").expanduser() / "clouds.yaml"


def _extra_files(usual: list[str]) -> list[str] | None:
    """None for the usual places; Steelyard's own clouds.yaml when they have none."""
    if os.environ.get("OS_CLIENT_CONFIG_FILE") or any(Path(path).exists() for path in usual):
        return None
    own = _home_file()
    return [str(own)] if own.exists() else None


def _cloud_names() -> list[str]:
    """The entries that could be chosen, for a hint; none when they cannot be read."""
    try:
        from openstack import config

        reader = config.OpenStackConfig(config_files=_extra_files(config.loader.CONFIG_FILES))
        return sorted(name for name in reader.get_cloud_names() if name not in ("defaults", "envvars"))
    except Exception:
        return []
