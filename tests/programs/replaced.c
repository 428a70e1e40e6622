/* One thread waits in a receive; another puts a different socket in the place of its descriptor, or closes it. */
#include "kit.h"

static int waiting_on;
static long received;

static void *waits(void *unused) {
    (void)unused;
    received = answer(waiting_on, 0);
    return NULL;
}

static pthread_t begin(int fd) {
    pthread_t thread;
    waiting_on = fd;
    MUST(-pthread_create(&thread, NULL, waits, NULL));
    pause_ms(150);
    return thread;
}

/* Asks by another descriptor of the socket waited on; the answer is there once, with the waiting thread or in the queue. */
static void finish(const char *what, pthread_t thread, int kept) {
    pause_ms(150);
    MUST(ask(kept, 11));
    pthread_join(thread, NULL);
    long left = answer(kept, MSG_DONTWAIT);
    show(what, received);
    printf("    answers %d\n", (received == 11) + (left == 11));
}

int main(void) {
    /* Another netlink socket, which has an answer ready. */
    int first = route_socket(), kept = MUST(dup(first)), other = route_socket();
    pthread_t thread = begin(first);
    MUST(ask(other, 22));
    MUST(dup2(other, first));
    finish("replaced by a netlink socket", thread, kept);
    show("    the other", answer(other, MSG_DONTWAIT));
    show("    the other again", answer(other, MSG_DONTWAIT));

    /* A socket of another family, with a datagram in it. */
    int pair[2];
    char byte = 0;
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    MUST(write(pair[0], "z", 1));
    first = MUST(dup(kept));
    thread = begin(first);
    MUST(dup2(pair[1], first));
    finish("replaced by a pair", thread, kept);
    printf("    the pair: %c\n", recv(pair[1], &byte, 1, MSG_DONTWAIT) == 1 ? byte : '-');

    /* Closed, while another descriptor keeps the socket open. */
    first = MUST(dup(kept));
    thread = begin(first);
    MUST(close(first));
    finish("closed", thread, kept);

    /* Closed for good: nothing but the time limit has to end the wait. */
    struct timeval limit = {0, 500000};
    first = route_socket();
    MUST(setsockopt(first, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    double start = now();
    thread = begin(first);
    MUST(close(first));
    pthread_join(thread, NULL);
    show("closed for good", received);
    printf("    within a second %d\n", now() - start < 1);
    return 0;
}
