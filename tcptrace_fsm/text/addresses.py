"""Addresses, alone and with a port."""

from __future__ import annotations

import socket

__all__ = ["address_text", "socket_text", "with_port"]

WORD = (1 << 64) - 1


def address_text(high: int, low: int, *, six: bool) -> str:
    """Canonical text of an address from its two signed words.

    >>> address_text(0, 0x0A000001, six=False), address_text(0x20010DB8 << 32, 1, six=True)
    ('10.0.0.1', '2001:db8::1')
    """
    if not six:
        return f"{low >> 24 & 255}.{low >> 16 & 255}.{low >> 8 & 255}.{low & 255}"
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
    return with_port(address_text(high, low, six=six), port)
