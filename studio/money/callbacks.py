"""Addresses the API calls when a job ends: one per intent, which nobody can guess."""

import hashlib
import hmac
from dataclasses import dataclass

from pydantic import SecretStr

from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.storage.layout import CLAIM_LENGTH

TOKEN_LENGTH = 40


@dataclass(frozen=True)
class CallbackAddresses:
    """Makes and checks addresses below `base_url`, with a secret of sender and receiver.

    An address names the clip and the claim, so a call says which attempt it is about; the token is
    an HMAC-SHA256 of both. What a call's body says is never trusted, whatever its address: the job
    is read back from the API.
    """

    base_url: str
    secret: SecretStr

    def address(self, entry: Entry) -> str:
        """Return the address for one intent; the same every time."""
        claim = entry.claim[:CLAIM_LENGTH]
        token = self._token(entry.clip_key, claim)
        return f"{self.base_url.rstrip('/')}/{entry.clip_key}/{claim}/{token}"

    def is_ours(self, clip_key: str, claim: str, token: str) -> bool:
        """Whether the token belongs to clip and claim.

        Takes as long for a wrong one as for a right one.
        """
        return hmac.compare_digest(self._token(clip_key, claim).encode(), token.encode())

    def _token(self, clip_key: str, claim: str) -> str:
        key = self.secret.get_secret_value().encode()
        return hmac.new(key, f"{clip_key}.{claim}".encode(), hashlib.sha256).hexdigest()[
            :TOKEN_LENGTH
        ]
