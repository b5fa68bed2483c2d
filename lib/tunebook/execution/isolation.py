"""Which isolation this machine gives, found by trying: a tier counts only if a probe inside it fails at all that it
must not do.

T3  each candidate in a container or microVM of its own: not provided here; being inside one gives no tier. T2  user,
mount, process, network and IPC namespaces around the candidates, a read-only Python and nothing of the user's in sight,
a process namespace and a private folder in memory for each sample; and seccomp, and Landlock where the kernel has it.
Stops: seeing or touching the user's files, processes, network and environment; staying alive after the sample. Does not
stop: holes in the kernel, side channels, using up what the limits allow. T1  Landlock, seccomp, no_new_privs, and for
root a user id of its own where Python is readable to others. Stops: opening files outside Python and a private folder,
changing modes, sockets, tracing, signals to others. Does not stop: learning that a file exists and how large it is, nor
what T2 does not stop. T0  limits, tree kill, a cleared environment, and seccomp where it can be had. Only with consent:
the candidate can read and write whatever its user can. On macOS a daemon that left its parent can survive.

None of them is a promise about hostile code: they keep model output from doing harm by accident or for a reward.
"""

import functools
import sys

from tunebook.errors import MachineProblem
from tunebook.execution.programs import Limits, Program

TIERS = ("T2", "T2-bwrap", "T1", "T0")  # in order of preference; T2-bwrap is T2 made by bubblewrap
NAMES = {
    "T2": "namespaces (user, mount, pid, net, ipc) + seccomp + Landlock where present",
    "T2-bwrap": "namespaces through bubblewrap + seccomp + Landlock where present",
    "T1": "Landlock + seccomp + no_new_privs",
    "T0": "limits only",
}

_INTRUDER = """
def intrude(canary, folder, port, pid):
    import os, socket
    done = []
    def attempt(name, action):
        try:
            action()
        except BaseException:
            return
        done.append(name)
    def connect():
        socket.create_connection(("127.0.0.1", port), 2).close()
    def overwrite():
        with open(canary, "a") as handle:
            handle.write("x")
    attempt("read a file of the user", lambda: open(canary).read())
    attempt("overwrite a file of the user", overwrite)
    attempt("delete a file of the user", lambda: os.remove(canary))
    attempt("write beside Python", lambda: open(os.__file__, "r+").close())
    attempt("list a folder of the user", lambda: os.listdir(folder))
    attempt("read the environment of the judge", lambda: open(f"/proc/{pid}/environ").read())
    attempt("signal the judge", lambda: os.kill(pid, 0))
    attempt("connect to a local port", connect)
    return done
"""

_PROBE = """
def check(candidate):
    import os, shutil, socket, tempfile
    folder = tempfile.mkdtemp(prefix="tunebook-probe-")
    canary = os.path.join(folder, "canary")
    with open(canary, "w") as handle:
        handle.write("untouched")
    server = socket.socket()
    try:
        server.bind(("127.0.0.1", 0))
        server.listen()
        os.chmod(folder, 0o777)
        os.chmod(canary, 0o666)
        done = candidate(canary, folder, server.getsockname()[1], os.getpid())
        assert open(canary).read() == "untouched" and not done, "it could " + ", ".join(done)
    finally:
        server.close()
        shutil.rmtree(folder)
"""


def choose_tier(allow_unisolated: bool = False) -> str:
    """The best tier that works here, as `runner.run_in_tier` takes it. Raises MachineProblem when only T0 does and
    the user has not agreed to it.
    """
    found = probe()
    if found["tier"] is None:
        raise MachineProblem(f"candidates cannot be run on this machine ({found['tiers']['T0']}); use Linux or macOS")
    if found["tier"] == "T0" and not allow_unisolated:
        reasons = "; ".join(f"{tier}: {found['tiers'][tier]}" for tier in TIERS[:-1])
        raise MachineProblem(
            f"no isolation for model-written programs works here ({reasons}); run where namespaces or Landlock work,"
            " or agree to limits only with allow_unisolated: true (--allow-unisolated)"
        )
    return found["way"]


@functools.cache
def probe() -> dict:
    """What isolation works here: `tier` (T2, T1, T0 or None), `way`, `name`, and for each tier tried `works` or why
    not.
    """
    tiers = {}
    for tier in TIERS:
        tiers[tier] = try_tier(tier)
        if tiers[tier] == "works":
            return {"tier": tier[:2], "way": tier, "name": NAMES[tier], "tiers": tiers}
    return {"tier": None, "way": None, "name": "none", "tiers": tiers}


def try_tier(tier: str) -> str:
    """`works`, or the reason why this tier does not."""
    if sys.platform not in ("linux", "darwin"):
        return f"not on {sys.platform}"
    if sys.platform == "darwin" and tier != "T0":
        return "only on Linux"
    from tunebook.execution.runner import run_in_tier

    if tier == "T0":
        program = Program(
            "probe", 0, "def f(x):\n    return x\n", "f", "def check(candidate):\n    assert candidate(3) == 3\n"
        )
    else:
        program = Program("probe", 0, _INTRUDER, "intrude", _PROBE)
    (outcome,) = run_in_tier([program], tier, Limits(), 1)
    return "works" if outcome.passed else outcome.detail or outcome.verdict
