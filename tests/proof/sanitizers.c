/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What AddressSanitizer does where nobody set its environment: the guard, programs in a
 * root of their own.  LeakSanitizer can't look under strace, and in Python sees Python's
 * leaks: core/test_short_memory.py and proof/test_valgrind.py look for ours.
 */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0:abort_on_error=1:log_path=" REPORTS;
}

const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1:abort_on_error=1:log_path=" REPORTS;
}
