package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// statusTime bounds a request, and the wait for the last ones at the end.
	statusTime = 5 * time.Second
	// statusConnections are open at the same time; further ones wait.
	statusConnections = 64
)

// serveStatus serves the status endpoint on an address until ctx ends. The
// channel tells when the last request is done. An empty address is no endpoint.
func serveStatus(ctx context.Context, listen string, h http.Handler, log *slog.Logger) (<-chan struct{}, error) {
	done := make(chan struct{})
	if listen == "" {
		close(done)
		return done, nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("status.listen: %w (is another backscatterd running? status.listen_milter is for the milter's half)", err)
	}
	srv := &http.Server{
		Handler: h, ReadTimeout: statusTime, WriteTimeout: 2 * statusTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.Info("the status is shown", "address", ln.Addr().String(), "page", "http://"+ln.Addr().String()+"/")
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(&fewListener{ln, make(chan struct{}, statusConnections), ctx.Done()}); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			log.Error("status.listen", "error", err)
		}
	}()
	go func() {
		defer close(done)
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.Background(), statusTime)
		defer cancel()
		if srv.Shutdown(last) != nil {
			srv.Close()
		}
		<-served
	}()
	return done, nil
}

// fewListener has a bounded number of connections open; further ones wait to be
// accepted. Idle ones end within a minute.
type fewListener struct {
	net.Listener
	slots chan struct{}
	ended <-chan struct{}
}

func (l *fewListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.ended:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slotted{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

type slotted struct {
	net.Conn
	free func()
}

func (c *slotted) Close() error {
	defer c.free()
	return c.Conn.Close()
}
