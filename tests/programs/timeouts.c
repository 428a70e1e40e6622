/* Receives with a time limit, and with signals: what ends them, and when. */
#include "kit.h"

static void handler(int signal) { (void)signal; }

static void timed(const char *what, int fd, double least, double most) {
    double start = now();
    long answered = answer(fd, 0);
    double took = now() - start;
    show(what, answered);
    if (took < least || took > most) printf("    after %.3f s, not within %.2f to %.2f\n", took, least, most);
}

static void every_50_ms(int on, int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    struct itimerval timer = {{0, on ? 50000 : 0}, {0, on ? 50000 : 0}};
    MUST(sigaction(SIGALRM, &action, NULL));
    MUST(setitimer(ITIMER_REAL, &timer, NULL));
}

int main(void) {
    int fd = route_socket();
    struct timeval limit = {0, 300000}, none = {0, 0};
    MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    timed("a limit", fd, 0.28, 1.0);
    every_50_ms(1, SA_RESTART);
    timed("a limit, signals that restart", fd, 0.02, 0.28);
    every_50_ms(1, 0);
    timed("a limit, signals that do not", fd, 0.02, 0.28);
    every_50_ms(0, 0);
    MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none));
    every_50_ms(1, 0);
    timed("no limit, signals that do not", fd, 0.02, 1.0);
    every_50_ms(0, 0);
    pid_t asker = MUST(fork());
    if (!asker) {
        pause_ms(250);
        _exit(ask(fd, 31) != 0);
    }
    every_50_ms(1, SA_RESTART);
    timed("no limit, signals that restart", fd, 0.2, 1.5);
    every_50_ms(0, SA_RESTART);
    waitpid(asker, NULL, 0);
    return 0;
}
