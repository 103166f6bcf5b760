# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# For /etc/runit/core-services, which Void's first stage reads in order: behind
# 03-filesystems.sh.  Elsewhere this is a line for /etc/runit/1.
@SBINDIR@/networking-config start
