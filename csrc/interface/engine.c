/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for bringing live interfaces back: what to take down before the
 * files change, what to bring up after, and whether it worked.
 * MUST leave alone what did not change.
 * MUST believe the kernel, not the exit status of a tool.
 */
#include "interface/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1024 * 1024, AT_ONCE = 16, ARGUMENTS = 16, POLL_MS = 50, POLL_MIN_MS = 2, SYNC_WAIT_MS = 1000, DEVICES_MS = 500 };

/*
 * Adding a stack is its file and one line here: udev before all that take a device as it
 * is, netplan's before those that follow what it makes.
 */
const struct stack *const stacks[] = {
    &stack_udev,
    &stack_ifupdown,
    &stack_ifupdown2,
    &stack_ifupdown_ng,
    &stack_networkscripts,
    &stack_networkscripts_beside,
    &stack_netplan,
    &stack_networkd,
    &stack_networkmanager,
    &stack_networkmanager_ifcfg,
    NULL,
};
_Static_assert(sizeof(stacks) / sizeof(stacks[0]) == ENGINE_STACKS_MAX + 1, "all of them, and NULL");

/* ---- reading both configurations ---- */

static bool is_some_stacks_file(const char *path)
{
    for (const struct stack *const *s = stacks; *s; s++)
        if ((*s)->is_its_file(path))
            return true;
    return false;
}

static int add_saved(struct config *c, struct snapshot *s, const struct entry *e,
                     struct error *err)
{
    AUTO_BUFFER text = { 0 };

    for (uint64_t done = 0; done < e->st.size && done < FILE_MAX;) {
        uint64_t left = e->st.size - done;
        size_t n = left < CONTENT_CHUNK ? (size_t)left : CONTENT_CHUNK;
        const unsigned char *bytes = content_at(&s->content, e->offset + done, n, err);

        if (!bytes)
            return -1;
        buffer_add(&text, bytes, n);
        done += n;
    }
    return !text.failed && config_add(c, e->path, text.data, text.len)
               ? 0
               : error_file(err, STEP_MEMORY, ENOMEM, e->path);
}

/* What can't be read now says nothing, so that its interfaces count as changed. */
static int add_live(struct config *c, struct dirs *dirs, const struct entry *e, struct error *err)
{
    AUTO_BUFFER text = { 0 };
    struct error unreadable = { 0 };
    AUTO_CLOSE fd = entry_open(dirs, e, &unreadable);
    size_t chunk = e->st.size < CONTENT_CHUNK ? (size_t)e->st.size + 1 : CONTENT_CHUNK;
    void *room;
    ssize_t n;

    while (fd >= 0 && text.len < FILE_MAX && (room = buffer_claim(&text, chunk))) {
        n = sys_read(fd, room, chunk, e->path);
        text.len -= chunk - (n > 0 ? (size_t)n : 0);
        if (n <= 0)
            break;
    }
    return !text.failed && config_add(c, e->path, text.data, text.len)
               ? 0
               : error_file(err, STEP_MEMORY, ENOMEM, e->path);
}

static int read_saved(struct config *c, struct snapshot *s, struct error *err)
{
    for (size_t i = 0; i < s->files.count; i++)
        if (s->files.entry[i].type == 'f' && is_some_stacks_file(s->files.entry[i].path) &&
            add_saved(c, s, &s->files.entry[i], err))
            return -1;
    return 0;
}

static int file_order(const void *a, const void *b)
{
    return path_compare(((const struct config_file *)a)->path,
                        ((const struct config_file *)b)->path);
}

/* A change that saves on first write has only what was announced: the rest is as it is now. */
static int read_configs(struct config *was, struct config *now, struct snapshot *s,
                        struct dirs *dirs, struct error *err)
{
    bool whole = s->manifest.kind == ARCHIVE_WHOLE;
    AUTO_LISTING live = { 0 };
    AUTO_SCOPE scope = { 0 };

    if ((!whole && scope_read(&scope, dirs, err)) ||
        listing_of_scope(&live, whole ? &s->scope : &scope, dirs, LISTING_COMPARE, err) ||
        read_saved(was, s, err))
        return -1;
    for (size_t i = 0; i < live.count; i++) {
        const struct entry *e = &live.entry[i];

        if (e->type != 'f' || !is_some_stacks_file(e->path))
            continue;
        if (add_live(now, dirs, e, err) ||
            (!whole && !listing_find(&s->files, e->path) && add_live(was, dirs, e, err)))
            return -1;
    }
    if (was->count)
        array_sort(was->file, was->count, sizeof(*was->file), file_order);
    return 0;
}

/* ---- planning ---- */

/* What the kernel and the stacks' daemons have. */
static int ask(struct links *ret, struct error *err)
{
    if (links_read(ret, err))
        return -1;
    for (const struct stack *const *s = stacks; *s; s++)
        if ((*s)->record)
            (*s)->record(ret);
    return 0;
}

int engine_record(struct buffer *ret, struct error *err)
{
    AUTO_LINKS links = { 0 };

    if (ask(&links, err))
        return -1;
    links_encode(ret, &links);
    return ret->failed ? error_file(err, STEP_MEMORY, ENOMEM, "") : 0;
}

/* Until the command that starts now must have ended; 0: no time is left. */
static int left_ms(const struct engine *e)
{
    int64_t left = e->end - (int64_t)(sys_boottime() / 1000000);

    return left < 0 ? 0 : left < e->options.command_ms ? (int)left : e->options.command_ms;
}

/* What a person did to the running interface and to no file. */
static bool differs_by_hand(const struct engine *e, const char *name)
{
    const struct link *was = links_find(&e->start, name);
    char lacks[ENGINE_LACKS_SIZE];

    if (!was)
        return false;
    link_lacks(was, links_find(&e->present, name), lacks, sizeof(lacks));
    return *lacks != '\0';
}

static bool mark(struct engine *e, struct work *w)
{
    for (size_t i = 0; i < w->plan.count; i++) {
        struct move *m = &w->plan.move[i];

        if (m->change == PLAN_SAME && (e->options.all || differs_by_hand(e, m->name)))
            m->change = e->options.all ? PLAN_WITH_OTHERS : PLAN_BY_HAND;
    }
    if (!plan_close(&w->plan))
        return false;
    e->acts = e->acts || work_acts(w);
    return true;
}

/* Whether its files have other words, be it only in comments. */
static bool is_reworded(const struct stack *stack, const struct config *was, const struct config *now)
{
    size_t j = 0;

    for (size_t i = 0; i < was->count; i++) {
        const struct config_file *a = &was->file[i], *b;

        while (j < now->count && path_compare(now->file[j].path, a->path) < 0)
            j++;
        b = j < now->count ? &now->file[j] : NULL;
        if (b && !strcmp(a->path, b->path) && stack->is_its_file(a->path) &&
            (a->len != b->len || memcmp(a->bytes, b->bytes, a->len) != 0))
            return true;
    }
    return false;
}

static int plan_stack(struct engine *e, const struct stack *stack, const struct config *was,
                      const struct config *now, struct error *err)
{
    struct work *w = &e->work[e->count];

    *w = (struct work){ .stack = stack, .start = &e->start, .present = &e->present,
                        .engine = e, .all = e->options.all };
    e->count++;
    w->reworded = is_reworded(stack, was, now);
    stack->parse(was, &w->was);
    stack->parse(now, &w->now);
    if (!model_finish(&w->was) || !model_finish(&w->now) ||
        !plan_make(&w->plan, &w->was, &w->now) || !mark(e, w))
        return error_file(err, STEP_MEMORY, ENOMEM, stack->name);
    return 0;
}

int engine_plan(struct engine *e, struct snapshot *s, struct dirs *dirs, struct error *err)
{
    AUTO_CONFIG was = { 0 }, now = { 0 };

    e->end = (int64_t)(sys_boottime() / 1000000) + e->options.total_ms;
    if (ask(&e->present, err) || read_configs(&was, &now, s, dirs, err))
        return -1;
    if (!links_parse(s->manifest.links, s->manifest.links_len, &e->start))
        return error_set(err, NCF_EFILE, STEP_FORMAT, 0, s->name);
    for (const struct stack *const *stack = stacks; *stack; stack++)
        if ((*stack)->in_use() && plan_stack(e, *stack, &was, &now, err))
            return -1;
    return 0;
}

/* ---- running ---- */

bool work_was_up(const struct work *w, const char *name)
{
    const struct link *was = links_below(w->start, name);

    return w->start->count == 0 /* nobody recorded it */ || (was && was->up);
}

static struct engine_finding *add_finding(struct engine *e, const char *name, const char *stack,
                                          enum plan_change change)
{
    void *array = e->finding;
    struct engine_finding *f;

    for (size_t i = 0; i < e->findings; i++)
        if (!strcmp(e->finding[i].name, name))
            return &e->finding[i];
    if (!array_grow(&array, e->findings, &e->room, sizeof(*f)))
        return NULL;
    e->finding = array;
    f = &e->finding[e->findings++];
    *f = (struct engine_finding){ .stack = stack, .change = change };
    snprintf(f->name, sizeof(f->name), "%s", name);
    return f;
}

void work_done(struct work *w, const char *name, unsigned done)
{
    const struct move *m = plan_find(&w->plan, name);
    struct engine_finding *f =
        add_finding(w->engine, m && scope_part_is_wild(name) ? m->handle : name, w->stack->name,
                    m && m->change != PLAN_SAME ? m->change : PLAN_BY_HAND);

    if (f)
        f->done |= done;
}

static void keep(struct work *w, const char *program, const char *last,
                 const struct run_result *r)
{
    struct buffer *said = &w->engine->said;
    char how[64], line[RUN_OUTPUT_SIZE + 256];

    run_describe(r, how, sizeof(how));
    snprintf(line, sizeof(line), "%s%s%s%s: %s%s%s", said->len ? "\n" : "", program,
             last ? " " : "", last ? last : "", how, *r->output ? ": " : "", r->output);
    buffer_text(said, line);
}

/* PROGRAM WORDS LAST, by its absolute path. */
static bool start_one(struct work *w, struct run *run, const char *program,
                      const char *const *words, const char *last)
{
    char path[RUN_PATH_SIZE];
    const char *argv[ARGUMENTS] = { run_program(program, path) };
    size_t n = 1;
    int left = left_ms(w->engine);

    for (; *words; words++)
        argv[n++] = *words;
    argv[n] = last;
    if (!argv[0] || left == 0) {
        struct run_result r = { .end = RUN_NOT_STARTED, .status = argv[0] ? ETIME : ENOENT };

        keep(w, program, last, &r);
        return false;
    }
    run_start(run, argv, left);
    return true;
}

static bool end_one(struct work *w, struct run *run, const char *program, const char *last)
{
    struct run_result r;

    run_wait(run, &r);
    if (!run_succeeded(&r))
        keep(w, program, last, &r);
    return run_succeeded(&r);
}

bool work_run(struct work *w, const char *program, const char *const *words, const char *last)
{
    struct run run;
    bool good = start_one(w, &run, program, words, last) && end_one(w, &run, program, last);

    w->reloaded = w->reloaded || (good && !last);
    return good;
}

void work_up(struct work *w, const char *name, const char *program, const char *const *words,
             const char *last)
{
    if (work_run(w, program, words, last))
        work_done(w, name, DONE_UP);
}

/* Down goes by the present files, and where that failed, as up, by those of the start. */
static const char *handle_of(const struct move *m, bool down)
{
    return down && m->now && !m->down_failed ? m->now->handle : m->handle;
}

/* Up to AT_ONCE of one level. */
static size_t run_batch(struct work *w, const char *program, const char *const *words,
                        struct move **batch, size_t count, bool down)
{
    struct run run[AT_ONCE];
    bool started[AT_ONCE];

    for (size_t i = 0; i < count; i++)
        started[i] = start_one(w, &run[i], program, words, handle_of(batch[i], down));
    for (size_t i = 0; i < count; i++) {
        bool good = started[i] && end_one(w, &run[i], program, handle_of(batch[i], down));

        if (down)
            batch[i]->down_failed = !good;
        batch[i]->told = !down;
        if (good)
            work_done(w, batch[i]->name, down ? DONE_DOWN : DONE_UP);
    }
    return 0;
}

void work_run_each(struct work *w, const char *program, const char *const *words,
                   enum work_direction direction,
                   bool (*wanted)(const struct work *w, const struct move *m))
{
    bool down = direction == WORK_DOWN;

    for (unsigned n = 0; n < w->plan.levels; n++) {
        unsigned level = down ? w->plan.levels - 1 - n : n;
        struct move *batch[AT_ONCE];
        size_t count = 0;

        for (size_t i = 0; i < w->plan.count; i++) {
            struct move *m = &w->plan.move[i];

            if ((down ? m->now_level : m->was_level) != level || !wanted(w, m))
                continue;
            batch[count++] = m;
            if (count == AT_ONCE)
                count = run_batch(w, program, words, batch, count, down);
        }
        run_batch(w, program, words, batch, count, down);
    }
}

/* By its stack, or a moment ago by us. */
static bool is_dealt_with(const struct work *w, const char *name)
{
    for (size_t i = 0; i < w->plan.count; i++) {
        const struct move *m = &w->plan.move[i];

        if ((m->told || (m->change >= PLAN_ADDED && m->change <= PLAN_CHANGED)) &&
            move_is_for(m, name))
            return true;
    }
    return false;
}

void work_run_by_hand(struct work *w, const char *program, const char *const *words)
{
    for (size_t i = 0; i < w->start->count; i++) {
        const struct link *was = &w->start->link[i];
        char lacks[ENGINE_LACKS_SIZE];

        link_lacks(was, links_find(w->present, was->name), lacks, sizeof(lacks));
        if (was->up && (*lacks || w->all) && model_covers(&w->was, was->name) &&
            !is_dealt_with(w, was->name))
            work_up(w, was->name, program, words, was->name);
    }
}

/* Whether the files of the start say anything about the link, by its name or by its profile. */
static bool covers(const struct work *w, const struct link *was)
{
    return model_covers(&w->was, was->name) ||
           (*was->profile && model_find(&w->was, was->profile));
}

bool work_has_reloaded(const struct work *w, const struct stack *stack)
{
    for (const struct work *before = w->engine->work; before < w; before++)
        if (before->stack == stack)
            return before->reloaded;
    return false;
}

bool work_acts(const struct work *w)
{
    if (w->stack->reloads && !w->reworded)
        return true;
    for (size_t i = 0; i < w->plan.count; i++)
        if (w->plan.move[i].change != PLAN_SAME)
            return true;
    for (size_t i = 0; i < w->start->count; i++) {
        const struct link *was = &w->start->link[i], *now = links_find(w->present, was->name);
        char lacks[ENGINE_LACKS_SIZE];

        link_lacks(was, now, lacks, sizeof(lacks));
        if (!*lacks && now && w->stack->reloads)
            link_lacks(now, was, lacks, sizeof(lacks)); /* what it has and had not */
        if ((*lacks || !link_has_mtu(was, now)) && covers(w, was))
            return true;
    }
    return false;
}

void work_clear(struct work *w)
{
    AUTO_LINKS links = { 0 };
    struct error ignored = { 0 };

    (void)links_read(&links, &ignored);
    for (size_t i = 0; i < w->plan.count; i++) {
        const struct move *m = &w->plan.move[i];
        const struct link *left = links_find(&links, m->name);

        if (m->change != PLAN_SAME && left && left->count)
            (void)link_clear(left);
    }
}

void work_delete(struct work *w, const struct link *there)
{
    if (link_delete(there) == 0)
        work_done(w, there->name, DONE_DELETED);
}

void work_delete_devices(struct work *w, bool changed_too)
{
    AUTO_LINKS links = { 0 };

    for (size_t i = 0; i < w->plan.count; i++) {
        const struct move *m = &w->plan.move[i];
        const struct link *there;

        if (m->change == PLAN_SAME || !m->now || !m->now->makes_device)
            continue;
        if (((m->change == PLAN_ADDED && !links_find(w->start, m->name)) ||
             (changed_too && m->change == PLAN_CHANGED && m->was->device != m->now->device)) &&
            (there = links_find_now(&links, m->name)))
            work_delete(w, there);
    }
}

bool engine_follows(const void *engine, const char *path)
{
    const struct engine *e = engine;

    for (size_t i = 0; i < e->count; i++)
        if (e->work[i].stack->is_its_file(path))
            return true;
    return false;
}

static bool lacks_device(const struct work *w)
{
    AUTO_LINKS links = { 0 };

    for (size_t i = 0; i < w->plan.count; i++) {
        const struct move *m = &w->plan.move[i];
        const struct link *was = m->was && m->was->makes_device ? links_find(w->start, m->name) : NULL;

        if (was && was->up && !links_find_now(&links, m->name) && links.count)
            return true;
    }
    return false;
}

bool work_devices_are_there(const struct work *w)
{
    for (int ms = 0; lacks_device(w); ms += POLL_MS) {
        if (ms >= DEVICES_MS)
            return false;
        sys_sleep_ms(POLL_MS);
    }
    return true;
}

void engine_before(struct engine *e)
{
    for (size_t i = 0; e->acts && i < e->count; i++)
        if (e->work[i].stack->before && work_acts(&e->work[i]))
            e->work[i].stack->before(&e->work[i]);
}

/* ---- what came of it ---- */

static struct work *work_of(struct engine *e, const struct link *was)
{
    for (size_t i = 0; i < e->count; i++)
        if (covers(&e->work[i], was))
            return &e->work[i];
    return NULL;
}

/* Everything that was up and that some stack configures: is it there again? */
static bool all_back(struct engine *e, const struct links *now, bool tell)
{
    char lacks[ENGINE_LACKS_SIZE];
    struct engine_finding *f;
    bool back = true;

    for (size_t i = 0; i < e->start.count; i++) {
        const struct link *was = &e->start.link[i], *is = links_find(now, was->name);
        const struct work *w;

        link_lacks(was, is, lacks, sizeof(lacks));
        if (!*lacks && !link_has_mtu(was, is))
            snprintf(lacks, sizeof(lacks), "MTU %u", was->mtu);
        if (!*lacks || !(w = work_of(e, was)))
            continue;
        back = false;
        if (tell && (f = add_finding(e, was->name, w->stack->name, PLAN_SAME)))
            memcpy(f->lacks, lacks, sizeof(lacks));
    }
    for (size_t i = 0; i < e->count; i++)
        for (size_t j = 0; j < e->work[i].plan.count; j++) {
            const struct move *m = &e->work[i].plan.move[j];

            if (m->change != PLAN_ADDED || !m->now->makes_device || !e->start.count ||
                links_find(&e->start, m->name) || !links_find(now, m->name))
                continue;
            back = false;
            if (tell && (f = add_finding(e, m->name, e->work[i].stack->name, m->change)))
                snprintf(f->lacks, sizeof(f->lacks), "was not there and can't be deleted");
        }
    return back;
}

static bool settles(const struct engine *e)
{
    for (size_t i = 0; i < e->count; i++)
        if (e->work[i].stack->settles && work_acts(&e->work[i]))
            return true;
    return false;
}

/* A VLAN can't have more than the link below it, which may have its own only the next time. */
static void give_mtus(struct engine *e, const struct links *now)
{
    for (size_t i = 0; i < e->start.count; i++) {
        const struct link *was = &e->start.link[i], *is = links_find(now, was->name);
        const struct work *w = link_has_mtu(was, is) ? NULL : work_of(e, was);
        struct engine_finding *f =
            w ? add_finding(e, was->name, w->stack->name, PLAN_BY_HAND) : NULL;

        if (f && link_set_mtu(is, was->mtu) == 0)
            f->done |= DONE_UP;
    }
}

static void tell_again(struct engine *e, const struct links *now, int64_t waited_ms)
{
    for (size_t i = 0; i < e->start.count; i++) {
        const struct link *was = &e->start.link[i], *is = links_find(now, was->name);
        struct work *w = is ? work_of(e, was) : NULL;
        char lacks[ENGINE_LACKS_SIZE] = "";

        if (w && w->stack->again)
            link_lacks(was, is, lacks, sizeof(lacks));
        if (*lacks)
            w->stack->again(w, is, waited_ms);
    }
}

/* Tools may return before addresses are there; the kernel says when they are. */
static bool wait_until_back(struct engine *e)
{
    int64_t now = (int64_t)(sys_boottime() / 1000000);
    int64_t end = now + (settles(e) ? left_ms(e) : SYNC_WAIT_MS), again = now;
    struct error ignored = { 0 };

    for (int64_t begin = now;; now = (int64_t)(sys_boottime() / 1000000)) {
        AUTO_LINKS links = { 0 };
        bool asked = links_read(&links, &ignored) == 0;
        int64_t poll = (now - begin) / 20; /* so that little is added to what the stack takes */

        if (asked && all_back(e, &links, false))
            return true;
        if (now >= end) {
            if (asked)
                (void)all_back(e, &links, true);
            return false;
        }
        give_mtus(e, &links);
        if (now >= again) {
            tell_again(e, &links, now - begin);
            again = now + (now - begin) + POLL_MS; /* at 0, 50, 150, 350 ms and so on */
        }
        sys_sleep_ms(poll < POLL_MIN_MS ? POLL_MIN_MS : poll > POLL_MS ? POLL_MS : (int)poll);
    }
}

bool engine_after(struct engine *e)
{
    if (!e->acts)
        return true;
    for (size_t i = 0; i < e->count; i++)
        if (work_acts(&e->work[i]))
            e->work[i].stack->after(&e->work[i]);
    for (size_t i = 0; i < e->count; i++)
        for (size_t j = 0; j < e->work[i].plan.count; j++) {
            struct work *w = &e->work[i];

            if (w->plan.move[j].change != PLAN_SAME)
                work_done(w, w->plan.move[j].name, w->reloaded ? DONE_RELOADED : 0);
        }
    return wait_until_back(e);
}

void engine_not_back(const struct engine *e, char *text, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < e->findings && n < size; i++)
        if (*e->finding[i].lacks)
            n += (size_t)snprintf(text + n, size - n, "%s%s (%s)", n ? ", " : "",
                                  e->finding[i].name, e->finding[i].lacks);
    if (n == 0)
        snprintf(text, size, "the kernel does not say which");
}

const char *engine_unread(const struct engine *e)
{
    for (size_t i = 0; e->acts && i < e->count; i++)
        if (e->work[i].now.unread)
            return e->work[i].now.unread;
    return NULL;
}

const char *engine_said(struct engine *e)
{
    if (!e->said.len)
        return "";
    buffer_add(&e->said, "", 1);
    e->said.len--;
    return e->said.failed ? "" : e->said.data;
}

void engine_free(struct engine *e)
{
    for (size_t i = 0; i < e->count; i++) {
        plan_free(&e->work[i].plan);
        model_free(&e->work[i].was);
        model_free(&e->work[i].now);
    }
    links_free(&e->start);
    links_free(&e->present);
    buffer_free(&e->said);
    free(e->finding);
    *e = (struct engine){ .acts = false };
}
