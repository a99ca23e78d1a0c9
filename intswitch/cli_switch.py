"""The commands that run a switch, or ask one: switch, controller, reset, counters.

Like those of `cli.py`, each imports what it needs when it is called.
"""

from __future__ import annotations

from contextlib import nullcontext

import typer

from intswitch import options


def switch(
    file: options.SwitchFile = None,
    address: options.Address = None,
    port: options.Port = None,
    rule: options.Rule = None,
    num_slots: options.NumSlots = None,
    slot_bytes: options.SlotBytes = None,
    loss_in: options.LossIn = None,
    loss_out: options.LossOut = None,
    faults: options.Faults = None,
    fault_seed: options.FaultSeed = None,
    parent: options.Parent = None,
    tls_certificate: options.TlsCertificate = None,
    tls_key: options.TlsKey = None,
    tokens: options.Tokens = None,
    insecure: options.Insecure = None,
    trace: options.Trace = None,
    until_stdin_closes: options.Hidden = False,
) -> None:
    """Start an emulated switch, and serve until Ctrl-C.

    Prints `listening ADDRESS:PORT` when it is ready (the first start compiles
    its kernels, which takes half a minute), and its counters when it stops.
    Options given here go before what the file says.

    \b
    For workers that join by name:
        intswitch switch
    With jobs fixed in a file, for any program that can send UDP:
        intswitch switch switch.yaml
    One that loses packets:
        intswitch switch --loss-in 0.01 --loss-out 0.01
    One that writes down what it sees:
        intswitch switch --trace packets.pcap
    For other machines, which then set INTSWITCH_CERTIFICATE=switch.pem:
        intswitch switch --address 192.0.2.1 \\
            --tls-certificate switch.pem --tls-key switch.key
    """
    given = {name: value for name, value in locals().items() if value is not None}
    _watch_parent(until_stdin_closes)
    from intswitch.configuration import DEFAULTS, read_switch
    from intswitch.console import show_address, show_counters
    from intswitch.standalone import with_options
    from switch.server import serve

    config = read_switch(file) if file else DEFAULTS
    config = with_options(config, given)
    opened = trace.open("wb") if trace else nullcontext()
    with opened as file:
        show_counters(serve(config, ready=show_address, trace=file))


def controller(
    file: options.ControllerFile, until_stdin_closes: options.Hidden = False
) -> None:
    """Start the control plane of a BMv2 switch that runs our P4 program.

    The file says where the switch is and what is attached to it. Prints
    `listening ADDRESS:PORT` when workers can join, and the switch's counters
    when it stops.

    \b
    With the ports of examples/controller.yaml:
        simple_switch -i 0@veth0 -i 1@veth1 -i 2@control \\
            -i 3@loop0 -i 4@loop1 intswitch.json
        intswitch controller examples/controller.yaml
    """
    _watch_parent(until_stdin_closes)
    from intswitch.console import show_address, show_counters
    from intswitch.p4_configuration import read_controller
    from switch.p4_server import serve

    show_counters(serve(read_controller(file), ready=show_address))


def _watch_parent(until_stdin_closes: bool) -> None:
    if until_stdin_closes:
        from intswitch.child import end_with_parent, stop_politely

        end_with_parent(stop_politely)


def reset(address: options.Endpoint, job: options.FixedJob) -> None:
    """Start a job afresh: its slots empty, its sequences from 0 again.

    For jobs fixed in the switch's file; a job that workers join starts afresh
    anyway.

    \b
        intswitch reset 127.0.0.1:48864 7
    """
    import host.controller

    host.controller.reset(address, job)
    typer.echo(f"job {job}: its slots are empty, its sequences begin at 0 again")


def counters(address: options.Endpoint, job: options.AnyJob = None) -> None:
    """Show what a running switch has counted; every packet is in exactly one line.

    \b
    The whole switch, then one job:
        intswitch counters 127.0.0.1:48864
        intswitch counters 127.0.0.1:48864 7
    """
    import host.controller
    from intswitch.console import show_counters, show_lateness

    show_counters(host.controller.counters(address, job))
    if job is not None:
        show_lateness(host.controller.lateness(address, job))
