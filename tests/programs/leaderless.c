/* A process whose first thread has ended is a process like any other. */
#include "kit.h"

static void *remains(void *unused) {
    (void)unused;
    char line[256] = "", path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", getpid(), getpid());
    for (int tries = 0; tries < 300 && !strstr(line, ") Z "); tries++) {
        pause_ms(10);
        FILE *file = fopen(path, "r");
        if (!file || !fgets(line, sizeof line, file)) line[0] = 0;
        if (file) fclose(file);
    }
    printf("the first thread ended: %s\n", strstr(line, ") Z ") ? "yes" : "no");
    int fd = route_socket();
    long sent = ask(fd, 5);
    show("netlink", sent ? sent : answer(fd, 0));
    char before[64], after[64];
    own_namespace(before);
    long moved = unshare(CLONE_NEWNET);
    own_namespace(after);
    printf("unshare: %ld, moved %d\n", moved, strcmp(before, after) != 0);
    fflush(stdout);
    _exit(0);
}

int main(void) {
    pthread_t thread;
    MUST(-pthread_create(&thread, NULL, remains, NULL));
    pthread_exit(NULL);
}
