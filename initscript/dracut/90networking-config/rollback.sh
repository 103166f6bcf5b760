#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# dracut reads this: the new root is mounted and nothing in it runs yet.  /var on
# another filesystem is left to the init of the host.
if [ -e "$NEWROOT/var/lib/netcf/network-snapshot.tar" ]; then
    while read -r _ place _ options _; do
        [ "$place" != "$NEWROOT" ] || was=${options%%,*}
    done </proc/mounts
    mount -o remount,rw "$NEWROOT"
    said=$(@SBINDIR@/networking-config --root "$NEWROOT" start --initramfs 2>&1)
    mount -o "remount,${was:-ro}" "$NEWROOT"
    if [ -n "$said" ]; then
        echo "$said"
        echo "$said" >/dev/kmsg
    fi
fi
