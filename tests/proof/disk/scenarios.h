/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SCENARIOS_H
#define SCENARIOS_H

#include <stdbool.h>

struct scenario {
    const char *name;
    void (*setup)(void); /* the host as it was */
    void (*edit)(void);  /* what the user does in the change; announces where that is needed */
    bool on_write;       /* saving on first write: directories keep no times */
    bool coarse_clock;   /* it stands still from the setup to the end of the edits */
};

extern const struct scenario scenarios[];

/* Whether the user's tools sync what they write. */
extern bool editor_syncs;
/* Saves a path in a change of that kind; 0 or -1. */
int announce(const char *path);

#endif
