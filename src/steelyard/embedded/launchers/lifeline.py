"""Start a program that dies with its supervisor: `lifeline.py SUPERVISOR_PID PROGRAM ARGUMENT...`.

Linux sends the chosen signal to a process when the THREAD that forked it ends (prctl(2), PR_SET_PDEATHSIG), so the
supervisor forks from its main thread only. The setting survives execve, not fork: a service that forks workers needs
workers that watch their parent. SIGKILL, because nobody is left who would repeat a SIGTERM that is not obeyed.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tie_to(supervisor: int) -> None:
    """Ask the kernel for SIGKILL when the parent ends; end now if it has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != supervisor:  # it ended between its fork and our prctl
        sys.exit("the supervisor has ended")


if __name__ == "__main__":
    tie_to(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  (the supervisor's own argument list)
