"""What a page may say: everything else is refused in a line, and costs next to nothing."""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.studio import wire
from understudy.studio.access import Access, is_loopback, names_of
from understudy.studio.seat import Seat
from understudy.studio.viewer import Bucket
from understudy.studio.wire import Ask, Do, Malformed, Ping, Release, read_message
from understudy.teleop import Frame, Input

INPUT: dict[str, Any] = {
    "t": "in", "seq": 7, "keys": ["KeyW", "Space"], "axes": [0.5, -2], "buttons": [1],
    "target": [1.0, -0.5, 0.25], "touch": [],
}  # fmt: skip


def test_an_input_is_read_and_its_axes_are_clipped() -> None:
    found = read_message(json.dumps(INPUT), 12.5)
    assert isinstance(found, Input)
    assert (found.seq, found.keys, found.received) == (7, {"KeyW", "Space"}, 12.5)
    assert found.axes == (0.5, -1.0)
    assert found.target == (1.0, -0.5, 0.25)


def test_the_other_messages_are_read() -> None:
    assert read_message('{"t":"ping","at":12.25}', 0.0) == Ping(12.25)
    assert read_message('{"t":"control"}', 0.0) == Ask()
    assert read_message('{"t":"yield"}', 0.0) == Release()
    found = read_message('{"t":"do","what":"answer","action":[0.5,1]}', 0.0)
    assert found == Do("answer", {"action": [0.5, 1.0]})


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"seq": -1}, "32 bits"),
        ({"seq": 2**32}, "32 bits"),
        ({"seq": True}, "32 bits"),
        ({"seq": 1.5}, "32 bits"),
        ({"keys": ["Key W"]}, "KeyboardEvent"),
        ({"keys": ["<script>"]}, "KeyboardEvent"),
        ({"keys": ["A"] * 33}, "32 at most"),
        ({"keys": "KeyW"}, "32 at most"),
        ({"axes": [11.0]}, "beyond"),
        ({"axes": ["1"]}, "no number"),
        ({"axes": [True]}, "no number"),
        ({"axes": [0.0] * 33}, "32 numbers"),
        ({"touch": [0.0] * 5}, "4 numbers"),
        ({"target": [0, 0]}, "three numbers"),
        ({"target": [0, 0, 1e6]}, "beyond"),
        ({"secret": 1}, "no field"),
    ],
)
def test_an_input_out_of_bounds_is_refused(change: dict[str, Any], rule: str) -> None:
    with pytest.raises(Malformed, match=rule):
        read_message(json.dumps(INPUT | change), 0.0)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"t":"in","seq":NaN}', "no number NaN"),
        ('{"t":"ping","at":Infinity}', "no number Infinity"),
        ('{"t":"ping","at":1e999}', "too large"),
        ('{"t":"ping","at":' + "9" * 5000 + "}", "25 is the most"),
        ('{"t":"ping","at":0.' + "1" * 5000 + "}", "25 is the most"),
        ('{"t":"ping","t":"in"}', "twice"),
        ("[" * 30_000, "nested"),
        ('{"a":' * 10_000, "nested"),
        ("[[[[[[1]]]]]]", "nested"),
        ("[]", "JSON object"),
        ("null", "JSON object"),
        ("", "not JSON"),
        ('{"t":"in"', "not JSON"),
        (b"\xff\xfe\x00\x80", "not JSON"),
        ("x" * (wire.LARGEST + 1), "is the most"),
        ('{"t":"open"}', "one of"),
        ('{"t":["in"]}', "one of"),
        ('{"t":"control","force":true}', "no field"),
        ('{"t":"do","what":"Start"}', "small letters"),
        ('{"t":"do","what":"start","__class__":1}', None),
        ('{"t":"do","what":"start","Name":1}', "small letters"),
        ('{"t":"do","what":"instruction","text":"' + "a" * 501 + '"}', "500 is the most"),
        ('{"t":"do","what":"instruction","text":"a\\u0000b"}', "control character"),
        ('{"t":"do","what":"instruction","text":"\\ud800"}', "control character"),
        ('{"t":"do","what":"answer","action":[[1]]}', "no number"),
        ('{"t":"do","what":"answer","action":{"a":1}}', "no number"),
    ],
)
def test_what_is_no_message_is_refused_in_a_line(text: str | bytes, rule: str | None) -> None:
    if rule is None:
        assert isinstance(read_message(text, 0.0), Do)  # the session knows no such argument and says so
        return
    with pytest.raises(Malformed, match=rule) as refused:
        read_message(text, 0.0)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


@given(st.binary(max_size=300) | st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_bytes_do_anything_but_be_read_or_refused(text: bytes | str) -> None:
    try:
        read_message(text, 0.0)
    except Malformed:
        return
    assert json.loads(text)["t"] in ("in", "do", "ping", "control", "yield")


def test_a_script_in_the_instruction_stays_the_text_it_is() -> None:
    words = "<script>alert(1)</script>"
    found = read_message(json.dumps({"t": "do", "what": "instruction", "text": words}), 0.0)
    assert isinstance(found, Do)
    assert found.args == {"text": words}


def _frame(**change: Any) -> Frame:
    facts = {
        "poses": np.arange(14, dtype=np.float32).reshape(2, 7), "frame": 3, "episode": 2, "ack": 9,
        "sim": 0.5, "reset": False, "success": True, "operator": True, "recording": False,
    }  # fmt: skip
    return Frame(**(facts | change))


def test_a_frame_is_packed_as_the_page_reads_it() -> None:
    packet = wire.pack_frame(_frame(), time=1.25)
    assert len(packet) == 32 + 2 * 28
    assert struct.unpack("<BBHIIIdd", packet[:32]) == (1, 1 | 2, 2, 3, 2, 9, 0.5, 1.25)
    np.testing.assert_array_equal(np.frombuffer(packet[32:], "<f4"), np.arange(14, dtype=np.float32))
    again = wire.pack_frame(_frame(reset=True, success=False, operator=False, recording=True), time=1.25)
    assert again[:2] == bytes([2, 4])
    assert wire.as_reset(packet)[0] == 2
    assert wire.as_reset(packet)[1:] == packet[1:]


def test_a_picture_carries_its_cameras_name() -> None:
    packet = wire.pack_picture(_frame(), "händ", b"JPEG", time=0.0)
    kind, _, n = struct.unpack("<BBH", packet[:4])
    assert (kind, packet[32 : 32 + n].decode(), packet[32 + n :]) == (3, "händ", b"JPEG")


def test_what_is_no_number_goes_as_null() -> None:
    text = wire.as_json({"doubt": {"value": float("nan")}, "last": [float("inf"), 1.0]})
    assert json.loads(text) == {"doubt": {"value": None}, "last": [None, 1.0]}


def test_a_token_works_once_and_a_used_one_is_renewed_for_the_terminal() -> None:
    access = Access(names_of("127.0.0.1"))
    first = access.token
    assert len(first) >= 43  # 32 random bytes
    assert access.admit("wrong") is None
    assert access.admit("") is None
    assert access.admit("ünï") is None
    assert not access.renew(first)  # nobody has used it yet
    key = access.admit(first)
    assert key is not None
    assert key != first
    assert access.knows(key)
    assert not access.knows(first)
    assert not access.knows(None)
    assert access.admit(first) is None
    assert access.renew(first)
    assert not access.renew(first)
    assert access.token != first
    assert access.admit(access.token) is not None


def test_a_shared_link_admits_others_who_are_not_the_same() -> None:
    access = Access(names_of("127.0.0.1"), share=True)
    keys = {access.admit(access.token) for _ in range(3)}
    assert len(keys) == 3
    assert None not in keys
    assert not access.renew(access.token)


def test_only_so_many_browsers_are_remembered() -> None:
    access = Access(names_of("127.0.0.1"), share=True)
    keys = [access.admit(access.token) for _ in range(65)]
    assert not access.knows(keys[0])
    assert all(map(access.knows, keys[1:]))


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:8000", True), ("localhost:8000", True), ("LOCALHOST", True), ("[::1]:8000", True),
        ("evil.example", False), ("127.0.0.1.evil.example", False), ("localhost:8000@evil.example", False),
        ("evil.example:8000", False), ("192.168.1.5:8000", False), ("", False), (None, False),
        ("127.0.0.1/x", False), ("127.0.0.1?x", False), ("127.0.0.1:port", False), ("[::1", False),
    ],
)  # fmt: skip
def test_a_server_on_this_machine_has_few_names(host: str | None, ours: bool) -> None:
    assert Access(names_of("127.0.0.1")).is_ours(host) is ours


def test_a_server_for_others_has_its_names_and_any_address_in_numbers() -> None:
    access = Access(names_of("0.0.0.0", ["Bench", "bench.local"]), numbers=True)
    assert all(map(access.is_ours, ["bench:1", "bench.local", "192.168.1.5:8000", "[fe80::1]:80"]))
    assert not access.is_ours("evil.example")
    assert not access.is_ours("192.168.1.5.evil.example")


@pytest.mark.parametrize(
    ("origin", "same"),
    [
        ("http://127.0.0.1:8000", True), ("https://127.0.0.1:8000", True), ("http://127.0.0.1:8001", False),
        ("http://localhost:8000", False), ("null", False), (None, False), ("http://evil.example", False),
        ("file://127.0.0.1:8000", False), ("http://127.0.0.1:8000.evil.example", False),
        ("127.0.0.1:8000", False),
    ],
)  # fmt: skip
def test_an_origin_is_ours_where_it_is_the_server_that_was_asked(origin: str | None, same: bool) -> None:
    assert Access(names_of("127.0.0.1")).same_origin(origin, "127.0.0.1:8000") is same


def test_loopback_is_told_from_the_rest() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.1.2.3", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "192.168.1.5", "::", "bench", ""]))


def test_a_rate_is_bounded_and_recovers() -> None:
    bucket = Bucket(10.0, 3)
    assert [bucket.takes(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.takes(0.1)
    assert not bucket.takes(0.1)
    assert [bucket.takes(1e9) for _ in range(4)] == [True, True, True, False]


def _sitter(key: str) -> Any:
    return SimpleNamespace(key=key)


def test_the_first_drives_and_the_others_wait_their_turn() -> None:
    seat: Seat[Any] = Seat(10.0)
    a, b, c = map(_sitter, "abc")
    for one in (a, b, c):
        seat.join(one, 0.0)
    assert seat.driver is a
    assert not seat.ask(c, 1.0)
    assert not seat.ask(b, 2.0)
    assert not seat.release(b, 3.0)  # out of the line
    assert seat.release(a, 4.0)
    assert seat.driver is c


def test_the_seat_is_kept_for_who_lost_the_link_and_then_given_on() -> None:
    seat: Seat[Any] = Seat(10.0)
    a, b, again = _sitter("a"), _sitter("b"), _sitter("a")
    seat.join(a, 0.0)
    seat.join(b, 0.0)
    assert seat.leave(a, 1.0)
    assert not seat.ask(b, 2.0)
    seat.join(again, 5.0)
    assert seat.driver is again
    assert seat.leave(again, 6.0)
    assert not seat.settle(15.9)
    assert seat.settle(16.0)
    assert seat.driver is b


def test_two_pages_of_one_browser_are_one_person() -> None:
    seat: Seat[Any] = Seat(10.0)
    a, same = _sitter("a"), _sitter("a")
    seat.join(a, 0.0)
    seat.join(same, 0.0)
    assert seat.driver is a
    assert seat.ask(same, 1.0)
    assert seat.driver is same
    assert not seat.leave(a, 2.0)  # the page that was left drives no more
