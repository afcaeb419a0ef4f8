"""``disable-image-generation``: take the tool out of upstream bodies. Copy on write."""

from __future__ import annotations

from typing import Any

from cpa.plugins import UpstreamRequest

Object = dict[str, Any]
TOOL = "image_generation"


def without_image_generation(body: Object, request: UpstreamRequest) -> Object:
    """The body without the image tool and a choice of it, as far as the setting asks for it."""
    setting = request.config.disable_image_generation
    if setting not in ("all", "chat") or (setting == "chat" and request.operation == "images"):
        return body
    tools = body.get("tools")
    if isinstance(tools, list):
        kept = [tool for tool in tools if not (isinstance(tool, dict) and tool.get("type") == TOOL)]
        if len(kept) != len(tools):
            body = {**body, "tools": kept} if kept else {k: v for k, v in body.items() if k != "tools"}
    choice = body.get("tool_choice")
    chosen = choice == TOOL or (
        isinstance(choice, dict)
        and (choice.get("type") == TOOL or (choice.get("type") == "tool" and choice.get("name") == TOOL))
    )
    return {key: value for key, value in body.items() if key != "tool_choice"} if chosen else body
