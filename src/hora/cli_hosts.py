"""The verbs that name hosts, `run` and `doctor`, with their options. Rooms are imported inside, as in `hora.cli`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hora.as_json import Json, print_json
from hora.errors import HoraError

Hosts = Annotated[str | None, typer.Option("-H", "--hosts", metavar="A:4,B:4", help="Hosts and their slots.")]
Hostfile = Annotated[Path | None, typer.Option("--hostfile", help="A file with a host on each line.")]
Interface = Annotated[str | None, typer.Option("--network-interface", help="Of each host, such as eth1.")]
SshPort = Annotated[int | None, typer.Option("--ssh-port", help="Where sshd listens.")]
SshIdentity = Annotated[Path | None, typer.Option("--ssh-identity-file", help="The key to log in with.")]


def run(
    script: Annotated[str, typer.Argument(help="A training script for several workers.", show_default=False)],
    args: Annotated[list[str] | None, typer.Argument(help="The script's own arguments.", show_default=False)] = None,
    workers: Annotated[
        int | None, typer.Option("-n", "--workers", help="How many workers; by default one for each slot.")
    ] = None,
    module: Annotated[bool, typer.Option("-m", help="SCRIPT names a module, as with python -m.")] = False,
    hosts: Hosts = None,
    hostfile: Hostfile = None,
    discovery: Annotated[
        Path | None, typer.Option("--host-discovery-script", help="Prints the hosts that there are now, NAME:SLOTS.")
    ] = None,
    slots: Annotated[int, typer.Option("--slots-per-host", help="Workers of a host where that script says none.")] = 1,
    least: Annotated[
        int | None, typer.Option("--min-np", "--min-n", help="Elastic: go on with as few workers as these.")
    ] = None,
    most: Annotated[int | None, typer.Option("--max-np", "--max-n", help="Elastic: take up to so many.")] = None,
    resets: Annotated[int | None, typer.Option("--reset-limit", help="Elastic: start anew so often at most.")] = None,
    patience: Annotated[float, typer.Option("--elastic-timeout", help="Elastic: seconds to wait for slots.")] = 600.0,
    cooldown: Annotated[
        float, typer.Option("--blacklist-cooldown", help="Elastic: seconds that a lost host is left alone.")
    ] = 30.0,
    interface: Interface = None,
    ssh_port: SshPort = None,
    ssh_identity: SshIdentity = None,
    output: Annotated[
        Path | None, typer.Option("--output-filename", metavar="DIR", help="Write DIR/rank.N/stdout and stderr.")
    ] = None,
    start_timeout: Annotated[float, typer.Option("--start-timeout", help="Seconds for a host to answer.")] = 30.0,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="A variable for all workers; repeatable.")
    ] = None,
) -> None:
    """Start N workers, here or over ssh, and stay with them; exits with the status of the worker that failed first.

    horovodrun's options are understood as well: -np 4, -hostfile, --min-num-proc and the others.
    """
    from hora.launch import Request, run_script

    own = args or []
    variables = [pair.partition("=") for pair in env or []]
    if unnamed := next((pair for pair in variables if not pair[0] or not pair[1]), None):
        raise HoraError(f"run --env {''.join(unnamed)}", "that is no NAME=VALUE", "Give it as --env NCCL_DEBUG=INFO")
    request = Request(
        workers=workers,
        hosts=hosts,
        hostfile=hostfile,
        discovery_script=discovery,
        slots_per_host=slots,
        interface=interface,
        ssh_port=ssh_port,
        ssh_identity=ssh_identity,
        start_timeout=start_timeout,
        least=least,
        most=most,
        resets=resets,
        patience=patience,
        cooldown=cooldown,
    )
    status = run_script(
        script,
        own[1:] if own[:1] == ["--"] else own,
        module=module,
        request=request,
        env={name: value for name, _, value in variables},
        output=output,
    )
    raise typer.Exit(status)


def doctor(
    workers: Annotated[
        int | None, typer.Option("-n", "--workers", help="How many workers measure; by default one for each GPU, or 2.")
    ] = None,
    hosts: Hosts = None,
    hostfile: Hostfile = None,
    interface: Interface = None,
    ssh_port: SshPort = None,
    ssh_identity: SshIdentity = None,
    json_: Json = False,
) -> None:
    """Say what the hosts are, measure what joins their workers, and name what is wrong with them."""
    from hora.launch.doctor.examination import examine
    from hora.launch.doctor.report import show
    from hora.launch.request import Request

    errors = Console(stderr=True)
    with errors.status("looking", spinner="dots") if errors.is_terminal else nullcontext() as status:
        examination = examine(
            Request(
                workers=workers,
                hosts=hosts,
                hostfile=hostfile,
                interface=interface,
                ssh_port=ssh_port,
                ssh_identity=ssh_identity,
            ),
            status.update if status is not None else lambda stage: None,
        )
    if json_:
        print_json(examination)
    else:
        show(examination, Console())
    raise typer.Exit(examination.status)


def in_own_words(arguments: list[str]) -> list[str]:
    """Put horovodrun's options of a `hora run` into Hora's words."""
    from hora.launch.horovodrun import translate

    translation = translate(arguments[1:])
    if translation.without_meaning:
        print(f"hora: nothing here depends on {', '.join(translation.without_meaning)}", file=sys.stderr)
    return ["run", *translation.arguments]
