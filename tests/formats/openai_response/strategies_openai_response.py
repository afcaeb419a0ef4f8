"""Well-formed lists of canonical events, with blocks that interleave."""

from __future__ import annotations

from hypothesis import strategies as st

from cpa.conversation import events as ev

KINDS = ["text", "refusal", "reasoning", "tool_call", "custom", "server_tool", "image", "opaque"]
WORDS = st.text(min_size=1, max_size=4)


def _start(key: int, kind: str) -> ev.BlockStart:
    if kind == "custom":
        return ev.BlockStart(key, "tool_call", call_id=f"call_{key}", name="patch", tool_type="custom")
    if kind == "tool_call":
        return ev.BlockStart(key, "tool_call", call_id=f"call_{key}", name="f")
    if kind == "server_tool":
        return ev.BlockStart(key, "server_tool", name="web_search")
    return ev.BlockStart(key, kind)  # type: ignore[arg-type]


@st.composite
def event_lists(draw: st.DrawFn) -> list[ev.Event]:
    """A whole answer that ended well."""
    events: list[ev.Event] = [ev.Start("x1", "m", 3)]
    open_blocks: dict[int, str] = {}
    for key in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(KINDS))
        events.append(_start(key, kind))
        open_blocks[key] = kind
        for _ in range(draw(st.integers(0, 4))):
            if not open_blocks:
                break
            chosen = draw(st.sampled_from(sorted(open_blocks)))
            events += _grow(chosen, open_blocks[chosen], draw)
            if draw(st.booleans()):
                events.append(ev.BlockEnd(chosen))
                del open_blocks[chosen]
    events += [ev.BlockEnd(key) for key in open_blocks if draw(st.booleans())]
    events.append(ev.Finish(draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter", "pause"]))))
    return [*events, ev.End()]


def _grow(key: int, kind: str, draw: st.DrawFn) -> list[ev.Event]:
    if kind in ("tool_call", "custom"):
        return [ev.ArgumentsDelta(key, draw(WORDS))]
    if kind == "image":
        return [ev.DataDelta(key, "aGk=")]
    if kind == "reasoning" and draw(st.booleans()):
        return [ev.PartBreak(key)]
    if kind in ("text", "refusal", "reasoning"):
        return [ev.TextDelta(key, draw(WORDS))]
    return []
