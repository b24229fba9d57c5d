"""The certificates of the cluster: one authority, and who is who in Kubernetes' names."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.dev.cluster.layout import API, API_IP, DOMAIN, NODE, NODE_IP

USERS: Final = {
    "admin": ("airscrew-developer", "system:masters"),
    "apiserver-kubelet-client": ("airscrew-apiserver", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
    "coredns": ("system:coredns", None),
    "kube-proxy": ("system:kube-proxy", None),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "scheduler": ("system:kube-scheduler", None),
}
"""Name of the files to user and group (https://kubernetes.io/docs/setup/best-practices/certificates/)."""

_SERVERS: Final = {
    "apiserver": (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{DOMAIN}",
        NODE_IP,
        API_IP,
        "127.0.0.1",
    ),
    "kubelet-server": (NODE, NODE_IP),
}
_VALID: Final = timedelta(days=30)


def write_all(folder: Path) -> None:
    """`ca.crt`, and for each user and server NAME.crt and NAME.key; `service-accounts.key` and `.pub` for tokens."""
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    name = _named("airscrew-cluster")
    authority = (
        _certificate(name, name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    for file, (user, group) in USERS.items():
        key = _new_key(folder / f"{file}.key")
        request = _certificate(_named(user, group), name, key.public_key())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = request.add_extension(usage, critical=False).sign(authority_key, hashes.SHA256())
        (folder / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    for file, names in _SERVERS.items():
        key = _new_key(folder / f"{file}.key")
        request = _certificate(_named(file), name, key.public_key())
        alternatives = x509.SubjectAlternativeName([_alternative(each) for each in names])
        certificate = request.add_extension(alternatives, critical=False).sign(authority_key, hashes.SHA256())
        (folder / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    tokens = _new_key(folder / "service-accounts.key")
    (folder / "service-accounts.pub").write_bytes(
        tokens.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def kubeconfig(folder: Path, user: str) -> str:
    """What lets a client be that user of the cluster; whole in itself, without names of files."""

    def data(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": NODE, "cluster": {"server": API, "certificate-authority-data": data("ca.crt")}}],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate-data": data(f"{user}.crt"),
                        "client-key-data": data(f"{user}.key"),
                    },
                }
            ],
            "contexts": [{"name": NODE, "context": {"cluster": NODE, "user": user}}],
            "current-context": NODE,
        },
        indent=1,
    )


def _new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    return key


def _named(name: str, group: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if group is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID)
    )
