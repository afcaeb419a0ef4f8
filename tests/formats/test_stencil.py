"""Runs of like frames: found only where every frame is alike, changed as each would be alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpa.formats.change import Change
from cpa.formats.stencil import FrameKind, Stencil, learn


def chat(text: str, *, model: str = "m", finish: str = "null") -> bytes:
    frame = (
        f'data: {{"id":"c1","model":"{model}","choices":[{{"delta":{{"content":"{text}"}},"finish_reason":{finish}}}]}}'
    )
    return frame.encode() + b"\n\n"


def named(text: str, event: str = "delta") -> bytes:
    return f'event: {event}\ndata: {{"type":"{event}","text":"{text}"}}\n\n'.encode()


def chat_stencil(model: str = "renamed") -> Stencil:
    found = learn(chat("some text"), chat("some text", model=model), b'"content":', b'"some text"')
    assert found is not None
    return found


NAMED = FrameKind(b'event: delta\ndata: {"type":"delta"', b"}\n\n")

words = st.text(alphabet='abc {}[]":,\\\\n"model":"m"', max_size=20).map(
    lambda text: text.replace("\\", "").replace('"', '\\"')
)
plain = words.map(lambda text: (chat(text), True))
other = st.sampled_from(
    [
        b"data: [DONE]\n\n",
        b": comment\n\n",
        chat("x", finish='"stop"'),
        chat("x", model="n"),
        b'data: {"error":{"message":"x"}}\n\n',
        b'data: {"id":"c1","model":"m","choices":[],"usage":{"total_tokens":1}}\n\n',
        chat("x").replace(b"\n\n", b"\nid: 1\n\n"),
    ]
).map(lambda frame: (frame, False))


def test_texts_that_end_with_a_backslash_hide_no_other_frame() -> None:
    stencil = Stencil(Change(b'data: {"delta":"', b'"}\n\n', b'data: {"delta":"', b'"}\n\n'))
    ends, hidden, frame = (b'data: {"delta":"%b"}\n\n' % text for text in (b"a\\\\", b'b","usage":"c', b"d"))
    for other in (b'data: {"usage":{"total_tokens":1}}\n\n', b"event: x\n" + hidden):
        for count in range(20):
            chunk = ends * count + other + frame * 2
            assert stencil.read(chunk)[1] <= count * len(ends)


@given(st.lists(st.one_of(plain, plain, plain, other), min_size=1, max_size=30))
def test_a_run_ends_before_the_first_frame_that_is_not_alike(frames: list[tuple[bytes, bool]]) -> None:
    stencil = chat_stencil()
    chunk = b"".join(frame for frame, _ in frames)
    used = stencil.read(chunk)[1]
    alike = next((index for index, (_, is_plain) in enumerate(frames) if not is_plain), len(frames))
    ends = [sum(len(frame) for frame, _ in frames[:count]) for count in range(alike + 1)]
    assert used in ends
    if alike:
        assert used > 0, "at least the first frame is passed"
    expected = b"".join(
        frame.replace(b'"model":"m"', b'"model":"renamed"', 1) for frame, _ in frames[: ends.index(used)]
    )
    assert stencil.passed(chunk)[0] == expected


@given(
    st.lists(st.one_of(words.map(lambda text: (named(text), True)), st.just((named("x", "stop"), False))), min_size=1)
)
def test_runs_of_named_events(frames: list[tuple[bytes, bool]]) -> None:
    chunk = b"".join(frame for frame, _ in frames)
    used = NAMED.reach(chunk)
    alike = next((index for index, (_, is_plain) in enumerate(frames) if not is_plain), len(frames))
    assert used in [sum(len(frame) for frame, _ in frames[:count]) for count in range(alike + 1)]
    assert bool(used) == bool(alike)


def test_a_whole_run_with_another_end_is_passed_at_once() -> None:
    stencil = chat_stencil()
    run = b"".join(chat(f"text {number}") for number in range(100))
    end = chat("", finish='"stop"') + b"data: [DONE]\n\n"
    assert stencil.read(run)[1] == len(run)
    assert stencil.read(run + end)[1] == len(run)
    assert stencil.passed(run)[0].count(b'"model":"renamed"') == 100


def test_text_that_looks_like_what_changes_stays() -> None:
    stencil = learn(chat("some text"), chat("some text", model="k"), b'"content":', b'"some text"')
    assert stencil is not None
    run = chat("a") + chat('\\"model\\":\\"m\\"') + chat("b")
    assert stencil.passed(run)[0] == chat("a", model="k") + chat('\\"model\\":\\"m\\"', model="k") + chat(
        "b", model="k"
    )


@pytest.mark.parametrize(
    ("lead", "part"), [(b'"content":', b'"elsewhere"'), (b'"model":', b'"m"'), (b'"content": ', b'"some text"')]
)
def test_what_does_not_stand_out_teaches_nothing(lead: bytes, part: bytes) -> None:
    assert learn(chat("some text"), chat("some text", model="renamed"), lead, part) is None


def test_other_members_of_the_delta_are_another_kind() -> None:
    stencil = chat_stencil()
    call = chat("x").replace(b'"content":"x"', b'"tool_calls":[]')
    assert stencil.read(call)[1] == 0
    assert stencil.read(chat("a") + call + chat("b"))[1] == len(chat("a"))


@pytest.mark.parametrize("text", ['x","role":"y', 'x"', "x\\\\", "a\nb", "\\x", 'a\n\ndata: {"choices":[]}'])
def test_a_frame_whose_text_ends_its_string_or_its_line_is_another_kind(text: str) -> None:
    stencil = chat_stencil()
    text = text.replace("\\\\", "\\")
    assert stencil.read(chat(text)) == ([], 0)
    run = chat("a") + chat('\\"b\\" \\\\')
    assert stencil.read(run + chat(text) + chat("c")) == ([b"a", b'\\"b\\" \\\\'], len(run))


def test_what_stands_before_a_text_may_stand_in_the_frame_twice() -> None:
    before, after = b'data: {"a":{"text":"n"},"b":{"text":"', b'"}}\n\n'
    stencil = Stencil(Change(before, after, b"<", b">"))
    run = b"".join(before + text + after for text in (b"one", b"two", b"n"))
    assert stencil.passed(run + b"data: [DONE]\n\n") == (b"<one><two><n>", len(run))
    assert Stencil(Change(before, before + after, b"<", b">")).passed(before + b"x" + before + after) == (b"", 0)


@pytest.mark.parametrize("filling", [b"[" * 1_000_000, b'{"text":"n"},' * 80_000])
def test_a_frame_that_repeats_itself_without_end_is_learned_in_a_few_steps(filling: bytes) -> None:
    """It comes from outside: looking for ever longer needles would take hours."""
    before, after = b'data: {"a":[%b],"text":"' % filling, b'"}\n\n'
    assert Stencil(Change(before, after, b"<", b">")).passed(before + b"x" + after) == (b"<x>", len(before + after) + 1)
    repeating = b'data: "%b"' % filling
    assert Stencil(Change(repeating + filling, after, b"<", b">")).read(repeating + filling + b"x" + after) == ([], 0)
