#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The new root is mounted and nothing in it runs yet.  /var on another
# filesystem is left to the init of the host.
if [ -e "$NEWROOT/var/lib/netcf/network-snapshot.tar" ]; then
    mount -o remount,rw "$NEWROOT"
    @SBINDIR@/networking-config --root "$NEWROOT" start
fi
