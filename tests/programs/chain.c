/* A namespace handed down a chain of processes, each of which ends as soon as it has a child. */
#include "kit.h"

static void chain(int links, int apart) {
    int report[2];
    char outside[64], before[64], after[64], text[256];
    MUST(pipe(report));
    own_namespace(outside);
    if (!MUST(fork())) {
        MUST(dup2(report[1], 1));
        MUST(unshare(CLONE_NEWNET));
        own_namespace(before);
        for (int link = 0; link < links; link++) {
            if (MUST(fork())) _exit(0);
            if (link % apart == 0) close(route_socket());
        }
        own_namespace(after);
        int fd = route_socket();
        long answered = ask(fd, 7) ? -errno : answer(fd, 0);
        printf("moved %d, same at the end %d, answer %ld\n", strcmp(outside, before) != 0, !strcmp(before, after), answered);
        fflush(stdout);
        _exit(0);
    }
    close(report[1]);
    for (ssize_t got; (got = read(report[0], text, sizeof text)) > 0;) fwrite(text, 1, got, stdout);
    close(report[0]);
    wait(NULL);
}

/* Arguments: how many chains, one after the other, and how long; every how many links a call is made that pernet sees. */
int main(int argc, char **argv) {
    if (argc < 3) return 2;
    for (int left = atoi(argv[1]); left > 0; left--) {
        chain(atoi(argv[2]), argc > 3 ? atoi(argv[3]) : 10);
        fflush(stdout);
    }
    return 0;
}
