/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for the public calls: check arguments, call the core, keep the error.
 * MUST NOT decide anything about files.
 */
#include "ncf.h"

#include "change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef NCF_VERSION
#error "NCF_VERSION comes from the file VERSION"
#endif

enum {
    DEADLINE_MAX = 30 * 24 * 3600, TRIAL_BOOTS_MAX = 100,
    LIMIT_MAX = 24 * 3600
};

struct netcf {
    int root;
    bool host; /* the root is "/": there are live interfaces */
    struct error err;
    char details[2048];
    struct change_options options;
    struct change_result result;
    struct engine_options live_options;
    struct engine live; /* of the last rollback */
    char snapshot_path[];
};

int ncf_init(struct netcf **ncf, const char *root)
{
    struct netcf *n;
    size_t len;

    if (!ncf)
        return -1;
    if (!root)
        root = "/";
    len = strlen(root);
    while (len && root[len - 1] == '/')
        len--;
    *ncf = n = calloc(1, sizeof(*n) + len + sizeof("/" PATH_STATE "/" STORE_SNAPSHOT));
    if (!n)
        return -2;
    n->host = n->options.live = len == 0;
    n->live_options = ENGINE_USUAL;
    memcpy(n->snapshot_path, root, len);
    memcpy(n->snapshot_path + len, "/" PATH_STATE "/" STORE_SNAPSHOT,
           sizeof("/" PATH_STATE "/" STORE_SNAPSHOT));
    n->root = sys_open_root(root);
    if (n->root >= 0)
        return 0;
    return errno == ENOENT || errno == ENOTDIR
               ? error_set(&n->err, NCF_ENOENT, STEP_OPEN_ROOT, errno, root)
               : error_file(&n->err, STEP_OPEN_ROOT, errno, root);
}

int ncf_close(struct netcf *ncf)
{
    if (!ncf)
        return 0;
    sys_close(ncf->root);
    engine_free(&ncf->live);
    free(ncf);
    return 0;
}

int ncf_error(struct netcf *ncf, const char **errmsg, const char **details)
{
    int code = ncf ? ncf->err.code : NCF_EOTHER;
    bool more = ncf && error_details(&ncf->err, ncf->details, sizeof(ncf->details));

    if (errmsg)
        *errmsg = error_message(code);
    if (details)
        *details = more ? ncf->details : NULL;
    return code;
}

/* The beginning of every call: a usable handle with no error, and no flags but the known ones. */
static int begin(struct netcf *ncf, unsigned flags, unsigned known)
{
    char text[24];

    if (!ncf)
        return -1;
    if (ncf->root < 0)
        return -1; /* the error of ncf_init() still says why */
    error_clear(&ncf->err);
    if (!(flags & ~known))
        return 0;
    snprintf(text, sizeof(text), "0x%x", flags & ~known);
    return error_set(&ncf->err, NCF_EOTHER, STEP_FLAGS, 0, text);
}

static int begin_operation(struct netcf *ncf, unsigned flags, unsigned known)
{
    if (begin(ncf, flags, known))
        return -1;
    ncf->result = (struct change_result){ .changed = 0 };
    engine_free(&ncf->live);
    return 0;
}

static int no_pointer(struct netcf *ncf)
{
    return error_set(&ncf->err, NCF_EOTHER, STEP_CLOSED, 0, "");
}

int ncf_change_start(struct netcf *ncf, unsigned int flags)
{
    if (begin_operation(ncf, flags, NCF_START_ON_WRITE) ||
        change_start(ncf->root, flags, &ncf->options, &ncf->result, &ncf->err))
        return -1;
    /* They were this start's options; the token stays, for the commit. */
    ncf->options.note[0] = '\0';
    ncf->options.deadline = ncf->options.trial_boots = 0;
    ncf->options.has_leash = false;
    return 0;
}

int ncf_change_extend(struct netcf *ncf, unsigned int seconds)
{
    if (begin(ncf, 0, 0))
        return -1;
    if (seconds == 0 || seconds > DEADLINE_MAX)
        return error_set(&ncf->err, NCF_EOTHER, STEP_OPTIONS, 0, "deadline");
    return change_extend(ncf->root, ncf->options.token, seconds, ncf->options.helper, &ncf->err);
}

int ncf_change_guard(struct netcf *ncf)
{
    return begin(ncf, 0, 0) ? -1 : change_guard(ncf->root, ncf->options.helper, &ncf->err);
}

int ncf_change_begin(struct netcf *ncf, unsigned int flags)
{
    return ncf_change_start(ncf, flags);
}

int ncf_change_commit(struct netcf *ncf, unsigned int flags)
{
    return begin_operation(ncf, flags, 0)
               ? -1
               : change_commit(ncf->root, ncf->options.token, &ncf->result, &ncf->err);
}

int ncf_change_rollback(struct netcf *ncf, unsigned int flags)
{
    bool live = ncf && ncf->host && !(flags & NCF_ROLLBACK_FILES_ONLY);

    if (begin_operation(ncf, flags, NCF_ROLLBACK_FILES_ONLY | NCF_ROLLBACK_ALL_INTERFACES))
        return -1;
    ncf->live.options = ncf->live_options;
    ncf->live.options.all = flags & NCF_ROLLBACK_ALL_INTERFACES;
    return change_rollback(ncf->root, NULL, live ? &ncf->live : NULL, &ncf->result, &ncf->err);
}

int ncf_change_boot(struct netcf *ncf, unsigned int flags)
{
    return begin_operation(ncf, flags, 0)
               ? -1
               : change_boot(ncf->root, ncf->options.helper, &ncf->result, &ncf->err);
}

int ncf_change_announce(struct netcf *ncf, const char *path)
{
    if (begin(ncf, 0, 0))
        return -1;
    return path ? change_announce(ncf->root, path, &ncf->err) : no_pointer(ncf);
}

int ncf_discarded_restore(struct netcf *ncf, unsigned long long id, unsigned int flags)
{
    return begin_operation(ncf, flags, 0)
               ? -1
               : change_put_back(ncf->root, id, &ncf->result, &ncf->err);
}

static int copy_option(struct netcf *ncf, char *field, const char *value, const char *name)
{
    size_t n = value ? strlen(value) : 0;

    if (n >= NCF_NOTE_SIZE)
        return error_set(&ncf->err, NCF_EOTHER, STEP_OPTIONS, 0, name);
    memcpy(field, value ? value : "", n + 1);
    return 0;
}

int ncf_change_set_options(struct netcf *ncf, const struct ncf_change_options *options)
{
    struct change_options o = { .live = ncf && ncf->host };
    struct engine_options limits = ENGINE_USUAL;

    if (begin(ncf, 0, 0))
        return -1;
    if (options) {
        if (options->size < sizeof(*options))
            return error_set(&ncf->err, NCF_EOTHER, STEP_OPTIONS, 0, "size");
        if (options->deadline > DEADLINE_MAX)
            return error_set(&ncf->err, NCF_EOTHER, STEP_OPTIONS, 0, "deadline");
        if (options->grace > DEADLINE_MAX)
            return error_set(&ncf->err, NCF_EOTHER, STEP_OPTIONS, 0, "grace");
        if (options->trial_boots > TRIAL_BOOTS_MAX)
            return error_set(&ncf->err, NCF_EOTHER, STEP_OPTIONS, 0, "trial_boots");
        if (options->command_limit > LIMIT_MAX || options->total_limit > LIMIT_MAX)
            return error_set(&ncf->err, NCF_EOTHER, STEP_OPTIONS, 0, "limit");
        if (options->command_limit)
            limits.command_ms = (int)options->command_limit * 1000;
        if (options->total_limit)
            limits.total_ms = (int)options->total_limit * 1000;
        if (copy_option(ncf, o.note, options->note, "note") ||
            copy_option(ncf, o.token, options->token, "token") ||
            copy_option(ncf, o.helper, options->helper, "helper"))
            return -1;
        o.deadline = options->deadline;
        o.trial_boots = options->trial_boots;
        o.has_leash = options->leash != NULL;
        o.line = o.has_leash ? *options->leash : -1;
        o.grace = options->grace;
    }
    ncf->options = o;
    ncf->live_options = limits;
    return 0;
}

/* Rounded up: 0 only once it has passed. */
static long long seconds_until(uint64_t due)
{
    uint64_t now = sys_boottime();

    return now < due ? (long long)((due - now + 999999999u) / 1000000000u)
                     : -1 - (long long)((now - due) / 1000000000u);
}

int ncf_change_status(struct netcf *ncf, struct ncf_change_status *ret_status)
{
    AUTO_SNAPSHOT s = { .fd = -1 };
    const struct manifest *m = &s.manifest;
    char boot[NCF_BOOT_SIZE];
    bool guarded = false;
    int there;

    if (begin(ncf, 0, 0))
        return -1;
    if (!ret_status)
        return no_pointer(ncf);
    there = change_read(ncf->root, &s, &guarded, &ncf->err);
    if (there < 0)
        return -1;
    *ret_status = (struct ncf_change_status){ .open = there };
    if (ncf->host)
        change_not_back(ncf->root, ret_status->not_back, sizeof(ret_status->not_back));
    if (!there)
        return 0;
    sys_boot_id(boot);
    memcpy(ret_status->id, m->id, sizeof(m->id));
    memcpy(ret_status->program, m->program, sizeof(m->program));
    memcpy(ret_status->note, m->note, sizeof(m->note));
    memcpy(ret_status->boot, m->boot, sizeof(m->boot));
    ret_status->flags = m->kind == ARCHIVE_ON_WRITE ? NCF_START_ON_WRITE : 0;
    ret_status->started = m->started.sec;
    ret_status->uid = m->uid;
    ret_status->pid = (int)m->pid;
    ret_status->has_token = m->has_token;
    ret_status->same_boot = m->boot[0] && !strcmp(boot, m->boot);
    ret_status->deadline = m->deadline;
    if (m->deadline)
        ret_status->deadline_left = strcmp(boot, m->due_boot) ? -1 : seconds_until(m->due);
    ret_status->has_leash = m->has_leash;
    ret_status->grace = m->grace;
    ret_status->trial_boots = m->trial_boots;
    ret_status->guarded = guarded;
    ret_status->files = s.files.files;
    ret_status->bytes = s.files.bytes;
    ret_status->refused = s.files.refused;
    return 0;
}

/*
 * Lists are one block: the elements, then their strings.  `size` is that of an
 * element; string_add() then hands out the room behind them.
 */
struct list {
    char *block, *next;
};

static int list_make(struct netcf *ncf, struct list *l, size_t count, size_t size, size_t strings)
{
    l->block = malloc(count * size + strings + 1);
    if (!l->block)
        return error_file(&ncf->err, STEP_MEMORY, ENOMEM, "");
    l->next = l->block + count * size;
    return 0;
}

static const char *list_string(struct list *l, const char *text)
{
    char *copy = l->next;
    size_t n = strlen(text) + 1;

    memcpy(copy, text, n);
    l->next += n;
    return copy;
}

int ncf_change_scope(struct netcf *ncf, struct ncf_pattern **ret_patterns, size_t *ret_count)
{
    AUTO_SNAPSHOT s = { .fd = -1 };
    AUTO_SCOPE next = { 0 };
    struct scope *scope = &s.scope;
    struct list list = { 0 };
    size_t strings = 0;
    int there;

    if (begin(ncf, 0, 0))
        return -1;
    if (!ret_patterns || !ret_count)
        return no_pointer(ncf);
    there = change_read(ncf->root, &s, NULL, &ncf->err);
    if (there < 0)
        return -1;
    if (!there) {
        scope = &next;
        if (change_scope(ncf->root, scope, &ncf->err))
            return -1;
    }
    for (size_t i = 0; i < scope->count; i++)
        strings += strlen(scope->pattern[i].text) + 1;
    if (list_make(ncf, &list, scope->count, sizeof(**ret_patterns), strings))
        return -1;
    *ret_patterns = (struct ncf_pattern *)(void *)list.block;
    *ret_count = scope->count;
    for (size_t i = 0; i < scope->count; i++)
        (*ret_patterns)[i] = (struct ncf_pattern){ scope->pattern[i].exclude,
                                                   list_string(&list, scope->pattern[i].text) };
    return 0;
}

static const char *why(const struct scope *scope, const struct entry *e)
{
    const struct pattern *p = scope_why(scope, e->path);

    return p ? p->text : "";
}

int ncf_scope_list(struct netcf *ncf, struct ncf_scope_file **ret_files, size_t *ret_count)
{
    AUTO_SNAPSHOT s = { .fd = -1 };
    AUTO_SCOPE next = { 0 };
    AUTO_LISTING live = { 0 };
    const struct scope *scope;
    struct list list = { 0 };
    size_t strings = 0, n = 0;

    if (begin(ncf, 0, 0))
        return -1;
    if (!ret_files || !ret_count)
        return no_pointer(ncf);
    if (change_list(ncf->root, &s, &next, &scope, &live, &ncf->err))
        return -1;
    for (const struct entry *e = live.entry; e < live.entry + live.count; e++)
        strings += strlen(e->path) + strlen(why(scope, e)) + 2;
    if (list_make(ncf, &list, live.count, sizeof(**ret_files), strings))
        return -1;
    *ret_files = (struct ncf_scope_file *)(void *)list.block;
    for (const struct entry *e = live.entry; e < live.entry + live.count; e++)
        if (!e->context)
            (*ret_files)[n++] = (struct ncf_scope_file){ e->type, list_string(&list, e->path),
                                                         list_string(&list, why(scope, e)) };
    *ret_count = n;
    return 0;
}

static struct ncf_difference describe(const struct difference *d, struct list *list)
{
    return (struct ncf_difference){
        .kind = d->kind, .metadata = d->kind == NCF_DIFF_METADATA ? d->metadata : 0,
        .was = d->saved ? d->saved->type : '-', .now = d->live ? d->live->type : '-',
        .path = list_string(list, d->saved ? d->saved->path : d->live->path),
    };
}

int ncf_change_diff(struct netcf *ncf, struct ncf_difference **ret_differences, size_t *ret_count)
{
    AUTO_SNAPSHOT s = { .fd = -1 };
    AUTO_LISTING live = { 0 };
    AUTO_DIFFERENCES d = { 0 };
    struct list list = { 0 };
    size_t strings = 0, n = 0;

    if (begin(ncf, 0, 0))
        return -1;
    if (!ret_differences || !ret_count)
        return no_pointer(ncf);
    if (change_diff(ncf->root, &s, &live, &d, &ncf->err))
        return -1;
    for (size_t i = 0; i < d.count; i++)
        strings += strlen(d.item[i].saved ? d.item[i].saved->path : d.item[i].live->path) + 1;
    if (list_make(ncf, &list, d.loud, sizeof(**ret_differences), strings))
        return -1;
    *ret_differences = (struct ncf_difference *)(void *)list.block;
    *ret_count = d.loud;
    for (size_t i = 0; i < d.count; i++)
        if (!d.item[i].quiet)
            (*ret_differences)[n++] = describe(&d.item[i], &list);
    return 0;
}

int ncf_change_result(struct netcf *ncf, struct ncf_change_result *ret_result)
{
    const struct change_result *r;

    if (!ncf || (!ret_result && begin(ncf, 0, 0)))
        return -1;
    if (!ret_result)
        return no_pointer(ncf);
    /* The error of the operation stays, too, to be asked for after this. */
    r = &ncf->result;
    *ret_result = (struct ncf_change_result){
        .changed = r->changed, .added = r->added, .removed = r->removed,
        .metadata = r->metadata, .failed = r->failed, .saved = r->saved, .refused = r->refused,
        .on_trial = r->on_trial,
        .discarded = r->discarded, .notice = r->notice,
        .commands = engine_said(&ncf->live),
    };
    memcpy(ret_result->id, r->id, sizeof(r->id));
    return 0;
}

int ncf_change_interfaces(struct netcf *ncf, struct ncf_interface **ret_list, size_t *ret_count)
{
    const struct engine *e;
    struct list list = { 0 };
    struct ncf_interface *rows;
    size_t strings = 0;

    /* The error of the rollback stays, as with its result. */
    if (!ncf || !ret_list || !ret_count)
        return ncf ? no_pointer(ncf) : -1;
    e = &ncf->live;
    for (size_t i = 0; i < e->findings; i++)
        strings += strlen(e->finding[i].name) + strlen(e->finding[i].lacks) + 2;
    if (list_make(ncf, &list, e->findings, sizeof(*rows), strings))
        return -1;
    rows = (struct ncf_interface *)(void *)list.block;
    for (size_t i = 0; i < e->findings; i++)
        rows[i] = (struct ncf_interface){ list_string(&list, e->finding[i].name),
                                          e->finding[i].stack, (int)e->finding[i].change,
                                          e->finding[i].done,
                                          list_string(&list, e->finding[i].lacks) };
    *ret_list = rows;
    *ret_count = e->findings;
    return 0;
}

static int describe_discarded(struct store *store, const struct discarded *d, struct list *list,
                              struct ncf_discarded *ret)
{
    AUTO_SNAPSHOT s = { .fd = -1 };
    struct error unreadable = { 0 };
    char path[STORE_NAME_SIZE + sizeof(PATH_STATE)];
    int there = snapshot_open(&s, store->fd, d->name, &unreadable);

    if (unreadable.code == NCF_ENOMEM)
        return -1;
    snprintf(path, sizeof(path), PATH_STATE "/%s", d->name);
    *ret = (struct ncf_discarded){ .id = d->id, .bytes = d->bytes,
                                   .path = list_string(list, path) };
    ret->note = list_string(list, there > 0 ? s.manifest.note : "(damaged)");
    if (there <= 0)
        return 0;
    ret->when = s.manifest.started.sec;
    for (size_t i = 0; i < s.files.count; i++)
        ret->files += !s.files.entry[i].context;
    return 0;
}

int ncf_discarded_list(struct netcf *ncf, struct ncf_discarded **ret_list, size_t *ret_count)
{
    AUTO_DIRS dirs;
    AUTO_STORE store = { .fd = -1 };
    AUTO_DISCARDED found = { 0 };
    struct list list = { 0 };
    int there;

    dirs_init(&dirs, -1);
    if (begin(ncf, 0, 0))
        return -1;
    if (!ret_list || !ret_count)
        return no_pointer(ncf);
    dirs_init(&dirs, ncf->root);
    there = store_open(&store, &dirs, false, &ncf->err);
    if (there < 0 || (there && store_list_discarded(&store, &found, &ncf->err)) ||
        list_make(ncf, &list, found.count, sizeof(**ret_list),
                  found.count * (STORE_NAME_SIZE + sizeof(PATH_STATE) + NCF_NOTE_SIZE)))
        return -1;
    for (size_t i = 0; i < found.count; i++)
        if (describe_discarded(&store, &found.item[found.count - 1 - i], &list,
                               (struct ncf_discarded *)(void *)list.block + i)) {
            free(list.block);
            return error_file(&ncf->err, STEP_MEMORY, ENOMEM, "");
        }
    *ret_list = (struct ncf_discarded *)(void *)list.block;
    *ret_count = found.count;
    return 0;
}

const char *ncf_snapshot_path(struct netcf *ncf)
{
    return ncf ? ncf->snapshot_path : NULL;
}

void ncf_free(void *list)
{
    free(list);
}

const char *ncf_version(void)
{
    return NCF_VERSION;
}
