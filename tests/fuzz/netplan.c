/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the parsers of netplan's files and of keyfiles, and the plan: the same
 * claims as interfaces.c, which has so many others to run that few inputs get here.
 */
#define FUZZED &stack_netplan, &stack_networkmanager
#include "interfaces.c"
