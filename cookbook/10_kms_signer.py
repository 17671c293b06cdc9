"""
A wallet in a KMS: the key never leaves it, and it signs 32 bytes without knowing what they mean.

`Kms` stands in for AWS KMS and a key of type ECC_SECG_P256K1. With boto3 its two methods are
`client.get_public_key(KeyId=id)["PublicKey"]` and `client.sign(KeyId=id, Message=digest, MessageType="DIGEST",
SigningAlgorithm="ECDSA_SHA_256")["Signature"]`; everything else stays as it is. Such a wallet pays, but needs a
`sign_transaction` too if it is to send the one approval (`ensure_opg_approval`) itself.
"""

import asyncio
import os
import sys
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from eth_keys import keys

from og_integrations.client import typed_data_digest
from og_integrations.langchain import ChatOpenGradient

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of the curve secp256k1."""


class Kms:
    """Keeps a key. Signatures are DER, with a fresh nonce each time, and s is as often high as low."""

    def __init__(self, private_key: str) -> None:
        self._key = ec.derive_private_key(int(private_key, 16), ec.SECP256K1())

    def get_public_key(self) -> bytes:
        """Return the public key as DER SubjectPublicKeyInfo."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.DER, form)

    def sign(self, digest: bytes) -> bytes:
        """Sign 32 bytes; the algorithm's SHA-256 is not applied again, only its length matters."""
        return self._key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


class KmsSigner:
    """Anything with an `address` and a `sign_typed_data` is a signer."""

    def __init__(self, kms: Kms) -> None:
        self._kms = kms
        public_key = serialization.load_der_public_key(kms.get_public_key())
        form = serialization.PublicFormat.UncompressedPoint
        point = public_key.public_bytes(serialization.Encoding.X962, form)
        self._public_key = keys.PublicKey(point[1:])
        self.address = self._public_key.to_checksum_address()

    def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
        """Turn what the KMS answers into what Ethereum takes: low s, and v, which says whose key it was."""
        digest = typed_data_digest(typed_data)
        r, s = utils.decode_dss_signature(self._kms.sign(digest))
        # Both s and ORDER - s are valid, and contracts take only the lower one.
        s = min(s, ORDER - s)
        for v in (0, 1):
            signature = keys.Signature(vrs=(v, r, s))
            if signature.recover_public_key_from_msg_hash(digest) == self._public_key:
                return f"0x{r:064x}{s:064x}{27 + v:02x}"
        raise RuntimeError("the KMS signed with another key than it showed")


class RemoteSigner:
    """The same for `ainvoke` and `AsyncClient`: nothing blocks the event loop while the KMS is asked."""

    def __init__(self, signer: KmsSigner) -> None:
        self._signer = signer
        self.address = signer.address

    async def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
        """Sign elsewhere."""
        return await asyncio.to_thread(self._signer.sign_typed_data, typed_data)


# From here on, no key is in the environment: the devnet's funded one is in the KMS.
key = os.environ.pop("OG_PRIVATE_KEY", "") or sys.exit("Set OG_PRIVATE_KEY: `og-integrations devnet` prints one.")
signer = KmsSigner(Kms(key))

model = ChatOpenGradient(model="openai/gpt-5.2", signer=signer, spend_policy={"total": "0.5"})
answer = model.invoke("Say hello.")
payment = answer.response_metadata["opengradient"]["payment"]
print(f"{answer.text}\n  paid by {payment['payer']} with {payment['payment_hash']}")
assert payment["payer"] == signer.address
model.close()


async def ask() -> None:
    """Pay with the asynchronous signer."""
    remote = ChatOpenGradient(model="openai/gpt-5.2", signer=RemoteSigner(signer), spend_policy={"total": "0.5"})
    answer = await remote.ainvoke("Say hello again.")
    print(f"{answer.text}\n  paid with {answer.response_metadata['payment_hash']}")
    await remote.aclose()


asyncio.run(ask())
