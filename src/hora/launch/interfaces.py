"""Network interfaces of this host by address, and the other way round, with the standard library alone."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
import sys
from pathlib import Path

_ASK_ADDRESS = 0x8915  # SIOCGIFADDR of linux/sockios.h


def interface_of(address: str) -> str | None:
    """Return the interface that has an address, None where it cannot be found out."""
    wanted = ipaddress.ip_address(address)
    if sys.platform != "linux":
        return None
    if wanted.is_loopback:
        return "lo"
    for _number, name in socket.if_nameindex():
        if str(wanted) in (_ipv4(name), *_ipv6(name)):
            return name
    return None


def address_of(interface: str) -> str:
    """Return the address of an interface.

    Raises
    ------
    ValueError
        There is no such interface, or it has no address.
    """
    found = addresses_of(interface)
    if not found:
        names = ", ".join(name for _number, name in socket.if_nameindex())
        raise ValueError(f"there is no interface {interface} with an address here; there are {names}")
    return found[0]


def addresses_of(interface: str) -> list[str]:
    """Return the addresses of an interface, its IPv4 address first."""
    return [address for address in (_ipv4(interface), *_ipv6(interface)) if address]


def _ipv4(interface: str) -> str | None:
    if sys.platform != "linux":
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = struct.pack("256s", interface.encode()[:15])
        try:
            return socket.inet_ntoa(fcntl.ioctl(asking.fileno(), _ASK_ADDRESS, request)[20:24])
        except OSError:
            return None


def _ipv6(interface: str) -> list[str]:
    """Return its addresses that reach beyond the link, as the kernel lists them."""
    table = Path("/proc/net/if_inet6")
    lines = table.read_text().split("\n") if table.exists() else []
    rows = [line.split() for line in lines if line]
    addresses = [ipaddress.IPv6Address(int(row[0], 16)) for row in rows if row[5] == interface]
    return [str(address) for address in addresses if not address.is_link_local]
