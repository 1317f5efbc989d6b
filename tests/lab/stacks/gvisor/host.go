// One host with gVisor's netstack, in virtual time: commands on standard input, what it sends and its states on
// standard output. Each command begins with the time in nanoseconds; `done NEXT` ends the answer, NEXT being when a
// timer is due.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/bufferv2"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A clock that stands still until it is told the time.
type clock struct {
	mu     sync.Mutex
	now    int64
	timers []*timer
}

type timer struct {
	clock *clock
	at    int64
	armed bool
	run   func()
}

const epoch = 1700000000

func (c *clock) read() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Now() time.Time { return time.Unix(epoch, c.read()) }

func (c *clock) NowMonotonic() tcpip.MonotonicTime {
	return tcpip.MonotonicTime{}.Add(time.Duration(c.read() + 1))
}

func (c *clock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	t := &timer{clock: c, run: f}
	c.mu.Lock()
	c.timers = append(c.timers, t)
	c.mu.Unlock()
	t.Reset(d)
	return t
}

func (t *timer) Reset(d time.Duration) {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	if !t.armed {
		found := false
		for _, other := range t.clock.timers {
			found = found || other == t
		}
		if !found {
			t.clock.timers = append(t.clock.timers, t)
		}
	}
	if d < 0 {
		d = 0
	}
	t.at, t.armed = t.clock.now+int64(d), true
}

func (t *timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	was := t.armed
	t.armed = false
	return was
}

func (c *clock) next() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	least := int64(math.MaxInt64)
	kept := c.timers[:0]
	for _, t := range c.timers {
		if t.armed {
			kept = append(kept, t)
			if t.at < least {
				least = t.at
			}
		}
	}
	c.timers = kept
	return least
}

func (c *clock) due(until int64) *timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first *timer
	for _, t := range c.timers {
		if t.armed && t.at <= until && (first == nil || t.at < first.at) {
			first = t
		}
	}
	if first != nil {
		first.armed = false
		if first.at > c.now {
			c.now = first.at
		}
	} else if until > c.now {
		c.now = until
	}
	return first
}

type key struct{ local, remote uint16 }

type end struct {
	key
	ep     tcpip.Endpoint
	wq     *waiter.Queue
	state  string
	open   bool
	eof    bool
	paused bool
	got    int
}

type host struct {
	clock  *clock
	stack  *stack.Stack
	link   *channel.Endpoint
	own    tcpip.Address
	peer   tcpip.Address
	ends   map[key]*end
	gone   map[key]string
	queues map[uint16]tcpip.Endpoint
	wqs    map[uint16]*waiter.Queue
}

func address(text string) tcpip.Address { return tcpip.Address(net.ParseIP(text).To4()) }

func must(err tcpip.Error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

// What runs in other goroutines is given the time to come to rest: nothing new for a while.
func (h *host) settle() {
	for quiet := 0; quiet < 4; {
		time.Sleep(120 * time.Microsecond)
		if h.tell() {
			quiet = 0
		} else {
			quiet++
		}
	}
}

func words(state uint32) string {
	switch s := tcp.EndpointState(state); s {
	case tcp.StateSynSent:
		return "SYN_SENT"
	case tcp.StateSynRecv:
		return "SYN_RECEIVED"
	case tcp.StateEstablished:
		return "ESTABLISHED"
	case tcp.StateFinWait1:
		return "FIN_WAIT_1"
	case tcp.StateFinWait2:
		return "FIN_WAIT_2"
	case tcp.StateCloseWait:
		return "CLOSE_WAIT"
	case tcp.StateClosing:
		return "CLOSING"
	case tcp.StateLastAck:
		return "LAST_ACK"
	case tcp.StateTimeWait:
		return "TIME_WAIT"
	}
	return "CLOSED"
}

func (h *host) tell() bool {
	news := false
	for port, listener := range h.queues {
		ep, wq, err := listener.Accept(nil)
		if err == nil {
			remote, _ := ep.GetRemoteAddress()
			e := h.end(key{port, remote.Port})
			e.ep, e.wq, e.open, e.eof, e.got = ep, wq, true, false, 0
			fmt.Printf("open %d %d\n", e.local, e.remote)
			news = true
		}
	}
	states := map[key]string{}
	for _, t := range append(h.stack.RegisteredEndpoints(), h.stack.CleanupEndpoints()...) {
		ep, ok := t.(tcpip.Endpoint)
		if !ok {
			continue
		}
		info, ok := ep.Info().(*stack.TransportEndpointInfo)
		if !ok || info.ID.RemotePort == 0 {
			continue
		}
		states[key{info.ID.LocalPort, info.ID.RemotePort}] = words(ep.State())
	}
	for k, state := range states {
		h.end(k).state, news = h.say(k, state, news)
	}
	var keys []key
	for k := range h.ends {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i].remote < keys[j].remote })
	for _, k := range keys {
		e := h.ends[k]
		if _, there := states[k]; !there {
			e.state, news = h.say(k, "CLOSED", news)
		}
		news = h.read(e) || news
	}
	for {
		pkt := h.link.Read()
		if pkt.IsNil() {
			break
		}
		var raw bytes.Buffer
		for _, part := range pkt.AsSlices() {
			raw.Write(part)
		}
		pkt.DecRef()
		fmt.Printf("out %s\n", hex.EncodeToString(raw.Bytes()))
		news = true
	}
	return news
}

func (h *host) say(k key, state string, news bool) (string, bool) {
	e := h.end(k)
	if e.state == state || (e.state == "" && state == "CLOSED") {
		return e.state, news
	}
	fmt.Printf("state %d %d %s\n", k.local, k.remote, state)
	return state, true
}

func (h *host) end(k key) *end {
	if h.ends[k] == nil {
		h.ends[k] = &end{key: k}
	}
	return h.ends[k]
}

func (h *host) read(e *end) bool {
	news := false
	if e.ep == nil {
		return false
	}
	if !e.open && e.state == "ESTABLISHED" {
		e.open, news = true, true
		fmt.Printf("open %d %d\n", e.local, e.remote)
	}
	for !e.paused && !e.eof {
		result, err := e.ep.Read(io.Discard, tcpip.ReadOptions{})
		if _, closed := err.(*tcpip.ErrClosedForReceive); closed {
			e.eof, news = true, true
			fmt.Printf("eof %d %d\n", e.local, e.remote)
			break
		}
		if err != nil {
			break
		}
		e.got += result.Count
		fmt.Printf("recv %d %d %d\n", e.local, e.remote, e.got)
		news = true
	}
	return news
}

func (h *host) socket() (tcpip.Endpoint, *waiter.Queue) {
	wq := &waiter.Queue{}
	ep, err := h.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, wq)
	must(err)
	ep.SocketOptions().SetReuseAddress(true)
	return ep, wq
}

func (h *host) obey(word string, rest []string) {
	number := func(i int) int {
		if i >= len(rest) {
			return 0
		}
		n, _ := strconv.Atoi(rest[i])
		return n
	}
	k := key{uint16(number(0)), uint16(number(1))}
	switch word {
	case "in":
		raw, _ := hex.DecodeString(rest[0])
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: bufferv2.MakeWithData(raw)})
		h.link.InjectInbound(header.IPv4ProtocolNumber, pkt)
		pkt.DecRef()
		return
	case "listen":
		ep, wq := h.socket()
		must(ep.Bind(tcpip.FullAddress{Addr: h.own, Port: k.local}))
		must(ep.Listen(100))
		h.queues[k.local], h.wqs[k.local] = ep, wq
		return
	case "connect":
		e := h.end(k)
		*e = end{key: k}
		e.ep, e.wq = h.socket()
		must(e.ep.Bind(tcpip.FullAddress{Addr: h.own, Port: k.local}))
		e.ep.Connect(tcpip.FullAddress{Addr: h.peer, Port: k.remote})
		return
	}
	e := h.ends[k]
	if e == nil || e.ep == nil {
		return
	}
	switch word {
	case "send":
		e.ep.Write(bytes.NewReader(make([]byte, number(2))), tcpip.WriteOptions{})
	case "shut":
		e.ep.Shutdown(tcpip.ShutdownWrite)
	case "close":
		e.ep.Close()
		e.ep = nil
	case "abort":
		e.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: true})
		e.ep.Close()
		e.ep = nil
	case "pause":
		e.paused = true
	}
}

func main() {
	h := &host{clock: &clock{}, own: address(os.Args[1]), peer: address(os.Args[2]), ends: map[key]*end{},
		queues: map[uint16]tcpip.Endpoint{}, wqs: map[uint16]*waiter.Queue{}}
	h.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
		Clock:              h.clock,
	})
	h.link = channel.New(4096, 1500, "")
	must(h.stack.CreateNIC(1, h.link))
	must(h.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: h.own, PrefixLen: 24}}, stack.AddressProperties{}))
	h.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		parts := strings.Fields(line)
		when, _ := strconv.ParseInt(parts[0], 10, 64)
		for t := h.clock.due(when); t != nil; t = h.clock.due(when) {
			t.run()
			h.settle()
		}
		h.obey(parts[1], parts[2:])
		h.settle()
		fmt.Printf("done %d\n", h.clock.next())
	}
}
