/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the daemon's words go. Touches standard error, the journal's socket, or syslog's. */
#include "allocator/daemon/journal.h"

#include "common/cleanup.h"
#include "common/log.h"

/* Where in the source it was said is nobody's business. */
#define SD_JOURNAL_SUPPRESS_LOCATION

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <systemd/sd-journal.h>
#include <time.h>

#define IDENTIFIER "uidpoold"
#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define SYSLOG_SOCKET "/dev/log"
/* A message with all its names; what is longer is cut. */
#define TEXT_MAX 2048

enum sink {
    SINK_LINES,  /* standard error */
    SINK_STREAM, /* the same, which is the journal's */
    SINK_JOURNAL,
    SINK_SYSLOG,
};

static struct {
    int least;
    enum sink sink;
    int pipe;      /* standard error once more, non-blocking, if it is a pipe; else -1 */
    int syslog;    /* connected, or -1 */
    unsigned lost; /* lines since the last that arrived */
} journal = {.least = LOG_INFO, .pipe = -1, .syslog = -1};

/* Explained in data/uidpool.catalog; never used for anything else. */
static const char *const message_ids[] = {
    [JOURNAL_PLAIN] = NULL,
    [JOURNAL_LEASED] = "f0d0af3fc248444f91dda35b35e01f3d",
    [JOURNAL_RELEASED] = "589f1e3651a04aa0983c1e7da4b07475",
    [JOURNAL_HELD] = "be9d4ab59a484290addc0a3dc500a013",
    [JOURNAL_NOT_PROVEN] = "1a0656b2cdef4f4ca250a003a988de07",
    [JOURNAL_REFUSED] = "9f0a1365721f4056a92b887b5961d03d",
    [JOURNAL_NEXT_OWNER] = "33adbbdcbc4344088f46b011e7ce2de3",
    [JOURNAL_STORE_LOST] = "c593baaef01548fcb2d7cd9b19a64f18",
};

/* The journal says which descriptor is its own, since the variable outlives a redirection. */
static bool is_journal(const struct stat *st)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char own[64];

    (void)snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino);
    return stream && strcmp(stream, own) == 0;
}

static bool is_null_device(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

void journal_open(int least)
{
    struct stat st;

    journal.least = least;
    journal.sink = SINK_LINES;
    journal.lost = 0;
    journal.pipe = close_fd(journal.pipe);
    journal.syslog = close_fd(journal.syslog);
    if (fstat(STDERR_FILENO, &st) < 0)
        return;
    /* sd_journal_send(3) takes a missing socket for a message that was sent. */
    if (is_journal(&st))
        journal.sink = access(JOURNAL_SOCKET, W_OK) == 0 ? SINK_JOURNAL : SINK_STREAM;
    else if (is_null_device(&st))
        journal.sink = SINK_SYSLOG;
    /* Opened anew, because O_NONBLOCK would be everybody's who has the pipe. Where that cannot be,
     * it is written to as it is. */
    if (S_ISFIFO(st.st_mode))
        journal.pipe = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

/* One line, whole or not at all. */
static bool write_line(const char *line, size_t size)
{
    int fd = journal.pipe >= 0 ? journal.pipe : STDERR_FILENO;
    ssize_t n = send(STDERR_FILENO, line, size, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0 && errno == ENOTSOCK)
        n = write(fd, line, size);
    return n >= 0;
}

/* With the priority before it for a journal, as sd-daemon(3) has it. */
static bool say_line(int priority, const char *text)
{
    char line[TEXT_MAX + 128], lost[64] = "";
    int n;

    if (journal.lost > 0)
        (void)snprintf(lost, sizeof(lost), "(%u lines were lost before this) ", journal.lost);
    if (journal.sink == SINK_JOURNAL || journal.sink == SINK_STREAM)
        n = snprintf(line, sizeof(line), "<%d>%s%s\n", priority, lost, text);
    else
        n = snprintf(line, sizeof(line), IDENTIFIER ": %s%s\n", lost, text);
    return n > 0 && write_line(line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static int connect_syslog(void)
{
    static const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SYSLOG_SOCKET};
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return take_fd(&fd);
}

/* As syslog(3) has it, which would wait for a logger that is stuck. */
static bool say_syslog(int priority, const char *text)
{
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    char line[TEXT_MAX + 128];
    struct tm tm;
    int n;

    if (!localtime_r(&now, &tm))
        return false;
    n = snprintf(line, sizeof(line), "<%d>%s %2d %02d:%02d:%02d " IDENTIFIER "[%d]: %s",
                 LOG_DAEMON | priority, months[tm.tm_mon], tm.tm_mday, tm.tm_hour, tm.tm_min,
                 tm.tm_sec, (int)getpid(), text);
    if (n < 0)
        return false;
    if ((size_t)n >= sizeof(line))
        n = (int)sizeof(line) - 1;
    /* A logger that was started anew has another socket. */
    for (unsigned tries = 0; tries < 2; tries++) {
        if (journal.syslog < 0)
            journal.syslog = connect_syslog();
        if (journal.syslog < 0)
            return false;
        if (send(journal.syslog, line, (size_t)n, MSG_NOSIGNAL) >= 0)
            return true;
        if (errno == EAGAIN)
            return false;
        journal.syslog = close_fd(journal.syslog);
    }
    return false;
}

/* "KEY=value" each. */
struct fields {
    struct iovec items[10];
    char texts[10][TEXT_MAX];
    int n;
};

static void add_field(struct fields *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_field(struct fields *f, const char *format, ...)
{
    char *text = f->texts[f->n];
    va_list ap;

    va_start(ap, format);
    if (vsnprintf(text, TEXT_MAX, format, ap) < 0)
        text[0] = '\0';
    va_end(ap);
    text_make_printable(text);
    f->items[f->n++] = (struct iovec){text, strlen(text)};
}

static bool say_journal(int priority, enum journal_message message,
                        const struct uidpool_lease *lease, const char *text)
{
    struct fields f = {.n = 0};

    add_field(&f, "MESSAGE=%s", text);
    add_field(&f, "PRIORITY=%d", priority);
    add_field(&f, "SYSLOG_IDENTIFIER=" IDENTIFIER);
    if (message_ids[message])
        add_field(&f, "MESSAGE_ID=%s", message_ids[message]);
    if (lease) {
        add_field(&f, "UIDPOOL_POOL=%s", lease->pool);
        add_field(&f, "UIDPOOL_UID=%u", lease->uid);
        add_field(&f, "UIDPOOL_LEASE=%" PRId64, lease->id);
        if (lease->domid != UIDPOOL_NO_DOMID)
            add_field(&f, "UIDPOOL_DOMID=%" PRId64, lease->domid);
        if (lease->name[0])
            add_field(&f, "UIDPOOL_NAME=%s", lease->name);
        if (lease->uuid[0])
            add_field(&f, "UIDPOOL_UUID=%s", lease->uuid);
    }
    return sd_journal_sendv(f.items, f.n) >= 0;
}

static void say(int priority, enum journal_message message, const struct uidpool_lease *lease,
                const char *format, va_list ap) __attribute__((format(printf, 4, 0)));

static void say(int priority, enum journal_message message, const struct uidpool_lease *lease,
                const char *format, va_list ap)
{
    char text[TEXT_MAX - sizeof("MESSAGE=")];
    bool is_said = false;

    if (priority > journal.least || vsnprintf(text, sizeof(text), format, ap) < 0)
        return;
    text_make_printable(text);
    switch (journal.sink) {
    case SINK_JOURNAL:
        is_said = say_journal(priority, message, lease, text) || say_line(priority, text);
        break;
    case SINK_SYSLOG:
        is_said = say_syslog(priority, text);
        break;
    case SINK_LINES:
    case SINK_STREAM:
        is_said = say_line(priority, text);
        break;
    }
    journal.lost = is_said ? 0 : journal.lost + 1;
}

void journal_say(int priority, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    say(priority, JOURNAL_PLAIN, NULL, format, ap);
    va_end(ap);
}

void journal_lease(int priority, enum journal_message message, const struct uidpool_lease *lease,
                   const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    say(priority, message, lease, format, ap);
    va_end(ap);
}
