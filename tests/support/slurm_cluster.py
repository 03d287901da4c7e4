"""A Slurm of two nodes on this machine, without systemd and accounting."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

CREDENTIAL_SECONDS = 5  # a requeued job waits for about as long, 121 s by default
GRACE_SECONDS = 15
LOST_SECONDS = 10  # until a node that does not answer is down

_COMMANDS = (
    *("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun"),
    "setpriv",
)
_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire={credential_seconds}
CryptoType=crypto/munge
SlurmctldParameters=preempt_send_user_signal
SlurmctldPort={port}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}/ctld
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=1,requeue_delay=1,default_queue_depth=1000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
EnforcePartLimits=ALL
SlurmctldTimeout=30
SlurmdTimeout={lost_seconds}
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first_port}-{last_port}] CPUs=2 \
RealMemory=4000 State=UNKNOWN
PartitionName=low  Nodes=n[1-2] Default=YES MaxTime=1-0 State=UP PriorityTier=1 \
PreemptMode=REQUEUE GraceTime={grace_seconds}
PartitionName=high Nodes=n[1-2] Default=NO  MaxTime=1-0 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=short Nodes=n[1-2] Default=NO MaxTime=0:05:00 State=UP PriorityTier=1
"""


def why_no_cluster() -> str | None:
    """Return why no cluster can be started here; `None` if one can."""
    path = os.environ["PATH"] + ":/usr/sbin"
    missing = [name for name in _COMMANDS if shutil.which(name, path=path) is None]
    if missing:
        return f"no {', '.join(missing)} here: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "daemons of a test cluster run as root only"


@dataclass
class Cluster:
    """A running cluster.

    Attributes:
        folder: The folder of its files.
        environment: The environment for its commands.
    """

    folder: Path
    environment: dict[str, str]
    daemons: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def command(self, *words: str, check: bool = True) -> str:
        """Run one of Slurm's commands, and return its output."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, name: str, *words: str) -> None:
        """Start a daemon that stays in the foreground, and ends with this process."""
        path = {**self.environment, "PATH": self.environment["PATH"] + ":/usr/sbin"}
        with (self.folder / "log" / f"{name}.out").open("ab") as said:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", *words],
                env=path,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        self.start(name, "slurmd", "-D", "-f", str(self.folder / "slurm.conf"), "-N", name)

    def lose_node(self, name: str, *, dies: bool) -> None:
        """Let a node stop answering, while what runs on it goes on.

        Args:
            name: The node.
            dies: Whether its daemons are killed; if not, they hang as when the network is gone.
        """
        daemon = self.daemons[name]
        if not dies:
            daemon.send_signal(signal.SIGSTOP)
            return
        daemon.kill()
        daemon.wait()
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                spool = (entry / "environ").read_bytes() if entry.name.isdecimal() else b""
                if words[0].startswith("slurmstepd") and self._is_ours(spool):
                    os.kill(int(entry.name), signal.SIGKILL)

    def find_node(self, name: str) -> None:
        """Let a lost node answer again."""
        if self.daemons[name].poll() is None:
            self.daemons[name].send_signal(signal.SIGCONT)
        else:
            self.start_node(name)

    def _is_ours(self, environment: bytes) -> bool:
        return os.fsencode(self.environment["SLURM_CONF"]) in environment

    def node_of(self, job: str) -> str:
        """Return the node that runs a job."""
        return self.command("squeue", "--noheader", "--jobs", job, "-o", "%N").strip()

    def wait_until_idle(self, seconds: float = 60) -> None:
        """Wait until both nodes are idle."""
        until = time.monotonic() + seconds
        while (states := self.command("sinfo", "-h", "-N", "-p", "low", "-o", "%T").split()) != [
            "idle",
            "idle",
        ]:
            assert time.monotonic() < until, states
            time.sleep(0.2)

    def stop(self) -> None:
        """End all daemons, and the jobs that they have started."""
        self.command("scancel", "--user=root", check=False)
        for daemon in reversed(self.daemons.values()):
            for number in (signal.SIGCONT, signal.SIGTERM):
                daemon.send_signal(number)
            try:
                daemon.wait(5)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _free_ports(count: int) -> Sequence[int]:
    """Return the first of some consecutive ports that nobody uses."""
    for first in range(21000 + os.getpid() % 5000, 32000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return range(first, first + count)
    msg = "no free ports"
    raise OSError(msg)


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a cluster in a folder, and stop it on leaving."""
    for name in ("log", "run", "ctld", "spool.n1", "spool.n2", "munge"):
        (folder / name).mkdir()
    ports = _free_ports(3)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(
        _CONFIGURATION.format(
            folder=folder,
            host=host,
            port=ports[0],
            first_port=ports[1],
            last_port=ports[2],
            credential_seconds=CREDENTIAL_SECONDS,
            grace_seconds=GRACE_SECONDS,
            lost_seconds=LOST_SECONDS,
        )
    )
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    cluster = Cluster(folder, {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")})
    try:
        _start(cluster, folder, key)
        cluster.wait_until_idle()
        yield cluster
    finally:
        cluster.stop()


def _start(cluster: Cluster, folder: Path, key: Path) -> None:
    munge = folder / "munge"
    options = [f"--key-file={key}", f"--socket={munge}/socket", f"--pid-file={munge}/pid"]
    options += [f"--log-file={munge}/log", f"--seed-file={munge}/seed", "--force"]
    cluster.start("munged", "munged", "--foreground", *options)
    until = time.monotonic() + 20
    while not (munge / "socket").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    cluster.start("slurmctld", "slurmctld", "-D", "-f", str(folder / "slurm.conf"))
    for name in ("n1", "n2"):
        cluster.start_node(name)
