"""The cryptography of T/CEC 102.4-2016, Annexes B and C: AES-128-CBC bodies and HMAC-MD5 signatures.

The only code that the feed and the sandbox share, so that a mistake elsewhere cannot hide behind its mirror image.
Keys and initial vectors are used as the raw bytes of the text that the partners exchanged.
"""

import base64
import binascii
import hmac
from hashlib import md5

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

BLOCK_BITS = 128


class UndecryptableError(ValueError):
    """The text is not base64, not whole blocks, or not padded as PKCS#7: wrong key, or a damaged message."""


def encrypt_data(plaintext: bytes, key: bytes, iv: bytes) -> str:
    """Return the envelope's ``Data``: base64 of AES-CBC with PKCS#7 padding, on one line."""
    padder = PKCS7(BLOCK_BITS).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    padded = padder.update(plaintext) + padder.finalize()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode("ascii")


def decrypt_data(data: str, key: bytes, iv: bytes) -> bytes:
    """Return the plaintext of an envelope's ``Data``, which some break into lines. Raises UndecryptableError."""
    try:
        ciphertext = base64.b64decode("".join(data.split()), validate=True)
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        unpadder = PKCS7(BLOCK_BITS).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except (binascii.Error, ValueError) as error:
        msg = f"Data cannot be decrypted: {error}"
        raise UndecryptableError(msg) from error


def sign_request(sig_secret: bytes, operator_id: str, data: str, timestamp: str, seq: str) -> str:
    """Return the upper-case ``Sig`` of a request over OperatorID, Data, TimeStamp and Seq (102.4, Annex C)."""
    return _signature(sig_secret, operator_id + data + timestamp + seq)


def sign_response(sig_secret: bytes, ret: str, msg: str, data: str) -> str:
    """Return the upper-case ``Sig`` of a response over Ret (its text as sent), Msg and Data."""
    return _signature(sig_secret, ret + msg + data)


def signature_matches(expected: str, received: str) -> bool:
    """Compare two signatures in constant time and in any case: platforms send both."""
    return hmac.compare_digest(expected.upper().encode(), received.strip().upper().encode("utf-8", "replace"))


def _signature(sig_secret: bytes, text: str) -> str:
    return hmac.new(sig_secret, text.encode("utf-8"), md5).hexdigest().upper()
