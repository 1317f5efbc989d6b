/* One host whose TCP is libslirp's (4.4BSD), in virtual time: commands on standard input, what it sends and its states
 * on standard output. Each command begins with the time in nanoseconds; `done NEXT` ends the answer, NEXT being when a
 * timer is due. Its applications are sockets of this process, to which libslirp connects.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libslirp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 64

struct end {
    int used, local, remote, forward, fd, eof, paused, got, open, seen;
    char state[24];
};

static struct end ends[MOST];
static Slirp *slirp;
static struct in_addr own, peer;
static int64_t now;
static struct pollfd fds[256];
static int polled, listener = -1, port, activity;
static uint8_t peer_mac[6] = {0x52, 0x54, 0, 0, 0, 9}, own_mac[6] = {0x52, 0x55, 0, 0, 0, 1};

static struct end *end_of(int local, int remote, int make)
{
    int i, empty = -1;
    for (i = 0; i < MOST; i++) {
        if (ends[i].used && ends[i].local == local && ends[i].remote == remote) return &ends[i];
        if (!ends[i].used && empty < 0) empty = i;
    }
    if (!make || empty < 0) return NULL;
    memset(&ends[empty], 0, sizeof ends[empty]);
    ends[empty].used = 1;
    ends[empty].local = local;
    ends[empty].remote = remote;
    ends[empty].fd = -1;
    strcpy(ends[empty].state, "CLOSED");
    return &ends[empty];
}

static void answer_arp(const uint8_t *f)
{
    uint8_t r[64] = {0};
    memcpy(r, f + 6, 6);
    memcpy(r + 6, peer_mac, 6);
    memcpy(r + 12, f + 12, 8);
    r[21] = 2;
    memcpy(r + 22, peer_mac, 6);
    memcpy(r + 28, f + 38, 4);
    memcpy(r + 32, f + 22, 10);
    slirp_input(slirp, r, 60);
}

static ssize_t emit(const void *frame, size_t length, void *opaque)
{
    const uint8_t *f = frame;
    size_t i;
    (void)opaque;
    activity = 1;
    if (f[12] == 8 && f[13] == 6) {
        if (f[21] == 1) answer_arp(f);
        return length;
    }
    memcpy(own_mac, f + 6, 6);
    printf("out ");
    for (i = 14; i < length; i++) printf("%02x", f[i]);
    printf("\n");
    return length;
}

static void mistake(const char *text, void *opaque) { (void)opaque; fprintf(stderr, "%s\n", text); }
static int64_t clock_ns(void *opaque) { (void)opaque; return now; }
static void *timer_new(SlirpTimerCb cb, void *a, void *b) { (void)cb; (void)a; (void)b; return calloc(1, 1); }
static void timer_free(void *t, void *o) { (void)o; free(t); }
static void timer_mod(void *t, int64_t at, void *o) { (void)t; (void)at; (void)o; }
static void watch(int fd, void *o) { (void)fd; (void)o; }
static void notify(void *o) { (void)o; }

static const SlirpCb callbacks = {emit, mistake, clock_ns, timer_new, timer_free, timer_mod, watch, watch, notify,
                                  NULL, NULL};

static int add_poll(int fd, int events, void *opaque)
{
    (void)opaque;
    fds[polled].fd = fd;
    fds[polled].revents = 0;
    fds[polled].events = (events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
                         (events & SLIRP_POLL_PRI ? POLLPRI : 0);
    return polled++;
}

static int seen_events(int i, void *opaque)
{
    int r = fds[i].revents;
    (void)opaque;
    return (r & POLLIN ? SLIRP_POLL_IN : 0) | (r & POLLOUT ? SLIRP_POLL_OUT : 0) | (r & POLLPRI ? SLIRP_POLL_PRI : 0) |
           (r & POLLERR ? SLIRP_POLL_ERR : 0) | (r & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static void say(struct end *e, const char *state)
{
    if (!strcmp(state, "SYN_RCVD")) state = "SYN_RECEIVED";
    e->seen = 1;
    if (!strcmp(e->state, state)) return;
    strcpy(e->state, state);
    printf("state %d %d %s\n", e->local, e->remote, state);
    activity = 1;
}

static void tell(void)
{
    char *text = slirp_connection_info(slirp), *line, *save = NULL, state[32], from[32], to[32], lost[8][32];
    int i, fd, from_port, to_port, orphans = 0;
    for (i = 0; i < MOST; i++) ends[i].seen = 0;
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct end *e = NULL;
        if (sscanf(line, " TCP[%31[^]]] %d %31s %d %31s %d", state, &fd, from, &from_port, to, &to_port) != 6) continue;
        if (!strcmp(state, "HOST_FORWARD") || !strcmp(state, "NONE")) continue;
        for (i = 0; i < MOST && !e; i++) {
            if (!ends[i].used) continue;
            if (ends[i].forward ? fd >= 0 && ends[i].forward == from_port : !strcmp(from, inet_ntoa(peer)) && to_port == port && ends[i].remote == from_port) e = &ends[i];
        }
        if (!e && to_port == port && !strcmp(from, inet_ntoa(peer))) e = end_of(port, from_port, 1);
        if (e) say(e, state);
        else if (orphans < 8) strcpy(lost[orphans++], state);
    }
    for (i = 0; i < MOST; i++) {
        if (!ends[i].used || ends[i].seen) continue;
        if (orphans && ends[i].forward && strcmp(ends[i].state, "CLOSED")) say(&ends[i], lost[--orphans]);
        else if (strcmp(ends[i].state, "CLOSED")) say(&ends[i], "CLOSED");
    }
    free(text);
}

static void applications(void)
{
    static char data[65536];
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    int i, n, fd;
    while (listener >= 0 && (fd = accept4(listener, (struct sockaddr *)&from, &size, SOCK_NONBLOCK)) >= 0) {
        /* Which one it is: the only one that waits for its application. */
        for (i = 0; i < MOST; i++)
            if (ends[i].used && !ends[i].forward && ends[i].fd < 0 && !ends[i].open && strcmp(ends[i].state, "CLOSED")) break;
        if (i == MOST) {
            close(fd);
            continue;
        }
        ends[i].fd = fd;
        ends[i].open = 1;
        ends[i].eof = ends[i].got = ends[i].paused = 0;
        printf("open %d %d\n", ends[i].local, ends[i].remote);
        activity = 1;
    }
    for (i = 0; i < MOST; i++) {
        struct end *e = &ends[i];
        if (!e->used || e->fd < 0 || e->eof || e->paused) continue;
        if (e->forward && !e->open && !strcmp(e->state, "ESTABLISHED")) {
            e->open = 1;
            printf("open %d %d\n", e->local, e->remote);
        }
        while ((n = recv(e->fd, data, sizeof data, MSG_DONTWAIT)) > 0) {
            e->got += n;
            printf("recv %d %d %d\n", e->local, e->remote, e->got);
            activity = 1;
        }
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            e->eof = activity = 1;
            printf("eof %d %d\n", e->local, e->remote);
        }
    }
}

static int64_t run(void)
{
    uint32_t wait = 0;
    int rounds, quiet = 0;
    for (rounds = 0; rounds < 40 && quiet < 2; rounds++) {
        activity = 0;
        polled = 0;
        wait = 1000000;
        slirp_pollfds_fill(slirp, &wait, add_poll, NULL);
        poll(fds, polled, 0);
        slirp_pollfds_poll(slirp, 0, seen_events, NULL);
        tell();
        applications();
        quiet = activity ? 0 : quiet + 1;
    }
    return now + (wait < 1 ? 1 : wait) * 1000000LL;
}

static struct sockaddr_in loopback(int at)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(at), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return a;
}

static void take(const char *hex)
{
    static uint8_t frame[65600];
    int i, n = (int)strlen(hex) / 2;
    memcpy(frame, own_mac, 6);
    memcpy(frame + 6, peer_mac, 6);
    frame[12] = 8;
    frame[13] = 0;
    for (i = 0; i < n; i++) {
        unsigned byte;
        sscanf(hex + 2 * i, "%2x", &byte);
        frame[14 + i] = byte;
    }
    slirp_input(slirp, frame, 14 + n);
}

static void obey(const char *word, const char *rest)
{
    struct linger abrupt = {1, 0};
    struct sockaddr_in at;
    int a = 0, b = 0, n = 0, yes = 1;
    static char data[65536];
    sscanf(rest, "%d %d %d", &a, &b, &n);
    struct end *e = end_of(a, b, 0);
    if (!strcmp(word, "in")) take(rest);
    else if (!strcmp(word, "listen")) {
        port = a;
        at = loopback(a);
        listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 100)) exit(3);
    } else if (!strcmp(word, "connect")) {
        socklen_t size = sizeof at;
        struct in_addr here = {htonl(INADDR_LOOPBACK)};
        int probe = socket(AF_INET, SOCK_STREAM, 0);
        at = loopback(0);
        bind(probe, (struct sockaddr *)&at, sizeof at);
        getsockname(probe, (struct sockaddr *)&at, &size);
        close(probe);
        e = end_of(a, b, 1);
        e->forward = ntohs(at.sin_port);
        e->eof = e->got = e->open = e->paused = 0;
        if (slirp_add_hostfwd(slirp, 0, here, e->forward, peer, b)) exit(4);
        e->fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(e->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        at = loopback(a);
        if (bind(e->fd, (struct sockaddr *)&at, sizeof at)) exit(5);
        at = loopback(e->forward);
        connect(e->fd, (struct sockaddr *)&at, sizeof at);
    } else if (!e || e->fd < 0) return;
    else if (!strcmp(word, "send")) {
        n = send(e->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)n;
    }
    else if (!strcmp(word, "shut")) shutdown(e->fd, SHUT_WR);
    else if (!strcmp(word, "pause")) e->paused = 1;
    else if (!strcmp(word, "close") || !strcmp(word, "abort")) {
        if (word[0] == 'a') setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &abrupt, sizeof abrupt);
        close(e->fd);
        e->fd = -1;
        e->open = 0;
    }
}

int main(int argc, char **argv)
{
    static char line[200000], word[32], rest[140000];
    SlirpConfig config = {.version = 4, .in_enabled = 1, .disable_dns = 1, .disable_dhcp = 1};
    int64_t until, next = 0;
    if (argc < 5) return 2;
    signal(SIGPIPE, SIG_IGN);
    inet_aton(argv[1], &own);
    inet_aton(argv[2], &peer);
    config.vnetmask.s_addr = htonl(0xffffff00);
    config.vnetwork.s_addr = own.s_addr & config.vnetmask.s_addr;
    config.vhost = own;
    config.vdhcp_start = peer;
    config.vnameserver.s_addr = config.vnetwork.s_addr | htonl(200);
    now = 1000000000 + strtoll(argv[4], NULL, 10);
    slirp = slirp_new(&config, &callbacks, NULL);
    while (fgets(line, sizeof line, stdin)) {
        rest[0] = 0;
        if (sscanf(line, "%" SCNd64 " %31s %[^\n]", &until, word, rest) < 2) return 2;
        now = 1000000000 + until;
        obey(word, rest);
        next = run() - 1000000000;
        printf("done %" PRId64 "\n", next);
        fflush(stdout);
    }
    return 0;
}
