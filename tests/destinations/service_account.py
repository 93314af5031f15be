"""The key of a service account that no one else has."""

from __future__ import annotations

import json
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

EMAIL = "sender@project.iam.gserviceaccount.com"


@cache
def private_key() -> rsa.RSAPrivateKey:
    """One for the whole run: making it takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def service_account(**changes: str) -> str:
    """What Google's console hands out as a file, as far as it is used."""
    pem = private_key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key = {
        "type": "service_account",
        "client_email": EMAIL,
        "private_key_id": "key-1",
        "private_key": pem.decode(),
        "token_uri": "https://elsewhere.example/token",
    }
    return json.dumps(key | changes)
