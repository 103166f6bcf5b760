/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_INTERFACE_LINK_H
#define NCF_INTERFACE_LINK_H

#include "error.h"
#include "memory.h"

enum { LINK_NAME_SIZE = 16, LINK_PROFILE_SIZE = 48 };

/* Something that a link has and should have again. */
struct possession {
    char kind;            /* 'a' static address, 'g' gateway of a default route (zeros: none) */
    unsigned char family; /* 4 or 6 */
    unsigned char prefix; /* of an address */
    unsigned char bytes[16];
};

/* An interface as the kernel has it. */
struct link {
    char name[LINK_NAME_SIZE];
    int index;
    bool up;
    bool leased; /* has an IPv4 address that may run out: from DHCP */
    uint32_t mtu; /* in bytes, 0: not recorded */
    char profile[LINK_PROFILE_SIZE]; /* what a stack with several for one link made it with, "" */
    struct possession *own;
    size_t count, room;
};

/* Sorted by name. */
struct links {
    struct link *link;
    size_t count, room;
};

/* Asks the kernel, over rtnetlink; profiles are left to the stacks.  On failure there are none. */
int links_read(struct links *ret, struct error *err);
struct link *links_find(const struct links *l, const char *name);
/* The link that has the address of an alias: eth0 for eth0:1; else the link itself. */
struct link *links_below(const struct links *l, const char *name);
/* The same; the first time it asks the kernel.  Of one that does not answer `l` stays empty. */
struct link *links_find_now(struct links *l, const char *name);
/* Letters, digits and "-", as a UUID has them; anything else is not taken. */
bool link_set_profile(struct link *l, const char *profile, size_t len);
void links_free(struct links *l);
#define AUTO_LINKS __attribute__((cleanup(links_free))) struct links

/* Lines for the manifest (docs/format.md), and back; false if they are not such. */
void links_encode(struct buffer *b, const struct links *l);
bool links_parse(const char *text, size_t len, struct links *ret);

/*
 * What `was` had and `now` has not, in words; "" if nothing.  A link that was
 * down has nothing to lose.  `now` may be NULL.
 */
void link_lacks(const struct link *was, const struct link *now, char *text, size_t size);

/* Deletes a device that some configuration had made.  Sets one down without addresses. */
int link_delete(const struct link *l);
/*
 * Whether the MTU is what it was, of links that are up.  A stack may leave it where a
 * file that is gone had set it; what has it back needs no bouncing.
 */
bool link_has_mtu(const struct link *was, const struct link *now);
int link_set_mtu(const struct link *l, uint32_t mtu);
/* Makes one a port of a bridge, or of a bond while it is down. */
int link_add_port(const struct link *upper, const struct link *port);
int link_clear(const struct link *l);

#endif
