"""Let plugins judge a configuration before it is written."""

from __future__ import annotations

import re
from typing import Any

from cpa.config import Config
from cpa.management.answers import Refusal
from cpa.plugins.manager import Plugins

_POSITION = re.compile(r"[\w-]+\[(\d+)\]")


def refuse_problems(plugins: Plugins, config: Config, *, code: str = "") -> None:
    """Refuse a configuration in which a plugin finds a problem.

    The problem is the answer's ``error``; with ``code`` that is the error and the problem the message. ``index`` says
    which item of a list it is about, where the problem begins with one.
    """
    for check in plugins.implementations("cpa_check_config"):
        for problem in check(config=config) or ():
            found = _POSITION.match(problem)
            more: dict[str, Any] = {"index": int(found[1])} if found else {}
            raise (
                Refusal(400, code, problem, **more)
                if code
                else Refusal(400, problem, code="invalid_prompt_rules", **more)
            )
