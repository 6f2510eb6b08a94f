"""The userspace data plane: a packet process with a TUN device, and its client in the IKE process.

The packet process owns the device, the raw ESP sockets and the NAT traversal port, so that a
signature never delays a packet. The two talk over a socketpair; see `channel`.
"""

from __future__ import annotations

from ipsecme.dataplane.user.client import UserDataPlane
from ipsecme.dataplane.user.launch import PacketProcess, launch
from ipsecme.dataplane.user.settings import UserSettings

__all__ = ["PacketProcess", "UserDataPlane", "UserSettings", "launch"]
