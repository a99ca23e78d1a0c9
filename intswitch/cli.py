"""The command line. Every command imports what it needs when it is called."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from intswitch import options

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def version(wanted: bool) -> None:
    if wanted:
        from intswitch import __version__

        typer.echo(f"intswitch {__version__}")
        raise typer.Exit


@app.callback()
def intswitch(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """A laboratory for in-network aggregation: workers send integers, an emulated
    programmable switch adds them and multicasts the sums.

    \b
    Train a small CNN on MNIST, four workers, int8 gradients:
        intswitch train
    See how compressors differ (table, CSV, JSON, figure):
        intswitch compare --workload digits
    Lose one packet in a hundred; the weights come out the same:
        intswitch train --workload digits --loss 0.01
    """


@app.command()
def train(
    workload: options.Workload = "mnist",
    compressor: options.Compressor = "intsgd",
    element_type: options.ElementType = None,
    rounding: options.Rounding = None,
    option: options.CompressorOption = None,
    steps: options.Steps = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    momentum: options.Momentum = None,
    seed: options.Seed = 0,
    evaluations: options.Evaluations = 20,
    topology: options.Topology = "star",
    loss: options.Loss = None,
    fabric: options.Fabric = "loopback",
    output: options.Output = None,
) -> None:
    """Train a model through the emulated switch, and see what it cost.

    Starts the switch and the workers as processes on this machine, shows loss
    and accuracy as they come, then sums up: accuracy, bytes, packets, largest
    integer, clips, and where the time went.

    \b
    MNIST, four workers, IntSGD with int8:
        intswitch train
    Eight workers, deterministic rounding, a bad network:
        intswitch train --topology star8 --rounding deterministic --loss 0.01
    Any option of a compressor:
        intswitch train -c intsgd -o beta=0.5 -o element_type=int16
    The yardstick, float32 between the workers:
        intswitch train -c exact
    """
    from intswitch.command import run, training
    from intswitch.methods import Method

    method = Method.parse(compressor).extended(
        option or [], element_type=element_type, rounding=rounding
    )
    base = training(**locals())
    run([method], base, 1, topology, loss, fabric, output)


@app.command()
def compare(
    workload: options.Workload = "mnist",
    compressor: options.Compressors = None,
    named: options.Set = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Runs of every method.")
    ] = 3,
    steps: options.Steps = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    momentum: options.Momentum = None,
    seed: options.Seed = 0,
    evaluations: options.Evaluations = 20,
    topology: options.Topology = "star",
    loss: options.Loss = None,
    fabric: options.Fabric = "loopback",
    output: options.Output = None,
) -> None:
    """Train with several compressors from the same start, and compare.

    Gives the table of IntSGD's paper (test accuracy or loss, time of a step by
    phase, bits per coordinate) and a figure: loss against steps and bytes,
    largest integer against steps. Writes table.md, table.csv, results.json,
    figure.png and figure.svg into runs/WORKLOAD, or where --output says.

    \b
    The default set, three seeds:
        intswitch compare
    Two of your choice, quickly:
        intswitch compare -w digits -c exact -c intsgd:element_type=int8 --seeds 1
    Every method of every paper:
        intswitch compare --set papers
    Why IntDIANA: heterogeneous workers make IntSGD's integers grow:
        intswitch compare -w logistic
    """
    from intswitch.command import run, training
    from intswitch.methods import Method, chosen_texts

    texts = chosen_texts(workload, named, compressor or [])
    base = training(**locals())
    folder = output or Path("runs") / workload
    methods = [Method.parse(text) for text in texts]
    run(methods, base, seeds, topology, loss, fabric, folder)


@app.command()
def reproduce(
    paper: options.Paper,
    seed: options.PaperSeed = 0,
    quick: options.Quick = False,
    data: options.Data = None,
    out: options.Out = None,
) -> None:
    """Measure what a paper claims, at the size of a laptop.

    Prints a table, paper says beside we measured, and draws the paper's figure:
    into runs/reproduce-PAPER, or where --out says, go claims.md, claims.json,
    figure.csv and figure.png. Ends with status 1 if a claim does not hold.

    \b
    IntSGD: noise, size of the integers, IntDIANA:
        intswitch reproduce intsgd
    A quick look, with wider confidence intervals:
        intswitch reproduce intsgd --quick
    On data of your own, in LIBSVM's format:
        intswitch reproduce memsgd --data rcv1_test.binary.bz2
    """
    from intswitch.reproduce import command
    from intswitch.reproduce.claims import Options

    wanted = Options(seed=seed, quick=quick, data=data)
    if not command.run(paper, wanted, out):
        raise typer.Exit(1)


@app.command()
def explore(
    rule: options.Rule = None,
    workers: options.ExploredWorkers = None,
    slots: options.ExploredSlots = 1,
    chunks: options.ExploredChunks = "4",
    first: options.FirstSequence = 0,
    limit: options.ExploredLimit = None,
    tree: options.ExploredTree = None,
    most_states: options.MostStates = 1_000_000,
    large: options.Large = False,
) -> None:
    """Try every order in which a network can lose, repeat and delay the packets.

    The real switch pipeline and the real host windows, with one number a chunk,
    from every state that they can reach. Shows that `safe` never makes a wrong
    sum and never gets stuck, and finds by itself how `switchml` does, as a packet
    trace. Ends with status 1 if `safe` failed.

    \b
    What takes seconds, and what takes minutes too:
        intswitch explore
        intswitch explore --large
    One shape, two aggregations of 3 and 4 chunks, sequences that wrap:
        intswitch explore --workers 3 --chunks 3+4 --first 4294967293
    """
    from intswitch.console import new_console
    from intswitch.explore import command

    shapes = command.SHAPES + (command.LARGER if large else ())
    if workers is not None or tree is not None:
        shape = command.shape(rule, workers or 0, slots, chunks, first, limit, tree)
        shapes = (shape,)
    elif rule is not None:
        shapes = tuple(each for each in shapes if each.rule.name == rule.upper())
    raise typer.Exit(command.run(shapes, most_states, new_console()))


@app.command()
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
    trace: options.Trace = None,
    until_stdin_closes: options.Hidden = False,
) -> None:
    """Start an emulated switch, and serve until Ctrl-C.

    Prints `listening ADDRESS:PORT` when it is ready (the first start compiles
    its kernels, which takes about a minute), and its counters when it stops.
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
    """
    given = {name: value for name, value in locals().items() if value is not None}
    if until_stdin_closes:
        from intswitch.child import end_with_parent, stop_politely

        end_with_parent(stop_politely)
    from intswitch.configuration import DEFAULTS, read_switch
    from intswitch.console import show_address, show_counters
    from intswitch.standalone import with_options
    from switch.server import serve

    config = read_switch(file) if file else DEFAULTS
    config = with_options(config, given)
    opened = trace.open("wb") if trace else nullcontext()
    with opened as file:
        show_counters(serve(config, ready=show_address, trace=file))


@app.command()
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
    if until_stdin_closes:
        from intswitch.child import end_with_parent, stop_politely

        end_with_parent(stop_politely)
    from intswitch.console import show_address, show_counters
    from intswitch.p4_configuration import read_controller
    from switch.p4_server import serve

    show_counters(serve(read_controller(file), ready=show_address))


@app.command()
def doctor() -> None:
    """Say what can run on this machine, and what to install for the rest.

    Ends with status 1 if not even `intswitch train` can run.

    \b
        intswitch doctor
    """
    from rich.console import Console

    from intswitch.doctor import report

    if not report(Console()):
        raise typer.Exit(1)


@app.command()
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


@app.command()
def counters(address: options.Endpoint, job: options.AnyJob = None) -> None:
    """Show what a running switch has counted; every packet is in exactly one line.

    \b
    The whole switch, then one job:
        intswitch counters 127.0.0.1:48864
        intswitch counters 127.0.0.1:48864 7
    """
    import host.controller
    from intswitch.console import show_counters

    show_counters(host.controller.counters(address, job))


@app.command()
def conformance(
    target: options.Target = None,
    rule: options.TargetRule = None,
    only: options.Only = None,
    excepted: options.Except = None,
    timeout: options.AnswerTimeout = 1.0,
    bind: options.Bind = None,
    fixed: options.Fixed = None,
    interface: options.Interface = None,
    switch_mac: options.SwitchMac = None,
    jobs: options.PrintJobs = False,
    workers_at: options.WorkersAt = None,
    num_slots: options.JobSlots = None,
    list_scripts: options.ListScripts = False,
    json: options.AsJson = False,
) -> None:
    """Hold another switch to the rules: replay the golden packets against it.

    For who ports the switch to a device of his own. Every row is a script of
    packets in, and the packets and counters that must come of them, to the byte.
    Ends with status 1 if a row failed.

    \b
    A target with intswitch's control plane:
        intswitch conformance --target 10.0.0.1:48864
    One without: tell it these jobs first, then run against them:
        intswitch conformance --jobs --workers-at 10.0.0.2:20000 > jobs.yaml
        intswitch conformance --fixed jobs.yaml --target 10.0.0.1:48864
    One row, or a few:
        intswitch conformance --target 10.0.0.1:48864 --only safe_replay
    """
    from intswitch.conformance import command

    scripts = command.chosen(only or [], excepted or [])
    if list_scripts:
        command.list_scripts(scripts, rule)
    elif jobs:
        command.print_jobs(scripts, rule, workers_at or [], num_slots)
    else:
        wanted = command.Wanted(
            target, rule, scripts, timeout, bind, fixed, interface or [], switch_mac
        )
        raise typer.Exit(command.check(wanted, json))


def main() -> None:
    """Entry point: mistakes become one clear text and an exit status."""
    try:
        app(prog_name="intswitch")
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("INTSWITCH_DEBUG"):
            raise
        text = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            where = f"{error.filename}: " if error.filename else ""
            text = where + error.strerror
        print("error: " + text.replace("\n", "\n  "), file=sys.stderr)
        sys.exit(1)
