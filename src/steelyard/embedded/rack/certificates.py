"""The rack's own certificate authority, and one certificate per BMC signed by it.

EC P-256 throughout: a key and a signature take well under a millisecond, and a BMC's client opens a new connection
for nearly every request.
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from steelyard.embedded.rack.files import write_private
from steelyard.errors import Invalid

CA_CERTIFICATE = "ca.pem"
CA_KEY = "ca-key.pem"

_LIFETIME = datetime.timedelta(days=3650)
_BACKDATED = datetime.timedelta(days=1)


class Authority:
    """A certificate authority that lives in a directory (`ca.pem`, `ca-key.pem`, both 0600)."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey):
        self._certificate = certificate
        self._key = key

    @classmethod
    def open(cls, directory: Path) -> Authority:
        """Load the authority, making it first where there is none. Raises Invalid for damaged files."""
        certificate_file, key_file = directory / CA_CERTIFICATE, directory / CA_KEY
        if not (certificate_file.exists() and key_file.exists()):
            return cls._create(directory)
        try:
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        except ValueError as error:
            raise Invalid(
                f"The rack's certificate authority in {directory} is damaged: {error}",
                code="rack_ca",
                next="steelyard reset --all --yes, then: steelyard up",
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Invalid(
                f"{key_file} is not an elliptic curve key",
                code="rack_ca",
                next="steelyard reset --all --yes, then: steelyard up",
            )
        return cls(certificate, key)

    @classmethod
    def _create(cls, directory: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Steelyard simulated rack CA")])
        certificate = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(directory / CA_KEY, _key_pem(key))
        write_private(directory / CA_CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM))
        return cls(certificate, key)

    def issue(self, *, name: str, address: str) -> bytes:
        """A new key and a server certificate for a host name and IP address, both PEM, one after the other."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name}-bmc")])
        alternatives = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName(f"{name}-bmc")]
        )
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(subject, self._certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(alternatives, critical=False)
            .add_extension(issuer_id, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _key_pem(key) + certificate.public_bytes(serialization.Encoding.PEM)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
