"""A machine for the tests to boot: QEMU's software emulation, on disks made from Debian systems."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lib import debian
from lib.images import find, need

# Far more than a boot takes on a busy machine.
PATIENCE = 600

MEBI = 1 << 20


def kernel() -> Path:
    """A Debian system with a kernel, its modules, a static busybox and what makes an initramfs."""
    return debian.system("linux-image-cloud-amd64", "busybox-static", "dracut-core", "nbd-client")


def modules(tree: Path, names: Iterable[str]) -> list[Path]:
    """The files of kernel modules and of what they need, in the order to load them."""
    [base] = (tree / "usr/lib/modules").iterdir()
    needs = {}
    for line in (base / "modules.dep").read_text().splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
    wanted: list[Path] = []
    for name in names:
        [file] = [file for file in needs if re.split(r"[./]", file)[-2] == name]
        wanted += [base / one for one in [*reversed(needs[file]), file]]
    return list(dict.fromkeys(wanted))


def archive(files: dict[str, Path | bytes], links: dict[str, str] | None = None) -> bytes:
    """An initramfs: a cpio archive of files, all executable, and symbolic links."""
    out = b""
    names: dict[str, tuple[int, bytes]] = {}
    for name, what in files.items():
        names[name] = (0o100755, what if isinstance(what, bytes) else what.read_bytes())
    for name, target in (links or {}).items():
        names[name] = (0o120777, target.encode())
    for name in list(names):
        for parent in reversed(Path(name).parents[:-1]):
            names.setdefault(str(parent), (0o040755, b""))
    entries = sorted(names.items()) + [("TRAILER!!!", (0, b""))]
    for inode, (name, (mode, content)) in enumerate(entries, 1):
        fields = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + content
        out += b"\0" * (-len(out) % 4)
    return out


def disk(image: Path, size: int, tree: Path | None = None) -> None:
    """An ext4 file system in a file, with a tree in it."""
    need("mke2fs")
    command = [find("mke2fs"), "-q", "-F", "-t", "ext4", "-L", image.stem, "-E", "lazy_itable_init=1,discard"]
    command += ["-d", str(tree)] if tree else []
    subprocess.run([*command, str(image), str(size // 1024)], check=True)


@contextmanager
def as_the_next_boot(image: Path) -> Iterator[Path]:
    """A copy of an image, its journal replayed as mounting will do it."""
    need("e2fsck", "debugfs")
    copy = image.with_suffix(".copy")
    subprocess.run(["cp", "--sparse=always", image, copy], check=True)
    # 1: it had something to do.
    checked = subprocess.run([find("e2fsck"), "-fy", copy], capture_output=True, check=False)
    assert checked.returncode in (0, 1), checked.stdout
    try:
        yield copy
    finally:
        copy.unlink()


def files_of_disk(image: Path, directory: str, where: Path) -> Path:
    """A directory of the file system in an image as the next boot will find it, copied out."""
    out = where / "copy"
    out.mkdir()
    with as_the_next_boot(image) as copy:
        subprocess.run([find("debugfs"), "-R", f"rdump {directory} {out}", copy], capture_output=True, check=True)
    return out / Path(directory).name


def sector_of_file(image: Path, file: str) -> int:
    """Where the content of a file begins in an image."""
    with as_the_next_boot(image) as copy:
        blocks = subprocess.run([find("debugfs"), "-R", f"blocks {file}", copy], capture_output=True, text=True, check=True)
    with open(image, "rb") as disk:
        disk.seek(1024 + 24)  # of the superblock: how much larger than 1 KiB a block is
        shift = int.from_bytes(disk.read(4), "little")
    return int(blocks.stdout.split()[0]) * (1024 << shift) // 512


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def network_disk(image: Path, port: int) -> Iterator[None]:
    """An image, served by nbd on a port of this machine."""
    need("qemu-storage-daemon")
    server = subprocess.Popen(
        [
            find("qemu-storage-daemon"), "--blockdev", f"driver=file,node-name=file,filename={image}",
            "--blockdev", "driver=raw,node-name=root,file=file",
            "--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
            "--export", "type=nbd,id=root,node-name=root,name=root,writable=on",
        ],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        server.kill()
        server.wait()


@dataclass
class Boot:
    """What a machine showed until its power was cut."""

    console: str
    report: str
    seconds: float

    @property
    def kernels(self) -> int:
        """How often a kernel started."""
        return len(re.findall(r"\] Linux version ", self.console))

    def section(self, name: str) -> list[str]:
        """The lines of the report between "== NAME" and the next such line."""
        [text] = re.findall(rf"^== {re.escape(name)}\n(.*?)(?=^== |\Z)", self.report, re.M | re.S)
        return text.splitlines()


class Machine:
    """One machine, whose disks outlive its boots."""

    def __init__(self, place: Path, initrd: bytes, disks: list[Path]) -> None:
        need("qemu-system-x86_64")
        place.mkdir(exist_ok=True)
        self.place = place
        self.disks = disks
        self.count = 0
        [self.kernel] = (kernel() / "boot").glob("vmlinuz-*")
        self.initrd = place / "initrd"
        self.initrd.write_bytes(initrd)

    @contextmanager
    def root(self) -> Iterator[Path]:
        """The file system of the first disk, while the machine is off."""
        need("mount", "umount")
        place = self.place / "root"
        place.mkdir(exist_ok=True)
        subprocess.run([find("mount"), "-o", "loop", self.disks[0], place], check=True)
        try:
            yield place
        finally:
            subprocess.run([find("umount"), place], check=True)

    def boot(
        self, job: str, *, line: str = "", until: str = "== end\n", slow: str = "", then: float = 0,
        initrd: Path | None = None, clock: str = "utc", network_root: bool = False, bad: dict[Path, int] | None = None,
    ) -> Boot:
        """Power on; cut the power when the report, or the console, contains `until`.

        The guest finds `job` on its second disk.  `slow` throttles the first one,
        `clock` is what its hardware clock says at first.  With `network_root` the
        first disk is an empty one, and the root is served by nbd, at $nbd in `line`.
        `bad` is a sector of an image that can't be read.
        """
        self.count += 1
        console, report, script = (self.place / f"{self.count}.{name}" for name in ("console", "report", "job"))
        script.write_bytes(job.encode().ljust(1 << 16, b"\n"))
        report.touch()
        console.touch()
        first = self.disks[0]
        if network_root:
            first = self.place / "empty.img"
            first.write_bytes(bytes(MEBI))
            port = free_port()
            # This machine as the guest's network sees it.
            line = line.replace("$nbd", f"10.0.2.2:{port}/root")
        # On a busy machine an emulated timer is too slow for the kernel's check of it.
        command = [
            find("qemu-system-x86_64"), "-accel", "tcg", "-cpu", "max", "-m", "512", "-nodefaults",
            "-display", "none", "-kernel", self.kernel, "-initrd", initrd or self.initrd, "-rtc", f"base={clock}",
            "-append", f"console=ttyS0 panic=-1 no_timer_check root=/dev/vda ro trace_event=sched:sched_process_exec {line}",
            "-serial", f"file:{console}", "-serial", f"file:{report}",
            "-netdev", f"user,id=net,restrict={'off' if network_root else 'on'}", "-device", "virtio-net-pci,netdev=net,mac=52:54:00:00:00:01",
        ]  # fmt: skip
        for number, image in enumerate([first, script, *self.disks[1:]]):
            throttle = f",throttling.iops-write={slow}" if slow and number == 0 else ""
            file = f"file={image}"
            if bad and image in bad:
                error = f"event=none,file.inject-error.0.iotype=read,file.inject-error.0.sector={bad[image]}"
                file = f"file.driver=blkdebug,file.image.driver=file,file.image.filename={image},file.inject-error.0.{error}"
            command += ["-drive", f"{file},format=raw,if=virtio,discard=unmap{throttle}"]
        started = time.monotonic()
        with ExitStack() as stack:
            if network_root:
                stack.enter_context(network_disk(self.disks[0], port))
            errors = stack.enter_context(open(self.place / f"{self.count}.qemu", "wb"))
            emulator = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
            stack.callback(emulator.wait)
            stack.callback(emulator.kill)
            while until not in (seen := report.read_text(errors="replace") + console.read_text(errors="replace")):
                assert "Kernel panic" not in seen, seen[-6000:]
                assert emulator.poll() is None, (self.place / f"{self.count}.qemu").read_text()
                assert time.monotonic() - started < PATIENCE, seen[-3000:]
                time.sleep(0.1)
            time.sleep(then)
        return Boot(
            console.read_text(errors="replace").replace("\r", ""),
            report.read_text(errors="replace").replace("\r", ""),
            time.monotonic() - started,
        )


def initramfs() -> bytes:
    """An initramfs that finds the root on the first disk and starts `init=` there."""
    tree = kernel()
    files: dict[str, Path | bytes] = {"bin/busybox": tree / "bin/busybox"}
    load = ""
    for module in modules(tree, ["virtio_pci", "virtio_blk"]):
        files[f"modules/{module.name}"] = module
        load += f"insmod /modules/{module.name}\n"
    files["init"] = (
        "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nexport PATH=/bin\n"
        "mkdir -p /dev /proc /root\nmount -t devtmpfs dev /dev\nmount -t proc proc /proc\n" + load +
        "init=/sbin/init\nfor word in $(cat /proc/cmdline); do\n"
        "case $word in init=*) init=${word#init=} ;; esac\ndone\n"
        "mount -o ro /dev/vda /root\numount /proc\nmount -o move /dev /root/dev\n"
        "exec switch_root /root $init\n"
    ).encode()  # fmt: skip
    return archive(files)


def strip(tree: Path) -> None:
    """Remove what no boot reads."""
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/i18n", "var/cache/apt", "var/lib/apt/lists", "usr/share/perl", "usr/share/info"):
        shutil.rmtree(tree / name, ignore_errors=True)


def add_modules(tree: Path, names: Iterable[str]) -> None:
    """Kernel modules where udev finds them."""
    source = kernel()
    [base] = (source / "usr/lib/modules").iterdir()
    target = tree / "usr/lib/modules" / base.name
    target.mkdir(parents=True)
    for module in modules(source, names):
        place = target / module.relative_to(base)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(module, place)
    for name in ("modules.builtin", "modules.order", "modules.builtin.modinfo"):
        shutil.copy(base / name, target)
    debian.inside(tree, "depmod", base.name)
