"""What the driver would refuse of a connection string, or only warn of, found without loading it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, unquote_plus

from shared.settings.addresses import HOST, is_host, is_port

_SCHEMES = ("mongodb://", "mongodb+srv://")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNWRITTEN = "its user or password has a character that must be written as %XX"
_REPEATED = "readpreferencetags"
_PROPERTY = "(AWS_SESSION_TOKEN|CANONICALIZE_HOST_NAME|ENVIRONMENT|SERVICE_(HOST|NAME|REALM)|TOKEN_RESOURCE):[^,]+"
_KINDS = (
    (
        "true|false",
        "true or false",
        "connect directConnection enableOverloadRetargeting fsync journal loadBalanced retryReads retryWrites ssl tls "
        "tlsAllowInvalidCertificates tlsAllowInvalidHostnames tlsDisableOCSPEndpointCheck tlsInsecure",
    ),
    (
        "[0-9]{1,9}",
        "a whole number, 0 or more",
        "maxAdaptiveRetries maxPoolSize minPoolSize srvMaxHosts waitQueueMultiple wTimeoutMS",
    ),
    ("0*[1-9][0-9]{0,8}", "a whole number above 0", "maxConnecting"),
    ("-1|0*[1-9][0-9]{0,8}", "-1 or a whole number above 0", "maxStalenessSeconds"),
    ("-1|[0-9]", "a whole number from -1 to 9", "zlibCompressionLevel"),
    (
        r"[0-9]{1,9}(\.[0-9]+)?",
        "a number, 0 or more",
        "connectTimeoutMS localThresholdMS serverSelectionTimeoutMS socketTimeoutMS timeoutMS",
    ),
    (
        r"(?=.*[1-9])[0-9]{1,9}(\.[0-9]+)?",
        "a number above 0",
        "heartbeatFrequencyMS maxIdleTimeMS waitQueueTimeoutMS",
    ),
    (
        "primary|primaryPreferred|secondary|secondaryPreferred|nearest",
        "primary, primaryPreferred, secondary, secondaryPreferred or nearest",
        "readPreference",
    ),
    ("auto|poll|stream", "auto, poll or stream", "serverMonitoringMode"),
    (
        "DEFAULT|GSSAPI|MONGODB-(AWS|OIDC|X509)|PLAIN|SCRAM-SHA-(1|256)",
        "DEFAULT, GSSAPI, MONGODB-AWS, MONGODB-OIDC, MONGODB-X509, PLAIN, SCRAM-SHA-1 or SCRAM-SHA-256",
        "authMechanism",
    ),
    (
        "unspecified|standard|(python|java|csharp)Legacy",
        "unspecified, standard, pythonLegacy, javaLegacy or csharpLegacy",
        "uuidRepresentation",
    ),
    ("(snappy|zlib|zstd)(,(snappy|zlib|zstd))*", "some of snappy, zlib and zstd, comma separated", "compressors"),
    ("([^:,]*:[^:,]*(,[^:,]*:[^:,]*)*)?", "name:value,name:value", "readPreferenceTags"),
    (f"{_PROPERTY}(,{_PROPERTY})*", "NAME:value,NAME:value with names such as SERVICE_NAME", "authMechanismProperties"),
    ("(?!-[0-9]).*", "majority, a number of servers or the name of a write concern", "w"),
    (".+", "the name of a database", "authSource"),
    (".{0,128}", "at most 128 characters", "appName"),
    (
        ".*",
        "a text",
        "readConcernLevel replicaSet srvAllowedHostsSuffix srvServiceName tlsCAFile tlsCertificateKeyFile "
        "tlsCertificateKeyFilePassword tlsCRLFile",
    ),
)
"""A pattern of values, the same in words, and the options that take them. A test holds it against the driver's."""
OPTIONS = {
    name.lower(): (name, re.compile(pattern, re.DOTALL), words)
    for pattern, words, names in _KINDS
    for name in names.split()
}
_FILES = {"tlscafile", "tlscertificatekeyfile", "tlscrlfile"}


def problem(uri: str) -> str | None:
    """The first one. Never repeats a part that may belong to the password."""
    scheme = next((each for each in _SCHEMES if uri.startswith(each)), None)
    if scheme is None:
        return "must begin with mongodb:// or mongodb+srv://"
    rest, _, options = uri.removeprefix(scheme).partition("?")
    user, _, hosts = rest.partition("/")[0].rpartition("@") if "@" in rest else ("", "", rest.partition("/")[0])
    if user.count(":") > 1 or "@" in user or "/" in rest.rpartition("@")[0] or _BAD_PERCENT.search(user):
        return _UNWRITTEN
    srv = scheme == _SCHEMES[1]
    return next(_option_problems(options, hosts, srv=srv), None) or _hosts_problem(hosts, srv=srv)


def _option_problems(options: str, hosts: str, *, srv: bool) -> Iterator[str]:
    seen = set[str]()
    for option in filter(None, re.split("[&;]", options)):
        name, equals, value = option.partition("=")
        if not equals:
            yield "has an option that is not name=value"
        elif name.lower() in OPTIONS:
            yield from _value_problems(name.lower(), unquote_plus(value), hosts, srv=srv)
            if name.lower() in seen - {_REPEATED}:
                yield f"has {OPTIONS[name.lower()][0]} twice"
        elif "@" in options:  # what is before it may be the end of a password
            yield f"{_UNWRITTEN}, or it has an option that does not exist"
        else:
            yield f"has an option that does not exist, {_clipped(name)}: {_suggest(name)}"
        seen.add(name.lower())


def _value_problems(name: str, value: str, hosts: str, *, srv: bool) -> Iterator[str]:
    """Of these the driver only warns, and goes on as if the option were not there."""
    shown, pattern, words = OPTIONS[name]
    if not pattern.fullmatch(value):
        yield f"its {shown} must be {words}"
    if name in _FILES and not Path(value).is_file():
        yield f"its {shown} names a file that is not there"
    if name == "directconnection" and value == "true" and (srv or "," in hosts):
        yield "asks for directConnection=true, which is for one host of mongodb://"
    if name.startswith("srv") and not srv:
        yield f"has {shown}, which is for mongodb+srv://"


def _clipped(name: str) -> str:
    return repr(name[:40])


def _suggest(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), OPTIONS, n=1)
    return (
        f"did you mean {OPTIONS[close[0]][0]}?"
        if close
        else f"known: {', '.join(each[0] for each in OPTIONS.values())}"
    )


def _hosts_problem(hosts: str, *, srv: bool) -> str | None:
    if srv:
        return None if HOST.fullmatch(hosts) and hosts.count(".") > 1 else "must name one host of three parts or more"
    for entry in hosts.split(","):
        host, colon, port = entry.rpartition(":") if not entry.endswith("]") else (entry, "", "")
        is_socket = unquote(entry).endswith(".sock")
        if not is_socket and not (is_host(host if colon else entry) and (not colon or is_port(port))):
            return "names a host that is no host:port"
    return None
