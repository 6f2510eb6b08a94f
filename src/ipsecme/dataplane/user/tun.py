"""The TUN device: where inner packets come from and go to."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from ipsecme.base import SystemRefused
from ipsecme.dataplane.user.netlink import link_request

if TYPE_CHECKING:
    from ipsecme.dataplane.user.netlink import Netlink
    from ipsecme.dataplane.user.settings import UserSettings

__all__ = ["Tun"]

_CLONE = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_ifreq = struct.Struct("16sH22x")
_QUEUE_PACKETS = 2000  # what TCP can have on its way while this process has no turn


class Tun:
    """A TUN device that lives as long as its descriptor is open, without addresses of its own."""

    def __init__(self, settings: UserSettings, netlink: Netlink) -> None:
        self.name = settings.tun_name
        self.descriptor = _open(settings.tun_name)
        try:
            self.index = socket.if_nametoindex(settings.tun_name)
            self._forbid_link_local()
            (error,) = netlink.execute([link_request(self.index, settings.mtu, _QUEUE_PACKETS)])
        except BaseException:
            self.close()
            raise
        if error is not None:
            self.close()
            raise SystemRefused(f"{self.name} cannot be set up: {error.strerror}")

    def close(self) -> None:
        """Remove the device; its routes go with it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _forbid_link_local(self) -> None:
        """Keep the kernel from inventing a link-local address and soliciting routers with it."""
        setting = Path(f"/proc/sys/net/ipv6/conf/{self.name}/addr_gen_mode")
        try:
            setting.write_text("1")
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.EROFS, errno.EACCES}:
                raise


def _open(name: str) -> int:
    try:
        descriptor = os.open(_CLONE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SystemRefused(
            f"{_CLONE} cannot be opened ({error.strerror}): load the module tun, and give a "
            "container the device"
        ) from None
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, _ifreq.pack(name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EBUSY:
            raise SystemRefused(
                f"the device {name} is in use by another program; choose another name for the "
                "tunnel device or stop that program"
            ) from None
        raise SystemRefused(
            f"the TUN device {name} cannot be made ({error.strerror}): run as root or with "
            "CAP_NET_ADMIN"
        ) from None
    return descriptor
