"""Mutated links of results, read and judged without opening them."""

import ipaddress
import random

from prefect_kling.kling.links import is_picture, read_links, without_query
from prefect_kling.kling.result_access import PUBLIC_ONLY
from tests.fuzz.report import Report

LINKS = [
    "https://r2.test/v.mp4?sig=1",
    "http://127.0.0.1:9000/b/v.mp4",
    "http://[::ffff:169.254.169.254]/latest",
    "//r2.test/v.mp4",
    "r2.test/v.mp4 , https://r2.test/w.mp4",
]
PIECES = [
    "\x00", "\ud800", "\u202e", "\ufeff", "\n", " ", "'", "@", ":", "::", "//", "\\", "/", "[", "]",
    "%", "%00", "%25", "#", "?", "0x7f.1", "2130706433", "0177.0.0.1", ":99999", ":-1", "user:pw@",
    "xn--", "ⓛocalhost", "。", "🎬", "..", "a" * 300, "9" * 5000, ", ;" * 1000, "https://", "http:",
]  # fmt: skip
NEVER = [ipaddress.ip_address(each) for each in ("127.0.0.1", "169.254.169.254", "10.0.0.1", "::1")]


def mutated(link: str, chance: random.Random) -> str:
    """Return a link of which some places hold something else."""
    for _ in range(chance.randint(0, 5)):
        start = chance.randrange(len(link) + 1)
        end = start + chance.choice([0, 0, 1, 3])
        link = link[:start] + chance.choice(PIECES) + link[end:]
    return link


def fuzz_links(cases: int, first_seed: int = 0) -> Report:
    """Read so many mutated links; no private address may be allowed, whatever the link says."""
    report = Report("links")
    for seed in range(first_seed, first_seed + cases):
        chance = random.Random(seed)
        text = mutated(chance.choice(LINKS), chance)
        came_from = mutated(chance.choice(LINKS), chance)
        with report.case(str(seed)):
            for link in read_links(text):
                is_picture(link)
                without_query(link)
                for number in NEVER:
                    assert not PUBLIC_ONLY.allows(link, number, came_from), "a private address"
    return report
