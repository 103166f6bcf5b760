/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the host to play in has at first, for both that there are of it: in real
 * files (scratch.c), and on the disk in memory (memory.c).
 */
#ifndef BASELINE_H
#define BASELINE_H

#include "path.h"

#include <sys/types.h>

static const struct {
    const char *path, *content; /* no content: a directory */
    mode_t mode;
} baseline[] = {
    { "etc", NULL, 0755 },
    { "etc/netcf", NULL, 0755 },
    { "etc/netcf/scope.d", NULL, 0755 },
    { "etc/netplan", NULL, 0755 },
    { "etc/netplan/a.yaml", "network: {version: 2}\n", 0600 },
    { "etc/network", NULL, 0755 },
    { "etc/network/interfaces", "auto lo\niface lo inet loopback\n", 0644 },
    { "etc/network/interfaces.d", NULL, 0755 },
    { "etc/network/interfaces.d/a", "auto eth0\n", 0644 },
    { "etc/network/interfaces.d/b", "", 0644 },
    { "etc/network/interfaces.d/deep", NULL, 0750 },
    { "etc/network/interfaces.d/deep/c", "iface eth0 inet dhcp\n", 0644 },
    { "etc/shadow", "root:*:1:\n", 0640 },
    { "etc/systemd", NULL, 0755 },
    { "var", NULL, 0755 },
    { "var/lib", NULL, 0755 },
    { PATH_STATE, NULL, 0700 },
};
enum { BASELINE = sizeof(baseline) / sizeof(baseline[0]) };
#define SHADOW "etc/shadow"

const char *const scratch_files[] = {
    "etc/netplan/a.yaml", "etc/netplan/linked", "etc/network/interfaces", "etc/network/interfaces.d/a",
    "etc/network/interfaces.d/b", "etc/network/interfaces.d/deep/c", SHADOW, NULL,
};

#endif
