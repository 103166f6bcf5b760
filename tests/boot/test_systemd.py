"""Debian with systemd, /var on a disk of its own: power cuts at every kind of change."""

from __future__ import annotations

import re

import pytest

from lib import machine
from lib.machine import Boot, Machine

from . import guests

pytestmark = [pytest.mark.system, pytest.mark.slow]

LINE = "net.ifnames=0"

# As a login session does it whose processes are killed when it ends.
GUARDED = """
section guarded
systemd-run --quiet --scope --unit=session sh -c 'networking-config snapshot_config --timeout 600; touch /run/started; sleep 600' >/dev/null &
wait_for test -e /run/started
systemctl kill --signal=KILL session.scope
cat /proc/$(pidof networking-config)/cgroup
ifdown eth0
sed -i s/10.0.0.1/10.0.0.55/ $interfaces/eth0
ifup eth0
wait_for has_address eth0 10.0.0.55
networking-config extend 1
wait_for has_address eth0 10.0.0.1
wait_for sh -c "! networking-config status --open"
networking-config status
ip -o -4 addr show dev eth0 | awk '{ print $4 }'
wait_for sh -c "! pidof networking-config"
journalctl --sync
journalctl -b -q -o cat -t networking-config
rm -r /var/lib/netcf
"""

# To memory; the hardware clock wakes it when the deadline is past.
SUSPENDED = """
section suspended
running() { sed -n 's/^now at \\([0-9]*\\)[0-9]\\{9\\} nsecs/\\1/p' /proc/timer_list; }
networking-config snapshot_config --timeout 10 >/dev/null
sed -i s/10.0.0.1/10.0.0.44/ $interfaces/eth0
slept=$(cut -d. -f1 /proc/uptime) ran=$(running)
rtcwake -m mem -s 15 >/dev/null
echo $(($(cut -d. -f1 /proc/uptime) - slept)) $(($(running) - ran))
wait_for sh -c "! networking-config status --open"
echo $(($(running) - ran))
cat $interfaces/eth0
rm -r /var/lib/netcf
"""

TRIAL = """
networking-config snapshot_config --timeout 300 --trial-boots 1
sed -i s/10.0.0.1/10.0.0.55/ $interfaces/eth0
sync
"""

AFTER_TRIAL = """
section guarded
cat /proc/$(pidof networking-config)/cgroup
networking-config extend 1
wait_for sh -c "! networking-config status --open"
networking-config status
cat $interfaces/eth0
ip -o -4 addr show dev eth0 | awk '{ print $4 }'
wait_for sh -c "! pidof networking-config"
journalctl --sync
journalctl -b -q -o cat -t networking-config
rm -r /var/lib/netcf
"""

WRONG_ADDRESS = """
networking-config snapshot_config --note "new address"
sed -i s/10.0.0.1/10.0.0.99/ $interfaces/eth0
echo "iface added inet manual" >$interfaces/added
rm $interfaces/spare
section wrong
files
sync
"""

DAMAGED = """
networking-config snapshot_config
sed -i s/10.0.0.1/10.0.0.98/ $interfaces/eth0
printf X | dd of=$snapshot bs=1 seek=2000 conv=notrunc status=none
section wrong
files
sync
"""

AFTER_DAMAGE = """
section evidence
ls $snapshot
section dropped
networking-config commit_config
sed -i s/10.0.0.98/10.0.0.1/ $interfaces/eth0
networking-config snapshot_config
section running
systemctl start systemd-tmpfiles-clean.service
systemctl start networking-config.service
systemctl restart networking-config.service
systemctl isolate --no-block multi-user.target
sleep 2
networking-config status --open && echo still open
section prepared
networking-config commit_config
"""

HOTPLUG = """
sed -i s/auto/allow-hotplug/ $interfaces/eth0
networking-config snapshot_config
sed -i -e /allow-hotplug/d -e s/10.0.0.1/10.0.0.97/ $interfaces/eth0
sync
"""

LINK = """
networking-config snapshot_config
printf '[Match]\\nMACAddress=52:54:00:00:00:01\\n[Link]\\nName=wrong0\\n' >/etc/systemd/network/10-wrong.link
sync
"""

NETPLAN = """
rm $interfaces/eth0
cat >/etc/netplan/eth0.yaml <<EOF
network:
  renderer: networkd
  ethernets:
    eth0:
      addresses: [10.0.0.1/24]
EOF
chmod 600 /etc/netplan/eth0.yaml
networking-config snapshot_config
sed -i -e s/10.0.0.1/10.0.0.96/ -e s/networkd/NetworkManager/ /etc/netplan/eth0.yaml
sync
"""

GENERATED = """
section generated
find /run/systemd/network /run/NetworkManager /run/udev/rules.d -type f
"""

MANY = """
for n in $(seq 100 299); do echo "iface good$n inet manual" >$interfaces/many$n; done
section right
files
section many
networking-config snapshot_config
for n in $(seq 100 299); do echo "iface wrong$n inet manual" >$interfaces/many$n; done
sync
"""

# One of two files can't be restored where /etc/fstab mounts its directory read-only.
FAILS = """
networking-config snapshot_config
sed -i s/10.0.0.1/10.0.0.95/ /etc/netplan/eth0.yaml
echo "iface wrong inet manual" >$interfaces/many100
echo "$interfaces $interfaces none bind,ro 0 0" >>/etc/fstab
section wrong
files
sync
"""

EVIDENCE = """
section evidence
ls -1A /var/lib/netcf
"""

MENDED = """
section mended
umount $interfaces
sed -i /bind,ro/d /etc/fstab
sync
"""

UP = "wait_for has_address eth0 10.0.0.1\nreport\n"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine before its first boot."""
    return guests.with_systemd(tmp_path_factory.mktemp("systemd"), own_var=True)


@pytest.fixture(scope="module")
def boots(guest: Machine) -> dict[str, Boot]:
    """One boot after the other; each reports and prepares the next, and ends in a power cut."""
    jobs = {
        "nothing open": UP + GUARDED + SUSPENDED + TRIAL,
        "trial": "wait_for has_address eth0 10.0.0.55\nreport\n" + AFTER_TRIAL + WRONG_ADDRESS,
        "wrong address": UP + DAMAGED,
        "damaged": "report\n" + AFTER_DAMAGE + HOTPLUG,
        "hotplug": UP + LINK,
        "link": UP + NETPLAN,
        "netplan": UP + GENERATED + MANY,
    }
    done = {name: guest.boot(job, line=LINE) for name, job in jobs.items()}
    done["cut again"] = guest.boot(
        "", line=LINE, until="Starting \x1b[0;1;39mnetworking-config", slow="30", then=4
    )
    done["halfway"] = Boot("", "\n".join(many(guest)), 0)
    done["after two cuts"] = guest.boot("report\n", line=LINE)
    done["second"] = guest.boot(UP.replace("wait", "#") + FAILS, line=LINE)
    root, var = guest.disks
    snapshot = machine.sector_of_file(var, "/lib/netcf/network-snapshot.tar")
    done["bad snapshot"] = guest.boot(UP.replace("wait", "#") + EVIDENCE, line=LINE, bad={var: snapshot})
    file = machine.sector_of_file(root, "/etc/netplan/eth0.yaml")
    done["fails"] = guest.boot(UP + EVIDENCE + MENDED, line=LINE, bad={root: file})
    done["tries again"] = guest.boot("report\n", line=LINE)
    done["masked"] = guest.boot("report\n", line=LINE + " systemd.mask=networking-config.service")
    return done


def many(guest: Machine) -> list[str]:
    """What the next boot will find in the many files, read from a copy of the disk."""
    files = machine.files_of_disk(guest.disks[0], "/etc/network/interfaces.d", guest.place)
    return [path.read_text() for path in sorted(files.glob("many*"))]


def before_networking(boot: Boot) -> bool:
    """The kernel started the helper before anything that reads network configuration."""
    executed = boot.section("executed")
    helper = executed.index("/usr/sbin/networking-config")
    readers = {"/sbin/ifup", "/usr/sbin/ifup", "/lib/systemd/systemd-networkd"} & set(executed)
    return bool(readers) and all(helper < executed.index(reader) for reader in readers)


def test_with_nothing_open(boots: dict[str, Boot], capsys: pytest.CaptureFixture[str]) -> None:
    """The helper ran, said nothing, made nothing; what it costs is printed."""
    boot = boots["nothing open"]
    assert "ActiveState=active" in boot.section("unit")
    assert boot.section("state") == ["ls: cannot access '/var/lib/netcf': No such file or directory"]
    assert boot.section("log") == []
    assert not [line for line in boot.section("journal") if "networking-config:" in line]
    assert before_networking(boot)
    with capsys.disabled():
        for name in ("second", "masked"):
            print(f"\n{name}: {' '.join(boots[name].section('times'))}", end="")


def test_a_guard_outlives_its_session_and_brings_the_host_back(boots: dict[str, Boot]) -> None:
    """As a service of its own; at the deadline files and address are as before, and the log says why."""
    cgroup, *said = boots["nothing open"].section("guarded")
    assert re.fullmatch(r"0::/system\.slice/netcf-guard-[0-9a-f]{16}\.service", cgroup)
    assert "10.0.0.1/24" in said
    assert "10.0.0.55/24" not in said
    assert "No open transaction" in said
    assert [line for line in said if "its deadline has passed" in line and "1 changed" in line]


def test_suspend_counts_towards_the_deadline(boots: dict[str, Boot]) -> None:
    """A machine that sleeps past its deadline rolls back as soon as it wakes."""
    times, ran, *eth0 = boots["nothing open"].section("suspended")
    passed, running = map(int, times.split())
    assert passed >= 14 and running <= 5, "it did not sleep"
    assert int(ran) < 10, "only running counted"
    assert "    address 10.0.0.1/24" in eth0


def test_a_trial_boot(boots: dict[str, Boot]) -> None:
    """The boot keeps the new configuration, guarded by a service; at the deadline all comes back."""
    boot = boots["trial"]
    assert boot.section("addresses") == ["lo 127.0.0.1/8", "eth0 10.0.0.55/24"]
    assert [line for line in boot.section("journal") if "this boot is a trial" in line]
    assert [line for line in boot.section("status") if "rolls back by itself" in line]
    assert not [line for line in boot.section("status") if "no guard" in line]
    cgroup, *said = boot.section("guarded")
    assert re.fullmatch(r"0::/system\.slice/netcf-guard-[0-9a-f]{16}\.service", cgroup)
    assert "No open transaction" in said
    assert "    address 10.0.0.1/24" in said
    assert "10.0.0.1/24" in said
    assert "10.0.0.55/24" not in said
    assert [line for line in said if "its deadline has passed" in line]
    assert not [line for line in said if "but not" in line]


def test_wrong_address_added_and_removed_file(boots: dict[str, Boot]) -> None:
    """After a power cut the files are exact and the old address is on the interface."""
    boot = boots["wrong address"]
    assert boot.section("files") == boots["nothing open"].section("files")
    assert boots["trial"].section("wrong") != boot.section("files")
    assert boot.section("addresses") == ["lo 127.0.0.1/8", "eth0 10.0.0.1/24"]
    assert boot.section("status") == ["No open transaction"]
    assert boot.section("state") == ["network-rollback-00000001.tar"]
    assert before_networking(boot)


def test_one_line_says_what_was_done(boots: dict[str, Boot]) -> None:
    """In the journal and on the console: which change, how many paths, where the replaced files are."""
    line = (
        r"networking-config: rolled back change [0-9a-f]{16}: 3 paths restored \(1 changed, 1 removed, "
        r"1 added, 0 metadata\); the replaced files are in /var/lib/netcf/network-rollback-00000001\.tar"
    )
    boot = boots["wrong address"]
    assert len(re.findall(line, "\n".join(boot.section("journal")))) == 1
    assert len(re.findall(line, boot.console)) == 1


def test_damaged_snapshot(boots: dict[str, Boot]) -> None:
    """The boot goes on, the unit has failed, console and journal say why; nothing was touched."""
    boot = boots["damaged"]
    assert boot.section("files") == boots["wrong address"].section("wrong")
    assert boot.section("unit") == ["ExecMainStatus=1", "ActiveState=failed"]
    assert boot.section("addresses") == ["lo 127.0.0.1/8", "eth0 10.0.0.98/24"]
    assert boot.section("evidence") == ["/var/lib/netcf/network-snapshot.tar"]
    assert [line for line in boot.section("journal") if "snapshot is damaged" in line]
    assert "snapshot is damaged" in boot.console


def test_a_failed_unit_is_not_run_on_the_running_host(boots: dict[str, Boot]) -> None:
    """Whatever is started later, a change that was opened meanwhile stays open."""
    running = boots["damaged"].section("running")
    assert "still open" in running
    assert len([line for line in running if "Operation refused" in line]) == 2


def test_hotplug_that_udev_did_not_see(boots: dict[str, Boot]) -> None:
    """An interface that only the restored files call allow-hotplug comes up."""
    assert "eth0 10.0.0.1/24" in boots["hotplug"].section("addresses")
    assert "not in time" not in boots["hotplug"].report


def test_interface_named_by_a_wrong_link_file(boots: dict[str, Boot]) -> None:
    """The host boots again, once, and the interface has its name."""
    boot = boots["link"]
    assert boot.kernels == 2
    assert "wrong0: renamed from eth0" in boot.console
    assert boot.console.count("booting again") == 1
    assert boot.section("interfaces") == ["eth0", "lo"]
    assert "eth0 10.0.0.1/24" in boot.section("addresses")


def test_netplan(boots: dict[str, Boot]) -> None:
    """What the generator made of the wrong files is gone; networkd, which they did not want, is started."""
    boot = boots["netplan"]
    assert boot.kernels == 1
    assert "/run/systemd/network/10-netplan-eth0.network" in boot.section("generated")
    assert not [path for path in boot.section("generated") if "NetworkManager" in path]
    assert boot.section("addresses") == ["lo 127.0.0.1/8", "eth0 10.0.0.1/24"]
    assert before_networking(boot)


def test_power_cut_during_the_restore(boots: dict[str, Boot], capsys: pytest.CaptureFixture[str]) -> None:
    """The next boot finishes what the cut one began."""
    halfway = boots["halfway"].report
    good, wrong = halfway.count("good"), halfway.count("wrong")
    with capsys.disabled():
        print(f"\nat the second power cut {good} files were restored, {wrong} not yet", end="")
    assert good + wrong == 200
    assert wrong > 0
    boot = boots["after two cuts"]
    assert boot.section("files") == boots["netplan"].section("right")
    assert boot.section("status") == ["No open transaction"]


def test_a_second_boot_does_nothing(boots: dict[str, Boot]) -> None:
    """The change is closed: nothing is said, nothing differs."""
    first, second = boots["after two cuts"], boots["second"]
    assert second.section("state") == first.section("state")
    assert second.section("files") == first.section("files")
    assert not [line for line in second.section("journal") if "networking-config:" in line]


def test_a_snapshot_with_a_bad_sector(boots: dict[str, Boot]) -> None:
    """The boot goes on, the unit has failed, console and journal say why; nothing was touched, and it is kept."""
    boot = boots["bad snapshot"]
    assert "I/O error, dev vdc" in boot.console
    assert boot.section("files") == boots["second"].section("wrong")
    assert boot.section("unit") == ["ExecMainStatus=1", "ActiveState=failed"]
    assert "network-snapshot.tar" in boot.section("evidence")
    [line] = [line for line in boot.section("journal") if line.startswith("networking-config: ")]
    assert "network-snapshot.tar: I/O error; no configuration file was touched, the snapshot is kept" in line
    assert line in boot.console


def test_a_wrong_file_with_a_bad_sector(boots: dict[str, Boot]) -> None:
    """With the snapshot readable again, it is replaced without being kept, and the address is the old one."""
    boot = boots["fails"]
    assert "I/O error, dev vda" in boot.console
    assert "eth0 10.0.0.1/24" in boot.section("addresses")
    note = "networking-config: note: etc/netplan/eth0.yaml: could not be read, so it was replaced without being kept"
    assert note in boot.section("journal")
    assert note in boot.console


def test_a_file_that_cannot_be_restored(boots: dict[str, Boot]) -> None:
    """What can be restored is, the rest is as it was; said at the console; the boot goes on."""
    right, wrong = (boots["second"].section(name) for name in ("files", "wrong"))
    boot = boots["fails"]
    assert set(boot.section("files")) - set(right) == {line for line in wrong if line.endswith("/many100")} - set(right)
    assert boot.section("unit") == ["ExecMainStatus=1", "ActiveState=failed"]
    assert "eth0 10.0.0.1/24" in boot.section("addresses")
    assert "network-snapshot.tar" in boot.section("evidence")
    [line] = [line for line in boot.section("journal") if line.startswith("networking-config: start")]
    assert "etc/network/interfaces.d/many100: Read-only file system" in line
    assert line in boot.console


def test_the_next_boot_tries_again(boots: dict[str, Boot]) -> None:
    """With the cause mended all is restored, and the change is closed."""
    boot = boots["tries again"]
    assert boot.section("files") == boots["second"].section("files")
    assert boot.section("unit") == ["ExecMainStatus=0", "ActiveState=active"]
    assert boot.section("status") == ["No open transaction"]


def test_the_root_was_read_only_at_first(boots: dict[str, Boot]) -> None:
    """It was mounted so, and the helper waited until systemd had mounted it again for writing."""
    boot = boots["wrong address"]
    assert boot.console.index("EXT4-fs (vda): re-mounted") < boot.console.index("rolled back change")
