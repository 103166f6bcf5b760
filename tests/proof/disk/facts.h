/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef FACTS_H
#define FACTS_H

/* Prints one line for each known sequence and personality: what a power cut after it can leave. */
void print_facts(void);

#endif
