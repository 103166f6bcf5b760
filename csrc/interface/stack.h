/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_INTERFACE_STACK_H
#define NCF_INTERFACE_STACK_H

#include "interface/link.h"
#include "interface/model.h"
#include "run.h"

struct engine;

/* What was done with an interface; the numbers are those of ncf_interface.done. */
enum { DONE_DOWN = 1, DONE_UP = 2, DONE_DELETED = 4, DONE_RELOADED = 8 };

/* One rollback of one stack's interfaces. */
struct work {
    const struct stack *stack;
    struct model was, now;
    struct plan plan;
    const struct links *start; /* what the kernel had when the change started */
    const struct links *present;
    struct engine *engine; /* whose rollback it is */
    bool all;      /* every interface goes down and up */
    bool reworded; /* files of it are put back that say something else, or the same */
    bool reloaded; /* the stack was told to follow its files by itself */
};

/*
 * A stack: software that turns files into live interfaces.  `parse` is pure.
 * `before` runs while the present files are still there, `after` when those of
 * the start are back; both see the plan, in which only what changes matters.
 */
struct stack {
    const char *name;
    bool (*is_its_file)(const char *path);
    bool (*in_use)(void);
    void (*parse)(const struct config *files, struct model *ret);
    void (*before)(struct work *w); /* or NULL */
    void (*after)(struct work *w);
    /* Tells of each link which of its profiles is active on it; or NULL. */
    void (*record)(struct links *l);
    /* Tells its daemon once more of a link that is not back, if that is due; or NULL. */
    void (*again)(struct work *w, const struct link *is, int64_t waited_ms);
    bool settles; /* its tools return before the interfaces are configured */
    /*
     * `after` runs at every rollback, for its daemon may know files that are gone; but not
     * where only comments are put back: it may configure anew what such a file is for.
     */
    bool reloads;
};

/* NULL at the end. */
extern const struct stack *const stacks[];

extern const struct stack stack_ifupdown, stack_ifupdown2, stack_ifupdown_ng, stack_networkd,
    stack_networkscripts, stack_networkscripts_beside, stack_netplan, stack_networkmanager,
    stack_networkmanager_ifcfg, stack_udev;

/* Of Red Hat's ifcfg files those that NetworkManager takes, where both are there. */
void networkscripts_parse_managed(const struct config *files, struct model *ret);

/* Whether the interface was up when the change started, or nobody knows. */
bool work_was_up(const struct work *w, const char *name);
/*
 * Runs PROGRAM, WORDS and, if that is not NULL, a last word; keeps what it says when it
 * fails.  Without a last word it is for the whole stack.
 */
bool work_run(struct work *w, const char *program, const char *const *words, const char *last);
/* Runs it to bring up the interface NAME. */
void work_up(struct work *w, const char *name, const char *program, const char *const *words,
             const char *last);
/*
 * Runs it for every move that `wanted` says, those of one level at once.  Down
 * goes from the highest level of the present to the lowest, up the other way by
 * the levels of the start.  A move whose command failed is marked.
 */
enum work_direction { WORK_DOWN, WORK_UP };
void work_run_each(struct work *w, const char *program, const char *const *words,
                   enum work_direction direction,
                   bool (*wanted)(const struct work *w, const struct move *s));
/*
 * Runs it for every interface that was up, that the stack configures and that
 * is not as it was, though no file of it changed and nothing told it to come up;
 * `all` counts as such.
 */
void work_run_by_hand(struct work *w, const char *program, const char *const *words);
/* Keeps for the result that this was done with the interface, and did not fail. */
void work_done(struct work *w, const char *name, unsigned done);
/* Whether the stack, which comes before, has told the daemons that it is over to follow their files. */
bool work_has_reloaded(const struct work *w, const struct stack *stack);
/* Whether anything is to be done. */
bool work_acts(const struct work *w);
/* Takes the addresses that the tools left from interfaces that are down for what comes. */
void work_clear(struct work *w);
/* Waits a moment for the devices that the stack makes and that were up at the start. */
bool work_devices_are_there(const struct work *w);
/* Deletes devices that the present files made and the start did not have, or which will change. */
void work_delete_devices(struct work *w, bool changed_too);
/* Deletes one. */
void work_delete(struct work *w, const struct link *there);
/* Has systemd-networkd read its files again and make the devices that were up at the start. */
void networkd_reload(struct work *w);
/* Has it configure a link that it has given up, is done with or has waited for in vain. */
void networkd_again(struct work *w, const struct link *is, int64_t waited_ms);
/* Puts ports into devices that it made anew. */
void networkd_add_ports(const struct work *w);

#endif
