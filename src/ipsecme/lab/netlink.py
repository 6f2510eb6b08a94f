"""Interfaces, addresses and routes of a namespace, through netlink.

Owns the calls to pyroute2, so that no `ip` program is needed; each function runs inside the
namespace it is given and raises `StepFailed` with the kernel's reason.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
from typing import TYPE_CHECKING, Final, TypeVar

from pyroute2 import IPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from ipsecme.lab.errors import LabUnavailable, StepFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.lab.namespace import Namespace

__all__ = [
    "add_address",
    "add_route",
    "interface_names",
    "make_veth",
    "remove_address",
    "set_link",
]

_indices: Final = itertools.count(10)
_Result = TypeVar("_Result")

_IFA_F_NODAD: Final = 0x02  # usable at once: nobody else can own an address of the lab


def add_address(namespace: Namespace, interface: str, address: str) -> None:
    """Give `interface` an address with its prefix length, such as `192.0.2.1/24`."""
    parsed = ipaddress.ip_interface(address)

    def change(ip: IPRoute) -> None:
        ip.addr(
            "add",
            index=_index(ip, interface),
            address=str(parsed.ip),
            prefixlen=parsed.network.prefixlen,
            flags=_IFA_F_NODAD if parsed.version == 6 else 0,
        )

    _configure(namespace, f"add {address} to {interface}", change)


def remove_address(namespace: Namespace, interface: str, address: str) -> None:
    """Take an address with its prefix length away from `interface`."""
    parsed = ipaddress.ip_interface(address)

    def change(ip: IPRoute) -> None:
        index = _index(ip, interface)
        ip.addr("del", index=index, address=str(parsed.ip), prefixlen=parsed.network.prefixlen)

    _configure(namespace, f"remove {address} from {interface}", change)


def add_route(namespace: Namespace, destination: str, via: str) -> None:
    """Route `destination` (a prefix, or `default` for that of `via`'s family) to a gateway."""
    everything = "::/0" if ipaddress.ip_address(via).version == 6 else "0.0.0.0/0"
    prefix = everything if destination == "default" else destination
    _configure(
        namespace,
        f"route {prefix} via {via}",
        lambda ip: ip.route("add", dst=prefix, gateway=via),
    )


def set_link(namespace: Namespace, interface: str, *, up: bool) -> None:
    """Switch `interface` on or off."""
    state = "up" if up else "down"
    _configure(
        namespace,
        f"set {interface} {state}",
        lambda ip: ip.link("set", index=_index(ip, interface), state=state),
    )


def make_veth(one: Namespace, interface: str, other: Namespace, peer: str, *, mtu: int) -> None:
    """Make a pair of virtual Ethernet interfaces: `interface` in `one`, `peer` in `other`.

    Indices are chosen, and differ: where both ends have the same index the kernel does not see
    that the link is a virtual one, and takes up to two seconds to notice that its carrier is
    there.
    """
    indices = next(_indices), next(_indices)

    def change(ip: IPRoute) -> None:
        with other.path.open("rb") as descriptor:
            ip.link(
                "add",
                ifname=interface,
                kind="veth",
                index=indices[0],
                mtu=mtu,
                peer={
                    "ifname": peer,
                    "index": indices[1],
                    "net_ns_fd": descriptor.fileno(),
                    "mtu": mtu,
                },
            )

    _configure(one, f"make the pair {interface} and {peer}", change)


def interface_names(namespace: Namespace) -> list[str]:
    """Return the names of all interfaces."""
    return _configure(
        namespace,
        "list interfaces",
        lambda ip: [str(link.get_attr("IFLA_IFNAME")) for link in ip.get_links()],
    )


def _configure(namespace: Namespace, what: str, change: Callable[[IPRoute], _Result]) -> _Result:
    def run() -> _Result:
        with IPRoute() as ip:
            return change(ip)

    try:
        return namespace.call(run)
    except NetlinkError as error:
        if error.code == errno.EOPNOTSUPP:
            raise LabUnavailable(
                f"{namespace.name}: {what}: {error}; the kernel lacks it (try 'modprobe veth')"
            ) from error
        raise StepFailed(f"{namespace.name}: {what}: {error}") from error


def _index(ip: IPRoute, interface: str) -> int:
    found = ip.link_lookup(ifname=interface)
    if not found:
        raise StepFailed(f"there is no interface {interface}")
    return int(found[0])
