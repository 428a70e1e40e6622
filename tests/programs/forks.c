/* Processes made while a timer interrupts: no way of making one answers EINTR, whatever the handler asked for.
   Argument: how many of each way. */
#include "kit.h"
#include <spawn.h>

enum { SIDE_BY_SIDE = 4 };
extern char **environ;
static volatile sig_atomic_t signals;

static void handler(int signal) {
    (void)signal;
    signals++;
}

static void reap(pid_t child) {
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
}

static int failed[3], others;

static void count(int way, pid_t child, int error) {
    if (child > 0) reap(child);
    else if (error == EINTR) failed[way]++;
    else others++;
}

static int storm(int rounds) {
    struct sigaction action = {.sa_handler = handler};
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    char *nothing[] = {"true", NULL};
    MUST(sigaction(SIGALRM, &action, NULL));
    MUST(setitimer(ITIMER_REAL, &often, NULL));
    for (int round = 0; round < rounds; round++) {
        pid_t child = fork();
        if (!child) _exit(0);
        count(0, child, errno);
        child = vfork();
        if (!child) _exit(0);
        count(1, child, errno);
        if (round % 4) continue;
        child = 0;
        int error = posix_spawn(&child, "/bin/true", NULL, NULL, nothing, environ);
        count(2, error ? -1 : child, error);
    }
    MUST(setitimer(ITIMER_REAL, &never, NULL));
    if (failed[0] + failed[1] + failed[2] + others)
        fprintf(stderr, "EINTR: fork %d, vfork %d, posix_spawn %d; other errors %d\n", failed[0], failed[1], failed[2], others);
    return signals && !(failed[0] + failed[1] + failed[2] + others) ? 0 : 1;
}

int main(int argc, char **argv) {
    int status, bad = 0;
    if (argc < 2) return 2;
    for (int i = 0; i < SIDE_BY_SIDE; i++)
        if (!MUST(fork())) _exit(storm(atoi(argv[1])));
    while (wait(&status) > 0) bad += status != 0;
    printf("interrupted or worse: %d\n", bad);
    return 0;
}
