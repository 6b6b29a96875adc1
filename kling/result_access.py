"""From which addresses results may be fetched: an answer must not send us into our own network."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from prefect_kling.kling.addresses import (
    IPAddress,
    Scope,
    host_of,
    number_of,
    numbers_here,
    scope_of,
    scope_of_number,
)

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class ResultAccess:
    """From where the results of one API may be fetched.

    From public addresses, and from the API's own host; of an API on this machine, from everything
    that is on this machine. A redirect to an address that is not public must stay with the host and
    port that it comes from, or lead to the API.
    """

    api_url: str = ""
    private: bool = False
    """Also from private addresses and from this machine. Link-local ones stay forbidden."""

    def allows(self, url: str, number: IPAddress, came_from: str = "") -> bool:
        """Whether what lies at `url` may be fetched from the address `number`.

        `came_from` is the link that redirected to it.
        """
        if scope_of_number(number) is Scope.PUBLIC:
            return True
        may_stay = self._is_at_the_api(url)
        if came_from:
            origin = _origin(url)
            stays = origin == _origin(came_from) and self._is_at_the_api(came_from)
            is_to_api = origin == _origin(self.api_url)
            # Two links without a host that can be read have nothing in common.
            may_stay = bool(origin[0]) and (stays or is_to_api)
        if number.is_link_local or number.is_multicast or number.is_reserved:
            return may_stay and host_of(url) == host_of(self.api_url)
        return may_stay or self.private

    def allows_host(self, url: str, came_from: str = "") -> bool:
        """Whether all addresses that the host of `url` stands for here may be connected to.

        Blocks, as it may ask a name server. Of a name that is not known here nothing is concluded.
        """
        host = host_of(url)
        number = number_of(host)
        numbers = [number]
        if number is None:
            numbers = [*numbers_here(host)]
        return all(self.allows(url, each, came_from) for each in numbers if each is not None)

    def _is_at_the_api(self, url: str) -> bool:
        host = host_of(url)
        api_host = host_of(self.api_url)
        if not host or not api_host:
            return False
        is_here = scope_of(host) is Scope.LOOPBACK and scope_of(api_host) is Scope.LOOPBACK
        return host == api_host or is_here


PUBLIC_ONLY = ResultAccess()


def _origin(url: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", None
    return host_of(url), port or _PORTS.get(parts.scheme)
