/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_BOOT_H
#define NCF_BOOT_H

#include "ncf.h"

#include <stdbool.h>
#include <stdint.h>

/* What acted on the wrong files before the helper could. */
struct boot {
    bool ifupdown, netplan; /* their files differ */
    bool names;             /* interfaces may have names and addresses of the wrong .link files */
    uint64_t generated;     /* what netplan's generator told udev */
    char failed[256];       /* what could not be undone; "" if nothing */
};

/* Before the rollback, for what can only be undone with the wrong files. */
void boot_before(struct boot *ret, struct netcf *ncf);

/* After they are restored.  True: only another boot undoes the rest. */
bool boot_after(struct boot *b);

/* Boots again.  Returns false, with the reason in `failed`, where that is not possible. */
bool boot_again(struct boot *b);

/* One line for the kernel's log and, with `console`, for the console. */
void boot_tell(const char *line, bool good, bool console);

#endif
