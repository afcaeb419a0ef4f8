"""Find, load, configure and call plugins."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from msgspec import Struct
from msgspec.structs import replace

from cpa.accounts.account import Account
from cpa.config import Config
from cpa.errors import PluginError
from cpa.formats.registry import FormatRegistry
from cpa.plugins import hookspecs
from cpa.plugins.guard import GUARDED, Conduct, GuardedHook, every_one, first_result
from cpa.plugins.provider import Provider

GROUP = "cpa"
LONGEST_LOAD = 15.0
"""Seconds a plugin may take to be imported, made and configured."""
LONGEST_START = 10.0
"""Seconds ``cpa_start`` and ``cpa_stop`` may take."""


class PluginStatus(Struct):
    """What became of one announced plugin."""

    name: str
    state: str
    """``loaded``, ``disabled``, ``failed`` or ``suspended``."""
    reason: str = ""
    distribution: str = ""
    faults: int = 0
    """Calls of its hooks that went wrong."""


class Plugins:
    """The plugins of one daemon. Built-in ones come through the same entry points as foreign ones."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._manager = pluggy.PluginManager("cpa")
        self._manager.add_hookspecs(hookspecs)
        self._providers: dict[str, Provider] = {}
        self._provider_list: list[Provider] = []
        self._announced: list[PluginStatus] = []
        self._conduct: dict[str, Conduct] = {}
        self._implementations: dict[str, list[Callable[..., Any]]] = {}
        self._callers: dict[str, Callable[..., Any] | None] = {}
        """Hooks that were asked for, until another plugin comes."""

    @property
    def statuses(self) -> list[PluginStatus]:
        """What became of every plugin, and how it behaves since."""
        known = {status.name for status in self._announced}
        more = [PluginStatus(name, "loaded") for name in self._conduct if name not in known]
        return [self._with_conduct(status) for status in (*self._announced, *more)]

    def _with_conduct(self, status: PluginStatus) -> PluginStatus:
        conduct = self._conduct.get(status.name)
        if conduct is None or not conduct.faults:
            return status
        state = "suspended" if conduct.suspended else status.state
        return replace(status, state=state, reason=conduct.reason, faults=conduct.faults)

    def load(self, config: Config, found: Iterable[EntryPoint] | None = None) -> None:
        """Load what the entry points announce, as far as the configuration enables it.

        A plugin that cannot be imported, registered or configured is logged and left out.
        """
        announced = sorted(entry_points(group=GROUP) if found is None else found, key=lambda point: point.name)
        for point in announced:
            distribution = point.dist.name if point.dist is not None else ""
            status = PluginStatus(point.name, "loaded", distribution=distribution)
            self._announced.append(status)
            if not enabled(config, point):
                status.state = "disabled"
                continue
            try:
                self._load_one(point, config)
            except Exception as fault:
                status.state, status.reason = "failed", _reason(fault, point)
                self._log.error("plugin left out", plugin=point.name, reason=status.reason)
        self._collect_providers()

    def register(self, plugin: object, name: str, config: Config) -> None:
        """Register one plugin object. Raises whatever the plugin raises, after leaving it out."""
        self._manager.register(plugin, name=name)
        self._forget_callers()
        try:
            self._configure_one(plugin, name, config)
            self._manager.check_pending()
        except BaseException:
            self._manager.unregister(name=name)
            self._forget_callers()
            raise
        self._conduct[name] = Conduct(name, self._log)

    def _load_one(self, point: EntryPoint, config: Config) -> None:
        plugin = _within(LONGEST_LOAD, lambda: create(point.load(), settings_of(config, point.name)))
        self.register(plugin, point.name, config)

    def _configure_one(self, plugin: object, name: str, config: Config) -> None:
        for implementation in self._manager.hook.cpa_configure.get_hookimpls():
            if implementation.plugin is plugin:
                arguments = {"config": config, "settings": settings_of(config, name)}
                implementation.function(*(arguments[argument] for argument in implementation.argnames))

    def _collect_providers(self) -> None:
        self._providers.clear()
        self._provider_list = []
        for implementation in self._manager.hook.cpa_providers.get_hookimpls():
            name = implementation.plugin_name
            try:
                result: Any = implementation.function()
                given = list(result)
                if not all(isinstance(provider, Provider) for provider in given):
                    raise TypeError("gave a provider that is none")
            except Exception as fault:
                self._conduct_of(name).failed("cpa_providers", f"{type(fault).__name__}: {fault}", fault)
                continue
            for provider in given:
                if provider.name in self._providers:
                    self._log.warning("provider replaced", provider=provider.name, by=name)
                self._providers[provider.name] = provider
        self._provider_list = list(self._providers.values())

    def reconfigure(self, config: Config) -> None:
        """Hand every plugin a new configuration; one that refuses it keeps its old one and is logged.

        Those that are suspended are called again.
        """
        for conduct in self._conduct.values():
            conduct.forgive()
        for name, plugin in self._manager.list_name_plugin():
            if plugin is None:
                continue
            try:
                self._configure_one(plugin, name, config)
            except Exception as fault:
                self._log.error("plugin keeps its old settings", plugin=name, reason=f"{type(fault).__name__}: {fault}")

    @property
    def providers(self) -> list[Provider]:
        """Every provider, each name once."""
        return self._provider_list

    def provider_of(self, account: Account) -> Provider:
        """The provider that serves an account. Raises PluginError when there is none (any more)."""
        provider = self._providers.get(account.provider)
        if provider is not None and provider.serves(account):
            return provider
        for candidate in self._provider_list:
            if candidate.serves(account):
                return candidate
        raise PluginError(f"no plugin serves accounts of provider {account.provider!r}")

    def hook(self, name: str) -> Callable[..., Any] | None:
        """The caller of a hook, or None when no plugin implements it (so that it costs nothing)."""
        if name not in self._callers:
            found = self.implementations(name)
            first = getattr(self._manager.hook, name).spec.opts.get("firstresult")
            self._callers[name] = (first_result if first else every_one)(found) if found else None
        return self._callers[name]

    def implementations(self, name: str) -> list[Callable[..., Any]]:
        """Keyword callers of a hook's implementations, in call order: for hooks that pass a value along."""
        found = self._implementations.get(name)
        if found is None:
            in_order = reversed(getattr(self._manager.hook, name).get_hookimpls())
            found = self._implementations[name] = [self._caller(implementation, name) for implementation in in_order]
        return found

    def _caller(self, implementation: Any, name: str) -> Callable[..., Any]:
        if name not in GUARDED:
            return _by_keyword(implementation)
        return GuardedHook(implementation, name, self._conduct_of(implementation.plugin_name))

    def _forget_callers(self) -> None:
        self._implementations.clear()
        self._callers.clear()

    def _conduct_of(self, name: str) -> Conduct:
        return self._conduct.setdefault(name, Conduct(name, self._log))

    def add_formats(self, registry: FormatRegistry) -> None:
        """Add the wire formats of plugins; one whose name is taken is logged and left out."""
        for implementation in self.implementations("cpa_formats"):
            for codec in implementation() or ():
                try:
                    registry.add(codec)
                except PluginError as fault:
                    self._log.error("format left out", reason=str(fault))

    async def call_all(self, name: str, **arguments: Any) -> None:
        """Call every implementation of a hook and await what is awaitable; one that fails or hangs is logged."""
        for implementation in self._manager.hook.__getattribute__(name).get_hookimpls():
            try:
                result = _by_keyword(implementation)(**arguments)
                if inspect.isawaitable(result):
                    async with asyncio.timeout(LONGEST_START):
                        await result
            except Exception:
                self._log.exception("plugin failed", plugin=implementation.plugin_name, hook=name)


def _within(seconds: float, work: Callable[[], object]) -> object:
    """What some work gives, done in a thread and waited for, not for long. Raises what it raises, and TimeoutError."""
    results: list[object] = []
    faults: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as fault:
            faults.append(fault)

    thread = threading.Thread(target=run, name="cpa-plugin-load", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"not loaded within {seconds:g} seconds")
    if faults:
        raise faults[0]
    return results[0]


def _by_keyword(implementation: Any) -> Callable[..., Any]:
    function, names = implementation.function, implementation.argnames
    return lambda **arguments: function(*[arguments[name] for name in names])


def settings_of(config: Config, name: str) -> dict[str, Any]:
    """A plugin's own settings: ``plugins.configs.<name>``."""
    settings = config.plugins.configs.get(name)
    return dict(settings) if isinstance(settings, dict) else {}


def enabled(config: Config, point: EntryPoint) -> bool:
    """Whether the configuration lets a plugin be loaded. One that needs an extra must be asked for."""
    return bool(settings_of(config, point.name).get("enabled", not point.extras))


def create(module: Any, settings: Mapping[str, Any]) -> object:
    """The plugin of a module: what its ``create_plugin`` makes (of the settings, if it takes them), else itself."""
    factory = getattr(module, "create_plugin", None)
    if not callable(factory):
        return module
    return factory(settings) if inspect.signature(factory).parameters else factory()


def _reason(fault: Exception, point: EntryPoint) -> str:
    """Why a plugin could not be loaded, and what helps when packages of its extra are missing."""
    reason = f"{type(fault).__name__}: {fault}"
    if isinstance(fault, ImportError) and point.extras and point.dist is not None:
        return f"{reason}; install {point.dist.name}[{','.join(point.extras)}]"
    return reason
