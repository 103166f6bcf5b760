/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for what the kernel says about interfaces, over rtnetlink.
 * MUST NOT read what tools print; MUST NOT wait for anything but the kernel.
 */
#include "interface/link.h"

#include "sys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The kernel's ABI, spelt out as in sys.c: a build must not need the kernel's headers. */
struct abi_nlmsg {
    uint32_t len;
    uint16_t type, flags;
    uint32_t seq, pid;
};
struct abi_link {
    uint8_t family, pad;
    uint16_t type;
    int32_t index;
    uint32_t flags, change;
};
struct abi_address {
    uint8_t family, prefix, flags, scope;
    uint32_t index;
};
struct abi_route {
    uint8_t family, dst_len, src_len, tos, table, protocol, scope, type;
    uint32_t flags;
};
struct abi_attribute {
    uint16_t len, type;
};
struct abi_sockaddr {
    uint16_t family, pad;
    uint32_t pid, groups;
};
enum {
    ABI_ERROR = 2, ABI_DONE = 3,
    ABI_NEWLINK = 16, ABI_DELLINK = 17, ABI_GETLINK = 18,
    ABI_NEWADDR = 20, ABI_DELADDR = 21, ABI_GETADDR = 22,
    ABI_NEWROUTE = 24, ABI_GETROUTE = 26,
    ABI_REQUEST = 1, ABI_ACK = 4, ABI_DUMP = 0x300, ABI_DUMP_CHANGED = 0x10,
    ABI_IFNAME = 3, ABI_MTU = 4, ABI_MASTER = 10, ABI_EXT_MASK = 29, ABI_SKIP_STATS = 8, ABI_IFA_ADDRESS = 1, ABI_IFA_LOCAL = 2, ABI_IFA_FLAGS = 8,
    ABI_PERMANENT = 0x80, ABI_SCOPE_LINK = 253,
    ABI_RTA_OIF = 4, ABI_RTA_GATEWAY = 5, ABI_RTA_TABLE = 15,
    ABI_TABLE_MAIN = 254, ABI_UNICAST = 1, ABI_PROTOCOL_RA = 9, ABI_PROTOCOL_KERNEL = 2,
    ABI_UP = 1
};

static const char ASKED[] = "rtnetlink";
#define PROFILE "profile:" /* words of the record */
#define MTU "mtu:"

/* So that a kernel that answers nothing but EINTR hangs nobody. */
enum { INTERRUPTED_MAX = 1000 };

/* ---- the list ---- */

static int link_order(const void *a, const void *b)
{
    return strcmp(((const struct link *)a)->name, ((const struct link *)b)->name);
}

struct link *links_find(const struct links *l, const char *name)
{
    struct link key = { .index = 0 };

    if (l->count == 0 || strlen(name) >= sizeof(key.name))
        return NULL;
    memcpy(key.name, name, strlen(name) + 1);
    return bsearch(&key, l->link, l->count, sizeof(*l->link), link_order);
}

struct link *links_below(const struct links *l, const char *name)
{
    char link[LINK_NAME_SIZE];
    size_t n = strcspn(name, ":");

    if (n >= sizeof(link))
        return NULL;
    memcpy(link, name, n);
    link[n] = '\0';
    return links_find(l, link);
}

void links_free(struct links *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->link[i].own);
    free(l->link);
    *l = (struct links){ .count = 0 };
}

static struct link *add_link(struct links *l, const char *name)
{
    void *array = l->link;
    struct link *added;

    if (!array_grow(&array, l->count, &l->room, sizeof(*l->link)))
        return NULL;
    l->link = array;
    added = &l->link[l->count++];
    *added = (struct link){ .index = 0 };
    snprintf(added->name, sizeof(added->name), "%s", name);
    return added;
}

static bool add_possession(struct link *l, const struct possession *p)
{
    void *array = l->own;

    if (!array_grow(&array, l->count, &l->room, sizeof(*l->own)))
        return false;
    l->own = array;
    l->own[l->count++] = *p;
    return true;
}

bool link_set_profile(struct link *l, const char *profile, size_t len)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";

    if (len == 0 || len >= sizeof(l->profile) || *profile == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!profile[i] || !strchr(plain, profile[i]))
            return false;
    memcpy(l->profile, profile, len);
    l->profile[len] = '\0';
    return true;
}

/* ---- asking the kernel ---- */

static size_t aligned(size_t n)
{
    return (n + 3) & ~(size_t)3;
}

/* The value of one attribute behind a message's own structure; NULL if it is not there or short. */
static const void *attribute(const struct abi_nlmsg *m, size_t own, int type, size_t len)
{
    const char *at = (const char *)m + aligned(sizeof(*m)) + aligned(own);
    const char *end = (const char *)m + m->len;
    struct abi_attribute a;

    while (end - at >= (ptrdiff_t)sizeof(a)) {
        memcpy(&a, at, sizeof(a));
        if (a.len < sizeof(a) || a.len > end - at)
            return NULL;
        if ((a.type & 0x3fff) == type)
            return a.len - sizeof(a) >= len ? at + sizeof(a) : NULL;
        at += aligned(a.len);
    }
    return NULL;
}

static uint32_t number_attribute(const struct abi_nlmsg *m, size_t own, int type, uint32_t other)
{
    const void *value = attribute(m, own, type, sizeof(other));

    if (value)
        memcpy(&other, value, sizeof(other));
    return other;
}

static struct link *by_index(struct links *l, uint32_t index)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->link[i].index == (int)index)
            return &l->link[i];
    return NULL;
}

/* 4 or 6, and the length of an address in bytes; 0 for other families. */
static unsigned char family_of(int af, size_t *len)
{
    *len = af == AF_INET ? 4 : 16;
    return af == AF_INET ? 4 : af == AF_INET6 ? 6 : 0;
}

/* A name that a line of the manifest can hold. */
static bool plain_name(const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] >= 0x7f || name[i] == '%')
            return false;
    return n > 0 && n < LINK_NAME_SIZE;
}

static bool take_link(struct links *l, const struct abi_nlmsg *m)
{
    const struct abi_link *own = (const void *)((const char *)m + aligned(sizeof(*m)));
    const char *name = attribute(m, sizeof(*own), ABI_IFNAME, 2);
    struct link *added;

    if (m->len < sizeof(*m) + sizeof(*own) || !name || !plain_name(name))
        return true;
    added = add_link(l, name);
    if (!added)
        return false;
    added->index = own->index;
    added->up = own->flags & ABI_UP;
    added->mtu = number_attribute(m, sizeof(*own), ABI_MTU, 0);
    return true;
}

static bool take_address(struct links *l, const struct abi_nlmsg *m)
{
    const struct abi_address *own = (const void *)((const char *)m + aligned(sizeof(*m)));
    struct possession p = { .kind = 'a' };
    size_t len;
    const void *bytes;
    struct link *link;

    if (m->len < sizeof(*m) + sizeof(*own) || own->scope >= ABI_SCOPE_LINK)
        return true;
    p.family = family_of(own->family, &len);
    p.prefix = own->prefix;
    link = by_index(l, own->index);
    bytes = attribute(m, sizeof(*own), ABI_IFA_LOCAL, len);
    if (!bytes)
        bytes = attribute(m, sizeof(*own), ABI_IFA_ADDRESS, len);
    if (!p.family || !link || !bytes)
        return true;
    memcpy(p.bytes, bytes, len);
    if (number_attribute(m, sizeof(*own), ABI_IFA_FLAGS, own->flags) & ABI_PERMANENT)
        return add_possession(link, &p);
    link->leased = link->leased || p.family == 4;
    return true;
}

static bool take_route(struct links *l, const struct abi_nlmsg *m)
{
    const struct abi_route *own = (const void *)((const char *)m + aligned(sizeof(*m)));
    struct possession p = { .kind = 'g' };
    size_t len;
    const void *bytes;
    struct link *link;

    if (m->len < sizeof(*m) + sizeof(*own) || own->dst_len || own->type != ABI_UNICAST ||
        own->protocol == ABI_PROTOCOL_RA || own->protocol == ABI_PROTOCOL_KERNEL ||
        number_attribute(m, sizeof(*own), ABI_RTA_TABLE, own->table) != ABI_TABLE_MAIN)
        return true;
    p.family = family_of(own->family, &len);
    link = by_index(l, number_attribute(m, sizeof(*own), ABI_RTA_OIF, 0));
    bytes = attribute(m, sizeof(*own), ABI_RTA_GATEWAY, len);
    if (!p.family || !link)
        return true;
    if (bytes)
        memcpy(p.bytes, bytes, len);
    return add_possession(link, &p);
}

struct request {
    struct abi_nlmsg head;
    union {
        struct abi_link link;
        struct abi_address address;
        struct abi_route route;
    } own;
    struct abi_attribute attribute;
    unsigned char bytes[16];
};

static int send_request(int fd, struct request *r)
{
    const struct abi_sockaddr kernel = { .family = AF_NETLINK };

    r->head.flags |= ABI_REQUEST;
    return sendto(fd, r, r->head.len, 0, (const struct sockaddr *)(const void *)&kernel,
                  sizeof(kernel)) < 0 ? -1 : 0;
}

/* One answer to a request: each message to `take`.  0, or -1 and errno; EAGAIN: ask again. */
static int read_answer(int fd, bool (*take)(struct links *, const struct abi_nlmsg *),
                       struct links *l)
{
    _Alignas(8) char buf[32 * 1024];
    bool changed = false;
    int interrupted = 0;

    for (;;) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);
        size_t left = n > 0 ? (size_t)n : 0;
        const struct abi_nlmsg *m = (const void *)buf;

        if (n < 0 && errno == EINTR && ++interrupted < INTERRUPTED_MAX)
            continue;
        if (n <= 0)
            return -1;
        for (; left >= sizeof(*m) && m->len >= sizeof(*m) && m->len <= left;
             left -= aligned(m->len) < left ? aligned(m->len) : left,
             m = (const void *)((const char *)m + aligned(m->len))) {
            int e = 0;

            changed = changed || (m->flags & ABI_DUMP_CHANGED);
            if (m->type == ABI_ERROR || m->type == ABI_DONE) {
                if (m->len >= sizeof(*m) + sizeof(e))
                    memcpy(&e, m + 1, sizeof(e));
                errno = e ? -e : EAGAIN;
                return e || changed ? -1 : 0;
            }
            if (take && !take(l, m)) {
                errno = ENOMEM;
                return -1;
            }
        }
    }
}

static int dump(int fd, int type, bool (*take)(struct links *, const struct abi_nlmsg *),
                struct links *l)
{
    /* Counting packets is most of the kernel's work, and most of what it writes. */
    struct request r = { .head = { .type = (uint16_t)type, .flags = ABI_DUMP },
                         .attribute = { 8, ABI_EXT_MASK } };

    memcpy(r.bytes, &(uint32_t){ ABI_SKIP_STATS }, 4);
    r.head.len = (uint32_t)(sizeof(r.head) + sizeof(r.own.link) + (type == ABI_GETLINK ? 8 : 0));
    return send_request(fd, &r) || read_answer(fd, take, l) ? -1 : 0;
}

static int possession_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct possession));
}

int links_read(struct links *ret, struct error *err)
{
    AUTO_CLOSE fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);

    for (int tries = 0; fd >= 0 && tries < 10; tries++) {
        links_free(ret);
        if (dump(fd, ABI_GETLINK, take_link, ret) == 0 &&
            dump(fd, ABI_GETADDR, take_address, ret) == 0 &&
            dump(fd, ABI_GETROUTE, take_route, ret) == 0) {
            for (size_t i = 0; i < ret->count; i++)
                if (ret->link[i].count)
                    array_sort(ret->link[i].own, ret->link[i].count, sizeof(struct possession),
                          possession_order);
            if (ret->count)
                array_sort(ret->link, ret->count, sizeof(*ret->link), link_order);
            return 0;
        }
        if (errno != EAGAIN)
            break;
    }
    links_free(ret);
    return error_set(err, errno == ENOMEM ? NCF_ENOMEM : NCF_EOTHER, STEP_ASK_KERNEL, errno, ASKED);
}

struct link *links_find_now(struct links *l, const char *name)
{
    struct error ignored = { 0 };

    if (!l->count)
        (void)links_read(l, &ignored);
    return links_find(l, name);
}

/* ---- the record ---- */

static void describe_possession(const struct possession *p, char *text, size_t size)
{
    static const unsigned char none[16];
    char address[INET6_ADDRSTRLEN] = "";

    inet_ntop(p->family == 4 ? AF_INET : AF_INET6, p->bytes, address, sizeof(address));
    if (p->kind == 'a')
        snprintf(text, size, "%s/%u", address, p->prefix);
    else if (memcmp(p->bytes, none, sizeof(none)))
        snprintf(text, size, "default:%s", address);
    else
        snprintf(text, size, "default:%u", p->family);
}

static bool parse_address(const char *text, struct possession *p)
{
    p->family = strchr(text, ':') ? 6 : 4;
    return inet_pton(p->family == 4 ? AF_INET : AF_INET6, text, p->bytes) == 1;
}

static bool parse_possession(char *text, struct possession *p)
{
    char *slash = strchr(text, '/'), *end;
    unsigned long prefix;

    *p = (struct possession){ .kind = slash ? 'a' : 'g' };
    if (slash) {
        *slash = '\0';
        prefix = strtoul(slash + 1, &end, 10);
        p->prefix = (unsigned char)prefix;
        return !*end && end != slash + 1 && prefix <= 128 && parse_address(text, p);
    }
    if (strncmp(text, "default:", 8) != 0)
        return false;
    text += 8;
    if (!strcmp(text, "4") || !strcmp(text, "6")) {
        p->family = (unsigned char)(*text - '0');
        return true;
    }
    return parse_address(text, p);
}

void links_encode(struct buffer *b, const struct links *l)
{
    char text[64];

    for (size_t i = 0; i < l->count; i++) {
        const struct link *it = &l->link[i];

        buffer_text(b, "link ");
        buffer_text(b, it->name);
        buffer_text(b, it->up ? " up" : " down");
        buffer_text(b, it->leased ? " leased" : "");
        buffer_text(b, *it->profile ? " " PROFILE : "");
        buffer_text(b, it->profile);
        if (it->mtu) {
            buffer_text(b, " " MTU);
            buffer_number(b, it->mtu, 10, 1, '\0');
        }
        for (size_t j = 0; j < it->count; j++) {
            describe_possession(&it->own[j], text, sizeof(text));
            buffer_text(b, " ");
            buffer_text(b, text);
        }
        buffer_text(b, "\n");
    }
}

static bool parse_mtu(const char *text, uint32_t *ret)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    *ret = (uint32_t)value;
    return *text >= '1' && *text <= '9' && !*end && value <= INT32_MAX;
}

/* The words of one line behind "link NAME". */
static bool parse_words(char *words, struct link *l)
{
    char *save = NULL;
    size_t n = 0;

    for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save), n++) {
        struct possession p;

        if (n == 0 && (!strcmp(word, "up") || !strcmp(word, "down")))
            l->up = !strcmp(word, "up");
        else if (n == 1 && !strcmp(word, "leased"))
            l->leased = true;
        else if (n > 0 && !*l->profile && !strncmp(word, PROFILE, strlen(PROFILE))) {
            if (!link_set_profile(l, word + strlen(PROFILE), strlen(word + strlen(PROFILE))))
                return false;
        } else if (n > 0 && !l->mtu && !strncmp(word, MTU, strlen(MTU))) {
            if (!parse_mtu(word + strlen(MTU), &l->mtu))
                return false;
        } else if (n == 0 || !parse_possession(word, &p) || !add_possession(l, &p))
            return false;
    }
    return n > 0;
}

bool links_parse(const char *text, size_t len, struct links *ret)
{
    AUTO_BUFFER copy = { 0 };
    char *save = NULL;

    buffer_add(&copy, text, len);
    buffer_add(&copy, "", 1);
    if (copy.failed)
        return false;
    for (char *line = strtok_r(copy.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *name = line + 5, *space = strchr(line, ' ');
        struct link *l;

        if (strncmp(line, "link ", 5) != 0 || !(space = strchr(name, ' ')))
            return false;
        *space = '\0';
        if (!plain_name(name) || !(l = add_link(ret, name)) || !parse_words(space + 1, l) ||
            (ret->count > 1 && link_order(l - 1, l) >= 0))
            return false;
    }
    return true;
}

/* ---- what is missing ---- */

static bool has(const struct link *l, const struct possession *p)
{
    for (size_t i = 0; i < l->count; i++)
        if (!memcmp(&l->own[i], p, sizeof(*p)))
            return true;
    return false;
}

static void add_lack(char *text, size_t size, const char *words)
{
    size_t n = strlen(text);

    snprintf(text + n, size - n, "%s%s", n ? ", " : "", words);
}

void link_lacks(const struct link *was, const struct link *now, char *text, size_t size)
{
    bool any = false;

    *text = '\0';
    if (!was->up)
        return;
    if (!now || !now->up) {
        add_lack(text, size, now ? "is down" : "is not there");
        return;
    }
    for (size_t i = 0; i < was->count; i++) {
        char words[64];

        if (has(now, &was->own[i]))
            continue;
        describe_possession(&was->own[i], words, sizeof(words));
        add_lack(text, size, words);
    }
    for (size_t i = 0; i < now->count; i++)
        any = any || (now->own[i].kind == 'a' && now->own[i].family == 4);
    if (was->leased && !now->leased && !any)
        add_lack(text, size, "an address from DHCP");
}

bool link_has_mtu(const struct link *was, const struct link *now)
{
    return !was->up || !was->mtu || !now || !now->up || now->mtu == was->mtu;
}

/* ---- changing: without a socket every request fails ---- */

static int command(int fd, struct request *r)
{
    r->head.flags |= ABI_ACK;
    if (send_request(fd, r))
        return -1;
    /* The kernel's answer to a request without a dump is an error message, of 0 for success. */
    return read_answer(fd, NULL, NULL);
}

static int link_command(int fd, const struct link *l, int type)
{
    struct request r = { .head = { .type = (uint16_t)type } };

    r.head.len = (uint32_t)(sizeof(r.head) + sizeof(r.own.link));
    r.own.link = (struct abi_link){ .index = l->index, .change = ABI_UP };
    return command(fd, &r);
}

int link_delete(const struct link *l)
{
    AUTO_CLOSE fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);

    return link_command(fd, l, ABI_DELLINK);
}

static int set_number(const struct link *l, uint16_t attribute, uint32_t value)
{
    AUTO_CLOSE fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
    struct request r = { .head = { .type = ABI_NEWLINK }, .own.link.index = l->index,
                         .attribute = { 8, attribute } };

    memcpy(r.bytes, &value, 4);
    r.head.len = (uint32_t)(sizeof(r.head) + sizeof(r.own.link) + 8);
    return command(fd, &r);
}

int link_add_port(const struct link *upper, const struct link *port)
{
    return set_number(port, ABI_MASTER, (uint32_t)upper->index);
}

int link_set_mtu(const struct link *l, uint32_t mtu)
{
    return set_number(l, ABI_MTU, mtu);
}

/* Setting it down takes the IPv6 addresses and all routes along. */
int link_clear(const struct link *l)
{
    AUTO_CLOSE fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);

    for (size_t i = 0; i < l->count; i++) {
        const struct possession *p = &l->own[i];
        size_t len = p->family == 4 ? 4 : 16;
        struct request r = { .head = { .type = ABI_DELADDR } };

        if (p->kind != 'a')
            continue;
        /* The attribute follows the 8 bytes of this message's own structure. */
        r.own.address = (struct abi_address){ .family = p->family == 4 ? AF_INET : AF_INET6,
                                              .prefix = p->prefix, .index = (uint32_t)l->index };
        memcpy((char *)&r.own + 8, &(struct abi_attribute){ (uint16_t)(4 + len), ABI_IFA_LOCAL }, 4);
        memcpy((char *)&r.own + 12, p->bytes, len);
        r.head.len = (uint32_t)(sizeof(r.head) + 8 + 4 + len);
        (void)command(fd, &r);
    }
    return link_command(fd, l, ABI_NEWLINK);
}
