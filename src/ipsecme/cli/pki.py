"""``ipsecme pki``: a certificate authority of one's own, with no other tool needed.

ipsecme pki ca, issue NAME, revoke NAME, crl, ocsp NAME, publish FILE, show FILE
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

import typer

from ipsecme.cli.amounts import count
from ipsecme.cli.options import Json  # noqa: TC001 - typer reads it
from ipsecme.cli.outcome import guarded, print_json

__all__ = ["pki"]

pki = typer.Typer(
    name="pki",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make an authority, certificates for hosts, and lists of revoked ones.",
)

Folder = Annotated[
    Path, typer.Option("--dir", "-d", metavar="DIR", help="Where the authority is kept.")
]
Days = Annotated[int, typer.Option("--days", min=1, max=36500, help="How long it is good.")]
Kind = Annotated[
    Literal["ecdsa256", "ecdsa384", "rsa3072", "rsa4096", "ed25519", "ed448"],
    typer.Option("--type", help="The kind of key."),
]
_HERE = Path("pki")


@pki.command()
@guarded
def ca(
    context: typer.Context,  # noqa: ARG001 - for `guarded`
    folder: Folder = _HERE,
    name: Annotated[str, typer.Option("--name", help="What it is called.")] = "ipsecme CA",
    *,
    days: Days = 3650,
    kind: Kind = "ecdsa256",
    as_json: Json = False,
) -> None:
    """Make an authority. Peers need its file ca.pem; ca.key must stay here."""
    from ipsecme.pki.store import Store  # noqa: PLC0415 - takes long

    path = Store(folder).create(name, kind, days, _now())
    if as_json:
        print_json({"certificate": str(path)})
        return
    typer.echo(f"made the authority {name!r}: {path}")
    typer.echo(f"every host needs it as  ca = [{_quoted(path.name)}]  in its connection")


@pki.command()
@guarded
def issue(
    context: typer.Context,  # noqa: ARG001 - for `guarded`
    name: Annotated[str, typer.Argument(metavar="NAME", help="The host, such as gw.example.com.")],
    san: Annotated[
        list[str] | None,
        typer.Option(
            "--san",
            metavar="NAME",
            help="A domain name, address or mail address to certify, instead of NAME; may repeat.",
        ),
    ] = None,
    *,
    folder: Folder = _HERE,
    days: Days = 365,
    kind: Kind = "ecdsa256",
    as_json: Json = False,
) -> None:
    """Issue a certificate with its key for a host."""
    from ipsecme.pki.store import Store  # noqa: PLC0415 - takes long

    certificate, key = Store(folder).issue(name, san or (), kind, days, _now())
    if as_json:
        print_json({"certificate": str(certificate), "key": str(key)})
        return
    typer.echo(f"issued {certificate} with {key}")
    typer.echo(
        f"on that host:  cert = {_quoted(certificate.name)}  and  key = {_quoted(key.name)};  "
        f"on the other:  remote_id = {_quoted((san or [name])[0])}"
    )


@pki.command()
@guarded
def revoke(
    context: typer.Context,  # noqa: ARG001 - for `guarded`
    what: Annotated[str, typer.Argument(metavar="NAME", help="The name or serial number.")],
    folder: Folder = _HERE,
    days: Days = 30,
    as_json: Json = False,
) -> None:
    """Revoke what was issued for a host, and write the list of revoked certificates."""
    from ipsecme.pki.store import Store  # noqa: PLC0415 - takes long

    found, path = Store(folder).revoke(what, days, _now())
    if as_json:
        print_json({"revoked": [entry.serial for entry in found], "crl": str(path)})
        return
    typer.echo(f"revoked {count(len(found), 'certificate')} for {found[0].name}")
    typer.echo(f"give {path} to every host that has  crl = [{_quoted(path.name)}]")


@pki.command()
@guarded
def crl(
    context: typer.Context,  # noqa: ARG001 - for `guarded`
    folder: Folder = _HERE,
    days: Days = 30,
    as_json: Json = False,
) -> None:
    """Write the list of revoked certificates anew; do so before the last one gets old."""
    from ipsecme.pki.store import Store  # noqa: PLC0415 - takes long

    path = Store(folder).write_crl(days, _now())
    if as_json:
        print_json({"crl": str(path)})
        return
    typer.echo(f"wrote {path}, good for {count(days, 'day')}")


@pki.command()
@guarded
def ocsp(
    context: typer.Context,  # noqa: ARG001 - for `guarded`
    name: Annotated[str, typer.Argument(metavar="NAME", help="The host it was issued for.")],
    folder: Folder = _HERE,
    days: Days = 7,
    as_json: Json = False,
) -> None:
    """Sign what OCSP says about a host's certificate, for that host to show or others to read."""
    from ipsecme.pki.store import Store  # noqa: PLC0415 - takes long

    entry, path = Store(folder).write_ocsp(name, days, _now())
    standing = "good" if entry.revoked is None else "revoked"
    if as_json:
        print_json({"ocsp": str(path), "serial": entry.serial, "standing": standing})
        return
    typer.echo(f"wrote {path}: {standing}, for {count(days, 'day')}")
    typer.echo(
        f"on that host:  ocsp_own = [{_quoted(path.name)}];  "
        f"or on the others:  ocsp = [{_quoted(path.name)}]"
    )


@pki.command()
@guarded
def publish(
    context: typer.Context,  # noqa: ARG001 - for `guarded`
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A PEM file with certificates.")],
    as_json: Json = False,
) -> None:
    """Write a certificate in the forms that a web server may give to peers."""
    from ipsecme.pki.store import publish  # noqa: PLC0415 - takes long

    one, bundle, location = publish(file)
    if as_json:
        digest = location.digest.hex()
        print_json({"certificate": str(one), "bundle": str(bundle), "sha1": digest})
        return
    typer.echo(f"wrote {one} and {bundle}")
    typer.echo(
        f"put one of them on a web server, and where {file.name} is used add\n"
        f"  cert_url = {_quoted(f'http://SERVER/{one.name}')}  or  "
        f"cert_bundle_url = {_quoted(f'http://SERVER/{bundle.name}')}"
    )


@pki.command()
@guarded
def show(
    context: typer.Context,  # noqa: ARG001 - for `guarded`
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A certificate, a CRL or an OCSP response.")
    ],
    as_json: Json = False,
) -> None:
    """Show what a file with certificates or a CRL holds."""
    from ipsecme.pki.describe import describe  # noqa: PLC0415 - takes long

    sheets = describe(file, _now())
    if as_json:
        print_json([dict(sheet) for sheet in sheets])
        return
    from ipsecme.cli.sheet import Sheet  # noqa: PLC0415 - rich is for this alone

    out = Sheet()
    for number, sheet in enumerate(sheets):
        if number:
            out.gap()
        for title, text in sheet:
            out.row(title, text, indent=0)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def _quoted(text: str) -> str:
    return f'"{text}"'
