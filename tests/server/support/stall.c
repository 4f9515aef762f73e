/*
 * A disk that doesn't answer: loaded into a process with LD_PRELOAD, it has fsyncs of one directory's files wait for as
 * long as there is a file STALL_SYNCS, and reads for as long as there is a file STALL_READS.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static void stall(int fd, const char *name)
{
	const char *directory = getenv("STALL_DIRECTORY"), *flag = getenv(name);
	char link[64], path[PATH_MAX];
	ssize_t length;

	if (!directory || !flag || access(flag, F_OK))
		return;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	if (length < 0)
		return;
	path[length] = 0;
	if (strncmp(path, directory, strlen(directory)))
		return;
	while (!access(flag, F_OK))
		usleep(1000);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd)
{
	stall(fd, "STALL_SYNCS");
	return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	stall(fd, "STALL_SYNCS");
	return REAL(fdatasync)(fd);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t place)
{
	stall(fd, "STALL_READS");
	return REAL(pread)(fd, bytes, count, place);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t place)
{
	stall(fd, "STALL_READS");
	return REAL(pread64)(fd, bytes, count, place);
}
