/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Damages each snapshot given in every way there is to flip one bit, and to cut
 * it short: the reader must refuse all of them.  Prints how many there were.
 */
#include "fuzz.h"
#include "snapshot.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static bool is_refused(int dir)
{
    AUTO_SNAPSHOT s = { .fd = -1 };
    struct error err = { 0 };

    if (snapshot_open(&s, dir, "damaged", &err) > 0 && snapshot_verify(&s, &err) == 0)
        return false;
    must(snapshot_is_damaged(&err) || err.step == STEP_VERSION, "refused at step %d", err.step);
    return true;
}

static void damage(int dir, const char *path, unsigned long *bits, unsigned long *cuts)
{
    static unsigned char data[1 << 20];
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int fd = openat(dir, "damaged", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t size = read(from, data, sizeof(data));

    must(size > 0 && write(fd, data, (size_t)size) == size, "can't copy %s", path);
    must(!is_refused(dir), "%s is no sound snapshot", path);
    for (off_t at = 0; at < size; at++) {
        for (int bit = 0; bit < 8; bit++, ++*bits) {
            unsigned char flipped = (unsigned char)(data[at] ^ 1 << bit);

            must(pwrite(fd, &flipped, 1, at) == 1, "can't write");
            must(is_refused(dir), "%s: bit %d of byte %ld flipped and not seen", path, bit, (long)at);
        }
        must(pwrite(fd, &data[at], 1, at) == 1, "can't write");
    }
    must(!is_refused(dir), "%s is not what it was", path);
    for (off_t left = size; left-- > 0; ++*cuts) {
        must(ftruncate(fd, left) == 0, "can't cut");
        must(is_refused(dir), "%s: cut to %ld bytes and not seen", path, (long)left);
    }
    close(from);
    close(fd);
}

int main(int argc, char **argv)
{
    unsigned long bits = 0, cuts = 0;
    int dir = open(argc > 1 ? argv[1] : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    must(dir >= 0, "usage: flips SCRATCH SNAPSHOT...");
    for (int i = 2; i < argc; i++)
        damage(dir, argv[i], &bits, &cuts);
    printf("%d %lu %lu\n", argc - 2, bits, cuts);
    return 0;
}
