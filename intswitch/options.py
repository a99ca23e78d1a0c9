"""The options that commands share: type, limits, and what `--help` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option

COMPRESSOR = "Compressor"
NETWORK = "Network"
TRAINING = "Training"

Workload = Annotated[
    Literal["mnist", "digits", "text", "logistic"],
    Option(
        "--workload",
        "-w",
        metavar="NAME",
        help="[b]mnist[/]: small CNN, real images; [b]digits[/]: MLP, the quick one; "
        "[b]text[/]: character LSTM; [b]logistic[/]: regression, each worker with "
        "data of its own kind.",
    ),
]


def _training(*names: str, metavar: str, help: str, **limits: Any) -> Any:
    return Option(
        *names, metavar=metavar, help=help, rich_help_panel=TRAINING, **limits
    )


Steps = Annotated[
    int | None, _training(metavar="N", min=1, help="How long. Default: the workload's.")
]
Epochs = Annotated[
    float | None,
    _training(metavar="X", min=0.0, help="How long, in passes over the data."),
]
BatchSize = Annotated[
    int | None, _training(metavar="N", min=1, help="Samples of one worker and step.")
]
LearningRate = Annotated[
    float | None, _training("--lr", metavar="X", min=0.0, help="Learning rate.")
]
Momentum = Annotated[
    float | None, _training(metavar="X", min=0.0, max=1.0, help="Of SGD.")
]
Seed = Annotated[
    int,
    _training(metavar="N", min=0, help="Of weights, data order, rounding and losses."),
]
Evaluations = Annotated[
    int, _training(metavar="N", min=1, help="How often the test set is tried.")
]

Compressor = Annotated[
    str,
    Option(
        "--compressor",
        "-c",
        metavar="NAME",
        help="intsgd, intdiana, fixed, block_exponent, heuristic, nuqsgd, qsgd, "
        "qsgdinf, fastsgd, natural, memsgd, signsgd, or exact (float32 past the "
        "switch).",
        rich_help_panel=COMPRESSOR,
    ),
]
ElementType = Annotated[
    Literal["int8", "int16", "int32"] | None,
    Option(
        metavar="TYPE",
        help="What workers send: int8, int16, int32. Default: int8, or int32 for "
        "fixed and block_exponent.",
        rich_help_panel=COMPRESSOR,
    ),
]
Rounding = Annotated[
    Literal["random", "deterministic"] | None,
    Option(metavar="HOW", help="random or deterministic.", rich_help_panel=COMPRESSOR),
]
CompressorOption = Annotated[
    list[str] | None,
    Option(
        "--option",
        "-o",
        metavar="NAME=VALUE",
        help="Any other option of the compressor; repeat for more. A wrong name "
        "lists the right ones.",
        rich_help_panel=COMPRESSOR,
    ),
]
Compressors = Annotated[
    list[str] | None,
    Option(
        "--compressor",
        "-c",
        metavar="NAME[:OPTION=VALUE,...]",
        help="One to compare; repeat for more. Default: a set of eight (for "
        "[b]logistic[/], IntSGD beside IntDIANA).",
        rich_help_panel=COMPRESSOR,
    ),
]
Set = Annotated[
    Literal["scalings", "heterogeneous", "papers"] | None,
    Option(
        "--set",
        metavar="NAME",
        help="Compare a set: [b]scalings[/] (IntSGD beside SwitchML's; the default), "
        "[b]heterogeneous[/] (IntSGD beside IntDIANA), [b]papers[/] (all methods). "
        "What -c names comes on top.",
        rich_help_panel=COMPRESSOR,
    ),
]

Topology = Annotated[
    str,
    Option(
        metavar="NAME",
        help="[b]star[/] (4 workers), [b]pair[/] (2), [b]star8[/] (8), [b]tree[/] (6 "
        "at two switches below a third), [b]two_jobs[/] (two trainings that share a "
        "link), or a YAML file.",
        rich_help_panel=NETWORK,
    ),
]
Loss = Annotated[
    float | None,
    Option(
        metavar="P",
        help="Lose packets with this probability, on every link in either direction; "
        "instead of the topology's.",
        rich_help_panel=NETWORK,
    ),
]
Fabric = Annotated[
    str,
    Option(
        metavar="NAME",
        help="[b]loopback[/]: the emulated switch, processes on this machine; "
        "[b]netns[/]: the same, every host and switch in a network namespace; "
        "[b]sim[/]: the same switch, links of any rate and delay in virtual time; "
        "[b]bmv2[/]: our P4 program on BMv2's simple_switch, hosts in network "
        "namespaces; [b]bmv2-p4runtime[/]: the same on simple_switch_grpc; "
        "[b]mininet[/]: as bmv2, the network made by Mininet. `intswitch doctor` says "
        "what they need.",
        rich_help_panel=NETWORK,
    ),
]
Output = Annotated[
    Path | None, Option(metavar="DIR", help="Write table, results and figure here.")
]

Paper = Annotated[
    Literal["intsgd", "nuqsgd", "fastsgd", "memsgd"],
    Argument(metavar="PAPER", help="intsgd, nuqsgd, fastsgd or memsgd."),
]
PaperSeed = Annotated[
    int, Option("--seed", metavar="N", min=0, help="Of all that is random.")
]
Quick = Annotated[
    bool, Option("--quick", help="Fewer draws and steps: sooner, with wider intervals.")
]
Data = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        dir_okay=False,
        help="A LIBSVM file (also .gz, .bz2, .xz) in place of synthetic data.",
    ),
]
Out = Annotated[
    Path | None,
    Option("--out", "--output", metavar="DIR", help="Write table and figure here."),
]

SwitchFile = Annotated[
    Path | None,
    Argument(metavar="FILE.yaml", help="The switch, its faults, its fixed jobs."),
]
ControllerFile = Annotated[
    Path,
    Argument(metavar="FILE.yaml", help="The switch, its hosts, its fixed jobs."),
]
Address = Annotated[
    str | None,
    Option(metavar="IP", help="IPv4 or IPv6. Default: 127.0.0.1, this machine alone."),
]
Port = Annotated[
    int | None,
    Option(
        metavar="N",
        min=0,
        max=65535,
        help="UDP data path and TCP control plane; 0: any free one. Default: 48864.",
    ),
]
Rule = Annotated[
    Literal["safe", "switchml"] | None,
    Option(metavar="NAME", help="Slot rule: safe (default) or switchml."),
]
NumSlots = Annotated[
    int | None,
    Option(metavar="N", min=1, help="Slots of all jobs together. Default: 16384."),
]
SlotBytes = Annotated[
    int | None,
    Option(metavar="N", min=4, help="The widest slot of a job. Default: 1408."),
]
LossIn = Annotated[
    float | None,
    Option(metavar="P", min=0.0, max=1.0, help="Lose packets on their way in."),
]
LossOut = Annotated[
    float | None,
    Option(metavar="P", min=0.0, max=1.0, help="Lose copies on their way out."),
]
Faults = Annotated[
    str | None,
    Option(
        metavar="YAML",
        help="What else to do to packets, as the file's faults have it: "
        "'{inward: {duplication: 0.01}, outward: {delay: 1 ms}}'.",
    ),
]
FaultSeed = Annotated[int | None, Option(metavar="N", min=0, help="Of these faults.")]
SECURITY = "Who may join"
TlsCertificate = Annotated[
    Path | None,
    Option(
        metavar="FILE.pem",
        dir_okay=False,
        help="The switch's certificate: the control plane speaks TLS. Workers name it, "
        "or its authority's, in INTSWITCH_CERTIFICATE.",
        rich_help_panel=SECURITY,
    ),
]
TlsKey = Annotated[
    Path | None,
    Option(
        metavar="FILE.pem",
        dir_okay=False,
        help="Of the certificate.",
        rich_help_panel=SECURITY,
    ),
]
Tokens = Annotated[
    Path | None,
    Option(
        metavar="FILE.yaml",
        dir_okay=False,
        help="Jobs that may be joined, and what their workers show: 'tokens: {name: "
        "secret}'; for the reset of a fixed job its number. Workers have it in "
        "INTSWITCH_TOKEN. Default: all jobs; a job's first worker chooses.",
        rich_help_panel=SECURITY,
    ),
]
Insecure = Annotated[
    bool | None,
    Option(
        "--insecure",
        help="Serve other machines without a certificate.",
        rich_help_panel=SECURITY,
    ),
]
Parent = Annotated[
    str | None,
    Option(
        metavar="HOST:PORT",
        help="The switch above, in a tree of switches: who joins here joins there.",
    ),
]
Trace = Annotated[
    Path | None,
    Option(
        metavar="FILE.pcap",
        dir_okay=False,
        help="Write every packet in and out, for Wireshark and the like. Slow.",
    ),
]
Endpoint = Annotated[
    str, Argument(metavar="ADDRESS:PORT", help="As the switch has printed it.")
]
FixedJob = Annotated[int, Argument(metavar="JOB", help="Number of a fixed job.")]
AnyJob = Annotated[
    int | None, Argument(metavar="JOB", help="Number of a job. Default: all.")
]
Hidden = Annotated[bool, Option(hidden=True)]

Target = Annotated[
    str | None,
    Option(
        metavar="HOST:PORT",
        help="The switch to test: its UDP port, and where it has a control plane, TCP.",
    ),
]
TargetRule = Annotated[
    Literal["safe", "switchml"] | None,
    Option(
        metavar="NAME",
        help="The slot rule that the target keeps to: safe (default) or switchml.",
    ),
]
Only = Annotated[
    list[str] | None,
    Option(
        metavar="SCRIPT",
        help="Run this script; repeat for more. 'safe_*' works, quoted.",
    ),
]
Except = Annotated[
    list[str] | None,
    Option("--except", metavar="SCRIPT", help="Leave this one out; in the same way."),
]
AnswerTimeout = Annotated[
    float,
    Option(metavar="SECONDS", min=0.001, help="How long an answer may take."),
]
Bind = Annotated[
    str | None,
    Option(
        metavar="IP",
        help="Of the workers. Default: the one that the route to the target has.",
    ),
]
Fixed = Annotated[
    Path | None,
    Option(
        metavar="FILE.yaml",
        dir_okay=False,
        help="The target has these jobs, and needs no control plane; see --jobs.",
    ),
]
PrintJobs = Annotated[
    bool,
    Option("--jobs", help="Print the file of jobs that --fixed takes, and end."),
]
WorkersAt = Annotated[
    list[str] | None,
    Option(
        metavar="IP:PORT",
        help="For --jobs: where the first worker is; the others have the next ports. "
        "Repeat to spread them over addresses. Default: 127.0.0.1:20000.",
    ),
]
JobSlots = Annotated[
    int | None,
    Option(
        metavar="N",
        min=1,
        help="For --jobs: how many the target has; scripts that do not fit in them are "
        "left out. BMv2 with our P4 program has 32768.",
    ),
]
Interface = Annotated[
    list[str] | None,
    Option(
        metavar="[IP=]NAME",
        help="Send and take raw frames here (needs root), for this worker address or, "
        "without one, for all others; repeat for more ports.",
    ),
]
SwitchMac = Annotated[
    str | None, Option(metavar="MAC", help="For --interface: that of the switch.")
]
ListScripts = Annotated[bool, Option("--list", help="List the scripts, and end.")]
AsJson = Annotated[bool, Option("--json", help="Report in JSON, for machines.")]
