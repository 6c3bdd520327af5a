"""A signature says whose a release is: made and checked here, and checked by another program."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from components.contracts.errors import BadInput
from components.contracts.releases import SIGNATURE, check_release, file_digests, release_digest, sealed
from components.contracts.signature import check_signature, sign_release
from components.contracts.tools.manifest import write_json


def write_keys(folder: Path, key=None, encryption=None) -> tuple[Path, Path]:
    """A private and a public key's file."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    folder.mkdir(exist_ok=True)
    private, public = folder / "release.key", folder / "release.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path / "keys")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    root = tmp_path / "release"
    root.mkdir()
    (root / "blend.json").write_text("{}")
    files = file_digests(root)
    write_json(
        root / "manifest.json", sealed({"kind": "search-release", "files": files, "digest": release_digest(files)})
    )
    return root


def test_a_signed_release_passes_wherever_it_lies_and_is_the_same_release(release, keys, tmp_path) -> None:
    sign_release(release, keys[0])
    sign_release(release, keys[0])  # again: replaced
    for root in (release, shutil.copytree(release, tmp_path / "elsewhere")):
        check_signature(root, keys[1])
        check_release(root)  # the signature is no file that "was added"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_openssl_agrees(release, keys, tmp_path) -> None:
    """The form is not ours alone: what cosign and openssl call a signature of a blob."""
    signature = tmp_path / "signature.der"
    sign_release(release, keys[0])
    signature.write_bytes(base64.b64decode((release / SIGNATURE).read_text()))
    verify = ["openssl", "dgst", "-sha256", "-verify", keys[1], "-signature", signature, release / "manifest.json"]
    assert "Verified OK" in subprocess.run(verify, capture_output=True, text=True, check=True).stdout
    sign = ["openssl", "dgst", "-sha256", "-sign", keys[0], "-out", signature, release / "manifest.json"]
    subprocess.run(sign, check=True)
    (release / SIGNATURE).write_text(base64.b64encode(signature.read_bytes()).decode())
    check_signature(release, keys[1])


@pytest.mark.parametrize("content", ["", "no base64!", "bm8gc2lnbmF0dXJl"])
def test_a_signature_that_is_none_is_refused_and_named(release, keys, content) -> None:
    (release / SIGNATURE).write_text(content)
    with pytest.raises(BadInput, match=f"{release / SIGNATURE}: not made of this manifest.json"):
        check_signature(release, keys[1])


def test_an_unsigned_release_is_refused(release, keys) -> None:
    with pytest.raises(BadInput, match=f"{release / SIGNATURE}: No such file"):
        check_signature(release, keys[1])


def test_anothers_signature_is_refused(release, keys, tmp_path) -> None:
    sign_release(release, write_keys(tmp_path / "other")[0])
    with pytest.raises(BadInput, match=str(release / SIGNATURE)):
        check_signature(release, keys[1])


def test_a_forged_manifest_is_refused_though_its_own_digests_agree(release, keys) -> None:
    """Who may write to the bucket can make a release that checks itself; without the key it stays unsigned."""
    sign_release(release, keys[0])
    (release / "blend.json").write_text('{"forged": 1}')
    files = file_digests(release)
    write_json(
        release / "manifest.json", sealed({"kind": "search-release", "files": files, "digest": release_digest(files)})
    )
    check_release(release)
    with pytest.raises(BadInput, match=str(release / SIGNATURE)):
        check_signature(release, keys[1])


def test_only_a_whole_release_is_signed(release, keys) -> None:
    (release / "blend.json").write_text("changed")
    with pytest.raises(BadInput, match=r"blend\.json: has changed"):
        sign_release(release, keys[0])
    assert not (release / SIGNATURE).exists()


@pytest.mark.parametrize("kind", ["absent", "text", "curve", "ed25519", "encrypted"])
def test_a_key_of_another_kind_is_refused_and_named(release, keys, tmp_path, kind) -> None:
    folder = tmp_path / kind
    private, public = folder / "release.key", folder / "release.pub"
    if kind == "curve":
        write_keys(folder, ec.generate_private_key(ec.SECP384R1()))
    elif kind == "ed25519":
        write_keys(folder, ed25519.Ed25519PrivateKey.generate())
    elif kind == "encrypted":
        write_keys(folder, encryption=BestAvailableEncryption(b"password"))
        public = private  # and a private key is no public one
    elif kind == "text":
        folder.mkdir()
        private.write_text("no key")
        public.write_text("no key")
    with pytest.raises(BadInput, match=f"{private}: expected a PEM file of a P-256 key, private"):
        sign_release(release, private)
    sign_release(release, keys[0])
    with pytest.raises(BadInput, match=f"{public}: expected a PEM file of a P-256 key, public"):
        check_signature(release, public)
