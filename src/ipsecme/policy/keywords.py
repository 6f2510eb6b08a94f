"""Proposals as text: ``aes256gcm16-prfsha256-x25519``, in words that strongSwan's users know.

Several words of one kind are alternatives in order of preference. Without a prf word the PRF
follows the integrity algorithm. An ESP proposal with a key exchange word has perfect forward
secrecy at rekeying.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipsecme.base import ConfigError
from ipsecme.crypto.algorithms import ENCRYPTION
from ipsecme.crypto.suite import KE_WORDS
from ipsecme.policy.proposal import Proposal
from ipsecme.wire.numbers import EncrId, EsnId, IntegId, KeId, PrfId, ProtocolId

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DEFAULT_ESP_PROPOSALS", "DEFAULT_IKE_PROPOSALS", "parse_proposal", "parse_proposals"]

_ENCR: dict[str, tuple[EncrId, int]] = {
    f"aes{bits}{suffix}": (number, bits)
    for bits in (128, 192, 256)
    for suffix, number in (
        ("gcm16", EncrId.ENCR_AES_GCM_16),
        ("gcm", EncrId.ENCR_AES_GCM_16),
        ("", EncrId.ENCR_AES_CBC),
        ("cbc", EncrId.ENCR_AES_CBC),
    )
}
_INTEG: dict[str, IntegId] = {
    "sha256": IntegId.AUTH_HMAC_SHA2_256_128,
    "sha384": IntegId.AUTH_HMAC_SHA2_384_192,
    "sha512": IntegId.AUTH_HMAC_SHA2_512_256,
}
_PRF: dict[str, PrfId] = {
    "prfsha256": PrfId.PRF_HMAC_SHA2_256,
    "prfsha384": PrfId.PRF_HMAC_SHA2_384,
    "prfsha512": PrfId.PRF_HMAC_SHA2_512,
}
_KE: dict[str, KeId] = {
    **{word: method for method, word in KE_WORDS.items()},
    "curve25519": KeId.CURVE25519,
    "curve448": KeId.CURVE448,
}
_ESN: dict[str, EsnId] = {"esn": EsnId.ESN, "noesn": EsnId.NO_ESN}
_WORDS = (*_ENCR, *_INTEG, *_PRF, *_KE, *_ESN)

DEFAULT_IKE_PROPOSALS = (
    "aes256gcm16-aes128gcm16-prfsha256-prfsha384-prfsha512-x25519-ecp256",
    "aes256-aes128-sha256-sha384-sha512-prfsha256-prfsha384-prfsha512-x25519-ecp256",
)
DEFAULT_ESP_PROPOSALS = (
    # Perfect forward secrecy where the peer has it; peers without it are common.
    "aes256gcm16-aes128gcm16-x25519-ecp256",
    "aes256-aes128-sha256-sha384-sha512-x25519-ecp256",
    "aes256gcm16-aes128gcm16",
    "aes256-aes128-sha256-sha384-sha512",
)


@dataclass(slots=True)
class _Words:
    """The words of one proposal by kind, in order."""

    text: str
    encr: list[tuple[EncrId, int]] = field(default_factory=list)
    integ: list[IntegId] = field(default_factory=list)
    prf: list[PrfId] = field(default_factory=list)
    ke: list[KeId] = field(default_factory=list)
    esn: list[EsnId] = field(default_factory=list)


def parse_proposals(texts: Iterable[str], protocol: ProtocolId) -> tuple[Proposal, ...]:
    """Read a list of proposals, the most wanted first."""
    return tuple(parse_proposal(text, protocol) for text in texts)


def parse_proposal(text: str, protocol: ProtocolId) -> Proposal:
    """Read one proposal; raises `ConfigError` with what to write instead."""
    words = _sort_words(text)
    _check_ciphers(words)
    return _ike(words) if protocol == ProtocolId.IKE else _esp(words)


def _sort_words(text: str) -> _Words:
    words = _Words(text)
    for word in text.strip().lower().split("-"):
        if word in _ENCR:
            words.encr.append(_ENCR[word])
        elif word in _INTEG:
            words.integ.append(_INTEG[word])
        elif word in _PRF:
            words.prf.append(_PRF[word])
        elif word in _KE:
            words.ke.append(_KE[word])
        elif word in _ESN:
            words.esn.append(_ESN[word])
        else:
            close = difflib.get_close_matches(word, _WORDS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(_WORDS)}"
            raise ConfigError(f"{word!r} in proposal {text!r} is not an algorithm{hint}")
    return words


def _check_ciphers(words: _Words) -> None:
    text = words.text
    if not words.encr:
        raise ConfigError(f"proposal {text!r} names no cipher; add one such as aes256gcm16")
    kinds = {ENCRYPTION[number].is_aead for number, _ in words.encr}
    if len(kinds) > 1:
        raise ConfigError(
            f"proposal {text!r} mixes ciphers with and without built-in integrity; "
            "write two proposals (RFC 5282, section 8)"
        )
    if kinds == {True} and words.integ:
        raise ConfigError(
            f"proposal {text!r} adds an integrity algorithm to a cipher that has its own; "
            f"leave it out, or write prf{_word(words.integ[0])} if the PRF is meant"
        )
    if kinds == {False} and not words.integ:
        raise ConfigError(f"proposal {text!r} lacks an integrity algorithm; add one such as sha256")


def _ike(words: _Words) -> Proposal:
    text = words.text
    if words.esn:
        raise ConfigError(f"IKE proposal {text!r} has esn or noesn, which belong to ESP; remove it")
    prf = words.prf or [_PRF[f"prf{_word(number)}"] for number in words.integ]
    if not prf:
        raise ConfigError(f"IKE proposal {text!r} names no PRF; add one such as prfsha256")
    if not words.ke:
        raise ConfigError(f"IKE proposal {text!r} names no key exchange; add one such as x25519")
    return Proposal(
        ProtocolId.IKE, tuple(words.encr), tuple(words.integ), tuple(prf), tuple(words.ke)
    )


def _esp(words: _Words) -> Proposal:
    if words.prf:
        raise ConfigError(
            f"ESP proposal {words.text!r} names a PRF, which belongs to IKE; remove it"
        )
    esn = tuple(words.esn) or (EsnId.ESN, EsnId.NO_ESN)
    return Proposal(ProtocolId.ESP, tuple(words.encr), tuple(words.integ), (), tuple(words.ke), esn)


def _word(number: IntegId) -> str:
    return next(word for word, known in _INTEG.items() if known == number)
