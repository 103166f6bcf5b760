/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for the bytes of a snapshot: pure functions over buffers.
 * MUST NOT touch a file; MUST refuse every byte it did not write itself.
 */
#include "archive.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define VERSION_LINE "netcf 1\n"
#define CONTENT_LINE "content 0000000000000000\n"
enum {
    CONTENT_AT = sizeof(VERSION_LINE) - 1 + 8, /* the sixteen digits */
    HEADER_LINES = sizeof(VERSION_LINE) - 1 + sizeof(CONTENT_LINE) - 1
};

/* ---- tar ---- */

struct ustar {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type;
    char linkname[100], magic[8], uname[32], gname[32], devmajor[8], devminor[8], prefix[155];
    char unused[12];
};
_Static_assert(sizeof(struct ustar) == ARCHIVE_BLOCK, "ustar header");

static void pad_block(struct buffer *b)
{
    static const char zeros[ARCHIVE_BLOCK];

    buffer_add(b, zeros, (ARCHIVE_BLOCK - b->len % ARCHIVE_BLOCK) % ARCHIVE_BLOCK);
}

/* Octal, cut to the field: what does not fit is said again in the pax header. */
static void octal(char *field, size_t size, uint64_t value)
{
    for (size_t i = size - 1; i-- > 0; value >>= 3)
        field[i] = (char)('0' + (value & 7));
}

static void text_field(char *field, size_t size, const char *text)
{
    size_t n = strlen(text);

    memcpy(field, text, n < size ? n : size);
}

/* "LENGTH KEY=VALUE\n", where the length counts itself. */
static void pax_record(struct buffer *b, const char *key, const char *attr, const void *value,
                       size_t len)
{
    size_t rest = 1 + strlen(key) + strlen(attr) + 1 + len + 1, digits = 1;

    for (size_t power = 10; rest + digits >= power; power *= 10)
        digits++;
    buffer_number(b, rest + digits, 10, 1, ' ');
    buffer_text(b, key);
    buffer_text(b, attr);
    buffer_text(b, "=");
    buffer_add(b, value, len);
    buffer_text(b, "\n");
}

static void pax_text(struct buffer *b, const char *key, const char *value)
{
    pax_record(b, key, "", value, strlen(value));
}

static void pax_number(struct buffer *b, const char *key, uint64_t value)
{
    AUTO_BUFFER text = { 0 };

    buffer_number(&text, value, 10, 1, '\0');
    pax_record(b, key, "", text.data, text.len);
}

/* Without its sign; the least one, which some filesystems store, has no positive. */
static uint64_t magnitude(int64_t n)
{
    return n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
}

/* A decimal fraction counts away from zero, a timespec always forward. */
static void pax_mtime(struct buffer *b, struct stamp t)
{
    bool back = t.sec < 0 && t.nsec;
    int64_t sec = t.sec + back;
    char text[40];
    struct buffer digits = { .data = text, .size = sizeof(text) };

    if (t.sec < 0)
        buffer_text(&digits, "-");
    buffer_number(&digits, magnitude(sec), 10, 1, '.');
    buffer_number(&digits, back ? 1000000000u - t.nsec : t.nsec, 10, 9, '\0');
    pax_record(b, "mtime", "", text, digits.len);
}

static uint32_t le32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/*
 * An ACL again as text, the way star and GNU tar --acls know it: rows of tag
 * (2 bytes), permissions (2), id (4) behind a version of 4.  Numbers, not
 * names: nobody's name can be asked for at boot.
 */
static void pax_acl(struct buffer *b, const char *key, const struct xattr *x)
{
    static const struct {
        unsigned tag;
        const char *word;
        bool with_id;
    } tags[] = { { 0x01, "user:", false }, { 0x02, "user:", true },   { 0x04, "group:", false },
                 { 0x08, "group:", true }, { 0x10, "mask:", false },  { 0x20, "other:", false } };
    AUTO_BUFFER text = { 0 };

    if (x->len < 4 || le32(x->value) != 2)
        return;
    for (size_t at = 4; at + 8 <= x->len; at += 8) {
        uint32_t tag_and_permissions = le32(x->value + at), p = tag_and_permissions >> 16;
        char permissions[] = { p & 4 ? 'r' : '-', p & 2 ? 'w' : '-', p & 1 ? 'x' : '-', '\0' };

        for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
            if (tags[i].tag != (tag_and_permissions & 0xffff))
                continue;
            buffer_text(&text, text.len ? "," : "");
            buffer_text(&text, tags[i].word);
            if (tags[i].with_id)
                buffer_number(&text, le32(x->value + at + 4), 10, 1, '\0');
            buffer_text(&text, ":");
            buffer_text(&text, permissions);
        }
    }
    b->failed = b->failed || text.failed;
    pax_record(b, key, "", text.data, text.len);
}

/*
 * What the old header has no room for.  The fraction of a second is no reason
 * for a pax header: it would make an archive of small files half as large
 * again, and this program takes it from the manifest.
 */
static void pax_records(struct buffer *b, const struct entry *e, const char *path,
                        const char *linkname)
{
    size_t start = b->len;
    struct xattr x;
    char text[48];

    if (strlen(path) > sizeof(((struct ustar *)0)->name))
        pax_text(b, "path", path);
    if (strlen(linkname) > sizeof(((struct ustar *)0)->linkname))
        pax_text(b, "linkpath", linkname);
    if (e->st.uid > 07777777)
        pax_number(b, "uid", e->st.uid);
    if (e->st.gid > 07777777)
        pax_number(b, "gid", e->st.gid);
    if (e->st.flags) {
        snprintf(text, sizeof(text), "%s%s%s", e->st.flags & FLAG_IMMUTABLE ? ",schg" : "",
                 e->st.flags & FLAG_APPEND ? ",sappnd" : "",
                 e->st.flags & FLAG_NODUMP ? ",nodump" : "");
        pax_text(b, "SCHILY.fflags", text + 1);
    }
    for (size_t i = 0; xattr_next(e->xattr, e->xattr_len, &i, &x);) {
        pax_record(b, "SCHILY.xattr.", x.name, x.value, x.len);
        if (!strcmp(x.name, "system.posix_acl_access"))
            pax_acl(b, "SCHILY.acl.access", &x);
        if (!strcmp(x.name, "system.posix_acl_default"))
            pax_acl(b, "SCHILY.acl.default", &x);
    }
    if (e->st.mtime.sec < 0 || e->st.mtime.sec >> 33 || (e->st.mtime.nsec && b->len > start))
        pax_mtime(b, e->st.mtime);
}

static unsigned sum_of(const char *bytes, size_t n)
{
    unsigned sum = 0;

    while (n--)
        sum += (unsigned char)*bytes++;
    return sum;
}

/* Fills in a zeroed header. */
static void header(struct ustar *h, const struct entry *e, char type, const char *path,
                   const char *linkname, uint64_t size)
{
    unsigned sum;

    h->type = type;
    text_field(h->name, sizeof(h->name), path);
    text_field(h->linkname, sizeof(h->linkname), linkname);
    octal(h->mode, sizeof(h->mode), e->st.mode & 07777);
    octal(h->uid, sizeof(h->uid), e->st.uid);
    octal(h->gid, sizeof(h->gid), e->st.gid);
    octal(h->size, sizeof(h->size), size);
    octal(h->mtime, sizeof(h->mtime), e->st.mtime.sec < 0 ? 0 : (uint64_t)e->st.mtime.sec);
    memcpy(h->magic, "ustar\00000", sizeof(h->magic));
    memset(h->checksum, ' ', sizeof(h->checksum));
    /* All else is zero. */
    sum = sum_of(h->name, strnlen(h->name, sizeof(h->name))) +
          sum_of(h->mode, offsetof(struct ustar, linkname) - offsetof(struct ustar, mode)) +
          sum_of(h->linkname, strnlen(h->linkname, sizeof(h->linkname))) +
          sum_of(h->magic, sizeof(h->magic));
    octal(h->checksum, 7, sum);
    h->checksum[6] = '\0';
}

static const struct entry plain = { .st = { .mode = 0600 } };

void archive_member(struct buffer *b, const struct entry *e, const struct entry *first)
{
    const char *linkname = first != e ? first->path : e->type == 'l' ? e->target : "";
    char type = first != e ? '1' : e->type == 'l' ? '2' : e->type == 'd' ? '5' : '0';
    char path[PATH_SIZE + 1];
    size_t start = b->len;
    struct ustar *h;

    memcpy(path, e->path, strlen(e->path) + 1);
    if (type == '5')
        strcat(path, "/");
    buffer_claim(b, ARCHIVE_BLOCK); /* for the pax header, where one is needed */
    pax_records(b, e, path, linkname);
    if (b->failed)
        return;
    h = (void *)(b->data + start);
    if (b->len > start + ARCHIVE_BLOCK) {
        header(h, &plain, 'x', "pax", "", b->len - start - ARCHIVE_BLOCK);
        pad_block(b);
        h = buffer_claim(b, ARCHIVE_BLOCK);
    }
    if (h)
        header(h, e, type, path, linkname, type == '0' ? e->st.size : 0);
}

void archive_manifest_member(struct buffer *b, size_t manifest_len)
{
    void *h = buffer_claim(b, ARCHIVE_BLOCK);

    if (h)
        header(h, &plain, '0', PATH_STATE "/manifest", "", manifest_len);
}

/* ---- manifest, writing ---- */

static const char hex_digits[] = "0123456789abcdef";

static bool must_escape(unsigned char c)
{
    return c <= ' ' || c >= 0x7f || c == '%';
}

/* Bytes as one word of printable ASCII: %XX for the rest. */
static void add_word(struct buffer *b, const void *bytes, size_t n)
{
    const unsigned char *p = bytes, *end = p + n;

    while (p < end) {
        const unsigned char *first = p;

        while (p < end && !must_escape(*p))
            p++;
        buffer_add(b, first, (size_t)(p - first));
        if (p == end)
            return;
        buffer_text(b, "%");
        buffer_number(b, *p++, 16, 2, '\0');
    }
}

static void add_hex(struct buffer *b, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buffer_number(b, bytes[i], 16, 2, '\0');
}

static void add_number(struct buffer *b, uint64_t value, unsigned base, char end)
{
    buffer_number(b, value, base, 1, end);
}

static void add_stamp(struct buffer *b, struct stamp t, char end)
{
    if (t.sec < 0)
        buffer_add(b, "-", 1);
    buffer_number(b, magnitude(t.sec), 10, 1, '.');
    buffer_number(b, t.nsec, 10, 9, end);
}

static void add_line(struct buffer *b, const char *key, const char *value)
{
    buffer_text(b, key);
    buffer_text(b, " ");
    add_word(b, value, strlen(value));
    buffer_text(b, "\n");
}

static void add_entry_lines(struct buffer *b, const struct entry *e)
{
    const struct sys_stat *st = &e->st;
    struct xattr x;

    buffer_add(b, (char[]){ e->context ? 'p' : e->type, ' ' }, 2);
    add_number(b, st->mode & 07777, 8, ' ');
    add_number(b, st->uid, 10, ' ');
    add_number(b, st->gid, 10, ' ');
    add_stamp(b, st->mtime, ' ');
    add_stamp(b, st->ctime, ' ');
    add_number(b, st->dev, 10, ' ');
    add_number(b, st->ino, 10, ' ');
    add_number(b, st->nlink, 10, ' ');
    add_number(b, st->flags, 16, ' ');
    add_number(b, e->type == 'f' ? st->size : 0, 10, ' ');
    add_number(b, e->offset, 10, ' ');
    add_word(b, e->path, strlen(e->path));
    buffer_text(b, "\n");
    if (e->type == 'l')
        add_line(b, "t", e->target);
    for (size_t i = 0; xattr_next(e->xattr, e->xattr_len, &i, &x);) {
        buffer_text(b, "x ");
        add_word(b, x.name, strlen(x.name));
        buffer_text(b, " ");
        add_word(b, x.value, x.len);
        buffer_text(b, "\n");
    }
}

void archive_manifest(struct buffer *b, const struct manifest *m, const struct scope *scope,
                      const struct listing *l)
{
    size_t pad;

    buffer_room(b, l->count * 192); /* about what it will be: growing costs more than too much */
    buffer_text(b, VERSION_LINE CONTENT_LINE "kind ");
    buffer_add(b, (char[]){ (char)m->kind }, 1);
    add_line(b, "\nid", m->id);
    buffer_text(b, "started ");
    add_stamp(b, m->started, '\n');
    buffer_text(b, "by ");
    add_number(b, m->uid, 10, ' ');
    add_number(b, m->pid, 10, '\n');
    add_line(b, "program", m->program);
    add_line(b, "boot", m->boot);
    add_line(b, "note", m->note);
    if (m->deadline) {
        buffer_text(b, "deadline ");
        add_number(b, m->deadline, 10, ' ');
        add_number(b, m->due, 10, '\n');
        add_line(b, "due-boot", m->due_boot);
    }
    if (m->has_leash) {
        buffer_text(b, "leash ");
        add_number(b, m->grace, 10, '\n');
    }
    if (m->trial_boots) {
        buffer_text(b, "trial-boots ");
        add_number(b, m->trial_boots, 10, '\n');
    }
    if (m->has_token) {
        buffer_text(b, "token ");
        add_hex(b, m->salt, sizeof(m->salt));
        buffer_text(b, " ");
        add_hex(b, m->token, sizeof(m->token));
        buffer_text(b, "\n");
    }
    for (size_t i = 0; i < scope->count; i++)
        add_line(b, scope->pattern[i].exclude ? "exclude" : "include", scope->pattern[i].text);
    if (m->links_len)
        buffer_add(b, m->links, m->links_len);
    for (size_t i = 0; i < l->count; i++)
        add_entry_lines(b, &l->entry[i]);
    /* A comment fills the last block, so that the end line is at a known place. */
    pad = ARCHIVE_BLOCK - (b->len + 2 + ARCHIVE_END_LINE) % ARCHIVE_BLOCK;
    buffer_text(b, "#");
    while (pad--)
        buffer_text(b, ".");
    buffer_text(b, "\n");
    buffer_text(b, "end ");
    buffer_number(b, b->len - 4 + ARCHIVE_END_LINE, 10, 12, ' ');
    buffer_text(b, "0000000000000000\n");
}

static void put_hex64(char *digits, uint64_t value)
{
    for (int i = 15; i >= 0; i--, value >>= 4)
        digits[i] = hex_digits[value & 15];
}

void archive_seal(struct buffer *manifest, uint64_t content)
{
    struct xxh64 sum;

    if (manifest->failed)
        return;
    put_hex64(manifest->data + CONTENT_AT, content);
    xxh64_init(&sum);
    xxh64_add(&sum, manifest->data, manifest->len - 17);
    put_hex64(manifest->data + manifest->len - 17, xxh64_value(&sum));
}

/* ---- manifest, reading ---- */

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Digits of the given base up to `end`, which must follow; moves *p behind it. */
static bool read_number(char **p, char end, unsigned base, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;
    char *start = *p, *c = start;

    for (; *c != end; c++) {
        unsigned digit = (unsigned)(*c - '0');

        if (digit > 9)
            digit = (unsigned)hex_value(*c);
        if (digit >= base || __builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    /* Exactly as written: no leading zeros but in fields of fixed width. */
    if (c == start || (*start == '0' && c - start > 1 && base != 16) || value > max)
        return false;
    *p = c + 1;
    *ret = value;
    return true;
}

static bool read_u32(char **p, char end, unsigned base, uint64_t max, uint32_t *ret)
{
    uint64_t value;

    if (!read_number(p, end, base, max, &value))
        return false;
    *ret = (uint32_t)value;
    return true;
}

static bool read_stamp(char **p, char end, struct stamp *ret)
{
    bool negative = **p == '-';
    uint64_t sec;
    uint32_t nsec = 0;
    char *c;

    *p += negative;
    if (!read_number(p, '.', 10, (uint64_t)INT64_MAX + negative, &sec) || (negative && !sec))
        return false;
    for (c = *p; c < *p + 9; c++) {
        if (*c < '0' || *c > '9')
            return false;
        nsec = nsec * 10 + (uint32_t)(*c - '0');
    }
    if (*c != end)
        return false;
    *p = c + 1;
    *ret = (struct stamp){ (int64_t)(negative ? 0 - sec : sec), nsec };
    return true;
}

/* Undoes add_word() in place, up to `end`; the result has a NUL behind it. */
static bool read_word(char **p, char end, char **ret, size_t *ret_len)
{
    char *in = *p, *out;

    *ret = *p;
    while (*in != end && !must_escape((unsigned char)*in))
        in++;
    for (out = in; *in != end; in++, out++) {
        if (*in <= ' ' || *in >= 0x7f)
            return false;
        *out = *in;
        if (*in == '%') {
            int high = hex_value(in[1]), low = high < 0 ? -1 : hex_value(in[2]);

            if (low < 0 || !must_escape((unsigned char)(high << 4 | low)))
                return false;
            *out = (char)(high << 4 | low);
            in += 2;
        }
    }
    *p = in + 1;
    *ret_len = (size_t)(out - *ret);
    *out = '\0';
    return true;
}

/* A word without NUL bytes. */
static bool read_string(char **p, char end, char **ret)
{
    size_t len;

    return read_word(p, end, ret, &len) && strlen(*ret) == len;
}

static bool read_text(char **p, char *field, size_t size)
{
    char *text;

    if (!read_string(p, '\n', &text) || strlen(text) >= size)
        return false;
    memcpy(field, text, strlen(text) + 1);
    return true;
}

static bool read_hex(char **p, char end, unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++, *p += 2) {
        int high = hex_value((*p)[0]), low = high < 0 ? -1 : hex_value((*p)[1]);

        if (low < 0)
            return false;
        bytes[i] = (unsigned char)(high << 4 | low);
    }
    return *(*p)++ == end;
}

static bool take(char **p, const char *key)
{
    char *c = *p;

    for (; *key; c++, key++)
        if (*c != *key)
            return false;
    *p = c;
    return true;
}

static bool read_head(char **p, struct manifest *m)
{
    uint64_t kind;

    *m = (struct manifest){ .deadline = 0 }; /* lines that may be left out */
    if (!take(p, "kind "))
        return false;
    kind = (unsigned char)*(*p)++;
    m->kind = (enum archive_kind)kind;
    if ((kind != ARCHIVE_WHOLE && kind != ARCHIVE_ON_WRITE && kind != ARCHIVE_DISCARDED) ||
        !take(p, "\nid ") || !read_text(p, m->id, sizeof(m->id)) ||
        strspn(m->id, hex_digits) != NCF_ID_SIZE - 1 || !take(p, "started ") ||
        !read_stamp(p, '\n', &m->started) || m->started.sec < 0 || !take(p, "by ") ||
        !read_u32(p, ' ', 10, UINT32_MAX, &m->uid) || !read_u32(p, '\n', 10, UINT32_MAX, &m->pid) ||
        !take(p, "program ") || !read_text(p, m->program, sizeof(m->program)) ||
        !take(p, "boot ") || !read_text(p, m->boot, sizeof(m->boot)) || !take(p, "note ") ||
        !read_text(p, m->note, sizeof(m->note)))
        return false;
    if (take(p, "deadline ") &&
        (!read_u32(p, ' ', 10, UINT32_MAX, &m->deadline) || m->deadline == 0 ||
         !read_number(p, '\n', 10, UINT64_MAX, &m->due) || !take(p, "due-boot ") ||
         !read_text(p, m->due_boot, sizeof(m->due_boot))))
        return false;
    m->has_leash = take(p, "leash ");
    if (m->has_leash && !read_u32(p, '\n', 10, UINT32_MAX, &m->grace))
        return false;
    if (take(p, "trial-boots ") &&
        (!read_u32(p, '\n', 10, UINT32_MAX, &m->trial_boots) || m->trial_boots == 0))
        return false;
    m->has_token = take(p, "token ");
    return !m->has_token || (read_hex(p, ' ', m->salt, sizeof(m->salt)) &&
                             read_hex(p, '\n', m->token, sizeof(m->token)));
}

static bool read_patterns(char **p, struct scope *scope, struct error *err)
{
    char *text;
    bool exclude;

    for (;;) {
        exclude = take(p, "exclude ");
        if (!exclude && !take(p, "include "))
            return true;
        if (!read_string(p, '\n', &text) || *text == '/' || scope_add(scope, text, exclude, err))
            return false;
    }
}

/* Lines that only interface/link.c takes apart.  Absent in a change that was started elsewhere. */
static bool read_links(char **p, struct manifest *m)
{
    char *start = *p;

    while (!strncmp(*p, "link ", 5)) {
        *p += strcspn(*p, "\n");
        if (!**p)
            return false;
        (*p)++;
    }
    m->links_len = (size_t)(*p - start);
    m->links = m->links_len ? start : NULL;
    return true;
}

/* The lines that belong to the entry before: t TARGET, x NAME VALUE. */
static bool read_entry_rest(char **p, struct entry *e, struct listing *l, struct error *err)
{
    AUTO_BUFFER packed = { 0 };
    char *name, *value, *target;
    size_t len;

    if (e->type == 'l') {
        if (!take(p, "t ") || !read_string(p, '\n', &target) || !*target)
            return false;
        e->target = target;
    }
    while (take(p, "x ")) {
        if (!read_string(p, ' ', &name) || !*name || !read_word(p, '\n', &value, &len))
            return false;
        xattr_pack(&packed, name, value, len);
    }
    e->xattr_len = packed.len;
    e->xattr = packed.len ? (unsigned char *)arena_copy(&l->memory, packed.data, packed.len) : NULL;
    if (packed.failed || (packed.len && !e->xattr))
        return error_file(err, STEP_MEMORY, ENOMEM, e->path) == 0; /* not damage */
    return true;
}

static uint32_t type_bits(char type)
{
    return type == 'f' ? S_IFREG : type == 'd' ? S_IFDIR : type == 'l' ? S_IFLNK : 0;
}

static bool read_entry(char **p, struct entry *e, struct listing *l, uint64_t manifest_offset,
                       struct error *err)
{
    struct sys_stat *st = &e->st;
    char *path;

    *e = (struct entry){ .type = **p, .saved = true };
    if (!strchr("fdlsp-", e->type) || !take(p, (char[]){ e->type, ' ', 0 }))
        return false;
    e->context = e->type == 'p';
    if (e->context)
        e->type = 'd';
    if (!read_u32(p, ' ', 8, 07777, &st->mode) || !read_u32(p, ' ', 10, UINT32_MAX, &st->uid) ||
        !read_u32(p, ' ', 10, UINT32_MAX, &st->gid) || !read_stamp(p, ' ', &st->mtime) ||
        !read_stamp(p, ' ', &st->ctime) || !read_number(p, ' ', 10, UINT64_MAX, &st->dev) ||
        !read_number(p, ' ', 10, UINT64_MAX, &st->ino) ||
        !read_u32(p, ' ', 10, UINT32_MAX, &st->nlink) ||
        (**p == '0' && (*p)[1] != ' ') || !read_u32(p, ' ', 16, FLAGS_KEPT, &st->flags) ||
        !read_number(p, ' ', 10, manifest_offset, &st->size) ||
        !read_number(p, ' ', 10, manifest_offset - st->size, &e->offset) ||
        !read_string(p, '\n', &path) || (st->flags & ~(uint32_t)FLAGS_KEPT) ||
        (e->type != 'f' && st->size))
        return false;
    st->mode |= type_bits(e->type);
    e->path = path;
    return read_entry_rest(p, e, l, err);
}

/*
 * Beneath the root, outside the state directory, in order, and nothing there
 * behind `leaf`, the last path of which the snapshot itself says that it is no
 * directory.  That nothing is there can be said: it was, before the leaf came.
 */
static bool path_allowed(const struct entry *e, const struct listing *l, const char *leaf)
{
    if (!path_valid(e->path) || path_beneath(e->path, PATH_STATE) ||
        path_is_temp(path_name(e->path)))
        return false;
    if (l->count && path_compare(l->entry[l->count - 1].path, e->path) >= 0)
        return false;
    return e->type == '-' || !leaf || !path_beneath(e->path, leaf);
}

static int read_entries(char **p, struct listing *l, uint64_t manifest_offset, struct error *err,
                        const char *name)
{
    const char *leaf = NULL;
    struct entry e;

    while (**p != '#') {
        if (!read_entry(p, &e, l, manifest_offset, err))
            return error_set(err, NCF_EFILE, STEP_FORMAT, 0, name);
        if (!path_allowed(&e, l, leaf))
            return error_set(err, NCF_EFILE, STEP_SNAPSHOT_PATH, 0, e.path);
        if (e.type != 'd' && e.type != '-')
            leaf = e.path;
        if (!listing_add(l, &e))
            return error_file(err, STEP_MEMORY, ENOMEM, name);
    }
    if (listing_find_links(l, err))
        return -1;
    for (size_t i = 0; i < l->count; i++) {
        const struct entry *first = &l->entry[l->entry[i].link];

        if (l->entry[i].type == 'f' &&
            (first->offset != l->entry[i].offset || first->st.size != l->entry[i].st.size))
            return error_set(err, NCF_EFILE, STEP_FORMAT, 0, name);
    }
    return 0;
}

int archive_read_end(const char *tail, uint64_t file_size, struct archive_end *ret,
                     struct error *err, const char *name)
{
    char line[ARCHIVE_END_LINE + 1];
    char *p = line;
    uint64_t len, sum;

    memcpy(line, tail, ARCHIVE_END_LINE);
    line[ARCHIVE_END_LINE] = '\0';
    for (size_t i = 0; i < ARCHIVE_END; i++)
        if (tail[ARCHIVE_END_LINE + i])
            return error_set(err, NCF_EFILE, STEP_NOT_A_SNAPSHOT, 0, name);
    if (!take(&p, "end ") || !read_number(&p, ' ', 16, UINT64_MAX, &len) || p != line + 17 ||
        !read_number(&p, '\n', 16, UINT64_MAX, &sum) || p != line + ARCHIVE_END_LINE)
        return error_set(err, NCF_EFILE, STEP_NOT_A_SNAPSHOT, 0, name);
    p = line + 4;
    while (*p == '0')
        p++;
    if (!read_number(&p, ' ', 10, ARCHIVE_MANIFEST_MAX, &len) || len % ARCHIVE_BLOCK ||
        len < HEADER_LINES + ARCHIVE_END_LINE || len + ARCHIVE_BLOCK + ARCHIVE_END > file_size)
        return error_set(err, NCF_EFILE, STEP_TRUNCATED, 0, name);
    *ret = (struct archive_end){ file_size - ARCHIVE_END - len, (size_t)len, sum };
    return 0;
}

/* The comment that fills the last block, then the end line, which archive_read_end() has read. */
static bool read_filling(char *p, const char *end)
{
    if (*p++ != '#')
        return false;
    while (*p == '.')
        p++;
    return *p == '\n' && p + 1 == end - ARCHIVE_END_LINE;
}

int archive_read_manifest(char *text, const struct archive_end *end, struct manifest *ret_manifest,
                          struct scope *ret_scope, struct listing *ret_listing,
                          uint64_t *ret_content, struct error *err, const char *name)
{
    struct xxh64 sum;
    char *p = text;

    xxh64_init(&sum);
    xxh64_add(&sum, text, end->manifest_len - 17);
    if (xxh64_value(&sum) != end->checksum)
        return error_set(err, NCF_EFILE, STEP_CHECKSUM, 0, name);
    if (!take(&p, "netcf "))
        return error_set(err, NCF_EFILE, STEP_FORMAT, 0, name);
    p = text;
    if (!take(&p, VERSION_LINE))
        return error_set(err, NCF_EFILE, STEP_VERSION, 0, name);
    if (!take(&p, "content ") || !read_number(&p, '\n', 16, UINT64_MAX, ret_content) ||
        p != text + HEADER_LINES || !read_head(&p, ret_manifest) ||
        !read_patterns(&p, ret_scope, err) || !read_links(&p, ret_manifest))
        return error_set(err, NCF_EFILE, STEP_FORMAT, 0, name);
    if (!listing_expect(ret_listing, end->manifest_len / 128)) /* about what a line has */
        return error_file(err, STEP_MEMORY, ENOMEM, name);
    if (read_entries(&p, ret_listing, end->manifest_offset, err, name))
        return -1;
    return read_filling(p, text + end->manifest_len)
               ? 0
               : error_set(err, NCF_EFILE, STEP_FORMAT, 0, name);
}
