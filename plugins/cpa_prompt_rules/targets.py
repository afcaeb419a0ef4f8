"""Where the system text and the last user message stand in each format. Copy on write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from cpa_prompt_rules.rules import Rule
from cpa_prompt_rules.text import beside, inject

Object = dict[str, Any]
Strip = Callable[[str], str]


class Target(Protocol):
    """One format."""

    def strip_system(self, body: Object, strip: Strip) -> Object: ...
    def strip_user(self, body: Object, strip: Strip) -> Object: ...
    def inject_system(self, body: Object, rule: Rule) -> Object: ...
    def inject_user(self, body: Object, rule: Rule) -> Object: ...


# -- content: a string, or a list of blocks some of which are text -------------------------------------------------


def is_text(block: Any, kinds: tuple[str, ...] | None) -> bool:
    """Whether a block carries text; ``kinds`` None takes every block with a ``text`` member (Gemini parts)."""
    if not isinstance(block, dict) or not isinstance(block.get("text"), str):
        return False
    return kinds is None or block.get("type") in kinds


def strip_content(content: Any, strip: Strip, kinds: tuple[str, ...] | None) -> Any:
    """The content with every text stripped; texts that became empty go when something else stays."""
    if isinstance(content, str):
        return strip(content)
    if not isinstance(content, list):
        return content
    changed = False
    blocks = []
    for block in content:
        if is_text(block, kinds):
            stripped = strip(block["text"])
            if stripped != block["text"]:
                changed = True
                block = {**block, "text": stripped}
        blocks.append(block)
    if not changed:
        return content
    kept = [block for block in blocks if not (is_text(block, kinds) and block["text"] == "")]
    return kept or blocks[:1]


def inject_content(content: Any, rule: Rule, kinds: tuple[str, ...] | None, new: Callable[[str], Object]) -> Any:
    """The content with the rule's text in it; the same object when nothing changes."""
    if content is None:
        return None if rule.marker else rule.content
    if isinstance(content, str):
        return inject(content, rule.content, rule.marker, rule.position)
    if not isinstance(content, list):
        return content
    if rule.marker:
        return _inject_at_marker(content, rule, kinds)
    if any(is_text(block, kinds) and rule.content in block["text"] for block in content):
        return content
    if rule.position == "append":
        return [*content, new(rule.content)]
    lead = 0
    while lead < len(content) and isinstance(content[lead], dict) and content[lead].get("type") == "tool_result":
        lead += 1
    return [*content[:lead], new(rule.content), *content[lead:]]


def _inject_at_marker(content: list[Any], rule: Rule, kinds: tuple[str, ...] | None) -> list[Any]:
    holders = [i for i, block in enumerate(content) if is_text(block, kinds) and rule.marker in block["text"]]
    if not holders or any(beside(content[i]["text"], rule.content, rule.marker, rule.position) for i in holders):
        return content
    first = holders[0]
    text = inject(content[first]["text"], rule.content, rule.marker, rule.position)
    return [*content[:first], {**content[first], "text": text}, *content[first + 1 :]]


def has_words(content: Any, kinds: tuple[str, ...] | None) -> bool:
    """Whether there is visible text in it."""
    if isinstance(content, str):
        return bool(content.strip())
    if not isinstance(content, list):
        return False
    return any(is_text(block, kinds) and block["text"].strip() for block in content)


def _with(body: Object, name: str, old: Any, new: Any) -> Object:
    return body if new is old or (isinstance(new, str) and new == old) else {**body, name: new}


def _with_item(body: Object, name: str, items: list[Any], index: int, item: Any) -> Object:
    if item is items[index]:
        return body
    return {**body, name: [*items[:index], item, *items[index + 1 :]]}


def _last(items: Any, accepts: Callable[[Object], bool]) -> int | None:
    if not isinstance(items, list):
        return None
    for index in range(len(items) - 1, -1, -1):
        if isinstance(items[index], dict) and accepts(items[index]):
            return index
    return None


class _Messages:
    """A list of messages under ``list_name`` whose text stands under ``content_name``."""

    list_name = "messages"
    content_name = "content"
    kinds: tuple[str, ...] | None = ("text", "input_text")

    def new_block(self, text: str) -> Object:
        return {"type": "text", "text": text}

    def is_user(self, item: Object) -> bool:
        return item.get("role") == "user" and has_words(item.get(self.content_name), self.kinds)

    def strip_user(self, body: Object, strip: Strip) -> Object:
        """Strip the last user message with visible text."""
        return self._edit_user(body, lambda content: strip_content(content, strip, self.kinds))

    def inject_user(self, body: Object, rule: Rule) -> Object:
        """Inject into the last user message with visible text; never made."""
        return self._edit_user(body, lambda content: inject_content(content, rule, self.kinds, self.new_block))

    def _edit_user(self, body: Object, edit: Callable[[Any], Any]) -> Object:
        items = body.get(self.list_name)
        index = _last(items, self.is_user)
        if index is None or not isinstance(items, list):
            return body
        item = _with(
            items[index],
            self.content_name,
            items[index].get(self.content_name),
            edit(items[index].get(self.content_name)),
        )
        return _with_item(body, self.list_name, items, index, item)


class OpenAITarget(_Messages):
    """Chat Completions."""

    def is_user(self, item: Object) -> bool:
        return "tool_call_id" not in item and super().is_user(item)

    def strip_system(self, body: Object, strip: Strip) -> Object:
        """Strip every system and developer message; one that became empty goes."""
        items = body.get("messages")
        if not isinstance(items, list):
            return body
        kept = []
        for item in items:
            if isinstance(item, dict) and item.get("role") in ("system", "developer"):
                content = item.get("content")
                stripped = strip_content(content, strip, self.kinds)
                if stripped == "" and content not in ("", None):
                    continue
                item = _with(item, "content", content, stripped)
            kept.append(item)
        same = len(kept) == len(items) and all(a is b for a, b in zip(kept, items, strict=True))
        return body if same else {**body, "messages": kept}

    def inject_system(self, body: Object, rule: Rule) -> Object:
        """Inject into the first system (else developer) message; made when absent, unless a marker is asked for."""
        items = body.get("messages")
        if items is None:
            items = []
        if not isinstance(items, list):
            return body
        for role in ("system", "developer"):
            for index, item in enumerate(items):
                if isinstance(item, dict) and item.get("role") == role:
                    old = item.get("content")
                    new = inject_content(old, rule, self.kinds, self.new_block)
                    return _with_item(body, "messages", items, index, _with(item, "content", old, new))
        if rule.marker:
            return body
        return {**body, "messages": [{"role": "system", "content": rule.content}, *items]}


class ClaudeTarget(_Messages):
    """Messages."""

    kinds = ("text",)

    def strip_system(self, body: Object, strip: Strip) -> Object:
        """Strip ``system``; it goes when nothing is left."""
        system = body.get("system")
        stripped = strip_content(system, strip, self.kinds)
        if stripped == "" and system:
            return {key: value for key, value in body.items() if key != "system"}
        return _with(body, "system", system, stripped)

    def inject_system(self, body: Object, rule: Rule) -> Object:
        """Inject into ``system``; made as a string when absent."""
        if "system" not in body:
            return body if rule.marker else {**body, "system": rule.content}
        system = body["system"]
        if system is None:
            return body
        return _with(body, "system", system, inject_content(system, rule, self.kinds, self.new_block))


class ResponsesTarget(_Messages):
    """Responses."""

    list_name = "input"

    def new_block(self, text: str) -> Object:
        return {"type": "input_text", "text": text}

    def is_user(self, item: Object) -> bool:
        return item.get("type", "message") in ("message", "input_text") and super().is_user(item)

    def strip_system(self, body: Object, strip: Strip) -> Object:
        """Strip ``instructions``."""
        text = body.get("instructions")
        return _with(body, "instructions", text, strip(text)) if isinstance(text, str) else body

    def inject_system(self, body: Object, rule: Rule) -> Object:
        """Inject into ``instructions``; set when absent or no text."""
        text = body.get("instructions")
        if not isinstance(text, str):
            return body if rule.marker else {**body, "instructions": rule.content}
        return _with(body, "instructions", text, inject(text, rule.content, rule.marker, rule.position))

    def _edit_user(self, body: Object, edit: Callable[[Any], Any]) -> Object:
        text = body.get("input")
        if isinstance(text, str):
            return _with(body, "input", text, edit(text))
        return super()._edit_user(body, edit)


class GeminiTarget(_Messages):
    """generateContent."""

    list_name = "contents"
    content_name = "parts"
    kinds = None

    def new_block(self, text: str) -> Object:
        return {"text": text}

    def is_user(self, item: Object) -> bool:
        return item.get("role", "user") == "user" and has_words(item.get("parts"), None)

    def _system_key(self, body: Object) -> str | None:
        return next((key for key in ("systemInstruction", "system_instruction") if key in body), None)

    def strip_system(self, body: Object, strip: Strip) -> Object:
        """Strip the instruction's parts."""
        key = self._system_key(body)
        field = body.get(key) if key else None
        if key is None or not isinstance(field, dict):
            return body
        parts = field.get("parts")
        return _with(body, key, field, _with(field, "parts", parts, strip_content(parts, strip, None)))

    def inject_system(self, body: Object, rule: Rule) -> Object:
        """Inject into the instruction; made when absent or malformed, unless a marker is asked for."""
        key = self._system_key(body)
        field = body.get(key) if key else None
        if not isinstance(field, dict) or not isinstance(field.get("parts"), list):
            if rule.marker:
                return body
            return {**body, key or "systemInstruction": {"role": "system", "parts": [{"text": rule.content}]}}
        assert key is not None
        parts = field["parts"]
        new = inject_content(parts, rule, None, self.new_block)
        return _with(body, key, field, _with(field, "parts", parts, new))


class GeminiCliTarget:
    """generateContent below ``request``."""

    def __init__(self) -> None:
        self._inner = GeminiTarget()

    def strip_system(self, body: Object, strip: Strip) -> Object:
        """See :class:`GeminiTarget`."""
        return self._below(body, lambda inner: self._inner.strip_system(inner, strip))

    def strip_user(self, body: Object, strip: Strip) -> Object:
        """See :class:`GeminiTarget`."""
        return self._below(body, lambda inner: self._inner.strip_user(inner, strip))

    def inject_system(self, body: Object, rule: Rule) -> Object:
        """See :class:`GeminiTarget`."""
        return self._below(body, lambda inner: self._inner.inject_system(inner, rule))

    def inject_user(self, body: Object, rule: Rule) -> Object:
        """See :class:`GeminiTarget`."""
        return self._below(body, lambda inner: self._inner.inject_user(inner, rule))

    def _below(self, body: Object, edit: Callable[[Object], Object]) -> Object:
        inner = body.get("request")
        if not isinstance(inner, dict):
            return body
        edited = edit(inner)
        return body if edited is inner else {**body, "request": edited}


TARGETS: dict[str, Target] = {
    "openai": OpenAITarget(),
    "openai-response": ResponsesTarget(),
    "claude": ClaudeTarget(),
    "gemini": GeminiTarget(),
    "gemini-cli": GeminiCliTarget(),
}
