"""Every payload but SA and TS octet for octet (RFC 7296, sections 3.4 to 3.12, 3.15 and 3.16)."""

from __future__ import annotations

import pytest

from ipsecme.base import MalformedMessage
from ipsecme.wire.ike import (
    AuthPayload,
    CertPayload,
    CertReqPayload,
    ConfigAttribute,
    ConfigPayload,
    DeletePayload,
    EapPayload,
    IdentityPayload,
    KePayload,
    NoncePayload,
    NotifyPayload,
    Payload,
    UnknownPayload,
    VendorIdPayload,
    decode_chain,
    encode_chain,
)
from ipsecme.wire.numbers import (
    AuthMethod,
    CertEncoding,
    ConfigAttributeType,
    ConfigType,
    EapCode,
    EapType,
    IdType,
    KeId,
    NotifyType,
    PayloadType,
    ProtocolId,
)

SHA1 = "000102030405060708090a0b0c0d0e0f10111213"

LAYOUTS: dict[str, tuple[Payload, str]] = {
    # method, reserved, public value (figure 11)
    "KE": (KePayload(KeId.CURVE25519, b"\xaa" * 4), "001f 0000 aaaaaaaa"),
    # type, reserved, data (figure 12)
    "IDi address": (
        IdentityPayload(PayloadType.IDi, IdType.ID_IPV4_ADDR, b"\xc0\x00\x02\x01"),
        "01 000000 c0000201",
    ),
    "IDr name": (
        IdentityPayload(PayloadType.IDr, IdType.ID_FQDN, b"a.example"),
        "02 000000 612e6578616d706c65",
    ),
    "IDr IPv6": (
        IdentityPayload(PayloadType.IDr, IdType.ID_IPV6_ADDR, bytes(15) + b"\1"),
        "05 000000 00000000000000000000000000000001",
    ),
    "IDi key": (IdentityPayload(PayloadType.IDi, IdType.ID_KEY_ID, b"\0\n"), "0b 000000 000a"),
    # encoding, data (figures 13 and 14)
    "CERT": (CertPayload(CertEncoding.X509_SIGNATURE, b"\x30\x00"), "04 3000"),
    "CERTREQ": (
        CertReqPayload(CertEncoding.X509_SIGNATURE, bytes.fromhex(SHA1)),
        f"04 {SHA1}",
    ),
    # method, reserved, data (figure 15)
    "AUTH": (AuthPayload(AuthMethod.SHARED_KEY_MIC, b"\x11\x22"), "02 000000 1122"),
    # data alone (figures 16 and 18)
    "Nonce": (NoncePayload(bytes(range(16))), "000102030405060708090a0b0c0d0e0f"),
    "Vendor ID": (VendorIdPayload(b"ipsecme"), "69707365636d65"),
    "empty Vendor ID": (VendorIdPayload(b""), ""),
    # protocol, SPI size, type, SPI, data (figure 17)
    "Notify": (NotifyPayload(NotifyType.INITIAL_CONTACT), "00 00 4000"),
    "Notify with data": (NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, b"\0\x13"), "0000 0011 0013"),
    "Notify with SPI": (
        NotifyPayload(NotifyType.REKEY_SA, b"", ProtocolId.ESP, b"\xca\xfe\xba\xbe"),
        "03 04 4009 cafebabe",
    ),
    "Notify of nobody's": (NotifyPayload(NotifyType.of(40961), b"?"), "00 00 a001 3f"),
    # protocol, SPI size, count, SPIs (section 3.11)
    "Delete IKE": (DeletePayload(ProtocolId.IKE), "01 00 0000"),
    "Delete ESP": (
        DeletePayload(ProtocolId.ESP, (b"\0\0\1\0", b"\0\0\2\0")),
        "03 04 0002 00000100 00000200",
    ),
    "Delete AH": (DeletePayload(ProtocolId.AH, (b"\0\0\1\0",)), "02 04 0001 00000100"),
    # type, reserved, attributes of type, length, value (figures 22 and 23)
    "CP": (
        ConfigPayload(
            ConfigType.CFG_REQUEST,
            (
                ConfigAttribute(ConfigAttributeType.INTERNAL_IP4_ADDRESS),
                ConfigAttribute(ConfigAttributeType.INTERNAL_IP4_DNS, b"\x0a\0\0\x01"),
                ConfigAttribute(ConfigAttributeType.of(28675), b"x"),
            ),
        ),
        "01 000000 0001 0000 0003 0004 0a000001 7003 0001 78",
    ),
    "empty CP": (ConfigPayload(ConfigType.CFG_ACK, ()), "04 000000"),
    # code, identifier, length, type, data (figures 24 and 25)
    "EAP": (EapPayload(EapCode.REQUEST, 7, EapType.IDENTITY, b"who"), "01 07 0008 01 77686f"),
    "EAP success": (EapPayload(EapCode.SUCCESS, 7), "03 07 0004"),
    # anything
    "unknown": (UnknownPayload(PayloadType.of(200), 0x80, b"\1\2\3"), "010203"),
    "GSPM": (UnknownPayload(PayloadType.GSPM, 0, b""), ""),
}


def decode(kind: PayloadType, body: bytes) -> Payload:
    (payload,) = decode_chain(kind, b"\0\0" + (4 + len(body)).to_bytes(2) + body)
    return payload


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.requirement("R7296-191", "R7296-201", "R7296-207", "R7296-218")
def test_layout(name: str) -> None:
    payload, text = LAYOUTS[name]
    body = bytes.fromhex(text)
    flags = payload.flags if isinstance(payload, UnknownPayload) else 0
    chain = bytes((0, flags)) + (4 + len(body)).to_bytes(2) + body
    assert payload.body() == body
    assert encode_chain([payload]) == (payload.payload_type, chain)
    assert decode_chain(payload.payload_type, chain) == [payload]


def test_payloads_announce_each_other() -> None:
    """Next Payload names the payload after it; the last names none (figure 5)."""
    octets = bytes.fromhex("29 00 0009 04 aabbccdd  2b 00 0008 00 00 4000  00 00 0005 ff")
    payloads: list[Payload] = [
        CertPayload(CertEncoding.X509_SIGNATURE, b"\xaa\xbb\xcc\xdd"),
        NotifyPayload(NotifyType.INITIAL_CONTACT),
        VendorIdPayload(b"\xff"),
    ]
    assert encode_chain(payloads) == (PayloadType.CERT, octets)
    assert decode_chain(PayloadType.CERT, octets) == payloads
    assert encode_chain([]) == (PayloadType.NONE, b"")
    assert decode_chain(PayloadType.NONE, b"") == []


def test_any_order_is_read() -> None:
    """Section 2.5: no message is refused because payloads come in another order."""
    forward: list[Payload] = [payload for payload, _ in LAYOUTS.values()]
    backward = forward[::-1]
    for order in (forward, backward):
        assert decode_chain(*encode_chain(order)) == order


@pytest.mark.requirement("R7296-056")
@pytest.mark.parametrize("flags", [0x00, 0x01, 0x7F, 0x80, 0xFF])
def test_the_flags_of_known_payloads_are_ignored_and_sent_as_zero(flags: int) -> None:
    octets = bytes((0, flags, 0, 5, 0xFF))
    payloads = decode_chain(PayloadType.VENDOR_ID, octets)
    assert payloads == [VendorIdPayload(b"\xff")]
    assert encode_chain(payloads)[1] == b"\0\0\0\5\xff"


@pytest.mark.parametrize("flags", [0x00, 0x7F, 0x80, 0xFF])
def test_the_flags_of_unknown_payloads_are_kept(flags: int) -> None:
    (payload,) = payloads = decode_chain(77, bytes((0, flags, 0, 5, 0xFF)))
    assert isinstance(payload, UnknownPayload)
    assert payload.critical == bool(flags & 0x80)
    assert encode_chain(payloads) == (77, bytes((0, flags, 0, 5, 0xFF)))


@pytest.mark.requirement("R7296-053")
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (PayloadType.KE, "001f ffff aabb"),
        (PayloadType.AUTH, "02 ffffff 1122"),
        (PayloadType.CP, "01 ffffff 8001 0000"),
    ],
)
def test_reserved_octets_are_ignored_and_sent_as_zero(kind: PayloadType, text: str) -> None:
    payload = decode(kind, bytes.fromhex(text))
    clean = text.replace("ff", "00").replace("8001", "0001")
    assert payload.body() == bytes.fromhex(clean)


@pytest.mark.requirement("R7296-109")
def test_the_reserved_octets_of_an_identity_are_kept() -> None:
    """AUTH covers them as they came (section 2.15)."""
    body = bytes.fromhex("0b 010203 6162")
    payload = decode(PayloadType.IDi, body)
    assert isinstance(payload, IdentityPayload)
    assert payload.reserved == b"\1\2\3"
    assert payload.body() == body


@pytest.mark.requirement("PAR-10", "R7296-191")
@pytest.mark.parametrize(
    ("kind", "octets"),
    [
        (IdType.ID_IPV4_ADDR, 3),
        (IdType.ID_IPV4_ADDR, 5),
        (IdType.ID_IPV6_ADDR, 4),
        (IdType.ID_IPV6_ADDR, 17),
        (IdType.ID_NULL, 1),
    ],
)
def test_addresses_of_another_size_are_refused(kind: IdType, octets: int) -> None:
    with pytest.raises(MalformedMessage, match=f"{kind.name} of {octets} octets"):
        decode(PayloadType.IDi, bytes((kind, 0, 0, 0)) + bytes(octets))


@pytest.mark.requirement("PAR-09")
@pytest.mark.parametrize("kind", [IdType.ID_FQDN, IdType.ID_RFC822_ADDR])
@pytest.mark.parametrize("name", [b"", b"a.example\0", b"a\r\nb", b"\x1b[2J", b"\x1f"])
def test_names_that_are_empty_or_hold_control_characters_are_refused(
    kind: IdType, name: bytes
) -> None:
    with pytest.raises(MalformedMessage, match="empty or holds control"):
        decode(PayloadType.IDr, bytes((kind, 0, 0, 0)) + name)


@pytest.mark.requirement("PAR-10")
@pytest.mark.parametrize("name", [b" ", b"user name@a.example", "b\u00fccher.example".encode()])
def test_names_of_anything_else_are_left_to_whoever_compares_them(name: bytes) -> None:
    payload = decode(PayloadType.IDr, bytes((IdType.ID_RFC822_ADDR, 0, 0, 0)) + name)
    assert payload == IdentityPayload(PayloadType.IDr, IdType.ID_RFC822_ADDR, name)


@pytest.mark.requirement("R7296-100", "R7296-202", "PAR-09")
@pytest.mark.parametrize(
    ("octets", "allowed"), [(15, False), (16, True), (256, True), (257, False)]
)
def test_nonces_have_16_to_256_octets(octets: int, allowed: bool) -> None:
    nonce = bytes(octets)
    if allowed:
        assert decode(PayloadType.NONCE, nonce) == NoncePayload(nonce)
        return
    with pytest.raises(MalformedMessage, match=f"a nonce of {octets} octets"):
        decode(PayloadType.NONCE, nonce)


@pytest.mark.requirement("R7296-205")
@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        (NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, range(1, 2)),
        (NotifyType.INVALID_SPI, range(4, 5)),
        (NotifyType.IPCOMP_SUPPORTED, range(3, 0xFFFF)),
        (NotifyType.INVALID_MESSAGE_ID, range(4, 5)),
        (NotifyType.INVALID_KE_PAYLOAD, range(2, 3)),
        (NotifyType.SET_WINDOW_SIZE, range(4, 5)),
        (NotifyType.NAT_DETECTION_SOURCE_IP, range(20, 21)),
        (NotifyType.NAT_DETECTION_DESTINATION_IP, range(20, 21)),
        (NotifyType.COOKIE, range(1, 65)),
    ],
)
def test_notify_data_has_the_size_of_its_type(kind: NotifyType, sizes: range) -> None:
    for size in range(67):
        body = b"\0\0" + kind.to_bytes(2) + bytes(size)
        if size in sizes:
            assert decode(PayloadType.NOTIFY, body) == NotifyPayload(kind, bytes(size))
        else:
            with pytest.raises(MalformedMessage, match=f"{kind.name} with {size} octets"):
                decode(PayloadType.NOTIFY, body)


@pytest.mark.requirement("R7296-203")
def test_a_notify_without_spi_is_sent_with_protocol_zero_and_read_with_any() -> None:
    for protocol in map(ProtocolId.of, (0, 1, 2, 3, 255)):
        sent = NotifyPayload(NotifyType.COOKIE, b"data")
        assert sent.body() == bytes.fromhex("00 00 4006") + b"data"
        body = bytes((protocol,)) + sent.body()[1:]
        read = decode(PayloadType.NOTIFY, body)
        assert isinstance(read, NotifyPayload)
        assert (read.type, read.spi, read.data) == (NotifyType.COOKIE, b"", b"data")
    named = NotifyPayload(NotifyType.REKEY_SA, b"", ProtocolId.ESP, b"\1\2\3\4")
    assert named.body() == bytes.fromhex("03 04 4009 01020304")
    assert decode(PayloadType.NOTIFY, named.body()) == named


def test_a_notify_may_name_any_protocol_and_spi() -> None:
    """Protocol and SPI are ignored where they have no meaning (section 3.10)."""
    payload = decode(PayloadType.NOTIFY, bytes.fromhex("09 02 4000 abcd"))
    assert payload == NotifyPayload(NotifyType.INITIAL_CONTACT, b"", ProtocolId.of(9), b"\xab\xcd")
    with pytest.raises(MalformedMessage):
        decode(PayloadType.NOTIFY, bytes.fromhex("03 05 4009 cafebabe"))


@pytest.mark.requirement("R7296-207")
@pytest.mark.parametrize(
    "text",
    [
        "01 08 0000",  # an IKE SA is deleted without SPIs
        "01 00 0001",
        "01 08 0001 0102030405060708",
        "03 00 0000",  # Child SAs with SPIs of four octets
        "03 08 0001 0102030405060708",
        "03 04 0002 00000100",  # one SPI for two
        "03 04 0001 00000100 00000200",  # two for one
        "03 04 0000 00000100",
        "03 04 ffff",
    ],
)
def test_a_delete_counts_its_spis(text: str) -> None:
    with pytest.raises(MalformedMessage):
        decode(PayloadType.DELETE, bytes.fromhex(text))


@pytest.mark.requirement("R7296-220")
def test_unknown_configuration_attributes_survive() -> None:
    body = bytes.fromhex("02 000000 7fff 0003 616263 0000 0000")
    payload = decode(PayloadType.CP, body)
    assert isinstance(payload, ConfigPayload)
    assert not payload.attributes[0].type.is_known
    assert payload.body() == body
    for size in range(len(body)):
        if size in {4, 11}:  # between attributes
            decode(PayloadType.CP, body[:size])
            continue
        with pytest.raises(MalformedMessage):
            decode(PayloadType.CP, body[:size])


@pytest.mark.requirement("R7296-226")
@pytest.mark.parametrize(
    "text",
    [
        "01 07 0007 01 77686f",  # shorter than the payload
        "01 07 0009 01 77686f",  # longer
        "03 07 0000",
        "03 07 0003",
        "03 07 00",
        "03 07 0005 01",  # Success and Failure are four octets
        "04 07 0006 01 00",
        "01 07 0004",  # Request and Response have a type
        "02 07 0004",
    ],
)
def test_an_eap_packet_has_the_size_of_its_payload(text: str) -> None:
    with pytest.raises(MalformedMessage):
        decode(PayloadType.EAP, bytes.fromhex(text))
