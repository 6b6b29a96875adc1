"""Calls of the Prefect server that are repeated while it is too busy."""

import httpx
import tenacity
from prefect.exceptions import PrefectHTTPStatusError


def attempts_while_prefect_is_busy(tries: int = 5) -> tenacity.AsyncRetrying:
    """Return attempts that go on while the Prefect server answers with a 5xx, or not at all.

    A server that is too busy to create a run must not cost a film or a batch. Only for what may be
    repeated.
    """

    def is_busy(error: BaseException) -> bool:
        if isinstance(error, httpx.TransportError):
            return True
        return isinstance(error, PrefectHTTPStatusError) and error.response.status_code >= 500

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(is_busy),
        stop=tenacity.stop_after_attempt(tries),
        wait=tenacity.wait_random_exponential(multiplier=2, max=30),
        reraise=True,
    )
