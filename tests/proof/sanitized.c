/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For sanitized.py: most tests start the helper with an environment of their own. */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    return OPTIONS;
}

const char *__ubsan_default_options(void)
{
    return OPTIONS;
}
