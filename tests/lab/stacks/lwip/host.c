/* One host with lwIP, in virtual time: commands on standard input, what it sends and its states on standard output.
 *
 * Each command begins with the time in nanoseconds; `done NEXT` ends the answer, NEXT being when a timer is due.
 */
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "lwip/init.h"
#include "lwip/ip4.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

#define MOST 64

struct end {
    int used, local, remote, state, seen, paused, got;
    struct tcp_pcb *pcb; /* NULL once the application has let go of it */
};

static struct end ends[MOST];
static struct netif nic;
static uint64_t now, tick;
static const char *names[] = {"CLOSED", "LISTEN", "SYN_SENT", "SYN_RECEIVED", "ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2",
                              "CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT"};

u32_t sys_now(void) { return (u32_t)(now / 1000000); }

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
    return &ends[empty];
}

static err_t emit(struct netif *netif, struct pbuf *p, const ip4_addr_t *to)
{
    static unsigned char packet[65535];
    int i, n = pbuf_copy_partial(p, packet, sizeof packet, 0);
    (void)netif;
    (void)to;
    printf("out ");
    for (i = 0; i < n; i++) printf("%02x", packet[i]);
    printf("\n");
    return ERR_OK;
}

static err_t start(struct netif *netif)
{
    netif->name[0] = 'v';
    netif->name[1] = 'w';
    netif->output = emit;
    netif->mtu = 1500;
    netif->flags = NETIF_FLAG_UP | NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

static err_t received(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    struct end *e = arg;
    (void)err;
    if (p == NULL) {
        printf("eof %d %d\n", e->local, e->remote);
        return ERR_OK;
    }
    if (!e->paused) tcp_recved(pcb, p->tot_len);
    e->got += p->tot_len;
    printf("recv %d %d %d\n", e->local, e->remote, e->got);
    pbuf_free(p);
    return ERR_OK;
}

static void failed(void *arg, err_t err)
{
    struct end *e = arg;
    e->pcb = NULL;
    printf("error %d %d %d\n", e->local, e->remote, err);
}

static void adopt(struct tcp_pcb *pcb)
{
    struct end *e = end_of(pcb->local_port, pcb->remote_port, 1);
    e->pcb = pcb;
    e->got = e->paused = 0;
    tcp_arg(pcb, e);
    tcp_recv(pcb, received);
    tcp_err(pcb, failed);
}

static err_t accepted(void *arg, struct tcp_pcb *pcb, err_t err)
{
    (void)arg;
    if (err != ERR_OK || pcb == NULL) return ERR_VAL;
    adopt(pcb);
    printf("open %d %d\n", pcb->local_port, pcb->remote_port);
    return ERR_OK;
}

static err_t connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
    (void)arg;
    (void)err;
    printf("open %d %d\n", pcb->local_port, pcb->remote_port);
    return ERR_OK;
}

static void look(struct tcp_pcb *list)
{
    for (; list; list = list->next) {
        struct end *e = end_of(list->local_port, list->remote_port, 1);
        e->seen = 1;
        if (e->state != (int)list->state) {
            printf("state %d %d %s\n", e->local, e->remote, names[list->state]);
            e->state = list->state;
        }
    }
}

static void tell(void)
{
    int i;
    for (i = 0; i < MOST; i++) ends[i].seen = 0;
    look(tcp_active_pcbs);
    look(tcp_tw_pcbs);
    for (i = 0; i < MOST; i++) {
        if (ends[i].used && !ends[i].seen && ends[i].state) {
            printf("state %d %d CLOSED\n", ends[i].local, ends[i].remote);
            ends[i].state = 0;
        }
    }
}

static void let_go(struct end *e)
{
    tcp_arg(e->pcb, NULL);
    tcp_recv(e->pcb, NULL);
    tcp_err(e->pcb, NULL);
}

static void run(uint64_t until)
{
    now = until;
    while (tick <= now) {
        tcp_tmr();
        tick += 250000000;
        tell();
    }
}

int main(int argc, char **argv)
{
    static char line[200000], word[32], rest[140000];
    ip4_addr_t own, mask, gate, peer;
    uint64_t when;
    int a, b, n;
    if (argc < 5) return 2;
    ip4addr_aton(argv[1], &own);
    ip4addr_aton(argv[2], &peer);
    srand(atoi(argv[3]));
    tick = strtoull(argv[4], NULL, 10);
    IP4_ADDR(&mask, 255, 255, 255, 0);
    ip4_addr_set_zero(&gate);
    lwip_init();
    netif_add(&nic, &own, &mask, &gate, NULL, start, ip4_input);
    netif_set_default(&nic);
    netif_set_up(&nic);
    while (fgets(line, sizeof line, stdin)) {
        rest[0] = 0;
        a = b = n = 0;
        if (sscanf(line, "%" SCNu64 " %31s %[^\n]", &when, word, rest) < 2) return 2;
        run(when);
        sscanf(rest, "%d %d %d", &a, &b, &n);
        struct end *e = end_of(a, b, 0);
        if (!strcmp(word, "in")) {
            int i, length = (int)strlen(rest) / 2;
            struct pbuf *p = pbuf_alloc(PBUF_RAW, length, PBUF_RAM);
            for (i = 0; i < length; i++) {
                unsigned byte;
                sscanf(rest + 2 * i, "%2x", &byte);
                ((unsigned char *)p->payload)[i] = byte;
            }
            if (nic.input(p, &nic) != ERR_OK) pbuf_free(p);
        } else if (!strcmp(word, "listen")) {
            struct tcp_pcb *pcb = tcp_new();
            tcp_bind(pcb, &own, a);
            tcp_accept(tcp_listen(pcb), accepted);
        } else if (!strcmp(word, "connect")) {
            struct tcp_pcb *pcb = tcp_new();
            ip_set_option(pcb, SOF_REUSEADDR);
            tcp_bind(pcb, &own, a);
            pcb->remote_port = b;
            adopt(pcb);
            tcp_connect(pcb, &peer, b, connected);
        } else if (e && e->pcb && !strcmp(word, "send")) {
            static char data[65536];
            if (n > tcp_sndbuf(e->pcb)) n = tcp_sndbuf(e->pcb);
            tcp_write(e->pcb, data, n, TCP_WRITE_FLAG_COPY);
            tcp_output(e->pcb);
        } else if (e && e->pcb && !strcmp(word, "shut")) {
            tcp_shutdown(e->pcb, 0, 1);
        } else if (e && e->pcb && !strcmp(word, "close")) {
            let_go(e);
            tcp_close(e->pcb);
            e->pcb = NULL;
        } else if (e && e->pcb && !strcmp(word, "abort")) {
            let_go(e);
            tcp_abort(e->pcb);
            e->pcb = NULL;
        } else if (e && !strcmp(word, "pause")) {
            e->paused = 1;
        }
        tell();
        printf("done %" PRIu64 "\n", tick);
        fflush(stdout);
    }
    return 0;
}
