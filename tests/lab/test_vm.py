"""The virtual machine: its kernel has ESP, and results come back."""

from __future__ import annotations

import pytest

from ipsecme.lab import vm
from ipsecme.lab.errors import LabUnavailable

KERNEL_ESP = """
set -e
ip netns add a
ip netns add b
ip link add va netns a type veth peer name vb netns b
ip -n a addr add 192.0.2.1/24 dev va
ip -n b addr add 192.0.2.2/24 dev vb
ip -n a link set va up
ip -n b link set vb up
key=0x000102030405060708090a0b0c0d0e0f10111213
out() { ip -n $1 xfrm policy add src $2 dst $3 dir $4 tmpl proto esp reqid 1 mode transport; }
for n in a b; do
  ip -n $n xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1001 reqid 1 \
    mode transport aead 'rfc4106(gcm(aes))' $key 128
  ip -n $n xfrm state add src 192.0.2.2 dst 192.0.2.1 proto esp spi 0x1002 reqid 1 \
    mode transport aead 'rfc4106(gcm(aes))' $key 128
done
out a 192.0.2.1 192.0.2.2 out
out a 192.0.2.2 192.0.2.1 in
out b 192.0.2.2 192.0.2.1 out
out b 192.0.2.1 192.0.2.2 in
ip netns exec a ping -q -c 3 -W 10 192.0.2.2
ip -n b -s xfrm state get src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1001
exit 7
"""


@pytest.mark.vm
@pytest.mark.slow
def test_kernel_esp_carries_a_ping_and_the_status_comes_back() -> None:
    result = vm.run(KERNEL_ESP)
    assert result.status == 7, result.output
    assert "3 packets transmitted, 3 received" in result.output
    assert "3(packets)" in result.output


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm, "_kernels", lambda: ["/boot/vmlinuz-6.1"])
    monkeypatch.setenv("PATH", "/nonexistent")
    reason = vm.missing()
    assert reason is not None
    assert "qemu-system-x86_64 is not installed" in reason
    with pytest.raises(LabUnavailable, match="tools/install_peers --vm"):
        vm.run("true")


def test_newest_kernel_is_chosen_by_number() -> None:
    names = ["/boot/vmlinuz-6.1.0-9-amd64", "/boot/vmlinuz-6.1.0-10-amd64"]
    assert max(names, key=vm._version) == "/boot/vmlinuz-6.1.0-10-amd64"
