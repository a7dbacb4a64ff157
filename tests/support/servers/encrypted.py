"""A mongod and an Apache Kafka that talk TLS only, and only to users with exactly the rights that they were given."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from coatcheck.dev.apache_kafka import KafkaNode, own_ports
from coatcheck.dev.child import Child
from coatcheck.dev.mongod import find_mongod, mongod_command
from coatcheck.dev.ports import LOOPBACK, free_ports
from shared.mongo.connection.replica_set import SET_NAME
from tests.support.servers.certificates import Authority

READY_SECONDS = 60.0
ADMIN = "admin"


class EncryptedMongod:
    """A replica set of one with authentication. `users` have a password and the rights of a role each."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self._directory = directory
        self._authority = authority
        self._password = secrets.token_urlsafe(12)
        (self.port,) = free_ports(1)
        self._child: Child | None = None

    def uri(self, user: str = "", password: str = "", ca: Path | None = None) -> str:
        """The connection string of a user, or of nobody."""
        login = f"{user}:{password}@" if user else ""
        tls = f"tls=true&tlsCAFile={ca or self._authority.ca}"
        return f"mongodb://{login}{LOOPBACK}:{self.port}/?replicaSet={SET_NAME}&authSource=admin&{tls}"

    def start(self) -> None:
        """Start it, make it a primary, and make its administrator, which is allowed once without a login."""
        files = self._directory / "db"
        files.mkdir(parents=True)
        key = self._directory / "members.key"
        key.write_text(secrets.token_urlsafe(60).replace("-", "A").replace("_", "B"))
        key.chmod(0o600)
        command = mongod_command(find_mongod(), files, self.port)
        command += ["--keyFile", str(key), "--tlsMode", "requireTLS", "--tlsCAFile", str(self._authority.ca)]
        command += ["--tlsCertificateKeyFile", str(self._authority.server("mongod"))]
        command += ["--tlsAllowConnectionsWithoutCertificates"]
        self._child = Child("mongod", command, log=self._directory / "mongod.log")
        self._child.wait_ready(lambda: self._done({"ping": 1}), READY_SECONDS)
        members = [{"_id": 0, "host": f"{LOOPBACK}:{self.port}"}]
        self._child.wait_ready(lambda: self._done({"replSetInitiate": {"_id": SET_NAME, "members": members}}), 60.0)
        make = {"createUser": ADMIN, "pwd": self._password, "roles": ["root"]}
        self._child.wait_ready(lambda: self._done(make), READY_SECONDS)

    def user(self, name: str, password: str, privileges: Sequence[Mapping[str, Any]]) -> None:
        """Make a user with these privileges and no others."""
        with self._client(ADMIN, self._password) as client:
            client.admin.command("createRole", f"{name}-role", privileges=list(privileges), roles=[])
            client.admin.command("createUser", name, pwd=password, roles=[f"{name}-role"])

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(READY_SECONDS)

    def _client(self, user: str = "", password: str = "") -> MongoClient[dict[str, Any]]:
        login: dict[str, Any] = {"username": user, "password": password} if user else {}
        return MongoClient(
            LOOPBACK, self.port, directConnection=True, tls=True, tlsCAFile=str(self._authority.ca),
            serverSelectionTimeoutMS=2000, **login,
        )  # fmt: skip

    def _done(self, command: Mapping[str, Any]) -> bool:
        with suppress(PyMongoError), self._client() as client:
            client.admin.command(dict(command))
            return True
        return False


class EncryptedKafka(KafkaNode):
    """One broker with a second listener that wants TLS and SCRAM, and lists who may do what."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        super().__init__(directory, 0, [own_ports()])
        (port,) = free_ports(1)
        self.encrypted = f"{LOOPBACK}:{port}"
        self._keystore = authority.server("kafka")

    def _text(self) -> str:
        """The plain listener stays, for the administrator that makes users."""
        added = f"""\
listener.name.encrypted.ssl.keystore.type=PEM
listener.name.encrypted.ssl.keystore.location={self._keystore}
listener.name.encrypted.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.encrypted.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
inter.broker.listener.name=PLAINTEXT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
        text = super()._text()
        for name in ("listeners", "advertised.listeners"):
            text = text.replace(f"\n{name}=", f"\n{name}=ENCRYPTED://{self.encrypted},")
        return text.replace("protocol.map=", "protocol.map=ENCRYPTED:SASL_SSL,") + added

    def user(
        self, name: str, password: str, rights: Sequence[tuple[ResourceType, str, Sequence[ACLOperation]]]
    ) -> None:
        """Make a user that may do these things with resources whose names begin so, and nothing else."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            secret = UserScramCredentialUpsertion(
                user=name, mechanism=ScramMechanism.SCRAM_SHA_512, password=password, iterations=4096
            )
            assert set(admin.alter_user_scram_credentials([secret]).values()) == {None}
            admin.create_acls(
                [
                    ACL(
                        principal=f"User:{name}",
                        host="*",
                        operation=operation,
                        permission_type=ACLPermissionType.ALLOW,
                        resource_pattern=ResourcePattern(kind, prefix, ACLResourcePatternType.PREFIXED),
                    )
                    for kind, prefix, operations in rights
                    for operation in operations
                ]
            )
        finally:
            admin.close()
