"""The key log: tshark, which was written by others, reads what we encrypted with its help."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Path, Secret, SystemRefused, SystemRng, Transport
from ipsecme.daemon.keylog import KeyLog
from ipsecme.daemon.log import configure
from ipsecme.esp import Processor
from ipsecme.ike.commands import InstallSa
from ipsecme.ike.config import ChildConfig, EndpointConfig, Identity, PeerConfig
from ipsecme.ike.endpoint import Endpoint
from ipsecme.ike.events import IkeKeysDerived
from ipsecme.policy.keywords import parse_proposals
from ipsecme.policy.selector import parse_selector
from ipsecme.wire.encap import NON_ESP_MARKER
from ipsecme.wire.numbers import ProtocolId
from ipsecme.wire.pcap import (
    LINKTYPE_RAW,
    PcapPacket,
    encode_pcap_header,
    encode_pcap_packet,
)

if TYPE_CHECKING:
    import pathlib

    from ipsecme.policy.parameters import SaPair

WEST, EAST = "192.0.2.1", "192.0.2.2"


def ipv4(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    header = bytearray(20)
    header[0], header[8], header[9] = 0x45, 64, protocol
    header[2:4] = (20 + len(body)).to_bytes(2)
    header[12:16] = bytes(map(int, source.split(".")))
    header[16:20] = bytes(map(int, destination.split(".")))
    total = sum(int.from_bytes(header[i : i + 2]) for i in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    header[10:12] = ((total + (total >> 16)) & 0xFFFF ^ 0xFFFF).to_bytes(2)
    return bytes(header) + body


def udp(path: Path, body: bytes) -> bytes:
    ports = path.local.port.to_bytes(2) + path.remote.port.to_bytes(2)
    datagram = ports + (8 + len(body)).to_bytes(2) + bytes(2) + body
    return ipv4(path.local.address, path.remote.address, 17, datagram)


def make_endpoint(local: str, remote: str, ike: str, esp: str) -> Endpoint:
    inner = {WEST: "10.1.0.0/24", EAST: "10.2.0.0/24"}
    child = ChildConfig(
        "net",
        (parse_selector(inner[local]),),
        (parse_selector(inner[remote]),),
        parse_proposals((esp,), ProtocolId.ESP),
    )
    peer = PeerConfig(
        "site",
        Identity.parse(local),
        Identity.parse(remote),
        Secret(b"a long and winding secret"),
        (child,),
        local,
        remote,
        proposals=parse_proposals((ike,), ProtocolId.IKE),
    )
    return Endpoint(EndpointConfig((peer,), export_keys=True))


class Conversation:
    """Two endpoints that speak until both are quiet; `packets` is what a capture would hold."""

    def __init__(self, ike: str, esp: str) -> None:
        self.west = make_endpoint(WEST, EAST, ike, esp)
        self.east = make_endpoint(EAST, WEST, ike, esp)
        self.packets: list[bytes] = []
        self.west.initiate("site", None, 0.0)
        while self._carry(self.west, self.east) or self._carry(self.east, self.west):
            pass

    def _carry(self, sender: Endpoint, receiver: Endpoint) -> bool:
        datagrams = sender.datagrams_to_send()
        for datagram in datagrams:
            path = datagram.path
            marker = NON_ESP_MARKER if path.encapsulated else b""
            self.packets.append(udp(path, marker + datagram.data))
            way_back = Path(path.remote, path.local, path.encapsulated)
            receiver.receive_datagram(datagram.data, way_back, 0.0)
        return bool(datagrams)


def keys_of(endpoint: Endpoint, key_log: KeyLog) -> SaPair:
    """Write the keys of an endpoint and return its Child SA."""
    while (event := endpoint.next_event()) is not None:
        if isinstance(event, IkeKeysDerived):
            key_log.write_ike(event)
    command = endpoint.next_command()
    assert isinstance(command, InstallSa)
    key_log.write_esp(command.pair)
    return command.pair


def read_with_tshark(folder: pathlib.Path, packets: list[bytes]) -> list[str]:
    """Return, for each packet, its protocols, IKE payload types and ICMP sequence number."""
    tshark = shutil.which("tshark")
    if tshark is None:
        if os.environ.get("CI") == "true":
            pytest.fail("tshark is missing in continuous integration", pytrace=False)
        pytest.skip("tshark is not installed")
    capture = folder / "capture.pcap"
    records = (encode_pcap_packet(PcapPacket(i * 10**9, p, len(p))) for i, p in enumerate(packets))
    capture.write_bytes(encode_pcap_header(LINKTYPE_RAW, 65535) + b"".join(records))
    argv = [tshark, "-n", "-r", str(capture), "-o", "esp.enable_encryption_decode:TRUE"]
    argv += ["-o", "esp.enable_authentication_check:TRUE", "-T", "fields", "-E", "separator=;"]
    for name in ("frame.protocols", "isakmp.typepayload", "icmp.seq", "esp.icv_good"):
        argv += ["-e", name]
    environment = {**os.environ, "WIRESHARK_CONFIG_DIR": str(folder)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("ike", "esp"),
    [
        ("aes256gcm16-prfsha256-x25519", "aes256gcm16-noesn"),
        ("aes128gcm16-prfsha384-ecp256", "aes128gcm16-esn"),
        ("aes128-sha256-x25519", "aes128-sha256-noesn"),
        ("aes256-sha384-x25519", "aes256-sha384-noesn"),
        ("aes192-sha512-x25519", "aes192-sha512-noesn"),
        ("aes128ccm8-prfsha256-x25519", "aes128gcm8-noesn"),
        ("aes192ccm12-prfsha256-x25519", "aes192gcm12-noesn"),
        ("aes256ccm16-prfsha256-x25519", "null-sha256-noesn"),
        ("aes256gcm8-prfsha256-x25519", "aes128-aesxcbc-noesn"),
        ("aes256gcm12-prfsha256-x25519", "null-aescmac-noesn"),
        ("aes256ctr-sha256-x25519", "aes256ctr-sha256-noesn"),
        ("aes128ctr-aescmac-x25519", "aes128ctr-aescmac-noesn"),
        ("aes128-aesxcbc-x25519", "aes128-aescmac-noesn"),
    ],
)
def test_tshark_reads_ike_and_esp_with_our_keys(tmp_path: pathlib.Path, ike: str, esp: str) -> None:
    conversation = Conversation(ike, esp)
    pair = keys_of(conversation.west, KeyLog(tmp_path))
    sender = Processor(SystemRng())
    sender.install(pair)
    ping = ipv4("10.1.0.1", "10.2.0.1", 1, bytes.fromhex("0800f7ff0000002a") + b"payload ")
    sealed = sender.outbound(ping).octets
    assert (b"payload" in sealed) == esp.startswith("null")
    over_udp = udp(Path(Transport(WEST, 4500), Transport(EAST, 4500)), sealed)
    packets = [*conversation.packets, ipv4(WEST, EAST, 50, sealed), over_udp]
    init, init_answer, auth, auth_answer, esp_line, udp_line = read_with_tshark(tmp_path, packets)
    for line in (init, init_answer):
        assert line.startswith("raw:ip:udp:isakmp;")
    # SK, IDi or IDr, AUTH, SA, TSi, TSr: what only the keys can show.
    for line, identity in ((auth, "35"), (auth_answer, "36")):
        payloads = line.split(";")[1].split(",")
        assert payloads[0] == "46"
        assert {identity, "39", "33", "44", "45"} <= set(payloads)
    assert esp_line.startswith("raw:ip:esp:ip:icmp:data;")
    assert udp_line.startswith("raw:ip:udp:udpencap:esp:ip:icmp:data;")
    for line in (esp_line, udp_line):
        sequence, is_icv_good = line.split(";")[2:]
        assert sequence == "42"
        # tshark deciphers those too whose ICVs it cannot check: extended numbers, AES MACs.
        is_checked = not re.search("-esn|cmac|xcbc", esp)
        assert is_icv_good == ("1" if is_checked else "0")


def test_what_tshark_has_no_name_for_is_left_out_and_told_once(tmp_path: pathlib.Path) -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    key_log = KeyLog(tmp_path)
    for _ in range(2):
        chacha = "chacha20poly1305-prfsha256-x25519"
        keys_of(Conversation(chacha, "aes128gmac-noesn").west, key_log)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["key_log_skipped", "key_log_skipped"]
    assert [line["suite"] for line in lines] == [f"IKE {chacha}", "ESP aes128gmac-noesn"]
    assert "agree on AES-GCM or AES-CBC with HMAC to read this traffic" in lines[0]["msg"]
    assert (tmp_path / "ikev2_decryption_table").read_text() == ""
    assert (tmp_path / "esp_sa").read_text() == ""


def test_key_files_are_for_their_owner_alone(tmp_path: pathlib.Path) -> None:
    key_log = KeyLog(tmp_path / "keys")
    keys_of(Conversation("aes128gcm16-prfsha256-x25519", "aes128gcm16").west, key_log)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for name in ("ikev2_decryption_table", "esp_sa"):
        file = tmp_path / "keys" / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().endswith("\n")
    assert key_log.failure is None


def test_a_key_log_that_cannot_be_written_is_refused_at_the_start(tmp_path: pathlib.Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(SystemRefused, match=r"key log in .*/keys cannot be written.*correct"):
        KeyLog(tmp_path / "keys")


def test_links_are_not_followed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "esp_sa").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SystemRefused):
        KeyLog(tmp_path)
    assert not (tmp_path / "elsewhere").exists()
