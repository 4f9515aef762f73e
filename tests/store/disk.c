/*
 * A disk that forgets: loaded into a process with LD_PRELOAD, it makes fsync, write and read fail when it is told to, and
 * writes down all that is done to the files of one directory, so that power.rs knows what a power failure would have left.
 *
 * After a failed fsync the files themselves stay as they were written, as Linux leaves them in memory; what of them is on
 * the disk is power.rs's business. No fsync is really done.
 *
 * DISK_DIRECTORY  which directory
 * DISK_LOG        where it is written down: records of a letter, three numbers of 8 bytes, and as many bytes as the third
 * DISK_SYNCS      which fsyncs fail, counted from 1: "3-5,9-9"
 * DISK_WRITES     which writes fail
 * DISK_READS      which reads fail
 * DISK_ERROR      with which errno
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define FILES 4096
enum { NOTHING, FILE_OF_IT, MARKS };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char kinds[FILES];
static int log_fd = -1;
static const char *directory;
static long syncs, writes, reads;

static void begin(void)
{
	if (log_fd >= 0)
		return;
	directory = getenv("DISK_DIRECTORY");
	log_fd = syscall(SYS_openat, AT_FDCWD, getenv("DISK_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (!directory || log_fd < 0)
		abort();
}

static void note(char what, uint64_t file, uint64_t place, const void *bytes, uint64_t count)
{
	char head[25];
	head[0] = what;
	memcpy(head + 1, &file, 8);
	memcpy(head + 9, &place, 8);
	memcpy(head + 17, &count, 8);
	char *whole = malloc(sizeof head + count);
	memcpy(whole, head, sizeof head);
	if (count)
		memcpy(whole + sizeof head, bytes, count);
	if (syscall(SYS_write, log_fd, whole, sizeof head + count) != (long)(sizeof head + count))
		abort();
	free(whole);
}

/* The process ends between two records: nobody is in the middle of one. */
__attribute__((destructor)) static void end(void)
{
	pthread_mutex_lock(&lock);
}

/* Whether the nth is one of those that fail. */
static int fails(const char *plan, long number)
{
	const char *text = getenv(plan);
	while (text && *text) {
		char *end;
		long from = strtol(text, &end, 10), to = strtol(end + 1, &end, 10);
		if (number >= from && number <= to) {
			const char *error = getenv("DISK_ERROR");
			errno = error ? atoi(error) : EIO;
			return 1;
		}
		text = *end ? end + 1 : end;
	}
	return 0;
}

static uint64_t number_of(int fd)
{
	struct stat found;
	return fstat(fd, &found) ? 0 : found.st_ino;
}

static int kind(int fd)
{
	return fd >= 0 && fd < FILES ? kinds[fd] : NOTHING;
}

/* The names that there are now: a number and a name, ended by zero, each. */
static void note_names(void)
{
	struct stat found;
	DIR *open = stat(directory, &found) ? NULL : opendir(directory);
	if (!open)
		return;
	char all[1 << 16];
	size_t length = 0;
	struct dirent *entry;
	while ((entry = readdir(open))) {
		size_t name = strlen(entry->d_name) + 1;
		if (entry->d_name[0] == '.' || strstr(entry->d_name, "-shm"))
			continue;
		uint64_t number = entry->d_ino;
		memcpy(all + length, &number, 8);
		memcpy(all + length + 8, entry->d_name, name);
		length += 8 + name;
	}
	closedir(open);
	note('N', found.st_ino, 0, all, length);
}

static int opened(const char *path, int flags, int fd, int is_new)
{
	begin();
	pthread_mutex_lock(&lock);
	if (fd >= 0 && fd < FILES) {
		size_t length = strlen(directory);
		int is_inside = !strncmp(path, directory, length) && (path[length] == '/' || !path[length]);
		const char *end = strrchr(path, '/');
		kinds[fd] = is_inside && !strstr(path, "-shm") ? FILE_OF_IT : end && !strcmp(end, "/marks") ? MARKS : NOTHING;
		if (kinds[fd] == FILE_OF_IT && is_new)
			note_names();
		if (kinds[fd] == FILE_OF_IT && (flags & O_TRUNC))
			note('T', number_of(fd), 0, NULL, 0);
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

#define OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		va_list more; \
		va_start(more, flags); \
		mode_t mode = va_arg(more, mode_t); \
		va_end(more); \
		struct stat found; \
		int is_new = (flags & O_CREAT) && stat(path, &found); \
		return opened(path, flags, syscall(SYS_openat, AT_FDCWD, path, flags, mode), is_new); \
	}
OPEN(open)
OPEN(open64)

int close(int fd)
{
	if (fd >= 0 && fd < FILES)
		kinds[fd] = NOTHING;
	return syscall(SYS_close, fd);
}

static ssize_t written(int fd, const void *bytes, size_t count, off_t place)
{
	pthread_mutex_lock(&lock);
	ssize_t done = -1;
	if (kind(fd) == MARKS) {
		note('M', 0, 0, bytes, count);
		done = count;
	} else if (!fails("DISK_WRITES", ++writes)) {
		int is_placed = place >= 0;
		if (!is_placed)
			place = lseek(fd, 0, SEEK_CUR);
		done = is_placed ? syscall(SYS_pwrite64, fd, bytes, count, place) : syscall(SYS_write, fd, bytes, count);
		if (done > 0)
			note('W', number_of(fd), place, bytes, done);
	}
	pthread_mutex_unlock(&lock);
	return done;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
	return kind(fd) == NOTHING ? syscall(SYS_write, fd, bytes, count) : written(fd, bytes, count, -1);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t place)
{
	return kind(fd) == NOTHING ? syscall(SYS_pwrite64, fd, bytes, count, place) : written(fd, bytes, count, place);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t place)
{
	return pwrite(fd, bytes, count, place);
}

static int may_read(int fd)
{
	if (kind(fd) != FILE_OF_IT)
		return 1;
	pthread_mutex_lock(&lock);
	int may = !fails("DISK_READS", ++reads);
	pthread_mutex_unlock(&lock);
	return may;
}

ssize_t read(int fd, void *bytes, size_t count)
{
	return may_read(fd) ? syscall(SYS_read, fd, bytes, count) : -1;
}

ssize_t pread(int fd, void *bytes, size_t count, off_t place)
{
	return may_read(fd) ? syscall(SYS_pread64, fd, bytes, count, place) : -1;
}

ssize_t pread64(int fd, void *bytes, size_t count, off_t place)
{
	return pread(fd, bytes, count, place);
}

int ftruncate(int fd, off_t length)
{
	if (kind(fd) != FILE_OF_IT)
		return syscall(SYS_ftruncate, fd, length);
	pthread_mutex_lock(&lock);
	int done = fails("DISK_WRITES", ++writes) ? -1 : syscall(SYS_ftruncate, fd, length);
	if (!done)
		note('T', number_of(fd), length, NULL, 0);
	pthread_mutex_unlock(&lock);
	return done;
}

int ftruncate64(int fd, off_t length)
{
	return ftruncate(fd, length);
}

static int synced(int fd)
{
	if (kind(fd) != FILE_OF_IT)
		return 0;
	pthread_mutex_lock(&lock);
	int failed = fails("DISK_SYNCS", ++syncs), error = errno;
	note(failed ? 'F' : 'S', number_of(fd), syncs, NULL, 0);
	pthread_mutex_unlock(&lock);
	errno = error;
	return failed ? -1 : 0;
}

int fsync(int fd)
{
	return synced(fd);
}

int fdatasync(int fd)
{
	return synced(fd);
}

int rename(const char *from, const char *to)
{
	begin();
	pthread_mutex_lock(&lock);
	int done = syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
	note_names();
	pthread_mutex_unlock(&lock);
	return done;
}

int unlink(const char *path)
{
	begin();
	pthread_mutex_lock(&lock);
	int done = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
	note_names();
	pthread_mutex_unlock(&lock);
	return done;
}
