"""What plugins find wrong with a configuration that can be read."""

from __future__ import annotations

from cpa.cli.quiet import Quiet
from cpa.config import Config
from cpa.plugins.manager import Plugins


def plugin_problems(config: Config) -> list[str]:
    """Plugins that were left out, with the reason, and what the others would not use: wrong prompt rules, for instance.

    Each begins with the plugin or the place it is about.
    """
    plugins = Plugins(Quiet())
    plugins.load(config)
    left_out = [
        f"plugin {found.name} is left out: {found.reason}" for found in plugins.statuses if found.state == "failed"
    ]
    checks = plugins.implementations("cpa_check_config")
    return [*left_out, *(problem for check in checks for problem in check(config=config) or ())]
