// Ledger measures the two ledgers in one run: messages a second that are
// recorded and on the disk or the server, look-ups a second, and what a million
// messages take there. It starts a redis-server on loopback, and ends it.
//
// A message has one recipient. One in ten goes to a pair of addresses that wrote
// before, and there are as many domains as a tenth of the messages.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/backscatterd/backscatterd/milter/ledger"
)

func main() {
	messages := flag.Int("messages", 200_000, "how many are recorded")
	flag.Parse()
	if err := run(*messages); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var secret = []byte("a secret of the benchmark")

// subject is one of the two ledgers.
type subject struct {
	name string
	ledger.Ledger
	waiting func() int
	size    func() (int64, error)
	close   func() error
}

func run(messages int) error {
	dir, err := os.MkdirTemp("", "backscatterd-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	embedded, err := openEmbedded(dir)
	if err != nil {
		return err
	}
	shared, stop, err := openShared(dir)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("%d messages with one recipient each\n\n", messages)
	fmt.Printf("%-9s %14s %14s %18s\n", "ledger", "recorded/s", "looked up/s", "bytes per message")
	for _, s := range []subject{embedded, shared} {
		if err := measure(s, messages); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func openEmbedded(dir string) (subject, error) {
	file := filepath.Join(dir, "ledger.db")
	l, err := ledger.Open(ledger.Options{File: file, Secret: secret, Keep: 30, Queue: queue})
	if err != nil {
		return subject{}, err
	}
	return subject{
		"embedded", l,
		func() int { s, _ := l.Status(); return s.Pending },
		func() (int64, error) { info, err := os.Stat(file); return info.Size(), err },
		l.Close,
	}, nil
}

// queue is how many entries may wait: the benchmark waits where there are more.
const queue = 100_000

func openShared(dir string) (s subject, stop func(), err error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return s, nil, err
	}
	address := ln.Addr().String()
	ln.Close()
	port := address[strings.LastIndexByte(address, ':')+1:]
	server := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "")
	if err := server.Start(); err != nil {
		return s, nil, fmt.Errorf("%w; make deps installs it", err)
	}
	client := redis.NewClient(&redis.Options{Addr: address})
	l, err := ledger.OpenShared(ledger.SharedOptions{Server: ledger.Server{Addresses: []string{address}, Prefix: "bs:"}, Host: "bench", Secret: secret, Keep: 30, Queue: queue})
	stop = func() {
		client.Close()
		server.Process.Kill()
		server.Wait()
	}
	if err != nil {
		stop()
		return s, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.Ready(ctx); err != nil {
		stop()
		return s, nil, err
	}
	used := func() (int64, error) {
		info, err := client.InfoMap(context.Background(), "memory").Result()
		if err != nil {
			return 0, err
		}
		return strconv.ParseInt(info["Memory"]["used_memory"], 10, 64)
	}
	return subject{"shared", l, l.Waiting, used, l.Close}, stop, nil
}

func measure(s subject, messages int) error {
	before, err := s.size()
	if err != nil {
		return err
	}
	began := time.Now()
	for n := range messages {
		s.Record(message(n))
		if n%1000 == 0 {
			for s.waiting() > queue/2 {
				time.Sleep(time.Millisecond)
			}
		}
	}
	for s.waiting() > 0 {
		time.Sleep(time.Millisecond)
	}
	recorded := float64(messages) / time.Since(began).Seconds()
	after, err := s.size()
	if err != nil {
		return err
	}
	looked, err := lookUp(s, messages)
	if err != nil {
		return err
	}
	if c := s.Coverage(); !c.Covers(c.Since, c.Until) {
		return fmt.Errorf("not all was recorded: %v", c.Gaps)
	}
	fmt.Printf("%-9s %14.0f %14.0f %18.0f\n", s.name, recorded, looked, float64(after-before)/float64(messages))
	return s.close()
}

// lookUp asks from as many goroutines as a filter has bounces in hand.
func lookUp(s subject, messages int) (perSecond float64, err error) {
	const askers = 16
	each := min(messages, 32_000) / askers
	var wg sync.WaitGroup
	failed := make(chan error, askers)
	began := time.Now()
	for a := range askers {
		wg.Go(func() {
			for n := range each {
				id := message((n*askers + a) % messages).MessageID
				if hit, err := s.Sent(context.Background(), id, ""); err != nil || !hit.Found {
					failed <- fmt.Errorf("%s: %v", id, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	return float64(askers*each) / time.Since(began).Seconds(), <-failed
}

func message(n int) ledger.Message {
	to := n
	if n%10 == 9 {
		to = n - 9
	}
	return ledger.Message{
		MessageID:  fmt.Sprintf("<%d.benchmark@mail.example.org>", n),
		Sender:     fmt.Sprintf("user%d@example.org", to%5000),
		Recipients: []string{fmt.Sprintf("friend%d@remote%d.example", to, to/10)},
	}
}
