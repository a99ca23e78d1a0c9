"""`python -m intswitch.tether COMMAND ...`: a program that ends with who started it.

For programs that do not look whether their standard input is closed.
"""

import signal
import subprocess
import sys

from intswitch.child import end_with_parent


def main() -> None:
    # killed with us, too, if we are killed
    tied = ["setpriv", "--pdeathsig", "KILL", *sys.argv[1:]]
    command = subprocess.Popen(tied, stdin=subprocess.DEVNULL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: command.kill())
    end_with_parent(command.kill)
    status = command.wait()
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
