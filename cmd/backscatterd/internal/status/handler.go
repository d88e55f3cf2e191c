package status

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

//go:embed style.css
var styleSheet []byte

//go:embed icon.svg
var icon []byte

// atOnce is how many requests are answered at the same time.
const atOnce = 16

// Handler serves the page, the metrics and the health check. Requests must be
// for this host: for a loopback name or address, or one of hosts. Else a page
// elsewhere could have a browser here read this one, under a name that it makes
// point to it (DNS rebinding).
func (b *Board) Handler(hosts []string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", b.health)
	mux.Handle("/metrics", promhttp.HandlerFor(b.metrics.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: atOnce / 2, Timeout: 4 * time.Second, EnableOpenMetrics: true,
	}))
	mux.HandleFunc("/{$}", b.page)
	mux.HandleFunc("/queue.svg", b.queuePicture)
	mux.HandleFunc("/queue-narrow.svg", b.narrowQueuePicture)
	mux.HandleFunc("/bounces.svg", b.bouncesPicture)
	mux.HandleFunc("/style.css", still("text/css; charset=utf-8", styleSheet))
	mux.HandleFunc("/icon.svg", still("image/svg+xml", icon))
	return guarded(mux, hosts)
}

func still(contentType string, data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Write(data)
	}
}

const pagePolicy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guarded lets through what only looks, and asks for this host.
func guarded(next http.Handler, hosts []string) http.Handler {
	slots := make(chan struct{}, atOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case !isOurs(r.Host, hosts):
			http.Error(w, "this is not the host that you asked for; names that it may be asked by stand in status.hosts", http.StatusForbidden)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "there is nothing here that can be changed", http.StatusMethodNotAllowed)
			return
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			h.Set("Retry-After", "1")
			http.Error(w, "too many requests at the same time", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOurs tells whether a Host field names this host.
func isOurs(host string, hosts []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if a, err := netip.ParseAddr(host); err == nil && a.IsLoopback() {
		return true
	}
	return host == "localhost" || slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// health answers 200 and "ok", or 503 and what is not well.
func (b *Board) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	problems := b.Problems()
	if len(problems) == 0 {
		io.WriteString(w, "ok\n")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintf(w, "not well:\n")
	for _, p := range slices.Compact(problems) {
		fmt.Fprintf(w, "- %s\n", oneLine(p))
	}
}
