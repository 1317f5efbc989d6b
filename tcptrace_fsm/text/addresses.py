"""Addresses, alone and with a port."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from tcptrace_fsm.errors import UsageError

__all__ = ["Endpoint", "address_text", "endpoint", "socket_text", "with_port"]

WORD = (1 << 64) - 1


class _Halves(dict[int, str]):
    """The text of half an IPv4 address, made when it is first asked for: hosts are many, halves are few."""

    def __missing__(self, half: int) -> str:
        text = self[half] = f"{half >> 8}.{half & 255}"
        return text


HALVES = _Halves()


def address_text(high: int, low: int, *, six: bool) -> str:
    """Canonical text of an address from its two signed words.

    >>> address_text(0, 0x0A000001, six=False), address_text(0x20010DB8 << 32, 1, six=True)
    ('10.0.0.1', '2001:db8::1')
    """
    return _ipv6_text(high, low) if six else f"{HALVES[low >> 16 & 65535]}.{HALVES[low & 65535]}"


@lru_cache(4096)  # a few hosts are named again and again
def _ipv6_text(high: int, low: int) -> str:
    import socket  # takes longer than all else here, and few captures are of IPv6

    return socket.inet_ntop(socket.AF_INET6, ((high & WORD) << 64 | low & WORD).to_bytes(16, "big"))


def with_port(address: str, port: int) -> str:
    """An address with its port, as RFC 3986 writes them.

    >>> with_port("10.0.0.1", 80), with_port("2001:db8::1", 80)
    ('10.0.0.1:80', '[2001:db8::1]:80')
    """
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def socket_text(high: int, low: int, port: int, *, six: bool) -> str:
    """Address and port from the address's two words.

    >>> socket_text(0x20010DB8 << 32, 1, 80, six=True)
    '[2001:db8::1]:80'
    """
    if not six:
        return f"{HALVES[low >> 16 & 65535]}.{HALVES[low & 65535]}:{port}"
    return with_port(_ipv6_text(high, low), port)


class Endpoint(NamedTuple):
    """An address, a port, or both; None for any."""

    ip: str | None
    port: int | None

    def matches(self, ip: str, port: int) -> bool:
        """Whether that is the address and port."""
        return self.ip in {None, ip} and self.port in {None, port}

    def __str__(self) -> str:
        return f":{self.port}" if self.ip is None else self.ip if self.port is None else with_port(self.ip, self.port)


def endpoint(text: str, option: str = "--host") -> Endpoint:
    """Read an address with or without a port, or a port alone behind a colon.

    >>> endpoint("10.0.0.2:8080"), endpoint("[2001:DB8::1]:80")
    (Endpoint(ip='10.0.0.2', port=8080), Endpoint(ip='2001:db8::1', port=80))
    >>> endpoint("2001:db8::1"), endpoint(":443")
    (Endpoint(ip='2001:db8::1', port=None), Endpoint(ip=None, port=443))

    Raises
    ------
    UsageError
        When it is none of these.

    """
    import re
    from ipaddress import ip_address

    refusal = UsageError(f"{option} takes an IP address, with or without :PORT, not {text!r}")
    parts = re.fullmatch(r"(?:\[([^][]*)\]|([^][:]*))(?::([0-9]{1,5}))?", text.strip(), re.ASCII)
    host, port = (parts[1] or parts[2] or "", parts[3]) if parts else (text.strip(), None)
    if port is not None and int(port) > 65535:
        raise refusal
    if not host and port is not None and "[" not in text:
        return Endpoint(None, int(port))
    try:
        address = ip_address(host)
    except ValueError:
        raise refusal from None
    packed = int(address)
    ip = address_text(packed >> 64, packed & (1 << 64) - 1, six=address.version == 6)
    return Endpoint(ip, None if port is None else int(port))
