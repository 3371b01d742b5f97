"""What the scripts of this folder share: brokers, processes, and how figures are written."""

import json
import os
import pathlib
import pwd
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
DOCUMENT = ROOT / "docs" / "BENCHMARKS.md"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
FILES_MAX = 20_000


class Broker:
    """A broker that can be started for one run."""

    name = ""
    program = ""
    scenarios = None
    """The scenarios that it takes part in; None: all."""

    def __init__(self, program=None):
        self.path = shutil.which(program or self.program)

    def command(self, port, folder):
        raise NotImplementedError

    def version(self):
        raise NotImplementedError


class Outpost(Broker):
    """Every limit that a scenario comes near to is raised, as it is for the others; the store
    works as always."""

    name = "outpost"
    program = str(TARGET / "outpost")
    commit_interval_ms = 20

    def command(self, port, folder):
        config = folder / "outpost.toml"
        config.write_text(
            f'[[listener]]\naddress = "127.0.0.1:{port}"\n'
            f'[store]\npath = "{folder / "data"}"\n'
            f"commit_interval_ms = {self.commit_interval_ms}\n"
            "[limits]\nreceive_maximum = 65535\ninflight_max = 65535\n"
            "queue_messages_max = 10000000\nqueue_bytes_max = \"4 GiB\"\n"
            "queue_total_bytes_max = \"4 GiB\"\nsubscriptions_per_session_max = 1000000\n"
            "retained_messages_max = 1000000\nretained_bytes_max = \"1 GiB\"\n"
            "[sys]\ninterval_s = 0\n[log]\nlevel = \"error\"\n"
        )
        return [self.path, "run", "-c", str(config)]

    def version(self):
        return first_line([self.path, "version"])


def first_line(command):
    run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return (run.stdout + run.stderr).strip().splitlines()[0]


def current_user():
    return pwd.getpwuid(os.getuid()).pw_name


def pinned(command, core):
    return ["taskset", "-c", str(core), *command] if (os.cpu_count() or 1) >= 2 else command


def come_first():
    """Puts the process that it is called in before the others of a shared machine. Linux weighs
    sessions first (autogroup), then the processes of each."""
    os.setsid()
    os.nice(-20)
    autogroup = pathlib.Path("/proc/self/autogroup")
    if autogroup.exists():
        autogroup.write_text("-20")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def launch(broker, folder, port, prepare=None):
    """The process, which may not listen yet."""
    with open(folder / "broker.log", "a", encoding="utf-8") as log:
        return subprocess.Popen(pinned(broker.command(port, folder), 1), stdout=log, stderr=log,
                                cwd=folder, preexec_fn=prepare)


def start(broker, folder, prepare=None):
    """The process, once it accepts connections, and its port."""
    port = free_port()
    process = launch(broker, folder, port, prepare)
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process, port
        except OSError:
            time.sleep(0.01)
    stop(process)
    raise RuntimeError(f"{broker.name} did not start: {(folder / 'broker.log').read_text()}")


def stop(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def drive(command, timeout_s, prepare=None):
    """Runs the generator; what it says, or why there is nothing."""
    try:
        done = subprocess.run(pinned(command, 0), capture_output=True, text=True,
                              timeout=timeout_s, check=False, preexec_fn=prepare)
    except subprocess.TimeoutExpired:
        return {"error": f"no end in {timeout_s} s"}
    if done.returncode != 0:
        return {"error": (done.stderr.strip().splitlines() or ["no word of why"])[0]}
    return json.loads(done.stdout)


class Others:
    """How many cores other processes keep busy from now on."""

    def __init__(self):
        self.begin, (self.machine, self.children) = time.monotonic(), busy_s()

    def busy(self):
        machine_end, children_end = busy_s()
        others = (machine_end - self.machine) - (children_end - self.children)
        return others / (time.monotonic() - self.begin)


def busy_s():
    """CPU seconds of the whole machine, and of the children that have been waited for."""
    fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, fields)
    ticks = user + nice + system + irq + softirq + steal
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ticks / os.sysconf("SC_CLK_TCK"), children.ru_utime + children.ru_stime


def number(value):
    if value >= 1_000_000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else "0"


def cell(found):
    if not found:
        return "–"
    low, middle, high = (number(v) for v in (min(found), statistics.median(found), max(found)))
    return middle if low == high else f"{middle} [{low}…{high}]"


def ratio(ours, theirs):
    if not ours or not theirs or statistics.median(theirs) == 0:
        return "–"
    return f"{statistics.median(ours) / statistics.median(theirs):.3f}"


def machine():
    model = next((line.split(":")[1].strip()
                  for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown CPU")
    return f"{os.cpu_count()} cores ({model}), Linux {os.uname().release}"


def write(tables, name):
    """Between the markers of this name in the document."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = DOCUMENT.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"{DOCUMENT}: the markers {begin} and {end} must each stand there once")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    DOCUMENT.write_text(f"{before}{begin}\n\n{tables}\n\n{end}{after}", encoding="utf-8")


def raise_files_limit():
    """For the broker and the generator, which inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES_MAX:
        limit = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
