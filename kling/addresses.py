"""Whether the API can reach an address of the web, as far as that can be known from here."""

import contextlib
import functools
import ipaddress
import socket
from enum import Enum, auto
from urllib.parse import urlsplit

# Names that the public name service does not know (RFC 6761, RFC 6762, RFC 8375, ICANN's decision
# on .internal), and those that routers and companies use for their own networks.
_PRIVATE_DOMAINS = (
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "localdomain",
    "home.arpa",
)

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Scope(Enum):
    """From where a host can be reached."""

    LOOPBACK = auto()
    """From its own machine only."""
    PRIVATE = auto()
    """From its own network: private, link-local and reserved addresses, single-label names."""
    PUBLIC = auto()
    """From everywhere, as far as its name tells."""


def host_of(url: str) -> str:
    """Return the host of an address in lower case, without a dot at its end.

    Returns an empty text if there is none.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return ""
    return (host or "").rstrip(".")


def scope_of(host: str) -> Scope:
    """Return the scope of a host by its name or number alone. Asks no name server."""
    address = number_of(host)
    if address is not None:
        return scope_of_number(address)
    if host == "localhost" or host.endswith(".localhost"):
        return Scope.LOOPBACK
    if "." not in host:
        return Scope.PRIVATE
    if any(host.endswith(f".{domain}") for domain in _PRIVATE_DOMAINS):
        return Scope.PRIVATE
    return Scope.PUBLIC


def is_reachable(url: str, api_url: str) -> bool:
    """Whether the API at `api_url` can fetch or call `url`, by the names of both hosts alone.

    An API on this machine, such as the sandbox, reaches whatever this machine reaches. One in a
    private network reaches all but what is on loopback. Any other reaches public hosts only.
    """
    host = host_of(url)
    api_host = host_of(api_url)
    if host == api_host:
        return True
    scope = scope_of(host)
    match scope_of(api_host):
        case Scope.LOOPBACK:
            return True
        case Scope.PRIVATE:
            return scope is not Scope.LOOPBACK
        case Scope.PUBLIC:
            return scope is Scope.PUBLIC


def is_reachable_by_lookup(url: str, api_url: str) -> bool:
    """Whether the API can reach `url`, by names and, for public names, by what they stand for here.

    A public name that stands for private addresses only, while that of the API does not, names a
    host in this network. Where nothing can be looked up, nothing is concluded. Blocks; each host is
    looked up once in a process.
    """
    if not is_reachable(url, api_url):
        return False
    host = host_of(url)
    api_host = host_of(api_url)
    if host == api_host or scope_of(api_host) is not Scope.PUBLIC:
        return True
    return not (_is_private_here(host) and _is_public_here(api_host))


def _is_private_here(host: str) -> bool:
    scopes = _scopes_here(host)
    return bool(scopes) and Scope.PUBLIC not in scopes


def _is_public_here(host: str) -> bool:
    return Scope.PUBLIC in _scopes_here(host)


@functools.lru_cache(maxsize=1024)
def _scopes_here(host: str) -> frozenset[Scope]:
    """Return the scopes of the numbers that a name stands for on this machine."""
    return frozenset(scope_of_number(number) for number in numbers_here(host))


def numbers_here(host: str) -> list[IPAddress]:
    """Return the numbers that a name stands for on this machine, none if it is not known.

    Blocks.
    """
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    numbers = (number_of(str(answer[4][0])) for answer in answers)
    return [number for number in numbers if number is not None]


def number_of(host: str) -> IPAddress | None:
    """Return the number that a host is; None for a name.

    `127.1`, `2130706433` and `0x7f000001` are numbers, too, for most programs.
    """
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host.partition("%")[0])
        return _within(address) or address
    if host[:1].isdigit():
        with contextlib.suppress(OSError, ValueError):
            return ipaddress.IPv4Address(socket.inet_aton(host))
    return None


def _within(address: IPAddress) -> IPAddress | None:
    """Return the IPv4 address inside of an IPv6 one: mapped, translated (NAT64) or tunnelled."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in _TRANSLATED or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    tunnelled = None
    if address.teredo is not None:
        tunnelled = address.teredo[1]
    return address.ipv4_mapped or address.sixtofour or tunnelled


def scope_of_number(address: IPAddress) -> Scope:
    """Return the scope of a number."""
    if address.is_loopback or address.is_unspecified:
        return Scope.LOOPBACK
    if address.is_global and not address.is_multicast:
        return Scope.PUBLIC
    return Scope.PRIVATE
