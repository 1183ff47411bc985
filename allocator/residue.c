/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What uids leave behind. Removes their System V objects and POSIX queues in the IPC namespace of
 * the caller, reads the places where anybody may leave a file, and changes nothing else.
 */
#include "allocator/residue.h"

#include "common/cleanup.h"
#include "common/ids.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

/* Findings kept by name, the bytes of each, and of the whole text: a ledger's reason holds it. */
#define NAMED_MAX 6
#define NAME_SIZE 128
#define TEXT_SIZE 320

/* Directories kept open from a place downwards. Somebody may nest them without end, and many walks
 * run at once in one process: below this depth only the current one is open. */
#define OPEN_LEVELS 4

/* Somebody may also fill a place as fast as it is read. The walk must come to an end. */
#define ENTRIES_MAX UINT64_C(20000000)

#define MQUEUE_MAGIC 0x19800202

static const char *const usual_places[] = {
    "/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/var/spool/cron", "/var/spool/at",
};

/* The columns count from 0 (Linux ipc/shm.c, msg.c and sem.c, *_proc_show). */
static const struct ipc_kind {
    const char *file;
    const char *what;
    unsigned id, uid, cuid;
} ipc_kinds[] = {
    {"shm", "System V shared memory segment", 1, 7, 9},
    {"msg", "System V message queue", 1, 7, 9},
    {"sem", "System V semaphore set", 1, 4, 6},
};

/* A directory on the way from a place to where the walk is. */
struct level {
    DIR *dir; /* NULL: closed, to be entered again from below by ".." */
    dev_t dev;
    ino_t ino;
    long at; /* where to go on reading then */
    size_t path_length;
};

struct residue {
    struct uid_range *ranges;
    size_t n_ranges;
    bool only_look;
    unsigned phase;
    size_t ipc_kind;
    FILE *ipc;
    char *line;
    size_t line_size;
    DIR *queues;
    char **places;
    size_t place;
    struct level *levels;
    size_t n_levels, levels_size;
    char path[PATH_MAX]; /* of the deepest level; cut short where it does not fit */
    uint64_t looked;
    size_t removed;
    size_t count;
    size_t n_named;
    char named[NAMED_MAX][NAME_SIZE];
    char text[TEXT_SIZE + 64];
};

static void note(struct residue *r, bool first, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Count a finding, and keep its words while there is room. What must not be missed goes first. */
static void note(struct residue *r, bool first, const char *format, ...)
{
    char words[PATH_MAX + NAME_MAX + 256];
    size_t slot = first ? 0 : r->n_named;
    va_list ap;

    r->count++;
    if (slot == NAMED_MAX)
        return;
    va_start(ap, format);
    if (vsnprintf(words, sizeof(words), format, ap) < 0)
        words[0] = '\0';
    va_end(ap);

    if (r->n_named < NAMED_MAX)
        r->n_named++;
    if (first)
        memmove(r->named[1], r->named[0], (r->n_named - 1) * sizeof(r->named[0]));
    text_sanitize(r->named[slot], sizeof(r->named[slot]), words);
    /* Both ends of what is too long tell something. */
    if (strlen(words) >= NAME_SIZE) {
        size_t tail = NAME_SIZE / 2;

        text_sanitize(r->named[slot] + NAME_SIZE - 1 - tail, tail + 1,
                      words + strlen(words) - tail);
        memcpy(r->named[slot] + NAME_SIZE - 1 - tail - 3, "...", 3);
    }
}

/* Something could not be looked at: it is not known to be clean. */
static void note_trouble(struct residue *r, const char *what, int error)
{
    char reason[128];

    note(r, false, "%s (could not be looked at: %s)", what,
         strerror_r(error, reason, sizeof(reason)));
}

static bool is_theirs(const struct residue *r, uid_t uid)
{
    for (size_t i = 0; i < r->n_ranges; i++)
        if (uid_range_has(r->ranges[i], uid))
            return true;
    return false;
}

/*
 * System V IPC.
 */

/* IPC_RMID, IPC_STAT or IPC_INFO. 0 or a negative errno. */
static int ipc_control(size_t kind, int id, int command)
{
    union {
        struct shmid_ds shm;
        struct shminfo shminfo;
        struct msqid_ds msg;
        struct msginfo msginfo;
        struct semid_ds sem;
        struct seminfo seminfo;
    } answer;
    union {
        int value;
        void *buffer;
    } argument = {.buffer = &answer};
    int r;

    if (kind == 0)
        r = shmctl(id, command, &answer.shm);
    else if (kind == 1)
        r = msgctl(id, command, &answer.msg);
    else
        r = semctl(id, 0, command, argument);
    return r < 0 ? -errno : 0;
}

static bool ipc_is_gone(int error)
{
    return error == -EINVAL || error == -EIDRM;
}

/* The next number of a line, -EBADMSG if there is none. */
static int next_number(const char **at, uint64_t *ret)
{
    char digits[24];
    size_t length;

    *at += strspn(*at, " ");
    length = strcspn(*at, " \n");
    if (length == 0 || length >= sizeof(digits))
        return -EBADMSG;
    memcpy(digits, *at, length);
    digits[length] = '\0';
    *at += length;
    /* The key and the times may be negative; nobody asks for them. */
    if (parse_u64(digits[0] == '-' ? digits + 1 : digits, UINT64_MAX, ret) < 0)
        return -EBADMSG;
    if (digits[0] == '-')
        *ret = UINT64_MAX;
    return 0;
}

int residue_parse_ipc(const char *kind, const char *line, int *ret_id, uid_t *ret_uid,
                      uid_t *ret_cuid)
{
    uint64_t numbers[10] = {0};
    const struct ipc_kind *k = NULL;

    for (size_t i = 0; i < ELEMENTS_OF(ipc_kinds); i++)
        if (strcmp(kind, ipc_kinds[i].file) == 0)
            k = &ipc_kinds[i];
    if (!k)
        return -EBADMSG;
    for (size_t i = 0; i <= k->cuid; i++) {
        /* The mode is octal, with leading zeros where it is short: no number of ours. */
        if (i == 2) {
            line += strspn(line, " ");
            line += strspn(line, "01234567");
            if (*line != ' ')
                return -EBADMSG;
            continue;
        }
        if (next_number(&line, &numbers[i]) < 0)
            return -EBADMSG;
    }
    if (numbers[k->id] > INT_MAX || numbers[k->uid] > UINT32_MAX || numbers[k->cuid] > UINT32_MAX)
        return -EBADMSG;
    *ret_id = (int)numbers[k->id];
    *ret_uid = (uid_t)numbers[k->uid];
    *ret_cuid = (uid_t)numbers[k->cuid];
    return 0;
}

static void ipc_remove(struct residue *r, int id)
{
    const struct ipc_kind *k = &ipc_kinds[r->ipc_kind];
    char reason[128];
    int error;

    if (r->only_look) {
        note(r, false, "%s %d", k->what, id);
        return;
    }
    error = ipc_control(r->ipc_kind, id, IPC_RMID);
    if (error < 0 && !ipc_is_gone(error)) {
        note(r, false, "%s %d (could not be removed: %s)", k->what, id,
             strerror_r(-error, reason, sizeof(reason)));
        return;
    }
    /* A segment that somebody has attached outlives its removal, and Linux still attaches it for
     * whoever knows its number and has its uid: the next tenant. */
    if (!ipc_is_gone(ipc_control(r->ipc_kind, id, IPC_STAT)))
        note(r, false, "%s %d (removed, but another process still has it attached)", k->what, id);
    else
        r->removed++;
}

/* Open the next of the three lists. 0, also if it is already done with. */
static void ipc_open(struct residue *r)
{
    const struct ipc_kind *k = &ipc_kinds[r->ipc_kind];
    char path[32];
    int error;

    snprintf(path, sizeof(path), "/proc/sysvipc/%s", k->file);
    r->ipc = fopen(path, "re");
    error = errno;
    if (r->ipc && getline(&r->line, &r->line_size, r->ipc) > 0)
        return; /* past the headings */
    if (r->ipc)
        error = EIO;
    /* A kernel without System V IPC has no list and no calls. No list alone proves nothing: /proc
     * may not be mounted. */
    if (error != ENOENT || ipc_control(r->ipc_kind, 0, IPC_INFO) != -ENOSYS)
        note_trouble(r, path, error);
    r->ipc_kind++;
    fclosep(&r->ipc);
    r->ipc = NULL;
}

/* One line, of the list that is being read. 0: all three are done. */
static int ipc_step(struct residue *r)
{
    uid_t uid, cuid;
    int id;

    if (r->ipc_kind == ELEMENTS_OF(ipc_kinds))
        return 0;
    if (!r->ipc) {
        ipc_open(r);
        return 1;
    }
    if (getline(&r->line, &r->line_size, r->ipc) < 0) {
        if (ferror(r->ipc))
            note_trouble(r, ipc_kinds[r->ipc_kind].what, EIO);
        fclose(take_ptr(r->ipc));
        r->ipc_kind++;
        return 1;
    }
    if (residue_parse_ipc(ipc_kinds[r->ipc_kind].file, r->line, &id, &uid, &cuid) < 0)
        note_trouble(r, ipc_kinds[r->ipc_kind].what, EBADMSG);
    else if (is_theirs(r, uid) || is_theirs(r, cuid))
        ipc_remove(r, id);
    return 1;
}

/*
 * POSIX message queues.
 */

/* The root of the queues. Its own mount, seen by nobody else: what is mounted on /dev/mqueue may
 * show another IPC namespace than ours, and need not be there at all. Returns a descriptor or a
 * negative errno. */
static int queues_mount(void)
{
    _cleanup_fd_ int context = -1;
    _cleanup_fd_ int mount = -1;
    int fd;

    context = fsopen("mqueue", FSOPEN_CLOEXEC);
    if (context < 0 || fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    mount =
        fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (mount < 0)
        return -errno;
    fd = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Where mounting is not allowed: what somebody else has mounted. */
static int queues_open(void)
{
    _cleanup_fd_ int fd = -1;
    struct statfs fs;
    int error = queues_mount();

    if (error >= 0 || (error != -EPERM && error != -EACCES))
        return error;
    fd = open("/dev/mqueue", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != MQUEUE_MAGIC)
        return error;
    return take_fd(&fd);
}

static void queue_remove(struct residue *r, const char *name)
{
    int fd = dirfd(r->queues);
    char reason[128];
    struct stat st;

    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            note_trouble(r, "a POSIX message queue", errno);
        return;
    }
    if (!S_ISREG(st.st_mode) || !is_theirs(r, st.st_uid))
        return;
    if (r->only_look)
        note(r, false, "POSIX message queue %s", name);
    else if (unlinkat(fd, name, 0) < 0 && errno != ENOENT)
        note(r, false, "POSIX message queue %s (could not be removed: %s)", name,
             strerror_r(errno, reason, sizeof(reason)));
    else
        r->removed++;
}

/* One queue. 0: no more. */
static int queues_step(struct residue *r)
{
    struct dirent *entry;

    if (!r->queues) {
        int fd = queues_open();

        /* No such file system: this kernel has no queues. */
        if (fd == -ENODEV || fd == -ENOSYS)
            return 0;
        if (fd >= 0)
            r->queues = fdopendir(fd);
        if (!r->queues) {
            note_trouble(r, "POSIX message queues", fd < 0 ? -fd : errno);
            close_fd(fd);
            return 0;
        }
    }
    errno = 0;
    entry = readdir(r->queues);
    if (entry) {
        queue_remove(r, entry->d_name);
        return 1;
    }
    if (errno != 0)
        note_trouble(r, "POSIX message queues", errno);
    closedir(take_ptr(r->queues));
    return 0;
}

/*
 * Files.
 */

/* A directory below `at`, on the same mount, without following a link; its access time stays, or
 * whatever tidies /tmp by age would keep for ever what we look at. A descriptor or a negative
 * errno. */
static int open_below(int at, const char *name)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOATIME,
        .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, at, name, &how, sizeof(how));

    if (fd < 0 && errno == EPERM) {
        how.flags &= ~(uint64_t)O_NOATIME;
        fd = (int)syscall(SYS_openat2, at, name, &how, sizeof(how));
    }
    return fd < 0 ? -errno : fd;
}

/* Is something mounted there? Asks without touching it: it may be somebody's FUSE file system,
 * which refuses even root. */
static bool is_mount_point(int at, const char *name)
{
    struct open_how how = {
        .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
    };
    _cleanup_fd_ int fd = (int)syscall(SYS_openat2, at, name, &how, sizeof(how));

    return fd < 0 && errno == EXDEV;
}

static const char *kind_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return mode & S_ISUID ? "SETUID file" : mode & S_ISGID ? "SETGID file" : "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "symbolic link";
    case S_IFSOCK:
        return "socket";
    case S_IFIFO:
        return "FIFO";
    case S_IFCHR:
    case S_IFBLK:
        return "DEVICE node";
    default:
        return "thing of unknown kind";
    }
}

static void note_owned(struct residue *r, const char *path, const char *name, mode_t mode)
{
    bool loud = S_ISCHR(mode) || S_ISBLK(mode) || (S_ISREG(mode) && (mode & (S_ISUID | S_ISGID)));

    note(r, loud, "%s%s%s (%s)", path, name ? "/" : "", name ? name : "", kind_name(mode));
}

static void note_trouble_below(struct residue *r, const char *name, int error)
{
    char path[PATH_MAX + NAME_MAX + 2];

    snprintf(path, sizeof(path), "%s/%s", r->path, name);
    note_trouble(r, path, error);
}

/* The deepest open level is left for one below it. */
static void level_let_go(struct residue *r)
{
    struct level *top = &r->levels[r->n_levels - 1];

    if (r->n_levels <= OPEN_LEVELS)
        return;
    top->at = telldir(top->dir);
    closedir(take_ptr(top->dir));
}

/* Make the directory the deepest level; `name` is NULL for a place. Takes the descriptor. 0 or a
 * negative errno. */
static int level_enter(struct residue *r, int taken_fd, const char *name)
{
    _cleanup_fd_ int fd = taken_fd;
    size_t length = strlen(r->path);
    struct level *level;
    struct stat st;

    if (r->n_levels == r->levels_size) {
        size_t size = r->levels_size ? 2 * r->levels_size : 16;
        struct level *more = reallocarray(r->levels, size, sizeof(*more));

        if (!more)
            return -ENOMEM;
        r->levels = more;
        r->levels_size = size;
    }
    if (fstat(fd, &st) < 0)
        return -errno;
    level = &r->levels[r->n_levels];
    *level = (struct level){.dev = st.st_dev, .ino = st.st_ino, .path_length = length};
    level->dir = fdopendir(fd);
    if (!level->dir)
        return -errno;
    (void)take_fd(&fd);
    if (name && length + 1 + strlen(name) < sizeof(r->path))
        snprintf(r->path + length, sizeof(r->path) - length, "/%s", name);
    /* Last, because `name` lives in what this closes. */
    if (r->n_levels > 0)
        level_let_go(r);
    r->n_levels++;
    return 0;
}

/* Open a level again from the directory below it. 0; -ESTALE if that is somewhere else now; or a
 * negative errno. */
static int level_return(struct level *level, int below)
{
    _cleanup_fd_ int fd = open_below(below, "..");
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_dev != level->dev || st.st_ino != level->ino)
        return -ESTALE;
    level->dir = fdopendir(fd);
    if (!level->dir)
        return -errno;
    (void)take_fd(&fd);
    seekdir(level->dir, level->at);
    return 0;
}

/*
 * Leave the deepest level for the one above. If it was moved away meanwhile, there is no way back
 * to the directories between it and the last one that is still open, and the walk goes on there:
 * whoever moves a directory this far down could as well have moved it out of the place, and must
 * not be able to put uids on hold by it.
 */
static void level_leave(struct residue *r)
{
    _cleanup_dir_ DIR *below = r->levels[r->n_levels - 1].dir;
    int error = 0;

    r->path[r->levels[r->n_levels - 1].path_length] = '\0';
    r->n_levels--;
    while (r->n_levels > 0 && !r->levels[r->n_levels - 1].dir) {
        if (error == 0)
            error = level_return(&r->levels[r->n_levels - 1], dirfd(below));
        if (error == 0)
            return;
        r->path[r->levels[r->n_levels - 1].path_length] = '\0';
        r->n_levels--;
    }
    if (error < 0 && error != -ESTALE && error != -ENOENT && error != -EXDEV)
        note_trouble(r, r->path, -error);
}

static void look_at(struct residue *r, int at, const char *name)
{
    struct statx stx;
    int fd, error;

    /* DONT_SYNC: a file system of somebody's own making is not asked, so it cannot hang us. */
    if (statx(at, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
              STATX_TYPE | STATX_MODE | STATX_UID, &stx) < 0) {
        error = errno;
        if (error != ENOENT && !is_mount_point(at, name))
            note_trouble_below(r, name, error);
        return;
    }
    /* What is mounted there says what its maker likes, also about owners. */
    if (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT)
        return;
    if (is_theirs(r, stx.stx_uid))
        note_owned(r, r->path, name, stx.stx_mode);
    if (!S_ISDIR(stx.stx_mode))
        return;

    fd = open_below(at, name);
    error = fd < 0 ? fd : level_enter(r, fd, name);
    /* Gone, replaced, or mounted over since. */
    if (error < 0 && error != -ENOENT && error != -ENOTDIR && error != -ELOOP && error != -EXDEV)
        note_trouble_below(r, name, -error);
}

/* A place may itself be a link or a mount: its path is the administrator's word. */
static void place_enter(struct residue *r, const char *place)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC;
    int fd, error;
    struct stat st;

    snprintf(r->path, sizeof(r->path), "%s", place);
    fd = open(place, flags | O_NOATIME);
    if (fd < 0 && errno == EPERM)
        fd = open(place, flags);
    if (fd < 0) {
        if (errno != ENOENT)
            note_trouble(r, place, errno);
        return;
    }
    if (fstat(fd, &st) == 0 && is_theirs(r, st.st_uid))
        note_owned(r, place, NULL, st.st_mode);
    error = level_enter(r, fd, NULL);
    if (error < 0)
        note_trouble(r, place, -error);
}

/* One entry, or one place. 0: all places are done. */
static int files_step(struct residue *r)
{
    struct level *top;
    struct dirent *entry;

    if (r->n_levels == 0) {
        if (!r->places[r->place])
            return 0;
        place_enter(r, r->places[r->place++]);
        return 1;
    }
    if (r->looked++ == ENTRIES_MAX) {
        note(r, false, "%s and more (not looked at: too many files)", r->path);
        return 0;
    }
    top = &r->levels[r->n_levels - 1];
    errno = 0;
    entry = readdir(top->dir);
    if (!entry) {
        /* ENOENT: somebody removed it. */
        if (errno != 0 && errno != ENOENT)
            note_trouble(r, r->path, errno);
        level_leave(r);
    } else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
        look_at(r, dirfd(top->dir), entry->d_name);
    }
    return 1;
}

/*
 * The whole.
 */

/* What takes one step and says whether there are more. */
static int (*const phases[])(struct residue *r) = {ipc_step, queues_step, files_step};

static int make(const struct uid_range *ranges, size_t n_ranges, const char *const *places,
                struct residue **ret)
{
    _cleanup_(residue_freep) struct residue *r = calloc(1, sizeof(*r));
    size_t n = 0, at = 0;

    if (!r)
        return -ENOMEM;
    r->ranges = reallocarray(NULL, n_ranges, sizeof(*ranges));
    if (!r->ranges)
        return -ENOMEM;
    memcpy(r->ranges, ranges, n_ranges * sizeof(*ranges));
    r->n_ranges = n_ranges;
    while (places && places[n])
        if (places[n++][0] != '/')
            return -EINVAL;
    r->places = calloc(ELEMENTS_OF(usual_places) + n + 1, sizeof(*r->places));
    if (!r->places)
        return -ENOMEM;
    for (size_t i = 0; i < ELEMENTS_OF(usual_places) + n; i++) {
        bool usual = i < ELEMENTS_OF(usual_places);

        r->places[at] = strdup(usual ? usual_places[i] : places[i - ELEMENTS_OF(usual_places)]);
        if (!r->places[at++])
            return -ENOMEM;
    }
    *ret = take_ptr(r);
    return 0;
}

int residue_new(struct uid_range range, const char *const *places, struct residue **ret)
{
    return make(&range, 1, places, ret);
}

int residue_new_look(const struct uid_range *ranges, size_t n_ranges, const char *const *places,
                     struct residue **ret)
{
    int r = make(ranges, n_ranges, places, ret);

    if (r == 0)
        (*ret)->only_look = true;
    return r;
}

void residue_free(struct residue *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_levels; i++)
        closedirp(&r->levels[i].dir);
    for (size_t i = 0; r->places && r->places[i]; i++)
        free(r->places[i]);
    closedirp(&r->queues);
    fclosep(&r->ipc);
    free(r->places);
    free(r->ranges);
    free(r->levels);
    free(r->line);
    free(r);
}

static void write_text(struct residue *r)
{
    size_t shown = 0, used = 0;

    while (shown < r->n_named && used + strlen(r->named[shown]) + 2 < TEXT_SIZE) {
        used += (size_t)snprintf(r->text + used, sizeof(r->text) - used, "%s%s",
                                 shown > 0 ? ", " : "", r->named[shown]);
        shown++;
    }
    if (r->count > shown)
        snprintf(r->text + used, sizeof(r->text) - used, " and %zu more", r->count - shown);
}

int residue_step(struct residue *r, unsigned max_entries)
{
    while (max_entries-- > 0 && r->phase < ELEMENTS_OF(phases))
        if (phases[r->phase](r) == 0)
            r->phase++;
    if (r->phase < ELEMENTS_OF(phases))
        return 1;
    if (r->text[0] == '\0')
        write_text(r);
    return 0;
}

size_t residue_count(const struct residue *r)
{
    return r->count;
}

size_t residue_removed(const struct residue *r)
{
    return r->removed;
}

const char *residue_text(const struct residue *r)
{
    return r->text;
}
