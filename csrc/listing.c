/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for finding what a scope takes on the live host.
 * MUST NOT read content but what it can prove to be of one moment (see hold()),
 * and MUST meet every directory once.
 */
#include "listing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

bool listing_expect(struct listing *l, size_t count)
{
    return array_grow((void **)&l->entry, count, &l->room, sizeof(*l->entry));
}

struct entry *listing_add(struct listing *l, const struct entry *e)
{
    if (!array_grow((void **)&l->entry, l->count, &l->room, sizeof(*e)))
        return NULL;
    l->entry[l->count] = *e;
    l->entry[l->count].link = l->count;
    if (e->type == 's')
        l->refused++;
    else if (e->type != '-' && !e->context)
        l->files++;
    if (e->type == 'f')
        l->bytes += e->st.size;
    return &l->entry[l->count++];
}

struct entry *listing_find(const struct listing *l, const char *path)
{
    size_t low = 0, high = l->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = path_compare(path, l->entry[middle].path);

        if (order == 0)
            return &l->entry[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

struct entry *listing_find_parent(const struct listing *l, const char *path)
{
    char parent[PATH_SIZE];
    size_t n = path_parent(path);

    memcpy(parent, path, n);
    parent[n] = '\0';
    return n ? listing_find(l, parent) : NULL;
}

static int inode_order(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;

    if (x->st.dev != y->st.dev)
        return x->st.dev < y->st.dev ? -1 : 1;
    if (x->st.ino != y->st.ino)
        return x->st.ino < y->st.ino ? -1 : 1;
    return x < y ? -1 : x > y;
}

int listing_find_links(struct listing *l, struct error *err)
{
    struct entry **linked;
    size_t count = 0;

    for (size_t i = 0; i < l->count; i++) {
        l->entry[i].link = i;
        count += l->entry[i].type == 'f' && l->entry[i].st.nlink > 1;
    }
    if (count < 2)
        return 0;
    linked = malloc(count * sizeof(*linked));
    if (!linked)
        return error_file(err, STEP_MEMORY, ENOMEM, "");
    count = 0;
    for (size_t i = 0; i < l->count; i++)
        if (l->entry[i].type == 'f' && l->entry[i].st.nlink > 1)
            linked[count++] = &l->entry[i];
    array_sort(linked, count, sizeof(*linked), inode_order);
    for (size_t i = 1; i < count; i++)
        if (linked[i]->st.ino == linked[i - 1]->st.ino && linked[i]->st.dev == linked[i - 1]->st.dev)
            linked[i]->link = linked[i - 1]->link;
    free(linked);
    return 0;
}

void listing_free(struct listing *l)
{
    free(l->entry);
    free(l->leftover);
    buffer_free(&l->content);
    arena_free(&l->memory);
    *l = (struct listing){ 0 };
}

struct name {
    const char *text;
    uint32_t key; /* of its order: four bytes from the first on in which the names differ */
    uint16_t len;
    bool listed; /* read from its directory */
    bool is_file; /* known to be a regular one */
};

struct walk {
    struct listing *l;
    const struct scope *scope;
    struct dirs *dirs;
    enum listing_purpose purpose;
    struct error *err;
    bool holds;
    struct stamp began;
    uint64_t began_boottime;
    size_t next; /* of l->known: those before it lie before the path, or are it and untouched */
    uint64_t dev; /* of files whose time stamps are known to be this host's */
    struct name *name; /* of the directories on the way, the deepest ones last */
    size_t names, name_room;
    struct arena memory; /* of the names */
    size_t len; /* of path */
    char path[PATH_SIZE];
    _Alignas(8) char dirents[4 * 1024];
};

static int no_memory(struct walk *w)
{
    return error_file(w->err, STEP_MEMORY, ENOMEM, w->path);
}

/* Appends "/name" to the path; false if it grows too long. */
static bool path_push(struct walk *w, const char *name, size_t n)
{
    size_t slash = w->len > 0;

    if (w->len + slash + n >= PATH_SIZE)
        return false;
    if (slash)
        w->path[w->len] = '/';
    memcpy(w->path + w->len + slash, name, n + 1);
    w->len += slash + n;
    return true;
}

static void path_pop(struct walk *w, size_t len)
{
    w->len = len;
    w->path[len] = '\0';
}

static bool name_push(struct walk *w, struct name name)
{
    if (!name.text || !array_grow((void **)&w->name, w->names, &w->name_room, sizeof(name)))
        return false;
    w->name[w->names++] = name;
    return true;
}

static bool name_add(struct walk *w, const char *name, bool listed)
{
    size_t len = strnlen(name, PATH_SIZE); /* no path has room for a longer one */

    return name_push(w, (struct name){ .text = arena_copy(&w->memory, name, len),
                                       .len = (uint16_t)len, .listed = listed,
                                       .is_file = listed && sys_dirent_is_file(name) });
}

static void names_free(struct walk *w)
{
    free(w->name);
    w->name = NULL;
    w->names = w->name_room = 0;
    arena_free(&w->memory);
}

static int name_order(const void *a, const void *b)
{
    const struct name *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return strcmp(x->text, y->text);
}

/* Names in one directory begin alike; with the keys, hardly any two are compared in full. */
static void set_keys(struct name *name, size_t count)
{
    size_t alike = strlen(name->text);

    for (size_t i = 1; i < count; i++)
        for (size_t k = 0; k < alike; k++)
            if (name[i].text[k] != name->text[k])
                alike = k;
    for (size_t i = 0; i < count; i++) {
        const unsigned char *at = (const unsigned char *)name[i].text + alike;

        name[i].key = 0;
        for (int shift = 24; shift >= 0 && *at; shift -= 8)
            name[i].key |= (uint32_t)*at++ << shift;
    }
}

/* Those from `first` on, each once. */
static void sort_names(struct walk *w, size_t first)
{
    size_t kept = first;

    if (w->names == first)
        return;
    set_keys(w->name + first, w->names - first);
    array_sort(w->name + first, w->names - first, sizeof(*w->name), name_order);
    for (size_t i = first; i < w->names; i++)
        if (i == first || strcmp(w->name[i].text, w->name[kept - 1].text) != 0)
            w->name[kept++] = w->name[i];
    w->names = kept;
}

static bool leftover_add(struct walk *w, const char *name)
{
    struct listing *l = w->l;
    size_t len = w->len;
    bool added;

    if (!array_grow((void **)&l->leftover, l->leftovers, &l->leftover_room,
                    sizeof(*l->leftover)) ||
        !path_push(w, name, strlen(name)))
        return false;
    l->leftover[l->leftovers] = arena_copy(&l->memory, w->path, w->len);
    added = l->leftover[l->leftovers++] != NULL;
    path_pop(w, len);
    return added;
}

/* A directory that is not there has no names. */
static int read_names(struct walk *w)
{
    const char *name;
    ssize_t got;
    int fd;

    fd = dirs_open_names(w->dirs, w->path, w->len);
    if (fd < 0)
        return errno == ENOENT ? 0 : error_file(w->err, STEP_OPEN_DIRECTORY, errno, w->path);
    while ((got = sys_getdents(fd, w->dirents, sizeof(w->dirents), w->path)) > 0)
        for (size_t pos = 0; (name = sys_dirent_next(w->dirents, (size_t)got, &pos));) {
            if (!strcmp(name, ".") || !strcmp(name, ".."))
                continue;
            if (path_is_temp(name) ? !leftover_add(w, name)
                                   : !name_add(w, name, true))
                return no_memory(w);
        }
    return got < 0 ? error_file(w->err, STEP_READ_DIRECTORY, errno, w->path) : 0;
}

static int read_names_in_order(struct walk *w)
{
    size_t first = w->names;

    if (read_names(w))
        return -1;
    sort_names(w, first);
    return 0;
}

/* Both are in the same order; what is not found there, or in doubt, is not known: it is synced. */
static bool is_known(struct walk *w, const struct entry *e)
{
    const struct listing *known = w->l->known;
    int order = -1;

    if (!known)
        return false;
    while (w->next < known->count &&
           (order = path_compare(known->entry[w->next].path, w->path)) < 0)
        w->next++;
    if (order != 0 || known->entry[w->next].type != e->type ||
        entry_touched(&known->entry[w->next].st, &e->st, w->l->started))
        return false;
    w->next++;
    return true;
}

/*
 * Whether w->path, which was just met, is a directory that nobody touched.  A
 * name that comes or goes touches it, but for two cases: on a filesystem not
 * known to keep time; and after a power cut, when btrfs brings back the name of
 * a file that was synced, and not the time.
 */
static bool has_known_names(struct walk *w)
{
    const struct entry *e = w->next > 0 ? &w->l->known->entry[w->next - 1] : NULL;
    int fd;

    if (!w->l->names_known || !e || strcmp(e->path, w->path) != 0)
        return false;
    if (e->st.dev != w->dev && ((fd = dirs_open_names(w->dirs, w->path, w->len)) < 0 ||
                                sys_stamps(fd) <= 0))
        return false;
    w->dev = e->st.dev;
    return true;
}

/* Its names as they were saved, which is in order: nothing has to be read and sorted. */
static int recall_names(struct walk *w)
{
    const struct listing *known = w->l->known;

    for (size_t i = w->next; i < known->count; i++) {
        const char *path = known->entry[i].path, *name;

        if (strncmp(path, w->path, w->len) != 0 || path[w->len] != '/')
            break;
        name = path + w->len + 1;
        if (!strchr(name, '/') &&
            !name_push(w, (struct name){ .text = name, .len = (uint16_t)strlen(name) }))
            return no_memory(w);
    }
    return 0;
}

static int add_entry(struct walk *w, const struct entry *found, bool context)
{
    struct error ignored = { 0 }; /* it comes again when the directory is saved */
    struct entry e = *found;

    if (is_known(w, found))
        return 0;
    e.path = arena_copy(&w->l->memory, w->path, w->len);
    e.context = context;
    if (!e.path)
        return no_memory(w);
    if (w->holds && e.type == 'd')
        e.saved = entry_read_details(w->dirs, -1, &e, &w->l->memory, &ignored) == 0;
    if (w->holds && (e.type == 'f' || e.type == 'l') && !entry_before(e.st.ctime, w->began))
        w->holds = false;
    if (!listing_add(w->l, &e))
        return no_memory(w);
    if (w->purpose != LISTING_SAVE)
        return 0;
    if (w->l->files > LISTING_FILES_MAX)
        return error_set(w->err, NCF_EFILE, STEP_TOO_MANY_FILES, 0, w->path);
    if (w->l->bytes > LISTING_BYTES_MAX)
        return error_set(w->err, NCF_EFILE, STEP_TOO_MANY_BYTES, 0, w->path);
    return 0;
}

/* The room for the first is so large that malloc() moves it without copying. */
enum { HELD_FILE_MAX = 64 * 1024, HELD_ROOM = 4 * HELD_FILE_MAX, HELD_MAX = 8 * 1024 * 1024 };

/* Reads a file whole, with all its details; false if it has to be done the longer way. */
static bool hold(struct walk *w, int dirfd, const char *name, struct entry *e)
{
    struct buffer *b = &w->l->content;
    struct error ignored = { 0 }; /* it comes again when the file is saved */
    AUTO_CLOSE fd = -1;
    ssize_t got;

    if (b->len > HELD_MAX || !buffer_room(b, b->size ? HELD_FILE_MAX : HELD_ROOM) ||
        (fd = sys_openat(dirfd, name, O_RDONLY, 0)) < 0)
        return false;
    *e = (struct entry){ .type = 'f', .path = w->path, .saved = true, .offset = b->len };
    got = sys_read(fd, b->data + b->len, HELD_FILE_MAX, name);
    /* Examined last: a change before this moment has left its time. */
    if (got < 0 || entry_read_details(w->dirs, fd, e, &w->l->memory, &ignored) ||
        entry_stat(fd, NULL, e) || e->type != 'f' || e->st.size != (uint64_t)got)
        return false;
    if (e->st.dev != w->dev && sys_stamps(fd) <= 0)
        w->holds = false;
    w->dev = e->st.dev;
    b->len += (size_t)got;
    return true;
}

/* 1 if something is there, 0 if not, -1 on failure. */
static int examine(struct walk *w, size_t parent_len, struct name name, struct entry *ret)
{
    int dirfd = dirs_open(w->dirs, w->path, parent_len);

    if (dirfd < 0)
        return errno == ENOENT ? 0 : error_file(w->err, STEP_OPEN_DIRECTORY, errno, w->path);
    if (name.is_file && w->holds && hold(w, dirfd, name.text, ret))
        return 1;
    *ret = (struct entry){ 0 };
    if (entry_stat(dirfd, name.text, ret) == 0)
        return 1;
    if (errno != ENOENT && errno != ENOTDIR)
        return error_file(w->err, STEP_STAT, errno, w->path);
    if (name.listed)
        w->holds = false; /* it went since the walk began */
    return 0;
}

/* Everything below w->path, which is a directory in scope. */
static int walk_deep(struct walk *w)
{
    size_t len = w->len, first = w->names, end;

    if (has_known_names(w) ? recall_names(w) : read_names_in_order(w))
        return -1;
    end = w->names;
    for (size_t i = first; i < end; i++, path_pop(w, len)) {
        struct name name = w->name[i];
        struct entry e;
        int there;

        if (!path_push(w, name.text, name.len))
            return error_file(w->err, STEP_STAT, ENAMETOOLONG, w->path);
        if (scope_excludes(w->scope, w->path) || !strcmp(w->path, PATH_STATE))
            continue;
        there = examine(w, len, name, &e);
        if (there < 0 || (there && add_entry(w, &e, false)) ||
            (there && e.type == 'd' && walk_deep(w)))
            return -1;
    }
    w->names = first;
    return 0;
}

/* The patterns that match as far as a directory, which lies `depth` parts below the root. */
struct active {
    const struct pattern **pattern;
    size_t count;
    size_t depth;
};

static bool is_last(const struct active *a, const struct pattern *p)
{
    return p->parts == a->depth + 1 && !p->deep;
}

/*
 * The names worth a look: those the patterns spell out or, where one has a
 * wildcard, all there are.  To find leftovers, all are read wherever a
 * rollback may have written.
 */
static int candidate_names(struct walk *w, const struct active *a)
{
    size_t first = w->names;
    bool all = false;

    if (has_known_names(w))
        return recall_names(w);
    for (size_t i = 0; i < a->count; i++) {
        const struct pattern *p = a->pattern[i];

        all = all || scope_part_is_wild(p->part[a->depth]) ||
              (is_last(a, p) && w->purpose == LISTING_COMPARE);
        if (!scope_part_is_wild(p->part[a->depth]) && !name_add(w, p->part[a->depth], false))
            return no_memory(w);
    }
    if (all && read_names(w))
        return -1;
    sort_names(w, first);
    return 0;
}

/* Whether a wildcard or ** of some pattern takes the names in the directory one part below. */
static bool takes_names_below(const struct active *below)
{
    for (size_t i = 0; i < below->count; i++) {
        const struct pattern *p = below->pattern[i];

        if (p->deep ? p->parts == below->depth
                    : is_last(below, p) && scope_part_is_wild(p->part[below->depth]))
            return true;
    }
    return false;
}

static int walk(struct walk *w, const struct active *a);

static int walk_directory(struct walk *w, const struct entry *e, const struct active *below)
{
    if (!strcmp(w->path, PATH_STATE))
        return 0;
    if (add_entry(w, e, !takes_names_below(below)))
        return -1;
    for (size_t i = 0; i < below->count; i++)
        if (below->pattern[i]->deep && below->pattern[i]->parts == below->depth)
            return walk_deep(w); /* more than any other pattern takes here */
    return walk(w, below);
}

static int walk_name(struct walk *w, const struct active *a, struct name name,
                     const struct pattern **room)
{
    struct active below = { .pattern = room, .depth = a->depth + 1 };
    size_t len = w->len;
    bool last = false, spelt = false;
    struct entry e;
    int r = 0;

    for (size_t i = 0; i < a->count; i++) {
        if (!scope_part_matches(a->pattern[i]->part[a->depth], name.text))
            continue;
        if (is_last(a, a->pattern[i])) {
            last = true;
        } else {
            spelt = spelt || !scope_part_is_wild(a->pattern[i]->part[a->depth]);
            room[below.count++] = a->pattern[i];
        }
    }
    if (!last && !below.count)
        return 0;
    if (!path_push(w, name.text, name.len))
        return error_file(w->err, STEP_STAT, ENAMETOOLONG, w->path);
    if (!scope_excludes(w->scope, w->path))
        r = examine(w, len, name, &e);
    if (r > 0) {
        if (e.type == 'd')
            r = below.count ? walk_directory(w, &e, &below) : 0;
        else if (!last && e.type == 'l' && w->purpose == LISTING_SAVE)
            r = error_set(w->err, NCF_EFILE, STEP_SYMLINK_ON_WAY, 0, w->path);
        else if (last || spelt)
            /* Also what stands where a pattern expects a directory: it decides what is read. */
            r = add_entry(w, &e, false);
        else if (w->purpose == LISTING_COMPARE)
            /* Of interest only if the directory that a wildcard took was there. */
            r = add_entry(w, &e, true);
        else
            r = 0;
    }
    path_pop(w, len);
    return r;
}

static int walk(struct walk *w, const struct active *a)
{
    size_t first = w->names, end;
    const struct pattern **room;
    int r = 0;

    if (candidate_names(w, a))
        return -1;
    end = w->names;
    room = malloc(a->count * sizeof(*room));
    if (!room)
        return no_memory(w);
    for (size_t i = first; i < end && r == 0; i++)
        r = walk_name(w, a, w->name[i], room);
    w->names = first;
    free(room);
    return r;
}

/* As many entries as most hosts have: memory that is not touched costs nothing. */
enum { EXPECTED = 500 };

static int walk_scope(struct walk *w)
{
    struct active all = { 0 };
    int r = 0;

    if (w->scope->count == 0)
        return 0;
    if (!listing_expect(w->l, EXPECTED) ||
        !(all.pattern = malloc(w->scope->count * sizeof(*all.pattern))))
        return no_memory(w);
    for (size_t i = 0; i < w->scope->count; i++)
        if (!w->scope->pattern[i].exclude)
            all.pattern[all.count++] = &w->scope->pattern[i];
    if (all.count)
        r = walk(w, &all);
    free(all.pattern);
    names_free(w);
    return r;
}

/* By more than the clock's ticks: then a change since may have an older time than it should. */
static bool clock_went_back(const struct walk *w)
{
    struct stamp now = sys_now();
    int64_t passed = (now.sec - w->began.sec) * 1000000000 + now.nsec - w->began.nsec;

    return (int64_t)(sys_boottime() - w->began_boottime) - passed > 10000000;
}

/*
 * What shall be saved must be of one moment, since files that change together
 * belong together.  Where no inode changed since the walk began, it is of that
 * moment, whenever it was read.  That no program can hide a change is the
 * kernel's promise: it sets the change time, from a clock that is never before
 * sys_now().  So a walk first holds what it meets, which is one look at each
 * file.  It is all or nothing: if one inode is so young that this is not sure,
 * or has its time from another host's clock, or if the clock was set back, all
 * are examined first, and read and examined again when they are saved.
 */
int listing_of_scope(struct listing *l, const struct scope *scope, struct dirs *dirs,
                     enum listing_purpose purpose, struct error *err)
{
    struct walk w = { .l = l, .scope = scope, .dirs = dirs, .purpose = purpose, .err = err,
                      .holds = purpose == LISTING_SAVE, .began = sys_now(),
                      .began_boottime = sys_boottime() };

    dirs_forget(dirs);
    if (walk_scope(&w))
        return -1;
    if (purpose == LISTING_SAVE && (!w.holds || clock_went_back(&w))) {
        listing_free(l);
        w.holds = false;
        if (walk_scope(&w))
            return -1;
    }
    return listing_find_links(l, err);
}

/* Temporary files in the directory of w->path. */
static int find_leftovers(struct walk *w)
{
    size_t len = w->len;
    int r;

    path_pop(w, path_parent(w->path));
    r = w->len ? read_names(w) : 0;
    names_free(w);
    w->path[w->len] = '/';
    w->len = len;
    return r;
}

int listing_of_paths(struct listing *l, const struct listing *paths, struct dirs *dirs,
                     bool leftovers, struct error *err)
{
    struct walk w = { .l = l, .dirs = dirs, .purpose = LISTING_COMPARE, .err = err };
    char last_parent[PATH_SIZE] = "";

    dirs_forget(dirs);
    for (size_t i = 0; i < paths->count; i++) {
        const struct entry *p = &paths->entry[i];
        struct entry e;
        int there;

        path_pop(&w, 0);
        path_push(&w, p->path, strlen(p->path));
        there = examine(&w, path_parent(p->path), (struct name){ .text = path_name(p->path) }, &e);
        /* Behind a link, a file or nothing, nothing of ours can be. */
        if (there < 0 && (w.err->sys == ELOOP || w.err->sys == ENOTDIR)) {
            error_clear(w.err);
            there = 0;
        }
        if (there < 0)
            return -1;
        if (!there)
            e = (struct entry){ .type = '-' };
        if (add_entry(&w, &e, p->context && e.type == 'd'))
            return -1;
        if (!leftovers || p->context ||
            !strncmp(last_parent, p->path, path_parent(p->path) + 1))
            continue;
        memcpy(last_parent, p->path, path_parent(p->path) + 1);
        last_parent[path_parent(p->path) + 1] = '\0';
        if (find_leftovers(&w)) {
            if (w.err->sys != ELOOP && w.err->sys != ENOTDIR)
                return -1;
            error_clear(w.err);
        }
    }
    return listing_find_links(l, err);
}

int listing_of_path(struct listing *l, const char *path, struct dirs *dirs, struct error *err)
{
    struct walk w = { .l = l, .dirs = dirs, .purpose = LISTING_SAVE, .err = err };

    for (const char *end = path; end;) {
        size_t parent = w.len;
        struct entry e;
        int there;

        end = strchr(end, '/');
        memcpy(w.path, path, PATH_SIZE < strlen(path) ? 0 : strlen(path) + 1);
        w.len = end ? (size_t)(end - path) : strlen(path);
        w.path[w.len] = '\0';
        there = examine(&w, parent, (struct name){ .text = path_name(w.path) }, &e);
        if (there < 0)
            return -1;
        if (!there)
            e = (struct entry){ .type = '-' };
        if (end && e.type == 'l')
            return error_set(err, NCF_EFILE, STEP_SYMLINK_ON_WAY, 0, w.path);
        if (end && there && e.type != 'd')
            return error_file(err, STEP_OPEN_DIRECTORY, ENOTDIR, w.path);
        if (add_entry(&w, &e, end && there))
            return -1;
        end = end ? end + 1 : NULL;
    }
    return listing_find_links(l, err);
}
