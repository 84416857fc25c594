/* The second part of record.c: operations on names. */

static int open_at(int at, const char *path, int flags, mode_t mode) {
    struct place place;
    if (!locate(at, path, &place)) return syscall(SYS_openat, at, path, flags, mode);
    int error = lock(), fd = -1;
    struct stat before, now;
    int unnamed = (flags & O_TMPFILE) == O_TMPFILE;
    int creates = unnamed || ((flags & O_CREAT) && fstatat(at, path, &before, 0));
    int fault = strike(creates ? NAMES | SPACE : NAMES, creates ? "making a file" : "open");
    if (fault > 0) error = fault;
    else if ((fd = syscall(SYS_openat, at, path, flags, mode)) < 0) error = errno;
    if (fd >= 0 && creates) {
        put((struct record){ .kind = CREATE, .inode = inode_of(fd),
                             .directory = unnamed ? 0 : place.directory },
            unnamed ? "" : place.name, NULL, NULL);
    } else if (fd >= 0 && (flags & O_TRUNC) && !fstat(fd, &now) && S_ISREG(now.st_mode)) {
        put_size(fd);
    }
    unlock(error);
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }

#undef open
#undef open64
#undef openat
#undef openat64
EXPORT int open(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
EXPORT int open64(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
EXPORT int openat(int at, const char *path, int flags, ...) { MODE(flags) return open_at(at, path, flags, mode); }
EXPORT int openat64(int at, const char *path, int flags, ...) { MODE(flags) return open_at(at, path, flags | O_LARGEFILE, mode); }
EXPORT int __open_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
EXPORT int __open64_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
EXPORT int __openat_2(int at, const char *path, int flags) { return open_at(at, path, flags, 0); }
EXPORT int __openat64_2(int at, const char *path, int flags) { return open_at(at, path, flags, 0); }
EXPORT int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
EXPORT int creat64(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* A buffered file is written by the C library itself, past this recorder. */
static void buffered(const char *path, const char *mode) {
    struct place place;
    if (!strpbrk(mode, "wa+") || !locate(AT_FDCWD, path, &place)) return;
    int error = lock();
    char what[PATH_MAX + 40];
    put_text(UNSUPPORTED, what, snprintf(what, sizeof what, "fopen for writing: %s", path));
    unlock(error);
}
EXPORT FILE *fopen(const char *path, const char *mode) {
    REAL(fopen);
    buffered(path, mode);
    return real(path, mode);
}
EXPORT FILE *fopen64(const char *path, const char *mode) {
    REAL(fopen64);
    buffered(path, mode);
    return real(path, mode);
}

EXPORT int mkdirat(int at, const char *path, mode_t mode) {
    REAL(mkdirat);
    struct place place;
    if (!locate(at, path, &place)) return real(at, path, mode);
    int error = lock();
    int result = -1, fault = strike(NAMES | SPACE, "mkdir");
    struct stat made;
    if (fault > 0) error = fault;
    else if ((result = real(at, path, mode))) error = errno;
    else if (fstatat(at, path, &made, 0)) fail("looking at a new directory");
    else put((struct record){ .kind = MKDIR, .inode = made.st_ino, .directory = place.directory },
             place.name, NULL, NULL);
    unlock(error);
    return result;
}
EXPORT int mkdir(const char *path, mode_t mode) {
    return mkdirat(AT_FDCWD, path, mode);
}

EXPORT int linkat(int from_at, const char *from, int at, const char *path, int flags) {
    REAL(linkat);
    struct place place;
    if (!locate(at, path, &place)) return real(from_at, from, at, path, flags);
    int error = lock();
    int result = -1, fault = strike(NAMES | SPACE, "link");
    struct stat found;
    if (fault > 0) error = fault;
    else if ((result = real(from_at, from, at, path, flags))) error = errno;
    else if (fstatat(at, path, &found, AT_SYMLINK_NOFOLLOW)) fail("looking at a new link");
    else put((struct record){ .kind = LINK, .inode = found.st_ino, .directory = place.directory },
             place.name, NULL, NULL);
    unlock(error);
    return result;
}
EXPORT int link(const char *from, const char *path) {
    return linkat(AT_FDCWD, from, AT_FDCWD, path, 0);
}

EXPORT int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    struct place place;
    if (!locate(at, path, &place)) return real(at, path, flags);
    int error = lock();
    int result = -1, fault = strike(NAMES, "unlink");
    if (fault > 0) error = fault;
    else if ((result = real(at, path, flags))) error = errno;
    else put((struct record){ .kind = REMOVE, .directory = place.directory }, place.name, NULL, NULL);
    unlock(error);
    return result;
}
EXPORT int unlink(const char *path) {
    return unlinkat(AT_FDCWD, path, 0);
}
EXPORT int rmdir(const char *path) {
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}
EXPORT int remove(const char *path) {
    struct stat found;
    if (lstat(path, &found)) return -1;
    return unlinkat(AT_FDCWD, path, S_ISDIR(found.st_mode) ? AT_REMOVEDIR : 0);
}

EXPORT int renameat2(int from_at, const char *from, int at, const char *path, unsigned flags) {
    struct place before, behind;
    int was_ours = locate(from_at, from, &before), is_ours = locate(at, path, &behind);
    if (!was_ours && !is_ours) return syscall(SYS_renameat2, from_at, from, at, path, flags);
    int error = lock();
    struct stat moved, replaced;
    int same = !fstatat(from_at, from, &moved, AT_SYMLINK_NOFOLLOW) &&
               !fstatat(at, path, &replaced, AT_SYMLINK_NOFOLLOW) &&
               moved.st_ino == replaced.st_ino;
    int result = -1, fault = strike(NAMES | SPACE, "rename");
    if (fault > 0) {
        error = fault;
    } else if ((result = syscall(SYS_renameat2, from_at, from, at, path, flags))) {
        error = errno;
    } else if (was_ours != is_ours || (flags & RENAME_EXCHANGE)) {
        put_text(UNSUPPORTED, "a rename into, out of, or as an exchange", 40);
    } else if (!same) {
        put((struct record){ .kind = RENAME, .inode = moved.st_ino, .directory = before.directory,
                             .other_directory = behind.directory },
            before.name, behind.name, NULL);
    }
    unlock(error);
    return result;
}
EXPORT int renameat(int from_at, const char *from, int at, const char *path) {
    return renameat2(from_at, from, at, path, 0);
}
EXPORT int rename(const char *from, const char *path) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, path, 0);
}
