/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * threads ROOT CALLS: what ncf.h allows threads to do.  Four have a handle each,
 * four share one and a lock; all on the same root.  Prints what each was told:
 * NAME BEGAN ENDED TOLD, in nanoseconds; TOLD is an id, "invalid" or "none".
 */
#include "ncf.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ALONE = 4, TOGETHER = 4 };

static const char *const names[] = { "start", "start", "start", "commit", "rollback", "rollback", "status", "diff" };

struct worker {
    pthread_t thread;
    struct netcf *ncf;
    pthread_mutex_t *lock; /* or NULL */
    unsigned seed;
    int calls;
    FILE *log;
    char *text;
    size_t size;
};

static long long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(struct netcf *ncf, const char *name)
{
    const char *message, *details;

    ncf_error(ncf, &message, &details);
    fprintf(stderr, "%s: %s: %s\n", name, message, details ? details : "");
    exit(3);
}

/* What was told, into `told`. */
static void call(struct netcf *ncf, const char *name, char told[NCF_ID_SIZE])
{
    struct ncf_change_status status;
    struct ncf_change_result result;
    struct ncf_difference *differences = NULL;
    size_t count;
    int r;

    strcpy(told, "none");
    if (!strcmp(name, "status")) {
        if (ncf_change_status(ncf, &status))
            fail(ncf, name);
        if (status.open)
            memcpy(told, status.id, sizeof(status.id));
        return;
    }
    if (!strcmp(name, "diff"))
        r = ncf_change_diff(ncf, &differences, &count);
    else
        r = !strcmp(name, "start")    ? ncf_change_start(ncf, 0)
            : !strcmp(name, "commit") ? ncf_change_commit(ncf, 0)
                                      : ncf_change_rollback(ncf, 0);
    ncf_free(differences);
    if (r && ncf_error(ncf, NULL, NULL) != NCF_EINVALIDOP)
        fail(ncf, name);
    if (r)
        strcpy(told, "invalid");
    else if (strcmp(name, "diff") != 0 && ncf_change_result(ncf, &result) == 0)
        memcpy(told, result.id, sizeof(result.id));
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < w->calls; i++) {
        const char *name = names[(size_t)rand_r(&w->seed) % (sizeof(names) / sizeof(names[0]))];
        char told[NCF_ID_SIZE];
        long long began = now();

        if (w->lock)
            pthread_mutex_lock(w->lock);
        call(w->ncf, name, told);
        if (w->lock)
            pthread_mutex_unlock(w->lock);
        fprintf(w->log, "%s %lld %lld %s\n", name, began, now(), told);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct worker worker[ALONE + TOGETHER] = { { .calls = 0 } };
    struct netcf *shared;

    if (argc != 4 || ncf_init(&shared, argv[1]))
        return 2;
    for (int i = 0; i < ALONE + TOGETHER; i++) {
        struct worker *w = &worker[i];

        w->calls = atoi(argv[2]);
        w->seed = (unsigned)(atoi(argv[3]) * 100 + i);
        w->ncf = shared;
        w->log = open_memstream(&w->text, &w->size);
        if (!w->log || (i < ALONE && ncf_init(&w->ncf, argv[1])))
            return 2;
        if (i >= ALONE)
            w->lock = &lock;
    }
    for (int i = 0; i < ALONE + TOGETHER; i++)
        if (pthread_create(&worker[i].thread, NULL, work, &worker[i]))
            return 2;
    for (int i = 0; i < ALONE + TOGETHER; i++) {
        pthread_join(worker[i].thread, NULL);
        fclose(worker[i].log);
        fputs(worker[i].text, stdout);
        free(worker[i].text);
        if (i < ALONE)
            ncf_close(worker[i].ncf);
    }
    ncf_close(shared);
    return 0;
}
