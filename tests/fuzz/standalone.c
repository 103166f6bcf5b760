/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a fuzz target on files and those of directories, without libFuzzer; with
 * --edits also on each of them with each byte taken away, replaced by and preceded
 * by those that mean something in some format, cut there, and without each line.
 */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>

static const uint8_t bytes[] = "\n \t\r%/\\0179afz-.#[]{}:,'\"*!|>&=\x80\xff"; /* and NUL */

static bool edit;

/* With `n` bytes from `at` on replaced by `m` others. */
static void run_edited(const uint8_t *data, size_t size, size_t at, size_t n, const uint8_t *by, size_t m)
{
    uint8_t *copy = malloc(size - n + m + !(size - n + m));

    memcpy(copy, data, at);
    memcpy(copy + at, by, m);
    memcpy(copy + at + m, data + at + n, size - at - n);
    LLVMFuzzerTestOneInput(copy, size - n + m);
    free(copy);
}

static void run_edits(const uint8_t *data, size_t size)
{
    size_t line = 0; /* where it begins */

    for (size_t at = 0; at < size; at++) {
        for (size_t i = 0; i < sizeof(bytes); i++) {
            run_edited(data, size, at, 1, &bytes[i], 1);
            run_edited(data, size, at, 0, &bytes[i], 1);
        }
        run_edited(data, size, at, 1, bytes, 0);
        run_edited(data, size, at, size - at, bytes, 0);
        if (data[at] == '\n') {
            run_edited(data, size, line, at + 1 - line, bytes, 0);
            run_edited(data, size, line, 0, data + line, at + 1 - line);
            line = at + 1;
        }
    }
}

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data;
    size_t size;
    long end;

    must(file && fseek(file, 0, SEEK_END) == 0 && (end = ftell(file)) >= 0, "can't open %s", path);
    rewind(file);
    data = malloc((size_t)end ? (size_t)end : 1); /* exactly, so that reading on is noticed */
    size = fread(data, 1, (size_t)end, file);
    fclose(file);
    /* Said before it runs: the last line names the input that broke it. */
    printf("%s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, size);
    if (edit)
        run_edits(data, size);
    free(data);
}

int main(int argc, char **argv)
{
    LLVMFuzzerInitialize(&argc, &argv);
    edit = argc > 1 && !strcmp(argv[1], "--edits");
    for (int i = 1 + edit; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        struct dirent *d;

        if (!dir) {
            run_file(argv[i]);
            continue;
        }
        while ((d = readdir(dir))) {
            char path[4096];

            snprintf(path, sizeof(path), "%s/%s", argv[i], d->d_name);
            if (d->d_name[0] != '.')
                run_file(path);
        }
        closedir(dir);
    }
    return 0;
}
