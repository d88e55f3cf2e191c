package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// healthTime bounds a request, and the wait for the last ones at the end.
const healthTime = 5 * time.Second

// serveHealth answers GET /healthz on status.listen until ctx ends: 200 and "ok"
// as long as the daemon works. The channel tells when the last request is done.
// An empty address is no endpoint.
func serveHealth(ctx context.Context, listen string, log *slog.Logger) (<-chan struct{}, error) {
	done := make(chan struct{})
	if listen == "" {
		close(done)
		return done, nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("status.listen: %w (is another backscatterd running?)", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	srv := &http.Server{
		Handler: mux, ReadTimeout: healthTime, WriteTimeout: healthTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.Info("health checks are answered", "address", ln.Addr().String(), "path", "/healthz")
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("status.listen", "error", err)
		}
	}()
	go func() {
		defer close(done)
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.Background(), healthTime)
		defer cancel()
		srv.Shutdown(last)
		<-served
	}()
	return done, nil
}
