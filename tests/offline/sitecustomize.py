"""No network but loopback, in every Python process that finds this folder on PYTHONPATH: kernels and other children of
tests too.

Prevents a test that passes only because a hub or a package index happens to answer.
"""

import socket

LOOPBACK = ("localhost", "127.", "::1", "0.0.0.0", "::ffff:127.")


class NetworkBlocked(RuntimeError):
    """Not an OSError, so that no library takes it for a network that is down and goes on."""


def _check(host) -> None:
    text = host.decode() if isinstance(host, bytes) else host
    if text and not str(text).startswith(LOOPBACK):
        raise NetworkBlocked(f"tests are offline: {text} is not loopback")


def _guard_address(original):
    def guarded(self, address, *rest):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _check(address[0])
        return original(self, address, *rest)

    return guarded


def _guard_lookup(original):
    def guarded(host, *rest, **options):
        _check(host)
        return original(host, *rest, **options)

    return guarded


if not getattr(socket, "is_guarded", False):
    socket.is_guarded = True
    socket.socket.connect = _guard_address(socket.socket.connect)
    socket.socket.connect_ex = _guard_address(socket.socket.connect_ex)
    socket.getaddrinfo = _guard_lookup(socket.getaddrinfo)
