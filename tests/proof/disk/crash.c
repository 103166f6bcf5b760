/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crash.h"

#include <stdio.h>
#include <string.h>

const char *const personality_name[PERSONALITIES] = { "posix", "ext4", "xfs", "btrfs" };

enum { KEYS_MAX = 256 };

/*
 * What survives independently of everything else, and how many versions of it
 * there are.  A choice says of each key how many of its versions happened.
 */
struct key {
    enum op_kind kind;
    int inode;
    uint32_t text;
    int versions, last_call;
    bool coarse; /* none or all of them */
};

struct enumeration {
    struct crash *c;
    const struct log *log;
    int upto;
    int keys;
    struct key key[KEYS_MAX];
    int choice[KEYS_MAX];
    bool reached[INODES_MAX]; /* with the names that are chosen */
    bool always[OPS_MAX];
    int16_t of[OPS_MAX];      /* the key, -1: none, so always or never */
    int16_t version[OPS_MAX]; /* counted from 1 */
    bool kept[OPS_MAX];
};

static bool structural(const struct op *op)
{
    return op->kind == OP_MAKE || ((op->kind == OP_DATA || op->kind == OP_SIZE) && op->type == 'l');
}

/* On the filesystems with transactions. */
static bool in_transaction(const struct op *op)
{
    return op->kind == OP_META || op->kind == OP_NAME || (op->kind == OP_SIZE && !op->delayed);
}

static void begin(struct enumeration *e, struct crash *c, const struct log *log, int upto)
{
    e->c = c;
    e->log = log;
    e->upto = upto;
    e->keys = 0;
    for (int i = 0; i < upto; i++) {
        e->always[i] = structural(&log->op[i]);
        e->of[i] = -1;
    }
}

static void add_to_key(struct enumeration *e, int i, bool coarse)
{
    const struct op *op = &e->log->op[i];
    enum op_kind kind = op->kind;
    struct key *k = e->key;

    /* The data that makes a file grow and its size are one thing where there are transactions. */
    if (kind == OP_SIZE && op->delayed && e->c->personality != POSIX)
        kind = OP_DATA;
    for (; k < e->key + e->keys; k++)
        if (k->kind == kind && k->inode == op->inode && k->text == op->text)
            break;
    if (k == e->key + e->keys) {
        if (e->keys++ == KEYS_MAX)
            die("too many unsynced things");
        *k = (struct key){ .kind = kind, .inode = op->inode, .text = op->text, .last_call = -1 };
    }
    if (k->last_call != op->call) {
        k->versions++;
        k->last_call = op->call;
    }
    k->coarse = k->coarse || coarse;
    e->of[i] = (int16_t)(k - e->key);
    e->version[i] = (int16_t)k->versions;
}

static void emit(struct enumeration *e)
{
    struct image left;

    image_copy(&left, &e->log->base);
    for (int i = 0; i < e->upto; i++)
        if (e->kept[i])
            op_apply(&left, &e->log->op[i]);
    image_collect(&left);
    e->c->found(e->c->context, &left, e->log, e->upto, e->kept);
}

static bool kept_by_choice(const struct enumeration *e, int i)
{
    return e->always[i] || (e->of[i] >= 0 && e->version[i] <= e->choice[e->of[i]]);
}

static void emit_choice(struct enumeration *e)
{
    for (int i = 0; i < e->upto; i++)
        e->kept[i] = kept_by_choice(e, i);
    emit(e);
}

static uint32_t chance(struct crash *c, uint32_t n)
{
    c->seed = c->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((c->seed >> 33) % n);
}

static void all_of(struct enumeration *e, int versions)
{
    for (int k = 0; k < e->keys; k++)
        e->choice[k] = versions ? e->key[k].versions : 0;
}

static void reach(struct enumeration *e)
{
    struct image left;

    image_copy(&left, &e->log->base);
    for (int i = 0; i < e->upto; i++)
        if ((e->log->op[i].kind == OP_NAME || e->log->op[i].kind == OP_MAKE) && kept_by_choice(e, i))
            op_apply(&left, &e->log->op[i]);
    image_reach(&left, e->reached);
}

/*
 * Names are chosen first: of an inode that none of them leads to nobody can
 * see what was lost, so nothing else is chosen for it.
 */
static bool is_chosen(const struct enumeration *e, const struct key *k, bool names)
{
    return names ? k->kind == OP_NAME : k->kind != OP_NAME && e->reached[k->inode];
}

static int versions_of(const struct key *k, bool coarse)
{
    return coarse && k->coarse ? 1 : k->versions;
}

static uint64_t combinations(const struct enumeration *e, bool names, bool coarse)
{
    uint64_t n = 1;

    for (int k = 0; k < e->keys && n < (uint64_t)1 << 40; k++)
        if (is_chosen(e, &e->key[k], names))
            n *= (uint64_t)versions_of(&e->key[k], coarse) + 1;
    return n;
}

static bool next_choice(struct enumeration *e, bool names, bool coarse)
{
    for (int k = 0; k < e->keys; k++) {
        if (!is_chosen(e, &e->key[k], names))
            continue;
        e->choice[k] += e->key[k].versions / versions_of(&e->key[k], coarse);
        if (e->choice[k] <= e->key[k].versions)
            return true;
        e->choice[k] = 0;
    }
    return false;
}

/* How many there are that can be told apart; no more than one beyond the limit is counted. */
static uint64_t count_choices(struct enumeration *e, bool coarse)
{
    uint64_t n = combinations(e, true, coarse);

    if (n > e->c->limit)
        return n;
    n = 0;
    all_of(e, 0);
    do {
        reach(e);
        n += combinations(e, false, coarse);
    } while (n <= e->c->limit && next_choice(e, true, coarse));
    return n;
}

static void every_choice(struct enumeration *e, bool coarse)
{
    all_of(e, 0);
    do {
        reach(e);
        do
            emit_choice(e);
        while (next_choice(e, false, coarse));
    } while (next_choice(e, true, coarse));
}

/* Too many: none and all, each one alone lost or kept in each version, each two lost, and chance. */
static void some_choices(struct enumeration *e)
{
    for (int all = 0; all <= 1; all++)
        for (int k = 0; k < e->keys; k++)
            for (int v = 0; v <= e->key[k].versions; v++) {
                all_of(e, all);
                e->choice[k] = v;
                emit_choice(e);
            }
    for (int k = 0; k < e->keys; k++)
        for (int other = 0; other < k; other++) {
            all_of(e, 1);
            e->choice[k] = e->choice[other] = 0;
            emit_choice(e);
        }
    for (uint32_t n = 0; n < e->c->samples; n++) {
        for (int k = 0; k < e->keys; k++)
            e->choice[k] = (int)chance(e->c, (uint32_t)e->key[k].versions + 1);
        emit_choice(e);
    }
}

static void choices(struct enumeration *e)
{
    e->c->points++;
    if (count_choices(e, false) <= e->c->limit)
        every_choice(e, false);
    else if (count_choices(e, true) <= e->c->limit) {
        e->c->coarse++;
        every_choice(e, true);
    } else {
        e->c->bounded++;
        some_choices(e);
    }
}

/*
 * Torn content of one file: of its unsynced sectors, in units of `unit`, the
 * first n, all but the n-th, only the n-th; everything else lost or kept.
 */
static void tear(struct enumeration *e, int k, uint32_t unit)
{
    uint32_t first = SECTORS_MAX, last = 0;

    for (int i = 0; i < e->upto; i++)
        if (e->of[i] == k && e->log->op[i].kind == OP_DATA) {
            uint32_t s = e->log->op[i].sector / unit;

            first = s < first ? s : first;
            last = s > last ? s : last;
        }
    if (first >= last)
        return;
    for (int all = 0; all <= 1; all++)
        for (uint32_t n = first; n <= last; n++)
            for (int how = 0; how < 3; how++) {
                all_of(e, all);
                for (int i = 0; i < e->upto; i++) {
                    const struct op *op = &e->log->op[i];
                    uint32_t s = op->sector / unit;

                    e->kept[i] = kept_by_choice(e, i);
                    if (e->of[i] == k && op->kind == OP_DATA)
                        e->kept[i] = how == 0 ? s <= n : how == 1 ? s != n : s == n;
                }
                emit(e);
            }
}

static void tears(struct enumeration *e)
{
    for (int k = 0; k < e->keys; k++)
        if (e->key[k].kind == OP_DATA) {
            tear(e, k, 1);
            tear(e, k, 4096 / SECTOR);
        }
}

/* ---- what each promises ---- */

/* No descriptor can have a symbolic link open: it is synced with the directory that `s` syncs. */
static bool link_in(const struct log *log, int i, int s)
{
    bool link = false;

    if (log->op[i].kind != OP_META)
        return false;
    for (int j = 0; j < i; j++)
        if (log->op[j].kind == OP_MAKE && log->op[j].inode == log->op[i].inode)
            link = log->op[j].type == 'l';
    for (int j = 0; link && j < s; j++)
        if (log->op[j].kind == OP_NAME && log->op[j].inode == log->op[s].inode &&
            log->op[j].target == log->op[i].inode)
            return true;
    return false;
}

static void crash_posix(struct crash *c, const struct log *log, int upto)
{
    struct enumeration e;

    begin(&e, c, log, upto);
    for (int s = 0; s < upto; s++)
        for (int i = 0; log->op[s].kind == OP_SYNC && i < s; i++)
            if ((log->op[i].inode == log->op[s].inode && !log->op[i].dropped) || link_in(log, i, s))
                e.always[i] = true;
    for (int i = 0; i < upto; i++)
        if (!e.always[i] && log->op[i].kind < OP_SYNC)
            add_to_key(&e, i, log->op[i].kind == OP_META && log->base.inodes > log->op[i].inode &&
                                  log->base.inode[log->op[i].inode].type == 'd');
    choices(&e);
    tears(&e);
}

/* The journal holds everything before operation `cut`. */
static void crash_journal(struct crash *c, const struct log *log, int upto, int cut)
{
    struct enumeration e;

    begin(&e, c, log, upto);
    for (int i = 0; i < upto; i++)
        e.always[i] = e.always[i] || (in_transaction(&log->op[i]) && i < cut);
    for (int s = 0; s < upto; s++) {
        bool sync = log->op[s].kind == OP_SYNC;
        bool flush = log->op[s].kind == OP_FLUSH && c->personality == EXT4 && s < cut;

        /* ext4 gives a file that replaces another its blocks, but does not wait for their content. */
        for (int i = 0; (sync || flush) && i < s; i++)
            if (log->op[i].inode == log->op[s].inode && !in_transaction(&log->op[i]) &&
                (sync || log->op[i].kind == OP_SIZE))
                e.always[i] = true;
    }
    for (int i = 0; i < upto; i++)
        if (!e.always[i] && (log->op[i].kind == OP_DATA || log->op[i].kind == OP_SIZE) &&
            (log->op[i].delayed ? i < cut : log->op[i].kind == OP_DATA))
            add_to_key(&e, i, false);
    choices(&e);
    for (int k = 0; k < e.keys; k++)
        for (int i = 0; i < upto; i++)
            if (e.of[i] == k && !log->op[i].delayed) { /* written in place */
                tear(&e, k, 1);
                tear(&e, k, 4096 / SECTOR);
                break;
            }
}

/* Whether the name that operation `i` gave still leads there at `s`. */
static bool still_named(const struct log *log, int i, int s)
{
    for (int j = i + 1; j < s; j++)
        if (log->op[j].kind == OP_NAME && log->op[j].inode == log->op[i].inode &&
            log->op[j].text == log->op[i].text)
            return false;
    return true;
}

/* What the fsync at `s` put into the tree log: that inode, and the names of a new one. */
static void keep_logged(struct enumeration *e, int s, int inode, int cut, bool content)
{
    const struct log *log = e->log;
    bool made = false;

    for (int i = cut; i < s; i++)
        made = made || (log->op[i].kind == OP_MAKE && log->op[i].inode == inode);
    for (int i = 0; i < s; i++) {
        const struct op *op = &log->op[i];

        if (op->inode == inode && op->kind < OP_SYNC &&
            (content || (op->kind != OP_DATA && !op->delayed))) {
            e->always[i] = true;
            /*
             * A directory brings along the inodes that were named in it since, new ones
             * and old ones (a link, renamed after its times were set), without their data.
             */
            if (op->kind == OP_NAME && op->target >= 0 && i >= cut && still_named(log, i, s))
                keep_logged(e, s, op->target, cut, false);
        }
        if (made && content && op->kind == OP_NAME && op->target == inode)
            for (int j = i; j < s; j++)
                if (log->op[j].kind == OP_NAME && log->op[j].inode == op->inode &&
                    log->op[j].text == op->text)
                    e->always[j] = true;
    }
}

/* The last transaction holds everything before `cut`; fsyncs after it hold theirs. */
static void crash_btrfs(struct crash *c, const struct log *log, int upto, int cut)
{
    struct enumeration e;

    begin(&e, c, log, upto);
    for (int i = 0; i < cut; i++)
        e.always[i] = e.always[i] || in_transaction(&log->op[i]);
    for (int s = 0; s < upto; s++) {
        if (log->op[s].kind != OP_SYNC)
            continue;
        if (s >= cut)
            keep_logged(&e, s, log->op[s].inode, cut, true);
        for (int i = 0; i < s; i++)
            if (log->op[i].inode == log->op[s].inode &&
                (log->op[i].kind == OP_DATA || log->op[i].delayed))
                e.always[i] = true;
    }
    for (int i = 0; i < cut; i++)
        if (!e.always[i] && (log->op[i].kind == OP_DATA || log->op[i].delayed))
            add_to_key(&e, i, false);
    choices(&e);
}

/*
 * How much the journal holds at least, when the fsync at `s` has returned:
 * everything up to the last operation on that inode.  Of one on which nothing
 * happened it holds nothing new, whatever happened elsewhere.
 */
static int journalled(const struct log *log, int s)
{
    for (int i = s; i-- > 0;)
        if (log->op[i].kind < OP_SYNC && log->op[i].inode == log->op[s].inode)
            return i + 1;
    return 0;
}

void crash_at(struct crash *c, const struct log *log, int upto)
{
    int synced = 0;

    if (c->personality == POSIX) {
        crash_posix(c, log, upto);
        return;
    }
    for (int i = 0; i < upto; i++)
        if (log->op[i].kind == OP_SYNC && journalled(log, i) > synced)
            synced = journalled(log, i);
    for (int cut = c->personality == BTRFS ? 0 : synced; cut <= upto; cut++) {
        if (cut > 0 && cut < upto && log->op[cut].call == log->op[cut - 1].call)
            continue;
        if (c->personality == BTRFS)
            crash_btrfs(c, log, upto, cut);
        else
            crash_journal(c, log, upto, cut);
    }
}

void crash_describe(const struct log *log, int upto, const bool *kept)
{
    static const char *const words[] = { "make", "data", "size", "meta", "name", "SYNC", "flush" };

    for (int i = 0; i < upto; i++) {
        const struct op *op = &log->op[i];
        const char *fate = op->kind >= OP_SYNC || !kept ? "    " : kept[i] ? "kept" : "LOST";

        printf("    %4d %s %s inode %d", i, fate, words[op->kind], op->inode);
        if (op->kind == OP_NAME)
            printf(" %s -> %d", text_bytes(op->text, NULL), op->target);
        if (op->kind == OP_DATA)
            printf(" sector %u%s", op->sector, op->delayed ? " (grows)" : "");
        if (op->kind == OP_SIZE)
            printf(" %llu", (unsigned long long)op->size);
        if (op->kind == OP_META)
            printf(" mode %o flags %x mtime %lld", op->m.mode, op->m.flags, (long long)op->m.mtime);
        printf("\n");
    }
}
