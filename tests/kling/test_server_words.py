"""Words of a server never hand on a link that works."""

import pytest

from prefect_kling.kling.gate import Answer, read_body
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.reply import Reply
from prefect_kling.kling.sent_secrets import SentSecrets
from prefect_kling.kling.server_words import without_link_paths

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            f"Failed to fetch https://s3.test/b/k.png?X-Amz-Signature={SECRET} (403)",
            "s3.test/… (403)",
        ),
        (f"no answer from http://me:{SECRET}@cb.test:8765/kling/{SECRET}", "http://cb.test:8765/…"),
        (f'{{"u": "https:\\/\\/r2.test\\/uploads\\/{SECRET}.png"}}', "https://r2.test/…"),
        (f"HTTPS://R2.TEST/{SECRET}", "HTTPS://R2.TEST/…"),
        ("see https://apimodels.app/.", "see https://apimodels.app/."),
        ("Content policy violation", "Content policy violation"),
    ],
)
def test_only_the_host_of_a_link_is_kept(said: str, kept: str) -> None:
    """Signed links, callback addresses and uploads, as texts and as escaped JSON."""
    told = without_link_paths(said)
    assert kept in told
    assert SECRET not in told


def test_it_holds_for_failures_and_for_answers() -> None:
    """Both are written into the ledger."""
    link = f"https://r2.test/uploads/{SECRET}.png"
    job = VideoJob.read({"taskId": "j1", "state": "failed", "failMsg": f"cannot read {link}"})
    assert job is not None
    assert job.fail_words == "cannot read https://r2.test/…"
    for body in (f'{{"code": 400, "msg": "bad {link}"}}', f"bad {link}"):
        passed = read_body(body.encode(), SentSecrets("key"))
        reply = Reply.read(Answer(400, passed.text, passed.body, passed.is_broken))
        assert SECRET not in str(reply.create_error())
