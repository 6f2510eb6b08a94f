"""Proposals as text: ``aes256gcm16-prfsha256-x25519``, in words that strongSwan's users know.

Several words of one kind are alternatives in order of preference. Without a prf word the PRF
follows the integrity algorithm. An ESP proposal with a key exchange word has perfect forward
secrecy at rekeying. Owns the words and the default proposals; what one word means is in
`crypto.suite`, which writes them too.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ipsecme.base import ConfigError
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY, KEY_EXCHANGE, PRF
from ipsecme.crypto.suite import ENCR_WORDS, INTEG_WORDS, KE_WORDS, PRF_WORDS
from ipsecme.policy.proposal import Proposal
from ipsecme.wire.numbers import EncrId, EsnId, IntegId, KeId, PrfId, ProtocolId

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DEFAULT_ESP_PROPOSALS", "DEFAULT_IKE_PROPOSALS", "parse_proposal", "parse_proposals"]

T = TypeVar("T")

_ENCR: dict[str, tuple[EncrId, int]] = {
    word.format(bits=bits): (number, bits)
    for number, word in ENCR_WORDS.items()
    if number in ENCRYPTION
    for bits in ENCRYPTION[number].key_bits
}
_ENCR |= {
    f"aes{bits}{ending}": (number, bits)
    for ending, number in (
        ("", EncrId.ENCR_AES_CBC),
        ("gcm", EncrId.ENCR_AES_GCM_16),
        ("gcm128", EncrId.ENCR_AES_GCM_16),
        ("gcm96", EncrId.ENCR_AES_GCM_12),
        ("gcm64", EncrId.ENCR_AES_GCM_8),
        ("ccm", EncrId.ENCR_AES_CCM_16),
        ("ccm128", EncrId.ENCR_AES_CCM_16),
        ("ccm96", EncrId.ENCR_AES_CCM_12),
        ("ccm64", EncrId.ENCR_AES_CCM_8),
    )
    if number in ENCRYPTION
    for bits in ENCRYPTION[number].key_bits
}
_INTEG = {word: number for number, word in INTEG_WORDS.items() if number in INTEGRITY}
_PRF = {word: number for number, word in PRF_WORDS.items() if number in PRF}
_KE = {word: number for number, word in KE_WORDS.items() if number in KEY_EXCHANGE}
_KE |= {f"curve{word[1:]}": number for word, number in _KE.items() if word in {"x25519", "x448"}}
_ESN: dict[str, EsnId] = {"esn": EsnId.ESN, "noesn": EsnId.NO_ESN}
_WORDS = (*_ENCR, *_INTEG, *_PRF, *_KE, *_ESN)
_LACKED = {
    word.format(bits=bits)
    for words in (ENCR_WORDS, INTEG_WORDS, PRF_WORDS, KE_WORDS)
    for word in words.values()
    for bits in (128, 192, 256)
}.difference(_WORDS)
"""Words of algorithms that the installed library does not have."""
_INSTEAD_OF_WEAK = {
    **dict.fromkeys(("des", "3des", "blowfish128", "cast128"), "aes256gcm16"),
    **dict.fromkeys(("md5", "sha1", "sha"), "sha256"),
    **dict.fromkeys(("prfmd5", "prfsha1"), "prfsha256"),
    **dict.fromkeys(("modp768", "modp1024", "modp1536", "modp1024s160", "ecp192"), "ecp256"),
    **dict.fromkeys(("modp2048s224", "modp2048s256"), "modp2048"),
}
"""Words that other programs have for what nobody should use, and what to write instead."""


def _default(text: str) -> str:
    """Leave out what the installed library lacks."""
    return "-".join(word for word in text.split("-") if word not in _LACKED)


# RFC 8221 and RFC 8247 say which algorithms everyone must have and which are fading. Here are the
# ones that nobody need be ashamed of; the rest are used where they are asked for by name.
_GROUPS = "x25519-ecp256-ecp384-modp2048"
_AEAD = "aes256gcm16-aes128gcm16-chacha20poly1305"
_CBC = "aes256-aes128-sha256-sha384-sha512"
_PRFS = "prfsha256-prfsha384-prfsha512"

DEFAULT_IKE_PROPOSALS = (
    _default(f"{_AEAD}-{_PRFS}-{_GROUPS}"),
    _default(f"{_CBC}-{_PRFS}-{_GROUPS}"),
)
DEFAULT_ESP_PROPOSALS = (
    # Perfect forward secrecy where the peer has it; peers without it are common.
    _default(f"{_AEAD}-{_GROUPS}"),
    _default(f"{_CBC}-{_GROUPS}"),
    _default(_AEAD),
    _default(_CBC),
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
            raise ConfigError(f"{word!r} in proposal {text!r} {_complaint(word)}")
    return words


def _complaint(word: str) -> str:
    """Say what is wrong with a word that stands for nothing here."""
    if word in _INSTEAD_OF_WEAK:
        better = _INSTEAD_OF_WEAK[word]
        return f"is not an algorithm to rely on (RFC 8221, RFC 8247); write {better}, for one"
    if word in _LACKED:
        return (
            "is not in the installed cryptography library; "
            "leave it out, or install a library that has it"
        )
    close = difflib.get_close_matches(word, _WORDS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(_WORDS)}"
    return f"is not an algorithm; {hint}"


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
            f"leave it out, or write prf{INTEG_WORDS[words.integ[0]]} if the PRF is meant"
        )
    if kinds == {False} and not words.integ:
        # Encryption without integrity is no protection (RFC 8221, section 4).
        raise ConfigError(f"proposal {text!r} lacks an integrity algorithm; add one such as sha256")


def _ike(words: _Words) -> Proposal:
    text = words.text
    if words.esn:
        raise ConfigError(f"IKE proposal {text!r} has esn or noesn, which belong to ESP; remove it")
    if any(ENCRYPTION[number].esp_only for number, _ in words.encr):
        raise ConfigError(
            f"IKE proposal {text!r} has a cipher that hides nothing, which is for ESP alone; "
            "take one such as aes256gcm16"
        )
    prf = words.prf or [_PRF[f"prf{INTEG_WORDS[number]}"] for number in words.integ]
    if not prf:
        raise ConfigError(f"IKE proposal {text!r} names no PRF; add one such as prfsha256")
    if not words.ke:
        raise ConfigError(f"IKE proposal {text!r} names no key exchange; add one such as x25519")
    return Proposal(
        ProtocolId.IKE, _once(words.encr), _once(words.integ), _once(prf), _once(words.ke)
    )


def _esp(words: _Words) -> Proposal:
    if words.prf:
        raise ConfigError(
            f"ESP proposal {words.text!r} names a PRF, which belongs to IKE; remove it"
        )
    esn = _once(words.esn) or (EsnId.ESN, EsnId.NO_ESN)
    return Proposal(ProtocolId.ESP, _once(words.encr), _once(words.integ), (), _once(words.ke), esn)


def _once(found: Iterable[T]) -> tuple[T, ...]:
    """Leave out repetitions: two words may mean the same."""
    return tuple(dict.fromkeys(found))
