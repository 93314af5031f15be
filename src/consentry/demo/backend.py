"""The shop's own back end: it knows who is signed in, and at which address they are reached."""

from __future__ import annotations

import base64
import time
import uuid

import aiohttp
from joserfc import jwt
from joserfc.jwk import OctKey

TOKEN_LIFE_S = 600


def address_of(user_id: str) -> str:
    """The address that the shop has on file for an account. No mail can be sent there."""
    return f"{user_id}@shop.example"


class BackEnd:
    """It talks to the server over HTTP with its secret key, as any back end does.

    ``base`` is the server's address on this machine. The two keys are those of the run.
    """

    def __init__(self, base: str, secret_key: str, token_secret: str) -> None:
        self._base = base
        self._authorization = "Basic " + base64.b64encode(f"{secret_key}:".encode()).decode()
        self._token_secret = token_secret

    def token(self, user_id: str) -> str:
        """A signed word that this account is signed in, good for ten minutes."""
        now = int(time.time())
        claims = {
            "typ": "subject",
            "sub": user_id,
            "aud": "shop",
            "iat": now,
            "exp": now + TOKEN_LIFE_S,
        }
        return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(self._token_secret))

    async def knows(self, user_id: str, anonymous_id: str, name: str) -> None:
        """Tell the server that this browser, this account and its address are one person.

        Systems that know people by their address hear of a choice only because of this: what a
        page says of an address proves nothing. Raises aiohttp.ClientError.
        """
        traits = {"email": address_of(user_id)} | ({"firstName": name} if name else {})
        message = {
            "userId": user_id,
            "anonymousId": anonymous_id,
            "messageId": str(uuid.uuid4()),
            "traits": traits,
        }
        headers = {"Authorization": self._authorization}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self._base}/v1/identify", json=message, headers=headers) as answer,
        ):
            answer.raise_for_status()
