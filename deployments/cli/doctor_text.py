"""The sentences of `prefect-kling doctor`, formed from what the checks found."""

from prefect_kling.deployments.doctor.finding import Finding, Reason

SENTENCES = {
    Reason.CHECK_FAILED: "{value}",
    Reason.NEEDS_OTHER_CHECKS: "needs {value}",
    Reason.SERVER_OK: "{value} at {subject}",
    Reason.CLOUD_OK: "Prefect Cloud answers",
    Reason.SERVER_NOT_CONFIGURED: "no Prefect server is named",
    Reason.SERVER_UNREACHABLE: "{subject} does not answer ({value})",
    Reason.SERVER_TOO_OLD: "the server is {value}, older than this client ({subject})",
    Reason.BLOCK_TYPES_REGISTERED: "registered",
    Reason.BLOCK_TYPES_MISSING: "not registered: {value}",
    Reason.CREDENTIALS_LOADED: "{subject!r}",
    Reason.ARCHIVE_LOADED: "{subject!r}, {value}",
    Reason.BLOCK_MISSING: "there is no {subject} block named {value!r}",
    Reason.BLOCK_UNREADABLE: "{subject} {value!r} cannot be read",
    Reason.BLOCK_INVALID: "{subject} cannot be read ({value})",
    Reason.ADDRESS_OK: "{subject}",
    Reason.SERVER_ERROR: "{subject} answers {value}",
    Reason.KEY_ACCEPTED: "accepted",
    Reason.BALANCE_OK: "{value} {subject}",
    Reason.BALANCE_EMPTY: "{value} {subject} on the account",
    Reason.CLOCK_UNKNOWN: "{subject} answer tells no time",
    Reason.NOT_ENCRYPTED: "{subject} is not encrypted",
    Reason.BUCKET_OK: "{subject} is there and can be listed",
    Reason.PERMISSIONS_OK: "put, get, list and delete are allowed",
    Reason.PERMISSIONS_MISSING: "{value}",
    Reason.STORE_INCONSISTENT: "the store does not give back what was put there a moment ago",
    Reason.CONDITIONS_HONOURED: "honoured",
    Reason.LINK_OK: "can be fetched from here",
    Reason.LINK_FAILED: "a fresh link is answered {value}",
    Reason.LINK_UNREACHABLE: "they name {subject}, which the API at {value} cannot reach",
    Reason.LINKS_NOT_USED: "none are given out; inputs are uploaded",
    Reason.UPLOAD_OK: "taken, and can be fetched from here",
    Reason.UPLOADS_NOT_USED: "inputs are not uploaded; the API gets signed links",
    Reason.UPLOAD_FAILED: "a fresh upload at {subject} is answered {value}",
    Reason.CALLS_UNREACHABLE: "it is at {subject}, which the API at {value} cannot reach",
    Reason.NO_RECEIVER: "none is configured; jobs are polled",
    Reason.WEBHOOK_ONLY: "a webhook is called; jobs are polled all the same",
    Reason.RECEIVER_UNHEALTHY: "{subject} answers {value}",
    Reason.NO_CALLS: "no receiver, no calls",
    Reason.CALL_REFUSED: "refused",
    Reason.CALL_ACCEPTED: "an unsigned call is answered {value} instead of 404",
    Reason.CALL_REFUSED_BY_OTHER: "refused, but not by the receiver",
    Reason.SWEEPS_SCHEDULED: "its schedule is active",
    Reason.SWEEPS_NOT_DEPLOYED: "no deployment of {subject}",
    Reason.SWEEPS_NOT_SCHEDULED: "deployed, but no schedule is active",
    Reason.SWEEPS_PAUSED: "its schedule is active, but the deployment {subject} is paused",
    Reason.NO_CLIP_HELD: "none",
}


def sentence(finding: Finding) -> str:
    """Return what was found as one line of text, without what to do."""
    match finding.reason:
        case Reason.CLOCK_OK | Reason.CLOCK_OFF:
            text = _clock(finding.subject, float(finding.value))
        case Reason.CLIPS_HELD if finding.value == 1:
            text = "1 clip is held"
        case Reason.CLIPS_HELD:
            text = f"{finding.value} clips are held"
        case reason:
            text = SENTENCES[reason].format(subject=finding.subject, value=finding.value)
    return " ".join(text.split())


def line(finding: Finding) -> str:
    """Return the line that the doctor prints: status, check, what was found and what to do."""
    text = f"{finding.status:<7}  {finding.check}: {sentence(finding)}"
    if finding.fix:
        return f"{text} → {finding.fix}"
    return text


def _clock(other: str, ahead: float) -> str:
    if abs(ahead) <= 1:
        return f"agrees with {other}"
    if ahead > 0:
        return f"this machine is {ahead:.0f} s ahead of {other} clock"
    return f"this machine is {-ahead:.0f} s behind {other} clock"
