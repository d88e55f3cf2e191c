package status

// part says which half of the daemon has a metric.
type part int

const (
	always part = iota
	sweeps
	filters
)

type kind string

const (
	counter   kind = "counter"
	gauge     kind = "gauge"
	histogram kind = "histogram"
)

// family is a metric, as the reference tells of it.
type family struct {
	name   string // without its prefix
	part   part
	kind   kind
	labels []string
	help   string
}

const prefix = "backscatterd_"

// The labels: rules are named in the configuration, all others have a few values
// that the program knows. None is taken from mail.
var families = []family{
	{"build_info", always, gauge, []string{"version", "goversion"}, "Always 1; its labels say what program runs."},
	{"well", always, gauge, nil, "1 where /healthz answers that all is well, else 0."},

	{"sweep_runs_total", sweeps, counter, []string{"outcome"}, "Scheduled sweeps that ended, by outcome: done, limit (stopped at a limit), failed."},
	{"sweep_duration_seconds", sweeps, histogram, nil, "How long scheduled sweeps took."},
	{"sweep_scanned_messages_total", sweeps, counter, nil, "Messages that scheduled sweeps judged."},
	{"sweep_matched_messages_total", sweeps, counter, []string{"rule", "action", "result"}, "Messages that a rule matched in scheduled sweeps, by the rule, what it does, and what became of it."},
	{"sweep_limits_hit_total", sweeps, counter, []string{"limit"}, "Scheduled sweeps that stopped at a limit: max_share, max_messages."},
	{"sweep_last_run_timestamp_seconds", sweeps, gauge, nil, "When the last scheduled sweep ended, in seconds since 1970; absent before the first."},
	{"sweep_last_success_timestamp_seconds", sweeps, gauge, nil, "When the last scheduled sweep ended that did not fail as a whole, in seconds since 1970; absent before the first."},

	{"queue_messages", sweeps, gauge, []string{"state"}, "Messages in the queues at the last reading, by state: active, held, lost, incomplete, damaged."},
	{"queue_waiting_messages", sweeps, gauge, []string{"age_minutes"}, "Messages that waited at the last reading, by age as qshape counts it: below so many minutes and not below the bound before, 1280+ for all older."},
	{"queue_oldest_message_age_seconds", sweeps, gauge, nil, "Age of the oldest message that waited at the last reading; 0 where none did."},
	{"queue_read_timestamp_seconds", sweeps, gauge, nil, "When the queues were last read, in seconds since 1970; absent before the first time."},
	{"queue_read_duration_seconds", sweeps, gauge, nil, "How long the last reading of the queues took."},

	{"store_messages", sweeps, gauge, nil, "Messages in the removed store."},
	{"store_size_bytes", sweeps, gauge, nil, "Size of the messages in the removed store."},
	{"owed_bounces", sweeps, gauge, nil, "Bounces of removed messages that have not been handed over yet."},
	{"audit_write_errors_total", sweeps, counter, nil, "Lines of the audit log that could not be written."},

	{"milter_open_connections", filters, gauge, nil, "Milter connections that are open."},
	{"milter_connections_total", filters, counter, nil, "Milter connections that were accepted."},
	{"milter_refused_connections_total", filters, counter, nil, "Milter connections that were refused, since max_connections were open."},
	{"milter_messages_total", filters, counter, nil, "Messages that the milter has seen."},
	{"milter_outgoing_messages_total", filters, counter, nil, "Messages of ours that the milter has seen leave."},
	{"milter_bounces_total", filters, counter, []string{"kind", "verdict"}, "Bounces, and what else answers mail, by kind and verdict."},
	{"milter_actions_total", filters, counter, []string{"verdict", "action"}, "What was done with bounces, by verdict: accept, tag, quarantine, reject, discard."},
	{"milter_errors_total", filters, counter, nil, "Messages that the milter failed on with an error."},
	{"milter_panics_total", filters, counter, nil, "Messages that the milter failed on by a defect of its own."},
	{"milter_failed_open_total", filters, counter, nil, "Messages that were accepted as they came since the milter failed on them."},
	{"milter_protocol_errors_total", filters, counter, nil, "Milter connections that broke the protocol or a limit."},
	{"milter_answer_duration_seconds", filters, histogram, nil, "How long the milter took to answer the end of a message."},

	{"ledger_messages", filters, gauge, nil, "Messages that the ledger remembers; of one on a server, those of all hosts."},
	{"ledger_size_bytes", filters, gauge, nil, "Size of the ledger's file; 0 of one on a server."},
	{"ledger_pending_entries", filters, gauge, nil, "Entries of the ledger that wait to be written."},
	{"ledger_coverage_start_timestamp_seconds", filters, gauge, nil, "Since when the ledger remembers, in seconds since 1970."},
	{"ledger_unbroken_start_timestamp_seconds", filters, gauge, nil, "Since when the ledger has had no gap, in seconds since 1970."},
	{"ledger_gaps", filters, gauge, nil, "Gaps in what the ledger remembers."},
	{"ledger_gap_seconds", filters, gauge, nil, "How long the ledger's gaps last together."},
	{"ledger_write_errors_total", filters, counter, nil, "Writes of the ledger that failed; each is tried again."},
	{"ledger_dropped_messages_total", filters, counter, nil, "Messages that left unrecorded since too much waited to be written; they leave a gap."},
	{"ledger_lookup_errors_total", filters, counter, nil, "Look-ups that the ledger's server did not answer, those that were not tried while it was away among them; 0 of a ledger in a file."},
	{"ledger_lookups_over_budget_total", filters, counter, nil, "Look-ups that were not answered within milter.ledger_server.budget."},
}
