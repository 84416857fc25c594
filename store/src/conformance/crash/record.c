/* Records what a process does to the files of one directory, and makes some of it fail.
 *
 * A shared library for LD_PRELOAD. TIPLINE_CRASH_ROOT is the directory, with all links resolved;
 * TIPLINE_CRASH_TRACE is the file to append to, outside of it. Each operation that succeeded is
 * one record: see trace.rs. One lock is held over an operation and its record, so the order of
 * the records is the order of the operations.
 *
 * What is written to TIPLINE_CRASH_TRACE with the suffix ".marks" becomes a record too, and may
 * be a command: "plan CLASSES AT ERRNO HOW" arms a fault, "over" ends it, "counts" asks for a
 * record of how many operations of each class there were since the last plan.
 *
 * fsync and its kin are recorded and not done: whether they were called is what matters here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* The kinds of records. Keep in step with trace.rs. */
enum { CREATE = 1, MKDIR, LINK, REMOVE, RENAME, WRITE, RESIZE, ZERO, SYNC, SYNC_ALL, SYNC_FAILED,
       SYNC_ALL_FAILED, MARK, FAULT, UNSUPPORTED };

struct record {
    uint32_t kind, name_length, other_name_length, zero;
    uint64_t inode, directory, other_directory, offset, length, data_length;
};

/* The classes of operations that can fail. Keep in step with failing.rs. */
enum { WRITES = 1, SPACE = 2, SYNCS = 4, NAMES = 8, CLASSES = 4 };
/* How an operation fails: it alone; it and all behind it; half of it is done and all behind it
 * fail; the process ends in front of it. */
enum { ONCE, LASTING, SHORT, DIE };
/* The status that a process ends with. */
enum { DIED = 77 };

static pthread_mutex_t the_lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX], marks[PATH_MAX];
static size_t root_length;
static int trace = -1;
static struct { int classes, error, how; long at, seen; } plan;
static long counts[CLASSES];

static void fail(const char *what) {
    dprintf(2, "the recorder failed: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void start(void) {
    const char *directory = getenv("TIPLINE_CRASH_ROOT"), *path = getenv("TIPLINE_CRASH_TRACE");
    if (!directory || !path || root_length) return;
    snprintf(root, sizeof root, "%s", directory);
    snprintf(marks, sizeof marks, "%s.marks", path);
    trace = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (trace < 0) fail("opening the trace");
    root_length = strlen(root);
}

static int lock(void) {
    pthread_mutex_lock(&the_lock);
    return errno;
}

static void unlock(int error) {
    pthread_mutex_unlock(&the_lock);
    errno = error;
}

/* Appends a record. */
static void put(struct record record, const char *name, const char *other, const void *data) {
    int error = errno;
    record.name_length = name ? strlen(name) : 0;
    record.other_name_length = other ? strlen(other) : 0;
    struct iovec parts[4] = {
        { &record, sizeof record },
        { (void *)name, record.name_length },
        { (void *)other, record.other_name_length },
        { (void *)data, record.data_length },
    };
    for (int i = 0; i < 4;) {
        ssize_t done = syscall(SYS_writev, trace, parts + i, 4 - i);
        if (done < 0) fail("writing the trace");
        for (; i < 4 && (size_t)done >= parts[i].iov_len; i++) done -= parts[i].iov_len;
        if (i < 4) {
            parts[i].iov_base = (char *)parts[i].iov_base + done;
            parts[i].iov_len -= done;
        }
    }
    errno = error;
}

static void put_text(int kind, const char *text, size_t length) {
    put((struct record){ .kind = kind, .data_length = length }, NULL, NULL, text);
}

/* ---- What is ours ---- */

static int inside(const char *path) {
    if (!root_length || strncmp(path, root, root_length)) return 0;
    return path[root_length] == '/' || path[root_length] == 0;
}

/* The path of an open file. */
static int path_of(int fd, char path[PATH_MAX]) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int ours(int fd) {
    char path[PATH_MAX];
    int error = errno;
    int is = root_length && fd >= 0 && path_of(fd, path) && inside(path);
    errno = error;
    return is;
}

static uint64_t inode_of(int fd) {
    struct stat found;
    if (fstat(fd, &found)) fail("looking at an open file");
    return found.st_ino;
}

/* A name in a directory. */
struct place {
    uint64_t directory;
    char name[NAME_MAX + 1];
};

/* Where a path leads to; whether that is in our directory. */
static int locate(int at, const char *path, struct place *place) {
    char whole[PATH_MAX], parent[PATH_MAX], base[PATH_MAX] = "";
    int error = errno, is = 0;
    if (!root_length || !path || !*path) return 0;
    if (*path != '/' && at != AT_FDCWD && !path_of(at, base)) goto done;
    if (*base) strncat(base, "/", PATH_MAX - strlen(base) - 1);
    if (snprintf(whole, sizeof whole, "%s%s", base, path) >= PATH_MAX) goto done;
    for (size_t end = strlen(whole); end > 1 && whole[end - 1] == '/';) whole[--end] = 0;
    char *slash = strrchr(whole, '/');
    const char *name = slash ? slash + 1 : whole;
    if (strlen(name) > NAME_MAX) goto done;
    strcpy(place->name, name);
    if (slash) slash[slash == whole] = 0;
    struct stat found;
    if (!realpath(slash ? whole : ".", parent) || stat(parent, &found)) goto done;
    place->directory = found.st_ino;
    /* The directory itself is ours too, as something to be opened. */
    size_t length = strlen(parent);
    if (length + 1 + strlen(place->name) >= PATH_MAX) goto done;
    parent[length] = '/';
    strcpy(parent + length + 1, place->name);
    is = inside(parent);
done:
    errno = error;
    return is;
}

/* ---- Faults ---- */

/* Whether this operation fails, by its error; -1 if it is to be short. Counts it. */
static int strike(int classes, const char *what) {
    for (int i = 0; i < CLASSES; i++) counts[i] += (classes >> i) & 1;
    if (!(plan.classes & classes)) return 0;
    long behind = ++plan.seen - plan.at;
    if (behind < 0 || (behind > 0 && plan.how == ONCE)) return 0;
    if (behind == 0) put_text(FAULT, what, strlen(what));
    if (plan.how == DIE) _exit(DIED);
    return plan.how == SHORT && behind == 0 ? -1 : plan.error;
}

static void marked(const char *text, size_t length) {
    char line[256] = "";
    memcpy(line, text, length < sizeof line ? length : sizeof line - 1);
    put_text(MARK, text, length);
    if (sscanf(line, "plan %d %ld %d %d", &plan.classes, &plan.at, &plan.error, &plan.how) == 4) {
        plan.seen = 0;
        memset(counts, 0, sizeof counts);
    } else if (!strcmp(line, "over")) {
        plan.classes = 0;
    } else if (!strcmp(line, "counts")) {
        length = snprintf(line, sizeof line, "counts %ld %ld %ld %ld",
                          counts[0], counts[1], counts[2], counts[3]);
        put_text(MARK, line, length);
    }
}

/* ---- Writing ---- */

static void put_write(int fd, uint64_t offset, const void *data, size_t length) {
    put((struct record){ .kind = WRITE, .inode = inode_of(fd), .offset = offset,
                         .data_length = length }, NULL, NULL, data);
}

/* At the file's own position if `at` is negative. */
static ssize_t write_at(int fd, const void *data, size_t length, off_t at) {
    if (!ours(fd)) {
        char path[PATH_MAX];
        int error = errno;
        int is_mark = root_length && at < 0 && path_of(fd, path) && !strcmp(path, marks);
        errno = error;
        if (is_mark) {
            error = lock();
            marked(data, length);
            unlock(error);
            return length;
        }
        return at < 0 ? syscall(SYS_write, fd, data, length)
                      : syscall(SYS_pwrite64, fd, data, length, at);
    }
    int error = lock();
    int fault = strike(WRITES | SPACE, "a write");
    ssize_t done = -1;
    if (fault < 0 && length < 2) fault = ENOSPC;
    if (fault > 0) {
        error = fault;
    } else {
        if (fault < 0) length /= 2;
        done = at < 0 ? syscall(SYS_write, fd, data, length)
                      : syscall(SYS_pwrite64, fd, data, length, at);
        if (done < 0) error = errno;
    }
    if (done > 0) {
        struct stat found;
        if (fstat(fd, &found)) fail("looking at a written file");
        /* Appending goes to the end, whatever the position that was given. */
        int appends = fcntl(fd, F_GETFL) & O_APPEND;
        off_t end = appends ? found.st_size : at < 0 ? lseek(fd, 0, SEEK_CUR) : at + done;
        put_write(fd, end - done, data, done);
    }
    unlock(error);
    return done;
}

static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t at) {
    size_t length = 0, done = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    char *data = malloc(length ? length : 1);
    if (!data) fail("memory for a write");
    for (int i = 0; i < count; done += parts[i++].iov_len)
        memcpy(data + done, parts[i].iov_base, parts[i].iov_len);
    ssize_t result = write_at(fd, data, length, at);
    int error = errno;
    free(data);
    errno = error;
    return result;
}

EXPORT ssize_t write(int fd, const void *data, size_t length) {
    return write_at(fd, data, length, -1);
}
EXPORT ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    return write_at(fd, data, length, at);
}
EXPORT ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    return write_at(fd, data, length, at);
}
EXPORT ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    return ours(fd) ? write_parts(fd, parts, count, -1) : real(fd, parts, count);
}
EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    REAL(pwritev);
    return ours(fd) ? write_parts(fd, parts, count, at) : real(fd, parts, count, at);
}
EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    REAL(pwritev64);
    return ours(fd) ? write_parts(fd, parts, count, at) : real(fd, parts, count, at);
}
EXPORT ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    REAL(pwritev2);
    return ours(fd) ? write_parts(fd, parts, count, at) : real(fd, parts, count, at, flags);
}
EXPORT ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags) {
    REAL(pwritev64v2);
    return ours(fd) ? write_parts(fd, parts, count, at) : real(fd, parts, count, at, flags);
}

/* Copies from one file to another, as writes of what is read. */
static ssize_t copy(int from, off64_t *from_at, int to, off64_t *to_at, size_t length) {
    char data[64 << 10];
    if (length > sizeof data) length = sizeof data;
    ssize_t done = from_at ? pread64(from, data, length, *from_at) : read(from, data, length);
    if (done <= 0) return done;
    ssize_t written = write_at(to, data, done, to_at ? *to_at : -1);
    if (!from_at && written < done) lseek(from, (written < 0 ? 0 : written) - done, SEEK_CUR);
    if (written <= 0) return written;
    if (from_at) *from_at += written;
    if (to_at) *to_at += written;
    return written;
}

EXPORT ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length,
                               unsigned flags) {
    REAL(copy_file_range);
    return ours(to) ? copy(from, from_at, to, to_at, length)
                    : real(from, from_at, to, to_at, length, flags);
}
EXPORT ssize_t sendfile(int to, int from, off_t *from_at, size_t length) {
    REAL(sendfile);
    return ours(to) ? copy(from, from_at, to, NULL, length) : real(to, from, from_at, length);
}
EXPORT ssize_t sendfile64(int to, int from, off64_t *from_at, size_t length) {
    REAL(sendfile64);
    return ours(to) ? copy(from, from_at, to, NULL, length) : real(to, from, from_at, length);
}

/* ---- Sizes ---- */

static void put_size(int fd) {
    struct stat found;
    if (fstat(fd, &found)) fail("looking at a resized file");
    put((struct record){ .kind = RESIZE, .inode = found.st_ino, .length = found.st_size },
        NULL, NULL, NULL);
}

EXPORT int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    if (!ours(fd)) return real(fd, size);
    int error = lock();
    int result = -1, fault = strike(NAMES, "ftruncate");
    if (fault > 0) error = fault;
    else if ((result = real(fd, size))) error = errno;
    else put_size(fd);
    unlock(error);
    return result;
}
EXPORT int ftruncate(int fd, off_t size) {
    return ftruncate64(fd, size);
}
EXPORT int truncate64(const char *path, off64_t size) {
    int fd = open64(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    int result = ftruncate64(fd, size), error = errno;
    close(fd);
    errno = error;
    return result;
}
EXPORT int truncate(const char *path, off_t size) {
    return truncate64(path, size);
}

EXPORT int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    REAL(fallocate64);
    if (!ours(fd)) return real(fd, mode, at, length);
    int error = lock();
    int result = -1, fault = strike(SPACE, "fallocate");
    int zeroes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
    if (fault > 0) {
        error = fault;
    } else if ((result = real(fd, mode, at, length))) {
        error = errno;
    } else {
        if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
            put_text(UNSUPPORTED, "fallocate with a mode of its own", 32);
        if (!(mode & FALLOC_FL_KEEP_SIZE)) put_size(fd);
        if (zeroes)
            put((struct record){ .kind = ZERO, .inode = inode_of(fd), .offset = at,
                                 .length = length }, NULL, NULL, NULL);
    }
    unlock(error);
    return result;
}
EXPORT int fallocate(int fd, int mode, off_t at, off_t length) {
    return fallocate64(fd, mode, at, length);
}
EXPORT int posix_fallocate64(int fd, off64_t at, off64_t length) {
    int error = errno;
    int result = fallocate64(fd, 0, at, length) ? errno : 0;
    errno = error;
    return result;
}
EXPORT int posix_fallocate(int fd, off_t at, off_t length) {
    return posix_fallocate64(fd, at, length);
}

/* ---- Pauses ---- */

/* RocksDB pauses for a second after a flush or a merge that failed, and is not closed before that is
 * over. It is there to spare a disk, and nothing happens to any file in it: here it is short. */
EXPORT int usleep(useconds_t micros) {
    REAL(usleep);
    return real(root_length && micros >= 1000000 ? micros / 20 : micros);
}

/* ---- Durability ---- */

static int sync_one(int fd, const char *what) {
    int error = lock();
    int fault = strike(SYNCS, what);
    put((struct record){ .kind = fault ? SYNC_FAILED : SYNC, .inode = inode_of(fd) },
        NULL, NULL, NULL);
    unlock(fault > 0 ? fault : error);
    return fault ? -1 : 0;
}

EXPORT int fsync(int fd) {
    REAL(fsync);
    return ours(fd) ? sync_one(fd, "fsync") : real(fd);
}
EXPORT int fdatasync(int fd) {
    REAL(fdatasync);
    return ours(fd) ? sync_one(fd, "fdatasync") : real(fd);
}
EXPORT int syncfs(int fd) {
    REAL(syncfs);
    if (!ours(fd)) return real(fd);
    int error = lock();
    int fault = strike(SYNCS, "syncfs");
    put((struct record){ .kind = fault ? SYNC_ALL_FAILED : SYNC_ALL }, NULL, NULL, NULL);
    unlock(fault > 0 ? fault : error);
    return fault ? -1 : 0;
}
EXPORT void sync(void) {
    REAL(sync);
    if (!root_length) return real();
    int error = lock();
    put((struct record){ .kind = SYNC_ALL }, NULL, NULL, NULL);
    unlock(error);
}

/* ---- Names ---- */

#include "names.c"

/* ---- Mapped memory ---- */

/* The index of an SQLite WAL is made anew by whoever opens the database first. */
static int is_scratch(const char *path) {
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, "-shm");
}

EXPORT void *mmap64(void *address, size_t length, int prot, int flags, int fd, off64_t at) {
    REAL(mmap64);
    char path[PATH_MAX], what[PATH_MAX + 40];
    int shared = (flags & MAP_TYPE) == MAP_SHARED || (flags & MAP_TYPE) == MAP_SHARED_VALIDATE;
    if (shared && (prot & PROT_WRITE) && !(flags & MAP_ANONYMOUS) && ours(fd) &&
        path_of(fd, path) && !is_scratch(path)) {
        int error = lock();
        put_text(UNSUPPORTED, what,
                 snprintf(what, sizeof what, "writing through mapped memory: %s", path));
        unlock(error);
    }
    return real(address, length, prot, flags, fd, at);
}
EXPORT void *mmap(void *address, size_t length, int prot, int flags, int fd, off_t at) {
    return mmap64(address, length, prot, flags, fd, at);
}

/* ---- Room ---- */

/* While nothing finds room, there is none. */
static void put_room(struct statvfs64 *found) {
    int error = lock();
    if (plan.classes && plan.error == ENOSPC && plan.how != ONCE && plan.seen >= plan.at)
        found->f_bfree = found->f_bavail = found->f_ffree = found->f_favail = 0;
    unlock(error);
}

EXPORT int statvfs64(const char *path, struct statvfs64 *found) {
    REAL(statvfs64);
    int result = real(path, found);
    if (!result && inside(path)) put_room(found);
    return result;
}
EXPORT int fstatvfs64(int fd, struct statvfs64 *found) {
    REAL(fstatvfs64);
    int result = real(fd, found);
    if (!result && ours(fd)) put_room(found);
    return result;
}
#if __SIZEOF_LONG__ == 8
/* The same structure by another name. */
EXPORT int statvfs(const char *path, struct statvfs *found) {
    return statvfs64(path, (struct statvfs64 *)found);
}
EXPORT int fstatvfs(int fd, struct statvfs *found) {
    return fstatvfs64(fd, (struct statvfs64 *)found);
}
#endif
