// Counts a program's fsync and fdatasync calls while it runs, to show that what it says is on disk is on disk.
//
// Preloaded (LD_PRELOAD) into the coordinator for the durability check only. The counts are two 64-bit numbers in the
// file that BENCH_FSYNC_FILE names: calls that have returned, and calls that failed.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct counts {
    _Atomic uint64_t returned, failed;
};

static struct counts *counts;
static int (*real_fsync)(int), (*real_fdatasync)(int);

__attribute__((constructor)) static void start(void) {
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *path = getenv("BENCH_FSYNC_FILE");
    int fd = path ? open(path, O_RDWR | O_CREAT, 0600) : -1;
    if (fd < 0) return;
    if (ftruncate(fd, sizeof *counts) == 0) {
        void *map = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) counts = map;
    }
    close(fd);
}

static int count(int result) {
    if (counts) atomic_fetch_add(result == 0 ? &counts->returned : &counts->failed, 1);
    return result;
}

int fsync(int fd) { return count(real_fsync(fd)); }
int fdatasync(int fd) { return count(real_fdatasync(fd)); }
