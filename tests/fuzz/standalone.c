/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a fuzz target on the files of directories, without libFuzzer. */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>

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
    free(data);
}

int main(int argc, char **argv)
{
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        struct dirent *d;

        must(dir, "can't open %s", argv[i]);
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
