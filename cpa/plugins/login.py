"""How a provider logs somebody in: one coroutine that tells the whole story.

A provider sets :attr:`cpa.plugins.Provider.login_offer` and implements :meth:`cpa.plugins.Provider.login`. It is given
a :class:`Login`, which stands for whoever logs in, at a terminal or in front of the web panel, and gives back a
:class:`NewLogin`. State, the callback, its port, waiting, time limits, writing the file and showing the outcome are
taken care of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

from msgspec import Struct

from cpa.accounts.login.device import DeviceCode
from cpa.plugins.http_client import HttpClient

Method: TypeAlias = Literal["browser", "device", "key-file"]
"""``browser``: a page leads back to cpa; ``device``: a code is typed in elsewhere; ``key-file``: a file is read."""
Granted = TypeVar("Granted")


class LoginOffer(Struct, frozen=True, kw_only=True):
    """How a provider's logins are offered."""

    title: str
    """What is logged in to, for people: ``Claude``."""
    methods: tuple[Method, ...]
    """The first one is used unless another is asked for."""
    aliases: tuple[str, ...] = ()
    """Other names people type for the provider."""
    route: str = ""
    """The name in ``/v0/management/<route>-auth-url``; the provider's name when empty."""
    projects: bool = False
    """Whether ``LoginOptions.project`` means something."""
    callback: str = ""
    """The page ``/<callback>/callback`` on the daemon's port takes this provider's callbacks; ``route`` when empty."""


class LoginOptions(Struct, frozen=True, kw_only=True):
    """What was asked for; empty where nothing was."""

    method: str = ""
    project: str = ""
    """A project to use, ``ALL`` or ``GOOGLE_ONE``, for providers that know projects."""
    location: str = ""
    """A region, for providers that know regions."""
    prefix: str = ""
    """Goes into the file, whatever the provider."""
    proxy: str = ""
    """For the login, and in the file; ``direct`` for none."""
    callback_port: int = 0
    """The port to listen on instead of the registered one."""
    key_file: bytes = b""
    """The file's content for ``key-file``."""


class NewLogin(Struct, frozen=True, kw_only=True):
    """A login that succeeded."""

    name: str
    """The auth file's name, see :func:`cpa.plugins.name_part`."""
    data: dict[str, Any]
    """Its members. A file the login had before is written to again, and keeps everything that is not named here."""
    label: str
    """Who it is, for people: an e-mail address."""
    spare_name: str = ""
    """The name when another login has a file called ``name``."""
    notes: tuple[str, ...] = ()
    """What else is worth telling, one sentence each."""

    def __repr__(self) -> str:
        return f"NewLogin({self.name!r})"


class Choice(Struct, frozen=True):
    """One answer to a question."""

    value: str
    title: str


class Login(ABC):
    """One login on its way.

    ``state`` is unguessable and fits this login only: send it with the browser; that it comes back is checked.
    ``http`` uses the login's proxy.
    """

    state: str
    options: LoginOptions
    http: HttpClient

    @abstractmethod
    def redirect_uri(self, registered: str, *, any_port: bool = False) -> str:
        """The redirect URI to send: ``registered``, with the port that is listened on if the vendor takes any port."""

    @abstractmethod
    async def authorize(self, url: str, redirect_uri: str) -> str:
        """Have ``url`` opened in a browser and give the authorization code that comes back to ``redirect_uri``.

        Raises LoginError for everything else that comes back, or when nothing does.
        """

    @abstractmethod
    async def confirm(self, code: DeviceCode, ask: Callable[[], Awaitable[Granted | None]]) -> Granted:
        """Show a code and ask the vendor, as often as it allows, until somebody has confirmed it.

        See :func:`cpa.accounts.login.device.poll` for ``ask``. Raises LoginError.
        """

    @abstractmethod
    async def choose(self, question: str, choices: Sequence[Choice], *, default: str) -> str:
        """Ask whoever logs in; the chosen value. ``default`` where nobody can be asked."""

    @abstractmethod
    def progress(self, text: str) -> None:
        """Say what is being done, for what may take a moment: ``Asking Google for your projects``."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait."""
