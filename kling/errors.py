"""What can go wrong at the API, cut by what the caller can do about it.

```text
KlingError
├── RequestRefused    fix the request: a parameter, a reference or the content was not accepted
├── KeyRefused        fix the key or the base URL: missing, wrong or not allowed to do this
├── BalanceTooLow     top up the account
├── Unavailable       wait: nothing has happened on the server, the same call may be made again
├── OutcomeUnknown    do not repeat: it is not known whether the request was taken and paid
├── JobNotFound       the API does not know this job (any more)
├── JobFailed         the job ended without a video; failed jobs are not charged
├── StillRunning      the job is fine, only the waiting ended; wait again with the same job id
└── UnreadableReply   the API answered something nobody could read
```
"""

from typing import Unpack

from prefect_kling.kling.error_details import DetailedError, ErrorDetails


class KlingError(DetailedError):
    """Root of everything the API room raises.

    Each error carries the facts there are: `job_id`, the HTTP `status`, the `code` in the body and,
    as
    `detail`, the server's own words. None of them ever holds the API key.
    """


class RequestRefused(KlingError):
    """The API (or the rules, before any call) does not accept the request; nothing was paid."""

    next_step = "Nothing was paid. Change the request and send it again."


class KeyRefused(KlingError):
    """The API key is missing, wrong, or lacks a permission, or the address is wrong.

    This call cost nothing.
    """

    next_step = (
        "This call cost nothing. Check the API key and the base URL in the KlingCredentials block."
    )


class BalanceTooLow(KlingError):
    """The account cannot pay for the job; nothing was paid."""

    next_step = (
        "Nothing was paid. Top up the account, or wait until running jobs release what they hold."
    )


class Unavailable(KlingError):
    """The call certainly had no effect: it never left, or the server was too busy to take it.

    `retry_after` is the server's wish in seconds, when it gave one.
    """

    next_step = "Nothing happened on the server. Try again later."

    def __init__(
        self, message: str, *, retry_after: float | None = None, **details: Unpack[ErrorDetails]
    ) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class OutcomeUnknown(KlingError):
    """A paid call was sent and its outcome is not known; sending it again could pay twice."""

    next_step = (
        "Do not send it again: look in the account's task list for a job of this model and prompt, "
        "made at this time, and in its balance and charges. `prefect-kling ledger show CLIP_KEY` "
        "names the two decisions."
    )


class JobNotFound(KlingError):
    """The API does not know the job id."""

    next_step = "Check the id and the base URL; the API keeps results for 7 days."


JobGone = JobNotFound
"""The name of `JobNotFound` before this version; kept for programs that catch it."""


class JobFailed(KlingError):
    """The job ended without a video.

    `fail_code` and `retryable` say whether a new attempt makes sense.
    """

    next_step = "Failed jobs are not charged. If it was moderated, change the prompt and run again."

    def __init__(
        self,
        message: str,
        *,
        fail_code: str | None = None,
        retryable: bool = False,
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **details)
        self.fail_code = fail_code
        self.retryable = retryable


class StillRunning(KlingError):
    """The deadline for waiting passed while the job was healthy.

    The job goes on and stays paid for.
    """

    next_step = (
        "The job goes on. Run the same thing again later: it will be adopted, not paid again."
    )


class UnreadableReply(KlingError):
    """A read was answered with something that is neither the page's shape nor a known variant."""

    next_step = "Check that the base URL points at the API; the job, if any, is not affected."
