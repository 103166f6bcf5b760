/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the seam of sys.c does not reach, for lib/faults.py: allocations that fail, and
 * a kernel that answers as the test says.  libncf-test.so is linked with --wrap for these.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/*
 * Fails the K-th allocation from now on, or it and all later ones; 0: none.
 * Returns how many there were since the last such call.
 */
long faults_memory(long k, bool lasting);
/* How many pieces of memory the core has and did not give back. */
long faults_held(void);
/*
 * Called before each of socket(), sendto() and recv(), with the bytes and their number.
 * It answers 0: go on; -errno; or how many bytes it has written for recv().
 */
typedef ssize_t (*faults_hook)(const char *call, void *bytes, size_t n);
void faults_kernel(faults_hook hook);

static _Atomic long fails_at, allocations, held;
static _Atomic bool for_good;
static faults_hook kernel;

long faults_memory(long k, bool lasting)
{
    long counted = allocations;

    fails_at = k;
    for_good = lasting;
    allocations = 0;
    return counted;
}

long faults_held(void)
{
    return held;
}

void faults_kernel(faults_hook hook)
{
    kernel = hook;
}

/* ---- memory ---- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static bool lacks(void)
{
    long count = ++allocations;

    return fails_at && (for_good ? count >= fails_at : count == fails_at);
}

static void *given(void *p)
{
    held += p != NULL;
    return p;
}

void *__wrap_malloc(size_t n)
{
    return lacks() ? NULL : given(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return lacks() ? NULL : given(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
    if (lacks())
        return NULL;
    return p ? __real_realloc(p, n) : given(__real_realloc(p, n));
}

void __wrap_free(void *p)
{
    held -= p != NULL;
    __real_free(p);
}

/* ---- the kernel ---- */

int __real_socket(int domain, int type, int protocol);
ssize_t __real_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *to,
                      socklen_t len);
ssize_t __real_recv(int fd, void *buf, size_t n, int flags);
int __wrap_socket(int domain, int type, int protocol);
ssize_t __wrap_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *to,
                      socklen_t len);
ssize_t __wrap_recv(int fd, void *buf, size_t n, int flags);

/* Whether the hook answered, and what. */
static bool answered(const char *call, void *bytes, size_t n, ssize_t *ret)
{
    *ret = kernel ? kernel(call, bytes, n) : 0;
    if (*ret >= 0)
        return *ret > 0;
    errno = (int)-*ret;
    *ret = -1;
    return true;
}

int __wrap_socket(int domain, int type, int protocol)
{
    ssize_t r;

    return answered("socket", NULL, 0, &r) ? (int)r : __real_socket(domain, type, protocol);
}

ssize_t __wrap_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *to,
                      socklen_t len)
{
    ssize_t r;

    return answered("sendto", (void *)(size_t)buf, n, &r) ? r : __real_sendto(fd, buf, n, flags, to, len);
}

ssize_t __wrap_recv(int fd, void *buf, size_t n, int flags)
{
    ssize_t r;

    return answered("recv", buf, n, &r) ? r : __real_recv(fd, buf, n, flags);
}
