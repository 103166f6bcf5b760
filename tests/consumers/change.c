/* A whole change in C: start, a lock-out-style edit, rollback. */
#include <ncf.h>

#include <stdio.h>
#include <string.h>

static int fail(struct netcf *ncf, const char *call)
{
    const char *message = NULL, *details = NULL;
    int code = ncf_error(ncf, &message, &details);

    fprintf(stderr, "%s: %d %s: %s\n", call, code, message, details ? details : "");
    ncf_close(ncf);
    return 1;
}

int main(int argc, char **argv)
{
    struct ncf_change_options options = {0};
    struct ncf_difference *differences;
    size_t count;
    struct netcf *ncf;
    FILE *file;

    if (argc != 3)
        return 2;
    if (ncf_init(&ncf, argv[1]) != 0)
        return fail(ncf, "ncf_init");
    options.size = sizeof(options);
    options.note = "from C";
    if (ncf_change_set_options(ncf, &options) != 0)
        return fail(ncf, "ncf_change_set_options");
    if (ncf_change_start(ncf, 0) != 0)
        return fail(ncf, "ncf_change_start");
    file = fopen(argv[2], "w");
    if (!file || fputs("oops\n", file) < 0 || fclose(file) != 0)
        return 1;
    if (ncf_change_diff(ncf, &differences, &count) != 0)
        return fail(ncf, "ncf_change_diff");
    for (size_t i = 0; i < count; i++)
        printf("%d %s\n", differences[i].kind, differences[i].path);
    ncf_free(differences);
    if (ncf_change_rollback(ncf, 0) != 0)
        return fail(ncf, "ncf_change_rollback");
    printf("%s\n", ncf_version());
    return ncf_close(ncf);
}
