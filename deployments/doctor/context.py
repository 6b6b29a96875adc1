"""What the checks share: names, settings, and what earlier checks have loaded or measured."""

import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import httpx
import prefect
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.kling.client import Balance
from prefect_kling.kling.connections import trust_store
from prefect_kling.studio.storage.bucket import Bucket


@dataclass(frozen=True)
class HttpAnswer:
    """An answer to one HTTP request, with the difference between both clocks in seconds."""

    response: httpx.Response
    clock_ahead: float | None


@dataclass
class DoctorContext:
    """One examination. Checks set the fields below the settings, for checks that need them."""

    credentials_name: str = "default"
    archive_name: str = "default"
    client_version: str = prefect.__version__
    clock: Callable[[], float] = time.time
    http_timeout: float = 10.0

    credentials: KlingCredentials | None = field(init=False, default=None, repr=False)
    archive: KlingArchive | None = field(init=False, default=None, repr=False)
    balance: Balance | None = field(init=False, default=None)
    api_clock_ahead: float | None = field(init=False, default=None)
    store_clock_ahead: float | None = field(init=False, default=None)

    @property
    def loaded_credentials(self) -> KlingCredentials:
        """The credentials block; the check that loads it has succeeded."""
        assert self.credentials is not None  # noqa: S101
        return self.credentials

    @property
    def loaded_archive(self) -> KlingArchive:
        """The archive block; the check that loads it has succeeded."""
        assert self.archive is not None  # noqa: S101
        return self.archive

    @property
    def bucket(self) -> Bucket:
        """The bucket and prefix of the archive."""
        return self.loaded_archive.get_archive().bucket

    @property
    def store_verify(self) -> ssl.SSLContext | bool:
        """How the store's certificate is verified, as its credentials block says."""
        keys = self.loaded_archive.bucket.credentials
        verify = keys.aws_client_parameters.get_params_override().get("verify", True)
        if verify is True:
            return trust_store()
        if verify is False:
            return False
        return ssl.create_default_context(cafile=str(verify))

    async def request(
        self, method: str, url: str, verify: ssl.SSLContext | bool | None = None
    ) -> HttpAnswer:
        """Send one HTTP request and compare the clocks. Raises what httpx raises."""
        if verify is None:
            verify = trust_store()

        async with httpx.AsyncClient(verify=verify, timeout=self.http_timeout) as http:
            sent_at = self.clock()
            response = await http.request(method, url)
            answered_at = self.clock()

        try:
            server_time = parsedate_to_datetime(response.headers.get("date", ""))
        except ValueError:
            return HttpAnswer(response, None)
        middle = (sent_at + answered_at) / 2
        return HttpAnswer(response, middle - server_time.timestamp())

    def redact(self, text: str) -> str:
        """Remove the secrets of both blocks, and user names and queries of addresses."""
        for secret in self._secrets():
            text = text.replace(secret, "<hidden>")
        return re.sub(r"(?<=//)[^/@\s]+@|(?<=\w)\?\S+", "", text)

    def _secrets(self) -> list[str]:
        values: list[object] = []
        if self.credentials is not None:
            values.extend(vars(self.credentials).values())
        if self.archive is not None:
            values.extend(vars(self.archive.bucket.credentials).values())

        secrets = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        return [secret for secret in secrets if secret]
