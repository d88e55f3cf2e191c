package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"testing"
	"time"
)

// endpoint serves a handler as the daemon does, and returns its address.
func endpoint(t *testing.T, ctx context.Context, h http.Handler) (addr string, done <-chan struct{}) {
	t.Helper()
	var said bytes.Buffer
	done, err := serveStatus(ctx, "127.0.0.1:0", h, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(said.String()), done
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// The endpoint is there while the daemon runs, and gives its port back when it
// ends; a port that is taken is an error.
func TestStatusEndpoint(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr, done := endpoint(t, ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }))
	if status, body := get(t, "http://"+addr+"/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("%d %q", status, body)
	}
	if _, err := serveStatus(ctx, addr, http.NotFoundHandler(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a port that is taken is no error")
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	<-done
	if resp, err := http.Get("http://" + addr + "/healthz"); err == nil {
		resp.Body.Close()
		t.Error("it answers after its end")
	}
}

// Connections beyond the limit wait until one ends, and a slow request does not
// keep the daemon from ending.
func TestStatusConnectionsAreFew(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr, done := endpoint(t, ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }))
	var open []net.Conn
	for range statusConnections {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	answered := make(chan int, 1)
	go func() {
		resp, err := http.Get("http://" + addr + "/healthz")
		if err != nil {
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	select {
	case status := <-answered:
		t.Errorf("one more connection was answered with %d", status)
	case <-time.After(100 * time.Millisecond):
	}
	open[0].Close()
	if status := <-answered; status != 200 {
		t.Errorf("after one has ended: %d", status)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	<-done
}
