"""`python -m intswitch.tether FOLDER COMMAND ...`: ends with who started it.

For programs that do not look whether their standard input is closed. When the command
has ended, so has the folder in which it keeps what nobody else needs.
"""

import shutil
import signal
import subprocess
import sys

from intswitch.child import end_with_parent


def main() -> None:
    folder, *command_line = sys.argv[1:]
    # killed with us, too, if we are killed
    tied = ["setpriv", "--pdeathsig", "KILL", *command_line]
    command = subprocess.Popen(tied, stdin=subprocess.DEVNULL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: command.kill())
    end_with_parent(command.kill)
    status = command.wait()
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
