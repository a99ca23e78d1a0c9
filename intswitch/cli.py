"""The command line. Every command imports what it needs when it is called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from intswitch import cli_switch, explore_options, options, study_options

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
    Two jobs at once, on switches that they share:
        intswitch train --topology two_jobs
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
def study(
    name: study_options.Study,
    quick: study_options.QuickStudy = False,
    seed: options.PaperSeed = 0,
    rate: study_options.LinkRate = "100 Gbit/s",
    delay: study_options.LinkDelay = "1 us",
    out: options.Out = None,
) -> None:
    """Study in virtual time what no laptop can hold: fast links, thousands of workers.

    The switch's pipeline and the hosts' windows are those of every command; only
    links are simulated: rate, delay, queue, loss, reordering. Every sum is
    checked to the last bit. Writes STUDY.csv and STUDY.png into runs/study-STUDY,
    or where --out says. A run repeats from its seed.

    \b
    How loss slows an aggregation down, and what finds losses sooner:
        intswitch study loss
    How many slots fill a link of 400 Gbit/s:
        intswitch study slots --rate "400 Gbit/s"
    Switch, ring and parameter server, 4 to 4096 workers; first a quick look:
        intswitch study collectives --quick
        intswitch study collectives
    What each level of switches costs:
        intswitch study depth
    What a second job does to a first that shares its links:
        intswitch study jobs
    """
    from intswitch.study import command

    command.run(name, command.wanted(quick, seed, rate, delay), out)


@app.command()
def explore(
    rule: options.Rule = None,
    workers: explore_options.Workers = None,
    slots: explore_options.Slots = None,
    chunks: explore_options.Chunks = None,
    first: explore_options.FirstSequence = None,
    limit: explore_options.Limit = None,
    tree: explore_options.Tree = None,
    stragglers: explore_options.Stragglers = False,
    rejoin: explore_options.Rejoin = False,
    most_states: explore_options.MostStates = 1_000_000,
    large: explore_options.Large = False,
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
    given = {"slots": slots, "chunks": chunks, "first": first, "limit": limit}
    command.check_options(workers, tree, given, stragglers, rejoin)
    if workers is not None or tree is not None:
        shape = command.shape(
            rule, workers or 0, slots or 1, chunks or "4", first or 0, limit, tree,
            stragglers, rejoin,
        )  # fmt: skip
        shapes = (shape,)
    elif rule is not None:
        shapes = tuple(each for each in shapes if each.rule.name == rule.upper())
    raise typer.Exit(command.run(shapes, most_states, new_console()))


@app.command()
def fuzz(
    datagrams: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many to send.")
    ] = 1_000_000,
    calls: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of the control plane.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of all that.")] = 0,
) -> None:
    """Throw arbitrary and mutated bytes at a switch while a good job runs.

    Datagrams from strangers and from the workers' own addresses, and calls of the
    control plane. Every sum of the good job is checked. Ends with status 1 if the
    switch's memory grows.

    \b
    A million datagrams, ten thousand calls (minutes):
        intswitch fuzz
    """
    from intswitch.console import new_console
    from intswitch.fuzz import command

    raise typer.Exit(command.fuzz(datagrams, calls, seed, new_console()))


app.command()(cli_switch.switch)
app.command()(cli_switch.controller)


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


app.command()(cli_switch.reset)
app.command()(cli_switch.counters)


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
