/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_STORE_H
#define NCF_STORE_H

#include "snapshot.h"

#define STORE_SNAPSHOT "network-snapshot.tar"

/* The state directory, opened. */
struct store {
    int fd;   /* -1 if there is none */
    int made; /* how many directories of the way to it store_open() made */
};

/* 1: open; 0: there is none, and `create` was not asked for; -1: failure, or not to be trusted. */
int store_open(struct store *s, struct dirs *dirs, bool create, struct error *err);
/*
 * Waits for the host's one lock, which goes when the store is closed, crash or
 * not.  1: locked; 0: the directory was removed meanwhile; -1: failure.
 */
int store_lock(struct store *s, struct error *err);
/* Does not wait: false if somebody has it. */
bool store_try_lock(struct store *s);
void store_close(struct store *s);
/* Removes the directories that store_open() made, if they are empty. */
void store_unmake(struct store *s, struct dirs *dirs);
#define AUTO_STORE __attribute__((cleanup(store_close))) struct store

/* Refuses to work beside an open transaction of netcf's own script. */
int store_refuse_old_netcf(struct store *s, struct error *err);
/* Removes a half-written archive that a crash left. */
int store_clean_temp(struct store *s, struct error *err);
/* Where no change is open: that, and the reserve. */
int store_clean(struct store *s, struct error *err);

/*
 * Gives the archive in PATH_TEMP its name, durably: rename, then fsync of the
 * directory.  On failure no archive of that name is left behind that was not
 * there before.
 */
int store_publish(struct store *s, const char *name, struct error *err);

/*
 * Reserves `bytes` of space and two inodes for a rollback on a full disk: an
 * inode for what it keeps, one for the file at hand, which frees the one it
 * replaces.  May be repeated with more.
 */
int store_reserve(struct store *s, uint64_t bytes, struct error *err);
/* Gives them back, to a rollback that needs them now. */
void store_release_reserve(struct store *s);

/* Removes the snapshot, durably: the one step that closes a change. */
int store_retire(struct store *s, struct error *err);

/*
 * What a rollback could not bring back, for status: kept until the next start or
 * rollback.  Durable with the directory's next fsync.
 */
int store_keep_not_back(struct store *s, const char *text, struct error *err);
/* "" if there is nothing of that kind. */
void store_read_not_back(const struct store *s, char *text, size_t size);
void store_forget_not_back(struct store *s);

/* Discarded configurations, oldest first. */
enum { STORE_NAME_SIZE = 64 };
struct discarded {
    unsigned long long id;
    uint64_t bytes;
    char name[STORE_NAME_SIZE];
};
struct discarded_list {
    struct discarded *item;
    size_t count, room;
};
int store_list_discarded(struct store *s, struct discarded_list *ret, struct error *err);
void discarded_list_free(struct discarded_list *l);
#define AUTO_DISCARDED __attribute__((cleanup(discarded_list_free))) struct discarded_list
void store_discarded_name(unsigned long long id, char name[STORE_NAME_SIZE]);
/* Keeps the newest 20 and 64 MiB in all, always the newest. */
int store_prune_discarded(struct store *s, struct error *err);

#endif
