# What runs in the guest when it has booted: the job on the second disk, which
# ends in a power cut.  The report goes to the second serial line.
section() { echo "== $1"; }
wait_for() {
    n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        [ $n -lt 200 ] || { echo "not in time: $*"; return 1; }
        sleep 0.2
    done
}
has_address() { ip -o -4 addr show dev "$1" | grep -qw "$2"; }
report() {
    section addresses
    ip -o -4 addr show | awk '{ print $2, $4 }'
    section interfaces
    ls -1 /sys/class/net
    section status
    networking-config status
    section state
    ls -1A /var/lib/netcf
    section executed
    sed -n 's/.*filename=\([^ ]*\).*/\1/p' /sys/kernel/tracing/trace
    section log
    dmesg | grep networking-config:
    section files
    files
    if [ -d /run/systemd/system ]; then
        section unit
        systemctl show -p ActiveState -p ExecMainStatus networking-config.service
        section times
        systemctl show -p ExecMainStartTimestampMonotonic \
            -p ExecMainExitTimestampMonotonic networking-config.service
        systemctl show -p ActiveEnterTimestampMonotonic network.target
        section journal
        journalctl -b -q -o cat -u networking-config.service
    fi
}
files() {
    (cd / && find etc/network etc/systemd/network etc/netplan -type f -exec sha256sum {} + | sort)
}
snapshot=/var/lib/netcf/network-snapshot.tar
interfaces=/etc/network/interfaces.d

export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
exec >/dev/ttyS1 2>&1 </dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
cat /dev/vdb >/run/job
. /run/job
echo "== end"
