package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"testing"
)

// The daemon answers health checks while it runs, and gives its port back when
// it ends.
func TestHealth(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var said bytes.Buffer
	done, err := serveHealth(ctx, "127.0.0.1:0", slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	addr := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(said.String())
	for path, want := range map[string]int{"/healthz": 200, "/": 404} {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || want == 200 && string(body) != "ok\n" {
			t.Errorf("GET %s: %s %q", path, resp.Status, body)
		}
	}
	if _, err := serveHealth(ctx, addr, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a port that is taken is no error")
	}
	cancel()
	<-done
	if resp, err := http.Get("http://" + addr + "/healthz"); err == nil {
		resp.Body.Close()
		t.Error("it answers after its end")
	}
}
