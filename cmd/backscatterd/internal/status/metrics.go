package status

import (
	"cmp"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/queuesweep"
)

// metrics are those of one Board, in a registry of their own: some are counted
// as things happen, the others read when somebody looks.
type metrics struct {
	board    *Board
	registry *prometheus.Registry
	descs    map[string]*prometheus.Desc // of those that are read
	counters map[string]*prometheus.CounterVec
	timings  map[string]prometheus.Histogram
}

// counted are the families that are counted as things happen.
var counted = map[string]bool{
	"sweep_runs_total": true, "sweep_scanned_messages_total": true, "sweep_matched_messages_total": true,
	"sweep_limits_hit_total": true, "milter_bounces_total": true, "milter_actions_total": true,
}

// The upper bounds of the histograms, in seconds.
var bounds = map[string][]float64{
	"sweep_duration_seconds":         {0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000},
	"milter_answer_duration_seconds": {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10},
}

func newMetrics(b *Board) *metrics {
	m := &metrics{board: b, registry: prometheus.NewRegistry(), descs: make(map[string]*prometheus.Desc),
		counters: make(map[string]*prometheus.CounterVec), timings: make(map[string]prometheus.Histogram)}
	for _, f := range families {
		if f.part == sweeps && !b.opts.Sweeps || f.part == filters && !b.opts.Filters {
			continue
		}
		switch name := prefix + f.name; {
		case f.kind == histogram:
			h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: f.help, Buckets: bounds[f.name]})
			m.timings[f.name] = h
			m.registry.MustRegister(h)
		case counted[f.name]:
			c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: f.help}, f.labels)
			m.counters[f.name] = c
			m.registry.MustRegister(c)
		default:
			m.descs[f.name] = prometheus.NewDesc(name, f.help, f.labels, nil)
		}
	}
	m.begin()
	m.registry.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// begin has counters with known labels begin at 0, so that the first of a kind
// is seen as an increase.
func (m *metrics) begin() {
	for _, outcome := range []string{"done", "limit", "failed"} {
		m.add("sweep_runs_total", 0, outcome)
	}
	for _, limit := range []string{"max_share", "max_messages"} {
		m.add("sweep_limits_hit_total", 0, limit)
	}
	m.add("sweep_scanned_messages_total", 0)
	for _, verdict := range verdicts {
		m.add("milter_bounces_total", 0, "failed", verdict)
		m.add("milter_actions_total", 0, verdict, "tag")
	}
}

// add counts, where this half of the daemon does.
func (m *metrics) add(name string, n int, labels ...string) {
	if c := m.counters[name]; c != nil {
		c.WithLabelValues(labels...).Add(float64(n))
	}
}

func (m *metrics) observe(name string, d time.Duration) {
	if h := m.timings[name]; h != nil {
		h.Observe(d.Seconds())
	}
}

func (m *metrics) swept(r Run) {
	outcome := "done"
	limit, _, _ := strings.Cut(r.Summary.Limit, " ")
	switch {
	case r.Err != nil:
		outcome = "failed"
	case limit != "":
		outcome = "limit"
	}
	m.add("sweep_runs_total", 1, outcome)
	if limit != "" {
		m.add("sweep_limits_hit_total", 1, limit)
	}
	m.add("sweep_scanned_messages_total", r.Summary.Scanned)
	m.observe("sweep_duration_seconds", r.Took)
}

func (m *metrics) acted(r queuesweep.Result) {
	m.add("sweep_matched_messages_total", 1, r.Rule, string(r.Action), string(r.Result))
}

func (m *metrics) bounce(kind, verdict, action string) {
	m.add("milter_bounces_total", 1, kind, verdict)
	m.add("milter_actions_total", 1, verdict, action)
}

func (m *metrics) answered(took time.Duration) { m.observe("milter_answer_duration_seconds", took) }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	r := reading{m, ch}
	r.tell("build_info", 1, cmp.Or(m.board.opts.Version, "unknown"), runtime.Version())
	well := 0.0
	if len(m.board.Problems()) == 0 {
		well = 1
	}
	r.tell("well", well)
	if m.board.opts.Sweeps {
		r.sweeps()
	}
	if m.board.opts.Filters {
		r.filter()
	}
}

// reading is one look at what is read.
type reading struct {
	m  *metrics
	ch chan<- prometheus.Metric
}

func (r reading) tell(name string, v float64, labels ...string) {
	typ := prometheus.GaugeValue
	if strings.HasSuffix(name, "_total") {
		typ = prometheus.CounterValue
	}
	r.ch <- prometheus.MustNewConstMetric(r.m.descs[name], typ, v, labels...)
}

func (r reading) time(name string, t time.Time) {
	if !t.IsZero() {
		r.tell(name, float64(t.UnixMilli())/1000)
	}
}

// states are those that a reading of the queues can tell.
var states = []queuesweep.State{queuesweep.StateActive, queuesweep.StateHeld, queuesweep.StateLost, queuesweep.StateIncomplete, queuesweep.StateDamaged}

func (r reading) sweeps() {
	b := r.m.board
	survey, stock, run := b.snapshot()
	b.mu.Lock()
	success := b.lastSuccess
	b.mu.Unlock()
	if !run.Began.IsZero() {
		r.time("sweep_last_run_timestamp_seconds", run.Began.Add(run.Took))
	}
	r.time("sweep_last_success_timestamp_seconds", success)
	if survey.States != nil {
		for _, s := range states {
			r.tell("queue_messages", float64(survey.States[s]), string(s))
		}
		for i, label := range queuesweep.AgeLabels() {
			r.tell("queue_waiting_messages", float64(survey.Waiting.Ages[i]), label)
		}
		oldest := 0.0
		if !survey.Oldest.IsZero() {
			oldest = max(0, survey.At.Sub(survey.Oldest).Seconds())
		}
		r.tell("queue_oldest_message_age_seconds", oldest)
		r.time("queue_read_timestamp_seconds", survey.At)
		r.tell("queue_read_duration_seconds", survey.Took.Seconds())
	}
	if !stock.At.IsZero() {
		r.tell("store_messages", float64(stock.Messages))
		r.tell("store_size_bytes", float64(stock.Bytes))
		r.tell("owed_bounces", float64(stock.Owed))
	}
	if failures := b.sweeper.Load().AuditFailures; failures != nil {
		r.tell("audit_write_errors_total", float64(failures()))
	}
}

func (r reading) filter() {
	b := r.m.board
	f := b.filter.Load()
	if f.Filter != nil {
		c := f.Filter()
		r.tell("milter_open_connections", float64(c.Open))
		r.tell("milter_connections_total", float64(c.Accepted))
		r.tell("milter_refused_connections_total", float64(c.Refused))
		r.tell("milter_messages_total", float64(c.Messages))
		r.tell("milter_outgoing_messages_total", float64(c.Outgoing))
		r.tell("milter_errors_total", float64(c.Errors))
		r.tell("milter_panics_total", float64(c.Panics))
		r.tell("milter_protocol_errors_total", float64(c.Broken))
		open := c.Errors + c.Panics
		if b.opts.TempFail {
			open = 0
		}
		r.tell("milter_failed_open_total", float64(open))
	}
	if f.Ledger != nil {
		s, err := f.Ledger()
		if err == nil {
			r.ledger(s)
		}
		r.ledgerHere(s)
	}
}

func (r reading) ledger(s ledger.Status) {
	messages := 0
	for _, d := range s.Days {
		messages += d.Messages
	}
	var gaps time.Duration
	for _, g := range s.Gaps {
		gaps += g.To.Sub(g.From)
	}
	r.tell("ledger_messages", float64(messages))
	r.tell("ledger_size_bytes", float64(s.Size))
	r.time("ledger_coverage_start_timestamp_seconds", s.Since)
	r.time("ledger_unbroken_start_timestamp_seconds", s.Unbroken)
	r.tell("ledger_gaps", float64(len(s.Gaps)))
	r.tell("ledger_gap_seconds", gaps.Seconds())
}

// ledgerHere tells what this process knows of its ledger, also while the server
// of one does not answer.
func (r reading) ledgerHere(s ledger.Status) {
	r.tell("ledger_pending_entries", float64(s.Pending))
	r.tell("ledger_write_errors_total", float64(s.Failures))
	r.tell("ledger_dropped_messages_total", float64(s.Dropped))
	r.tell("ledger_lookup_errors_total", float64(s.LookupErrors))
	r.tell("ledger_lookups_over_budget_total", float64(s.OverBudget))
}
