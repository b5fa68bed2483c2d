"""The forker: a clean Python that forks one candidate a sample, inside whatever isolation the machine gives.

It is started once by each judge as `python -I -B` with a cleared environment, enters its isolation, and waits on a
socket. For each request it forks a reaper, which forks the candidate and reaps what the candidate leaves; the judge
kills the reaper. Knows no test and no program text. Decides nothing about a verdict. Does not outlive the judge: at the
end of its socket it kills what is below it and ends.
"""

import gc
import json
import os
import random
import select
import signal
import socket
import sys

from tunebook.execution import candidate, confine, linux, namespaces, places, processes

# imported once here so that each sample has them for nothing; programs of HumanEval's kind import little else
COMMON = (
    "bisect collections copy datetime decimal fractions functools hashlib heapq itertools math operator re statistics"
    " string"
)
IS_LINUX = sys.platform == "linux"


def main(descriptor: int) -> None:
    """Serve the control socket `descriptor`: first a settings message, then requests with three descriptors each."""
    control = socket.socket(fileno=descriptor)
    settings = json.loads(control.recv(1 << 16))
    for name in [*COMMON.split(), "typing"]:
        __import__(name)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    sys.path[:] = [p for p in sys.path if p != settings["library"]]
    try:
        state = _isolate(settings)
    except Exception as error:
        control.send(json.dumps({"error": str(error) or repr(error)}).encode())
        os._exit(1)
    gc.collect()
    gc.freeze()
    control.send(b'{"ready": true}')
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 16, 3)
        if not message:
            os._exit(0)
        _run_sample(control, settings, state, descriptors)


def _isolate(settings):
    """Enter the tier; returns what each sample needs: Landlock rules and the forker's process namespace (or None)."""
    state = {"rules": None, "own": None, "filter": False}
    if IS_LINUX:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        _die_first_when_memory_ends()
    if settings["tier"] == "T2" and settings["apart"]:
        state["own"] = namespaces.enter(settings["folder"], settings["read"], settings["hidden"], settings["uid"])
    if settings["tier"] != "T0":
        state["filter"] = confine.prepare_confinement()
        write = [os.path.dirname(settings["home"]), "/dev/null"]
        parts = [places.without(path, settings["hidden"]) for path in settings["read"]]
        read = [path for whole, _ in parts for path in whole]
        listed = [path for _, folders in parts for path in folders]
        state["rules"] = confine.landlock_rules([*read, *places.DEVICES], listed, write)
        if state["rules"] is None and settings["tier"] == "T1":
            raise OSError("this kernel has no Landlock")
    else:
        state["filter"] = IS_LINUX and confine.can_filter()
    return state


def _die_first_when_memory_ends():
    try:
        with open("/proc/self/oom_score_adj", "w") as handle:
            handle.write("1000")
    except OSError:
        pass


def _run_sample(control, settings, state, descriptors):
    apart = state["own"] is not None
    if apart:
        namespaces.fresh_home(settings["home"], settings["limits"])
        namespaces.next_sample_apart()
    alive, held = os.pipe()
    reaper = os.fork()
    if reaper == 0:
        try:
            _keep(settings, state, descriptors, held)
        finally:
            os._exit(96)
    os.close(held)
    for descriptor in descriptors:
        os.close(descriptor)
    if apart:
        namespaces.samples_together(state["own"])
    ready = select.select([control, alive], [], [])[0]
    if alive not in ready:  # the judge is gone, or speaks out of turn: end everything
        os.kill(reaper, signal.SIGKILL)
    os.close(alive)
    os.waitpid(reaper, 0)
    left = 0 if apart else processes.end_children()
    if apart:
        linux.unmount(settings["home"])
    try:
        control.send(json.dumps({"left": left}).encode())
    except OSError:
        os._exit(0)


def _keep(settings, state, descriptors, held):
    """The reaper: first process of the sample. Tells the judge who it is and how the candidate ended, and reaps."""
    channel, status, output = descriptors
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL if state["own"] is not None else signal.SIG_IGN)
    os.setsid()
    if IS_LINUX:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    os.write(status, b"reaper %d\n" % os.getpid())
    first = os.fork()
    if first == 0:
        try:
            _become_candidate(settings, state, channel, output)
        except BaseException as error:
            os.write(3, candidate.frame(json.dumps([0, "unfit", repr(error)[:500]]).encode()))
            os._exit(97)
        candidate.serve(3)
        os._exit(0)
    os.close(channel)
    os.close(output)
    if settings["tier"] != "T0" and IS_LINUX:
        linux.drop_capabilities()
    while True:
        try:
            ended, code = os.waitpid(-1, 0)
        except ChildProcessError:
            os._exit(0)
        if ended == first:
            os.write(status, b"ended %d\n" % code)


def _become_candidate(settings, state, channel, output):
    """From reaper to candidate: own session, three standard streams, the channel as 3, limits, and less power than
    before.
    """
    os.setsid()
    rules = _settle_descriptors(channel, output, state["rules"])
    confine.set_limits(settings["limits"], settings["process_room"])
    os.chdir(settings["home"])
    os.environ.clear()
    os.environ.update(settings["environment"])
    random.seed(0)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if settings["uid"] is not None and not settings["apart"]:  # a room of namespaces has made its own user of it
        namespaces.become(settings["uid"])
    if IS_LINUX:
        _give_up(settings, state, rules)


def _settle_descriptors(channel, output, rules):
    """Leave 0 (empty), 1 and 2 (the capped pipe), 3 (the channel) and for now 4 (the Landlock rules, returned);
    close the rest.
    """
    nothing = os.open("/dev/null", os.O_RDONLY)
    for wanted, descriptor in enumerate((nothing, output, output)):
        os.dup2(descriptor, wanted)
    above = max(channel, output, rules or 0) + 1
    kept = [d for d in (channel, rules) if d is not None]
    for place, descriptor in enumerate(kept):
        os.dup2(descriptor, above + place)
    os.closerange(3, above)
    for place in range(len(kept)):
        os.dup2(above + place, 3 + place, inheritable=False)
    os.closerange(3 + len(kept), 4096)
    return None if rules is None else 4


def _give_up(settings, state, rules):
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.drop_capabilities()
    guards_signals = rules is not None and confine.landlock_version() >= 6
    if rules is not None:
        confine.restrict_files(rules)
        os.close(rules)
    if state["filter"]:
        apart = settings["apart"]
        confine.restrict_calls(shares_files=not apart, shares_processes=not apart and not guards_signals)
