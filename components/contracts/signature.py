"""A release's signature, which says whose it is; the digests of its manifest say only that its files belong together.

The signature is ECDSA over the curve P-256 and the SHA-256 of the manifest's bytes, DER in Base64, in a file beside the
manifest: the form of `cosign sign-blob --key` and of `openssl dgst -sha256 -sign`, which check it, too. Keys are PEM
files that stay outside releases; cosign's own encrypted private keys are not read.
"""

import base64
import binascii
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from components.contracts.errors import BadInput
from components.contracts.releases import SIGNATURE, check_release
from components.contracts.tools.manifest import MANIFEST

_ALGORITHM = ec.ECDSA(SHA256())
_WANTED = "expected a PEM file of a P-256 key"


def sign_release(root: Path, private_key: Path) -> Path:
    """Check a release to the last byte, then write its signature beside its manifest; one that was there is replaced.

    Raises:
        BadInput: not a release, or not as it was built; no readable, unencrypted P-256 private key.
    """
    key = _read_private(private_key)
    check_release(root)
    signature = key.sign((root / MANIFEST).read_bytes(), _ALGORITHM)
    staging = root / f".{SIGNATURE}"
    staging.write_text(base64.b64encode(signature).decode() + "\n", encoding="ascii")
    return staging.rename(root / SIGNATURE)


def check_signature(root: Path, public_key: Path) -> None:
    """Compare a release's manifest with its signature. `check_release` compares the files with the manifest.

    Raises:
        BadInput: no signature, one that this key did not make of this manifest, or no readable P-256 public key.
    """
    key, path = _read_public(public_key), root / SIGNATURE
    try:
        manifest = (root / MANIFEST).read_bytes()
        signature = base64.b64decode(path.read_bytes().strip(), validate=True)
        key.verify(signature, manifest, _ALGORITHM)
    except OSError as error:
        raise BadInput(
            f"{error.filename}: {error.strerror}; with a public key, only signed releases are served"
        ) from error
    except (InvalidSignature, binascii.Error) as error:
        raise BadInput(f"{path}: not made of this {MANIFEST} by the owner of {public_key}") from error


def _read_private(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise BadInput(f"{path}: {_WANTED}, private and not encrypted") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadInput(f"{path}: {_WANTED}, private and not encrypted")
    return key


def _read_public(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: {_WANTED}, public") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadInput(f"{path}: {_WANTED}, public")
    return key
