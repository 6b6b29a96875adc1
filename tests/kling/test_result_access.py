"""No answer of the API sends us into our own network."""

import ipaddress

import pytest

from prefect_kling.kling import addresses
from prefect_kling.kling.result_access import PUBLIC_ONLY, ResultAccess

API = "https://apimodels.app/api/v1"
PUBLIC = ("8.8.8.8", "[2001:4860:4860::8888]")
INSIDE = (
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0.0.0.0",
    "localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a00:1]", "[64:ff9b::a00:1]",
    "[2002:a00:1::]", "[::10.0.0.1]", "10.0.0.1", "172.16.3.4", "192.168.1.1", "100.64.0.1",
    "169.254.169.254",
    "[fe80::1]", "[fd00:ec2::254]", "224.0.0.1", "[ff02::1]", "240.0.0.1", "255.255.255.255",
    "192.0.2.1", "198.18.0.1", "198.51.100.7",
)  # fmt: skip


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses_are_fetched_from(host: str) -> None:
    """Results of the operator lie at some host of the web."""
    for access in (PUBLIC_ONLY, ResultAccess(API)):
        assert access.allows_host(f"https://{host}/v.mp4")
        assert access.allows_host(f"https://{host}/v.mp4", came_from="https://r2.test/v.mp4")


@pytest.mark.parametrize("host", INSIDE)
def test_no_other_address_is(host: str) -> None:
    """Loopback, private, link-local, reserved: in every spelling, as link and as redirect."""
    link = f"http://{host}:8080/latest/meta-data"
    for access in (PUBLIC_ONLY, ResultAccess(API)):
        assert not access.allows_host(link)
        assert not access.allows_host(link, came_from="https://r2.test/v.mp4")
        assert not access.allows_host(link, came_from=link)


def test_an_api_on_this_machine_may_name_files_on_this_machine() -> None:
    """A sandbox, and what stands beside it; a redirect must not go to another service."""
    access = ResultAccess("http://127.0.0.1:8484/api/v1")
    assert access.allows_host("http://127.0.0.1:8484/files/v.mp4")
    assert access.allows_host("http://localhost:9000/v.mp4")
    assert not access.allows_host("http://10.0.0.1/v.mp4")
    assert not access.allows_host("http://169.254.169.254/latest")
    files = "http://127.0.0.1:9000/v.mp4"
    assert access.allows_host("http://127.0.0.1:9000/other.mp4", came_from=files)
    assert access.allows_host("http://127.0.0.1:8484/v.mp4", came_from=files)
    assert not access.allows_host("http://127.0.0.1:6379/", came_from=files)
    assert not access.allows_host("http://127.0.0.1:9000/", came_from="https://r2.test/v.mp4")


def test_an_api_in_a_private_network_may_name_its_own_host_only() -> None:
    """Everything else takes the setting."""
    access = ResultAccess("http://10.0.0.5:8080/api/v1")
    assert access.allows_host("http://10.0.0.5:9000/v.mp4")
    for host in ("10.0.0.6", "127.0.0.1", "169.254.169.254"):
        assert not access.allows_host(f"http://{host}/v.mp4")


def test_the_setting_opens_private_addresses_and_no_special_ones() -> None:
    """What no server of results has stays closed: link-local is where clouds keep credentials."""
    access = ResultAccess(API, private=True)
    for host in ("10.0.0.6", "127.0.0.1", "192.168.1.1", "[fd00::7]", "100.64.0.1"):
        assert access.allows_host(f"http://{host}/v.mp4")
        assert access.allows_host(f"http://{host}/v.mp4", came_from="https://r2.test/v.mp4")
    for host in ("169.254.169.254", "[fe80::1]", "224.0.0.1", "[::ffff:169.254.169.254]"):
        assert not access.allows_host(f"http://{host}/v.mp4")


def test_a_name_that_stands_for_another_address_by_then_is_not_connected_to() -> None:
    """What counts is the address of the connection, whatever the name stood for before."""
    link = "https://r2.test/v.mp4"
    assert ResultAccess(API).allows(link, ipaddress.ip_address("8.8.8.8"))
    assert not ResultAccess(API).allows(link, ipaddress.ip_address("127.0.0.1"))
    assert not ResultAccess(API).allows(link, ipaddress.ip_address("127.0.0.1"), came_from=link)


ODD = (
    "", " ", "nonsense", "/", "//", "http://", "https:///api/v1", "http://:80/v", "http://[::1",
    "http://[]/v", "file:///etc/passwd", "http://h:99999/v", "http://h:port/v", "\x00", "http://\x00/",
)  # fmt: skip


@pytest.mark.parametrize("base", ODD)
@pytest.mark.parametrize("number", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1"])
def test_a_base_address_that_cannot_be_read_opens_no_private_address(
    base: str, number: str
) -> None:
    """Nothing is at the API's own host then, not even a link that cannot be read either."""
    access = ResultAccess(base)
    for link in (*ODD, f"http://{number}/v", f"http://[{number}]/v", "https://r2.test/v.mp4"):
        if addresses.host_of(base) and addresses.host_of(link) == addresses.host_of(base):
            continue
        for came_from in ("", base, link, "https://r2.test/v.mp4"):
            assert not access.allows(link, ipaddress.ip_address(number), came_from)


@pytest.mark.parametrize("odd", ODD)
def test_odd_links_raise_nothing(odd: str) -> None:
    """They are no links; whoever opens them says so."""
    for came_from in ("", odd):
        PUBLIC_ONLY.allows_host(odd, came_from)
        ResultAccess(odd).allows_host(odd, came_from)
