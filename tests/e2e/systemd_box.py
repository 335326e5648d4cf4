"""A systemd of its own, in namespaces, over a throw-away layer above this machine's files. Needs root.

It differs from one that has booted a machine in this: it starts little by itself, no timers above all; it
cannot load modules or set the clock; and its network is a loopback.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.programs import eventually

# Where cgroups of version 2 are: beside those of version 1, or alone.
_CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
_UNSHARE = (
    *("unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net"),
    *("--propagation=private", "--fork", "--kill-child"),
)
_BOOT = r"""
set -eu
folder=$0
ip link set lo up
mount -t tmpfs tmpfs $folder
mkdir $folder/changes $folder/work $folder/root
mount -t overlay -o lowerdir=/,upperdir=$folder/changes,workdir=$folder/work overlay $folder/root
cd $folder/root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs tmp
for empty in run dev; do mount -t tmpfs -o mode=755 tmpfs $empty; done
for device in null zero full random urandom tty; do
  touch dev/$device
  mount --bind /dev/$device dev/$device
done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -sf /dev/null etc/systemd/system/timers.target
ln -sf /dev/null etc/systemd/system/paths.target
cat > etc/systemd/system/box.target <<TARGET
[Unit]
Requires=basic.target
After=basic.target
AllowIsolate=yes
TARGET
pivot_root . mnt
umount -l /mnt
mount --make-rshared /
exec env -i PATH=/usr/sbin:/usr/bin container=box \
  setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-sys_boot,-syslog \
  /lib/systemd/systemd --system --unit=box.target --show-status=no
"""


class Ended(NamedTuple):
    """How a command ended and what it said, both streams as one."""

    code: int
    text: str


@dataclass
class Box:
    """A running systemd: `pid` is its process as this machine sees it."""

    pid: int

    def entering(self, *, online: bool = False) -> list[str]:
        """What to put before a command for it to run in the box; `online` with this machine's network."""
        network = [] if online else ["--net"]
        return ["nsenter", f"--target={self.pid}", "--mount", *network]

    def run(self, command: str, *, typed: str = "", online: bool = False) -> Ended:
        """Run a line of shell as root."""
        said = subprocess.run(
            [*self.entering(online=online), "--pid", "sh", "-c", command],
            # What root has at a prompt: not the interpreter of the tests.
            env={name: text for name, text in os.environ.items() if not name.startswith("ENPHASE_EV_")}
            | {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        return Ended(said.returncode, said.stdout)

    def property_of(self, unit: str, name: str) -> str:
        return self.run(f"systemctl show --property={name} --value {unit}").text.strip()

    def journal_of(self, unit: str) -> str:
        """What a service, and systemd of it, have said so far."""
        return self.run(f"journalctl --no-pager --output=cat --unit={unit}").text


@contextmanager
def started_box(folder: Path) -> Iterator[Box]:
    """A systemd that has started nothing yet; all it and its services do to files is gone afterwards."""
    for program in ("systemd-analyze", "nsenter", "ip"):
        if shutil.which(program) is None:
            package = "iproute2" if program == "ip" else "systemd util-linux"
            pytest.fail(f"{program} is missing; on Debian: apt-get install {package}", pytrace=False)
    with _own_cgroup() as cgroup:
        into_cgroup = ("sh", "-c", 'echo $$ > "$0" && exec "$@"', cgroup / "cgroup.procs")
        process = subprocess.Popen(
            [*into_cgroup, *_UNSHARE, "bash", "-c", _BOOT, folder], stdin=subprocess.DEVNULL
        )
        try:
            pid = eventually("systemd has a process", lambda: _child_of(process), within_seconds=10)
            box = Box(pid)
            eventually("systemd is up", lambda: _is_up(box), within_seconds=30)
            yield box
        finally:
            process.kill()  # its child is the first of its PID namespace, with which all others end
            process.wait()


def _child_of(process: "subprocess.Popen[bytes]") -> int | None:
    assert process.poll() is None, f"the box ended with {process.returncode} before it was up"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else None


def _is_up(box: Box) -> bool:
    if Path(f"/proc/{box.pid}/comm").read_text() != "systemd\n":
        return False  # still before the pivot: it would be this machine's own that answers
    # Degraded: what of this machine's own units cannot run in a box is not the matter here.
    return box.run("systemctl is-system-running").text.strip() in ("running", "degraded")


@contextmanager
def _own_cgroup() -> Iterator[Path]:
    root = next(path for path in _CGROUPS if (path / "cgroup.procs").exists())
    cgroup = root / f"systemd-box-{os.getpid()}"
    cgroup.mkdir()
    try:
        yield cgroup
    finally:
        inside = sorted((path for path in cgroup.rglob("*") if path.is_dir()), reverse=True)
        for path in (*inside, cgroup):
            eventually(f"{path} is empty", partial(_is_removed, path), within_seconds=10)


def _is_removed(path: Path) -> bool:
    path.rmdir()
    return True
