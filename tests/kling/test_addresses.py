"""What can be known of an address before the API is asked to fetch it."""

import socket
from collections.abc import Mapping

import pytest

from prefect_kling.kling import addresses
from prefect_kling.kling.addresses import Scope, host_of, is_reachable, is_reachable_by_lookup

API = "https://apimodels.app/api/v1"
SCOPES = {
    Scope.LOOPBACK: (
        "127.0.0.1",
        "127.9.8.7",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0.0.0.0",
        "::1",
        "::ffff:127.0.0.1",
        "localhost",
        "s3.localhost",
    ),
    Scope.PRIVATE: (
        "10.1.2.3",
        "172.16.0.9",
        "192.168.178.20",
        "169.254.169.254",
        "100.64.0.1",
        "fd00::7",
        "fe80::1%eth0",
        "minio",
        "nas.local",
        "s3.prod.internal",
        "store.home.arpa",
    ),
    Scope.PUBLIC: ("8.8.8.8", "2001:4860:4860::8888", "pictures.kling.test", "s3.amazonaws.com"),
}


def link(host: str) -> str:
    """A signed-looking link to a host."""
    name = host
    if ":" in host:
        name = f"[{host}]"
    return f"http://{name}:9000/films/a.png?X-Amz-Signature=1"


@pytest.mark.parametrize(
    ("scope", "host"), [(scope, host) for scope, hosts in SCOPES.items() for host in hosts]
)
def test_an_api_elsewhere_reaches_public_hosts_only(scope: Scope, host: str) -> None:
    """Loopback, private, link-local and reserved numbers, and local names, are not public."""
    assert addresses.scope_of(host_of(link(host))) is scope
    assert is_reachable(link(host), API) is (scope is Scope.PUBLIC)


@pytest.mark.parametrize("host", [host for hosts in SCOPES.values() for host in hosts])
def test_an_api_on_this_machine_reaches_what_this_machine_reaches(host: str) -> None:
    """A sandbox with a store on loopback, or anywhere else, keeps working."""
    assert is_reachable(link(host), "http://127.0.0.1:8484/api/v1")


def test_an_api_in_a_private_network_reaches_all_but_loopback() -> None:
    """Two containers know each other by name; neither knows what the other calls localhost."""
    api = "http://sandbox:8484/api/v1"
    assert is_reachable(link("s3"), api)
    assert is_reachable(link("10.0.0.7"), api)
    assert is_reachable(link("pictures.kling.test"), api)
    assert not is_reachable(link("localhost"), api)
    assert is_reachable(link("sandbox"), api)


@pytest.mark.parametrize("odd", ["", "nonsense", "https://", "https://[::1"])
def test_an_address_without_a_host_is_reached_by_nobody_elsewhere(odd: str) -> None:
    """Reading an address never raises."""
    assert not is_reachable(odd, API)


def look_up(monkeypatch: pytest.MonkeyPatch, numbers: Mapping[str, list[str]]) -> None:
    """Have names stand for these numbers, and no other name for any."""

    def answer(host: str, *rest: object, **more: object) -> list[tuple[object, ...]]:
        if host not in numbers:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [(socket.AF_INET, 1, 6, "", (number, 0)) for number in numbers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    addresses._scopes_here.cache_clear()
    monkeypatch.setattr(addresses, "_scopes_here", addresses._scopes_here.__wrapped__)


def test_a_public_name_for_private_numbers_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """An in-house store may have a name that looks public; one number outside is enough."""
    numbers = {
        "apimodels.app": ["104.18.1.1"],
        "minio.corp.example.com": ["10.0.0.5"],
        "cdn.example.com": ["10.0.0.6", "151.101.1.1"],
    }
    look_up(monkeypatch, numbers)
    assert not is_reachable_by_lookup(link("minio.corp.example.com"), API)
    assert is_reachable_by_lookup(link("cdn.example.com"), API)
    assert is_reachable_by_lookup(link("nobody.example.com"), API)
    assert not is_reachable_by_lookup(link("10.0.0.5"), API)


def test_nothing_is_concluded_about_an_api_that_is_private_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind one private name server, API and store may well reach each other."""
    numbers = {"apimodels.app": ["10.0.0.4"], "minio.corp.example.com": ["10.0.0.5"]}
    look_up(monkeypatch, numbers)
    assert is_reachable_by_lookup(link("minio.corp.example.com"), API)
