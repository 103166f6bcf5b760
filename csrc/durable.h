/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_DURABLE_H
#define NCF_DURABLE_H

#include "listing.h"

/*
 * Makes durable what of `live` may have been written since `started`, when it
 * was `saved`, but for the entries in `except` (by index), if that is given.
 */
int durable_sync(struct dirs *dirs, const struct listing *saved, struct stamp started,
                 const struct listing *live, const bool *except, struct error *err);

#endif
