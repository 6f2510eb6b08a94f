"""EAP methods by themselves: both ends of each, and what hostile ends may send."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from ipsecme.base import Secret
from ipsecme.ike.auth.eap.md5 import Md5Client, Md5Server
from ipsecme.ike.auth.eap.method import Accepted, Client, Server, ServerStep, Users
from ipsecme.ike.auth.eap.mschapv2 import MsChapV2Client, MsChapV2Server
from ipsecme.ike.failures import AuthenticationFailed
from support.pair import SeededRng

USERS = Users({"alice": Secret(b"wonder-land"), "bo\u00e9": Secret("p\u00e4ss".encode())})
RNG = SeededRng(7)
IDENTIFIER = 9


def converse(client: Client, server: Server) -> tuple[Client, Accepted]:
    """Let both talk until the server has said its last word."""
    step: ServerStep | Accepted = server.begin(RNG)
    for _ in range(5):
        if isinstance(step, Accepted):
            return client, step
        client, answer = client.receive(step.data, IDENTIFIER, RNG)
        step = step.method.receive(answer, IDENTIFIER)
    raise AssertionError("no end")


@pytest.mark.parametrize(
    ("name", "password"), [("alice", "wonder-land"), ("bo\u00e9", "p\u00e4ss")]
)
def test_mschapv2_gives_both_ends_the_same_key(name: str, password: str) -> None:
    client = MsChapV2Client(name.encode(), Secret(password.encode()))
    after, accepted = converse(client, MsChapV2Server(USERS))
    assert accepted.name == name.encode()
    assert after.may_succeed
    assert after.msk is not None
    assert after.msk == accepted.msk
    assert len(after.msk) == 64
    assert converse(client, MsChapV2Server(USERS))[1].msk != accepted.msk


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [
        (b"alice", b"wrong-password", "wrong password of user 'alice'"),
        (b"mallory", b"wonder-land", "no user 'mallory'"),
        (b"\xff\n", b"wonder-land", "no user"),
        (b"", b"wonder-land", "no user ''"),
        (b"mallory", b"nobody", "no user 'mallory'"),
    ],
)
def test_mschapv2_refuses_with_the_same_words_and_tells_only_us_why(
    name: bytes, password: bytes, why: str
) -> None:
    client: Client = MsChapV2Client(name, Secret(password))
    first = MsChapV2Server(USERS).begin(RNG)
    client, answer = client.receive(first.data, IDENTIFIER, RNG)
    refusal = first.method.receive(answer, IDENTIFIER)
    assert isinstance(refusal, ServerStep)
    assert b"E=691 R=0" in refusal.data
    assert refusal.data.endswith(b"M=user name or password is wrong")
    client, seen = client.receive(refusal.data, IDENTIFIER, RNG)
    assert client.failure == "user name or password is wrong (E=691)"
    assert not client.may_succeed
    assert client.msk is None
    with pytest.raises(AuthenticationFailed, match=why):
        refusal.method.receive(seen, IDENTIFIER)


def test_mschapv2_client_finds_out_a_server_that_does_not_know_the_password() -> None:
    client = MsChapV2Client(b"alice", Secret(b"wonder-land"))
    other = MsChapV2Server(Users({"alice": Secret(b"guessed")}))
    first = other.begin(RNG)
    after, answer = client.receive(first.data, IDENTIFIER, RNG)
    assert after.msk is None
    with pytest.raises(AuthenticationFailed, match="does not know the password"):
        after.receive(b"\x03\x00\x00\x2eS=" + b"0" * 40, IDENTIFIER, RNG)
    # Success cannot be had before the challenge, nor without an answer to it.
    with pytest.raises(AuthenticationFailed, match="out of turn"):
        client.receive(b"\x03\x00\x00\x2eS=" + b"0" * 40, IDENTIFIER, RNG)
    with pytest.raises(AuthenticationFailed, match="out of turn"):
        after.receive(first.data, IDENTIFIER, RNG)
    assert isinstance(first.method.receive(answer, IDENTIFIER), ServerStep)


def test_mschapv2_server_takes_no_response_to_another_challenge() -> None:
    client = MsChapV2Client(b"alice", Secret(b"wonder-land"))
    old, fresh = MsChapV2Server(USERS).begin(RNG), MsChapV2Server(USERS).begin(RNG)
    answer = client.receive(old.data, IDENTIFIER, RNG).data
    number = fresh.data[1:2]
    step = fresh.method.receive(answer[:1] + number + answer[2:], IDENTIFIER)
    assert isinstance(step, ServerStep)
    assert b"E=691" in step.data


def test_md5_proves_a_user_and_makes_no_key() -> None:
    after, accepted = converse(Md5Client(b"alice", Secret(b"wonder-land")), Md5Server(USERS))
    assert accepted == Accepted(b"alice", None)
    assert after.msk is None
    nameless = replace(Md5Server(USERS), claimed=b"alice")
    assert converse(Md5Client(b"", Secret(b"wonder-land")), nameless)[1].name == b"alice"


def test_md5_refuses_strangers_wrong_passwords_and_another_identifier() -> None:
    first = Md5Server(USERS).begin(RNG)
    for name, password, why in (
        (b"alice", b"wrong", "wrong password"),
        (b"mallory", b"wonder-land", "no user"),
    ):
        answer = Md5Client(name, Secret(password)).receive(first.data, IDENTIFIER, RNG).data
        with pytest.raises(AuthenticationFailed, match=why):
            first.method.receive(answer, IDENTIFIER)
    answer = Md5Client(b"alice", Secret(b"wonder-land")).receive(first.data, 1, RNG).data
    with pytest.raises(AuthenticationFailed, match="wrong password"):
        first.method.receive(answer, IDENTIFIER)


@pytest.mark.parametrize("made", ["mschapv2", "md5"])
@given(st.binary(max_size=400))
def test_hostile_type_data_is_refused_and_never_raises_otherwise(made: str, data: bytes) -> None:
    secret = Secret(b"wonder-land")
    client: Client = (
        MsChapV2Client(b"alice", secret) if made == "mschapv2" else Md5Client(b"alice", secret)
    )
    server: Server = MsChapV2Server(USERS) if made == "mschapv2" else Md5Server(USERS)
    first = server.begin(RNG)
    begun = client.receive(first.data, IDENTIFIER, RNG).method
    for end in (client, begun):
        try:
            step = end.receive(data, IDENTIFIER, RNG)
        except AuthenticationFailed:
            continue
        assert len(step.data) < 400
        assert end is client or not step.method.may_succeed
    try:
        answered = first.method.receive(data, IDENTIFIER)
    except AuthenticationFailed:
        return
    assert isinstance(answered, ServerStep)
    assert b"E=691" in answered.data


def test_nothing_shows_passwords() -> None:
    client = MsChapV2Client(b"alice", Secret(b"wonder-land"))
    for shown in (repr(USERS), repr(client), repr(MsChapV2Server(USERS)), repr(Md5Server(USERS))):
        assert "wonder" not in shown
