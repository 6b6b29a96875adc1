"""The block that holds the API key and hands out clients."""

import functools
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, PrivateAttr, SecretStr, WithJsonSchema, model_validator

from prefect_kling.blocks.links import DOCUMENTATION_URL, KEY_LOGO_URL
from prefect_kling.blocks.schema import CACHED_FACTS, CachedSchema
from prefect_kling.kling.addresses import host_of
from prefect_kling.kling.client import ClientSettings, KlingClient, WebAddress
from prefect_kling.kling.errors import KeyRefused
from prefect_kling.kling.links import is_link
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.studio.money.callbacks import CallbackAddresses
from prefect_kling.studio.money.inputs import InputAccess, UploadedInputs
from prefect_kling.studio.money.ledger import Entry

# The form explains the client's settings. Their defaults stand in `ClientSettings`.
DEFAULTS = ClientSettings()
ADDRESS_VARIABLE = "APIMODELS_BASE_URL"
"""The environment variable with the address of the API, where a block gives none."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# In forms, what may be left out is a plain field. For pydantic's own schema they would offer a
# choice between types.
PASSWORD = {"type": "string", "format": "password", "writeOnly": True}
# How to poll where a receiver reports the ends of jobs: 3, 10½ and 29 minutes after sending.
# Whatever the jitter, a fourth poll does not fall into the first hour; with the receiver's own
# reads of the job, the charge and the file, the API is read six times at most.
SAFETY_POLLS = PollPolicy(
    first=450.0, longest=3600.0, growth=2.5, initial_delay=180.0, confirm=10.0
)


class KlingCredentials(CachedSchema, CredentialsBlock):
    """Access to the Kling Omni-Video API: the key, the address, and how patiently to ask.

    The key is stored by Prefect and not shown in the UI. Any client of an unprotected Prefect API
    can read it, so protect the API (`PREFECT_SERVER_API_AUTH_STRING`) where that matters.

    Example:
        Load stored credentials and ask for the balance, which costs nothing:
        ```python
        from prefect_kling.blocks import KlingCredentials

        credentials = KlingCredentials.load("BLOCK_NAME")
        async with credentials.get_client() as client:
            print(await client.balance())
        ```
    """

    model_config = CACHED_FACTS

    _block_type_name = "Kling Credentials"
    _block_type_slug = "kling-credentials"
    _description = (
        "Access to the Kling Omni-Video API: the key, the address, and how patiently to ask."
    )
    _logo_url = KEY_LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    # What one must know comes first. The rest has good defaults and is grouped by its titles: a
    # form of Prefect's shows all fields of a block, and sub-models would change stored blocks.
    api_key: SecretStr = Field(
        title="API key", description="The key from the apimodels.app console, sk_…."
    )
    base_url: WebAddress = Field(
        default=DEFAULTS.base_url,
        title="Base URL",
        description="Address of the API up to its version. Leave it as it is, but for the sandbox.",
    )
    parallel_jobs: Annotated[int | None, WithJsonSchema({"type": "integer", "minimum": 1})] = Field(
        default=None,
        ge=1,
        title="Parallel jobs",
        description="How many jobs a run may have going at once, if the account has a limit; the "
        "head of the longest chain goes first. Left empty, everything is sent at once and the API "
        "says when it is too much.",
    )
    upload_inputs: bool = Field(
        default=False,
        title="Upload inputs",
        description="Upload pictures, videos and hand-overs of the archive to the API instead of "
        "giving it signed links. For stores that the API cannot reach. This publishes them: "
        "whoever has the address of an upload can see it for 7 days.",
    )
    receiver_url: Annotated[WebAddress | None, WithJsonSchema({"type": "string"})] = Field(
        default=None,
        title="Callbacks: receiver URL",
        description="Where the API can reach `prefect-kling receiver`, https. A run then polls "
        "only about 3, 10½ and 29 minutes after sending and at its end: few reads of the API, but "
        "where calls are lost a clip is found minutes late. Left empty, jobs are polled as set "
        "below.",
    )
    receiver_secret: Annotated[SecretStr | None, WithJsonSchema(PASSWORD)] = Field(
        default=None,
        title="Callbacks: receiver secret",
        min_length=16,
        description="What callback addresses are made unguessable with; the receiver reads it from "
        "this same block.",
    )
    webhook_url: Annotated[SecretStr | None, WithJsonSchema(PASSWORD)] = Field(
        default=None,
        title="Callbacks: webhook URL",
        description="Instead of a receiver: an address the API calls as it is when a job ends, "
        "such as a webhook of Prefect Cloud. Jobs are polled all the same.",
    )
    check_links: bool = Field(
        default=True,
        title="Safety: check links",
        description="Refuse, before anything is paid, links that the API cannot reach: those to "
        "private and loopback addresses while the API is elsewhere. Turn it off where the API does "
        "reach them.",
    )
    private_results: bool = Field(
        default=DEFAULTS.private_results,
        title="Safety: take private results",
        description="Fetch videos from private addresses, too. Without it they are fetched from "
        "public addresses and from the API's own host only, so that no answer of the API can lead "
        "into this network.",
    )
    account_is_ours_alone: bool = Field(
        default=False,
        title="Safety: the account is ours alone",
        description="Nothing but this archive's ledger spends money of this account, top-ups "
        "apart. Only then `prefect-kling ledger audit --decide` may decide about held clips by "
        "the account's books.",
    )
    first_poll_seconds: float = Field(
        default=5.0,
        gt=0,
        title="Polling: first pause (seconds)",
        description="Pause between polls at first, in seconds.",
    )
    longest_poll_seconds: float = Field(
        default=10.0,
        gt=0,
        title="Polling: longest pause (seconds)",
        description="Pause between polls later on, in seconds.",
    )
    wait_minutes: float = Field(
        default=60.0,
        gt=0,
        title="Polling: longest wait for a video (minutes)",
        description="How long to wait for one video, in minutes; the job itself goes on and is "
        "adopted by a later run.",
    )
    connect_seconds: float = Field(
        default=DEFAULTS.connect_seconds,
        gt=0,
        title="Patience: connecting (seconds)",
        description="Longest wait for a connection, in seconds.",
    )
    read_seconds: float = Field(
        default=DEFAULTS.read_seconds,
        gt=0,
        title="Patience: an answer to a read (seconds)",
        description="Longest wait for an answer to a read, in seconds.",
    )
    create_seconds: float = Field(
        default=DEFAULTS.create_seconds,
        gt=0,
        title="Patience: the answer to a paid request (seconds)",
        description="Longest wait for the answer to a paid request, in seconds; a later answer is "
        "an unknown outcome.",
    )
    disputed_rules: Literal["warn", "refuse"] = Field(
        default=DEFAULTS.disputed_rules,
        title="Expert: rules on which sources disagree",
        description="What to do with requests on which the API's page and Kling's own "
        "documentation disagree: warn, or refuse to send them.",
    )
    multi_prompt_as: Literal["string", "array"] = Field(
        default=DEFAULTS.multi_prompt_as,
        title="Expert: how shots are written",
        description="How multi_prompt is written: a JSON string (the API's page) or an array "
        "(Kling's own API).",
    )
    _safety_polls: PollPolicy = PrivateAttr(default=SAFETY_POLLS)

    @model_validator(mode="before")
    @classmethod
    def _take_address_of_practice(cls, given: Any) -> Any:
        """Take `APIMODELS_BASE_URL` where no address is given: practice stays practice."""
        address = os.environ.get(ADDRESS_VARIABLE)
        if address and isinstance(given, dict) and "base_url" not in given:
            return {**given, "base_url": address.rstrip("/")}
        return given

    def require_meant(self) -> None:
        """Raise `KeyRefused` if this process practises on this machine and the block does not.

        Practice must not reach the real API by accident. Free; sends nothing.
        """
        meant = os.environ.get(ADDRESS_VARIABLE, "")
        if host_of(meant) in LOOPBACK and host_of(self.base_url) not in LOOPBACK:
            raise KeyRefused(
                f"{ADDRESS_VARIABLE} names {meant}, which is practice, and this KlingCredentials "
                f"block would send to {self.base_url} and pay; take another block, or unset the "
                "variable"
            )

    def get_client(self) -> KlingClient:
        """Return a client, to be used as an async context manager. Opens no connection yet.

        It is cheap: the clients of one event loop share their connections.
        """
        return KlingClient(self.api_key, self.settings)

    @property
    def settings(self) -> ClientSettings:
        """How the client talks to the API."""
        return ClientSettings(**self.model_dump(include=set(ClientSettings.model_fields)))

    @property
    def input_access(self) -> InputAccess:
        """Where the API is, and how it gets at inputs."""
        return InputAccess(self.base_url, self.upload_inputs, self.check_links)

    @property
    def uploads(self) -> UploadedInputs | None:
        """What this process has uploaded to the API; None unless inputs are to be uploaded."""
        if not self.upload_inputs:
            return None
        return _uploads(self.api_key, self.settings)

    @property
    def unreachable_callback(self) -> str | None:
        """The host that the API is to call when jobs end and cannot reach.

        None if there is none.
        """
        address = self.receiver_url
        if self.webhook_url is not None:
            address = self.webhook_url.get_secret_value()
        if address is None or self.input_access.reaches(address):
            return None
        return host_of(address)

    @model_validator(mode="after")
    def _check_callback_addresses(self) -> "KlingCredentials":
        if (self.receiver_url is None) is not (self.receiver_secret is None):
            raise ValueError("a receiver needs both its URL and its secret")
        if self.webhook_url is None:
            return self
        if self.receiver_url is not None:
            raise ValueError("the API calls one address: give a receiver or a webhook, not both")
        if not is_link(self.webhook_url.get_secret_value()):
            raise ValueError("the webhook's address must begin with https://")
        return self

    @property
    def callbacks(self) -> CallbackAddresses | None:
        """The addresses that the API calls when jobs end; None without a receiver."""
        if self.receiver_url is None or self.receiver_secret is None:
            return None
        return CallbackAddresses(self.receiver_url, self.receiver_secret)

    @property
    def callback(self) -> Callable[[Entry], str] | None:
        """A function from a ledger entry to the address that the API calls when its job ends.

        It is an address of the receiver, or the webhook; None where there is neither.
        """
        if self.callbacks is not None:
            return self.callbacks.address
        if self.webhook_url is None:
            return None
        webhook = self.webhook_url.get_secret_value()
        return lambda entry: webhook

    @property
    def poll_policy(self) -> PollPolicy:
        """How often to poll and how long to wait."""
        deadline = self.wait_minutes * 60
        if self.callbacks is not None:
            # The receiver reports the end of a job; polling is for the calls that are lost.
            return replace(self._safety_polls, deadline=deadline)
        longest = max(self.first_poll_seconds, self.longest_poll_seconds)
        return PollPolicy(self.first_poll_seconds, longest, deadline=deadline)

    @property
    def patience(self) -> PollPolicy:
        """The earlier name of `poll_policy`."""
        warnings.warn(
            "KlingCredentials.patience is now called poll_policy",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.poll_policy


@functools.lru_cache(maxsize=16)
def _uploads(api_key: SecretStr, settings: ClientSettings) -> UploadedInputs:
    """Return the process's uploads to one account."""
    return UploadedInputs(lambda: KlingClient(api_key, settings))
