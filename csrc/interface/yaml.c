/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for reading YAML as far as network configuration uses it.
 * MUST end soon on any bytes, and say where it did not understand them.
 */
#include "interface/yaml.h"

#include <string.h>

/* What ends a plain scalar between brackets. */
static const char BRACKETS[] = ",[]{}";

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Where a line may end as DOS has it. */
static bool at_end_of(const char *p, const char *end)
{
    return p >= end || *p == '\n' || (*p == '\r' && (p + 1 == end || p[1] == '\n'));
}

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

static void not_understood(struct yaml *y)
{
    if (!y->unread)
        y->unread = y->at;
}

/* Nothing after this means what it seems to. */
static bool give_up(struct yaml *y)
{
    not_understood(y);
    y->at = y->end;
    y->depth = 0;
    return false;
}

static void next_line(struct yaml *y)
{
    const char *newline =
        y->at < y->end ? memchr(y->at, '\n', (size_t)(y->end - y->at)) : NULL;

    y->at = y->line = newline ? newline + 1 : y->end;
    y->in_line = false;
}

static void skip_blanks(struct yaml *y)
{
    while (y->at < y->end && blank(*y->at))
        y->at++;
}

/* Behind a value there may be a comment. */
static void end_line(struct yaml *y)
{
    skip_blanks(y);
    if (!at_end_of(y->at, y->end) && (*y->at != '#' || !blank(y->at[-1])))
        not_understood(y);
    next_line(y);
}

static struct yaml_level *top(struct yaml *y)
{
    return &y->path[y->depth - 1];
}

static bool push(struct yaml *y, struct yaml_level level)
{
    if (y->depth == YAML_DEPTH)
        return give_up(y);
    y->path[y->depth++] = level;
    y->has_value = false;
    return true;
}

/* ---- scalars ---- */

/* From a quote to the same one; what is escaped stays so. */
static bool take_quoted(struct yaml *y, const char **ret, size_t *ret_len)
{
    char quote = *y->at;
    const char *p = y->at + 1;

    for (; p < y->end && (*p != quote || (quote == '\'' && p + 1 < y->end && p[1] == quote)); p++)
        p += p + 1 < y->end && (*p == quote || (quote == '"' && *p == '\\'));
    if (p >= y->end)
        return give_up(y);
    *ret = y->at + 1;
    *ret_len = (size_t)(p - *ret);
    y->at = p + 1;
    return true;
}

/* Up to a comment, the end of the line, or what ends a key or, in brackets, an element. */
static void take_plain(struct yaml *y, const char **ret, size_t *ret_len, bool brackets)
{
    const char *p = y->at, *last = p;

    for (; !at_end_of(p, y->end); p++) {
        if ((*p == '#' && blank(p[-1])) || (brackets && is_one_of(*p, BRACKETS)))
            break;
        if (*p == ':' && (at_end_of(p + 1, y->end) || blank(p[1]) ||
                          (brackets && is_one_of(p[1], BRACKETS))))
            break;
        if (!blank(*p))
            last = p + 1;
    }
    *ret = y->at;
    *ret_len = (size_t)(last - y->at);
    y->at = p;
}

static bool take_scalar(struct yaml *y, const char **ret, size_t *ret_len, bool brackets)
{
    if (is_one_of(*y->at, "&*!?%@`"))
        not_understood(y);
    if (*y->at == '"' || *y->at == '\'')
        return take_quoted(y, ret, ret_len);
    take_plain(y, ret, ret_len, brackets);
    return true;
}

/* A ':' that makes a key of what was before it. */
static bool take_colon(struct yaml *y)
{
    const char *p = y->at;

    while (p < y->end && blank(*p))
        p++;
    if (p >= y->end || *p != ':')
        return false;
    y->at = p + 1;
    return true;
}

static bool tell_value(struct yaml *y, const char *value, size_t len)
{
    if (y->has_value || y->depth == 0)
        not_understood(y);
    y->has_value = true;
    y->value = value;
    y->value_len = len;
    return y->depth > 0;
}

/* After '|' or '>': the lines that are further in than the key. */
static bool literal(struct yaml *y)
{
    size_t indent = y->depth ? top(y)->indent : 0;
    const char *from;

    next_line(y);
    from = y->at;
    while (y->at < y->end) {
        const char *p = y->at;

        while (p < y->end && *p == ' ')
            p++;
        if (!at_end_of(p, y->end) && (size_t)(p - y->at) <= indent)
            break;
        next_line(y);
    }
    return tell_value(y, from, (size_t)(y->at - from));
}

/* ---- brackets ---- */

static bool close_bracket(struct yaml *y)
{
    char open = *y->at == ']' ? '[' : '{';

    if (top(y)->bracket != open)
        return give_up(y);
    y->at++;
    y->depth--;
    y->has_value = true;
    if (y->depth == 0 || !top(y)->bracket)
        end_line(y);
    return false;
}

static bool open_bracket(struct yaml *y)
{
    char bracket = *y->at;

    if (y->has_value)
        not_understood(y);
    y->at++;
    push(y, (struct yaml_level){ .key = "", .bracket = bracket });
    return false;
}

static bool bracket_scalar(struct yaml *y)
{
    const char *text;
    size_t len;

    if (!take_scalar(y, &text, &len, true))
        return false;
    if (top(y)->bracket == '[' || top(y)->len) {
        if (*text == ':' && len == 0)
            return give_up(y);
        return tell_value(y, text, len);
    }
    top(y)->key = text;
    top(y)->len = len;
    y->has_value = !take_colon(y);
    if (!len)
        return give_up(y);
    y->value = NULL;
    return true;
}

static bool step_in_brackets(struct yaml *y)
{
    while (y->at < y->end && is_one_of(*y->at, " \t\r\n"))
        y->at++;
    if (y->at == y->end)
        return give_up(y);
    switch (*y->at) {
    case '#': next_line(y); return false;
    case ']':
    case '}': return close_bracket(y);
    case ',':
        top(y)->len = 0;
        y->has_value = false;
        y->at++;
        return false;
    default: break;
    }
    if (top(y)->bracket == '[' && !top(y)->len) {
        top(y)->key = "-";
        top(y)->len = 1;
        y->value = NULL;
        return true;
    }
    return *y->at == '[' || *y->at == '{' ? open_bracket(y) : bracket_scalar(y);
}

/* ---- indentation ---- */

static bool step_value(struct yaml *y)
{
    const char *text;
    size_t len;

    skip_blanks(y);
    if (at_end_of(y->at, y->end) || *y->at == '#') {
        next_line(y);
        return false;
    }
    if (*y->at == '[' || *y->at == '{')
        return open_bracket(y);
    if (*y->at == '|' || *y->at == '>')
        return literal(y);
    if (!take_scalar(y, &text, &len, false))
        return false;
    end_line(y);
    return tell_value(y, text, len);
}

/* An item of a sequence may stand as far out as the key that it belongs to. */
static void leave(struct yaml *y, size_t column, bool item)
{
    size_t indent = column;

    if (y->depth && top(y)->indent < column && y->has_value)
        not_understood(y);
    while (y->depth && (top(y)->indent > column ||
                        (top(y)->indent == column && (!item || top(y)->item))))
        indent = y->path[--y->depth].indent;
    if (indent != column)
        not_understood(y);
}

static bool marks_document(const struct yaml *y)
{
    return y->end - y->at >= 3 && (!memcmp(y->at, "---", 3) || !memcmp(y->at, "...", 3)) &&
           (at_end_of(y->at + 3, y->end) || blank(y->at[3]));
}

static bool is_item(const struct yaml *y)
{
    return *y->at == '-' && (at_end_of(y->at + 1, y->end) || blank(y->at[1]));
}

static bool step_key(struct yaml *y, size_t column)
{
    const char *from = y->at, *key;
    size_t len;

    if (is_one_of(*y->at, "[{|>"))
        return step_value(y);
    if (!take_scalar(y, &key, &len, false))
        return false;
    if (!take_colon(y) || (!at_end_of(y->at, y->end) && !blank(*y->at))) {
        y->at = from;
        if (y->depth && top(y)->indent >= column)
            not_understood(y);
        return step_value(y);
    }
    leave(y, column, false);
    y->value = NULL;
    y->in_line = true;
    return push(y, (struct yaml_level){ .key = key, .len = len, .indent = column });
}

static bool step_line(struct yaml *y)
{
    size_t column;

    while (y->at < y->end && *y->at == ' ')
        y->at++;
    column = (size_t)(y->at - y->line);
    if (y->at < y->end && *y->at == '\t')
        not_understood(y);
    skip_blanks(y);
    if (at_end_of(y->at, y->end) || *y->at == '#') {
        next_line(y);
        return false;
    }
    if (column == 0 && marks_document(y)) {
        if (*y->at == '.' || y->depth)
            return give_up(y);
        next_line(y);
        return false;
    }
    if (!is_item(y))
        return step_key(y, column);
    leave(y, column, true);
    y->at++;
    y->value = NULL;
    return push(y, (struct yaml_level){ .key = "-", .len = 1, .indent = column, .item = true });
}

struct yaml yaml_of(const char *bytes, size_t len)
{
    size_t mark = len >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3) ? 3 : 0;

    return (struct yaml){ .at = bytes + mark, .line = bytes + mark, .end = bytes + len };
}

bool yaml_next(struct yaml *y)
{
    while (y->at < y->end)
        if (y->depth && top(y)->bracket ? step_in_brackets(y)
            : y->in_line                ? step_value(y)
                                        : step_line(y))
            return true;
    if (y->depth && top(y)->bracket)
        not_understood(y);
    return false;
}
