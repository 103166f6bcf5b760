#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# dracut reads this when it builds an initramfs.

check() {
    return 0
}

install() {
    inst @SBINDIR@/networking-config
    # shellcheck disable=SC2154  # dracut sets it
    inst_hook pre-pivot 10 "$moddir/rollback.sh"
}
